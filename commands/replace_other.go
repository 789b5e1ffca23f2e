//go:build !unix

package commands

import (
	"errors"
	"os/exec"

	"envctl/internal/fault"
)

// replace runs the program and ends with its exit code.
func (a *app) replace(program string, argv, env []string) error {
	cmd := exec.Command(program, argv[1:]...) //nolint:gosec,noctx // running it is the command, and it outlives nothing
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, a.Stdin, a.Stdout, a.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return silentError{exit.ExitCode()}
	}
	if err != nil {
		return fault.Newf(fault.NotFound, "run "+argv[0], "check that it is a program this machine can run", "%s", plainCause(err))
	}
	return nil
}
