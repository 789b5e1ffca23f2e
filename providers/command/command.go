// Package command makes releases real with the project's own script, which is
// run only where the operator trusts it and gets values by standard input alone.
//
// # The script's contract
//
// The command of envctl.yaml is split at blanks, without a shell; its first word
// is a path below the project's folder where it has a slash, else a program on
// PATH. It runs in the project's folder with the operator's environment, less
// envctl's own credentials and settings, and with
//
//	ENVCTL_PROJECT, ENVCTL_ENVIRONMENT, ENVCTL_COMPONENT
//	ENVCTL_RELEASE   the marker, which must reach the containers
//
// On standard input it finds one JSON document; none at all means that envctl died
// before its journal knew of the script, which should then do nothing:
//
//	{"schema": "envctl.release/v1", "project": "ledger", "environment": "staging",
//	 "component": "app", "release": "3f2a…",
//	 "services": [{"name": "web", "container": "ledger-web-staging"}],
//	 "values": {"DATABASE_URL": "…"}}
//
// It brings the values, ENV (the environment's name) and ENVCTL_RELEASE to the
// services' containers, labels these envctl.project, envctl.environment,
// envctl.component, envctl.service and envctl.release where it can, and leaves a
// container alone that already is what it should be. It ends with 0 when the new
// containers are started; its last line on standard output is then
//
//	{"deployment": "what identifies it"}
//
// Any other end is a failure. Its last line on standard output may say which:
//
//	{"error": "not-found", "message": "there is no service wbe"}
//
// with one of conflict, denied, invalid, no, not-found, refused, unavailable;
// without it the last lines on standard error are shown. Values are taken out of
// everything that is shown. It is asked to end with SIGTERM, and killed a second
// later.
package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/docker"
	childproc "envctl/providers/internal/child"
	"envctl/providers/internal/rollout"
)

// Engine is what this package asks of the engine that the services run on.
type Engine interface {
	Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error)
}

// Config says what is run.
type Config struct {
	Command string // as envctl.yaml has it
	Dir     string // the project's folder, absolute
	// Trusted: the operator trusts the project file as it is now.
	Trusted bool
	Environ []string // the operator's environment, NAME=value
	// Engine shows the containers' health; Bound: the operator bound it to the
	// environment. Without either the script's word is all that Wait has, since
	// the script may deploy to where no engine is seen.
	Engine  Engine
	Bound   bool
	Timeout time.Duration // of the script; 0: 10 min
	Now     func() time.Time
}

// Deployer runs one script. It implements providers.Deployer.
type Deployer struct {
	c    Config
	argv []string
}

var _ providers.Deployer = (*Deployer)(nil)

const trustHint = "read the command in envctl.yaml, then run envctl trust"

// New runs nothing. Kinds: Refused (not trusted), Invalid (not a command).
func New(c Config) (*Deployer, error) {
	op := "run the project's deploy command"
	if !c.Trusted {
		return nil, fault.New(fault.Refused, op, "the project file is not trusted as it is now, so its commands are not run", trustHint)
	}
	if !filepath.IsAbs(c.Dir) || c.Now == nil {
		return nil, fault.New(fault.Internal, op, "want an absolute folder and a clock", "")
	}
	argv, err := split(c.Command, op, "deploy: {kind: command, command: ./deploy.sh}")
	c.Timeout = cmp.Or(c.Timeout, 10*time.Minute)
	return &Deployer{c: c, argv: argv}, err
}

// split takes a command apart at blanks: no shell reads it.
func split(command, op, better string) ([]string, error) {
	argv := strings.Fields(command)
	if len(argv) == 0 || strings.ContainsAny(command, "\"'`$&|;<>(){}*?~\\") || strings.ContainsFunc(command, unicode.IsControl) {
		return nil, fault.New(fault.Invalid, op, "the command is a program and its arguments: no shell reads its quotes, variables or pipes",
			"put them into a script and name that in envctl.yaml: "+better)
	}
	return argv, nil
}

// Describe names the command, e.g. "the command ./deploy.sh". It runs nothing.
func (d *Deployer) Describe() string { return "the command " + strings.Join(d.argv, " ") }

// document is what the script reads.
type document struct {
	Schema      string            `json:"schema"`
	Project     string            `json:"project"`
	Environment string            `json:"environment"`
	Component   string            `json:"component"`
	Release     string            `json:"release"`
	Services    []service         `json:"services"`
	Values      map[string]string `json:"values"`
}

type service struct {
	Name      string `json:"name"`
	Container string `json:"container"`
}

func input(r providers.Release) ([]byte, error) {
	doc := document{
		Schema: "envctl.release/v1", Project: r.Project, Environment: r.Environment, Component: r.Component, Release: r.Marker,
		Services: []service{}, Values: make(map[string]string, len(r.Values)),
	}
	for _, s := range r.Services {
		doc.Services = append(doc.Services, service{s.Name, s.Container})
	}
	for name, v := range r.Values {
		doc.Values[name] = v.Reveal()
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // a script without a JSON reader sees the text
	err := e.Encode(doc)
	return b.Bytes(), err
}

// Deploy runs the script to its end. Errors: Invalid (a value that no
// environment can carry; an answer outside the contract), NotFound (no such
// program), Unavailable (not done in time), Interrupted, the kind that the
// script names, and No for any other failure of it.
func (d *Deployer) Deploy(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	op := rollout.Op(r)
	if err := rollout.Check(r); err != nil {
		return providers.Deployment{}, err
	}
	program, err := find(d.argv[0], d.c.Dir, d.c.Environ)
	if err != nil {
		return providers.Deployment{}, fault.Newf(fault.NotFound, op, "correct deploy: {command} in envctl.yaml, then run envctl trust", "there is no program %s that can be run", d.argv[0])
	}
	doc, err := input(r)
	if err != nil {
		return providers.Deployment{}, fault.New(fault.Internal, op, "the release cannot be written as JSON", "")
	}
	limited, cancel := context.WithTimeout(ctx, d.c.Timeout)
	defer cancel()
	began := d.c.Now()
	cmd, out, said := child(limited, program, d.argv[1:], doc)
	cmd.Dir, cmd.Env = d.c.Dir, d.environment(r)
	runErr := childproc.Run(cmd, r.Started)
	switch {
	case childproc.Unnoted(runErr) != nil:
		return providers.Deployment{}, childproc.Unnoted(runErr)
	case limited.Err() != nil && runErr != nil:
		hint := "run envctl status --env " + r.Environment + ", then envctl deploy " + r.Component + " --env " + r.Environment
		return providers.Deployment{}, rollout.Ended(limited, r, d.argv[0]+" was stopped", hint)
	case cmd.ProcessState == nil:
		return providers.Deployment{}, fault.Newf(fault.NotFound, op, "make it executable, with a first line such as #!/bin/sh", "%s cannot be started", d.argv[0])
	case runErr != nil && !errors.Is(runErr, exec.ErrWaitDelay):
		return providers.Deployment{}, d.failed(r, out, said, runErr)
	}
	id, err := answer(op, r, out)
	return providers.Deployment{ID: id, Started: began}, err
}

// find returns what is run: never in the working directory by a bare name.
func find(name, dir string, environ []string) (string, error) {
	switch {
	case filepath.IsAbs(name):
		return exec.LookPath(name)
	case strings.Contains(name, "/"):
		return exec.LookPath(filepath.Join(dir, filepath.FromSlash(name)))
	}
	for _, line := range environ {
		if path, ok := strings.CutPrefix(line, "PATH="); ok {
			return docker.LookPath(name, path)
		}
	}
	return "", exec.ErrNotFound
}

// environment is the script's: the operator's, less what is envctl's own.
func (d *Deployer) environment(r providers.Release) []string {
	return append(scrubbed(d.c.Environ), "ENVCTL_PROJECT="+r.Project, "ENVCTL_ENVIRONMENT="+r.Environment, "ENVCTL_COMPONENT="+r.Component, providers.MarkerVariable+"="+r.Marker)
}

func scrubbed(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return own(name)
	})
}

// own tells whether a variable is one of envctl's settings or credentials.
func own(name string) bool {
	for _, prefix := range [...]string{"BAO_", "DOKPLOY_", "OP_", "VAULT_"} {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		for _, part := range [...]string{"KEY", "ROLE_ID", "SECRET", "SESSION", "TOKEN"} {
			if strings.Contains(name, part) {
				return true
			}
		}
	}
	return strings.HasPrefix(name, "ENVCTL_")
}

// lastLine returns the last line of the script's standard output that is one.
func lastLine(out *bounded) string {
	lines := strings.Split(strings.TrimSpace(out.buf.String()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// answer reads the line that a script ends well with.
func answer(op string, r providers.Release, out *bounded) (string, error) {
	const hint = `let the script end with a line such as {"deployment": "42"} on standard output`
	var said struct{ Deployment string }
	switch err := json.Unmarshal([]byte(lastLine(out)), &said); {
	case out.over:
		return "", fault.Newf(fault.Invalid, op, "let the script write its progress to standard error", "the script's standard output is longer than %d bytes", maxOutput)
	case err != nil || said.Deployment == "":
		return "", fault.New(fault.Invalid, op, "the script ended well but its last line does not say which deployment it made", hint)
	case len(said.Deployment) > 200 || strings.ContainsFunc(said.Deployment, func(c rune) bool { return c < ' ' || c > '~' }):
		return "", fault.New(fault.Invalid, op, "the deployment that the script names is not a short printable text", hint)
	case rollout.Redact(said.Deployment, r) != said.Deployment:
		return "", fault.New(fault.Invalid, op, "the deployment that the script names shows a part of a value; it would be kept in the journal", hint)
	}
	return said.Deployment, nil
}

// kinds are those that a script may name.
var kinds = []fault.Kind{ //nolint:gochecknoglobals // a constant table
	fault.Conflict, fault.Denied, fault.Invalid, fault.No, fault.NotFound, fault.Refused, fault.Unavailable,
}

// failed says why a script failed, in its own words without values.
func (d *Deployer) failed(r providers.Release, out *bounded, said *tail, err error) error {
	var line struct{ Error, Message string }
	kind, words := fault.No, ""
	if json.Unmarshal([]byte(lastLine(out)), &line) == nil && line.Error != "" {
		words = line.Message
		if i := slices.IndexFunc(kinds, func(k fault.Kind) bool { return k.String() == line.Error }); i >= 0 {
			kind = kinds[i]
		}
	}
	words = cmp.Or(words, rollout.LastLines(said.buf.String(), 4), "without a word")
	return fault.Newf(kind, rollout.Op(r), "correct what "+d.argv[0]+" complains of, then run envctl deploy "+r.Component+" --env "+r.Environment,
		"%s %s: %s", d.argv[0], ended(err), rollout.Redact(words, r))
}

// ended says how a program ended: "exited with 3", "signal: killed".
func ended(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return fmt.Sprintf("exited with %d", exit.ExitCode())
	}
	return err.Error()
}

// Wait waits for the containers where they are seen: the script has ended well
// already. Errors: No (a container is not up), Unavailable, Interrupted.
func (d *Deployer) Wait(ctx context.Context, r providers.Release, dep providers.Deployment) error {
	if err := rollout.Check(r); err != nil || d.c.Engine == nil {
		return err
	}
	query := providers.ContainerQuery{Project: r.Project, Environment: r.Environment, Component: r.Component, Bound: d.c.Bound}
	for _, s := range r.Services {
		query.Names = append(query.Names, s.Container)
	}
	seen := false
	look := func(ctx context.Context) ([]providers.Container, error) {
		all, err := d.c.Engine.Containers(ctx, query)
		if err != nil && ctx.Err() == nil && !d.c.Bound && !seen {
			return nil, nil // this machine's engine need not be the script's, nor be there at all
		}
		seen = seen || len(all) > 0
		return all, err
	}
	return rollout.Watch{Release: r, Since: dep.Started, Interval: 75 * time.Millisecond, Look: look, Elsewhere: !d.c.Bound}.Wait(ctx)
}
