// Command launch runs one program and writes what that cost to descriptor 3.
// It is small because a child's peak memory, as the kernel counts it, is never
// below that of the process that started it.
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("launch PROGRAM ARG…")
	}
	syscall.CloseOnExec(3)
	began := time.Now()
	pid, err := syscall.ForkExec(os.Args[1], os.Args[1:], &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fail(err)
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		if _, err = syscall.Wait4(pid, &status, 0, &usage); err != syscall.EINTR {
			break
		}
	}
	wall := time.Since(began)
	if err != nil {
		fail(err)
	}
	if !status.Exited() || status.ExitStatus() != 0 {
		os.Exit(max(1, status.ExitStatus()))
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if _, err := fmt.Fprintln(os.NewFile(3, "report"), wall.Nanoseconds(), cpu.Nanoseconds(), usage.Maxrss); err != nil {
		fail(err)
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, "launch:", why)
	os.Exit(125)
}
