package commands_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// program builds envctl as it ships: what it does with signals is in its main.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "envctl-")
	if err != nil {
		return "", err
	}
	builds = append(builds, dir)
	path := filepath.Join(dir, "envctl")
	if out, err := exec.Command("go", "build", "-o", path, "envctl").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// builds are the folders to remove when the last test is done.
var builds []string

// command is the built program in dir; it must not outlive the test.
func command(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, env
	return cmd
}
