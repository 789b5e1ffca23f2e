package dotenv

import (
	"bytes"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name, src, key, value, want string
		readers                     []Dialect
	}{
		{"plain", "A=1\nB=2\nC=3\n", "B", "x", "A=1\nB=x\nC=3\n", nil},
		{"comment and blanks stay", "A=1\n  B = 2   # note  \n#C=3\n", "B", "x", "A=1\n  B = x   # note  \n#C=3\n", nil},
		{"quotes like before", "B=\"2\"\n", "B", "x", "B=\"x\"\n", nil},
		{"single quotes like before", "export B='2' # c\n", "B", "x", "export B='x' # c\n", []Dialect{Sh, Compose, Python}},
		{"quotes where needed", "B=2\n", "B", "a b #c", "B='a b #c'\n", []Dialect{Sh, Compose, Python}},
		{"CRLF and byte order mark", bom + "A=1\r\nB=2\r\n", "B", "x", bom + "A=1\r\nB=x\r\n", []Dialect{Compose, Docker}},
		{"no newline at the end", "A=1\nB=2", "B", "x", "A=1\nB=x", nil},
		{"the duplicate that wins", "B=1\nB=2\n", "B", "x", "B=1\nB=x\n", nil},
		{"several lines", "B='1\n2'\nC=3\n", "B", "x", "B='x'\nC=3\n", nil},
		{"a newline", "B=1\nC=3\n", "B", "x\ny", "B='x\ny'\nC=3\n", []Dialect{Sh, Compose, Python}},
		{"a dollar", "B=1\n", "B", "pa$word", "B='pa$word'\n", []Dialect{Sh, Compose, Python}},
		{"empty", "B=1\n", "B", "", "B=\n", nil},
		{"from empty", "B=\nC=1\n", "B", "x", "B=x\nC=1\n", nil},
		{"what looks like a comment is the value", "B= # none\n", "B", "x", "B= x\n", nil},
		{"bare name", "A=1\nB\nC=2\n", "B", "x", "A=1\nB=x\nC=2\n", nil},
		{"added", "A=1\n", "B", "x", "A=1\nB=x\n", nil},
		{"added without a last newline", "A=1", "B", "x", "A=1\nB=x", nil},
		{"an empty value and CRLF", "A=1\r\nKEY=\r\nB=2\r\n", "KEY", "x", "A=1\r\nKEY=x\r\nB=2\r\n", []Dialect{Compose, Dokploy}},
		{"added to CRLF", "A=1\r\n", "B", "x", "A=1\r\nB=x\r\n", nil},
		{"added to nothing", "", "B", "x", "B=x\n", nil},
		{"added to a byte order mark", bom, "B", "x", bom + "B=x\n", nil},
		{"docker has no comments", "B=1 # c\n", "B", "x", "B=x\n", []Dialect{Docker}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Set([]byte(c.src), c.key, secret.New(c.value), c.readers...)
			if err != nil || string(e.Src) != c.want {
				t.Errorf("%q %v, want %q", e.Src, err, c.want)
			}
		})
	}
}

func TestSetSays(t *testing.T) {
	e, err := Set([]byte("B=1\nA=1\nB=2\nB=3 #c\n"), "B", secret.New("x"), Docker)
	if err != nil || len(e.Lines) != 1 || e.Lines[0] != 4 || len(e.Overridden) != 2 || e.Overridden[1] != 3 || !e.DroppedComment || e.Added {
		t.Errorf("%+v %v", e, err)
	}
	if e, err = Set([]byte("A=1\n"), "B", secret.New("x")); err != nil || !e.Added || e.Lines[0] != 2 {
		t.Errorf("%+v %v", e, err)
	}
}

func TestSetRefuses(t *testing.T) {
	for _, c := range []struct {
		name, src, key, value string
		kind                  fault.Kind
		readers               []Dialect
	}{
		{"a shell reads CR", "A=1\r\nB=2\r\n", "B", "x", fault.Refused, []Dialect{Sh}},
		{"docker has no newlines", "B=2\n", "B", "x\ny", fault.Refused, []Dialect{Docker}},
		{"a broken file", "A='x\nB=2\n", "B", "x", fault.Refused, []Dialect{Compose}},
		{"blanks around = in a shell", "B = 2\n", "B", "x", fault.Refused, []Dialect{Sh}},
		{"a bad name", "A=1\n", "B-C", "x", fault.Usage, nil},
		{"a newline in the name", "A=1\n", "B\nC", "x", fault.Usage, nil},
		{"NUL in a shell", "B=1\n", "B", "\x00", fault.Refused, []Dialect{Sh}},
		{"too large", "B=1\n", "B", strings.Repeat("x", MaxSize), fault.Refused, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Set([]byte(c.src), c.key, secret.New(c.value), c.readers...)
			if !fault.Is(err, c.kind) || e.Src != nil {
				t.Errorf("%q %v, want kind %v", e.Src, err, c.kind)
			}
		})
	}
}

func TestUnset(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"A=1\nB=2\nC=3\n", "A=1\nC=3\n"},
		{"B=2\n", ""},
		{"A=1\nB=2", "A=1"},
		{"A=1\r\nB=2", "A=1"},
		{bom + "B=2\r\nC=3\r\n", bom + "C=3\r\n"},
		{"B=1\n# c\nB='2\n3' # d\nC=3", "# c\nC=3"},
		{"#B=1\nexport B=1\n", "#B=1\n"},
	} {
		e, err := Unset([]byte(c.src), "B", Compose)
		if err != nil || string(e.Src) != c.want {
			t.Errorf("%q: %q %v, want %q", c.src, e.Src, err, c.want)
		}
	}
	// python-dotenv takes the byte order mark for a part of the first name.
	if _, err := Unset([]byte(bom+"B=2\nC=3\n"), "B", Python); !fault.Is(err, fault.Refused) {
		t.Errorf("%v", err)
	}
	if _, err := Unset([]byte("A=1\n"), "B"); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

// Whatever the file and the value: set gives the value back and keeps every
// byte outside one line, or refuses.
func FuzzSet(f *testing.F) {
	for _, v := range hardValues(0) {
		if len(v) < 1000 {
			f.Add([]byte("A=1 # c\nKEY=old\r\nB='x'"), v, uint8(1))
			f.Add([]byte("A=1\n"), v, uint8(31))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, value string, which uint8) {
		var readers []Dialect
		for i, d := range Dialects() {
			if which&(1<<i) != 0 {
				readers = append(readers, d)
			}
		}
		e, err := Set(src, "KEY", secret.New(value), readers...)
		if err != nil {
			return
		}
		for _, d := range readers {
			r, err := ReadAs(d, "f", e.Src, nil)
			if got := r.Values()["KEY"]; err != nil || !got.IsSet() || got.Reveal() != value {
				t.Fatalf("%s reads %q for %q in %q (%v)", d, got.Reveal(), value, e.Src, err)
			}
		}
		file, err := Parse("f", e.Src)
		if err != nil {
			t.Fatal(err)
		}
		entry, ok := file.Lookup("KEY")
		if !ok || entry.Value.Reveal() != value {
			t.Fatalf("Parse reads %q for %q in %q", entry.Value.Reveal(), value, e.Src)
		}
		// All that changed is one stretch, from the old key's = to its line's end.
		n := 0
		for n < len(src) && n < len(e.Src) && src[n] == e.Src[n] {
			n++
		}
		if old, err := Parse("f", src); err == nil {
			if was, ok := old.Lookup("KEY"); ok && !bytes.Equal(src, e.Src) {
				end := len(src)
				if i := bytes.IndexByte(src[was.ValueEnd:], '\n'); i >= 0 {
					end = was.ValueEnd + i
				}
				if n < was.Start || !bytes.HasSuffix(e.Src, src[end:]) {
					t.Fatalf("%q became %q", src, e.Src)
				}
			}
		}
	})
}

// A line goes back as it was written, whatever stands there now.
func TestLineGoesBack(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		"A=1\nKEY=old\nB=2\n", "A=1\nexport KEY=\"o l d\"   # why\nB=2\n", "KEY=old", "\uFEFFKEY=old\r\nA=1\r\n",
		"KEY=first\nA=1\nKEY='se\ncond'\nB=2\n", "A=1\n  KEY = ${{project.X}}\n",
	} {
		line, err := Line([]byte(src), "KEY")
		if err != nil || !line.IsSet() {
			t.Fatalf("%q: %v", src, err)
		}
		changed, err := Set([]byte(src), "KEY", secret.New("new"), Dokploy)
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		back, err := SetLine(changed.Src, "KEY", line, Dokploy)
		if err != nil || string(back.Src) != src {
			t.Errorf("%q came back as %q: %v", src, back.Src, err)
		}
	}
	for src, want := range map[string]string{"": "KEY=x\n", "A=1": "A=1\nKEY=x", "A=1\n": "A=1\nKEY=x\n", "A=1\r\n": "A=1\r\nKEY=x\r\n", "\uFEFF": "\uFEFFKEY=x\n"} {
		if e, err := SetLine([]byte(src), "KEY", secret.New("KEY=x"), Dokploy); err != nil || string(e.Src) != want || !e.Added {
			t.Errorf("%q became %q: %v", src, e.Src, err)
		}
	}
	if line, err := Line([]byte("A=1\n"), "KEY"); err != nil || line.IsSet() {
		t.Error("a line of nothing", err)
	}
	if _, err := SetLine([]byte("A=1\nKEY=2\nB='3'\n"), "KEY", secret.New("KEY='"), Dokploy); err == nil {
		t.Error("a line that swallows the next one was put in")
	}
}
