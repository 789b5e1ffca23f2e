// Package child runs a deployer's programs, each in a session of its own, and
// gives one its input only when somebody has noted that it runs.
package child

import (
	"errors"
	"io"
	"os/exec"
)

// Run runs cmd, which Session has prepared, and where it failed leaves none of its
// own children behind. started is told of its process before that has any input; an
// error of it ends the process: see Unnoted. nil: nobody wants to know.
func Run(cmd *exec.Cmd, started func(pid int) error) error {
	input := &gate{in: cmd.Stdin, opened: make(chan struct{})}
	if cmd.Stdin != nil {
		cmd.Stdin = input
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var refused error
	if started != nil {
		if refused = started(cmd.Process.Pid); refused != nil {
			input.in = nil
			kill(cmd)
		}
	}
	close(input.opened)
	err := cmd.Wait()
	if refused != nil {
		return unnoted{refused}
	}
	if err != nil {
		kill(cmd) // mostly there is none left
	}
	return err
}

type unnoted struct{ error }

// Unnoted returns the error of started that ended a Run; nil where it was another.
func Unnoted(err error) error {
	var u unnoted
	if errors.As(err, &u) {
		return u.error
	}
	return nil
}

// gate is an input that begins when it is opened.
type gate struct {
	in     io.Reader
	opened chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	<-g.opened
	if g.in == nil {
		return 0, io.EOF
	}
	return g.in.Read(p)
}
