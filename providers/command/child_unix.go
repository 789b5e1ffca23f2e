//go:build unix

package command

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the child into a session of its own: Ctrl-C is envctl's to
// handle, and no program below it can ask a question on the terminal.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// runGroup runs the child and, where it failed, leaves none of its own children
// behind.
func runGroup(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly there is none left
	}
	return err
}
