package formats

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// hardValues returns values that break careless writers, and n random ones.
func hardValues(n int) []string {
	out := []string{
		"", "plain", "a b", " lead", "trail ", "a#b", "a #b", "#abc", "it's", `he "q"`, `it's "both"`, "$H", "${H}", "pa$word",
		"$$", "$", "100%", "%(x)s", "`id`", "$(id)", "x;id", "a&b", "a|b", "<x>", "(x)", "a\nb", "a\n", "\n", "\na", "a\n\nb", "a\n#b", "a\r\nb", "\r", "a\tb",
		`a\nb`, `C:\new\t`, `\`, `\\`, `trail\`, `'`, `"`, "''", `""`, `'"`, "`", "~", "~/x", "a:~/b", "=", "a=b", "é€😀", "\u00a0x", "a\u2028b",
		"\x1b[31m", "\u009b31m", "\u202eabc", "\x7f", "\x01", "!x", "*", "{a,b}", "postgres://u:p%40ss@h:5432/db?sslmode=require", "\ufeffx", "\ufffe", "\u0085",
		"-----BEGIN KEY-----\nMIIB\n-----END KEY-----\n", `{"a": "b's", "c": [1]}`, "b'gAAA='", strings.Repeat("x", 70<<10), "- a", "a: b", "? a", "&a", "*a", "!!int 3", "|", ">",
		"${{project.X}}", "${N:-d}", "{{ .Values.x }}", "# === X ===", "export A=1", "yes", "NO", "null", "true", "010", "1e3", "1.10", "12:30", "2024-01-01", "[main]", "a = b",
	}
	random := rand.New(rand.NewSource(11))
	chars := []rune("ab '\"\\$#`~:{}()=!\n\t;&|<>é-%@,[]\u00a0😀\x1c")
	for range n {
		var b strings.Builder
		for range 1 + random.Intn(10) {
			b.WriteRune(chars[random.Intn(len(chars))])
		}
		out = append(out, b.String())
	}
	return out
}

// options of a writer that a test needs.
func optionsFor(f Format) WriteOptions {
	o := WriteOptions{Services: []string{"backend", "worker"}, Name: "ledger-production-app", Sections: []string{"facebook"}}
	if f == Dotenv {
		o.Readers = []dotenv.Dialect{dotenv.Compose}
	}
	return o
}

// writable returns those values that a format takes, and has each of them read
// back equal; a refusal names the variable and never the value.
func writable(t *testing.T, f Format, o WriteOptions, values []string) map[string]secret.Value {
	t.Helper()
	out := map[string]secret.Value{}
	for i, v := range values {
		key := fmt.Sprintf("V_%d", i)
		one := map[string]secret.Value{"A": secret.New("1"), key: secret.New(v), "Z": secret.New("2")}
		if _, err := Write(f, one, o); err != nil {
			if !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), key) || fault.HintOf(err) == "" {
				t.Errorf("%s refuses %.40q in other words: %v, hint %q", f, v, err, fault.HintOf(err))
			}
			if len(v) > 8 && strings.Contains(err.Error()+fault.HintOf(err), v) {
				t.Errorf("%s shows the value: %v", f, err)
			}
			continue
		}
		out[key] = secret.New(v)
	}
	return out
}

func TestWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	values := hardValues(200)
	least := map[Format]int{Compose: len(values), Helm: len(values), JSON: len(values), K8s: len(values), Shell: len(values), YAML: len(values), Dotenv: 200, INI: 150}
	for _, f := range All() {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			good := writable(t, f, optionsFor(f), values)
			if len(good) < least[f] {
				t.Errorf("only %d of %d values can be written", len(good), len(values))
			}
			text, err := Write(f, good, optionsFor(f))
			if err != nil {
				t.Fatal(err)
			}
			items, err := Read(f, "f", []byte(text.Reveal()), ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, i := range items {
				if i.Why != "" && f != Dotenv {
					t.Errorf("%s: %s", i.Key, i.Why)
				}
				got[i.Key] = i.Value.Reveal()
			}
			for k, v := range good {
				if got[k] != v.Reveal() {
					t.Errorf("%.40q comes back as %.40q", v.Reveal(), got[k])
				}
			}
			if f == JSON || f == YAML || f == Helm || f == Compose || f == K8s {
				for _, r := range text.Reveal() {
					if r != '\n' && unprintable(r) {
						t.Fatalf("the text holds %U", r)
					}
				}
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	one := func(k, v string) map[string]secret.Value { return map[string]secret.Value{k: secret.New(v)} }
	for name, c := range map[string]struct {
		f      Format
		values map[string]secret.Value
		o      WriteOptions
		want   string // part of message or hint
	}{
		"newline for docker":       {Dotenv, one("KEY", "a\nb"), WriteOptions{Readers: []dotenv.Dialect{dotenv.Docker}}, "docker"},
		"blanks for all":           {Dotenv, one("KEY", "a b"), WriteOptions{}, "--for docker"},
		"a shell's own name":       {Shell, one("UID", "5"), WriteOptions{}, "keeps this name"},
		"no shell name":            {Dotenv, one("a.b", "5"), WriteOptions{}, "UPPER_SNAKE"},
		"ini dollar":               {INI, one("KEY", "$x"), WriteOptions{}, "begins with $"},
		"ini lower":                {INI, one("key", "x"), WriteOptions{}, "UPPER_SNAKE"},
		"secret's name":            {K8s, one("KEY", "x"), WriteOptions{Name: "Bad_Name"}, "--name"},
		"no service":               {Compose, one("KEY", "x"), WriteOptions{}, "--service"},
		"json is not UTF-8":        {JSON, one("KEY", "\xff"), WriteOptions{}, "another value"},
		"a path that is no path":   {Helm, one("KEY", "x"), WriteOptions{At: "a..b"}, "--at"},
		"two names of ini are one": {INI, map[string]secret.Value{"A_B": secret.New("1"), "a_b": secret.New("2")}, WriteOptions{}, "UPPER_SNAKE"},
	} {
		_, err := Write(c.f, c.values, c.o)
		if err == nil || !strings.Contains(err.Error()+fault.HintOf(err), c.want) {
			t.Errorf("%s: %v, hint %q", name, err, fault.HintOf(err))
		}
	}
	// An own name of the shell is nothing special to others.
	if _, err := Write(Dotenv, one("UID", "5"), WriteOptions{Readers: []dotenv.Dialect{dotenv.Compose}}); err != nil {
		t.Error(err)
	}
}

// show writes items as KEY=value, or KEY!why.
func show(items []Item) string {
	var b strings.Builder
	for _, i := range items {
		if i.Why != "" {
			fmt.Fprintf(&b, "%s!%s|", i.Key, strings.Fields(i.Why)[0])
			continue
		}
		fmt.Fprintf(&b, "%s=%s|", i.Key, i.Value.Reveal())
	}
	return b.String()
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f    Format
		at   string
		src  string
		want string // show's text, or part of the error with a leading ✗
	}{
		{JSON, "", `{"A": "x", "B": 12, "C": true, "D": null, "E": 0.5, "F": "\u00e9"}`, "A=x|B=12|C=true|D!null:|E=0.5|F=é|"},
		{JSON, "", `{"A": 1.10, "B": 1e3, "C": 12345678901234567890, "D": -0, "E": {"F": "x"}, "G": [1]}`, "A!a|B!a|C!a|D!a|E!an|G!an|"},
		{JSON, "data.data", `{"data": {"data": {"A": "x"}, "metadata": {"version": 1}}}`, "A=x|"},
		{JSON, "data", `{"other": {"A": "x"}}`, "✗has no map at data"},
		{JSON, "", `{"A": "x", "A": "y"}`, "✗:1: a key stands twice"},
		{JSON, "", "{\n\"A\": \"\\ud83d\"}", "✗:2: half of a surrogate"},
		{JSON, "", `{"A": "\\ud83d"}`, `A=\ud83d|`},
		{JSON, "", `{"A": "\ud83d\ude00"}`, "A=😀|"},
		{JSON, "", `[1]`, "✗not one object"},
		{JSON, "", `{"A": "x"} {}`, "✗text after"},
		{JSON, "", `{"A": `, "✗too early"},
		{JSON, "", `{"A": hunter2}`, "✗a character that cannot stand there"},
		{JSON, "", strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 30), "✗deeper than 20"},
		{JSON, "", `{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}", "✗deeper than 20"},

		{YAML, "", "A: x\nB: 12\nC: true\nD:\nE: 0.5\nF: \"yes\"\n", "A=x|B=12|C=true|D!null:|E=0.5|F=yes|"},
		{YAML, "", "A: yes\nB: 010\nC: 1.10\nD: 1e3\nE: 12:30\nF: 2024-01-01\nG: 0x1F\nH: Off\nI: True\nJ: 1_000\n", "A!a|B!a|C!a|D!a|E!digits|F!a|G!a|H!a|I!a|J!a|"},
		{YAML, "", "A: [1]\nB: {C: d}\n", "A!a|B!a|"},
		{YAML, "app.env", "app:\n  env:\n    A: x\n", "A=x|"},
		{YAML, "nope", "app:\n  env:\n    A: x\n", "✗has no map at nope"},
		{YAML, "", "A: |\n  line\n  two\nB: 'it''s'\n", "A=line\ntwo\n|B=it's|"},
		{YAML, "", "base: &b {A: x, B: y}\n", "base!a|"},
		{YAML, "env", "base: &b {A: x, B: y}\nenv:\n  <<: *b\n  B: z\n", "B=z|A=x|"},
		{YAML, "", "A: x\nA: y\n", "✗:2: a key stands twice"},
		{YAML, "", "A: x\n---\nB: y\n", "✗2 documents"},
		{YAML, "", "- A\n", "✗not a map"},
		{YAML, "", "A: \"unclosed\n", "✗not YAML"},
		{YAML, "a", "a: &a\n  <<: *a\n", "✗deeper than 20"},
		{YAML, "", "? [a]\n: x\n", "✗a key that is no text"},
		{YAML, "", "A: !!binary YQ==\nB: !x y\nC: !!str 12\n", "A!a|B!a|C=12|"},

		{Helm, "", "env:\n  A: x\n  B: 1000000\n  C: 999999\n", "A=x|B!a|C=999999|"},
		{Helm, "", "env:\n- name: A\n  value: x\n- name: B\n  valueFrom: {}\n", "A=x|B!no|"},
		{Helm, "", "app: {config: {A_KEY: x}}\n", "✗has no map at env"},

		{Compose, "", "services:\n  a:\n    environment:\n      A: x\n      B: pa$$word\n      C: $H\n      D: ${H:-x}\n      E:\n      F: 8080\n      G: yes\n", "A=x|B=pa$word|C!holds|D!holds|E!no|F=8080|G=yes|"},
		{Compose, "", "services:\n  a:\n    environment: [A=x, B, 'C=a=b']\n", "A=x|B!no|C=a=b|"},
		{Compose, "", "services:\n  a: {environment: {A: x}}\n  b: {environment: {A: y}}\n", "A!another|"},
		{Compose, "b", "services:\n  a: {environment: {A: x}}\n  b: {environment: {A: y}}\n", "A=y|"},
		{Compose, "c", "services:\n  a: {environment: {A: x}}\n", `✗no service "c"`},
		{Compose, "", "x-env: &e {A: x}\nservices:\n  a: {environment: {<<: *e, B: y}}\n", "B=y|A=x|"},
		{Compose, "", "A: x\n", "✗no services"},

		{K8s, "", "kind: Secret\nmetadata: {name: x}\ndata: {A: eA==, B: '*'}\nstringData: {A: z}\n", "A=z|B!not|"},
		{K8s, "", "kind: ConfigMap\nmetadata: {name: x}\ndata: {A: x, B: 12}\n", "A=x|B!a|"},
		{K8s, "", "kind: Secret\nmetadata: {name: x}\n---\nkind: Secret\nmetadata: {name: y}\n", "✗several Secrets"},
		{K8s, "y", "kind: Secret\nmetadata: {name: x}\n---\nkind: Secret\nmetadata: {name: y}\ndata: {A: eA==}\n", "A=x|"},
		{K8s, "", "kind: Deployment\n", "✗no Secret"},
		{K8s, "", "kind: Secret\nmetadata: {name: x}\ndata: {A: /w==}\n", "A!not|"},

		{INI, "", "[main]\na = x\n[facebook]\nconsumer_key: 12\n", "A=x|FACEBOOK_CONSUMER_KEY=12|"},
		{INI, "", "[main]\na = 50%%\nb = %(a)s!\nc = $HOME\nd = %(no)s\ne = 5%\n", "A=50%|B=50%!|C!begins|D!a|E!a|"},
		{INI, "", "[main]\na = %(b)s\nb = %(a)s\n", "A!a|B!a|"},
		{INI, "", "[DEFAULT]\nhost = h\n[x]\nurl = http://%(host)s\n", "HOST=h|X_URL=http://h|"},
		{INI, "", "[main]\na = x\n  y\n# no\n  z\n\nb =\n", "A=x\ny\nz|B=|"},
		{INI, "x", "[main]\na = x\n[x]\na = y\n", "X_A=y|"},
		{INI, "", "[a]\nb_c = 1\n[a_b]\nc = 2\n", "A_B_C!two|"},
		{INI, "", "a = x\n", "✗:1: a line before"},
		{INI, "", "[main]\na = x\nA = y\n", "✗:3: the key stands twice"},
		{INI, "", "[main]\n[main]\n", "✗:2: the section stands twice"},
		{INI, "", "[main]\nhunter2\n", "✗:2: neither"},

		{Shell, "", "export A='x y'\nB=\"it's\"\n# c\nexport C=z\n", "A=x y|B=it's|C=z|"},
		{Shell, "", "A=$(id)\n", "A!the|"},
		{Shell, "", "A=x\nrm -rf /\n", "✗:2:"},
		{Dotenv, "", "A=x\nB=$H\nC\n", "A=x|B!holds|C!no|"},
		{Dotenv, "", "A=x\nB=\"unclosed\n", "✗:2:"},
	} {
		items, err := Read(c.f, "f", []byte(c.src), ReadOptions{At: c.at})
		got := show(items)
		if err != nil {
			got = "✗" + err.Error()
			if strings.Contains(got+fault.HintOf(err), "hunter2") {
				t.Errorf("%s: an error shows the text: %v", c.f, err)
			}
		}
		if want, isErr := strings.CutPrefix(c.want, "✗"); isErr && (err == nil || !strings.Contains(got, want)) || !isErr && got != c.want {
			t.Errorf("%s %q at %q: %s, want %s", c.f, c.src, c.at, got, c.want)
		}
	}
}

// A small file that unfolds to a large one ends early.
func TestYAMLBomb(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a0: &a0 {x: y}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i, i, i-1, i-1)
	}
	b.WriteString("env: {<<: *a39}\n")
	if _, err := Read(YAML, "f", []byte(b.String()), ReadOptions{At: "env"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
	var c strings.Builder
	c.WriteString("l0: &l0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&c, "l%d: &l%d [%s*l%d]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 8), i-1)
	}
	if _, err := Read(YAML, "f", []byte(c.String()), ReadOptions{}); err != nil {
		t.Errorf("lists that nobody asks for: %v", err)
	}
	if _, err := Read(YAML, "f", []byte(strings.Repeat("x", MaxSize+1)), ReadOptions{}); !fault.Is(err, fault.Invalid) {
		t.Error("too large, and read")
	}
}

func TestGuess(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, src string
		want      Format
	}{
		{".env", "", Dotenv},
		{"prod.env", "", Dotenv},
		{"x", "", Dotenv},
		{"a.json", "", JSON},
		{"a.INI", "", INI},
		{"a.sh", "", Shell},
		{"a.yaml", "A: x", YAML},
		{"a.yml", "services: {a: {}}", Compose},
		{"a.yaml", "kind: Secret", K8s},
		{"values-prod.yaml", "A: x", Helm},
		{"a.yaml", "A: \"", YAML},
	} {
		if got := Guess(c.file, []byte(c.src)); got != c.want {
			t.Errorf("%s is taken for %s, not %s", c.file, got, c.want)
		}
	}
	if _, err := Parse("toml"); !fault.Is(err, fault.Usage) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for i, s := range []string{`{"A": "x"}`, "A: &a [x]\nB: *a\n", "services: {a: {environment: [A=x]}}", "[a]\nb = %(c)s\n", "kind: Secret\ndata: {A: eA==}\n", "export A='x'\n"} {
		f.Add(uint8(i), s, "")
	}
	f.Fuzz(func(t *testing.T, n uint8, src, at string) {
		format := All()[int(n)%len(All())]
		items, err := Read(format, "f", []byte(src), ReadOptions{At: at})
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Usage {
				t.Errorf("%s: %v is %v", format, err, k)
			}
			return
		}
		for _, i := range items {
			if i.Why == "" && !i.Value.IsSet() {
				t.Errorf("%s: %s has neither a value nor a reason", format, i.Key)
			}
		}
	})
}

// TestWriteNamesEveryHardValue: one run says all that is in the way, and names only
// readers that take all of it.
func TestWriteNamesEveryHardValue(t *testing.T) {
	t.Parallel()
	values := map[string]secret.Value{
		"AMP": secret.New("&a"), "FINE": secret.New("x"), "LINES": secret.New("a\n'b'"),
		"M1": secret.New("~a"), "M2": secret.New("~a"), "M3": secret.New("~a"), "M4": secret.New("~a"),
	}
	_, err := Write(Dotenv, values, WriteOptions{})
	if !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "export AMP, LINES, M1, M2, M3 and 1 more: ") || !strings.Contains(err.Error(), "characters that a shell acts on") {
		t.Error(err)
	}
	if hint := fault.HintOf(err); !strings.Contains(hint, "--for sh") || strings.Contains(hint, "--for docker") {
		t.Errorf("hint %q: docker's reader takes no line end", hint)
	}
}

func TestReadDotenvDollarInSingleQuotes(t *testing.T) {
	t.Parallel()
	src := []byte("A='${HOME}'\nB=${HOME}\nC='$HOME'\n")
	items, err := Read(Dotenv, "x.env", src, ReadOptions{})
	if err != nil || len(items) != 3 {
		t.Fatal(items, err)
	}
	if !strings.Contains(items[0].Why, "--format shell") || !strings.Contains(items[1].Why, "put it in single quotes") || items[2].Why != "" {
		t.Errorf("%q, %q, %q", items[0].Why, items[1].Why, items[2].Why)
	}
	items, err = Read(Shell, "x.env", src[:12], ReadOptions{})
	if err != nil || items[0].Why != "" || items[0].Value.Reveal() != "${HOME}" {
		t.Error(items, err)
	}
}
