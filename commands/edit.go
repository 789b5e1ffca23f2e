package commands

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/playbooks"
	"envctl/providers/formats"
)

func (a *app) editCommand() *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "Change an environment's values in an editor", Category: "values",
		Description: "Opens $VISUAL, else $EDITOR, else vi, on a file that only lies in memory (mode 0600, in a folder of its own, on\n" +
			"XDG_RUNTIME_DIR or /dev/shm), shows what would change, asks, and writes once, on the version that was read: whoever\n" +
			"wrote meanwhile is not overwritten. The folder goes, with whatever the editor left in it. An editor that ends with\n" +
			"an error, or a text without any line, changes nothing.\n\n" +
			"vim and neovim are told to keep no swap, undo, backup or history file; what another editor keeps elsewhere is its\n" +
			"own affair. Without a terminal the command needs --yes (a protected environment: --confirm NAME) and an editor that\n" +
			"is named, since nobody could answer or type.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "allow-disk", Usage: "use a temporary file on disk where there is no memory-backed place"},
			&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"},
			a.reportFlag(),
		},
		Action: func(c *cli.Context) error {
			// Until the editor has ended, an interrupt is the editor's own key.
			listen := a.Listen
			a.Listen = nil
			return a.action(0, 0, func(ctx context.Context, c *cli.Context) error {
				return a.edit(ctx, editOptions{allowDisk: c.Bool("allow-disk"), deploy: c.Bool("deploy"), listen: listen})
			})(c)
		},
	}
}

type editOptions struct {
	allowDisk, deploy bool
	listen            func()
}

func (a *app) edit(ctx context.Context, o editOptions) error {
	w, t, err := a.writeTarget(ctx)
	if err != nil {
		return err
	}
	if err := a.editable(t); err != nil {
		return err
	}
	before, values, err := w.Editable(ctx, t)
	if err != nil {
		return err
	}
	s, err := a.openSession(ctx, o.allowDisk)
	if err != nil {
		return err
	}
	after, err := a.editSession(ctx, s, before, func() ([]byte, []string) {
		text, shown := formats.EditText(editComment(before), values)
		return bytesOf(text), shown
	})
	// The folder goes before anything else happens, and an error of that is never lost.
	if cerr := s.close(); cerr != nil {
		return errors.Join(cerr, err)
	}
	if o.listen != nil {
		o.listen()
	}
	if err != nil {
		return err
	}
	again := fmt.Sprintf("envctl edit --env %s --component %s", t.Environment.Name, t.Component)
	if len(after.Patch) > 0 && !a.globals.dryRun && !t.Environment.Protected && !a.globals.yes {
		ok, err := a.ui.Ask().Confirm(ctx, "write this to "+after.Path+"?")
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(fault.Interrupted, "edit "+after.Path, "not confirmed, nothing was written", "")
		}
	}
	return a.applyRows(ctx, w, after, "edit", again, o.deploy)
}

// editable refuses where nobody could answer, before a value leaves the store.
func (a *app) editable(t playbooks.Target) error {
	op := "edit " + t.Environment.Name
	named := a.Getenv("VISUAL") != "" || a.Getenv("EDITOR") != ""
	consent := a.globals.yes && !t.Environment.Protected || t.Environment.Protected && a.globals.confirm == t.Environment.Name || a.globals.dryRun
	switch {
	case a.ui.CanAsk():
		return nil
	case !named:
		return fault.New(fault.Usage, op, "there is no terminal to edit on", "use envctl set KEY --stdin, or envctl import FILE")
	case !consent && t.Environment.Protected:
		return fault.New(fault.Usage, op, "there is no terminal to ask on", "add --confirm "+t.Environment.Name+", or use envctl set KEY --stdin")
	case !consent:
		return fault.New(fault.Usage, op, "there is no terminal to ask on", "add --yes, or use envctl set KEY --stdin")
	}
	return nil
}

func editComment(c *playbooks.Comparison) string {
	head := fmt.Sprintf("%s, version %d", c.Path, c.Version())
	if c.Version() == 0 {
		head = c.Path + ", which is new"
	}
	return head + `

One variable a line: KEY=value. A value with blanks, # or line ends stands in
'single quotes' (as it is) or in "double quotes" (\n \t \\ \" \$ are escapes).
A $ is a $: nothing is expanded. A line that is gone removes its variable.

Save and quit to see what would change; nothing is written before you agree.
Quit without a change, or empty the file, and nothing happens.`
}

// editSession edits until the text can be read, or the operator gives up.
func (a *app) editSession(ctx context.Context, s *session, before *playbooks.Comparison, text func() ([]byte, []string)) (*playbooks.Comparison, error) {
	src, shown := text()
	if err := s.create(src); err != nil {
		return nil, err
	}
	for {
		start := a.Now()
		if err := a.runEditor(ctx, s); err != nil {
			return nil, err
		}
		after, err := readSession(s, before, shown)
		if err == nil {
			a.showRows("the text", after.Rows)
			if len(after.Patch) == 0 && len(after.Refused()) == 0 && a.Now().Sub(start) < time.Second && a.ui.InTTY {
				a.ui.Note("the editor ended at once: if it opens a window, have it wait, e.g. EDITOR='code --wait'")
			}
			n := after.Refused()
			if len(n) == 0 {
				return after, nil
			}
			err = fault.Newf(fault.Refused, "edit "+before.Path, "", "nothing was written: %s (%s)", n[0].Key, n[0].Why)
		}
		if !a.ui.CanAsk() || a.globals.yes || fault.Is(err, fault.Interrupted) {
			return nil, err
		}
		a.ui.Note("%s", err)
		if again, aerr := a.ui.Ask().Confirm(ctx, "edit again?"); aerr != nil || !again {
			return nil, errors.Join(err, aerr)
		}
	}
}

// readSession reads what the editor left.
func readSession(s *session, before *playbooks.Comparison, shown []string) (*playbooks.Comparison, error) {
	src, err := atomicfile.Read(s.file, formats.MaxSize)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Interrupted, "edit "+before.Path, "the editor removed the file, nothing was written", "")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "edit "+before.Path+": nothing was written", "")
	}
	items, err := formats.ReadEdited("the text", src)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 && len(shown) > 0 {
		return nil, fault.New(fault.Interrupted, "edit "+before.Path, "the text is empty, nothing was written", "run envctl unset KEY to remove variables")
	}
	return before.Edited(items, shown), nil
}

// session is a folder of its own for one text, and all that an editor leaves
// beside it.
type session struct {
	dir, file string
	unlock    func() error
	unguard   func()
	signals   chan os.Signal
	disk      bool
}

const sessionPrefix = "envctl-edit-"

// openSession makes the folder in memory. From here on signals are caught, so
// that the folder goes whatever happens.
func (a *app) openSession(ctx context.Context, allowDisk bool) (*session, error) {
	const op = "make a place to edit in"
	place, memory := "", false
	for _, p := range []string{a.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if p != "" && inMemory(p) {
			place, memory = p, true
			break
		}
	}
	if !memory {
		if !allowDisk {
			return nil, fault.New(fault.Refused, op, "there is no memory-backed folder on this machine, and a disk keeps what was written to it",
				"add --allow-disk if that is acceptable, or use envctl set KEY --stdin")
		}
		if place = a.Getenv("TMPDIR"); place == "" {
			place = os.TempDir()
		}
	}
	a.sweep(place)
	s := &session{signals: make(chan os.Signal, 8), disk: !memory}
	signal.Notify(s.signals, os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTERM)
	dir, err := os.MkdirTemp(place, sessionPrefix)
	if err != nil {
		signal.Stop(s.signals)
		return nil, fault.Newf(fault.Unavailable, op, "check "+place, "%s", plainCause(err))
	}
	s.dir, s.file = dir, filepath.Join(dir, "values.env")
	if s.unlock, err = atomicfile.Lock(ctx, filepath.Join(dir, ".lock")); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.unguard = guard(dir)
	return s, nil
}

// sweep removes the folders of sessions that were killed: those whose lock
// nobody holds, and that were not just made.
func (a *app) sweep(place string) {
	found, err := filepath.Glob(filepath.Join(place, sessionPrefix+"*"))
	if err != nil {
		return
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, dir := range found {
		st, err := os.Lstat(dir)
		if err != nil || !st.IsDir() || !ownedByUs(st) || a.Now().Sub(st.ModTime()) < time.Minute {
			continue
		}
		unlock, err := atomicfile.Lock(ended, filepath.Join(dir, ".lock"))
		if err != nil {
			continue
		}
		if err := os.RemoveAll(dir); err == nil {
			a.ui.Note("removed what an edit that was killed had left in %s", dir)
		}
		_ = unlock()
	}
}

func (s *session) create(text []byte) error {
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fault.Newf(fault.Unavailable, "write the text to edit", "", "%s", plainCause(err))
	}
	return nil
}

// close removes the folder and everything in it; links are removed, not followed.
func (s *session) close() error {
	defer signal.Stop(s.signals)
	if s.disk {
		blank(s.dir)
	}
	_ = os.Chmod(s.dir, 0o700) //nolint:gosec // our own folder, which an editor may have closed
	err := os.RemoveAll(s.dir)
	if s.unguard != nil {
		s.unguard()
	}
	if s.unlock != nil {
		_ = s.unlock()
	}
	if err != nil {
		return fault.Newf(fault.Unavailable, "remove "+s.dir, "remove it yourself now: it holds values in clear", "%s", plainCause(err))
	}
	return nil
}

// blank overwrites what lies in the folder, as far as a disk lets one: it is
// removed afterwards in any case.
func blank(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // the next one may do better
		}
		if st, err := d.Info(); err == nil && st.Size() <= 16<<20 {
			if f, err := root.OpenFile(p, os.O_WRONLY, 0); err == nil {
				_, _ = f.Write(make([]byte, st.Size()))
				_ = f.Sync()
				_ = f.Close()
			}
		}
		return nil
	})
}

// runEditor runs the operator's editor and waits. An interrupt is the editor's;
// a hangup or a request to end ends the editor too.
func (a *app) runEditor(ctx context.Context, s *session) error {
	editor := a.Getenv("VISUAL")
	if editor == "" {
		editor = a.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	cmd := editorCommand(editor, s.file)
	for _, line := range a.childEnvironment(nil, false) {
		if !strings.HasPrefix(line, "TMPDIR=") {
			cmd.Env = append(cmd.Env, line)
		}
	}
	// What the editor keeps in its temporary folder goes with ours.
	cmd.Env = append(cmd.Env, "TMPDIR="+s.dir)
	cmd.Dir = a.WorkDir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	if !a.ui.OutTTY && a.ui.ErrTTY {
		cmd.Stdout = a.Stderr
	}
	op := "run the editor"
	defer a.ui.KeepTerminal()()
	if err := cmd.Start(); err != nil {
		return fault.Newf(fault.NotFound, op, "name one in VISUAL or EDITOR", "%s", plainCause(err))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ended := false
	kill := (<-chan time.Time)(nil)
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			switch {
			case ended:
				return fault.New(fault.Interrupted, "edit", "ended from outside, nothing was written", "")
			case errors.As(err, &exit) && (exit.ExitCode() == 126 || exit.ExitCode() == 127): // the shell's words stand above
				return fault.Newf(fault.NotFound, op, "name one in VISUAL or EDITOR", "%s cannot be run, nothing was written", oneLine(editor))
			case errors.As(err, &exit):
				return fault.Newf(fault.Interrupted, op, "", "%s ended with %s, nothing was written", oneLine(editor), exit.ProcessState)
			case err != nil:
				return fault.Newf(fault.Unavailable, op, "", "%s", plainCause(err))
			}
			return nil
		case sig := <-s.signals:
			if sig == os.Interrupt || sig == syscall.SIGQUIT {
				continue
			}
			ended = true
		case <-ctx.Done():
			ctx, ended = context.WithoutCancel(ctx), true
		case <-kill:
			signalAll(cmd.Process.Pid, syscall.SIGKILL)
			continue
		}
		if ended && kill == nil {
			signalAll(cmd.Process.Pid, syscall.SIGTERM)
			kill = time.After(2 * time.Second)
		}
	}
}

// signalAll tells the editor, and what runs below it: EDITOR may name a script.
func signalAll(pid int, sig syscall.Signal) {
	for _, p := range family(pid) {
		if proc, err := os.FindProcess(p); err == nil {
			_ = proc.Signal(sig) // one that has ended needs none
		}
	}
}

// editorCommand starts an editor the way a shell reads its name: EDITOR may
// have arguments. vim is told to keep nothing.
func editorCommand(editor, file string) *exec.Cmd {
	words := strings.Fields(editor)
	var quiet []string
	if len(words) > 0 && isVim(words[0]) {
		quiet = []string{"-n", "-i", "NONE", "-c", "silent! set noundofile nobackup nowritebackup"}
	}
	if shell, err := exec.LookPath("/bin/sh"); err == nil {
		script := editor + ` "$@"`
		if len(words) > 0 {
			if _, err := exec.LookPath(words[0]); err == nil {
				script = "exec " + script // so that ending it ends the editor, not a shell above it
			}
		}
		args := append([]string{"-c", script, editor}, quiet...)
		return exec.Command(shell, append(args, file)...) //nolint:noctx // the operator's own editor; runEditor ends it
	}
	args := append(append(append([]string{}, words[1:]...), quiet...), file)
	return exec.Command(words[0], args...) //nolint:noctx // the operator's own editor; runEditor ends it
}

// isVim tells whether a program is vim or neovim, under whatever name.
func isVim(name string) bool {
	path, err := exec.LookPath(name)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	base := filepath.Base(path)
	return base == "vim" || base == "nvim" || strings.HasPrefix(base, "vim.")
}
