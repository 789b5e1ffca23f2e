//go:build !unix

package child

import (
	"os/exec"
	"syscall"
)

// Session does nothing here: the child is killed when its context ends.
func Session(*exec.Cmd, syscall.Signal) {}

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
