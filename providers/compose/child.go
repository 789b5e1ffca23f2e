package compose

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"envctl/providers"
	childproc "envctl/providers/internal/child"
)

const maxOutput = 16 << 20

// child returns a command that is asked to end when ctx does, killed when it
// does not, and its two outputs.
func child(ctx context.Context, program string, args, env []string, stdin io.Reader) (*exec.Cmd, *bounded, *tail) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, said := &bounded{}, &tail{}
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, stdin, out, said
	cmd.WaitDelay = time.Second
	childproc.Session(cmd, syscall.SIGINT)
	return cmd, out, said
}

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

// tail keeps the last of what compose says.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - 64<<10; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }

// lines returns the last lines, which say why; warnings only where nothing else
// is said.
func (t *tail) lines() string {
	var said, warned []string
	for line := range strings.Lines(t.buf.String()) {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.Contains(line, "level=warning"):
			warned = append(warned, line)
		default:
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		said = warned
	}
	return strings.Join(said[max(0, len(said)-4):], "; ")
}

// piece is the length from which a part of a value is a secret too: compose
// takes values apart ("invalid containerPort: …") before it shows them.
const piece = 5

// redact covers every value of the release in text, and every piece of one, but
// not the names that the message needs. It shortens to what a message can hold.
func redact(text string, r providers.Release) string {
	covered := make([]bool, len(text))
	cover := func(from, to int, on bool) {
		for i := from; i < to; i++ {
			covered[i] = on
		}
	}
	each := func(part string, on bool) {
		for at := 0; part != "" && at < len(text); {
			i := strings.Index(text[at:], part)
			if i < 0 {
				return
			}
			cover(at+i, at+i+len(part), on)
			at += i + 1
		}
	}
	for _, v := range r.Values {
		value := v.Reveal()
		for i := 0; i+piece <= len(text) && len(value) >= piece; i++ {
			if strings.Contains(value, text[i:i+piece]) {
				cover(i, i+piece, true)
			}
		}
	}
	known := []string{r.Project, r.Environment, r.Component}
	for _, s := range r.Services {
		known = append(known, s.Name, s.Container)
	}
	for name := range r.Values {
		known = append(known, name)
	}
	for _, name := range known {
		if len(name) >= piece {
			each(name, false)
		}
	}
	for _, v := range r.Values { // whole values last: a short one too, unless it is a known name
		if value := v.Reveal(); len(value) >= 3 && !contains(known, value) {
			each(value, true)
		}
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if !covered[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !covered[i-1] {
			b.WriteString("[secret]")
		}
	}
	out := strings.ToValidUTF8(b.String(), "")
	if len(out) > 600 {
		out = "…" + strings.ToValidUTF8(out[len(out)-600:], "")
	}
	return out
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
