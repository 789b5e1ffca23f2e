package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// asked runs testdata/asked and returns its answers and vault/api's allocations
// before main.
func asked(t *testing.T, flags ...string) (answers string, allocs int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build"}, flags...), "-o", filepath.Join(t.TempDir(), "asked"), "./testdata/asked")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), cmd.Args[len(cmd.Args)-2])
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace strings.Builder
	cmd.Stderr = &trace
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, trace.String())
	}
	m := regexp.MustCompile(`(?m)^init github.com/hashicorp/vault/api @.* (\d+) allocs$`).FindStringSubmatch(trace.String())
	if m == nil {
		return string(out), 0
	}
	allocs, err = strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(out), allocs
}

// The copies answer as their modules do, later.
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := prepare(folder); err != nil {
		t.Fatal(err)
	}
	want, before := asked(t)
	got, after := asked(t, "-modfile="+filepath.Join(folder, "go.mod"))
	if want != got || strings.Count(want, "\n") < 40 {
		t.Errorf("the module says\n%s\nthe copy\n%s", want, got)
	}
	if before < 1000 || after > 200 {
		t.Errorf("%d allocations before main, %d of the copy", before, after)
	}
	files := map[string][]string{}
	for _, l := range lazies {
		files[l.module] = append(files[l.module], l.file)
	}
	for module, changed := range files { // and nothing else was changed
		source, err := sourceOf(module)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "diff", "-rq", source, filepath.Join(folder, strings.ReplaceAll(module, "/", "-"))).Output()
		out = regexp.MustCompile(`(?m)^Only in .*: go\.mod\n`).ReplaceAll(out, nil) // of a module older than modules
		if err == nil || strings.Count(string(out), "\n") != len(changed) {
			t.Errorf("%v: %s", err, out)
		}
		for _, file := range changed {
			if !strings.Contains(string(out), filepath.Join(source, file)+" ") {
				t.Errorf("%s of %s was not changed:\n%s", file, module, out)
			}
		}
	}
}

// Nobody misses the colours that the copy does not prepare.
func TestOnlyColorCodeIsAsked(t *testing.T) {
	t.Parallel()
	survey, err := sourceOf("github.com/AlecAivazis/survey/v2")
	if err != nil {
		t.Fatal(err)
	}
	users, err := ask("list", "-deps", "-f", `{{if eq .ImportPath "github.com/mgutz/ansi"}}{{else}}{{range .Imports}}{{if eq . "github.com/mgutz/ansi"}}{{$.ImportPath}}{{end}}{{end}}{{end}}`, "../..")
	if err != nil || strings.TrimSpace(users) != "github.com/AlecAivazis/survey/v2/core" {
		t.Fatalf("%q, %v", users, err)
	}
	text, err := os.ReadFile(filepath.Join(survey, "core", "template.go"))
	if err != nil {
		t.Fatal(err)
	}
	if uses := regexp.MustCompile(`\bansi\.\w+`).FindAllString(string(text), -1); len(uses) != 1 || uses[0] != "ansi.ColorCode" {
		t.Error(uses)
	}
}

// A module that has moved on is noticed, not released as it is.
func TestEditThatFitsNoMore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := copyModule(lazies[0].module, folder); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"no such text", "func"} {
		l := lazy{lazies[0].module, lazies[0].file, nil, []edit{{from, ""}}}
		if err := l.edit(folder); err == nil || !strings.Contains(err.Error(), strconv.Quote(from)) {
			t.Errorf("%q: %v", from, err)
		}
	}
	for _, text := range []string{
		"", "var x = 1\nx.y()", "var x = regexp.MustCompile(`a`)\n", "var x = regexp.MustCompile(`a`)\nx.Match(b)\nf(x)\n",
		"var x = regexp.MustCompile(`a`)\nvar x = regexp.MustCompile(`a`)\nx.Match(b)\n", "var x = regexp.MustCompile(`a` + b)\nx.Match(b)\n",
	} {
		if out, err := putOff([]byte(text), "x"); err == nil {
			t.Errorf("%q became %q", text, out)
		}
	}
}
