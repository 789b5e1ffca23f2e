package dotenv

import (
	"errors"
	"strings"
	"testing"

	"envctl/internal/fault"
)

// vector is one line and what each reader makes of A: a value, or one of the
// marks below. "=" stands for the compose column.
type vector struct{ line, sh, docker, compose, dokploy, python string }

const (
	runs    = "!runs"
	refused = "!refused"
	unset   = "!unset"
	raw     = "!raw" // the text after the =
	same    = "="
)

// vectors are measured: see the real readers' test. H is "env", N is unset.
var vectors = []vector{
	{"A=x", "x", "x", "x", same, same},
	{"A=", "", "", "", same, same},
	{"A= x", runs, raw, "x", same, same},
	{"A =x", runs, refused, "x", same, same},
	{"A=x  ", "x", raw, "x", same, same},
	{"A=a b", runs, raw, raw, same, same},
	{"A=a#b", raw, raw, raw, "a", same},
	{"A=a #b", "a", raw, "a", same, same},
	{"A=#abc", raw, raw, raw, "", same},
	{"A=a\t#b", "a", raw, raw, "a", "a"},
	{"A='$H'", "$H", raw, "$H", same, same},
	{"A='${H}'", "${H}", raw, "${H}", "${H}", "env"},
	{`A="$H"`, "env", raw, "env", "$H", "$H"},
	{"A=${H}", "env", raw, "env", raw, "env"},
	{"A=${N:-d}", "d", raw, "d", raw, "d"},
	{"A=${N-d}", "d", raw, "d", raw, ""},
	{"A=${H:+d}", "d", raw, "d", raw, raw},
	{"A=${N:-d}/${H}", "d/env", raw, "d/env", raw, "d/env"},
	{"A=pa$word1", "pa", raw, "pa", raw, raw},
	{"A=5$", raw, raw, raw, same, same},
	{`A="pa\$w"`, "pa$w", raw, "pa$w", `pa\$w`, `pa\$w`},
	{`A="a\nb"`, `a\nb`, raw, "a\nb", "a", "a\nb"},
	{`A=a\nb`, "anb", raw, raw, same, same},
	{"A=\"a\nb\"", "a\nb", `"a`, "a\nb", "a", "a\nb"},
	{"A='a\nb'", "a\nb", `'a`, "a\nb", "a", "a\nb"},
	{`A="he \"q\""`, `he "q"`, raw, `he "q"`, `he \"q\"`, same},
	{`A='it'\''s'`, "it's", raw, refused, `it'\''s`, unset},
	{`A='it\'s'`, refused, raw, "it's", `it\'s`, same},
	{"A=it's", refused, raw, raw, same, same},
	{`A="abc`, refused, raw, refused, raw, unset},
	{`A="x"junk`, "xjunk", raw, "x", raw, unset},
	{`A=x"y"z`, "xyz", raw, raw, same, same},
	{`A='a\\b'`, `a\\b`, raw, `a\\b`, `a\\b`, `a\b`},
	{`A="a\\b"`, `a\b`, raw, `a\b`, `a\\b`, same},
	{`A="\0101"`, `\0101`, raw, "A", `\0101`, `\0101`},
	{"export A=x", "x", refused, "x", same, same},
	{"A", runs, unset, unset, same, same},
	{"A=x\r", "x\r", "x", "x", same, same},
	{bom + "A=x", runs, "x", "x", same, unset}, // python-dotenv reads the key \ufeffA
	{"A: x", runs, refused, "x", same, unset},
	{"A=$(c)", runs, raw, "$(c)", same, same},
	{`A="$(c)"`, runs, raw, "$(c)", same, same},
	{"A=x;c", runs, raw, raw, same, same},
	{"A=x&", runs, raw, raw, same, same},
	{"A=a|b", runs, raw, raw, same, same},
	{"A=(x)", runs, raw, raw, same, same},
	{"A=`c`", runs, raw, raw, "c", raw},
	{`A="C:\new\t"`, `C:\new\t`, raw, "C:\new\t", "C:", same},
	{"A=~/x", "/home/o/x", raw, raw, same, same},
	{"A=x:~/y", "x:/home/o/y", raw, raw, same, same},
	{"A=x~", raw, raw, raw, same, same},
	{"A=*", raw, raw, raw, same, same},
	{"A={a,b}!%+-./?@[]^", raw, raw, raw, same, same},
	{"A=x\\\ny", "xy", `x\`, `x\`, same, same},
	{"A=x\nA=y", "y", "y", "y", same, same},
	{"A=x;A=y", "y", "x;A=y", "x;A=y", same, same},
	{"#A=x", unset, unset, unset, same, same},
	{"  A=x", "x", "x", "x", same, same},
	{"\n\n#c\nA=x\n#d", "x", "x", "x", same, same},
	{"A=" + strings.Repeat("x", 70<<10), raw, refused, raw, same, same},
	{`A=$$`, "!changes", raw, "$", raw, raw},
	{`A=$'x'`, "!changes", raw, raw, same, same},
}

var vectorEnv = map[string]string{"H": "env", "HOME": "/home/o"}

func lookupEnv(k string) (string, bool) { v, ok := vectorEnv[k]; return v, ok }

func (v vector) want(d Dialect) string {
	w := map[Dialect]string{Sh: v.sh, Docker: v.docker, Compose: v.compose, Dokploy: v.dokploy, Python: v.python}[d]
	if w == same {
		w = v.compose
	}
	if w == raw {
		_, w, _ = strings.Cut(v.line, "=")
	}
	return w
}

// outcome puts a reading of A into the vectors' words.
func outcome(t *testing.T, d Dialect, src string) string {
	t.Helper()
	r, err := ReadAs(d, "f", []byte(src), lookupEnv)
	if err != nil {
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Invalid {
			t.Errorf("%s %q: error %v, want kind invalid", d, src, err)
		}
		return refused
	}
	var other string
	for _, p := range r.Problems {
		switch {
		case p.Kind == Executes:
			return runs
		case d == Sh && p.Kind == Changes:
			other = "!changes"
		}
	}
	if other != "" {
		return other
	}
	v, ok := r.Values()["A"]
	if !ok {
		return unset
	}
	return v.Reveal()
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		for _, d := range Dialects() {
			if got, want := outcome(t, d, v.line+"\n"), v.want(d); got != want {
				t.Errorf("%s reads %.60q as %.60q, want %.60q", d, v.line, got, want)
			}
		}
	}
}

// Names that only some readers accept.
func TestNames(t *testing.T) {
	for _, d := range Dialects() {
		r, _ := ReadAs(d, "f", []byte("a.b-c=x\n"), nil)
		if d == Sh {
			if len(r.Problems) != 1 || r.Problems[0].Kind != Executes {
				t.Errorf("sh: %+v", r.Problems)
			}
			continue
		}
		if v := r.Values()["a.b-c"]; v.Reveal() != "x" {
			t.Errorf("%s does not read a.b-c", d)
		}
	}
}

func TestExpansionIsBounded(t *testing.T) {
	src := "A=aaaaaaaaaa\n" + strings.Repeat("A=$A$A\n", 60)
	python := "A=aaaaaaaaaa\n" + strings.Repeat("A=${A}${A}\n", 60)
	for d, s := range map[Dialect]string{Sh: src, Compose: src, Python: python} {
		if _, err := ReadAs(d, "f", []byte(s), nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an error of kind invalid", d, err)
		}
	}
}

func TestProblemsNameLines(t *testing.T) {
	r, err := ReadAs(Sh, "f", []byte("A=1\n\nB='x\ny'\nC=$(id)\nD=a b\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 2 || r.Problems[0].Line != 5 || r.Problems[0].Key != "C" || r.Problems[1].Line != 6 || r.Problems[1].Key != "D" {
		t.Errorf("%+v", r.Problems)
	}
	if got := r.Values()["D"].Reveal(); got != "a b" {
		t.Errorf("D = %q: a line that would run keeps its raw text", got)
	}
}

func TestReadShellGoesOn(t *testing.T) {
	r := ReadShell([]byte("A=it's\nB=2\n"))
	if v := r.Values(); v["A"].Reveal() != "it's" || v["B"].Reveal() != "2" || len(r.Problems) != 1 {
		t.Errorf("%+v", r)
	}
}
