// Package commands talks: each file turns one command's flags into options,
// asks a playbook or a provider, and shows the answer.
package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/harden"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/playbooks"
)

// Process is everything a run gets from outside.
type Process struct {
	Args           []string // without the program's name
	Executable     string
	WorkDir        string
	Stdin          *os.File
	Stdout, Stderr *os.File
	Getenv         func(string) string
	Environ        func() []string
	Now            func() time.Time
	Rand           io.Reader
	Version        string
	// Listen makes interrupts end the context; it is called before a command
	// acts, so that help and completion start no signal handling. Nil: not.
	Listen func()
	Force  <-chan struct{} // closed by a second interrupt
	Disk   plan.FS         // of the journals; nil: the machine's
}

// app is one run: the process, its screen, and what was opened so far.
type app struct {
	Process
	ui      *ui.UI
	globals globals
	world   *playbooks.World
	reports reporting
	command string                // the running command's name, for annotations
	core    harden.Core           // given back to the child of run
	rows    []playbooks.ImportRow // of an import or an edit, for its document
}

// globals are the flags every command has.
type globals struct {
	env, component, chdir, config, confirm string
	json, events, yes, noInput, dryRun     bool
	timeout                                time.Duration
}

// Main runs one command line and returns the process's exit code.
func Main(ctx context.Context, p Process) int {
	p.Getenv = withHome(p.Getenv)
	a := &app{Process: p, ui: ui.New(p.Stdin, p.Stdout, p.Stderr)}
	if len(p.Args) > 0 && p.Args[0] == completeWord {
		a.complete(ctx, p.Args[1:])
		return 0
	}
	if len(p.Args) == 1 && (p.Args[0] == "--version" || p.Args[0] == "-V") {
		a.ui.Print("envctl %s", p.Version)
		return a.end(nil)
	}
	if len(p.Args) == 1 && (p.Args[0] == "--help" || p.Args[0] == "-h") {
		return a.end(a.help())
	}
	return a.end(a.run(ctx))
}

// withHome answers for HOME where the environment has no usable one, as under
// cron: the operator's files must never come to lie in the working directory.
func withHome(getenv func(string) string) func(string) string {
	return func(name string) string {
		v := getenv(name)
		if name != "HOME" || filepath.IsAbs(v) {
			return v
		}
		if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
			return u.HomeDir
		}
		return v
	}
}

// widest is how wide help gets on any terminal.
const widest = 100

func (a *app) run(ctx context.Context) error {
	tree := a.tree()
	line, err := arrange(tree, a.Args, a.Getenv)
	if err != nil {
		a.ui.JSON = a.ui.JSON || asksJSON(a.Args, a.Getenv)
		return err
	}
	if asksHelp(line) {
		return a.help()
	}
	if slices.Contains(line, "--help") {
		withoutFalse(tree.Flags, tree.Commands) // help asks a flag for more than its names
	} else {
		narrow(tree, line)
	}
	var shown bytes.Buffer // nothing but help is written there
	tree.Writer = &shown
	err = tree.RunContext(ctx, line)
	if shown.Len() > 0 {
		_, werr := io.WriteString(a.ui.Out, ui.Fold(shown.String(), min(a.ui.Width(), widest)))
		err = errors.Join(err, werr)
	}
	return err
}

// end shows err and returns the exit code it means.
func (a *app) end(err error) int {
	var quietly silentError
	if lost := a.ui.Lost(); lost != nil && (err == nil || fault.KindOf(err) == fault.Internal || errors.As(err, &quietly)) {
		err = fault.New(fault.Unavailable, "write standard output", plainCause(lost)+": the answer is not whole", "make room where it goes, then run the command again")
	}
	code := exitCode(err)
	var quiet silentError
	if err == nil || errors.As(err, &quiet) {
		a.sayWarnings()
		return code
	}
	kind, hint := fault.KindOf(err), fault.HintOf(err)
	if hint == "" && a.globals.timeout > 0 && errors.Is(err, context.DeadlineExceeded) {
		hint = "it took longer than " + a.globals.timeout.String() + ": give it more with --timeout"
	}
	if a.ui.JSON || a.globals.events {
		doc, merr := json.Marshal(errorDocument{
			Schema: "envctl.error/v1", Kind: kind.String(), Message: ui.Clean(err.Error()), Hint: ui.Clean(hint), Exit: code, Warnings: a.ui.Warnings(),
		})
		if merr == nil {
			fmt.Fprintln(a.ui.Err, string(doc))
		}
		return code
	}
	a.annotateError(err)
	fmt.Fprintln(a.ui.Err, "envctl: "+ui.Clean(err.Error()))
	if hint != "" {
		fmt.Fprintln(a.ui.Err, "hint: "+ui.Clean(hint))
	}
	return code
}

// sayWarnings writes the warnings of a run under --json that did not fail.
func (a *app) sayWarnings() {
	if len(a.ui.Warnings()) == 0 {
		return
	}
	doc, err := json.Marshal(struct {
		Schema   string   `json:"schema"`
		Warnings []string `json:"warnings"`
	}{"envctl.warnings/v1", a.ui.Warnings()})
	if err == nil {
		fmt.Fprintln(a.ui.Err, string(doc))
	}
}

type errorDocument struct {
	Schema  string `json:"schema"`
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Exit    int    `json:"exit"`
	// Warnings are those that came before the error.
	Warnings []string `json:"warnings,omitempty"`
}

// globalFlags are defined once, on the program; arrange puts them there.
func (a *app) globalFlags() []cli.Flag {
	g := &a.globals
	return []cli.Flag{
		&cli.StringFlag{Name: "chdir", Aliases: []string{"C"}, Usage: "run as if started in `DIR`", Destination: &g.chdir},
		&cli.StringFlag{Name: "component", Aliases: []string{"c"}, Usage: "the `COMPONENT` that owns the secrets", Destination: &g.component},
		&cli.StringFlag{Name: "config", Usage: "the project `FILE` (default: envctl.yaml here or above)", Destination: &g.config},
		&cli.StringFlag{Name: "confirm", Usage: "consent to a write to the protected environment `NAME`", Destination: &g.confirm},
		&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "show what would happen, and stop", Destination: &g.dryRun},
		&cli.StringFlag{Name: "env", Aliases: []string{"e"}, Usage: "the `ENVIRONMENT`; writes must name it", Destination: &g.env},
		&cli.BoolFlag{Name: "events", Usage: "one JSON object per step of a playbook on standard output", Destination: &g.events},
		&cli.BoolFlag{Name: "json", Usage: "one JSON document on standard output", Destination: &g.json},
		&cli.BoolFlag{Name: "no-color", Usage: "no colour (also NO_COLOR)"},
		&cli.BoolFlag{Name: "no-input", Usage: "never ask; a question is an error", Destination: &g.noInput},
		&cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION`", DefaultText: "never", Destination: &g.timeout},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say more; repeatable; never a value", Count: &a.ui.Verbose},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "answer yes to questions; never to a protected environment's", Destination: &g.yes},
	}
}

// tree builds the program.
func (a *app) tree() *cli.App {
	return &cli.App{
		Name:                      "envctl",
		Usage:                     "secrets and environments, from the store to the running process",
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ErrWriter:                 a.ui.Err,
		Flags:                     a.globalFlags(),
		Commands:                  a.commands(),
		CommandNotFound:           nil,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fault.New(fault.Usage, "", err.Error(), "run envctl --help")
		},
		Before: a.before,
		Action: func(*cli.Context) error { return a.help() },
	}
}

// before applies the global flags.
func (a *app) before(c *cli.Context) error {
	a.ui.JSON = a.globals.json
	if a.globals.timeout < 0 {
		return fault.New(fault.Usage, "--timeout "+a.globals.timeout.String(), "it is before now", "give a duration such as 30s or 2m")
	}
	a.ui.NoInput = a.globals.noInput
	if a.inGitHub() && !a.globals.events {
		a.ui.Warned = func(text string) { a.annotate("warning", "envctl "+a.command, text, "", 0) }
	}
	if c.Bool("no-color") || a.Getenv("NO_COLOR") != "" || a.Getenv("TERM") == "dumb" || a.ui.JSON {
		a.ui.Color = false
	}
	if d := a.globals.chdir; d != "" {
		if !filepath.IsAbs(d) {
			d = filepath.Join(a.WorkDir, d)
		}
		st, err := os.Stat(d)
		if err != nil || !st.IsDir() {
			return fault.Newf(fault.Usage, "--chdir "+a.globals.chdir, "name an existing folder", "no such folder")
		}
		a.WorkDir = d
	}
	return nil
}

// action wraps a command's run function: deadline, hardening, argument count.
func (a *app) action(minArgs, maxArgs int, run func(ctx context.Context, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if n := c.NArg(); n < minArgs || (maxArgs >= 0 && n > maxArgs) {
			return fault.Newf(fault.Usage, withoutProgram(c.Command.HelpName), "run "+c.Command.HelpName+" --help",
				"%s", argumentCount(n, minArgs, c.Command.ArgsUsage))
		}
		a.command = strings.TrimPrefix(c.Command.HelpName, "envctl ")
		ctx := c.Context
		if t := a.globals.timeout; t > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, t)
			defer cancel()
		}
		if a.Listen != nil {
			a.Listen()
		}
		limit, err := harden.Process()
		if err != nil {
			return fault.Wrap(err, fault.Internal, "forbid core dumps", "")
		}
		a.core = limit
		return run(ctx, c)
	}
}

// unheard is how long a command that only reads and asks nobody is ended by an
// interrupt as any program is: what listens costs a tenth of a read from Vault.
const unheard = 50 * time.Millisecond

// reading is action for a command that only reads. One that is asked to write a
// file of values listens at once: what it has begun to write is removed again.
func (a *app) reading(minArgs, maxArgs int, run func(ctx context.Context, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if listen := a.Listen; listen != nil && !a.ui.CanAsk() && c.String("out") == "" {
			a.Listen = func() { time.AfterFunc(unheard, listen) }
		}
		return a.asking(minArgs, maxArgs, run)(c)
	}
}

// asking is action for a command that may have to wait for what it asks before it has
// anything to say: on a terminal it says that.
func (a *app) asking(minArgs, maxArgs int, run func(ctx context.Context, c *cli.Context) error) cli.ActionFunc {
	return a.action(minArgs, maxArgs, func(ctx context.Context, c *cli.Context) error {
		defer a.ui.Waiting(a.command + ": waiting for answers (Ctrl-C stops)")()
		return run(ctx, c)
	})
}

func argumentCount(n, lo int, usage string) string {
	if usage == "" {
		return "takes no argument"
	}
	if n < lo {
		return "wants " + usage
	}
	return fmt.Sprintf("%d arguments are too many, want %s", n, usage)
}

// abs returns a path as seen from the working directory.
func (a *app) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.WorkDir, path)
}

// rel returns a file as it is typed in the operator's folder.
func (a *app) rel(file string) string {
	if rel, err := filepath.Rel(a.WorkDir, file); err == nil && len(rel) < len(file) {
		return rel
	}
	return file
}

// oneLine folds text for a heading.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
