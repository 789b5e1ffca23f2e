package playbooks

import (
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/realtest"
)

// patch makes the new text of the old one and the diff, whatever the two are.
func TestUnifiedApplies(t *testing.T) {
	t.Parallel()
	patch := realtest.Tool(t, "patch")
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	random := rand.New(rand.NewSource(3))
	text := func() string {
		var b strings.Builder
		for range random.Intn(30) {
			b.WriteString(string(rune('a'+random.Intn(5))) + "\n")
		}
		s := b.String()
		if random.Intn(3) == 0 {
			s = strings.TrimSuffix(s, "\n")
		}
		return s
	}
	for range 150 {
		old, fresh := text(), text()
		if random.Intn(2) == 0 && old != "" {
			lines := strings.SplitAfter(old, "\n")
			i := random.Intn(len(lines))
			fresh = strings.Join(lines[:i], "") + "new\n" + strings.Join(lines[i:], "")
		}
		diff := unified("f", []byte(old), []byte(fresh))
		if (diff == "") != (old == fresh) {
			t.Fatalf("%q → %q: %q", old, fresh, diff)
		}
		if diff == "" || old == "" || fresh == "" {
			continue // patch makes and removes files then
		}
		if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "-s", "-p1", "--fuzz=0")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(diff)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, diff)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != fresh {
			t.Fatalf("%q → %q, patched %q\n%s", old, fresh, got, diff)
		}
	}
}
