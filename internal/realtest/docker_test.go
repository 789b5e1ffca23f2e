//go:build unix

package realtest_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// An engine that was killed under running containers leaves nothing behind.
func TestDockerdLeavesNothing(t *testing.T) {
	var dir string
	t.Run("engine", func(t *testing.T) {
		d := realtest.StartDockerd(t)
		dir = strings.TrimSuffix(d.Socket, "/d.sock")
		d.Run(t, "run", "-d", "--name", "up", realtest.Image)
		d.Run(t, "run", "-d", "--name", "nested", realtest.Image, "wrapper", "A=2", "--", "serve")
		if got := d.Run(t, "logs", "up"); !strings.HasPrefix(got, "healthy since ") {
			time.Sleep(200 * time.Millisecond)
			if got = d.Run(t, "logs", "up"); !strings.HasPrefix(got, "healthy since ") {
				t.Errorf("logs: %q", got)
			}
		}
		if got := d.Run(t, "compose", "version"); !strings.Contains(got, "Compose version") {
			t.Errorf("compose: %q", got)
		}
		d.Kill(t)
	})
	if dir == "" {
		return // skipped
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("folder is left:", err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Error("mounts are left", err)
	}
	for _, what := range []string{"args", "cgroup"} {
		out, err := exec.Command("ps", "-eo", what+"=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, strings.TrimPrefix(dir, "/tmp/")) {
				t.Error("process is left:", line)
			}
		}
	}
}

// A test binary that is killed takes its engine with it.
func TestDockerdEndsWithItsTest(t *testing.T) {
	if os.Getenv("REALTEST_ORPHAN") != "" {
		d := realtest.StartDockerd(t)
		d.Run(t, "run", "-d", realtest.Image)
		if err := os.WriteFile(os.Getenv("REALTEST_ORPHAN"), []byte(d.Socket), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		return
	}
	if realtest.StartDockerd(t) == nil { // skips where there is none
		return
	}
	report := t.TempDir() + "/socket"
	cmd := exec.Command(os.Args[0], "-test.run=^TestDockerdEndsWithItsTest$")
	cmd.Env = append(os.Environ(), "REALTEST_ORPHAN="+report)
	_ = cmd.Run()
	socket, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSuffix(string(socket), "/d.sock")
	for range 300 {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the engine outlived its test:", dir)
}
