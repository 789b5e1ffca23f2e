package command

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"
	"time"

	childproc "envctl/providers/internal/child"
)

const maxOutput = 1 << 20

// child returns a command that is asked to end when ctx does, killed when it
// does not, and its two outputs.
func child(ctx context.Context, program string, args []string, stdin []byte) (*exec.Cmd, *bounded, *tail) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, said := &bounded{}, &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), out, said
	cmd.WaitDelay = time.Second
	childproc.Session(cmd, syscall.SIGTERM)
	return cmd, out, said
}

// bounded keeps at most maxOutput bytes.
type bounded struct {
	buf  bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxOutput {
		b.over = true
		return len(p), nil
	}
	return b.buf.Write(p)
}

// tail keeps the last of what is written.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - 64<<10; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}
