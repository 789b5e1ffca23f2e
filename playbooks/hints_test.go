package playbooks_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"envctl/commands"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// command finds what a line types, and says what is wrong with it: an unknown
// command, an unknown flag, or, where the line is whole, a missing argument.
func command(tree *cli.App, line string, whole bool) error {
	words := strings.Fields(line)[1:]
	var cmd *cli.Command
	level, known := tree.Commands, map[string]bool{"help": true}
	add := func(flags []cli.Flag) {
		for _, f := range flags {
			for _, n := range f.Names() {
				known[n] = true
			}
		}
	}
	add(tree.Flags)
	for len(words) > 0 && len(level) > 0 && !strings.HasPrefix(words[0], "-") {
		var next *cli.Command
		for _, c := range level {
			if c.HasName(words[0]) {
				next = c
			}
		}
		if next == nil {
			return fmt.Errorf("no command %q", words[0])
		}
		cmd, level, words = next, next.Subcommands, words[1:]
	}
	if cmd == nil {
		return nil
	}
	add(cmd.Flags)
	args := 0
	for i := 0; i < len(words); i++ {
		name, isFlag := strings.CutPrefix(words[i], "--")
		if !isFlag {
			args++
			continue
		}
		name, _, has := strings.Cut(name, "=")
		if !known[name] {
			return fmt.Errorf("no flag --%s", name)
		}
		for _, f := range append(append([]cli.Flag{}, tree.Flags...), cmd.Flags...) {
			if d, ok := f.(cli.DocGenerationFlag); ok && f.Names()[0] == name && d.TakesValue() && !has {
				i++
			}
		}
	}
	if whole && args == 0 && cmd.ArgsUsage != "" && !strings.HasPrefix(cmd.ArgsUsage, "[") {
		return fmt.Errorf("lacks %s", cmd.ArgsUsage)
	}
	return nil
}

// typed finds the commands in a hint. What comes after a comma, a semicolon, a
// parenthesis or a word that no command line holds is talk.
func typed(hint string) []string {
	var out []string
	for _, part := range strings.Split(hint, "envctl ")[1:] {
		end := regexp.MustCompile(`[,;)?:|]|  | (again|to|first|and|or|in|once|shows|that|then|for)\b|$`).FindStringIndex(part)
		out = append(out, "envctl "+strings.TrimSpace(part[:end[0]]))
	}
	return out
}

func TestHintReader(t *testing.T) {
	t.Parallel()
	tree := commands.Tree()
	for hint, ok := range map[string]bool{
		"run envctl set A --env x --component app again": true, "run envctl sett A": false, "run envctl set A --enx x": false,
		"run envctl unset --env x first": false, "look with envctl history A --env x; then": true, "envctl env create qa": true, "envctl env creat qa": false,
		"envctl resume 123  or  envctl undo 123": true, "envctl undo": false,
	} {
		bad := false
		for _, line := range typed(hint) {
			bad = bad || command(tree, line, true) != nil
		}
		if len(typed(hint)) == 0 || bad == ok {
			t.Errorf("%q: %v", hint, typed(hint))
		}
	}
}

// Every command named in a text of the playbooks, the engine and the commands
// is one that exists, with flags that exist.
func TestEveryCommandInATextExists(t *testing.T) {
	t.Parallel()
	tree := commands.Tree()
	word := regexp.MustCompile(`^envctl [a-z]`)
	seen := 0
	for _, dir := range []string{".", "../internal/plan"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		must(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, file, nil, 0)
			must(t, err)
			ast.Inspect(parsed, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				must(t, err)
				for _, line := range typed(text) {
					if !word.MatchString(line) || strings.HasPrefix(line, "envctl %") {
						continue
					}
					line = strings.ReplaceAll(line, "%s", "x")
					seen++
					if err := command(tree, strings.ReplaceAll(line, "%d", "1"), false); err != nil {
						t.Errorf("%s: %q: %v", set.Position(lit.Pos()), text, err)
					}
				}
				return true
			})
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands found", seen)
	}
}

// Every failing message says what was done to what, why, and what to type next,
// and what it says to type can be typed.
func TestEveryFailureSaysWhatToDo(t *testing.T) {
	t.Parallel()
	tree := commands.Tree()
	ctx := context.Background()
	patch := func(kv ...string) providers.Patch {
		p := providers.Patch{}
		for i := 0; i < len(kv); i += 2 {
			p[kv[i]] = secret.New(kv[i+1])
		}
		return p
	}
	run := func(l *lab, p *plan.Plan, err error) error {
		if err == nil {
			_, err = l.eng.Run(ctx, p)
		}
		return err
	}
	for name, fail := range map[string]func(l *lab) error{
		"rotate nothing": func(l *lab) error { _, err := l.Rotate(ctx, l.target("bare"), l.rotation("TOKEN")); return err },
		"rotate a single fernet key": func(l *lab) error {
			l.write("staging", "SINGLE", "x")
			_, err := l.rotate("staging", "single")
			return err
		},
		"rotate a ring that is none": func(l *lab) error {
			l.write("staging", "RING", "x")
			_, err := l.rotate("staging", "ring")
			return err
		},
		"an unknown rotation":     func(l *lab) error { _, _, err := l.FindRotation("jtw", ""); return err },
		"a rotation nobody knows": func(l *lab) error { _, _, err := l.FindRotation("NOPE_AT_ALL", ""); return err },
		"finish too early": func(l *lab) error {
			_, err := l.rotate("staging", "jwt")
			must(t, err)
			_, err = l.Finish(ctx, l.target("staging"), l.rotation("jwt"))
			return err
		},
		"finish without a previous": func(l *lab) error { _, err := l.Finish(ctx, l.target("staging"), l.rotation("jwt")); return err },
		"finish what has none":      func(l *lab) error { _, err := l.Finish(ctx, l.target("staging"), l.rotation("TOKEN")); return err },
		"rotate at once with another": func(l *lab) error {
			p, err := l.Rotate(ctx, l.target("staging"), l.rotation("jwt"))
			l.write("staging", "PLAIN", "theirs")
			return run(l, p, err)
		},
		"import at once with another": func(l *lab) error {
			p, err := l.Set(ctx, l.target("bare"), "import", patch("A", "1", "B", "2"), false)
			l.write("bare", "PLAIN", "theirs")
			return run(l, p, err)
		},
		"roll back to what is not there":  func(l *lab) error { _, err := l.Rollback(ctx, l.target("staging"), 9); return err },
		"roll back to the newest":         func(l *lab) error { _, err := l.Rollback(ctx, l.target("staging"), 1); return err },
		"roll back a path that never was": func(l *lab) error { _, err := l.Rollback(ctx, l.target("production"), 1); return err },
		"roll back to a deleted version": func(l *lab) error {
			l.write("staging", "A", "1")
			must(t, l.store.Delete(ctx, l.path("staging"), 1))
			_, err := l.Rollback(ctx, l.target("staging"), 1)
			return err
		},
		"write where it is deleted": func(l *lab) error {
			must(t, l.store.Delete(ctx, l.path("staging")))
			_, err := l.set("staging", false, "A", "1")
			return err
		},
		"deploy without a deployer": func(l *lab) error { _, err := l.Deploy(ctx, l.target("bare")); return err },
		"deploy what lacks a value": func(l *lab) error {
			must(t, writeFile(l.Project.Root, "app.ctmpl", templateFile+`{{ with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}LACKS={{ .Data.data.LACKS }}{{ end }}`+"\n"))
			p, err := l.Deploy(ctx, l.target("staging"))
			return run(l, p, err)
		},
		"a stale process": func(l *lab) error { l.fleet.stale = true; _, err := l.rotate("staging", "jwt"); return err },
		"an exited container": func(l *lab) error {
			l.fleet.onWait = func(context.Context) error { l.box("staging").state = "exited"; return nil }
			_, err := l.rotate("staging", "jwt")
			return err
		},
		"no container": func(l *lab) error {
			_, err := l.Evidence(ctx, l.target("production"))
			return err
		},
		"an unhealthy container": func(l *lab) error {
			l.box("staging").health = "unhealthy"
			_, err := l.Evidence(ctx, l.target("staging"))
			return err
		},
		"a key that is not there":  func(l *lab) error { _, err := l.Get(ctx, l.target("staging"), "PLIAN", providers.Latest); return err },
		"a path that is not there": func(l *lab) error { _, _, err := l.Holdings(ctx, l.target("production")); return err },
		"a path that is deleted": func(l *lab) error {
			must(t, l.store.Delete(ctx, l.path("staging")))
			_, _, err := l.Holdings(ctx, l.target("staging"))
			return err
		},
		"restore what never was": func(l *lab) error {
			_, _, err := l.Restoring(ctx, l.target("staging"), "NOPE", providers.Latest)
			return err
		},
		"restore from a version without it": func(l *lab) error { _, _, err := l.Restoring(ctx, l.target("staging"), "NOPE", 1); return err },
		"restore from no version":           func(l *lab) error { _, _, err := l.Restoring(ctx, l.target("staging"), "TOKEN", 7); return err },
		"a value with NUL": func(l *lab) error {
			_, err := l.Set(ctx, l.target("bare"), "set", patch("A", "\x00"), false)
			return err
		},
		"a value too long": func(l *lab) error {
			_, err := l.Set(ctx, l.target("bare"), "set", patch("A", strings.Repeat("x", 1<<20)), false)
			return err
		},
		"a value that is not UTF-8": func(l *lab) error {
			_, err := l.Set(ctx, l.target("bare"), "set", patch("A", "\xff"), false)
			return err
		},
		"env create with values missing": func(l *lab) error {
			must(t, writeFile(l.Project.Root, "app.ctmpl", templateFile+`{{ with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}API_KEY={{ .Data.data.API_KEY }}{{ end }}`+"\n"))
			_, err := l.CreateEnv(ctx, playbooks.Creation{Name: "pr-9"})
			return err
		},
		"env create from nowhere": func(l *lab) error {
			_, err := l.CreateEnv(ctx, playbooks.Creation{Name: "qa", From: "stagin"})
			return err
		},
		"env create of a bad name": func(l *lab) error { _, err := l.CreateEnv(ctx, playbooks.Creation{Name: "Q/A"}); return err },
		"undo of what was changed since": func(l *lab) error {
			res, err := l.set("bare", false, "A", "1")
			must(t, err)
			l.write("bare", "A", "theirs")
			_, err = l.undo(res.Record.ID)
			return err
		},
		"a store that lies": func(l *lab) error {
			l.store.lie = func(naming.Path) (providers.Version, bool) { return 2, true }
			_, err := l.rotate("staging", "jwt")
			return err
		},
		"resume of an undone run": func(l *lab) error {
			res, err := l.rotate("staging", "jwt")
			must(t, err)
			_, err = l.undo(res.Record.ID)
			must(t, err)
			_, err = l.resume(res.Record.ID)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			l.seed(l.path("bare"), "PLAIN", "p")
			err := fail(l)
			if err == nil {
				t.Fatal("no error")
			}
			if fault.KindOf(err) == fault.Internal {
				t.Error("unclassified")
			}
			op, hint := strings.Contains(err.Error(), ": "), fault.HintOf(err)
			if !op {
				t.Error("does not say what was done to what")
			}
			if hint == "" {
				t.Error("says nothing to type")
			}
			for _, line := range typed(hint) {
				if err := command(tree, line, true); err != nil {
					t.Errorf("%q: %v", line, err)
				}
			}
			if t.Failed() {
				t.Logf("%v | %s", err, hint)
			}
			if strings.Contains(err.Error()+hint, "\n") || strings.HasSuffix(err.Error(), ".") {
				t.Errorf("%q", err)
			}
		})
	}
}
