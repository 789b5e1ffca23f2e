//go:build unix

package commands

import (
	"syscall"

	"envctl/internal/fault"
)

// replace becomes the program: signals, terminal and exit code are its own.
func (a *app) replace(program string, argv, env []string) error {
	if err := a.core.Restore(0); err != nil {
		return fault.Wrap(err, fault.Internal, "run "+argv[0], "")
	}
	err := syscall.Exec(program, argv, env)
	return fault.Newf(fault.NotFound, "run "+argv[0], "check that it is a program this machine can run", "%s", plainCause(err))
}
