package layer

import (
	"fmt"
	"strings"
	"testing"

	"envctl/internal/fault"
)

func dumpExample(x *Example) string {
	var b strings.Builder
	for _, e := range x.Entries {
		fmt.Fprintf(&b, "%d:%d %s=%q", e.Line, e.Column, e.Name, e.Value)
		for _, f := range []struct {
			on   bool
			name string
		}{{e.Commented, "commented"}, {e.Vault, "vault"}, {e.Optional, "optional"}, {e.Placeholder, "placeholder"}} {
			if f.on {
				b.WriteString(" " + f.name)
			}
		}
		if e.Group != "" {
			fmt.Fprintf(&b, " (%s)", e.Group)
		}
		if e.Description != "" {
			fmt.Fprintf(&b, " # %s", e.Description)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestExample(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"assignments", "A=1\nB=\nC=\"two words\" # said\n", "1:1 A=\"1\"\n2:1 B=\"\"\n3:1 C=\"two words\" # said\n"},
		{
			"commented out", "# A=1\n#B='x y'\n# export C=2 # why\n# D is not set\n# e=1\n",
			"1:3 A=\"1\" commented\n2:2 B=\"x y\" commented\n3:10 C=\"2\" commented # why\n",
		},
		{
			"groups", "# === Database ===\nA=1\n\n# ==== Cache [OPTIONAL] ====\nB=2\n# text\nC=3\n# ==========\n# Mail\n# ==========\nD=4\n",
			"2:1 A=\"1\" (Database)\n5:1 B=\"2\" optional (Cache)\n7:1 C=\"3\" (Cache) # text\n11:1 D=\"4\" (Mail)\n",
		},
		{
			"mark at the end of a description", "# Signing keys [VAULT]\nA=\nB=\n\nC=\n# other\nD=\n",
			"2:1 A=\"\" vault # Signing keys\n3:1 B=\"\" vault\n5:1 C=\"\" vault\n7:1 D=\"\" # other\n",
		},
		{"description of two lines", "# The key that signs [VAULT]\n# every token\nA=\n# x\nB=\n", "3:1 A=\"\" vault # The key that signs every token\n5:1 B=\"\" # x\n"},
		{"mark alone", "# [VAULT]\nA=\nB=\n# [VAULT] [OPTIONAL]\nC=\n", "2:1 A=\"\" vault\n3:1 B=\"\"\n5:1 C=\"\" vault optional\n"},
		{"mark behind", "A= # [VAULT] signs\nB=1 # [OPTIONAL]\n", "1:1 A=\"\" vault # signs\n2:1 B=\"1\" optional\n"},
		{
			"mark in prose", "# All S3_* variables are [VAULT] in production\nX=1\nS3_KEY=\nS3_SECRET=\n# [OPTIONAL] is SENTRY_DSN only\nSENTRY_DSN=\nOTHER=\n",
			"2:1 X=\"1\" # All S3_* variables are in production\n3:1 S3_KEY=\"\" vault\n4:1 S3_SECRET=\"\" vault\n6:1 SENTRY_DSN=\"\" optional # is SENTRY_DSN only\n7:1 OTHER=\"\"\n",
		},
		{"mark before a description", "# [VAULT] signs tokens\nA=\nB=\n", "2:1 A=\"\" vault # signs tokens\n3:1 B=\"\" vault\n"},
		{
			"legend", "# Legend:\n# [VAULT] = rendered from Vault\n# [OPTIONAL]: may stay empty\nA=1\n# Variables marked [VAULT] come from the store\nB=2\n\n# [VAULT] values are never typed here\n\nC=3\n",
			"4:1 A=\"1\" # Legend:\n6:1 B=\"2\"\n10:1 C=\"3\"\n",
		},
		{"commented out below a mark", "# keys [VAULT]\nA=\n# B=1\nC=\n", "2:1 A=\"\" vault # keys\n3:3 B=\"1\" commented vault\n4:1 C=\"\" vault\n"},
		{"placeholders", "A=<YOUR_KEY>\nB=https://<host>/x\nC=changeme\nD=your-key-here\nE=a<b\n", "1:1 A=\"<YOUR_KEY>\" placeholder\n2:1 B=\"https://<host>/x\" placeholder\n3:1 C=\"changeme\" placeholder\n4:1 D=\"your-key-here\" placeholder\n5:1 E=\"a<b\"\n"},
		{"a comment inside a value", "A=\"x\n# B=1\ny\"\nC=1\n", "1:1 A=\"x\\n# B=1\\ny\"\n4:1 C=\"1\"\n"},
		{"CRLF and byte order mark", "\ufeff# keys [VAULT]\r\nA=1\r\n# B=2\r\n", "2:1 A=\"1\" vault # keys\n3:3 B=\"2\" commented vault\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := ParseExample(".env.example", []byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if got := dumpExample(x); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

func TestExampleLookupAndDuplicates(t *testing.T) {
	x, err := ParseExample("e", []byte("# A=0\nA=1\nB=1\nA=2\n# A=3\n=bad\n"))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := x.Lookup("A"); !ok || e.Value != "2" {
		t.Errorf("%+v", e)
	}
	if d := x.Duplicates(); len(d) != 1 || d[0].Line != 4 || d[0].Value != "2" {
		t.Errorf("%+v", d)
	}
	if len(x.Problems) != 1 || x.Problems[0].Line != 6 || x.Problems[0].Rule != RuleUnreadable {
		t.Errorf("%+v", x.Problems)
	}
	if _, err := ParseExample("e", make([]byte, MaxSize+1)); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

func FuzzExample(f *testing.F) {
	f.Add([]byte("# === X ===\n# [VAULT]\nA=1\n# All S3_* [VAULT]\n# B='x\nC=\"1\n2\" # [OPTIONAL]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		x, err := ParseExample("f", src)
		if err != nil {
			return
		}
		last := 0
		for _, e := range x.Entries {
			if e.Line < last || e.Column < 1 || e.Name == "" {
				t.Fatalf("%+v after line %d", e, last)
			}
			last = e.Line
		}
	})
}
