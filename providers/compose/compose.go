// Package compose makes releases real with docker compose: values go to it by
// standard input and environment, never by argument or file.
package compose

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/docker"
	childproc "envctl/providers/internal/child"
)

// Engine is what this package asks of the engine it deploys to.
type Engine interface {
	Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error)
	// Clock returns the engine's own time, which its containers' times are compared with.
	Clock(ctx context.Context) (time.Time, error)
}

// Config says what is deployed where.
type Config struct {
	File string // the compose file, absolute
	// Host is the docker endpoint, as in docker.Config; "": docker.DefaultHost.
	// CertDir holds its TLS certificates. Engine must be at the same endpoint.
	Host, CertDir string
	Engine        Engine
	Docker        string // the docker program, "": the one on PATH
	// Env looks up the operator's environment; the child gets only the names in
	// childNames of it.
	Env func(string) string
}

// Deployer deploys the services of one compose file. It implements
// providers.Deployer.
//
// Each service of a release gets, over whatever the file says: labels that make
// its containers evidence, its container name (unless it is scaled or rolled), and as
// environment the release's values, ENV and the marker; these win over the
// file's own environment and env_file, which else stay as they are. The file's
// ${VARIABLES} see the same values and ENV, ENVCTL_ENVIRONMENT, ENV_SUFFIX
// ("-staging", "" for production and local), but no .env file except in local
// and ci: what lies beside the file on this machine is not another
// environment's. Names that docker, ssh or the system obey themselves
// (DOCKER_HOST, COMPOSE_…, LD_…, PATH, HTTP_PROXY …) reach the containers, not
// the file's ${VARIABLES}.
type Deployer struct{ c Config }

var _ providers.Deployer = (*Deployer)(nil)

// New opens nothing.
func New(c Config) (*Deployer, error) {
	if c.Host == "" {
		c.Host = docker.DefaultHost
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	if !filepath.IsAbs(c.File) || c.Engine == nil {
		return nil, fault.New(fault.Internal, "prepare compose", "want an absolute compose file and an engine", "")
	}
	return &Deployer{c}, nil
}

// Describe names the file and the engine, e.g. "docker compose
// /srv/app/compose.yaml on unix:///var/run/docker.sock". It opens nothing.
func (d *Deployer) Describe() string { return "docker compose " + d.c.File + " on " + d.c.Host }

func op(r providers.Release) string {
	return "deploy " + naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}.String()
}

// projectName keeps apart what lives on one engine: compose takes over all
// containers of its project's name.
func projectName(r providers.Release) string {
	name := r.Project + "-" + r.Component
	if !naming.IsProduction(r.Environment) {
		name += "-" + r.Environment
	}
	return name
}

// Deploy makes compose recreate what differs from the release, and returns when
// compose has started it. A service of several replicas, or one that asks for it,
// is rolled: see roll. A container that already is what r describes is left
// alone, so that repeating a deploy changes nothing. Errors: NotFound (the file,
// or a service that it does not have), Invalid (the file, or a value that no
// environment can carry), Conflict (a foreign container has the name),
// Unavailable, Denied, Interrupted, and No when compose or the engine refused;
// what is running then is in the message.
func (d *Deployer) Deploy(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	if err := check(r); err != nil {
		return providers.Deployment{}, err
	}
	if _, err := os.Stat(d.c.File); err != nil {
		kind := fault.Invalid
		if errors.Is(err, fs.ErrNotExist) {
			kind = fault.NotFound
		}
		return providers.Deployment{}, fault.Wrap(err, kind, op(r), "name the compose file in envctl.yaml: components: "+r.Component+": compose")
	}
	began, err := d.c.Engine.Clock(ctx)
	if err != nil {
		return providers.Deployment{}, err
	}
	file, err := d.read(ctx, r)
	if err != nil {
		return providers.Deployment{}, err
	}
	doc := override(r, file)
	rolls, err := d.rolls(ctx, r, file, doc)
	if err != nil {
		return providers.Deployment{}, err
	}
	if len(rolls) > 0 {
		err = d.roll(ctx, r, file, doc, rolls, began)
	} else {
		err = d.up(ctx, r, doc, names(r.Services))
	}
	if err != nil {
		return providers.Deployment{}, err
	}
	return providers.Deployment{ID: projectName(r) + "@" + r.Marker, Started: began}, nil
}

// check refuses what compose or the kernel would change or cut.
func check(r providers.Release) error {
	path := naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}
	if err := path.Check(); err != nil {
		return fault.Wrap(err, fault.Invalid, op(r), "run envctl check")
	}
	if len(r.Services) == 0 {
		return fault.New(fault.Invalid, op(r), "no service is named", "list them in envctl.yaml: components: "+r.Component+": services")
	}
	for _, s := range r.Services {
		if err := naming.CheckSegment("service", s.Name); err != nil && !legalService(s.Name) {
			return fault.Wrap(err, fault.Invalid, op(r), "run envctl check")
		}
	}
	if r.Marker == "" {
		return fault.New(fault.Internal, op(r), "the release has no marker", "")
	}
	return checkValues(r)
}

// refused says why compose did not do it, and what is running now.
func (d *Deployer) refused(ctx context.Context, r providers.Release, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	if f.missing {
		return fault.New(fault.Unavailable, op(r), f.text, "install docker with its compose plugin (docker compose version), or run envctl doctor")
	}
	// The engine itself may be what failed; ctx may be what ended.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	now, engineErr := d.survey(after, r)
	hint := "run envctl status --env " + r.Environment + ", then envctl deploy " + r.Component + " --env " + r.Environment
	state := ""
	if engineErr == nil {
		state = "; " + now.String()
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.Newf(fault.Interrupted, op(r), hint, "stopped while compose was at work%s", state)
	case ctx.Err() != nil:
		return fault.Newf(fault.Unavailable, op(r), hint, "compose was not done in time%s", state)
	case engineErr != nil:
		return engineErr
	}
	kind := fault.No
	if strings.Contains(f.text, "is already in use by container") { // nothing else tells this refusal
		kind, hint = fault.Conflict, "that container is not this deployment's: remove or rename it (docker rm NAME), then run envctl deploy again"
	}
	return fault.Newf(kind, op(r), hint, "compose: %s%s", cmp.Or(f.text, "it ended without a word"), state)
}

// up lets compose start services, and recreate those that differ from what they
// should be.
func (d *Deployer) up(ctx context.Context, r providers.Release, doc []byte, services []string, flags ...string) error {
	args := append([]string{"up", "--detach", "--remove-orphans=false", "--quiet-pull"}, flags...)
	if _, err := d.run(ctx, r, []string{"-f", d.c.File, "-f", "-"}, append(args, services...), doc); err != nil {
		return d.refused(ctx, r, err)
	}
	return nil
}

func names(services []providers.Service) []string {
	out := make([]string, 0, len(services))
	for _, s := range services {
		out = append(out, s.Name)
	}
	return out
}

// run runs docker compose with a document on its standard input.
func (d *Deployer) run(ctx context.Context, r providers.Release, files, args []string, stdin []byte) ([]byte, error) {
	all := []string{"compose", "--ansi", "never", "--progress", "quiet", "-p", projectName(r), "--project-directory", filepath.Dir(d.c.File)}
	if !naming.IsLocal(r.Environment) {
		all = append(all, "--env-file", os.DevNull)
	}
	return d.docker(ctx, r, append(append(all, files...), args...), stdin)
}

// docker runs the docker program.
func (d *Deployer) docker(ctx context.Context, r providers.Release, all []string, stdin []byte) ([]byte, error) {
	program := cmp.Or(d.c.Docker, "docker")
	if !filepath.IsAbs(program) {
		found, err := docker.LookPath(program, d.c.Env("PATH"))
		if err != nil {
			return nil, &failure{text: "the docker program is not on PATH", missing: true}
		}
		program = found
	}
	cmd, out, said := child(ctx, program, all, d.environment(r), bytes.NewReader(stdin))
	err := childproc.Run(cmd, r.Started)
	switch {
	case childproc.Unnoted(err) != nil:
		return nil, childproc.Unnoted(err)
	case err == nil && out.over:
		return nil, &failure{text: "its answer is too long"}
	case err == nil:
		return out.buf.Bytes(), nil
	case strings.Contains(said.String(), "unknown shorthand flag: 'p'"), strings.Contains(said.String(), "unknown flag: --ansi"),
		strings.Contains(said.String(), "is not a docker command"): // docker has no better way to say so
		return nil, &failure{text: "docker has no compose plugin", missing: true}
	case cmd.ProcessState == nil:
		return nil, &failure{text: fmt.Sprintf("docker cannot be started: %v", err), missing: true}
	}
	return nil, &failure{text: redact(said.lines(), r)}
}

// failure is an end of compose that was not a success; its text is redacted.
type failure struct {
	text    string
	missing bool // there is no compose to run
}

func (f *failure) Error() string { return f.text }
