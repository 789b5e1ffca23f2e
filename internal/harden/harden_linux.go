package harden

import (
	"golang.org/x/sys/unix"

	"envctl/internal/fault"
)

// Core is the limit on core files as it was before Process.
type Core struct {
	soft  uint64
	known bool
}

// Process sets this process's soft limit on core files to 0 and makes it not
// dumpable: no core file, no tracer of the same user, no reader of its
// /proc/<pid>/mem or environ but root. It keeps access to other processes'
// files in /proc and to its own /proc/self/fd and exe. Children inherit the
// limit (see Restore) and become dumpable again when they execute a program.
// Off Linux it does nothing. An error is of kind Internal: read no secret then.
func Process() (Core, error) {
	const op = "harden the process"
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &was); err != nil {
		return Core{}, fault.Wrap(err, fault.Internal, op, "envctl doctor")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		return Core{}, fault.Wrap(err, fault.Internal, op, "envctl doctor")
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return Core{}, fault.Wrap(err, fault.Internal, op, "envctl doctor")
	}
	return Core{was.Cur, true}, nil
}

// Restore gives process pid, a child or with 0 this process about to execute
// another program, the soft limit that Process took. The zero Core does nothing.
func (c Core) Restore(pid int) error {
	if !c.known {
		return nil
	}
	const op = "restore the limit on core files"
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &now); err != nil {
		return fault.Wrap(err, fault.Internal, op, "envctl doctor")
	}
	now.Cur = min(c.soft, now.Max)
	return fault.Wrap(unix.Prlimit(pid, unix.RLIMIT_CORE, &now, nil), fault.Internal, op, "envctl doctor")
}
