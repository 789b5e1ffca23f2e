package command

import (
	"cmp"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
	childproc "envctl/providers/internal/child"
	"envctl/providers/internal/rollout"
)

const jobTimeout = time.Hour

// A Runner runs jobs: other programs of the project than its deploy script, in
// the same way. Their contract: the command is split at blanks, without a shell,
// and runs in the project's folder, in a session of its own, with the operator's
// environment less envctl's own credentials and settings, and with the job's
// variables and ENVCTL_PROJECT, ENVCTL_ENVIRONMENT and ENVCTL_COMPONENT. It reads
// nothing on standard input. What it prints is shown only when it fails: the last
// lines of standard error, without values. Exit code 0 is success. It is asked to
// end with SIGTERM, and killed a second later.
type Runner struct{ c Config }

// NewRunner runs nothing. Of the configuration Dir, Trusted, Environ and Timeout
// (0: an hour) count.
func NewRunner(c Config) *Runner {
	c.Timeout = cmp.Or(c.Timeout, jobTimeout)
	return &Runner{c: c}
}

// Check refuses a job that could not be started, and starts nothing. Kinds:
// Refused (not trusted), Invalid (not a command), NotFound (no such program).
func (r *Runner) Check(j providers.Job) error {
	_, _, err := r.find(j)
	return err
}

func (r *Runner) find(j providers.Job) (program string, argv []string, err error) {
	if !r.c.Trusted {
		return "", nil, fault.New(fault.Refused, j.Op, "the project file is not trusted as it is now, so its commands are not run", trustHint)
	}
	if argv, err = split(j.Command, j.Op, "a path such as ./script.sh"); err != nil {
		return "", nil, err
	}
	if program, err = find(argv[0], r.c.Dir, r.c.Environ); err != nil {
		return "", nil, fault.Newf(fault.NotFound, j.Op, "correct the command in envctl.yaml, then run envctl trust", "there is no program %s that can be run", argv[0])
	}
	return program, argv, nil
}

// Run runs the job to its end. Kinds: those of Check, No (it ended with another
// code than 0), Unavailable (not done in time), Interrupted.
func (r *Runner) Run(ctx context.Context, j providers.Job) error {
	program, argv, err := r.find(j)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, r.c.Timeout)
	defer cancel()
	cmd, _, said := child(limited, program, argv[1:], nil)
	cmd.Dir, cmd.Env = r.c.Dir, r.environment(j)
	runErr := childproc.Run(cmd, j.Started)
	switch {
	case childproc.Unnoted(runErr) != nil:
		return childproc.Unnoted(runErr)
	case runErr == nil || errors.Is(runErr, exec.ErrWaitDelay):
		return nil
	case limited.Err() != nil && errors.Is(limited.Err(), context.DeadlineExceeded):
		return fault.Newf(fault.Unavailable, j.Op, "see why "+argv[0]+" takes so long", "%s was not done in time and was stopped", argv[0])
	case limited.Err() != nil:
		return fault.Newf(fault.Interrupted, j.Op, "", "%s was stopped", argv[0])
	case cmd.ProcessState == nil:
		return fault.Newf(fault.NotFound, j.Op, "make it executable, with a first line such as #!/bin/sh", "%s cannot be started", argv[0])
	}
	redactor := providers.Release{Project: j.Project, Environment: j.Environment, Component: j.Component, Values: j.Values}
	words := rollout.Redact(cmp.Or(rollout.LastLines(said.buf.String(), 4), "without a word"), redactor)
	return fault.Newf(fault.No, j.Op, "correct what "+argv[0]+" complains of", "%s %s: %s", argv[0], ended(runErr), words)
}

// environment is the program's: the operator's less what is envctl's own, under
// the job's variables.
func (r *Runner) environment(j providers.Job) []string {
	env := slices.DeleteFunc(scrubbed(r.c.Environ), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		_, given := j.Values[name]
		return given
	})
	for name, v := range j.Values {
		env = append(env, name+"="+v.Reveal())
	}
	return append(env, "ENVCTL_PROJECT="+j.Project, "ENVCTL_ENVIRONMENT="+j.Environment, "ENVCTL_COMPONENT="+j.Component)
}
