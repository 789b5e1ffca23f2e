package completions

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"envctl/internal/realtest"
)

// TestMain lets this test binary stand for envctl: it writes down its
// arguments, and under __complete prints what the folder's file says.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "envctl" {
		os.Exit(standIn(os.Getenv("FAKE_DIR"), os.Args[1:]))
	}
	os.Exit(m.Run())
}

func standIn(dir string, args []string) int {
	line, _ := json.Marshal(args)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 99
	}
	_, _ = fmt.Fprintf(log, "%s\n", line)
	_ = log.Close()
	if len(args) > 0 && args[0] == "__complete" {
		text, err := os.ReadFile(filepath.Join(dir, "candidates"))
		if err != nil {
			fmt.Println("COUNTRY_OF_ERRORS")
			fmt.Fprintln(os.Stderr, "a message that must not appear")
			return 1
		}
		_, _ = os.Stdout.Write(text)
	}
	return 0
}

// shell is a real shell on a pseudo-terminal, in an empty folder of its own.
type shell struct {
	t     *testing.T
	name  string
	dir   string // FAKE_DIR: log and candidates
	work  string // the working folder, where "pwned" must never appear
	bin   string // the folder of envctl
	tty   *os.File
	lock  sync.Mutex
	seen  strings.Builder
	marks int
}

const ready = "READY>"

// start runs a shell that has loaded its script; onPATH tells whether envctl is
// on PATH or only at $BIN/envctl, also known as ~/bin/envctl.
func start(t *testing.T, name string, onPATH bool, before string) *shell {
	t.Helper()
	program := realtest.Tool(t, name)
	s := &shell{t: t, name: name, dir: t.TempDir(), work: t.TempDir()}
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	self, err := os.Executable()
	if err == nil {
		err = os.Mkdir(bin, 0o700)
	}
	if err == nil {
		err = os.Symlink(self, filepath.Join(bin, "envctl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	script, ok := Script(name)
	if !ok {
		t.Fatalf("no script for %s", name)
	}
	write(t, filepath.Join(home, "script"), script)
	rc := before + "\nsource ~/script\nPS1='" + ready + " '\n"
	var args []string
	switch name {
	case "bash":
		args = []string{"--noprofile", "--rcfile", filepath.Join(home, "rc"), "-i"}
		rc += "bind 'set enable-bracketed-paste off'\nbind 'set bell-style none'\n"
		write(t, filepath.Join(home, "rc"), rc)
	case "zsh":
		args = []string{"-d", "-i"}
		write(t, filepath.Join(home, ".zshrc"), "autoload -U compinit; compinit -D\nunset zle_bracketed_paste\n"+rc)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = s.work
	path := "/usr/bin:/bin"
	if onPATH {
		path = bin + ":" + path
	}
	cmd.Env = []string{"HOME=" + home, "ZDOTDIR=" + home, "BIN=" + bin, "PATH=" + path, "TERM=dumb", "LC_ALL=C.UTF-8", "FAKE_DIR=" + s.dir}
	s.bin = bin
	s.tty, err = pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 400})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.tty.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	go func() {
		r := bufio.NewReader(s.tty)
		for {
			c, err := r.ReadByte()
			if err != nil {
				return
			}
			s.lock.Lock()
			s.seen.WriteByte(c)
			s.lock.Unlock()
		}
	}()
	s.wait("the first prompt", func() bool { return strings.Contains(s.output(), ready) })
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *shell) output() string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.seen.String()
}

func (s *shell) wait(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: %s did not come; the terminal shows\n%s", s.name, what, s.output())
		}
	}
}

func (s *shell) send(text string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// runs returns the arguments of every run of envctl so far.
func runs(t *testing.T, dir string) [][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(text)) {
		var args []string
		if json.Unmarshal([]byte(line), &args) == nil {
			all = append(all, args)
		}
	}
	return all
}

// answer sets what envctl prints from now on; "fail" lets it fail.
func (s *shell) answer(candidates string) {
	s.t.Helper()
	path := filepath.Join(s.dir, "candidates")
	if candidates != "fail" {
		write(s.t, path, candidates)
	} else if err := os.Remove(path); err != nil {
		s.t.Fatal(err)
	}
}

// complete types line and TAB, waits for the question to envctl, and returns
// its words and, after Enter, the arguments the line then runs envctl with.
func (s *shell) complete(candidates, line string) (asked, ran []string) {
	s.t.Helper()
	s.answer(candidates)
	before := len(runs(s.t, s.dir))
	s.send(line + "\t")
	s.wait("the question for "+line, func() bool { return len(runs(s.t, s.dir)) > before })
	asked = runs(s.t, s.dir)[before]
	if !slices.Equal(asked[:min(2, len(asked))], []string{"__complete", "--"}) {
		s.t.Fatalf("%s asked %q", s.name, asked)
	}
	time.Sleep(30 * time.Millisecond) // zsh drops what it would list when keys wait
	enter := len(s.output())
	s.send("\r")
	s.wait("the run of "+line, func() bool { return len(runs(s.t, s.dir)) > before+1 })
	s.wait("the next prompt", func() bool { return strings.Contains(s.output()[enter:], ready) })
	return asked[2:], runs(s.t, s.dir)[before+1]
}

// abandon types line and TAB, then takes the line back and returns what envctl
// was asked meanwhile.
func (s *shell) abandon(candidates, line string) [][]string {
	s.t.Helper()
	s.answer(candidates)
	before := len(runs(s.t, s.dir))
	s.marks++
	mark := fmt.Sprintf("mark-%d", s.marks)
	tabs := s.tabs()
	s.send(line + "\t")
	if s.name == "zsh" {
		// zsh drops a TAB when other keys wait already.
		s.wait("the end of TAB after "+line, func() bool { return s.tabs() > tabs })
	}
	s.send("\x15$BIN/envctl " + mark + "\r") // ^U empties the line
	s.wait(mark, func() bool {
		all := runs(s.t, s.dir)
		return len(all) > 0 && slices.Equal(all[len(all)-1], []string{mark})
	})
	// Until the shell prompts, the terminal itself would take ^U.
	s.wait("the next prompt", func() bool {
		out := s.output()
		return strings.Contains(out[max(0, strings.LastIndex(out, mark)):], ready)
	})
	all := runs(s.t, s.dir)
	return all[before : len(all)-1]
}

// tabs returns how often zsh has ended a completion, see countTabs.
func (s *shell) tabs() int {
	text, err := os.ReadFile(filepath.Join(s.dir, "tabs"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

const countTabs = `counted() { zle complete-word; print >>$FAKE_DIR/tabs }; zle -N counted; bindkey '^I' counted`

// unharmed fails when something that was typed ran, or something that a failed
// question printed is shown.
func (s *shell) unharmed() {
	s.t.Helper()
	if _, err := os.Lstat(filepath.Join(s.work, "pwned")); err == nil {
		s.t.Errorf("%s: something that was typed ran", s.name)
	}
	if out := s.output(); strings.Contains(out, "a message that must not appear") || strings.Contains(out, "COUNTRY_OF_ERRORS") {
		s.t.Errorf("%s shows what a failed question printed", s.name)
	}
}

type example struct {
	candidates, line string
	asked, ran       []string
}

// examples hold for every shell with a line editor.
func examples() []example {
	return []example{
		{"DATABASE_URL\tfrom app\n", "envctl trace DATA", []string{"trace", "DATA"}, []string{"trace", "DATABASE_URL"}},
		{"trace\n", "envctl tr", []string{"tr"}, []string{"trace"}},
		{"--env\twhich environment\n--events\n", "envctl get --env", []string{"get", "--env"}, []string{"get", "--env"}},
		{"production\n", "envctl get X --env ", []string{"get", "X", "--env", ""}, []string{"get", "X", "--env", "production"}},
		{"--env=production\n", "envctl get X --env=pr", []string{"get", "X", "--env=pr"}, []string{"get", "X", "--env=production"}},
		{"--env=production\n", "envctl get X --env=", []string{"get", "X", "--env="}, []string{"get", "X", "--env=production"}},
		{"staging@7\n", "envctl diff staging@", []string{"diff", "staging@"}, []string{"diff", "staging@7"}},
		{"op://prod/app/f\n", "envctl set K --from op://pr", []string{"set", "K", "--from", "op://pr"}, []string{"set", "K", "--from", "op://prod/app/f"}},
		{"a b\n", "envctl get a", []string{"get", "a"}, []string{"get", "a b"}},
		{"a b\n", `envctl get a\ `, []string{"get", "a "}, []string{"get", "a b"}},
		{"a b\n", `envctl get "a `, []string{"get", "a "}, []string{"get", "a b"}},
		{"a b\n", `envctl get 'a `, []string{"get", "a "}, []string{"get", "a b"}},
		{"plain\n", `envctl get "pl`, []string{"get", "pl"}, []string{"get", "plain"}},
		{"plain\n", `envctl "get" 'a'"b" pl`, []string{"get", "ab", "pl"}, []string{"get", "ab", "plain"}},
		{"é–ü\n", "envctl get é", []string{"get", "é"}, []string{"get", "é–ü"}},
		{
			"x$(touch pwned)`touch pwned`;touch pwned;'\"&|<>*?~!#\\\tits\n", "envctl get x",
			[]string{"get", "x"},
			[]string{"get", "x$(touch pwned)`touch pwned`;touch pwned;'\"&|<>*?~!#\\"},
		},
		{"zzz\x1b]52;c;AAAA\x07\nzoo\n", "envctl get z", []string{"get", "z"}, []string{"get", "zoo"}},
		{"", "envctl get nothing", []string{"get", "nothing"}, []string{"get", "nothing"}},
		{"fail", "envctl get C", []string{"get", "C"}, []string{"get", "C"}},
		{"value\n", "true; envctl get v", []string{"get", "v"}, []string{"get", "value"}},
		{":nospace\nhalf/\n", "envctl get ha", []string{"get", "ha"}, []string{"get", "half/"}},
		{"app\n", "~/bin/envctl get a", []string{"get", "a"}, []string{"get", "app"}},
		{"app\n", "$BIN/envctl get a", []string{"get", "a"}, []string{"get", "app"}},
	}
}

// hostile lines must do nothing before Enter.
func hostile() []string {
	var lines []string
	for _, word := range []string{
		"$(touch pwned)", "$(touch pwned)x", "`touch pwned`", "`touch pwned`/", "\"$(touch pwned)", "\"`touch pwned`", "'$(touch pwned)",
		"a[$(touch pwned)]", "${x:-$(touch pwned)}", "*", "?", "[a-z]*", "~root/", "~$(touch pwned)", "{a,$(touch pwned)}", "$((a[$(touch pwned)]))",
		"a;touch pwned", "&&touch pwned", "\\$(touch pwned)", "--env=$(touch pwned)", "--env=`touch pwned`", "<(touch pwned)x", "-- -n", "-e touch", "%q%s\\n",
	} {
		lines = append(lines, "envctl get "+word, "envctl "+word+" ", "$BIN/envctl get "+word+" x")
	}
	return lines
}

// setups are the shells with a line editor, each loaded in the ways people do.
func setups(t *testing.T) map[string][2]string {
	all := map[string][2]string{
		"bash":                    {"bash", "set -u"},
		"bash, posix":             {"bash", "set -o posix; shopt -s nocaseglob failglob"},
		"zsh":                     {"zsh", "bindkey '^I' complete-word"},
		"zsh, expand-or-complete": {"zsh", ""},
	}
	const helpers = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(helpers); err == nil {
		all["bash, bash-completion"] = [2]string{"bash", "source " + helpers}
	} else if os.Getenv("CI") != "" {
		t.Error("bash-completion is not on this machine: .ci/run installs it")
	}
	return all
}

func TestShells(t *testing.T) {
	t.Parallel()
	for name, setup := range setups(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, setup[0], true, setup[1])
			for _, e := range examples() {
				line := strings.Replace(e.line, "$BIN", s.bin, 1)
				asked, ran := s.complete(e.candidates, line)
				if !slices.Equal(asked, e.asked) {
					t.Errorf("%q asked %q, want %q", line, asked, e.asked)
				}
				if !slices.Equal(ran, e.ran) {
					t.Errorf("%q ran %q, want %q", line, ran, e.ran)
				}
			}
			write(t, filepath.Join(s.work, "some file.env"), "")
			if _, ran := s.complete(":files\n", "envctl import so"); !slices.Equal(ran, []string{"import", "some file.env"}) {
				t.Errorf("files: ran %q", ran)
			}
			if _, ran := s.complete("other\n", "envctl import so"); !slices.Equal(ran, []string{"import", "so"}) {
				t.Errorf("a file was offered: ran %q", ran)
			}
			s.unharmed()
		})
	}
}

func TestTypedTextIsNotEvaluated(t *testing.T) {
	t.Parallel()
	// Not zsh's usual expand-or-complete: it runs $(...) at TAB by itself, before
	// any completion.
	for name, before := range map[string]string{"bash": "", "zsh": countTabs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, name, true, before)
			asked := 0
			for i, line := range hostile() {
				asked += len(s.abandon([]string{"x\n", ":files\n"}[i%2], line))
			}
			if asked < len(hostile())/2 {
				t.Errorf("only %d of %d lines asked envctl", asked, len(hostile()))
			}
			s.unharmed()
		})
	}
}

func TestNotOnPATH(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "zsh"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, name, false, map[string]string{"zsh": countTabs}[name])
			for _, program := range []string{"~/bin/envctl", s.bin + "/envctl"} {
				asked, ran := s.complete("app\n", program+" get a")
				if !slices.Equal(asked, []string{"get", "a"}) || !slices.Equal(ran, []string{"get", "app"}) {
					t.Errorf("%s asked %q, ran %q", program, asked, ran)
				}
			}
			for _, program := range []string{"envctl", "$BIN/envctl", "$(echo $BIN)/envctl", "`touch pwned`/envctl"} {
				if asked := s.abandon("app\n", program+" get a"); len(asked) != 0 {
					t.Errorf("%s asked %q", program, asked)
				}
			}
			s.unharmed()
		})
	}
}
