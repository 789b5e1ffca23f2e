package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The house as it stands, files of every operating system included.
func TestHouse(t *testing.T) {
	t.Parallel()
	files := read(t, filepath.Join("..", ".."))
	if len(files) < 20 || files["main.go"] == nil {
		t.Fatalf("only %d files were read", len(files))
	}
	found, err := Check(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

func read(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if name := d.Name(); err == nil || name == "testdata" || name[0] == '.' || name[0] == '_' {
				return fs.SkipDir // another module, or no code
			}
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Each rule, broken on purpose.
func TestEachRuleCanFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, source, want string }{
		"allowed":                 {"playbooks/x.go", `import "envctl/providers/vault"`, ""},
		"allowed below":           {"providers/vault/x.go", `import "github.com/hashicorp/vault/api"`, ""},
		"blank import":            {"commands/x.go", `import _ "envctl/providers/vault"`, `imports "envctl/providers/vault" for its side effects`},
		"command line in a play":  {"playbooks/x.go", `import "github.com/urfave/cli/v2"`, "imports github.com/urfave/cli/v2, which is for commands and internal/gendocs"},
		"embed":                   {"completions/x.go", `import _ "embed"`, ""},
		"exit":                    {"commands/x.go", "import \"os\"\nfunc f() { os.Exit(1) }", "uses os.Exit: only main.go asks the process: take it as a parameter"},
		"exit in main":            {"main.go", "import \"os\"\nfunc main() { os.Exit(1) }", ""},
		"exit in a test":          {"commands/x_test.go", "import \"os\"\nfunc f() { os.Exit(1) }", ""},
		"init":                    {"naming/x.go", "func init() {}", "declares init: construct it where it is used"},
		"init, a method":          {"naming/x.go", "type T int\nfunc (T) init() {}", ""},
		"naming and a module":     {"naming/x.go", `import "golang.org/x/sys/unix"`, "imports golang.org/x/sys/unix: naming decides from its arguments: standard library only"},
		"naming and errors":       {"naming/x.go", `import "envctl/internal/fault"`, "imports internal/fault: naming decides from its arguments: standard library only"},
		"new folder":              {"helpers/x.go", "", "no room has this folder: give it one in internal/archtest and .golangci.yml"},
		"playbook in a provider":  {"providers/vault/x.go", `import "envctl/playbooks"`, "imports playbooks: providers touch one system each: no playbooks, screens, flags or project file"},
		"print":                   {"playbooks/x.go", "import \"fmt\"\nfunc f() { fmt.Println() }", "uses fmt.Println: results go to the streams of internal/ui"},
		"renamed":                 {"playbooks/x.go", "import env \"os\"\nvar _ = env.Getenv", "uses os.Getenv: only main.go asks the process: take it as a parameter"},
		"reveal in a command":     {"commands/x.go", "func f(v interface{ Reveal() string }) { _ = v.Reveal() }", "reveals a value: only providers, the renderer and the sink do"},
		"reveal, excused":         {"commands/x.go", "func f(v interface{ Reveal() string }) { _ = v.Reveal() } //nolint:forbidigo // compared only", ""},
		"reveal, no reason":       {"commands/x.go", "func f(v interface{ Reveal() string }) { _ = v.Reveal() } //nolint:forbidigo", "reveals a value: only providers, the renderer and the sink do"},
		"reveal, another excuse":  {"commands/x.go", "func f(v interface{ Reveal() string }) { _ = v.Reveal() } //nolint:gosec // reason", "reveals a value: only providers, the renderer and the sink do"},
		"reveal in the sink":      {"commands/sink.go", "func f(v interface{ Reveal() string }) { _ = v.Reveal() }", ""},
		"sdk in another provider": {"providers/docker/x.go", `import "filippo.io/age"`, "imports filippo.io/age, which is for providers/embedded"},
		"screen in a provider":    {"providers/x.go", `import "envctl/internal/ui"`, "imports internal/ui: providers touch one system each: no playbooks, screens, flags or project file"},
		"survey in a command":     {"commands/x.go", `import "github.com/AlecAivazis/survey/v2/terminal"`, "imports github.com/AlecAivazis/survey/v2, which is for internal/ui"},
		"test code":               {"commands/x.go", `import "envctl/internal/realtest"`, "imports internal/realtest, which is for tests"},
		"test code of a provider": {"providers/vault/x.go", `import "envctl/providers/vault/vaulttest"`, "imports providers/vault/vaulttest, which is for tests"},
		"test code for test code": {"providers/vault/vaulttest/x.go", "import \"envctl/internal/realtest\"\nimport \"time\"\nvar _ = time.Now", ""},
		"test module":             {"internal/ui/x.go", `import "github.com/creack/pty"`, "imports github.com/creack/pty, which is for tests"},
		"time":                    {"internal/plan/x.go", "import \"time\"\nvar _ = time.Now", "uses time.Now: only main.go asks the process: take it as a parameter"},
		"time of one's own":       {"internal/plan/x.go", "import \"time\"\nvar _ = time.Second", ""},
	} {
		pkg := "p"
		if c.file == "main.go" {
			pkg = "main"
		}
		found, err := Check(map[string][]byte{c.file: []byte("package " + pkg + "\n" + c.source)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var what []string
		for _, v := range found {
			what = append(what, v.What)
		}
		if got := strings.Join(what, "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if _, err := Check(map[string][]byte{"naming/x.go": []byte("not go")}); err == nil {
		t.Error("a file that is not Go passes")
	}
}

// roomOf relies on the order, and each rule has to name what exists.
func TestRoomsAreSortedAndReal(t *testing.T) {
	t.Parallel()
	rooms := Rooms()
	if !slices.IsSortedFunc(rooms, func(a, b Room) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("not sorted by path")
	}
	for _, r := range rooms {
		if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(r.Path))); err != nil {
			t.Errorf("room %q: %v", r.Path, err)
		}
		if r.Why == "" {
			t.Errorf("room %q has no reason", r.Path)
		}
		for _, m := range r.May {
			if m != "*" && roomOf(m).Path != m {
				t.Errorf("room %q may import %q, which is none", r.Path, m)
			}
		}
	}
}
