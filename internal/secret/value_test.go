package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// canary is the value that must never be seen; its middle also shows up if
// something prints it quoted, in part, or as hexadecimal digits.
const canary = "canary-4f2b9c-value"

type outer struct {
	Exported   Value
	unexported Value
	Pointer    *Value
	pointer    *Value
	Slice      []Value
	Map        map[string]Value
	keys       map[Value]int
	Any        any
	inner      struct{ deep []any }
}

func newOuter() outer {
	v := New(canary)
	o := outer{v, New(canary), &v, &v, []Value{v}, map[string]Value{"k": v}, map[Value]int{v: 1}, v, struct{ deep []any }{}}
	o.inner.deep = []any{v, &v, []Value{v}}
	return o
}

// leaks returns the spelling in which s shows the canary, "" when it does not.
func leaks(s string) string {
	for _, form := range []string{
		"4f2b9c", fmt.Sprintf("%x", "4f2b9c"), fmt.Sprintf("%X", "4f2b9c"), fmt.Sprintf("% x", "4f2b9c"),
		"52 102 50 98 5", "NGYyYjlj", "RmMmI5Y", "0ZjJiOW",
	} {
		if strings.Contains(s, form) {
			return form
		}
	}
	return ""
}

func TestNoVerbPrintsAValue(t *testing.T) {
	t.Parallel()
	v := New(canary)
	o := newOuter()
	key := NewKey([]byte(canary))
	things := map[string]any{
		"value": v, "pointer": &v, "slice": []Value{v}, "array": [1]Value{v}, "map": map[string]Value{"k": v},
		"keyed": map[Value]bool{v: true}, "outer": o, "outer pointer": &o, "any": []any{v, o, &o},
		"chan": make(chan Value), "func": v.Reveal, "fingerprint key": key, "fingerprint key inside": struct{ k Key }{key},
	}
	for name, thing := range things {
		for verb := rune('!'); verb <= '~'; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "40", ".9", "[1]", "+40.9"} {
				if verb == '[' || verb == '%' || verb == '*' || strings.ContainsRune("0123456789.+-# ", verb) {
					continue // not a verb
				}
				format := "%" + flags + string(verb)
				if form := leaks(fmt.Sprintf(format, thing)); form != "" {
					t.Errorf("%s with %s shows %q", name, format, form)
				}
			}
		}
		for _, s := range []string{fmt.Sprint(thing), fmt.Sprintln(thing), string(fmt.Append(nil, thing))} {
			if form := leaks(s); form != "" {
				t.Errorf("%s printed shows %q", name, form)
			}
		}
	}
}

// The detector detects: the obvious design without a pointer leaks.
func TestDetectorSeesAPlainField(t *testing.T) {
	t.Parallel()
	type plain struct{ s string }
	leaky := struct{ p plain }{plain{canary}}
	inBase64, _ := json.Marshal([]byte(canary))
	for name, s := range map[string]string{
		"%+v": fmt.Sprintf("%+v", leaky), "%x": fmt.Sprintf("%x", leaky), "% x": fmt.Sprintf("% x", leaky), "%X": fmt.Sprintf("%X", leaky),
		"%q": fmt.Sprintf("%q", leaky), "bytes": fmt.Sprintf("%d", []byte(canary)), "base64": string(inBase64),
	} {
		if leaks(s) == "" {
			t.Errorf("%s goes unseen", name)
		}
	}
}

func TestNoEncoderWritesAValue(t *testing.T) {
	t.Parallel()
	o := newOuter()
	out := map[string]string{}
	add := func(name string, b []byte, err error) { out[name] = fmt.Sprintf("%s %v", b, err) }

	b, err := json.Marshal(o)
	add("json", b, err)
	b, err = json.MarshalIndent(map[string]any{"k": &o, "v": []Value{New(canary)}}, "", " ")
	add("json map", b, err)
	b, err = json.Marshal(map[Value]Value{New(canary): New(canary)})
	add("json key", b, err)
	b, err = New(canary).MarshalText()
	add("text", b, err)
	type element struct {
		V Value `xml:"v"`
		A Value `xml:"a,attr"`
	}
	b, err = xml.Marshal(element{New(canary), New(canary)})
	add("xml", b, err)
	b, err = yaml.Marshal(o)
	add("yaml", b, err)
	b, err = yaml.Marshal(map[string]any{"v": New(canary), "p": o.Pointer})
	add("yaml map", b, err)
	var buf bytes.Buffer
	err = gob.NewEncoder(&buf).Encode(struct{ V Value }{New(canary)})
	add("gob", buf.Bytes(), err)
	if err == nil {
		t.Error("gob took a value")
	}
	buf.Reset()
	err = template.Must(template.New("").Parse(`{{.}} {{printf "%s" .Exported}} {{.Exported | html}}`)).Execute(&buf, o)
	add("template", buf.Bytes(), err)

	for name, s := range out {
		if form := leaks(s); form != "" {
			t.Errorf("%s shows %q", name, form)
		}
	}
	for _, name := range []string{"json", "json map", "json key", "text", "xml", "yaml", "yaml map"} {
		if !strings.Contains(out[name], redacted) {
			t.Errorf("%s does not say that something was left out: %s", name, out[name])
		}
	}
}

func TestNoLogHoldsAValue(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	opts := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
	o := newOuter()
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, opts), slog.NewJSONHandler(&buf, opts)} {
		l := slog.New(h).With("with", New(canary), slog.Group("g", "v", New(canary), "o", o))
		l.Info("message", "value", New(canary), "outer", o, "pointer", &o, "map", map[string]Value{"k": New(canary)})
		l.Error("failed", "err", fmt.Errorf("wrapped: %w", errors.New(New(canary).String())), "any", slog.AnyValue(New(canary)))
	}
	if form := leaks(buf.String()); form != "" {
		t.Errorf("a log shows %q:\n%s", form, buf.String())
	}
	if n := strings.Count(buf.String(), redacted); n < 8 {
		t.Errorf("%d placeholders in\n%s", n, buf.String())
	}
}

func TestNoErrorHoldsAValue(t *testing.T) {
	t.Parallel()
	v := New(canary)
	for _, err := range []error{
		fmt.Errorf("write %v: %s %q %x", v, v, &v, v),
		errors.Join(fmt.Errorf("a %v", newOuter()), fmt.Errorf("b %+v", []any{v})),
	} {
		if form := leaks(fmt.Sprintf("%v %+v %#v", err, err, err)); form != "" {
			t.Errorf("an error shows %q: %v", form, err)
		}
	}
}

// What a crash prints, with every goroutine's arguments.
func TestNoPanicPrintsAValue(t *testing.T) {
	if which := os.Getenv("PANIC"); which != "" {
		crash(which, New(canary))
	}
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, which := range []string{"value", "pointer", "outer", "error", "inside"} {
		cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestNoPanicPrintsAValue$")
		cmd.Env = append(os.Environ(), "PANIC="+which, "GOTRACEBACK=all")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "panic") {
			t.Errorf("%s: no panic: %s", which, out)
		}
		if form := leaks(string(out)); form != "" {
			t.Errorf("%s: a crash shows %q:\n%s", which, form, out)
		}
	}
}

func crash(which string, v Value) {
	switch which {
	case "value":
		panic(v)
	case "pointer":
		panic(&v)
	case "outer":
		panic(newOuter())
	case "error":
		panic(fmt.Errorf("%v %+v", v, newOuter()))
	default: // a crash of the runtime's own, with v among the arguments
		_ = []Value{v}[v.Len()]
	}
}

func TestUnsetIsNotEmpty(t *testing.T) {
	t.Parallel()
	var unset Value
	empty, a, b := New(""), New("a"), New("b")
	for _, c := range []struct {
		x, y Value
		want bool
	}{
		{unset, unset, true},
		{unset, empty, false},
		{empty, unset, false},
		{empty, New(""), true},
		{a, New("a"), true},
		{a, b, false},
		{a, New("aa"), false},
		{unset, a, false},
	} {
		if got := c.x.Equal(c.y); got != c.want {
			t.Errorf("%q equals %q: %v", c.x.Reveal(), c.y.Reveal(), got)
		}
	}
	if unset.IsSet() || !empty.IsSet() || unset.Len() != 0 || a.Len() != 1 || unset.Reveal() != "" {
		t.Error("unset, empty and set are mixed up")
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	k1, k2 := NewKey([]byte("0123456789abcdef")), NewKey([]byte("fedcba9876543210"))
	a := k1.Fingerprint(New("a"))
	if len(a) != 12 || a != k1.Fingerprint(New("a")) || a == k1.Fingerprint(New("b")) || a == k2.Fingerprint(New("a")) {
		t.Errorf("fingerprint %q", a)
	}
	// HMAC-SHA256 as Python's hmac gives it, so that others can compute it.
	if a != "0c806ca38a87" {
		t.Errorf("fingerprint %q", a)
	}
	if k1.Fingerprint(Value{}) != "" || k1.Fingerprint(New("")) == "" || (Key{}).Fingerprint(New("a")) != "" {
		t.Error("unset and empty are mixed up")
	}
	random := []byte("0123456789abcdef")
	k := NewKey(random)
	random[0] = 'x'
	if k.Fingerprint(New("a")) != a {
		t.Error("the key is the caller's slice")
	}
}
