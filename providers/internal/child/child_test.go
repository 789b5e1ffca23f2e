//go:build unix

package child_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/providers/internal/child"
)

func TestRun(t *testing.T) {
	t.Parallel()
	run := func(script string, stdin io.Reader, started func(int) error) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		child.Session(cmd, syscall.SIGTERM)
		var out strings.Builder
		cmd.Stdin, cmd.Stdout = stdin, &out
		err := child.Run(cmd, started)
		return out.String(), err
	}
	noted := 0
	out, err := run("read line; echo $$ $line", strings.NewReader("input\n"), func(pid int) error { noted = pid; return nil })
	if pid, line, _ := strings.Cut(strings.TrimSpace(out), " "); err != nil || line != "input" || noted == 0 || pid != strconv.Itoa(noted) {
		t.Errorf("%q %v, noted %d", out, err, noted)
	}
	if out, err := run("echo x", nil, nil); out != "x\n" || err != nil {
		t.Errorf("%q %v", out, err)
	}
	// One that cannot be noted gets nothing to work on, and does not live on.
	full := errors.New("disk full")
	out, err = run("read line || exit; echo did $line", strings.NewReader("input\n"), func(pid int) error { noted = pid; return full })
	if !errors.Is(child.Unnoted(err), full) || out != "" {
		t.Errorf("%q %v", out, err)
	}
	if err := syscall.Kill(-noted, 0); !errors.Is(err, syscall.ESRCH) {
		t.Error("it lives on:", err)
	}
	var exit *exec.ExitError
	if _, err := run("exit 3", nil, nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Error(err)
	}
}

// A program whose envctl dies before it has noted it has read the first byte of its
// input alone: what it reads is cut off, not empty.
func TestInputBeforeTheNote(t *testing.T) {
	t.Parallel()
	got := filepath.Join(t.TempDir(), "got")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `dd bs=1 count=1 of="$0" 2>/dev/null; cat >>"$0"`, got)
	child.Session(cmd, syscall.SIGTERM)
	cmd.Stdin = strings.NewReader("{}")
	read := func() string { text, _ := os.ReadFile(got); return string(text) }
	err := child.Run(cmd, func(int) error {
		for read() == "" && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if read() != "{" {
			t.Errorf("%q before it is noted", read())
		}
		return nil
	})
	if err != nil || read() != "{}" {
		t.Errorf("%q %v", read(), err)
	}
}
