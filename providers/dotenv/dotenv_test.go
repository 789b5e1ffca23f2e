package dotenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/fault"
)

func TestParse(t *testing.T) {
	src := bom + "# comment\r\n" +
		"A=1\r\n" +
		"  export B = 'two #2' # note\n" +
		"C=\"a\\\"b\\nc\"\n" +
		"D='line\n" +
		"two'\n" +
		"E\n" +
		"F=$H\n" +
		"A=\"\\$3\"\n" +
		"G: x\n" +
		"H='${X}'\n" +
		"I=end #c"
	f, err := Parse("x.env", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.Entries {
		q := string(rune(e.Quote))
		if e.Quote == 0 {
			q = "-"
		}
		got = append(got, fmt.Sprintf("%d:%d %s %s %t %t %t %q", e.Line, e.Column, e.Key, q, e.Export, e.Expands, e.Value.IsSet(), e.Value.Reveal()))
		if text := src[e.Start:e.End]; !strings.Contains(text, e.Key) || !strings.HasSuffix(text, src[e.ValueStart:e.ValueEnd]) {
			t.Errorf("%s: span %q", e.Key, text)
		}
	}
	want := []string{
		`2:1 A - false false true "1"`,
		`3:10 B ' true false true "two #2"`,
		`4:1 C " false false true "a\"b\nc"`,
		`5:1 D ' false false true "line\ntwo"`,
		`7:1 E - false false false ""`,
		`8:1 F - false true true "$H"`,
		`9:1 A " false false true "$3"`,
		`10:1 G - false false true "x"`,
		`11:1 H ' false true true "${X}"`,
		`12:1 I - false false true "end"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(f.Problems) != 1 || f.Problems[0].Line != 10 || f.Problems[0].Key != "G" {
		t.Errorf("%+v", f.Problems)
	}
	if e, ok := f.Lookup("A"); !ok || e.Line != 9 {
		t.Errorf("A: the last wins, got line %d", e.Line)
	}
	if d := f.Duplicates(); len(d) != 1 || d[0].Line != 2 {
		t.Errorf("duplicates %+v", d)
	}
	if s := fmt.Sprintf("%v %+v %#v", f, *f, f); strings.Contains(s, "two #2") {
		t.Errorf("printing a file shows values: %s", s)
	}
}

// Every bad line is a problem with its place, and the rest is read.
func TestParseProblems(t *testing.T) {
	for _, c := range []struct {
		src       string
		line, col int
		kind      ProblemKind
		keys      string
	}{
		{"A=1\n=x\nB=2", 2, 1, Refused, "A B"},
		{"A=1\nB x\nC=2", 2, 1, Refused, "A C"},
		{"A=1\n  B='x\nC=2", 2, 3, Refused, "A B C"},
		{"A=\"x\"y\nC=2", 1, 1, Refused, "A C"},
		{"A=1\n\xff=2\nC=3", 2, 1, Refused, "A C"},
		{"A=\xff", 1, 0, Refused, "A"},
		{"A:x", 1, 1, Ignored, "A"},
		{"\x00", 1, 1, Refused, ""},
	} {
		f, err := Parse("f", []byte(c.src))
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range f.Entries {
			keys = append(keys, e.Key)
		}
		if len(f.Problems) == 0 || f.Problems[0].Line != c.line || f.Problems[0].Column != c.col || f.Problems[0].Kind != c.kind ||
			strings.Join(keys, " ") != c.keys {
			t.Errorf("%q: %+v, keys %v", c.src, f.Problems, keys)
		}
	}
}

// Where nothing is expanded and nothing wrong, Parse is docker compose's reading.
func TestParseIsCompose(t *testing.T) {
	compared := 0
	for _, s := range texts(3000) {
		compared += sameAsCompose(t, s)
	}
	if compared < 1000 {
		t.Errorf("only %d texts were compared", compared)
	}
}

func sameAsCompose(t *testing.T, s string) int {
	f, err := Parse("f", []byte(s))
	if err != nil || len(f.Problems) > 0 {
		return 0
	}
	want := ""
	for _, e := range f.Entries {
		if e.Expands {
			return 0
		}
		if e.Value.IsSet() {
			want += fmt.Sprintf("%d %q=%q ", e.Line, e.Key, e.Value.Reveal())
		}
	}
	r, err := ReadAs(Compose, "f", []byte(s), nil)
	if has(r, Expands) {
		return 0 // $1: compose leaves it, Parse too
	}
	got := ""
	for _, a := range r.Assignments {
		if a.Key != "" {
			got += fmt.Sprintf("%d %q=%q ", a.Line, a.Key, a.Value.Reveal())
		}
	}
	if err != nil && !strings.Contains(s, "${") || err == nil && got != want {
		t.Errorf("%q: Parse %s, compose %s (%v)", s, want, got, err)
	}
	return 1
}

func TestBounds(t *testing.T) {
	big := make([]byte, MaxSize+1)
	if _, err := Parse("f", big); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
	for _, d := range Dialects() {
		if _, err := ReadAs(d, "f", big, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", d, err)
		}
	}
	dir := t.TempDir()
	if _, err := Read(filepath.Join(dir, "none")); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := Read(dir); !fault.Is(err, fault.Invalid) {
		t.Errorf("a folder: %v", err)
	}
	path := filepath.Join(dir, ".env")
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Read(path); err != nil || len(f.Entries) != 1 || f.Name != path {
		t.Errorf("%v %v", f, err)
	}
	if err := os.WriteFile(path, big, 0o600); err != nil {
		t.Fatal(err)
	}
	var fe *fault.Error
	if _, err := Read(path); !errors.As(err, &fe) || fe.Kind != fault.Invalid {
		t.Errorf("%v", err)
	}
}

// Hostile texts end in time; a quadratic reader takes minutes.
func TestHostileSizes(t *testing.T) {
	for _, unit := range []string{"A='", "A=\"\\\"", "A=$(\n", "A=${\n", "A=`\n", "${", "A=${A:-", "${:", "A='\\'\n", "\n", " ", "A=~:", "#\n", "A\n", "A=\n", "export ", "A=\"a\n", "\\", "A=$A$A\n"} {
		src := []byte("Z=" + strings.Repeat(unit, (128<<10)/len(unit)))
		if _, err := Parse("f", src); err != nil {
			t.Error(err)
		}
		for _, d := range Dialects() {
			_, _ = ReadAs(d, "f", src, nil)
		}
		_ = ReadShell(src)
	}
}

func TestAllocations(t *testing.T) {
	src := bigFile()
	// go-envparse makes 20,000 for these 10,000 lines and more.
	if n := testing.AllocsPerRun(5, func() { _, _ = Parse("f", src) }); n > 50 {
		t.Errorf("Parse of 10,000 lines makes %v allocations", n)
	}
}

func bigFile() []byte {
	var b strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&b, "# a comment\nSERVICE_%d_URL=https://service-%d.example.com:8443/path?x=%d\nKEY_%d='a quoted value %d'\nNAME_%d=\"esc \\\"%d\\\" # no\" # yes\n", i, i, i, i, i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	src := bigFile()
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("f", src); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		if len(v.line) < 1000 {
			f.Add([]byte(v.line))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("f", src)
		if err != nil {
			return
		}
		last := 0
		for _, e := range file.Entries {
			if e.Start < last || e.End < e.Start || e.ValueStart < e.Start || e.ValueEnd > e.End || e.End > len(src) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("span %+v", e)
			}
			if want := 1 + strings.Count(string(src[:e.Start]), "\n"); e.Line != want {
				t.Fatalf("line %d, want %d", e.Line, want)
			}
			last = e.End
		}
		sameAsCompose(t, string(src))
		for _, d := range Dialects() {
			_, _ = ReadAs(d, "f", src, nil)
		}
		_ = ReadShell(src)
	})
}
