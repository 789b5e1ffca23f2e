package layer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"envctl/internal/fault"
)

const app = `{{ with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}`

// dump writes a template's facts one a line, for comparison.
func dump(t *Template) string {
	var b strings.Builder
	cond := map[Condition]string{Always: "", ByEnv: " if-env", ByStore: " if-store"}
	for _, p := range t.Paths {
		fmt.Fprintf(&b, "path %d:%d %s%s\n", p.Line, p.Column, p.Pattern, cond[p.Conditional])
	}
	for _, v := range t.Variables {
		fmt.Fprintf(&b, "%d:%d %s", v.Line, v.Column, v.Name)
		for _, in := range v.Inputs {
			fmt.Fprintf(&b, " <%s#%s", in.Path[strings.LastIndexByte(in.Path, '/')+1:], in.Key)
		}
		for _, e := range v.Envs {
			fmt.Fprintf(&b, " <$%s", e)
		}
		for _, q := range v.Quotings {
			fmt.Fprintf(&b, " %s", q)
		}
		if v.HasDefault {
			fmt.Fprintf(&b, " default=%q", v.Default)
		}
		if v.Static || len(v.Literals) > 1 {
			fmt.Fprintf(&b, " literals=%q", v.Literals)
		}
		if v.Opaque {
			b.WriteString(" opaque")
		}
		b.WriteString(cond[v.Conditional] + "\n")
	}
	for _, s := range t.Spreads {
		fmt.Fprintf(&b, "spread %d:%d %s\n", s.Line, s.Column, s.Path)
	}
	for _, p := range t.Problems {
		fmt.Fprintf(&b, "problem %d:%d %s %s\n", p.Line, p.Column, p.Rule, p.Variable)
	}
	for _, d := range t.Duplicates() {
		fmt.Fprintf(&b, "duplicate %d %s\n", d.Line, d.Name)
	}
	return b.String()
}

// constructs are the forms that occur, each with what it declares. The test
// against the real vault agent renders every one of them too.
var constructs = []struct{ name, src, want string }{
	{
		"with printf else", app + `
SECRET_KEY={{ with .Data.data.SECRET_KEY }}{{ printf "%q" . }}{{ else }}"default"{{ end }}
{{ end }}`,
		"path 1:9 secret/data/ledger/{ENV}/app\n2:1 SECRET_KEY <app#SECRET_KEY %q default=\"default\"\n",
	},
	{
		"bare", "{{ with secret \"secret/data/ledger/production/app\" }}A={{ .Data.data.A }}\nB=\"{{ .Data.data.B }}\"\n{{ end }}",
		"path 1:9 secret/data/ledger/production/app\n1:54 A <app#A\n2:1 B <app#B\n",
	},
	{
		"missing key", app + "\nGONE={{ .Data.data.GONE }}\nGONE2={{ printf \"%s\" .Data.data.GONE }}\nGONE3={{ printf \"%q\" .Data.data.GONE }}\n{{ end }}",
		"path 1:9 secret/data/ledger/{ENV}/app\n2:1 GONE <app#GONE\n3:1 GONE2 <app#GONE\n4:1 GONE3 <app#GONE %q\n",
	},
	{
		"env variable", `{{ $env := env "ENV" }}ENVIRONMENT={{ $env }}
{{ with secret (printf "secret/data/ledger/%s/app" $env) }}A={{ .Data.data.A }}
{{ end }}`,
		"path 2:9 secret/data/ledger/{ENV}/app\n1:24 ENVIRONMENT <$ENV\n2:60 A <app#A\n",
	},
	{
		"assignment in a branch", `{{ $env := env "ENV" }}{{ if eq $env "" }}{{ $env = "staging" }}{{ end }}{{ with secret (printf "secret/data/ledger/%s/app" $env) }}
A={{ .Data.data.A }}
{{ end }}`,
		"path 1:82 secret/data/ledger/staging/app\npath 1:82 secret/data/ledger/{ENV}/app\n2:1 A <app#A <app#A\n",
	},
	{
		"if else", `{{ if eq (env "ENV") "production" }}LEVEL=warn
ONLY=1
{{ else }}LEVEL=debug
{{ end }}X=1
`,
		"1:37 LEVEL literals=[\"warn\"] if-env\n2:1 ONLY literals=[\"1\"] if-env\n3:11 LEVEL literals=[\"debug\"] if-env\n4:10 X literals=[\"1\"]\n",
	},
	{
		"else if, and, ne", `L={{ if eq (env "ENV") "production" }}a{{ else if and (ne (env "ENV") "x") (eq (env "ENV") "staging") }}b{{ else }}c{{ end }}
`,
		"1:1 L literals=[\"a\" \"b\" \"c\"]\n",
	},
	{
		"or with default", `A={{ or (env "NOPE") "d" | printf "%q" }}
` + app + `
B={{ or .Data.data.GONE .Data.data.B "x y" | printf "%q" }}
{{ end }}`,
		"path 2:9 secret/data/ledger/{ENV}/app\n1:1 A <$NOPE %q default=\"d\"\n3:1 B <app#GONE <app#B %q default=\"x y\"\n",
	},
	{
		"trim markers", app + "\nA={{ .Data.data.A -}}\nB=2\n{{- end }}",
		"path 1:9 secret/data/ledger/{ENV}/app\n2:1 A <app#A\nproblem 3:1 template-merged-lines B\n",
	},
	{
		"harmless trim markers", app + "\n{{- with .Data.data }}\nA={{ .A }}\n{{- end }}\n{{- end }}\nB=2\n",
		"path 1:9 secret/data/ledger/{ENV}/app\n3:1 A <app#A if-store\n6:1 B literals=[\"2\"]\n",
	},
	{
		"comments", "{{/* A=1\nB=2 */}}# C=3\nD=4 # E=5\n{{- /* x */ -}}\nF=6\n",
		"3:1 D literals=[\"4\"]\nproblem 5:1 template-merged-lines F\n",
	},
	{
		"hash with action", app + "\n# was: OLD={{ .Data.data.A }}\nA={{ .Data.data.A }}\n{{ end }}",
		"path 1:9 secret/data/ledger/{ENV}/app\n3:1 A <app#A\n",
	},
	{
		"several paths, composed", `{{ $env := env "ENV" }}{{ with secret (printf "secret/data/ledger/%s/app" $env) }}
A={{ .Data.data.A }}
{{ end }}{{ with secret (printf "secret/data/ledger/%s/postgres" $env) }}
DATABASE_URL="postgresql://{{ or .Data.data.POSTGRES_USER "ledger" }}:{{ .Data.data.POSTGRES_PASSWORD }}@ledger-db:5432/ledger"
{{ end }}{{ with secret (printf "secret/data/ledger/%s/redis" $env) }}REDIS_URL={{ printf "redis://:%s@redis:6379/0" .Data.data.REDIS_PASSWORD }}
{{ end }}`,
		"path 1:32 secret/data/ledger/{ENV}/app\npath 3:18 secret/data/ledger/{ENV}/postgres\npath 5:18 secret/data/ledger/{ENV}/redis\n" +
			"2:1 A <app#A\n4:1 DATABASE_URL <postgres#POSTGRES_USER <postgres#POSTGRES_PASSWORD\n5:71 REDIS_URL <redis#REDIS_PASSWORD\n",
	},
	{
		"secret in a variable", `{{ $s := secret "secret/data/ledger/production/app" }}A={{ $s.Data.data.A }}
B={{ (secret "secret/data/ledger/production/postgres").Data.data.POSTGRES_PASSWORD }}
C={{ with $s }}{{ index .Data.data "A" }}{{ end }}
`,
		"path 1:10 secret/data/ledger/production/app\npath 2:7 secret/data/ledger/production/postgres\n" +
			"1:55 A <app#A\n2:1 B <postgres#POSTGRES_PASSWORD\n3:1 C <app#A\n",
	},
	{
		"path without data", "{{ with secret \"secret/ledger/production/app\" }}A={{ .Data.data.A }}\nV={{ .Data.metadata.version }}\n{{ end }}",
		"path 1:9 secret/ledger/production/app\n1:49 A <app#A\n2:1 V opaque\n",
	},
	{
		"numbers", app + "N={{ .Data.data.NUMBER }}\nQ={{ printf \"%q\" .Data.data.NUMBER }}\nBIG={{ .Data.data.BIG }}\nT={{ .Data.data.TRUE }}\n{{ if .Data.data.FALSE }}X=1\n{{ end }}J={{ .Data.data.LIST | toJSON }}\n{{ end }}",
		"path 1:9 secret/data/ledger/{ENV}/app\n1:67 N <app#NUMBER\n2:1 Q <app#NUMBER %q\n3:1 BIG <app#BIG\n4:1 T <app#TRUE\n5:26 X literals=[\"1\"] if-store\n6:10 J <app#LIST toJSON\n",
	},
	{
		"range", app + "{{ range $k, $v := .Data.data }}\n{{ $k }}={{ $v | toJSON }}{{ end }}\n{{ end }}",
		"path 1:9 secret/data/ledger/{ENV}/app\nspread 2:9 secret/data/ledger/{ENV}/app\n",
	},
	{"string functions", app + `U={{ .Data.data.A | toUpper }}{{ "x" | toLower }}
S={{ .Data.data.SPACED | trimSpace | replaceAll " " "_" }}
L={{ .Data.data.CSV | split "," | join ";" }}
E={{ base64Encode .Data.data.A }}
D={{ base64Encode .Data.data.A | base64Decode }}
R={{ regexReplaceAll "[0-9]+" "#" .Data.data.A }}
H={{ sha256Hex .Data.data.A }}
I={{ indent 2 "a" }}
M={{ if regexMatch "^v" .Data.data.A }}yes{{ end }}
C={{ if .Data.data.CSV | contains "two" }}yes{{ end }}
W={{ len .Data.data.CSV }}{{ index (split "," .Data.data.CSV) 1 }}{{ slice .Data.data.CSV 0 2 }}
P={{ trimPrefix "v" .Data.data.A }}{{ trimSuffix "1" .Data.data.A }}{{ trim "v1" .Data.data.A }}
Q={{ parseInt "7" }}{{ parseBool "true" }}{{ (parseJSON "{\"a\":5}").a }}
Y={{ html "<a>" }}{{ js "'" }}{{ urlquery "a b&c" }}{{ print "a" 1 2 "b" }}{{ println "z" -}}
Z={{ splitToMap "," ":" "a:1,b:2" }}{{ envOrDefault "NOPE" "dflt" }}{{ base64URLEncode "??>" }}{{ hmacSHA256Hex "m" "k" }}
{{ end }}`, ""},
	{
		"define and template", `{{ define "line" }}K={{ . }}
{{ end }}` + app + `{{ template "line" .Data.data.A }}{{ end }}{{ block "b" "v" }}B={{ . }}
{{ end }}`,
		"path 2:18 secret/data/ledger/{ENV}/app\n1:20 K <app#A\n2:138 B literals=[\"v\"]\n",
	},
	{
		"nested with", `{{ with secret "secret/data/ledger/production/app" }}{{ $a := .Data.data.A }}{{ with secret "secret/data/ledger/production/postgres" }}U={{ $a }}:{{ .Data.data.POSTGRES_PASSWORD }}
{{ end }}{{ end }}`,
		"path 1:9 secret/data/ledger/production/app\npath 1:86 secret/data/ledger/production/postgres\n1:136 U <app#A <postgres#POSTGRES_PASSWORD\n",
	},
	{
		"with else with", app + `A={{ with .Data.data.GONE }}{{ . }}{{ else with .Data.data.B }}{{ . }}{{ else }}none{{ end }}
{{ end }}`,
		"path 1:9 secret/data/ledger/{ENV}/app\n1:67 A <app#GONE <app#B default=\"none\"\n",
	},
	{
		"duplicate", "A=1\nB=1\nA=2\n",
		"1:1 A literals=[\"1\"]\n2:1 B literals=[\"1\"]\n3:1 A literals=[\"2\"]\nduplicate 3 A\n",
	},
	{
		"export and indentation", "  export A=1\n\tB='two words'\n",
		"1:10 A literals=[\"1\"]\n2:2 B literals=[\"two words\"]\n",
	},
	{
		"value over two lines", "A=\"one\ntwo\"\nB='x\nC=3\n",
		"1:1 A literals=[\"one\\ntwo\"]\n3:1 B literals=[\"'x\"]\n4:1 C literals=[\"3\"]\n",
	},
	{
		"block on one line", app + `{{ if .Data.data.A }}A={{ .Data.data.A }}{{ else }}A=none{{ end }}
{{ end }}`,
		"path 1:9 secret/data/ledger/{ENV}/app\n1:88 A <app#A if-store\n1:118 A literals=[\"none\"] if-store\n",
	},
	{
		"newlines from expressions", `A={{ println "1" -}}
B=2{{ "\nC=3\n" }}D={{ printf "%s\nE=" "4" }}5
`,
		"1:1 A literals=[\"1\"]\n2:1 B literals=[\"2\"]\n2:8 C literals=[\"3\"]\n2:19 D literals=[\"4\"]\n2:25 E literals=[\"5\"]\n",
	},
	{"whole value of text", "A=\nB=\"\"\nC= # none\n", "1:1 A literals=[]\n2:1 B literals=[\"\"]\n3:1 C literals=[\"\"]\n"},
}

func TestConstructs(t *testing.T) {
	for _, c := range constructs {
		t.Run(c.name, func(t *testing.T) {
			tpl, err := ParseTemplate("t.ctmpl", []byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if got := dump(tpl); c.want != "" && got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// What rendering emits is what parsing declared, on the same lines.
func TestRenderedIsDeclared(t *testing.T) {
	for _, c := range constructs {
		tpl, err := ParseTemplate("t.ctmpl", []byte(c.src))
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range []string{"production", "staging", ""} {
			r, err := Render(t.Context(), tpl, RenderInput{Env: map[string]string{"ENV": env}, Secret: fakeStore(nil)})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			for _, v := range r.Variables {
				declared := slices.ContainsFunc(tpl.Variables, func(d TemplateVariable) bool { return d.Name == v.Name && d.Line == v.Line })
				if !declared && len(tpl.Spreads) == 0 {
					t.Errorf("%s: %s at line %d is rendered and not declared", c.name, v.Name, v.Line)
				}
			}
			paths, err := tpl.Resolve(map[string]string{"ENV": env})
			if err != nil || len(paths) != len(r.Paths) {
				t.Errorf("%s: resolved %v (%v), read %v", c.name, paths, err, r.Paths)
			}
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ name, src, in, hint string }{
		{"unclosed", "A=1\n{{ if .X }}", ":2: unexpected EOF", ""},
		{"nested delimiters", "A=1\nB={{ printf \"%s\" {{ .X }} }}\n", "t.ctmpl:2: ", "nested {{ }}"},
		{"default", "A=1\n\nB={{ .X | default \"y\" }}", ":3: there is no function default", "or .Data.data.KEY"},
		{"file", "A={{ file \"/etc/passwd\" }}", ":1: the function file is refused", "string functions"},
		{"plugin", "\nA={{ plugin \"x\" }}", ":2: the function plugin is refused", "string functions"},
		{"in a branch", "{{ if true }}\n{{ with .X }}{{ (writeToFile \"a\" \"b\" \"c\" \"d\").y }}{{ end }}{{ end }}", ":2: the function writeToFile is refused", ""},
		{"in a define", "{{ define \"x\" }}{{ key \"a\" }}{{ end }}", ":1: the function key is refused", ""},
		{"sprig", "{{ sprig_env \"X\" }}", "the function sprig_env is refused", ""},
		{"the first one", "{{ nope }}\n{{ file \"x\" }}", ":1: there is no function nope", ""},
		{"write", "A=1\n{{ secret \"pki/issue/x\" \"a=b\" }}", ":2: secret with parameters writes to Vault", ""},
		{"undefined variable", "{{ $x }}", ":1: undefined variable \"$x\"", ""},
		{"unknown template", "\n{{ template \"x\" }}", ":2: there is no template \"x\"", ""},
		{"recursion", "{{ define \"a\" }}{{ template \"b\" }}{{ end }}{{ define \"b\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}", "includes itself", ""},
		{"depth", strings.Repeat("{{ if true }}", 21) + strings.Repeat("{{ end }}", 21), "nested deeper than 20", ""},
		{"parentheses", "{{ " + strings.Repeat("(", 21) + "1" + strings.Repeat(")", 21) + " }}", "nested deeper than 20", ""},
		{"size", strings.Repeat(" ", MaxSize+1), "larger than", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseTemplate("t.ctmpl", []byte(c.src))
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.in) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("%v (hint %q), want kind invalid with %q", err, fault.HintOf(err), c.in)
			}
		})
	}
	ok := strings.Repeat("{{ if true }}", 20) + strings.Repeat("{{ end }}", 20)
	if _, err := ParseTemplate("t", []byte(ok)); err != nil {
		t.Error(err)
	}
}

func TestResolve(t *testing.T) {
	src := `{{ $env := env "ENV" }}{{ if eq $env "production" }}{{ with secret "secret/data/ledger/production/backup" }}{{ end }}{{ end }}` +
		`{{ with secret (printf "secret/data/ledger/%s/app" (toLower $env)) }}{{ with .Data.data.X }}{{ with secret (printf "secret/data/ledger/%s/x" $env) }}{{ end }}{{ end }}{{ end }}`
	tpl, err := ParseTemplate("t", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]string{
		"production": "[secret/data/ledger/production/backup secret/data/ledger/production/app secret/data/ledger/production/x]",
		"STAGING":    "[secret/data/ledger/staging/app secret/data/ledger/STAGING/x]",
	} {
		got, err := tpl.Resolve(map[string]string{"ENV": env})
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v %v, want %s", env, got, err, want)
		}
	}
	if p := tpl.Paths[1]; p.Pattern != "secret/data/ledger/{…}/app" || !p.Opaque || fmt.Sprint(p.Envs) != "[ENV]" || p.Conditional != Always {
		t.Errorf("%+v", p)
	}
	if p := tpl.Paths[0]; p.Conditional != ByEnv {
		t.Errorf("%+v", p)
	}
	if p := tpl.Paths[2]; p.Conditional != ByStore {
		t.Errorf("%+v", p)
	}
	if d := tpl.Digest(); len(d) != 64 {
		t.Error(d)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, c := range constructs {
		f.Add([]byte(c.src))
	}
	f.Add([]byte(`{{ range 9999999999 }}{{ end }}`))
	f.Add([]byte(`{{ $x := "a" }}{{ range 40 }}{{ $x = printf "%s%s" $x $x }}{{ end }}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		tpl, err := ParseTemplate("f", src)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		for _, v := range tpl.Variables {
			if !isName(v.Name) || v.Line < 1 || v.Column < 1 {
				t.Fatalf("%+v", v)
			}
		}
		_, _ = Render(t.Context(), tpl, RenderInput{Env: map[string]string{"ENV": "production"}, Secret: fakeStore(nil)})
	})
}
