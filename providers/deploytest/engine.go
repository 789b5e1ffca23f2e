package deploytest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Engine is a container engine in memory, for deployers whose own one no test
// can have. Its containers behave as asked. It implements providers.Runtime.
type Engine struct {
	mu        sync.Mutex
	behaviour map[string]Behaviour
	running   map[string]*running
}

type running struct {
	id, name, service string
	env, labels       map[string]string
	behaviour         Behaviour
	created           time.Time
}

// NewEngine returns an engine without containers.
func NewEngine() *Engine {
	return &Engine{behaviour: map[string]Behaviour{}, running: map[string]*running{}}
}

// Behave says what a service's program does once it is started.
func (e *Engine) Behave(service string, b Behaviour) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.behaviour[service] = b
}

// Up makes a container what it should be. One that is already is left alone;
// else it is replaced, and started is true.
func (e *Engine) Up(name, service string, labels, env map[string]string) (started bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if have := e.running[name]; have != nil && maps.Equal(have.env, env) && maps.Equal(have.labels, labels) {
		return false
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id)
	e.running[name] = &running{
		id: hex.EncodeToString(id), name: name, service: service, env: maps.Clone(env), labels: maps.Clone(labels),
		behaviour: e.behaviour[service], created: time.Now(),
	}
	return true
}

// Remove takes a container away, as docker rm -f does.
func (e *Engine) Remove(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, name)
}

// All returns every container, by name.
func (e *Engine) All() []providers.Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []providers.Container
	for _, r := range e.running {
		all = append(all, r.container())
	}
	slices.SortFunc(all, func(a, b providers.Container) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// container is r as it is by now: state and health follow from its age.
func (r *running) container() providers.Container {
	c := providers.Container{
		ID: r.id, Name: r.name, Service: r.service, Component: r.labels[providers.LabelComponent], Labels: maps.Clone(r.labels),
		State: "running", Created: r.created, Started: r.created, PID: os.Getpid(), Env: map[string]secret.Value{},
	}
	for k, v := range r.env {
		c.Env[k] = secret.New(v)
	}
	age := time.Since(r.created)
	early := func(limit time.Duration, later string) string {
		if age < limit {
			return "starting"
		}
		return later
	}
	switch r.behaviour {
	case Healthy:
		c.Health = early(200*time.Millisecond, "healthy")
	case Starting:
		c.Health = "starting"
	case Unhealthy:
		c.Health = early(400*time.Millisecond, "unhealthy")
	case Crashing:
		if c.Restarts = int(age / (100 * time.Millisecond)); c.Restarts%3 != 0 {
			c.State, c.ExitCode = "restarting", 3
		}
	case Exiting:
		c.State, c.ExitCode = "exited", 4
	default:
	}
	return c
}

// Describe names the engine.
func (*Engine) Describe() string { return "an engine in memory" }

// Containers returns those that are evidence.
func (e *Engine) Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return slices.DeleteFunc(e.All(), func(c providers.Container) bool {
		labelled := c.Labels[providers.LabelProject] == q.Project && c.Labels[providers.LabelEnvironment] == q.Environment &&
			(q.Component == "" || c.Component == q.Component)
		return !labelled && (!q.Bound || !slices.Contains(q.Names, c.Name))
	}), nil
}

// Processes returns the one program of a container that runs.
func (*Engine) Processes(_ context.Context, c providers.Container) ([]providers.Process, error) {
	if c.State != "running" {
		return nil, nil
	}
	return []providers.Process{{PID: c.PID, Exe: "program", Started: c.Started, Env: c.Env}}, nil
}

// Logs says that there are none.
func (*Engine) Logs(context.Context, providers.Container, providers.LogOptions, io.Writer) error {
	return fault.New(fault.Unavailable, "read logs", "an engine in memory has none", "")
}
