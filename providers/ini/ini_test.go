package ini

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

func env(k string) (string, bool) {
	v, ok := map[string]string{"SET": "x", "EMPTY": ""}[k]
	return v, ok
}

func TestParse(t *testing.T) {
	f, err := Parse("production-secrets.ini", []byte("; c\n[facebook]\nConsumer_Key = abc\nsecret: $SET ; no comment\n[media]\n# c\nlist =\n  a\n\n  b\n[x]\np=50%%\nq=%(p)s/%(P)s\n"))
	if err != nil || len(f.Problems) > 0 {
		t.Fatal(err, f)
	}
	_, _, err = f.Resolve(env, true)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "SET ; no comment is unset") || !strings.Contains(err.Error(), "ini:4") {
		t.Errorf("%v: an inline comment is part of the name", err)
	}
	values, problems, err := f.Resolve(env, false)
	got := ""
	for _, v := range values {
		got += fmt.Sprintf("%d %s.%s=%q ", v.Line, v.Section, v.Key, v.Value.Reveal())
	}
	want := `3 facebook.consumer_key="abc" 4 facebook.secret="" 7 media.list="\na\n\nb" 12 x.p="50%" 13 x.q="50%/50%" `
	if got != want || err != nil || len(problems) != 1 || problems[0].Line != 4 {
		t.Errorf("got\n%s\nwant\n%s\n%v %+v", got, want, err, problems)
	}
	if s := fmt.Sprintf("%+v %+v", *f, values); strings.Contains(s, "abc") {
		t.Error("printing shows a value")
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ src, strict, lax string }{
		{"a=$SET", "x", "x"},
		{"a=$EMPTY", "!EMPTY is unset or empty", "!"},
		{"a=$NOPE", "!NOPE is unset or empty", "!"},
		{"a=100%", "!write %%", "100%"},
		{"a=%(b)s", "!names no option", "%(b)s"},
		{"a=%(b", "!without its )s", "%(b"},
		{"a=%(b)s\nb=%(a)s", "!in a circle", "!"},
		{"a=x$SET", "x$SET", "x$SET"},
		{"a=%(b)s\nb=$SET", "x", "x"},
		{"b=1\na=%(B)s%%(b)s", "1%(b)s", "1%(b)s"},
	} {
		f, err := Parse("f", []byte("[s]\n"+c.src))
		if err != nil {
			t.Fatal(err)
		}
		for _, strict := range []bool{true, false} {
			want := c.lax
			if strict {
				want = c.strict
			}
			values, problems, err := f.Resolve(env, strict)
			got := "!"
			if err != nil {
				got += err.Error()
			}
			for _, v := range values {
				if v.Key == "a" && v.Value.IsSet() {
					got = v.Value.Reveal()
				}
			}
			if strings.HasPrefix(want, "!") && (!strings.HasPrefix(got, "!") || !strings.Contains(got, want[1:])) || !strings.HasPrefix(want, "!") && got != want ||
				!strict && want == "!" && len(problems) == 0 {
				t.Errorf("%q strict=%t: %q, want %q (%v)", c.src, strict, got, want, problems)
			}
		}
	}
}

func TestBounds(t *testing.T) {
	if _, err := Parse("f", make([]byte, MaxSize+1)); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
	for _, base := range []string{strings.Repeat("x", 1000), ""} {
		b := "[s]\na0=" + base + "\n"
		for i := range 9 {
			b += fmt.Sprintf("a%d=%s\n", i+1, strings.Repeat(fmt.Sprintf("%%(a%d)s", i), 20))
		}
		f, err := Parse("f", []byte(b))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Resolve(env, true); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "bound") {
			t.Errorf("%v", err)
		}
	}
}

// Python's own configparser reads written and random files the same way.
func TestRealConfigparser(t *testing.T) {
	python := realtest.Tool(t, "python3")
	texts := []string{
		"[a]\nB=1\n", "a=1\n[s]\nb=2", "[s]\na=1\na=2", "[s]\n[s]\n", "[s]\na\nb=1", "[s]\na=1\n  b=2\n c=3\nd=4", "[]\na=1", "[a]]x\nb=1",
		"[DEFAULT]\nx=1\n[s]\ny=%(x)s", "[s]\na=1\n\n#c\n  2\n\n\nb=3", "[s]\n a=1\nb=2\n  c=3", "[s]\n=1", "[s]\na : b = c", "[s]\r\na=1\r\n",
	}
	random := rand.New(rand.NewSource(5))
	pieces := []string{"a", "B", "=", ":", "%", "%(a)s", "%%", "(", " ", "  ", "\n", "\n", "\n[s]\n", "[", "]", "#", ";", "\t", "é", "x"}
	for range 800 {
		text := "[s]\n"
		for range random.Intn(14) {
			text += pieces[random.Intn(len(pieces))]
		}
		texts = append(texts, text)
	}
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "in.json")
	if err := os.WriteFile(path, input, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "-c", `
import configparser, json, sys
out = []
for text in json.load(open(sys.argv[1])):
    c = configparser.ConfigParser()
    try:
        c.read_string(text.replace("\r\n", "\n"))
        names = [s for s in c.sections()] + (["DEFAULT"] if c.defaults() else [])
        out.append({s + "." + k: c.get(s, k) for s in names for k in (c._sections[s] if s != "DEFAULT" else c.defaults())})
    except configparser.Error:
        out.append(None)
json.dump(out, sys.stdout)`, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []map[string]string
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	read := 0
	for i, text := range texts {
		f, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		values, _, err := f.Resolve(func(string) (string, bool) { return "", false }, true)
		got := map[string]string{}
		for _, v := range values {
			got[v.Section+"."+v.Key] = v.Value.Reveal()
		}
		refused := err != nil || len(f.Problems) > 0
		if refused != (want[i] == nil) || !refused && fmt.Sprint(got) != fmt.Sprint(want[i]) {
			t.Errorf("%q: configparser %q, we %q (%v %v)", text, fmt.Sprint(want[i]), fmt.Sprint(got), err, f.Problems)
		}
		if !refused {
			read++
		}
	}
	if read < 150 {
		t.Errorf("only %d texts were readable", read)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[s]\na=%(b)s\nb=$SET\n  c\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("f", src)
		if err != nil {
			return
		}
		for _, strict := range []bool{true, false} {
			_, _, _ = file.Resolve(env, strict)
		}
	})
}
