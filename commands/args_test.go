package commands

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
)

// everyCommand calls visit for each command of the tree with its full name.
func everyCommand(tree *cli.App, visit func(path string, c *cli.Command)) {
	var walk func(path string, level []*cli.Command)
	walk = func(path string, level []*cli.Command) {
		for _, c := range level {
			name := strings.TrimSpace(path + " " + c.Name)
			visit(name, c)
			walk(name, c.Subcommands)
		}
	}
	walk("", tree.Commands)
}

func noEnvironment(string) string { return "" }

// TestArrange holds the order that the library reads: flags of the program, the
// command, its flags, the arguments.
func TestArrange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line, want string
		env        map[string]string
	}{
		{line: "", want: "envctl"},
		{line: "list", want: "envctl list"},
		{line: "trace KEY --env staging", want: "envctl --env=staging trace -- KEY"},
		{line: "--env staging trace KEY", want: "envctl --env=staging trace -- KEY"},
		{line: "trace --env=staging KEY", want: "envctl --env=staging trace -- KEY"},
		{line: "trace KEY -estaging", want: "envctl --env=staging trace -- KEY"},
		{line: "trace KEY -e=staging", want: "envctl --env=staging trace -- KEY"},
		{line: "set A B --generate jwt -ny", want: "envctl --dry-run --yes set --generate=jwt -- A B"},
		{line: "set A -vve x", want: "envctl --verbose --verbose --env=x set -- A"},
		{line: "env create qa --no-deploy --json", want: "envctl --json env create --no-deploy -- qa"},
		{line: "--json env --no-deploy create qa", want: "envctl --json env create --no-deploy -- qa"},
		{line: "run -- cmd --env x -y", want: "envctl run -- cmd --env x -y"},
		{line: "run -n -- cmd -- --json", want: "envctl --dry-run run -- cmd -- --json"},
		{line: "env create --values - qa", want: "envctl env create --values=- -- qa"},
		{line: "trace -- --env", want: "envctl trace -- --env"},
		{line: "help trace", want: "envctl trace --help"},
		{line: "trace -h", want: "envctl trace --help"},
		{line: "trace KEY --help", want: "envctl trace --help"},
		{line: "var add NEW -h", want: "envctl var add --help"},
		{line: "--version --json", want: "envctl --json version"},
		{line: "--json -V", want: "envctl --json version"},
		{line: "get A --version 3", want: "envctl get --version=3 -- A"},
		{line: "list", env: map[string]string{"ENVCTL_ENV": "qa", "ENVCTL_JSON": "true"}, want: "envctl --env=qa --json=true list"},
		{line: "list --env staging", env: map[string]string{"ENVCTL_ENV": "qa"}, want: "envctl --env=staging list"},
		{line: "list", env: map[string]string{"ENVCTL_VERBOSE": "2"}, want: "envctl --verbose --verbose list"},
		{line: "list", env: map[string]string{"ENVCTL_VERBOSE": "0", "ENVCTL_ALL_ENVS": "true"}, want: "envctl list --all-envs=true"},
		{line: "set A", env: map[string]string{"ENVCTL_ALL_ENVS": "true"}, want: "envctl set -- A"},
	} {
		getenv := func(name string) string { return test.env[name] }
		got, err := arrange(Tree(), strings.Fields(test.line), getenv)
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s\n got %s, %v\nwant %s", test.line, strings.Join(got, " "), err, test.want)
		}
	}
}

// TestArrangeRefuses holds that a wrong line is Usage, says which word is wrong
// and what to type, and never repeats what may be a value.
func TestArrangeRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line, message, hint string
		env                 map[string]string
	}{
		{line: "frobnicate", message: `no command "frobnicate"`, hint: "envctl --help"},
		{line: "rotat jwt", message: `no command "rotat"`, hint: "did you mean envctl rotate?"},
		{line: "env creat qa", message: `env: no command "creat"`, hint: "did you mean envctl env create?"},
		{line: "list --jsn", message: `list: no flag "--jsn"`, hint: "did you mean --json?"},
		{line: "list -json", message: `no flag "-json"`, hint: "did you mean --json?"},
		{line: "list --generate x", message: `list: no flag "--generate"`},
		{line: "set A --valeu=hunter2secret", message: `no flag "--valeu"`},
		{line: "set A -phunter2secret", message: `no flag "-p…"`},
		{line: "list --env", message: "wants a value"},
		{line: "-e list", message: `flag -e: took "list" for its value, and no command is left`, hint: "envctl list -e VALUE"},
		{line: "--json --env list", message: `flag --env: took "list" for its value`, hint: "envctl list --env VALUE"},
		{line: "list --json=maybe", message: `--json: "maybe" is not true or false`},
		{line: "list --timeout soon", message: `--timeout: "soon" is not a duration`},
		{line: "get A --version latest", message: `--version: "latest" is not a whole number`},
		{line: "list", env: map[string]string{"ENVCTL_JSON": "maybe"}, message: `ENVCTL_JSON: "maybe" is not true or false`},
		{line: "list", env: map[string]string{"ENVCTL_TIMEOUT": "soon"}, message: `ENVCTL_TIMEOUT: "soon"`},
		{line: "help frobnicate", message: `no command "frobnicate"`},
	} {
		getenv := func(name string) string { return test.env[name] }
		got, err := arrange(Tree(), strings.Fields(test.line), getenv)
		switch {
		case err == nil:
			t.Errorf("%s is taken as %q", test.line, got)
		case !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), test.message) || !strings.Contains(fault.HintOf(err), test.hint):
			t.Errorf("%s: %v (%s), want %s", test.line, err, fault.HintOf(err), test.message)
		case fault.HintOf(err) == "" || strings.HasPrefix(err.Error(), "envctl") || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %q, hint %q", test.line, err, fault.HintOf(err))
		}
	}
}

// TestFlagsStandAnywhere holds that each flag of each command is read as that
// command means it, before the command and after it, although some names take a
// value in one command and none in another.
func TestFlagsStandAnywhere(t *testing.T) {
	t.Parallel()
	n := 0
	everyCommand(Tree(), func(path string, c *cli.Command) {
		if isGroup(c) {
			return
		}
		for _, f := range append(slices.Clone(Tree().Flags), c.Flags...) {
			n++
			name := "--" + f.Names()[0]
			flag, want := []string{name}, name
			switch f.(type) {
			case *cli.DurationFlag:
				flag, want = append(flag, "3s"), want+"=3s"
			case *cli.IntFlag:
				flag, want = append(flag, "7"), want+"=7"
			case *cli.StringFlag, *cli.StringSliceFlag:
				flag, want = append(flag, "text"), want+"=text"
			case *cli.BoolFlag:
			default:
				t.Errorf("envctl %s %s is of a kind that this test does not know", path, name)
			}
			words := strings.Fields(path)
			for _, line := range [][]string{slices.Concat(words, flag, []string{"ARG"}), slices.Concat(words, []string{"ARG"}, flag), slices.Concat(flag, words, []string{"ARG"})} {
				got, err := arrange(Tree(), line, noEnvironment)
				if err != nil || !slices.Contains(got, want) || !endsWith(got, []string{"--", "ARG"}) {
					t.Errorf("%q became %q, %v", line, got, err)
				}
			}
		}
	})
	if n < 400 {
		t.Errorf("only %d flags: the walk is broken", n)
	}
}

// TestFlagOfTwoKinds is TestFlagsStandAnywhere for one name that surely has two.
func TestFlagOfTwoKinds(t *testing.T) {
	t.Parallel()
	does := func(*cli.Context) error { return nil }
	tree := &cli.App{Commands: []*cli.Command{
		{Name: "takes", Action: does, Flags: []cli.Flag{&cli.StringFlag{Name: "x"}}},
		{Name: "group", Subcommands: []*cli.Command{{Name: "switch", Action: does, Flags: []cli.Flag{&cli.BoolFlag{Name: "x"}}}}},
	}}
	for line, want := range map[string]string{
		"takes --x V a":         "envctl takes --x=V -- a",
		"takes a --x V":         "envctl takes --x=V -- a",
		"--x V takes a":         "envctl takes --x=V -- a",
		"group switch --x a":    "envctl group switch --x -- a",
		"group --x switch a":    "envctl group switch --x -- a",
		"--x group switch a":    "envctl group switch --x -- a",
		"group switch --x":      "envctl group switch --x",
		"group switch a --x --": "envctl group switch --x -- a",
	} {
		got, err := arrange(tree, strings.Fields(line), noEnvironment)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s\n got %s, %v\nwant %s", line, strings.Join(got, " "), err, want)
		}
	}
}

// TestNoFlagIsDefinedTwice holds that no command has a flag of the program's own
// name, whose value the library would lose.
func TestNoFlagIsDefinedTwice(t *testing.T) {
	t.Parallel()
	tree := Tree()
	global := index(tree.Flags)
	everyCommand(tree, func(path string, c *cli.Command) {
		seen := map[string]bool{}
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if global[n] != nil || seen[n] {
					t.Errorf("envctl %s defines --%s again", path, n)
				}
				seen[n] = true
			}
		}
	})
}

// TestFlagsFromEnvironment holds that every flag can be given as ENVCTL_…, and
// that none which consents can.
func TestFlagsFromEnvironment(t *testing.T) {
	t.Parallel()
	value := func(f cli.Flag) string {
		switch f.(type) {
		case *cli.BoolFlag:
			return "true"
		case *cli.DurationFlag:
			return "3s"
		case *cli.IntFlag:
			return "7"
		}
		return "some-text"
	}
	check := func(line []string, f cli.Flag) {
		name := f.Names()[0]
		given := func(variable string) string {
			if variable == "ENVCTL_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")) {
				return value(f)
			}
			return ""
		}
		got, err := arrange(Tree(), line, given)
		taken := slices.Contains(got, "--"+name+"="+value(f))
		if consent := slices.Contains(consents, name); err != nil || taken == consent {
			t.Errorf("%v: --%s from the environment: %v, consent %v, %v", line, name, taken, consent, err)
		}
	}
	tree := Tree()
	for _, f := range tree.Flags {
		check([]string{"list"}, f)
	}
	everyCommand(tree, func(path string, c *cli.Command) {
		if isGroup(c) {
			return
		}
		for _, f := range c.Flags {
			check(strings.Fields(path), f)
		}
	})
	for _, name := range []string{"confirm", "destroy", "raw", "reveal", "skip-verify", "yes"} {
		if !slices.Contains(consents, name) {
			t.Errorf("--%s consents", name)
		}
	}
}

// TestHelpOfEveryCommand holds what each command's help tells, and its form.
func TestHelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	n := 0
	everyCommand(Tree(), func(path string, c *cli.Command) {
		n++
		switch {
		case c.Hidden:
		case c.Usage == "" || strings.HasSuffix(c.Usage, "."):
			t.Errorf("envctl %s: usage %q", path, c.Usage)
		case c.Usage[:1] != strings.ToUpper(c.Usage[:1]):
			t.Errorf("envctl %s: usage %q does not begin with a capital", path, c.Usage)
		case len(c.Subcommands) == 0 && c.Action == nil:
			t.Errorf("envctl %s does nothing", path)
		}
		for _, f := range c.Flags {
			d, ok := f.(cli.DocGenerationFlag)
			if !ok || d.GetUsage() == "" {
				t.Errorf("envctl %s --%s has no text", path, f.Names()[0])
			}
		}
		got, err := arrange(Tree(), append(strings.Fields(path), "--help"), noEnvironment)
		if want := "envctl " + path + " --help"; err != nil || strings.Join(got, " ") != want {
			t.Errorf("help of %s: %q, %v", path, got, err)
		}
	})
	if n < 30 {
		t.Errorf("only %d commands: the walk is broken", n)
	}
}

// Where HOME is not set or relative, the operator's files must not come to lie in
// the working directory, which is a repository.
func TestHomeIsNeverRelative(t *testing.T) {
	t.Parallel()
	for _, home := range []string{"", ".", "somewhere"} {
		got := withHome(func(name string) string {
			if name == "HOME" {
				return home
			}
			return ""
		})
		if a := (&app{Process: Process{Getenv: got}}); !filepath.IsAbs(a.dirs().Config) || !filepath.IsAbs(a.dirs().State) {
			t.Errorf("HOME=%q: %+v", home, a.dirs())
		}
	}
	if got := withHome(func(string) string { return "/home/op" })("HOME"); got != "/home/op" {
		t.Errorf("HOME is %s", got)
	}
}

// FuzzArrange holds that no line panics, that what follows "--" stays as it is,
// and that an arranged line is arranged into itself.
func FuzzArrange(f *testing.F) {
	for _, line := range []string{
		"trace KEY --env staging", "run --only -- sh -c 'x' --json", "set A -vvn --generate jwt", "--env= -e - --", "-", "--=x", "help help",
		"env create qa --values - --no-deploy", "get -- --raw", "-nVx", "--version", "\x00 -\xff --\u202e=1",
	} {
		f.Add(line, "staging")
	}
	tree := Tree()
	f.Fuzz(func(t *testing.T, line, fromEnv string) {
		args := strings.Split(line, " ")
		getenv := func(name string) string {
			if name == "ENVCTL_ENV" {
				return fromEnv
			}
			return ""
		}
		got, err := arrange(tree, args, getenv)
		if err != nil {
			if !fault.Is(err, fault.Usage) || fault.HintOf(err) == "" {
				t.Fatalf("%q: %v", args, err)
			}
			return
		}
		if i := slices.Index(args, "--"); i >= 0 && !endsWith(got, args[i+1:]) {
			t.Fatalf("%q became %q", args, got)
		}
		again, err := arrange(tree, got[1:], noEnvironment)
		if err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q became %q, and that %q, %v", args, got, again, err)
		}
	})
}

func endsWith(all, tail []string) bool {
	return len(all) >= len(tail) && slices.Equal(all[len(all)-len(tail):], tail)
}
