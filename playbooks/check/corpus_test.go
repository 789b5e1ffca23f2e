package check_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks/check"
	"envctl/playbooks/check/checktest"
	"envctl/providers"
	"envctl/providers/memory"
)

// TestCheckCorpus runs check on small projects: one or more for each rule, the
// accidents of real systems, and good projects, which have no findings. Each
// archive's file "expect" lists exactly what is found, as RULE VARIABLE FILE:LINE.
// An archive without envctl.yaml gets one that names the layers it has.
// Files below store/ENV/COMPONENT are the store's, those below ghost/ENV/COMPONENT
// were written beside it; the file "git" lists what is
// tracked; the file "live" the environments of a check --live; the file "bundle" the
// folder of a bundle.
func TestCheckCorpus(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../commands/testdata/check/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d archives (%v): the corpus has at least 60", len(files), err)
	}
	found := map[string]bool{}
	good := 0
	t.Run("archives", func(t *testing.T) {
		for _, f := range files {
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
				rules := checkArchive(t, f)
				for _, r := range rules {
					found[r] = true
				}
				if len(rules) == 0 {
					good++
				}
			})
		}
	})
	for _, r := range check.Rules() {
		if !found[r.Name] {
			t.Errorf("no archive makes the rule %s fire", r.Name)
		}
	}
	if good < 12 {
		t.Errorf("%d good projects: the corpus has at least 12", good)
	}
}

// checkArchive returns the rules that an archive makes fire.
func checkArchive(t *testing.T, file string) []string {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Comment) == 0 {
		t.Error("the archive does not say what it is about")
	}
	dir := t.TempDir()
	var expect []string
	var tracked, live, bundle string
	var numbers []string // keys whose value the store says is no string
	stored := map[naming.Path]providers.Patch{}
	ghosts := map[naming.Path]providers.Patch{}
	for _, f := range a.Files {
		text := string(f.Data)
		switch {
		case f.Name == "expect":
			expect = strings.Split(strings.TrimSpace(text), "\n")
			if expect[0] == "" {
				expect = nil
			}
		case f.Name == "git":
			tracked = text
		case f.Name == "live":
			live = text
		case f.Name == "bundle":
			bundle = filepath.Join(dir, strings.TrimSpace(text))
		case strings.HasPrefix(f.Name, "store/"), strings.HasPrefix(f.Name, "ghost/"):
			parts := strings.Split(f.Name, "/")
			patch := providers.Patch{}
			for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
				k, v, _ := strings.Cut(line, "=")
				if k, found := strings.CutPrefix(k, "number "); found {
					numbers = append(numbers, k)
					patch[k] = secret.New(v)
					continue
				}
				patch[k] = secret.New(v)
			}
			into := map[string]map[naming.Path]providers.Patch{"store": stored, "ghost": ghosts}[parts[0]]
			into[naming.Path{Project: "ledger", Environment: parts[1], Component: parts[2]}] = patch
		default:
			writeFile(t, filepath.Join(dir, f.Name), strings.ReplaceAll(text, "<CR>", "\r"))
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "envctl.yaml")); err != nil {
		writeFile(t, filepath.Join(dir, "envctl.yaml"), projectFor(dir))
	}
	if tracked != "" {
		realtest.Tool(t, "git")
		runGit(t, dir, "init", "-q")
		for _, name := range strings.Fields(tracked) {
			runGit(t, dir, "add", "-f", name)
		}
	}
	p, err := config.Load(filepath.Join(dir, "envctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in := check.Input{Project: p, Bundle: bundle}
	ctx := context.Background()
	store := memory.New("op", func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) })
	for path, patch := range stored {
		if _, err := store.Write(ctx, path, providers.Absent, patch); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range strings.Fields(live) {
		e, err := p.Environment(name)
		if err != nil {
			t.Fatal(err)
		}
		in.Live = append(in.Live, check.Live{Environment: e, Store: func(config.Environment) (providers.Store, error) { return odd{store, numbers, ghosts}, nil }})
	}
	r, err := check.Run(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	var got, rules []string
	for _, f := range r.Findings {
		variable := f.Variable
		if variable == "" {
			variable = "-"
		}
		got = append(got, fmt.Sprintf("%s %s %s:%d", f.Rule, variable, f.File, f.Line))
		rules = append(rules, f.Rule)
		if missing := checktest.Lacks(f); len(missing) > 0 {
			t.Errorf("lacks %s: %+v", strings.Join(missing, ", "), f)
		}
	}
	slices.Sort(got)
	slices.Sort(expect)
	if !slices.Equal(got, expect) {
		t.Errorf("%s\ngot:\n  %s\nwant:\n  %s", strings.TrimSpace(string(a.Comment)), strings.Join(got, "\n  "), strings.Join(expect, "\n  "))
		for _, f := range r.Findings {
			t.Logf("%s %s %s: %s\n   fix: %s", f.Severity, f.Rule, f.Place(), f.Message, f.Fix)
		}
	}
	if len(r.Notes) > 0 {
		t.Errorf("notes: %v", r.Notes)
	}
	return rules
}

// odd is a store in which some values are no strings, and some went astray.
type odd struct {
	providers.Store
	keys   []string
	ghosts map[naming.Path]providers.Patch
}

func (n odd) Ghost(_ context.Context, p naming.Path) (providers.Bundle, error) {
	if g := n.ghosts[p]; g != nil {
		return providers.Bundle{Path: p, Version: 1, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Values: g}, nil
	}
	return providers.Bundle{}, fault.New(fault.NotFound, "read", "", "")
}

func (n odd) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	b, err := n.Store.Read(ctx, p, v)
	for _, k := range n.keys {
		if b.Values[k].IsSet() {
			b.NonString = append(b.NonString, k)
		}
	}
	return b, err
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// projectFor names the layers that a folder has.
func projectFor(dir string) string {
	b := &strings.Builder{}
	b.WriteString("version: 1\nproject: ledger\nenvironments: {local: {}, staging: {}, production: {}}\ncomponents:\n  app:\n    services: [backend, postgres]\n")
	for _, l := range []struct{ key, file string }{
		{"template", "secrets.ctmpl"}, {"code", "config.py"}, {"example", ".env.example"}, {"policy", "vault-policy.hcl"}, {"compose", "compose.yaml"},
	} {
		if _, err := os.Stat(filepath.Join(dir, l.file)); err == nil {
			fmt.Fprintf(b, "    %s: %s\n", l.key, l.file)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, ".env")); err == nil {
		b.WriteString("    dotenv: [.env]\n")
	}
	return b.String()
}
