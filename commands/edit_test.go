//go:build linux

package commands_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// editing is a project with one value and an editor that is a shell script.
func editing(t *testing.T, script string) (dir string, env []string, memory string) {
	t.Helper()
	dir, env = folder(t)
	memory, err := os.MkdirTemp("/dev/shm", "envctl-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	if err := os.WriteFile(filepath.Join(dir, "editor.sh"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(env, "XDG_RUNTIME_DIR="+memory, "EDITOR=sh "+filepath.Join(dir, "editor.sh"))
	set := command(t, dir, env, "set", "API_TOKEN", "--stdin", "--env", "staging")
	set.Stdin = strings.NewReader(canary)
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir, env, memory
}

func holds(t *testing.T, dir string, env []string, key, want string) {
	t.Helper()
	out, err := command(t, dir, env, "get", key, "--raw", "--env", "staging").Output()
	if err != nil && want != "" || strings.TrimSuffix(string(out), "\n") != want {
		t.Errorf("%s is %q, want %q (%v)", key, out, want, err)
	}
}

func empty(t *testing.T, folder string) {
	t.Helper()
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The plan is shown and asked for; no means nothing.
func TestEditAsks(t *testing.T) {
	t.Parallel()
	dir, env, memory := editing(t, `echo "OTHER=`+canary+`" >>"$1"`)
	x := onTerminal(t, dir, env, nil, "edit", "--env", "staging")
	x.expect("added     OTHER")
	x.expectQuestion("write this to ledger/staging/app?")
	empty(t, memory) // the text is gone before the question
	x.typeIn("n\r")
	x.ends(130)
	x.rejectCanary()
	holds(t, dir, env, "OTHER", "")

	x = onTerminal(t, dir, env, nil, "edit", "--env", "staging")
	x.expectQuestion("write this to ledger/staging/app?")
	x.typeIn("y\r")
	x.ends(0)
	x.rejectCanary()
	holds(t, dir, env, "OTHER", canary)

	x = onTerminal(t, dir, env, nil, "edit", "--env", "production")
	x.expectQuestion("type its name")
	x.typeIn("production\r")
	x.ends(0)
	empty(t, memory)
}

// A text that cannot be read can be edited again.
func TestEditAgain(t *testing.T) {
	t.Parallel()
	dir, env, memory := editing(t, `if [ -e tried ]; then sed -i 's/^broken$/OTHER=mended/' "$1"; else touch tried; echo broken >>"$1"; fi; echo B='"unclosed' >/dev/null
sed -i 's/^broken$/bro ken/' "$1"; sed -i '/^OTHER=mended/!s/^bro ken$/bro ken/' "$1"; [ -e second ] && sed -i 's/^bro ken$/OTHER=mended/' "$1"; [ -e tried ] && touch second; true`)
	x := onTerminal(t, dir, env, nil, "edit", "--env", "staging")
	x.expectQuestion("edit again?")
	x.typeIn("y\r")
	x.expect("write this to")
	time.Sleep(100 * time.Millisecond)
	x.typeIn("y\r")
	x.ends(0)
	holds(t, dir, env, "OTHER", "mended")
	empty(t, memory)
}

// Ctrl-C is a key of the editor, however often it is pressed.
func TestEditInterrupt(t *testing.T) {
	t.Parallel()
	dir, env, memory := editing(t, `trap 'echo caught' INT; echo ready; while [ ! -e go ]; do sleep 0.05; done; echo OTHER=1 >>"$1"`)
	x := onTerminal(t, dir, env, nil, "edit", "--env", "staging")
	x.expect("ready")
	for range 4 {
		x.typeIn("\x03")
		time.Sleep(80 * time.Millisecond)
	}
	x.expect("caught")
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.expectQuestion("write this to")
	x.typeIn("y\r")
	x.ends(0)
	holds(t, dir, env, "OTHER", "1")
	empty(t, memory)
}

// An editor that is ended from outside is ended with all that runs below it, and
// what it made of the terminal is put back.
func TestEditEndedFromOutside(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		dir, env, memory := editing(t, `trap '' HUP; stty raw -echo; sleep 100 & echo $! >below; chmod 500 "${1%/*}"; echo ready; wait; echo OTHER=1 >>"$1"`)
		x := onTerminal(t, dir, env, nil, "edit", "--env", "staging")
		x.expect("ready")
		x.signal(sig)
		x.ends(130)
		x.expect("ended from outside, nothing was written")
		empty(t, memory)
		text, err := os.ReadFile(filepath.Join(dir, "below"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		eventually(t, "what ran below the editor ends", func() bool { return !runs(pid) })
	}
}

// Even where envctl is killed, nothing is left behind.
func TestEditKilled(t *testing.T) {
	t.Parallel()
	dir, env, memory := editing(t, `echo ready; exec sleep 100`)
	x := onTerminal(t, dir, env, nil, "edit", "--env", "staging")
	x.expect("ready")
	if left, err := os.ReadDir(memory); err != nil || len(left) != 1 {
		t.Fatalf("the text is not where it was looked for: %v, %v", left, err)
	}
	below, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", x.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	x.signal(syscall.SIGKILL)
	eventually(t, "the folder goes", func() bool { left, err := os.ReadDir(memory); return err == nil && len(left) == 0 })
	for _, f := range strings.Fields(string(below)) { // the editor's own end is nobody's business here
		if pid, err := strconv.Atoi(f); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// An editor that is not there is named, with what to do.
func TestEditWithoutEditor(t *testing.T) {
	t.Parallel()
	dir, env, memory := editing(t, "")
	x := onTerminal(t, dir, append(env, "EDITOR=no-such-editor --wait"), nil, "edit", "--env", "staging")
	x.ends(5)
	x.expect("no-such-editor --wait cannot be run, nothing was written")
	x.expect("name one in VISUAL or EDITOR")
	empty(t, memory)
}

func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("in vain: " + what)
		}
	}
}

// vim keeps no swap, undo, backup or history file, whatever its settings say.
func TestEditVim(t *testing.T) {
	t.Parallel()
	vim := realtest.Tool(t, "vim")
	dir, env, memory := editing(t, "")
	home := filepath.Join(dir, ".home")
	rc := "set undofile backup writebackup swapfile viminfo='100\nset undodir=~ backupdir=~ directory=~\n"
	if err := os.WriteFile(filepath.Join(home, ".vimrc"), []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	x := onTerminal(t, dir, append(env, "EDITOR="+vim), nil, "edit", "--env", "staging")
	x.expect("values.env")
	time.Sleep(200 * time.Millisecond)
	x.typeIn("yy:$put ='OTHER=fromvim'\r:wq\r")
	x.expectQuestion("write this to")
	x.typeIn("y\r")
	x.ends(0)
	holds(t, dir, env, "OTHER", "fromvim")
	empty(t, memory)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		if err == nil && findCanary(data) != "" {
			t.Errorf("%s holds the canary", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without a memory-backed place a disk is used only where that was said.
func TestEditOnDisk(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("unshare"); err != nil {
		realtest.Missing(t, "unshare is not on this machine")
	}
	dir, env, _ := editing(t, `echo OTHER=1 >>"$1"; case $1 in */tmp-on-disk/*) ;; *) exit 9;; esac`)
	tmp := filepath.Join(dir, "tmp-on-disk")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	env = append(env, "XDG_RUNTIME_DIR="+tmp, "TMPDIR="+tmp)
	// A user namespace in which a folder of the disk lies over /dev/shm.
	run := func(args ...string) (string, error) {
		inner := command(t, dir, env, append([]string{"edit", "--env", "staging", "--yes"}, args...)...)
		hide := t.TempDir()
		cmd := exec.Command("unshare", append([]string{"-rm", "sh", "-c", `mount --bind "$0" /dev/shm && exec "$@"`, hide}, inner.Args...)...)
		cmd.Path, cmd.Dir, cmd.Env = mustFind(t, "unshare"), inner.Dir, inner.Env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	if err == nil && !strings.Contains(out, "memory") || err != nil && strings.Contains(out, "unshare") {
		realtest.Missing(t, "this machine allows no user namespaces: "+strings.TrimSpace(out))
	}
	if !strings.Contains(out, "--allow-disk") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err = run("--allow-disk"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	empty(t, tmp)
}

func mustFind(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// On a terminal export and render mask every value; --reveal shows them, with
// what a terminal would obey escaped.
func TestTerminalMasks(t *testing.T) {
	t.Parallel()
	dir, env, _ := editing(t, "")
	template := "{{ with secret \"secret/data/ledger/staging/app\" -}}\nTOKEN={{ .Data.data.API_TOKEN | printf \"%q\" }}\nMODE=plain\n{{ end }}\n"
	if err := os.WriteFile(filepath.Join(dir, "t.ctmpl"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	project := strings.Replace(terminalProject, "    code: config.py\n", "    template: t.ctmpl\n", 1)
	if err := os.WriteFile(filepath.Join(dir, "envctl.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"render", "--env", "staging"},
		{"export", "--env", "staging", "--format", "json"},
		{"export", "--env", "staging", "--format", "k8s"},
		{"export", "--env", "staging", "--stored", "--format", "shell"},
	} {
		x := onTerminal(t, dir, env, nil, args...)
		x.ends(0)
		x.rejectCanary()
		if !strings.Contains(x.text(), "[secret]") && !strings.Contains(x.text(), "W3NlY3JldF0=") { // its base64
			t.Errorf("%v: %q", args, x.text())
		}
	}
	set := command(t, dir, env, "set", "API_TOKEN", "--stdin", "--env", "staging")
	set.Stdin = strings.NewReader("a\x1b]52;c;x\x07\u202eb")
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, args := range [][]string{
		{"render", "--env", "staging", "--reveal"},
		{"export", "--env", "staging", "--stored", "--format", "json", "--reveal"},
		{"export", "--env", "staging", "--stored", "--format", "shell", "--reveal"},
		{"export", "--env", "staging", "--stored", "--for", "python", "--reveal"},
	} {
		x := onTerminal(t, dir, env, nil, args...)
		x.ends(0)
		if strings.ContainsAny(x.text(), "\x1b\x07\u202e") || !strings.Contains(x.text(), "52;c;x") {
			t.Errorf("%v: %q", args, x.text())
		}
	}
}

// A terminal that is too narrow for the table of variables gets a paragraph for
// each, of which no line breaks without need.
func TestTerminalVars(t *testing.T) {
	t.Parallel()
	dir, env := folder(t)
	code := terminalCode + "    data_file: str = Field(default='sqlite:///a-rather-long-default-value.db', description='where the long-lived things are kept')\n"
	if err := os.WriteFile(filepath.Join(dir, "config.py"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	x := onTerminal(t, dir, env, nil, "vars")
	x.ends(0)
	for _, want := range []string{"  where the long-lived things are kept\r\n", "  in: config.py:5\x1b[", "default sqlite:///a-rather-long-default-value.db\r\n"} {
		x.expect(want)
	}
	for line := range strings.SplitSeq(x.text(), "\r\n") {
		if plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line, ""); len(plain) > 80 {
			t.Errorf("a line of %d columns: %q", len(plain), plain)
		}
	}
}
