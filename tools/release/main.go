// Command release prepares the released build: it writes a module file that is
// go.mod but for copies of the few dependencies that work at every start for what
// envctl never asks of them. What it asks is answered as before.
//
//	go build $(go run ./tools/release .release) .
//
// An edit that no longer fits its module is an error: then look whether the newer
// version still needs one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
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
		{"var sudoPaths = map[string]*regexp.Regexp{\n", "var sudoPaths = sync.OnceValue(func() map[string]*regexp.Regexp { return map[string]*regexp.Regexp{\n"},
		{"\n}\n\nfunc SudoPaths()", "\n}})\n\nfunc SudoPaths()"},
		{"return sudoPaths\n", "return sudoPaths()\n"},
		{"sudoPaths[path]", "sudoPaths()[path]"},
		{"range sudoPaths ", "range sudoPaths() "},
	}},
	// For errors of a request, network interfaces, sizes, numbers with a point or a
	// colon, passphrases, and answers at a prompt.
	{"github.com/hashicorp/go-retryablehttp", "client.go", []string{"redirectsErrorRe", "schemeErrorRe", "invalidHeaderErrorRe", "notTrustedErrorRe"}, nil},
	{"github.com/hashicorp/go-sockaddr", "ifaddrs.go", []string{"signRE", "whitespaceRE", "ifNameRE", "ipAddrRE"}, nil},
	{"github.com/hashicorp/go-secure-stdlib/parseutil", "parseutil.go", []string{"validCapacityString"}, nil},
	{"go.yaml.in/yaml/v3", "resolve.go", []string{"yamlStyleFloat"}, nil},
	{"go.yaml.in/yaml/v3", "encode.go", []string{"base60float"}, nil},
	{"filippo.io/age", "scrypt.go", []string{"digitsRe"}, nil},
	{"github.com/AlecAivazis/survey/v2", "confirm.go", []string{"yesRx", "noRx"}, nil},
	{"github.com/AlecAivazis/survey/v2", "terminal/cursor.go", []string{"dsrPattern"}, nil},
	// Variables of colours by their names; what is linked asks ColorCode.
	{"github.com/mgutz/ansi", "ansi.go", nil, []edit{
		{"func init() {\n\tfor i", "func named() {\n\tfor i"},
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
	own, err := ask("list", "-m", "-f", "{{.GoMod}}")
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
	copied := map[string]string{}
	for _, l := range lazies {
		if copied[l.module] == "" {
			to := filepath.Join(folder, strings.ReplaceAll(l.module, "/", "-"))
			if err := copyModule(l.module, to); err != nil {
				return fmt.Errorf("%s: %w", l.module, err)
			}
			copied[l.module] = to
			if !filepath.IsAbs(to) {
				to = "./" + filepath.ToSlash(to) // from the module's root, and so in the program's build information
			}
			mod = fmt.Appendf(mod, "\nreplace %s => %q\n", l.module, to)
		}
		if err := l.edit(copied[l.module]); err != nil {
			return fmt.Errorf("%s: %w", l.module, err)
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "go.sum"), sum, 0o644),
		os.WriteFile(filepath.Join(folder, "go.mod"), mod, 0o644),
	)
}

func copyModule(module, folder string) error {
	source, err := sourceOf(module)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.CopyFS(folder, os.DirFS(source)); err != nil {
		return err
	}
	file := filepath.Join(folder, "go.mod")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) { // older than modules
		return os.WriteFile(file, []byte("module "+module+"\n"), 0o644)
	}
	return nil
}

// edit makes the file in the module's copy lazy.
func (l lazy) edit(folder string) error {
	file := filepath.Join(folder, filepath.FromSlash(l.file))
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range l.expressions {
		if text, err = putOff(text, name); err != nil {
			return fmt.Errorf("%s: %w", l.file, err)
		}
	}
	for _, e := range l.edits {
		if n := bytes.Count(text, []byte(e.from)); n != 1 {
			return fmt.Errorf("%s has %d times: %q", l.file, n, e.from)
		}
		text = bytes.Replace(text, []byte(e.from), []byte(e.to), 1)
	}
	if bytes.Contains(text, []byte("sync.")) && !bytes.Contains(text, []byte(`"sync"`)) {
		text = regexp.MustCompile(`(?m)^package .*\n`).ReplaceAll(text, []byte("$0\nimport \"sync\"\n"))
	}
	return os.WriteFile(file, text, 0o644)
}

// putOff makes the variable name a function of that name, which compiles the
// expression when it is first called. (Not sync.OnceValue: some of the modules are
// written in a Go before type parameters.)
func putOff(text []byte, name string) ([]byte, error) {
	held := regexp.MustCompile("(?m)^(var |\t)" + name + "(?: +\\*regexp\\.Regexp)? += (regexp\\.MustCompile\\((?:`[^`\n]*`|\"[^\"\n]*\")\\))$")
	used := regexp.MustCompile(`\b` + name + `\.`)
	if n, m := len(held.FindAll(text, -1)), len(used.FindAll(text, -1)); n != 1 || m == 0 || n+m != len(regexp.MustCompile(`\b`+name+`\b`).FindAll(text, -1)) {
		return nil, fmt.Errorf("%s is not held and used as it was", name)
	}
	compile := held.FindSubmatch(text)[2]
	text = fmt.Appendf(text, "\nfunc %s() *regexp.Regexp {\n\t%[1]sOnce.Do(func() { %[1]sHeld = %s })\n\treturn %[1]sHeld\n}\n", name, compile)
	text = used.ReplaceAll(text, []byte(name+"()."))
	return held.ReplaceAll(text, []byte("${1}"+name+"Held *regexp.Regexp\n${1}"+name+"Once sync.Once")), nil
}

// sourceOf is the folder of a module, which is fetched where it is not there yet.
func sourceOf(module string) (string, error) {
	out, err := ask("mod", "download", "-json", module)
	if err != nil {
		return "", err
	}
	var got struct{ Dir string }
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Dir == "" {
		return "", fmt.Errorf("go mod download says %q", out)
	}
	return got.Dir, nil
}

// ask is what the go command answers.
func ask(args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
