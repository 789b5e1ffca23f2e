// Package child runs a deployer's programs, each in a session of its own, and
// gives one its input only when somebody has noted that it runs.
package child

import (
	"errors"
	"io"
	"os"
	"os/exec"
)

// Run runs cmd, which Session has prepared, and where it failed leaves none of its
// own children behind. started is told of its process before that has its input; an
// error of it ends the process: see Unnoted. nil: nobody wants to know.
//
// The first byte of the input is there from the start: should this process die
// before the note, the program reads a document that is cut off, and not an empty
// one, which compose takes for nothing to change in its file.
func Run(cmd *exec.Cmd, started func(pid int) error) error {
	deliver := func(bool) {}
	if cmd.Stdin != nil {
		in, first := cmd.Stdin, make([]byte, 1)
		n, err := io.ReadFull(in, first)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		if _, err := w.Write(first[:n]); err != nil {
			return errors.Join(err, w.Close())
		}
		cmd.Stdin = r
		deliver = func(all bool) {
			if all {
				_, _ = io.Copy(w, in) // it need not read all of it
			}
			_ = w.Close()
		}
	}
	if err := cmd.Start(); err != nil {
		deliver(false)
		return err
	}
	var refused error
	if started != nil {
		if refused = started(cmd.Process.Pid); refused != nil {
			kill(cmd)
		}
	}
	go deliver(refused == nil)
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
