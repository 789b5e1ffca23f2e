package onepassword

import (
	"strings"
	"testing"

	"envctl/internal/fault"
)

func TestParseRef(t *testing.T) {
	t.Parallel()
	good := map[string]Ref{
		"op://dev/Stripe/publishable-key":              {Vault: "dev", Item: "Stripe", Field: "publishable-key"},
		"op://Management/PagerDuty/Admin/email":        {Vault: "Management", Item: "PagerDuty", Section: "Admin", Field: "email"},
		"OP://dev/db/pass word":                        {Vault: "dev", Item: "db", Field: "pass word"},
		"op://dev/db/one-time?attribute=otp":           {Vault: "dev", Item: "db", Field: "one-time", Attribute: "otp"},
		"op://dev/db/one-time?attr=OTP":                {Vault: "dev", Item: "db", Field: "one-time", Attribute: "otp"},
		"op://dev/abcdefghijklmnopqrstuvwxyz/s/f.txt":  {Vault: "dev", Item: "abcdefghijklmnopqrstuvwxyz", Section: "s", Field: "f.txt"},
		"op://ledger_prod/vault.production/Root Token": {Vault: "ledger_prod", Item: "vault.production", Field: "Root Token"},
	}
	for text, want := range good {
		got, err := ParseRef(text)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseRef(got.String()); err != nil || again != got {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", got.String(), again, err, got)
		}
	}
	for _, text := range []string{
		"", "op:/", "op://", "op://v", "op://v/i", "op:///i/f", "op://v//f", "op://v/i/", "op://v/ledger/production/app/f",
		"op://v/i/f?", "op://v/i/f?attribute=value", "op://v/i/f?attribute=otp&x=1", "op://v/i/f#x", "op://v/ i/f",
		`op://v/a" or title ne "/f`, "op://v/i/f\n", "op://v/i/\x00", "op://v/i/$(id)", "op://v/i/é", "op://v/%2e%2e/f",
		"https://v/i/f", "op://v/i/" + strings.Repeat("f", 2000),
	} {
		if r, err := ParseRef(text); !fault.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
			t.Errorf("ParseRef(%q) = %+v, %v; want Invalid with a hint", text, r, err)
		}
	}
}

func TestIsRef(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"op://v/i/f": true, "OP://": true, "op://": true, "op:/v": false, "": false, "xop://": false} {
		if IsRef(text) != want {
			t.Errorf("IsRef(%q) = %v", text, !want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"op://v/i/f", "op://v/i/s/f?attribute=otp", "op://v/i/f?attr=otp", "op://v/\"/f", "OP://a/b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			if r != (Ref{}) || !fault.Is(err, fault.Invalid) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		if again, err := ParseRef(r.String()); err != nil || again != r {
			t.Fatalf("%q became %q, read back as %+v, %v", s, r, again, err)
		}
		if strings.ContainsAny(r.String()[len(scheme):], "\"'\\`$\n\x00%#&;") {
			t.Fatalf("%q let through %q", s, r)
		}
	})
}
