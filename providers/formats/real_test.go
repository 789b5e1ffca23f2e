package formats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// What is written goes through the real readers: each must give back exactly
// the values, and read nothing besides.

const python = "/usr/bin/python3"

func needsPython(t *testing.T, module string) {
	t.Helper()
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		realtest.Missing(t, "Python's "+module+" is not on this machine: .ci/run installs it")
	}
}

// read runs a program in a folder that holds the text as f, and returns what it
// prints: one JSON object.
func read(t *testing.T, dir string, env []string, name string, args ...string) map[string]*string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(env, "PATH="+os.Getenv("PATH"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %.600s", name, err, stderr.String())
	}
	var got map[string]*string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v: %.300s", name, err, out)
	}
	return got
}

func written(t *testing.T, f Format, o WriteOptions, n int) (map[string]secret.Value, string) {
	t.Helper()
	good := writable(t, f, o, hardValues(n))
	text, err := Write(f, good, o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	return good, dir
}

func compare(t *testing.T, reader string, want map[string]secret.Value, got map[string]*string) {
	t.Helper()
	if len(want) < 100 {
		t.Errorf("%s: only %d values were compared", reader, len(want))
	}
	for k, v := range want {
		switch g := got[k]; {
		case g == nil:
			t.Errorf("%s does not read %.40q", reader, v.Reveal())
		case *g != v.Reveal():
			t.Errorf("%s reads %.40q as %.40q", reader, v.Reveal(), *g)
		}
	}
	for k := range got {
		if !want[k].IsSet() {
			t.Errorf("%s reads %s too", reader, k)
		}
	}
}

func TestRealJSONReaders(t *testing.T) {
	t.Parallel()
	want, dir := written(t, JSON, WriteOptions{}, 400)
	compare(t, "python", want, read(t, dir, nil, python, "-c", "import json; print(json.dumps(json.load(open('f'))))"))
	compare(t, "jq", want, read(t, dir, nil, realtest.Tool(t, "jq"), ".", "f"))
}

func TestRealYAMLReader(t *testing.T) {
	t.Parallel()
	needsPython(t, "yaml")
	want, dir := written(t, YAML, WriteOptions{}, 400)
	compare(t, "PyYAML", want, read(t, dir, nil, python, "-c", "import json, yaml; print(json.dumps(yaml.safe_load(open('f', encoding='utf-8'))))"))
	want, dir = written(t, Helm, WriteOptions{At: "app.env"}, 400)
	compare(t, "PyYAML", want, read(t, dir, nil, python, "-c", "import json, yaml; print(json.dumps(yaml.safe_load(open('f', encoding='utf-8'))['app']['env']))"))
}

// Names that a YAML reader could take for a boolean stay names.
func TestRealYAMLNames(t *testing.T) {
	t.Parallel()
	needsPython(t, "yaml")
	values := map[string]secret.Value{}
	for _, k := range []string{"Y", "N", "NO", "ON", "OFF", "YES", "NULL", "TRUE", "_", "E1", "A"} {
		values[k] = secret.New("x")
	}
	text, err := Write(YAML, values, WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, nil, python, "-c", "import json, yaml; print(json.dumps(yaml.safe_load(open('f'))))")
	for k := range values {
		if got[k] == nil {
			t.Errorf("%s is no name any more", k)
		}
	}
}

func TestRealKubernetesSecret(t *testing.T) {
	t.Parallel()
	needsPython(t, "yaml")
	want, dir := written(t, K8s, optionsFor(K8s), 400)
	compare(t, "the API's decoding", want, read(t, dir, nil, python, "-c",
		"import base64, json, yaml; d = yaml.safe_load(open('f')); assert d['kind'] == 'Secret' and d['metadata']['name'] == 'ledger-production-app'; "+
			"print(json.dumps({k: base64.b64decode(v, validate=True).decode() for k, v in d['data'].items()}))"))
}

// configparser reads what is written, and the same of what others wrote.
func TestRealConfigparser(t *testing.T) {
	t.Parallel()
	needsPython(t, "configparser")
	const dump = "import configparser, json; c = configparser.ConfigParser(); c.read('f', encoding='utf-8'); " +
		"print(json.dumps({('' if s == 'main' else s.upper() + '_') + k.upper(): v for s in c.sections() for k, v in c.items(s)}))"
	want, dir := written(t, INI, optionsFor(INI), 400)
	compare(t, "configparser", want, read(t, dir, nil, python, "-c", dump))
}

func TestRealConfigparserReadsAsWeDo(t *testing.T) {
	t.Parallel()
	needsPython(t, "configparser")
	pieces := []string{"[main]\n", "[b]\n", "[DEFAULT]\n", "k = v\n", "k2: %(k)s\n", "  go on\n", "\n", "# c\n", "; c\n", "e =\n", "p = 50%%\n", "bad\n", "q = a = b ; no\n", " indented = x\n", "\tdeep\n", "K = upper\n", "x = %(no)s\n", "= v\n", "w = \u00a0x\u00a0\n", "d = $HOME\n", "r = a\rb\n"}
	var texts []string
	seed := uint64(5)
	for range 600 {
		var b strings.Builder
		seed = seed*6364136223846793005 + 1442695040888963407
		b.WriteString(pieces[(seed>>40)%3])
		for range 1 + (seed>>33)%6 {
			seed = seed*6364136223846793005 + 1442695040888963407
			b.WriteString(pieces[(seed>>33)%uint64(len(pieces))])
		}
		texts = append(texts, b.String())
	}
	dir := t.TempDir()
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), in, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", `
import configparser, io, json
out = []
for t in json.load(open("f")):
    c = configparser.ConfigParser()
    try:
        c.read_file(io.TextIOWrapper(io.BytesIO(t.encode()), encoding="utf-8"))
    except configparser.Error:
        out.append(None)
        continue
    r = {}
    for s in [c.default_section] + c.sections():
        own = c._defaults if s == c.default_section else c._sections[s]
        for k in own:
            name = ("" if s in ("main", "DEFAULT") else s.upper() + "_") + k.upper()
            try:
                v = c.get(s, k)
            except configparser.Error:
                v = None
            r[name] = None if name in r or v is None or v.startswith("$") else v
    out.append(r)
print(json.dumps(out))`)
	cmd.Dir = dir
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]*string
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	read := 0
	for i, s := range texts {
		items, err := Read(INI, "f", []byte(s), ReadOptions{})
		if (err != nil) != (got[i] == nil) {
			t.Errorf("%q: configparser refuses: %v, we: %v", s, got[i] == nil, err)
			continue
		}
		ours := map[string]*string{}
		for _, item := range items {
			ours[item.Key] = nil
			if item.Why == "" {
				v := item.Value.Reveal()
				ours[item.Key] = &v
			}
		}
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(got[i])
		if got[i] != nil && !bytes.Equal(a, b) {
			t.Errorf("%q: configparser reads %s, we %s", s, b, a)
		}
		if len(items) > 0 {
			read++
		}
	}
	if read < 150 {
		t.Errorf("only %d texts hold something", read)
	}
}

func TestRealComposeFile(t *testing.T) {
	t.Parallel()
	compose := realtest.Tool(t, "docker-compose")
	o := WriteOptions{Services: []string{"backend"}}
	good := writable(t, Compose, o, hardValues(400))
	for k, v := range good {
		if strings.ContainsAny(v.Reveal(), "\ufffe") {
			delete(good, k)
		}
	}
	text, err := Write(Compose, good, o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	base := "services:\n  backend:\n    image: x\n"
	for name, s := range map[string]string{"compose.yaml": base, "f": text.Reveal()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(compose, "-f", "compose.yaml", "-f", "f", "config", "--format", "json")
	cmd.Dir, cmd.Env = dir, []string{"H=env", "HOME=/home/o", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Services map[string]struct{ Environment map[string]*string }
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	got := doc.Services["backend"].Environment
	for _, v := range got {
		if v != nil {
			*v = strings.ReplaceAll(*v, "$$", "$") // config escapes its output
		}
	}
	compare(t, "compose", good, got)
}

// What compose makes of plain scalars is what we say it makes.
func TestRealComposeScalars(t *testing.T) {
	t.Parallel()
	compose := realtest.Tool(t, "docker-compose")
	for _, text := range []string{"8080", "0", "-5", "999999", "1000000", "123456789", "0.5", "1.10", "1e3", "010", "0x1F", "true", "yes", "no", "on", "12:30", "0o17", "1_000", "NO", "null", "~", "2024-01-01", ".5", "5.", "1.0", "+5"} {
		dir := t.TempDir()
		src := "services:\n  a:\n    image: x\n    environment:\n      A: " + text + "\n"
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		items, err := Read(Compose, "f", []byte(src), ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if items[0].Why != "" {
			continue // we are allowed to be careful
		}
		cmd := exec.Command(compose, "config", "--format", "json")
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("compose refuses %s, we take it", text)
			continue
		}
		var doc struct {
			Services map[string]struct{ Environment map[string]*string }
		}
		if err := json.Unmarshal(out, &doc); err != nil {
			t.Fatal(err)
		}
		if got := doc.Services["a"].Environment["A"]; got == nil || *got != items[0].Value.Reveal() {
			t.Errorf("compose makes another text of %s", text)
		}
	}
}

func TestRealShells(t *testing.T) {
	t.Parallel()
	for _, o := range []struct {
		f Format
		o WriteOptions
	}{{Shell, WriteOptions{}}, {Dotenv, WriteOptions{Readers: []dotenv.Dialect{dotenv.Sh}}}} {
		want, dir := written(t, o.f, o.o, 400)
		for _, shell := range []string{"dash", "bash"} {
			program := realtest.Tool(t, shell)
			got := read(t, dir, []string{"H=env", "HOME=/home/o", "LC_ALL=C.UTF-8"}, program, "-c",
				`set -a; . ./f; set +a; exec `+python+` -c 'import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith("V_")}))'`)
			short := map[string]secret.Value{}
			for k, v := range want {
				short[k] = v
			}
			compare(t, shell, short, got)
		}
	}
}

// A shell's own names are refused because a shell refuses or changes them; no
// other name is.
func TestRealShellNames(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash"} {
		program := realtest.Tool(t, shell)
		for _, name := range []string{"BASH", "BASH_ENV", "CDPATH", "COLUMNS", "COMPREPLY", "ENV", "FIGNORE", "HISTSIZE", "HOME", "HOSTNAME", "IFS", "LANG", "LD_PRELOAD", "LINES", "MAIL", "OLDPWD", "OPTARG", "OPTERR", "PATH", "POSIXLY_CORRECT", "PS1", "PWD", "SHELL", "SHLVL", "TERM", "TMOUT", "USER", "MACHTYPE", "OSTYPE", "HOSTTYPE", "REPLY", "COPROC", "MAPFILE", "BASH_VERSION", "READLINE_LINE", "COMP_LINE", "BASH_COMPAT", "LC_ALL"} {
			out, err := exec.Command(program, "-c", name+`='a b'; export `+name+`; printf %s "$`+name+`"`).Output()
			if err != nil || string(out) != "a b" {
				t.Errorf("%s does not take %s: %q %v", shell, name, out, err)
			}
		}
	}
	taken := 0
	for _, name := range shellOwn() {
		ok := true
		for _, shell := range []string{"dash", "bash"} {
			out, err := exec.Command(realtest.Tool(t, shell), "-c", name+`='a b'; printf %s "$`+name+`"`).Output()
			ok = ok && err == nil && string(out) == "a b"
		}
		if ok {
			t.Logf("both shells take %s", name)
			taken++
		}
	}
	if taken > 8 {
		t.Errorf("%d of the refused names are nothing special", taken)
	}
}

func TestRealPythonDotenv(t *testing.T) {
	t.Parallel()
	needsPython(t, "dotenv")
	want, dir := written(t, Dotenv, WriteOptions{Readers: []dotenv.Dialect{dotenv.Python}}, 400)
	compare(t, "python-dotenv", want, read(t, dir, []string{"H=env"}, python, "-c",
		"import dotenv, json; print(json.dumps(dotenv.dotenv_values('f', encoding='utf-8')))"))
}

func TestRealComposeEnvFile(t *testing.T) {
	t.Parallel()
	compose := realtest.Tool(t, "docker-compose")
	for _, readers := range [][]dotenv.Dialect{{dotenv.Compose}, nil} {
		want, dir := written(t, Dotenv, WriteOptions{Readers: readers}, 600)
		src := "services:\n  a:\n    image: x\n    env_file: [f]\n"
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(compose, "config", "--format", "json")
		cmd.Dir, cmd.Env = dir, []string{"H=env", "HOME=/home/o", "PATH=" + os.Getenv("PATH")}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Services map[string]struct{ Environment map[string]*string }
		}
		if err := json.Unmarshal(out, &doc); err != nil {
			t.Fatal(err)
		}
		got := doc.Services["a"].Environment
		for _, v := range got {
			if v != nil {
				*v = strings.ReplaceAll(*v, "$$", "$")
			}
		}
		compare(t, fmt.Sprint("compose's env_file ", readers), want, got)
	}
}
