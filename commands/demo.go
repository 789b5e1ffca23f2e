package commands

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
)

func (a *app) demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "Show the main job on an example project in a temporary folder", Category: "project",
		Description: "Runs the real commands one by one, on the embedded store, and in a real container where docker and its compose\nplugin answer. Your own configuration, projects and containers are not touched, and nothing is left behind.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "leave the folder, to go on in it"},
			&cli.BoolFlag{Name: "no-container", Usage: "do without a container, also where docker answers"},
		},
		Action: a.action(0, 0, func(ctx context.Context, c *cli.Context) error {
			return a.demo(ctx, c.Bool("keep"), c.Bool("no-container"))
		}),
	}
}

// demoStep is one command of the demo.
type demoStep struct {
	say  string
	line string // as one types it, less "envctl"
	pipe string // a command whose output goes to this one's standard input
	exit int
	want string // must stand in the answer
	only string // "container", or "bare": without one
	// runs tells that the command replaces its process, so that it needs one of its own.
	runs bool
}

// demoSteps is the story: from nothing to a rotation that is proven in the
// running process, and a stale process that is caught.
func demoSteps() []demoStep {
	return []demoStep{
		{say: "Set up: an identity, the encrypted store, and a recovery identity for the safe", line: "init --recovery-file ../recovery.txt", want: "created"},
		{say: "A whole environment: every secret it needs is generated", line: "env create staging --no-deploy", want: "set"},
		{say: "Production, and its container runs with those values", line: "env create production --confirm production", only: "container", want: "deployed"},
		{say: "Production is protected: its name is the consent", line: "env create production --confirm production", only: "bare", want: "set"},
		{say: "A value comes from a pipe or a hidden prompt, never from the command line", pipe: "generate password", line: "set SMTP_PASSWORD --stdin --env production --confirm production", want: "SMTP_PASSWORD set"},
		{say: "What production holds: fingerprints tell equal values, never what they are", line: "list --env production", want: "SECRET_KEY"},
		{say: "One value, masked unless --reveal asks", line: "get SECRET_KEY --env production", want: "SECRET_KEY"},
		{say: "A composed variable, from its declaration to where it has a value", line: "trace DATABASE_URL --env production", want: "consistent"},
		{say: "Rotate the signing key: generate, write, deploy, read it back from the running process", line: "rotate jwt --env production --confirm production", only: "container", want: "deployed and verified"},
		{say: "Rotate the signing key: the old one stays accepted in SECRET_KEY_PREVIOUS", line: "rotate jwt --env production --confirm production", only: "bare", want: "SECRET_KEY changed"},
		{say: "Rotate the encryption ring: the new key in front, the old one still decrypts", line: "rotate fernet --env production --confirm production", want: "LLM_ENCRYPTION_KEYS changed"},
		{say: "Who changed the signing key, and when", line: "history SECRET_KEY --env production", want: "changed"},
		{say: "Staging shares no secret with production", line: "diff staging production", want: "SECRET_KEY"},
		{say: "A program gets the variables in its environment, not in a file", line: `run --env staging --component app -- sh -c 'echo "a key of ${#SECRET_KEY} characters for $ENVIRONMENT"'`, runs: true, want: "a key of 86 characters for staging"},
		{say: "Back to what version 2 held: a new version, nothing is lost", line: "rollback --to 2 --component app --env production --confirm production", want: "written"},
		{say: "The store went back and the process did not: trace says so, and what to type", line: "trace SECRET_KEY --env production", only: "container", exit: 1, want: "stale"},
		{say: "So do that", line: "deploy app --env production --confirm production", only: "container", want: "deployed and verified"},
		{say: "And the chain is whole again", line: "trace SECRET_KEY --env production", only: "container", want: "consistent"},
		{say: "Where the signing key is declared, and where it has a value", line: "trace SECRET_KEY --env production", only: "bare", want: "consistent"},
	}
}

func (a *app) demo(ctx context.Context, keep, bare bool) (err error) {
	if a.ui.JSON || a.globals.events {
		return fault.New(fault.Usage, "demo", "it is for people and has no document", "every command that it shows has --json of its own")
	}
	if a.globals.dryRun {
		for i, s := range demoSteps() {
			if s.only != "bare" {
				a.ui.Print("%2d  %s\n    $ %s", i+1, s.say, s.typed())
			}
		}
		a.ui.Note("dry run: nothing was run")
		return nil
	}
	began := a.Now()
	folder, err := os.MkdirTemp("", "envctl-demo-")
	if err != nil {
		return fault.Newf(fault.Unavailable, "demo", "set TMPDIR to a folder that can be written", "%s", plainCause(err))
	}
	defer func() {
		if keep {
			return
		}
		if rerr := os.RemoveAll(folder); rerr != nil {
			err = errors.Join(err, fault.Newf(fault.Unavailable, "demo", "remove it yourself", "%s stays: %s", folder, plainCause(rerr)))
		}
	}()
	if top := gitTop(folder); top != "" {
		return fault.Newf(fault.Refused, "demo", "set TMPDIR to a folder outside of it", "the temporary folder lies in the git repository %s, which the demo would change", top)
	}
	d := &demonstration{app: a, folder: folder, name: "ledger", columns: 120}
	if a.ui.OutTTY {
		d.columns = a.ui.Width() - 4
	}
	// A reader that goes away (a pager, head) must not end the process before it
	// has cleaned up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	gone := &writeErrors{to: a.ui.Out}
	a.ui.Out = gone
	a.ui.Lead(ui.Strong, "envctl demo", ": a small finance service, its secrets, and the proof that they arrive")
	engine, why := (*demoEngine)(nil), "--no-container"
	if !bare {
		a.ui.Progress("looking for docker")
		engine, why = a.findDemoEngine(ctx, folder)
		a.ui.Progress("")
	}
	defer func() {
		if engine == nil {
			return
		}
		if rerr := engine.remove(context.WithoutCancel(ctx)); rerr != nil {
			err = errors.Join(err, rerr)
		}
	}()
	if err := d.prepare(engine); err != nil {
		return err
	}
	a.ui.Print("folder     %s, … below", d.folder)
	if engine != nil {
		a.ui.Print("container  yes: %s-backend, made of envctl itself", d.name)
	} else {
		a.ui.Print("container  no: %s", why)
	}
	n := 0
	for _, s := range demoSteps() {
		if s.only == "container" && engine == nil || s.only == "bare" && engine != nil {
			continue
		}
		n++
		if err := d.step(ctx, n, s); err != nil {
			return err
		}
		if gone.err != nil {
			return silentError{exitCode(fault.New(fault.Unavailable, "", "", ""))}
		}
	}
	a.endDemo(d, engine != nil, keep, a.Now().Sub(began))
	return nil
}

// writeErrors remembers that its reader went away.
type writeErrors struct {
	to  io.Writer
	err error
}

func (w *writeErrors) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

func (a *app) endDemo(d *demonstration, contained, keep bool, took time.Duration) {
	proof := "read back from the running process"
	if !contained {
		proof = "written and read back from the store; with docker and compose, the demo also proves the running process"
	}
	a.ui.Print("")
	a.ui.Lead(ui.Good, "done", " in %.1f s: %s", took.Seconds(), proof)
	if keep {
		a.ui.Print("kept: cd %s && . ../env   (then envctl list, envctl trace SECRET_KEY, …)", d.project())
	} else {
		a.ui.Print("nothing is left behind; envctl demo --keep leaves the folder to go on in")
	}
	a.ui.Print("next: in a project of your own, run envctl init")
}

// demonstration is one run of the demo: its folder and its own environment.
type demonstration struct {
	*app
	folder, name string
	env          map[string]string
	columns      int // of the answers, which stand four columns in
}

func (d *demonstration) project() string { return filepath.Join(d.folder, d.name) }

// prepare writes the example and the environment in which its commands run:
// the operator's own configuration and credentials are not in it.
func (d *demonstration) prepare(engine *demoEngine) error {
	replace := []string{"{deploy: {kind: compose}}", "{}"}
	home := filepath.Join(d.folder, "home")
	d.env = map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "XDG_STATE_HOME": filepath.Join(home, "state"),
		"XDG_CACHE_HOME": filepath.Join(home, "cache"), "USER": orElse(d.Getenv("USER"), "you"),
	}
	for _, name := range []string{"LANG", "LC_ALL", "PATH", "TERM", "TMPDIR"} {
		if v := d.Getenv(name); v != "" {
			d.env[name] = v
		}
	}
	if !d.ui.Color {
		d.env["NO_COLOR"] = "1"
	}
	if engine != nil {
		id := make([]byte, 3)
		if _, err := io.ReadFull(d.Rand, id); err != nil {
			return err
		}
		// A name of its own, so that it meets no container of another project.
		d.name = "ledger-" + hex.EncodeToString(id)
		replace = []string{"ghcr.io/example/ledger:1", engine.image, "ledger", d.name}
		engine.project = d.name
		for k, v := range engine.env {
			d.env[k] = v
		}
	} else {
		d.env["DOCKER_HOST"] = "unix://" + filepath.Join(d.folder, "no-engine") // not the operator's
	}
	for _, dir := range []string{home, d.project()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fault.Newf(fault.Unavailable, "demo", "check the temporary folder", "%s", plainCause(err))
		}
	}
	if err := playbooks.WriteExample(d.project(), replace...); err != nil {
		return err
	}
	var exports strings.Builder
	for _, k := range []string{"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
		fmt.Fprintf(&exports, "export %s='%s'\n", k, strings.ReplaceAll(d.env[k], "'", `'\''`))
	}
	return createFile(filepath.Join(d.folder, "env"), []byte(exports.String()), 0o600)
}

func (s demoStep) typed() string {
	if s.pipe != "" {
		return "envctl " + s.pipe + " | envctl " + s.line
	}
	return "envctl " + s.line
}

// step shows a command, runs it, shows what it says, and ends the demo where that is
// not what it should be.
func (d *demonstration) step(ctx context.Context, n int, s demoStep) error {
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Interrupted, "demo", "interrupted, and everything removed", "")
	}
	d.ui.Print("")
	d.ui.Lead(ui.Strong, fmt.Sprintf("%2d  %s", n, s.say), "")
	d.ui.Lead(ui.Faint, "    $ "+s.typed(), "")
	d.ui.Progress("    …")
	var out bytes.Buffer
	code, err := d.execute(ctx, s, &out)
	d.ui.Progress("")
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(strings.Trim(out.String(), "\n"), d.folder, "…")
	for _, line := range strings.Split(text, "\n") {
		fmt.Fprintln(d.ui.Out, strings.TrimRight("    "+line, " "))
	}
	if ctx.Err() != nil {
		return fault.New(fault.Interrupted, "demo", "interrupted, and everything removed", "")
	}
	bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(text, "")
	if code != s.exit || !strings.Contains(bare, s.want) {
		return fault.Newf(fault.Internal, "demo step "+fmt.Sprint(n), "run envctl demo --keep, and look into the folder",
			"exit code %d and %q expected, got exit code %d", s.exit, s.want, code)
	}
	return nil
}

// execute runs one command the way Main does, in this process and with the demo's
// environment; its answer looks as on a terminal.
func (d *demonstration) execute(ctx context.Context, s demoStep, out *bytes.Buffer) (int, error) {
	if s.runs {
		return d.own(ctx, s, out)
	}
	input := ""
	if s.pipe != "" {
		var piped bytes.Buffer
		if code, err := d.main(ctx, words(s.pipe), "", &piped); err != nil || code != 0 {
			return code, err
		}
		input = piped.String()
	}
	return d.main(ctx, words(s.line), input, out)
}

func (d *demonstration) main(ctx context.Context, args []string, input string, out *bytes.Buffer) (int, error) {
	in, err := os.Open(os.DevNull)
	if input != "" && err == nil {
		err = in.Close()
		var w *os.File
		if err == nil {
			in, w, err = os.Pipe()
		}
		if err == nil {
			_, err = w.WriteString(input) // far less than a pipe holds
			err = errors.Join(err, w.Close())
		}
	}
	if err != nil {
		return 0, fault.Newf(fault.Unavailable, "demo", "", "%s", plainCause(err))
	}
	defer in.Close()
	p := d.Process
	p.Args, p.WorkDir, p.Stdin = args, d.project(), in
	p.Getenv = func(name string) string { return d.env[name] }
	p.Environ = d.environ
	child := &app{Process: p, ui: &ui.UI{In: in, Out: out, Err: out, OutTTY: true, Color: d.ui.Color, Columns: d.columns}}
	return child.end(child.run(ctx)), nil
}

// own is main for a command that replaces its process.
func (d *demonstration) own(ctx context.Context, s demoStep, out *bytes.Buffer) (int, error) {
	program, err := d.self()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = append([]string{"envctl"}, words(s.line)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = d.project(), d.environ(), out, out
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fault.Newf(fault.Unavailable, "demo", "", "%s", plainCause(err))
	}
	return 0, nil
}

// self returns this program's own file.
func (a *app) self() (string, error) {
	if filepath.IsAbs(a.Executable) {
		return a.Executable, nil
	}
	found, err := exec.LookPath(a.Executable)
	if err != nil {
		return "", fault.Newf(fault.NotFound, "find envctl's own program", "run it by its full path", "%s", plainCause(err))
	}
	return filepath.Abs(found)
}

func (d *demonstration) environ() []string {
	env := make([]string, 0, len(d.env))
	for k, v := range d.env {
		env = append(env, k+"="+v)
	}
	return env
}

// words splits a line of demoSteps as a shell would: at spaces, but for what
// stands in single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}
