//go:build linux

package commands_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const terminalProject = `version: 1
project: ledger
environments: {staging: {}, production: {}}
components:
  app:
    code: config.py
    generate: {API_TOKEN: token, KEYS: fernet}
    rotate: {fernet: {variable: KEYS, ring: true, reencrypt: "./reencrypt"}}
`

const terminalCode = `class Settings(BaseSettings):
    api_token: str
    keys: str
    other: str
`

// terminal is envctl on a terminal of 80 columns and 24 lines. It answers the
// question for the cursor, as real terminals do.
type terminal struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	pty     *os.File
	tty     *os.File
	before  unix.Termios
	mu      sync.Mutex
	shown   bytes.Buffer
	drained chan struct{}
	exited  chan error
}

// folder returns a new project and the environment of an operator of its own.
func folder(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "envctl.yaml"), []byte(terminalProject), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.py"), []byte(terminalCode), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_STATE_HOME=" + home, "USER=op", "TERM=xterm-256color", "PATH=" + os.Getenv("PATH"),
		"DOCKER_HOST=unix://" + filepath.Join(dir, "no.sock"),
	}
}

// onTerminal starts envctl on a terminal in dir; stdout, unless nil, is redirected.
func onTerminal(t *testing.T, dir string, env []string, stdout io.Writer, args ...string) *terminal {
	t.Helper()
	ptm, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(ptm, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, dir: dir, pty: ptm, tty: tty, drained: make(chan struct{}), exited: make(chan error, 1)}
	x.before = x.mode()
	x.cmd = command(t, dir, env, args...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = tty, tty, tty
	if stdout != nil {
		x.cmd.Stdout = stdout
	}
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go x.read()
	go func() { x.exited <- x.cmd.Wait() }()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		_ = tty.Close()
		_ = ptm.Close()
		<-x.drained
	})
	return x
}

func (x *terminal) read() {
	defer close(x.drained)
	buf := make([]byte, 4096)
	for {
		n, err := x.pty.Read(buf)
		x.mu.Lock()
		x.shown.Write(buf[:n])
		x.mu.Unlock()
		for range bytes.Count(buf[:n], []byte("\x1b[6n")) {
			_, _ = x.pty.WriteString("\x1b[1;1R")
		}
		if err != nil {
			return
		}
	}
}

// expectQuestion waits for a question that survey asks: what is typed before the
// terminal has told where its cursor is gets lost.
func (x *terminal) expectQuestion(text string) {
	x.t.Helper()
	x.expect(text)
	x.expectMute()
	for end := time.Now().Add(10 * time.Second); strings.Count(x.text(), "\x1b[6n") < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("no question:\n%q", x.text())
		}
	}
	time.Sleep(50 * time.Millisecond)
}

func (x *terminal) mode() unix.Termios {
	x.t.Helper()
	m, err := unix.IoctlGetTermios(int(x.tty.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *m
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shown.String()
}

// expect waits until text is shown.
func (x *terminal) expect(text string) {
	x.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(x.text(), text) {
			return
		}
	}
	x.t.Fatalf("the terminal does not show %q:\n%q", text, x.text())
}

// expectMute waits until what is typed is not shown.
func (x *terminal) expectMute() {
	x.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if m := x.mode(); m.Lflag&unix.ECHO == 0 {
			return
		}
	}
	x.t.Fatal("the terminal still echoes")
}

func (x *terminal) typeIn(s string) {
	x.t.Helper()
	if _, err := x.pty.WriteString(s); err != nil {
		x.t.Fatal(err)
	}
}

// ends waits for the exit code; the terminal must be as it was.
func (x *terminal) ends(code int) {
	x.t.Helper()
	select {
	case err := <-x.exited:
		var exit *exec.ExitError
		got := 0
		if errors.As(err, &exit) {
			got = exit.ExitCode()
		} else if err != nil {
			x.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // what it wrote last
		if got != code {
			x.t.Errorf("exit code %d, want %d:\n%q", got, code, x.text())
		}
	case <-time.After(15 * time.Second):
		x.t.Fatalf("it does not end:\n%q", x.text())
	}
	if after := x.mode(); after != x.before {
		x.t.Errorf("the terminal is left in another mode: %+v, was %+v", after, x.before)
	}
	if strings.LastIndex(x.text(), "\x1b[?25l") > strings.LastIndex(x.text(), "\x1b[?25h") {
		x.t.Errorf("the cursor is left hidden:\n%q", x.text())
	}
}

// rejectCanary fails when the terminal shows the canary.
func (x *terminal) rejectCanary() {
	x.t.Helper()
	if form := findCanary([]byte(x.text())); form != "" {
		x.t.Errorf("the canary is shown (%s):\n%q", form, x.text())
	}
}

func TestTerminalHidden(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	x := onTerminal(t, dir, env, nil, "set", "API_TOKEN", "OTHER", "--env", "staging")
	x.expect("API_TOKEN: ")
	x.expectMute()
	x.typeIn(canary + "\n")
	x.expect("OTHER: ")
	x.expectMute()
	x.typeIn(canary + "2\n")
	x.ends(0)
	x.expect("written (new → 1), not deployed")
	x.rejectCanary()

	got := onTerminal(t, dir, env, nil, "get", "API_TOKEN", "--raw", "--env", "staging")
	got.ends(0)
	if strings.TrimSpace(got.text()) != canary {
		t.Errorf("stored %q", got.text())
	}
}

// A paste of several lines is no answer, and none of it reaches whoever reads the
// terminal next.
func TestTerminalPaste(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	for _, paste := range []string{"first\n" + canary + "\nlast", canary + "\n" + strings.Repeat("line "+canary+"\n", 60)} {
		x := onTerminal(t, dir, env, nil, "set", "API_TOKEN", "--env", "staging")
		x.expect("API_TOKEN: ")
		x.expectMute()
		x.typeIn(paste)
		x.ends(2)
		x.expect("several lines were pasted")
		x.rejectCanary()
		if n, err := unix.IoctlGetInt(int(x.tty.Fd()), unix.TIOCINQ); err != nil || n != 0 {
			t.Errorf("%d bytes are left to the shell, %v", n, err)
		}
	}
	x := onTerminal(t, dir, env, nil, "set", "API_TOKEN", "--env", "staging")
	x.expect("API_TOKEN: ")
	x.expectMute()
	x.typeIn(canary + "\n\n") // an empty line at the end is nobody's value
	x.ends(0)
	x.rejectCanary()
}

// Standard output is a file: the question still stands on the terminal, and the
// file has the answer alone.
func TestTerminalRedirected(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	file, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	x := onTerminal(t, dir, env, file, "set", "API_TOKEN", "--env", "staging", "--json")
	x.expect("API_TOKEN: ")
	x.expectMute()
	x.typeIn(canary + "\n")
	x.ends(0)
	x.rejectCanary()
	out, err := os.ReadFile(file.Name())
	if err != nil || !bytes.HasPrefix(out, []byte("{")) || bytes.ContainsRune(out, 0x1b) {
		t.Errorf("the file holds %q, %v", out, err)
	}

	if err := file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	x = onTerminal(t, dir, env, file, "set", "API_TOKEN", "--generate", "token", "--env", "production")
	x.expectQuestion("type its name")
	x.typeIn("production\r")
	x.ends(0)
}

// Ctrl-C at each kind of question ends with 130, nothing written, and the
// terminal as it was; a signal from elsewhere too.
func TestTerminalInterrupt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  []string
		shown string
		end   func(*terminal)
	}{
		"hidden":        {[]string{"set", "API_TOKEN", "--env", "staging"}, "API_TOKEN: ", func(x *terminal) { x.expectMute(); x.typeIn("\x03") }},
		"hidden killed": {[]string{"set", "API_TOKEN", "--env", "staging"}, "API_TOKEN: ", func(x *terminal) { x.expectMute(); x.signal(syscall.SIGTERM) }},
		"input":         {[]string{"set", "API_TOKEN", "--generate", "token", "--env", "production"}, "", func(x *terminal) { x.expectQuestion("type its name"); x.typeIn("\x03") }},
		"input killed":  {[]string{"set", "API_TOKEN", "--generate", "token", "--env", "production"}, "type its name", func(x *terminal) { x.expectMute(); x.signal(syscall.SIGTERM) }},
		"create":        {[]string{"env", "create", "staging"}, "OTHER", func(x *terminal) { x.expectMute(); x.typeIn("\x03") }},
		"stdin":         {[]string{"set", "API_TOKEN", "--stdin", "--env", "staging"}, "", func(x *terminal) { time.Sleep(300 * time.Millisecond); x.typeIn("\x03") }},
		"fifo":          {[]string{"set", "API_TOKEN", "--from-file", "fifo", "--env", "staging"}, "", func(x *terminal) { time.Sleep(300 * time.Millisecond); x.typeIn("\x03") }},
		"values":        {[]string{"env", "create", "staging", "--values", "-"}, "", func(x *terminal) { time.Sleep(300 * time.Millisecond); x.typeIn("\x03") }},
		"trust":         {[]string{"trust"}, "", func(x *terminal) { x.expectQuestion("trust"); x.typeIn("\x03") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, env := folder(t)
			if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
				t.Fatal(err)
			}
			x := onTerminal(t, dir, env, nil, test.args...)
			if test.shown != "" {
				x.expect(test.shown)
			}
			test.end(x)
			x.ends(130)
			if _, err := os.Stat(filepath.Join(dir, ".envctl", "store.age")); err == nil {
				t.Error("something was written")
			}
		})
	}
}

func (x *terminal) signal(s syscall.Signal) {
	x.t.Helper()
	if err := x.cmd.Process.Signal(s); err != nil {
		x.t.Fatal(err)
	}
}

// A protected environment wants its name, and nothing else will do.
func TestTerminalProtected(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	set := []string{"set", "API_TOKEN", "--generate", "token", "--env", "production"}
	x := onTerminal(t, dir, env, nil, append(set, "--yes")...)
	x.expect("ledger/production/app") // the path, before the question
	x.expect("store.age")             // and where it is
	x.expectQuestion("type its name")
	x.typeIn("staging\r")
	x.ends(2)
	x.expect("does not match")

	x = onTerminal(t, dir, env, nil, set...)
	x.expectQuestion("type its name")
	x.typeIn("production\r")
	x.ends(0)
	x.expect("written (new → 1)")
}

// A question with --no-input, or without a terminal, is an error at once.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	x := onTerminal(t, dir, env, nil, "set", "API_TOKEN", "--env", "staging", "--no-input")
	x.ends(2)
	x.expect("--stdin")

	for _, line := range []string{
		"set API_TOKEN --env staging", "set API_TOKEN --generate token --env production", "env create staging", "rotate API_TOKEN --env production",
		"trust", "unset API_TOKEN --env production", "rollback --to 1 --env production",
	} {
		// A pipe that nobody writes to and nobody closes: reading it waits for ever.
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, dir, env, strings.Fields(line)...)
		cmd.Stdin = in
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		var exit *exec.ExitError
		if !hung.Stop() || !errors.As(err, &exit) || exit.ExitCode() == 1 {
			t.Errorf("%s: %v\n%s", line, err, stderr.Bytes())
		}
		if !strings.Contains(stderr.String(), "hint: ") && !strings.Contains(stderr.String(), "was ever written") {
			t.Errorf("%s says no next step:\n%s", line, stderr.Bytes())
		}
		_ = in.Close()
		_ = out.Close()
	}
}

// On a terminal of 80 columns no line of a table is longer, there is colour, and
// with NO_COLOR, --no-color or TERM=dumb there is none, not in a question either.
func TestTerminalLook(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	x := onTerminal(t, dir, env, nil, "env", "create", "staging", "--allow-missing", "--no-input")
	x.ends(0)
	for _, args := range [][]string{
		{"trace", "API_TOKEN", "--env", "staging"},
		{"trace", "API_TOKEN", "--all-envs"},
		{"list", "--all-envs"},
		{"list", "--env", "staging"},
		{"history", "API_TOKEN", "--env", "staging"},
		{"env", "list"},
		{"env", "show", "staging"},
		{"names", "--env", "staging"},
		{"runs"},
		{"diff", "staging", "production"},
		{"set", "API_TOKEN", "--generate", "token", "--env", "production"},
	} {
		asks := args[0] == "set"
		for _, way := range []string{"colour", "NO_COLOR=1", "TERM=dumb", "--no-color"} {
			line, with := args, env
			switch {
			case strings.HasPrefix(way, "--"):
				line = append(args[:len(args):len(args)], way)
			case way != "colour":
				with = append(env[:len(env):len(env)], way)
			}
			x := onTerminal(t, dir, with, nil, line...)
			if asks {
				x.expectQuestion("type its name")
				x.typeIn("\x03")
				x.ends(130)
			} else {
				<-waited(x)
			}
			colour := strings.Contains(x.text(), "m") && sgr(x.text())
			if colour != (way == "colour") {
				t.Errorf("%v with %s: colour is %v\n%q", args, way, colour, x.text())
			}
			for _, l := range strings.Split(strings.ReplaceAll(x.text(), "\r", ""), "\n") {
				if n := utf8.RuneCountInString(bare(l)); n > 80 && !asks && way == "NO_COLOR=1" && !strings.Contains(l, ": ") {
					t.Errorf("%v: a line of %d columns: %q", args, n, l)
				}
			}
		}
	}
}

// waited is closed when x has ended, with whichever code.
func waited(x *terminal) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-x.exited
		time.Sleep(20 * time.Millisecond)
	}()
	return done
}

// sgr tells whether text holds a sequence that sets a colour.
func sgr(text string) bool {
	for rest := text; ; {
		i := strings.Index(rest, "\x1b[")
		if i < 0 {
			return false
		}
		rest = rest[i+2:]
		if j := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != ';' }); j >= 0 && rest[j] == 'm' && rest[:j] != "0" {
			return true
		}
	}
}

func bare(line string) string {
	for {
		i := strings.Index(line, "\x1b[")
		if i < 0 {
			return line
		}
		j := strings.IndexFunc(line[i+2:], func(r rune) bool { return r >= '@' && r <= '~' })
		if j < 0 {
			return line[:i]
		}
		line = line[:i] + line[i+2+j+1:]
	}
}

// A value that would drive the terminal is shown escaped, and its JSON comes back
// as it was.
func TestTerminalHostileValue(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	const evil = "a\x1b]52;c;Zm9v\x07\u009b31m\u202eevil\ttab\nline\u2028"
	if err := os.WriteFile(filepath.Join(dir, "evil"), []byte(evil), 0o600); err != nil {
		t.Fatal(err)
	}
	onTerminal(t, dir, env, nil, "set", "API_TOKEN", "--from-file", "evil", "--env", "staging").ends(0)
	for _, line := range []string{"get API_TOKEN --reveal", "list --reveal", "history API_TOKEN --reveal", "diff staging production --reveal", "get API_TOKEN --reveal --json", "list --reveal --json"} {
		x := onTerminal(t, dir, append(env, "NO_COLOR=1", "ENVCTL_ENV=staging"), nil, strings.Fields(line)...)
		<-waited(x)
		text := strings.ReplaceAll(x.text(), "\r\n", "\n")
		if !strings.Contains(text, "evil") {
			t.Errorf("%s does not show it: %q", line, text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool {
			return r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x2000 && r < 0x2070)
		}); i >= 0 {
			t.Errorf("%s: a raw control at %d: %q", line, i, text)
		}
	}
}
