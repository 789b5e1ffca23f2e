package completions

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"envctl/internal/realtest"
)

// fishComplete asks the real fish what it would insert for line, and returns
// that and what envctl was asked.
func fishComplete(t *testing.T, candidates, line string, onPATH bool) (inserts []string, asked [][]string, work string) {
	t.Helper()
	home, dir := t.TempDir(), t.TempDir()
	work = t.TempDir()
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
	script, _ := Script("fish")
	write(t, filepath.Join(home, "script"), script)
	write(t, filepath.Join(work, "some file.env"), "")
	if candidates != "fail" {
		write(t, filepath.Join(dir, "candidates"), candidates)
	}
	cmd := exec.CommandContext(t.Context(), realtest.Tool(t, "fish"), "--no-config", "-c",
		"source $HOME/script; complete -C --escape $LINE")
	cmd.Dir = work
	path := "/usr/bin:/bin"
	if onPATH {
		path = bin + ":" + path
	}
	cmd.Env = []string{
		"HOME=" + home, "BIN=" + bin, "PATH=" + path, "TERM=dumb", "LC_ALL=C.UTF-8", "FAKE_DIR=" + dir,
		"LINE=" + strings.ReplaceAll(line, "@BIN", bin),
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("fish: %v\n%s", err, out)
	}
	if text := strings.TrimSuffix(string(out), "\n"); text != "" {
		inserts = strings.Split(text, "\n")
	}
	for _, run := range runs(t, dir) {
		if !slices.Equal(run[:min(2, len(run))], []string{"__complete", "--"}) {
			t.Errorf("%q ran envctl with %q", line, run)
			continue
		}
		asked = append(asked, run[2:])
	}
	return inserts, asked, work
}

func TestFish(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		candidates, line string
		offPATH          bool
		asked, inserts   []string
	}{
		{candidates: "DATABASE_URL\tfrom app\n", line: "envctl trace DATA", asked: []string{"trace", "DATA"}, inserts: []string{"DATABASE_URL\tfrom app"}},
		{candidates: "production\npr-1\n", line: "envctl get X --env ", asked: []string{"get", "X", "--env", ""}, inserts: []string{"pr-1", "production"}},
		{candidates: "--env=production\n", line: "envctl get --env=pr", asked: []string{"get", "--env=pr"}, inserts: []string{"--env=production"}},
		{candidates: "op://prod/app/f\n", line: "envctl set --from op://pr", asked: []string{"set", "--from", "op://pr"}, inserts: []string{"op://prod/app/f"}},
		{candidates: "a b;$(touch pwned)\n", line: "envctl get a", asked: []string{"get", "a"}, inserts: []string{`a\ b\;\$\(touch\ pwned\)`}},
		{candidates: "a b\n", line: `envctl "get" 'x'y a\ `, asked: []string{"get", "xy", "a "}, inserts: []string{`a\ b`}},
		{candidates: "a b\n", line: `envctl get "a `, asked: []string{"get", "a "}, inserts: []string{`"a b"`}},
		{candidates: "a\x1b]52;c;A\x07\nab\n", line: "envctl get a", asked: []string{"get", "a"}, inserts: []string{"ab"}},
		{candidates: "", line: "envctl get s", asked: []string{"get", "s"}},
		{candidates: "fail", line: "envctl get C", asked: []string{"get", "C"}},
		{candidates: ":files\n", line: "envctl import so", asked: []string{"import", "so"}, inserts: []string{`some\ file.env`}},
		{candidates: "app\n", line: "@BIN/envctl get a", asked: []string{"get", "a"}, inserts: []string{"app"}},
		{candidates: "app\n", line: "@BIN/envctl get a", offPATH: true, asked: []string{"get", "a"}, inserts: []string{"app"}},
		{candidates: "app\n", line: "~/bin/envctl get a", offPATH: true, asked: []string{"get", "a"}, inserts: []string{"app"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			inserts, asked, _ := fishComplete(t, c.candidates, c.line, !c.offPATH)
			if len(asked) != 1 || !slices.Equal(asked[0], c.asked) {
				t.Errorf("asked %q, want %q", asked, c.asked)
			}
			slices.Sort(inserts)
			if !slices.Equal(inserts, c.inserts) {
				t.Errorf("inserts %q, want %q", inserts, c.inserts)
			}
		})
	}
}

func TestFishDoesNotEvaluate(t *testing.T) {
	t.Parallel()
	asked := 0
	for i, line := range hostile() {
		if strings.Contains(line, "`") || i%3 == 2 && !strings.Contains(line, "$(touch pwned)") {
			continue // a backquote means nothing to fish
		}
		_, questions, work := fishComplete(t, []string{"x\n", ":files\n"}[i%2], strings.Replace(line, "$BIN", "@BIN", 1), true)
		asked += len(questions)
		if _, err := os.Lstat(filepath.Join(work, "pwned")); err == nil {
			t.Errorf("%q ran", line)
		}
	}
	if asked < 20 {
		t.Errorf("only %d lines asked envctl", asked)
	}
}
