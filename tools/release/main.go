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
	"regexp"
	"strings"
)

// lazy is one file of a module, and what is put off or replaced in it.
type lazy struct {
	module, file string
	expressions  []string // variables of the file that hold a regular expression each
	edits        []edit
}

// edit replaces text that must be there exactly once.
type edit struct{ from, to string }

//nolint:gochecknoglobals // a constant table
var lazies = []lazy{
	// 38 regular expressions of paths that need sudo, for Vault's own program: a
	// sixth of what envctl --version costs.
	{"github.com/hashicorp/vault/api", "sudo_paths.go", nil, []edit{
		{"\t\"regexp\"\n", "\t\"regexp\"\n\t\"sync\"\n"},
		{"var sudoPaths = map[string]*regexp.Regexp{\n", "var sudoPaths = sync.OnceValue(func() map[string]*regexp.Regexp { return map[string]*regexp.Regexp{\n"},
		{"\n}\n\nfunc SudoPaths()", "\n}})\n\nfunc SudoPaths()"},
		{"return sudoPaths\n", "return sudoPaths()\n"},
		{"sudoPaths[path]", "sudoPaths()[path]"},
		{"range sudoPaths ", "range sudoPaths() "},
	}},
	// For errors of a request.
	{"github.com/hashicorp/go-retryablehttp", "client.go", []string{"redirectsErrorRe", "schemeErrorRe", "invalidHeaderErrorRe", "notTrustedErrorRe"}, nil},
	// For network interfaces, under a reader of durations.
	{"github.com/hashicorp/go-sockaddr", "ifaddrs.go", []string{"signRE", "whitespaceRE", "ifNameRE", "ipAddrRE"}, []edit{
		{"\t\"regexp\"\n", "\t\"regexp\"\n\t\"sync\"\n"},
	}},
	// For numbers with a point; the module's language has no sync.OnceValue.
	{"go.yaml.in/yaml/v3", "resolve.go", nil, []edit{
		{"\t\"regexp\"\n", "\t\"regexp\"\n\t\"sync\"\n"},
		{"var yamlStyleFloat = regexp", "var (\n\tyamlStyleFloat *regexp.Regexp\n\tcompileFloat sync.Once\n)\n\nfunc compileStyleFloat() { yamlStyleFloat = regexp"},
		{"[eE][-+]?[0-9]+)?$`)\n", "[eE][-+]?[0-9]+)?$`) }\n"},
		{"if yamlStyleFloat.", "compileFloat.Do(compileStyleFloat)\n\t\t\tif yamlStyleFloat."},
	}},
	// A pool of errors filled in advance, for tables that are never drawn.
	{"github.com/olekukonko/errors", "errors.go", nil, []edit{
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
		copied := filepath.Join(folder, folderOf(l.module))
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

// folderOf is a name that no two modules share.
func folderOf(module string) string { return strings.ReplaceAll(path.Clean(module), "/", "-") }

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
	for _, name := range l.expressions {
		held := regexp.MustCompile(`\b` + name + `(?: +\*regexp\.Regexp)? = (regexp\.MustCompile\(` + "`[^`]*`" + `\))\n`)
		used := regexp.MustCompile(`\b` + name + `\.`)
		if n, m := len(held.FindAll(text, -1)), len(used.FindAll(text, -1)); n != 1 || m == 0 || n+m != len(regexp.MustCompile(`\b`+name+`\b`).FindAll(text, -1)) {
			return fmt.Errorf("%s does not hold and use %s as it did", l.file, name)
		}
		text = used.ReplaceAll(text, []byte(name+"()."))
		text = held.ReplaceAll(text, []byte(name+" = sync.OnceValue(func() *regexp.Regexp { return $1 })\n"))
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
