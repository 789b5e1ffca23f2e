//go:build unix

package child_test

import (
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
