//go:build unix

package child

import (
	"os/exec"
	"syscall"
)

// Session puts the child into a session of its own: Ctrl-C is envctl's to handle,
// and no program below it can ask a question on the terminal. When its context
// ends, all of the session gets the signal.
func Session(cmd *exec.Cmd, end syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, end) }
}

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
