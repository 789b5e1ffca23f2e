//go:build unix

package command_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/command"
)

func job(program string) providers.Job {
	return providers.Job{
		Op: "re-encrypt", Command: program, Project: "ledger", Environment: "staging", Component: "app",
		Values: map[string]secret.Value{"LLM_KEYS": secret.New(canary), "ENVCTL_OLD_KEY": secret.New("old-" + canary), "SHARED": secret.New("ours")},
	}
}

func runner(t *testing.T, script string, change func(*command.Config)) (*command.Runner, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	c := command.Config{Dir: dir, Trusted: true, Environ: []string{"PATH=" + os.Getenv("PATH"), "VAULT_TOKEN=credential", "ENVCTL_ENV=x", "SHARED=theirs"}}
	if change != nil {
		change(&c)
	}
	return command.NewRunner(c), dir
}

func TestJob(t *testing.T) {
	t.Parallel()
	r, dir := runner(t, "env >env; pwd >pwd; cat >stdin; ps -o sid= -p $$ >sid; echo \"$LLM_KEYS\"; [ \"$1\" = now ]", nil)
	if err := r.Run(t.Context(), job("./run.sh now")); err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LLM_KEYS=" + canary, "ENVCTL_OLD_KEY=old-" + canary, "ENVCTL_ENVIRONMENT=staging", "ENVCTL_PROJECT=ledger", "ENVCTL_COMPONENT=app", "SHARED=ours"} {
		if !strings.Contains("\n"+string(env), "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	for _, not := range []string{"credential", "ENVCTL_ENV=", "theirs"} {
		if strings.Contains(string(env), not) {
			t.Errorf("it is given %s", not)
		}
	}
	if in, err := os.ReadFile(filepath.Join(dir, "stdin")); err != nil || len(in) != 0 {
		t.Error(in, err)
	}
}

func TestJobsThatFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script, program, words string
		change                 func(*command.Config)
		kind                   fault.Kind
	}{
		"exit code":       {"echo no luck >&2; exit 3", "./run.sh", "./run.sh exited with 3: no luck", nil, fault.No},
		"without a word":  {"exit 1", "./run.sh", "without a word", nil, fault.No},
		"prints the key":  {"echo \"key $LLM_KEYS is bad\" >&2; echo ${LLM_KEYS#can} >&2; env; exit 1", "./run.sh", "key [secret] is bad", nil, fault.No},
		"too slow":        {"sleep 60", "./run.sh", "not done in time", func(c *command.Config) { c.Timeout = 200 * time.Millisecond }, fault.Unavailable},
		"not there":       {"", "./other.sh", "no program ./other.sh", nil, fault.NotFound},
		"no such program": {"", "no-such-program-at-all", "no program", nil, fault.NotFound},
		"a shell's text":  {"", "./run.sh && rm x", "no shell reads", nil, fault.Invalid},
		"not trusted":     {"touch ran", "./run.sh", "not trusted", func(c *command.Config) { c.Trusted = false }, fault.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, dir := runner(t, c.script, c.change)
			j := job(c.program)
			check := r.Check(j)
			err := r.Run(t.Context(), j)
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), canary[4:]) {
				t.Error(err)
			}
			if before := c.kind == fault.NotFound || c.kind == fault.Invalid || c.kind == fault.Refused; before != (check != nil) {
				t.Error("checked:", check)
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Error("it ran")
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, dir := runner(t, "touch up; sleep 60", nil)
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "up")); err == nil {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if err := r.Run(ctx, job("./run.sh")); !fault.Is(err, fault.Interrupted) {
		t.Error(err)
	}
}
