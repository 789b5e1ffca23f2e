// Command release prepares the released build: it writes a module file that is
// go.mod but for copies of the few dependencies that work at every start for what
// envctl never asks of them. What they do is not changed, only when.
//
//	go build $(go run ./tools/release .release) .
//
// An edit that no longer fits its module is an error: then look whether the newer
// version still needs one.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// lazy is one file of a module, and what is replaced in it.
type lazy struct {
	module, file string
	edits        []edit
}

// edit replaces text that must be there exactly once.
type edit struct{ from, to string }

//nolint:gochecknoglobals // a constant table
var lazies = []lazy{
	// 38 regular expressions of paths that need sudo, for Vault's own program: a
	// sixth of what envctl --version costs.
	{"github.com/hashicorp/vault/api", "sudo_paths.go", []edit{
		{"\t\"regexp\"\n", "\t\"regexp\"\n\t\"sync\"\n"},
		{"var sudoPaths = map[string]*regexp.Regexp{\n", "var sudoPaths = sync.OnceValue(func() map[string]*regexp.Regexp { return map[string]*regexp.Regexp{\n"},
		{"\n}\n\nfunc SudoPaths()", "\n}})\n\nfunc SudoPaths()"},
		{"return sudoPaths\n", "return sudoPaths()\n"},
		{"sudoPaths[path]", "sudoPaths()[path]"},
		{"range sudoPaths ", "range sudoPaths() "},
	}},
	// A pool of errors filled in advance, for tables that are never drawn.
	{"github.com/olekukonko/errors", "errors.go", []edit{
		{"\tWarmPool(warmUpSize) // Pre-allocate errors for performance.\n", ""},
	}},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./tools/release FOLDER")
		os.Exit(2)
	}
	if err := prepare(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
	fmt.Println("-modfile=" + filepath.Join(os.Args[1], "go.mod"))
}

// prepare writes go.mod, go.sum and the copies to folder.
func prepare(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	own, err := list("-m", "-f", "{{.GoMod}}")
	if err != nil {
		return err
	}
	mod, err := os.ReadFile(own)
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(filepath.Dir(own), "go.sum"))
	if err != nil {
		return err
	}
	for _, l := range lazies {
		copied := filepath.Join(folder, path.Base(l.module))
		if err := l.copy(copied); err != nil {
			return fmt.Errorf("%s: %w", l.module, err)
		}
		if !filepath.IsAbs(copied) {
			copied = "./" + filepath.ToSlash(copied) // from the module's root, and so in the program's build information
		}
		mod = fmt.Appendf(mod, "\nreplace %s => %q\n", l.module, copied)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "go.sum"), sum, 0o644),
		os.WriteFile(filepath.Join(folder, "go.mod"), mod, 0o644),
	)
}

// copy writes the module to folder, edited.
func (l lazy) copy(folder string) error {
	source, err := list("-m", "-f", "{{.Dir}}", l.module)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.CopyFS(folder, os.DirFS(source)); err != nil {
		return err
	}
	file := filepath.Join(folder, l.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, e := range l.edits {
		if n := bytes.Count(text, []byte(e.from)); n != 1 {
			return fmt.Errorf("%s has %d times: %q", l.file, n, e.from)
		}
		text = bytes.Replace(text, []byte(e.from), []byte(e.to), 1)
	}
	return os.WriteFile(file, text, 0o644)
}

// list is what go list says of a module, which it may have to fetch first.
func list(args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"list"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
