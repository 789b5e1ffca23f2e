package layer

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// storeContent is what the tests' store holds below secret/data/ledger/<env>/.
var storeContent = map[string]map[string]string{
	"app": {
		"SECRET_KEY": "s3cr3t", "A": "v1", "B": "b b", "SPACED": "  a b ", "CSV": "one,two,three", "NUMBER": "5432", "BIG": "12345678901234567890",
		"TRUE": "true", "FALSE": "false", "LIST": `[1,"x"]`, "EMPTY": "",
	},
	"postgres": {"POSTGRES_PASSWORD": "pg-pass"},
	"redis":    {"REDIS_PASSWORD": "re-pass"},
}

var nonString = []string{"BIG", "FALSE", "LIST", "NUMBER", "TRUE"}

// fakeStore serves storeContent, with the keys of more in each path.
func fakeStore(more map[string]string) func(context.Context, string) (SecretData, error) {
	return func(_ context.Context, path string) (SecretData, error) {
		name := path[strings.LastIndexByte(path, '/')+1:]
		content, ok := storeContent[name]
		if !ok {
			return SecretData{}, fault.New(fault.NotFound, "read "+path, "never written", "")
		}
		d := SecretData{Values: map[string]secret.Value{}, Version: 3, Created: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
		for k, v := range content {
			d.Values[k] = secret.New(v)
		}
		if name == "app" {
			d.NonString = nonString
			for k, v := range more {
				d.Values[k] = secret.New(v)
			}
		}
		return d, nil
	}
}

func render(t *testing.T, src string, in RenderInput) Rendered {
	t.Helper()
	tpl, err := ParseTemplate("t.ctmpl", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if in.Secret == nil {
		in.Secret = fakeStore(nil)
	}
	if in.Env == nil {
		in.Env = map[string]string{"ENV": "production"}
	}
	r, err := Render(t.Context(), tpl, in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func summary(r Rendered) string {
	var b strings.Builder
	for _, v := range r.Variables {
		fmt.Fprintf(&b, "%d/%d %s=%q\n", v.Line, v.TextLine, v.Name, v.Value.Reveal())
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "problem %d %s %s %s\n", p.Line, p.Rule, p.Variable, p.Message)
	}
	return b.String()
}

func TestRender(t *testing.T) {
	for _, c := range []struct {
		name, src, text, want string
		more                  map[string]string
	}{
		{
			"plain", app + "\nA={{ .Data.data.A }}\nB={{ printf \"%q\" .Data.data.B }}\n{{ end }}", "\nA=v1\nB=\"b b\"\n",
			"2/2 A=\"v1\"\n3/3 B=\"b b\"\n", nil,
		},
		{
			"missing", app + "A={{ .Data.data.GONE }}\nB=x{{ printf \"%s-%q\" .Data.data.GONE .Data.data.A }}\nC={{ .Data.data.GONE | toJSON }}\nD={{ print .Data.data.GONE }}{{ end }}",
			"A=<no value>\nB=x%!s(<nil>)-\"v1\"\nC=null\nD=<nil>",
			"1/1 A=\"<no value>\"\n2/2 B=\"x%!s(<nil>)-\\\"v1\\\"\"\n3/3 C=\"null\"\n4/4 D=\"<nil>\"\n" +
				"problem 1 unsafe-for-shell A the shell reads < as an operator\nproblem 1 template-missing-value A <no value>: a key that is read here is not in the store\n" +
				"problem 2 unsafe-for-shell B the shell reads ( as an operator\nproblem 2 template-missing-value B %!s(<nil>): a value that is formatted here is missing or of the wrong kind\n" +
				"problem 3 template-missing-value C null: a value that is formatted here is missing or of the wrong kind\n" +
				"problem 4 unsafe-for-shell D the shell reads < as an operator\nproblem 4 template-missing-value D <nil>: a value that is formatted here is missing or of the wrong kind\n", nil,
		},
		{
			"a value with %! is no complaint", app + "A={{ printf \"%q\" .Data.data.V }}\nB={{ .Data.data.V }}\n{{ end }}", "A=\"%!s(x\"\nB=%!s\n",
			"",
			map[string]string{"V": "%!s"},
		},
		{
			"merged", app + "A={{ .Data.data.A -}}\nB=2\n{{ end }}", "A=v1B=2\n",
			"1/1 A=\"v1B=2\"\nproblem 2 template-merged-lines B a trim marker joins B to the line of A\n", nil,
		},
		{
			"%q changes a newline", app + "K={{ printf \"%q\" .Data.data.V }}\n{{ end }}", "K=\"a\\nb\"\n",
			"1/1 K=\"a\\\\nb\"\nproblem 1 unsafe-for-shell K the reader gets another value than the store holds: its quoting (as written, %q) does not suit the reader\n",
			map[string]string{"V": "a\nb"},
		},
		{
			"%q runs backticks", app + "K={{ printf \"%q\" .Data.data.V }}\n{{ end }}", "K=\"`id`\"\n",
			"1/1 K=\"`id`\"\nproblem 1 unsafe-for-shell K the shell runs a part of the value\n",
			map[string]string{"V": "`id`"},
		},
		{
			"%q expands $", app + "K={{ printf \"%q\" .Data.data.V }}\n{{ end }}", "K=\"pa$w\"\n",
			"1/1 K=\"pa\"\nproblem 1 unsafe-for-shell K the shell replaces what follows the $\n",
			map[string]string{"V": "pa$w"},
		},
		{
			"CRLF, said once", app + "\r\nA={{ .Data.data.A }}\r\n\r\nB={{ printf \"%q\" .Data.data.B }}\r\n{{ end }}\r\n", "\r\nA=v1\r\n\r\nB=\"b b\"\r\n\r\n",
			"2/2 A=\"v1\\r\"\n4/4 B=\"b b\\r\"\nproblem 2 unsafe-for-shell A lines of the template end in CRLF, and a shell takes the CR into the value\n", nil,
		},
		{
			"CRLF and a value that a shell changes", app + "\r\nA={{ .Data.data.A }}\r\nK={{ printf \"%q\" .Data.data.V }}\r\n{{ end }}", "\r\nA=v1\r\nK=\"a\\nb\"\r\n",
			"2/2 A=\"v1\\r\"\n3/3 K=\"a\\\\nb\\r\"\nproblem 2 unsafe-for-shell A lines of the template end in CRLF, and a shell takes the CR into the value\n" +
				"problem 3 unsafe-for-shell K the reader gets another value than the store holds: its quoting (as written, %q) does not suit the reader\n",
			map[string]string{"A": "v1", "V": "a\nb"},
		},
		{
			"a CR of the value is not the template's", app + "A={{ printf \"%q\" .Data.data.A }}\r\nK='{{ .Data.data.V }}'\n{{ end }}", "A=\"v1\"\r\nK='x\r'\n",
			"1/1 A=\"v1\\r\"\n2/2 K=\"x\\r\"\nproblem 1 unsafe-for-shell A lines of the template end in CRLF, and a shell takes the CR into the value\n",
			map[string]string{"A": "v1", "V": "x\r"},
		},
		{
			"shquote", app + "K={{ shquote .Data.data.V }}\n{{ end }}", "K='it'\\''s `$(x)` \"q\"\n!'\n",
			"1/1 K=\"it's `$(x)` \\\"q\\\"\\n!\"\n",
			map[string]string{"V": "it's `$(x)` \"q\"\n!"},
		},
		{
			"an assignment inside a value", app + "K={{ .Data.data.V }}\n{{ end }}", "K=a\nEVIL=1\n",
			"1/1 K=\"a\"\n1/2 EVIL=\"1\"\nproblem 1 unsafe-for-shell EVIL a value holds a newline and brings an assignment of its own\n" +
				"problem 1 unsafe-for-shell K the reader gets another value than the store holds: its quoting (as written) does not suit the reader\n",
			map[string]string{"V": "a\nEVIL=1"},
		},
		{
			"composed", "{{ with secret \"secret/data/ledger/production/postgres\" }}U=\"postgres://u:{{ .Data.data.POSTGRES_PASSWORD }}@h/d\"\n{{ end }}",
			"U=\"postgres://u:pg-pass@h/d\"\n", "1/1 U=\"postgres://u:pg-pass@h/d\"\n", nil,
		},
		{
			"range", app + "{{ range $k, $v := .Data.data }}{{ if eq $k \"A\" \"B\" }}{{ $k }}={{ $v | toJSON }}\n{{ end }}{{ end }}{{ end }}",
			"A=\"v1\"\nB=\"b b\"\n", "1/1 A=\"v1\"\n1/2 B=\"b b\"\n", nil,
		},
		{
			"metadata", app + "V={{ .Data.metadata.version }} {{ .Data.metadata.destroyed }}{{ .Data.metadata.created_time }}\n{{ end }}",
			"V=3 false2026-01-02T03:04:05.000006Z\n", "", nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "a value with %! is no complaint" {
				c.text = "A=\"%!s\"\nB=%!s\n"
			}
			r := render(t, c.src, RenderInput{Secret: fakeStore(c.more)})
			if got := r.Text.Reveal(); got != c.text {
				t.Errorf("text %q, want %q", got, c.text)
			}
			if got := summary(r); c.want != "" && got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			if strings.HasPrefix(c.name, "a value with") && len(r.Problems) > 0 {
				t.Errorf("%+v", r.Problems)
			}
		})
	}
}

func TestRenderRequired(t *testing.T) {
	r := render(t, app+"A={{ .Data.data.EMPTY }}\n{{ end }}", RenderInput{Required: []string{"A", "B"}})
	if len(r.Problems) != 2 || r.Problems[0].Variable != "B" || r.Problems[1].Line != 1 || r.Problems[1].Rule != RuleMissingValue {
		t.Errorf("%+v", r.Problems)
	}
}

// The same text for another reader has other problems.
func TestRenderForOtherReaders(t *testing.T) {
	src := app + "K={{ printf \"%q\" .Data.data.V }}\n{{ end }}"
	in := RenderInput{Secret: fakeStore(map[string]string{"V": "a`b` c"}), Reader: dotenv.Compose}
	if r := render(t, src, in); len(r.Problems) != 0 {
		t.Errorf("compose runs nothing: %+v", r.Problems)
	}
	in.Reader = dotenv.Docker
	if r := render(t, src, in); len(r.Problems) != 1 || r.Problems[0].Variable != "K" {
		t.Errorf("docker keeps the quotes: %+v", r.Problems)
	}
}

// The goal is one round trip for all paths.
func TestRenderFetchesAtOnce(t *testing.T) {
	var running, peak, calls atomic.Int32
	store := fakeStore(nil)
	in := RenderInput{Secret: func(ctx context.Context, path string) (SecretData, error) {
		calls.Add(1)
		if n := running.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		time.Sleep(50 * time.Millisecond)
		running.Add(-1)
		return store(ctx, path)
	}}
	src := constructs[0].src
	for _, c := range constructs {
		if c.name == "several paths, composed" {
			src = c.src
		}
	}
	src += `{{ with secret "secret/data/ledger/production/app" }}Z={{ .Data.data.A }}{{ end }}`
	r := render(t, src, in)
	if calls.Load() != 3 || peak.Load() != 3 || len(r.Paths) != 3 {
		t.Errorf("%d calls, %d at once, paths %v", calls.Load(), peak.Load(), r.Paths)
	}
}

func TestRenderErrors(t *testing.T) {
	for _, c := range []struct {
		name, src, in string
		kind          fault.Kind
	}{
		{"absent path", `{{ with secret "secret/data/ledger/production/none" }}{{ end }}`, "never written", fault.NotFound},
		{"endless", "A=1\n{{ range 99999999999 }}{{ end }}", "t.ctmpl:2: it does not come to an end", fault.Invalid},
		{"growing text", `{{ $x := "aaaaaaaaaaaaaaaaaaaa" }}{{ range 60 }}{{ $x = printf "%s%s" $x $x }}{{ end }}`, "bound", fault.Invalid},
		{"growing by js", `{{ $x := "\\" }}{{ range 60 }}{{ $x = js $x }}{{ end }}`, "bound", fault.Invalid},
		{"growing by replaceAll", `{{ $x := "aaaaaaaaaa" }}{{ range 60 }}{{ $x = replaceAll "" $x $x }}{{ end }}`, "bound", fault.Invalid},
		{"growing output", `{{ $x := indent 1000000 "a" }}{{ range 60 }}{{ $x }}{{ end }}`, "bound", fault.Invalid},
		{"wrong kind", app + "\n{{ index .Data.data.A 99 }}{{ end }}", "t.ctmpl:2", fault.Invalid},
		{"an error that quotes a value", app + `{{ .Data.data.A | parseInt }}{{ end }}`, "parseInt: not a whole number", fault.Invalid},
		{"toUpper of nothing", app + "\n\n{{ .Data.data.GONE | toUpper }}{{ end }}", "t.ctmpl:3", fault.Invalid},
		// The real agent tries this for ever: see the test with vault agent.
		{"used before it is read", `{{ $s := secret "secret/data/ledger/production/app" }}{{ index $s.Data.data "A" }}`, "t.ctmpl:1: ", fault.Invalid},
		{"mustEnv", `{{ mustEnv "GONE" }}`, "GONE is empty", fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			tpl, err := ParseTemplate("t.ctmpl", []byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err = Render(t.Context(), tpl, RenderInput{Env: map[string]string{"ENV": "production"}, Secret: fakeStore(nil)})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.in) || strings.Contains(err.Error(), "v1") {
				t.Errorf("%v (%v), want kind %v with %q", err, fault.KindOf(err), c.kind, c.in)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tpl, err := ParseTemplate("t", []byte("{{ range 200000 }}{{ end }}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Render(ctx, tpl, RenderInput{}); !fault.Is(err, fault.Interrupted) {
		t.Errorf("%v", err)
	}
}

func TestRenderedIsRedacted(t *testing.T) {
	r := render(t, app+"A={{ .Data.data.SECRET_KEY }}\n{{ end }}", RenderInput{})
	if s := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(s, "s3cr3t") {
		t.Error(s)
	}
}

func BenchmarkRender(b *testing.B) {
	var src strings.Builder
	for _, c := range []string{"app", "postgres", "redis"} {
		fmt.Fprintf(&src, "{{ with secret (printf \"secret/data/ledger/%%s/%s\" (env \"ENV\")) }}\n", c)
		for i := range 14 {
			fmt.Fprintf(&src, "K%s%d={{ with .Data.data.A }}{{ printf \"%%q\" . }}{{ else }}\"default\"{{ end }}\n", strings.ToUpper(c), i)
		}
		src.WriteString("{{ end }}")
	}
	in := RenderInput{Env: map[string]string{"ENV": "production"}, Secret: fakeStore(nil)}
	for b.Loop() {
		tpl, err := ParseTemplate("t", []byte(src.String()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Render(b.Context(), tpl, in); err != nil {
			b.Fatal(err)
		}
	}
}
