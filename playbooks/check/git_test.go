package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(realtest.Tool(t, "git"), append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func put(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReadIndex compares with git ls-files, in every version and both hashes.
func TestReadIndex(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, format string }{{"2", "sha1"}, {"3", "sha1"}, {"4", "sha1"}, {"4", "sha256"}, {"2", "sha256"}} {
		dir := t.TempDir()
		runGit(t, dir, "init", "-q", "--object-format="+c.format)
		for _, n := range []string{".env", "a/.env", "a/b/.env.local", "a/b/c", strings.Repeat("long/", 30) + "x", "z"} {
			put(t, filepath.Join(dir, n), n)
		}
		runGit(t, dir, "add", ".")
		put(t, filepath.Join(dir, "later"), "x")
		runGit(t, dir, "add", "-N", "later") // an extended flag: version 3
		runGit(t, dir, "update-index", "--index-version", c.version)
		data, err := os.ReadFile(filepath.Join(dir, ".git", "index"))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := readIndex(data, func(string) bool { return true })
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.path)
		}
		if want := strings.Fields(runGit(t, dir, "ls-files")); !slices.Equal(got, want) {
			t.Errorf("%v: %v, git says %v", c, got, want)
		}
		for n := range data { // no truncation brings it down
			_, _ = readIndex(data[:n], func(string) bool { return true })
		}
	}
	dir := t.TempDir()
	runGit(t, dir, "init", "-q")
	put(t, filepath.Join(dir, ".env"), "A=1")
	runGit(t, dir, "add", ".")
	runGit(t, dir, "update-index", "--split-index")
	data, err := os.ReadFile(filepath.Join(dir, ".git", "index"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readIndex(data, func(string) bool { return true }); err == nil {
		t.Error("a split index was read as if it were whole")
	}
}

func TestChangesWithoutGit(t *testing.T) {
	dir := t.TempDir()
	runGit(t, dir, "init", "-q")
	t.Setenv("PATH", t.TempDir())
	_, err := ReadChanges(t.Context(), dir, os.Environ())
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "there is no git") {
		t.Error(err)
	}
}

// TestChanges asks for changes of a project in a folder of the checkout.
func TestChanges(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	root := filepath.Join(top, "sub")
	for _, n := range []string{"same", "touched", "edited", "longer", "removed", "staged"} {
		put(t, filepath.Join(root, n), "one\n")
	}
	put(t, filepath.Join(top, "edited"), "outside")
	runGit(t, top, "init", "-q")
	runGit(t, top, "add", ".")
	runGit(t, top, "commit", "-q", "-m", "one")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(root, "touched"), later, later); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "edited"), "two\n") // of the same size, within git's own tick
	put(t, filepath.Join(root, "longer"), "one and more\n")
	put(t, filepath.Join(root, "staged"), "two\n")
	put(t, filepath.Join(root, "new"), "")
	put(t, filepath.Join(root, "ignored"), "")
	put(t, filepath.Join(root, ".gitignore"), "ignored\n")
	if err := os.Remove(filepath.Join(root, "removed")); err != nil {
		t.Fatal(err)
	}
	runGit(t, root, "add", "staged")
	c, err := ReadChanges(t.Context(), root, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"same": false, "touched": false, "edited": true, "longer": true, "removed": true, "staged": true, "new": true, "ignored": false, "nowhere": false, "": false,
	} {
		if got := c.Has(name); got != want {
			t.Errorf("%q changed: %v, want %v", name, got, want)
		}
	}
}
