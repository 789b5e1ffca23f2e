//go:build unix

package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"envctl/internal/realtest"
	"envctl/internal/ui"
)

// TestDemoContainer runs the demo on a real engine: the rotation is proven in
// the running process, the stale one is caught, and nothing is left behind.
func TestDemoContainer(t *testing.T) {
	t.Parallel()
	realtest.Tool(t, "docker")
	realtest.Tool(t, "docker-compose")
	d := realtest.StartDockerd(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": t.TempDir(), "USER": "you", "DOCKER_HOST": d.Host(), "DOCKER_CONFIG": d.Config}
	var out bytes.Buffer
	a := &app{
		Process: Process{
			Args: []string{"demo"}, Executable: exe, WorkDir: t.TempDir(), Now: time.Now, Rand: rand.Reader, Version: "test",
			Getenv: func(name string) string { return env[name] },
		},
		ui: &ui.UI{Out: &out, Err: &out},
	}
	if code := a.end(a.run(context.Background())); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out.Bytes())
	}
	for _, want := range []string{
		"container  yes: ledger-", "deployed and verified: backend (process)", "stale: process ", "read back from the running process",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.Bytes())
		}
	}
	if left := d.Run(t, "ps", "--all", "--quiet"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	if left := d.Run(t, "images", "--quiet", "envctl-demo"); left != "" {
		t.Errorf("images are left: %s", left)
	}
}

// TestDemoNotices makes sure that the demo can fail: a step that does not do what
// it should ends it.
func TestDemoNotices(t *testing.T) {
	t.Parallel()
	d := exampleProject(t)
	d.ui.Out, d.ui.Err = &bytes.Buffer{}, &bytes.Buffer{}
	for name, s := range map[string]demoStep{
		"exit code": {line: "version", exit: 1},
		"answer":    {line: "version", want: "rotated"},
	} {
		if err := d.step(context.Background(), 1, s); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
	if err := d.step(context.Background(), 1, demoStep{line: "version", want: "test"}); err != nil {
		t.Error(err)
	}
}
