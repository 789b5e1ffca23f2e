// Package archtest holds the house's layout as rules that a test can check:
// who may import whom, and what only main may ask of the process.
package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "envctl"

// Room is a folder and the ones below it that have no room of their own. May
// lists the rooms it may import, itself and what lies below it aside; "*" is
// all but the test rooms.
type Room struct {
	Path, Why string
	May       []string
	Test      bool // for tests only: no other room may import it
}

// Rooms returns the house, sorted by path.
func Rooms() []Room {
	ground := []string{"internal/atomicfile", "internal/fault", "internal/secret", "naming"}
	return []Room{
		{"", "main wires everything", []string{"*"}, false},
		{"commands", "commands talk: they stand above all other rooms", []string{"*"}, false},
		{"completions", "the scripts are data", nil, false},
		{"internal/archtest", "rules know no code", nil, true},
		{"internal/atomicfile", "files know nothing but errors", []string{"internal/fault"}, false},
		{"internal/config", "the project file is read by everyone and knows no one", []string{"internal/atomicfile", "internal/fault", "naming"}, false},
		{"internal/fault", "every room classifies its errors by it, so it imports none", nil, false},
		{"internal/gendocs", "documents are derived from the commands", []string{"*"}, false},
		{"internal/harden", "it runs before anything else", []string{"internal/fault"}, false},
		{"internal/layer", "layers are text: no store, no screen", []string{"internal/fault", "internal/secret", "naming", "providers/dotenv"}, false},
		{"internal/plan", "the engine runs any steps: it knows no store and no playbook", []string{"internal/atomicfile", "internal/fault", "internal/secret"}, false},
		{"internal/secret", "every room carries values, so it imports only errors", []string{"internal/fault"}, false},
		{"internal/ui", "screens show what they are given", []string{"internal/fault", "internal/secret"}, false},
		{"naming", "naming decides from its arguments: standard library only", nil, false},
		{"playbooks", "playbooks sequence: no screens, no flags", append([]string{"internal/config", "internal/layer", "internal/plan", "providers", "providers/dotenv"}, ground...), false},
		{"providers", "providers touch one system each: no playbooks, screens, flags or project file", append([]string{"providers/dotenv"}, ground...), false},
		{"providers/dokploy/dokploytest", "for tests", []string{"*"}, true},
		{"providers/dotenv", "a format as much as a system, so layers may read it", ground, false},
		{"providers/onepassword/envctl-op", "a program of its own, hardened as envctl is", append([]string{"internal/harden", "providers"}, ground...), false},
		{"tools/bench", "for figures", []string{"*"}, true},
		{"tools/release", "for releases: it works on files of the go command", nil, false},
	}
}

// Owners returns the modules that only some rooms may import; none: only tests.
func Owners() map[string][]string {
	return map[string][]string{
		"filippo.io/age": {"providers/embedded"},
		"github.com/1password/onepassword-sdk-go": {"providers/onepassword"},
		"github.com/AlecAivazis/survey/v2":        {"internal/ui"},
		"github.com/creack/pty":                   nil,
		"github.com/hashicorp/vault":              {"providers/vault"},
		"github.com/jackc/pgx/v5":                 {"providers/postgres"},
		"github.com/olekukonko/tablewriter":       {"internal/ui"},
		"github.com/rogpeppe/go-internal":         nil,
		"github.com/urfave/cli/v2":                {"commands", "internal/gendocs"},
		"go.uber.org/goleak":                      nil,
	}
}

// reserved are the names of the standard library that only main.go may use,
// and why.
func reserved() map[string]string {
	const process = "only main.go asks the process: take it as a parameter"
	names := map[string]string{}
	for _, n := range []string{
		"log.Fatal", "log.Fatalf", "log.Fatalln", "log.Print", "log.Printf", "log.Println",
		"os.Environ", "os.Exit", "os.ExpandEnv", "os.Getenv", "os.LookupEnv", "os.Setenv", "os.Stderr", "os.Stdin", "os.Stdout", "os.Unsetenv",
		"time.Now", "time.Since",
	} {
		names[n] = process
	}
	for _, n := range []string{"fmt.Print", "fmt.Printf", "fmt.Println"} {
		names[n] = "results go to the streams of internal/ui"
	}
	return names
}

// revealers are the rooms and files that may see a value in clear; elsewhere
// the line says why it does: //nolint:forbidigo // reason.
func revealers() []string {
	return []string{"commands/sink.go", "internal/layer", "internal/secret", "providers"}
}

// Violation is a line that breaks a rule.
type Violation struct {
	File string
	Line int
	What string
}

// String returns the violation as a compiler would.
func (v Violation) String() string { return fmt.Sprintf("%s:%d: %s", v.File, v.Line, v.What) }

// Check returns the violations in the Go files given by their slash-separated
// path under the module's root, by file and line. Files of tests are exempt,
// as are test rooms but for who imports them.
func Check(files map[string][]byte) ([]Violation, error) {
	var out []Violation
	for file, source := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, source, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return nil, err
		}
		c := checker{file: file, fset: fset, room: roomOf(path.Dir(file))}
		c.imports(parsed)
		if !c.room.Test {
			c.excused = excuses(fset, parsed)
			c.names(parsed)
		}
		out = append(out, c.found...)
	}
	slices.SortFunc(out, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
	return out, nil
}

type checker struct {
	file string
	fset *token.FileSet
	room Room
	// excused are the lines that may use a reserved name, as the linter has it.
	excused map[int]bool
	found   []Violation
}

func (c *checker) add(at token.Pos, format string, args ...any) {
	c.found = append(c.found, Violation{c.file, c.fset.Position(at).Line, fmt.Sprintf(format, args...)})
}

func (c *checker) line(n ast.Node) int { return c.fset.Position(n.End()).Line }

// excuses returns the lines that carry `//nolint:forbidigo // reason`.
func excuses(fset *token.FileSet, f *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, group := range f.Comments {
		for _, comment := range group.List {
			directive, reason, _ := strings.Cut(strings.TrimPrefix(comment.Text, "//nolint:"), "//")
			if directive != comment.Text && strings.Contains(directive, "forbidigo") && strings.TrimSpace(reason) != "" {
				lines[fset.Position(comment.Pos()).Line] = true
			}
		}
	}
	return lines
}

func (c *checker) imports(f *ast.File) {
	if c.room.Path == "" && path.Dir(c.file) != "." {
		c.add(f.Package, "no room has this folder: give it one in internal/archtest and .golangci.yml")
		return
	}
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if inner, ok := strings.CutPrefix(name, module+"/"); ok {
			c.inner(spec, inner)
			continue
		}
		for owned, owners := range Owners() {
			if under(name, owned) && !c.room.Test && !slices.ContainsFunc(owners, func(o string) bool { return under(c.file, o) }) {
				c.add(spec.Pos(), "imports %s, which is for %s", owned, words(owners))
			}
		}
		if first, _, _ := strings.Cut(name, "/"); c.room.Path == "naming" && strings.Contains(first, ".") {
			c.add(spec.Pos(), "imports %s: %s", name, c.room.Why)
		}
	}
}

func (c *checker) inner(spec *ast.ImportSpec, inner string) {
	target := roomOf(inner)
	switch {
	case target.Path == c.room.Path:
	case target.Test:
		if !c.room.Test {
			c.add(spec.Pos(), "imports %s, which is for tests", inner)
		}
	case !slices.Contains(c.room.May, "*") && !slices.Contains(c.room.May, target.Path):
		c.add(spec.Pos(), "imports %s: %s", inner, c.room.Why)
	}
}

func (c *checker) names(f *ast.File) {
	imported := map[string]string{} // the name in this file → the package
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = p
	}
	isMain := path.Base(c.file) == "main.go" && f.Name.Name == "main"
	mayReveal := slices.ContainsFunc(revealers(), func(r string) bool { return under(c.file, r) })
	names := reserved()
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] != "" && !isMain {
				full := imported[x.Name] + "." + n.Sel.Name
				if why, ok := names[full]; ok && !c.excused[c.line(n)] {
					c.add(n.Pos(), "uses %s: %s", full, why)
				}
			}
			if n.Sel.Name == "Reveal" && !mayReveal && !c.excused[c.line(n)] {
				c.add(n.Pos(), "reveals a value: only providers, the renderer and the sink do")
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				c.add(n.Pos(), "declares init: construct it where it is used")
			}
		case *ast.ImportSpec:
			if n.Name != nil && n.Name.Name == "_" && n.Path.Value != `"embed"` {
				c.add(n.Pos(), "imports %s for its side effects", n.Path.Value)
			}
		}
		return true
	})
}

// roomOf returns the innermost room that holds a folder. A folder whose name
// ends in test, as httptest's does, is a room for tests.
func roomOf(dir string) Room {
	for d := dir; d != "." && d != "/"; d = path.Dir(d) {
		if strings.HasSuffix(d, "test") && d != "internal/archtest" {
			return Room{d, "for tests", []string{"*"}, true}
		}
	}
	best := Room{}
	for _, r := range Rooms() {
		if r.Path == "" || under(dir, r.Path) {
			best = r // sorted: a longer path comes later
		}
	}
	return best
}

func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

func words(owners []string) string {
	if len(owners) == 0 {
		return "tests"
	}
	return strings.Join(owners, " and ")
}
