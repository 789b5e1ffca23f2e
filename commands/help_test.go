package commands

import (
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"envctl/internal/ui"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	for line, shown := range map[string]bool{
		"":                               true,
		"--help":                         true,
		"-h":                             true,
		"-n -v --env staging --help -y":  true,
		"--no-input --help --timeout 5s": true,
		"help":                           true,
		"-- --help":                      true,
		"get --help":                     false,
		"help get":                       false,
	} {
		var out strings.Builder
		a := &app{Process: Process{Args: strings.Fields(line), Getenv: func(name string) string {
			return map[string]string{"ENVCTL_NO_INPUT": "1"}[name]
		}}, ui: &ui.UI{Out: &out, Err: io.Discard}}
		err := a.run(t.Context())
		if got := out.String() == helpText; got != shown || shown && err != nil {
			t.Errorf("envctl %s: %v\n%s", line, err, &out)
		}
	}
}

// The short way to a flag's names must give what the library gives.
func TestSpellings(t *testing.T) {
	t.Parallel()
	checked := 0
	check := func(flags []cli.Flag) {
		for _, f := range flags {
			checked++
			if got, want := spellings(f), f.Names(); !slices.Equal(got, want) {
				t.Errorf("names %q, want %q", got, want)
			}
		}
	}
	var walk func([]*cli.Command)
	walk = func(level []*cli.Command) {
		for _, c := range level {
			check(c.Flags)
			walk(c.Subcommands)
		}
	}
	tree := Tree()
	check(tree.Flags)
	walk(tree.Commands)
	if checked < 40 {
		t.Errorf("only %d flags", checked)
	}
}

// Help fits a terminal of 80 columns, that of every command and the program's own.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	checked := 0
	check := func(args ...string) {
		var out strings.Builder
		a := &app{Process: Process{Args: append(args, "--help"), Getenv: func(string) string { return "" }}, ui: &ui.UI{Out: &out, Err: io.Discard}}
		if err := a.run(t.Context()); err != nil || out.Len() == 0 {
			t.Errorf("%q: %v", args, err)
		}
		checked++
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("envctl %s --help: %d columns: %s", strings.Join(args, " "), n, line)
			}
		}
	}
	var walk func(prefix []string, level []*cli.Command)
	walk = func(prefix []string, level []*cli.Command) {
		for _, c := range level {
			if c.Name != "help" {
				full := append(slices.Clone(prefix), c.Name)
				check(full...)
				walk(full, c.Subcommands)
			}
		}
	}
	check()
	walk(nil, Tree().Commands)
	if checked < 30 {
		t.Errorf("%d commands", checked)
	}
}
