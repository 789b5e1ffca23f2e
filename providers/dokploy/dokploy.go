// Package dokploy makes releases real through a Dokploy server: it changes
// their lines of a service's environment text, keeps every other byte, and
// follows the deployment to its end.
//
// What envctl calls a project, an environment and a component, Dokploy calls a
// project, an environment and a compose service. They are found by name: the
// project's and the environment's are the same in both; the compose service is
// named as envctl names containers, <project>-<component>-<environment>, or
// <project>-<component>. Build makes them, Raze takes them away; a deployment
// never does.
//
// Variables reach a container only through what the service's compose file
// says. This makes them arrive, and makes the containers evidence; Build writes it
// into the component's own compose file:
//
//	services:
//	  web:
//	    container_name: ledger-web-staging
//	    env_file: [.env]
//	    labels:
//	      envctl.project: ledger
//	      envctl.environment: ${ENV}
//	      envctl.component: app
//	      envctl.service: web
//	      envctl.release: ${ENVCTL_RELEASE}
package dokploy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/dotenv"
	"envctl/providers/internal/rollout"
)

// Engine is what this package asks of the engine that the services run on.
type Engine interface {
	Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error)
}

// Config says which server, and as whom.
type Config struct {
	URL string // https://host/api, or http:// to a loopback address
	// Key is the API key, or an op:// reference that Resolve resolves when the
	// key is first needed.
	Key     secret.Value
	Resolve func(ctx context.Context, ref string) (secret.Value, error)
	// StateDir is the operator's state folder; locks live below it.
	StateDir string
	Rules    naming.Rules // how the project makes names
	// File is the component's compose file, which Build makes the service's of; ""
	// where it has none.
	File string
	// Engine shows the containers' health; Bound: the operator bound it to the
	// environment. Services that it does not show (or nil) are judged by what
	// Dokploy itself lists.
	Engine  Engine
	Bound   bool
	Proxy   func(*url.URL) (*url.URL, error) // nil: none
	Timeout time.Duration                    // of one call; 0: 10 s
	Outage  time.Duration                    // how long the server may be away while a deployment is followed; 0: 1 min
	Now     func() time.Time
	Rand    io.Reader // nil: crypto/rand
}

// Deployer deploys to one Dokploy server. It implements providers.Deployer.
//
// Beside the release's values a service gets ENV, the marker, and
// ManagedVariable: the names that envctl wrote, so that one that is no longer
// released can be taken away without touching a line that is not envctl's.
//
// Dokploy keeps no version of the text and takes every write. What is left of
// that race, after the lock and the reading before and after: a write by someone
// else that arrives between the last reading and ours, a few milliseconds, is
// overwritten unseen. Any other is kept, or ends in Conflict.
type Deployer struct {
	c    Config
	http *client
}

var _ providers.Deployer = (*Deployer)(nil)

// New opens nothing. Kinds: Usage (no address, or not one of an API), Refused
// (plain http to another host).
func New(c Config) (*Deployer, error) {
	h, err := newClient(c)
	if err != nil {
		return nil, err
	}
	if c.StateDir == "" || c.Now == nil {
		return nil, fault.New(fault.Internal, "prepare dokploy", "want a state folder and a clock", "")
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Outage == 0 {
		c.Outage = time.Minute
	}
	return &Deployer{c: c, http: h}, nil
}

// Describe names the server, e.g. "dokploy https://dokploy.example.com". It
// opens nothing.
func (d *Deployer) Describe() string {
	return "dokploy " + strings.TrimSuffix(d.http.base.String(), "/api")
}

// Projects returns the names of the projects that the key sees, sorted: the
// proof that the server answers and the key is good.
func (d *Deployer) Projects(ctx context.Context) ([]string, error) {
	all, err := d.projects(ctx, "list dokploy's projects")
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, p := range all {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Deploy brings r's values into the service's environment text and queues a
// deployment, which Wait follows. Errors: NotFound (project, environment,
// service of the compose file), Invalid (a value that no environment can carry),
// Refused (a value that Dokploy would change, by its variable's name; an
// ambiguous name), Conflict (someone else wrote the text), Denied (the key, or
// its rate limit), Unavailable, Interrupted, Unknown (queued or not could not be
// settled; the text then holds the release).
func (d *Deployer) Deploy(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	if err := check(r); err != nil {
		return providers.Deployment{}, err
	}
	id, err := d.find(ctx, r)
	if err != nil {
		return providers.Deployment{}, err
	}
	c, err := d.one(ctx, rollout.Op(r), id)
	if err != nil {
		return providers.Deployment{}, err
	}
	if err := d.checkService(ctx, r, c); err != nil {
		return providers.Deployment{}, err
	}
	if err := d.write(ctx, r, id); err != nil {
		return providers.Deployment{}, err
	}
	return d.begin(ctx, r, id)
}

// begin queues a deployment of the text as it is.
func (d *Deployer) begin(ctx context.Context, r providers.Release, id string) (providers.Deployment, error) {
	nonce := make([]byte, 6)
	if _, err := io.ReadFull(d.c.Rand, nonce); err != nil {
		return providers.Deployment{}, fault.Wrap(err, fault.Internal, rollout.Op(r), "")
	}
	dep := providers.Deployment{ID: id + "/" + hex.EncodeToString(nonce)}
	var err error
	dep.Started, err = d.queue(ctx, r, id, title(r, dep))
	return dep, err
}

// title tells this deployment from every other; it is all that correlates the
// queue's job with the record that follows it.
func title(r providers.Release, dep providers.Deployment) string {
	_, nonce, _ := strings.Cut(dep.ID, "/")
	return "envctl release " + r.Marker + " " + nonce
}

// queue asks for the deployment once; the answer has no id. Where it is not
// known whether the request arrived, the title is looked for.
func (d *Deployer) queue(ctx context.Context, r providers.Release, id, title string) (time.Time, error) {
	op := rollout.Op(r)
	a, unsure, err := d.http.post(ctx, op, "compose.deploy", map[string]string{
		"composeId": id, "title": title, "description": "by envctl: " + r.Project + "/" + r.Environment + "/" + r.Component,
	})
	if err == nil {
		var said struct{ Success bool }
		if a.decode(op, &said) != nil || !said.Success {
			unsure, err = true, fault.New(fault.Unavailable, op, "Dokploy did not say that the deployment is queued", "")
		}
	}
	if err == nil && !a.date.IsZero() {
		return a.date, nil
	}
	if err == nil {
		return d.c.Now(), nil
	}
	if !unsure {
		return time.Time{}, err
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for look := 0; look < 4 && pauseFor(after, time.Duration(look)*pause*2) == nil; look++ {
		queued, row, lookErr := d.state(after, op, id, title)
		if lookErr == nil && (queued || row != nil) {
			if ctx.Err() != nil {
				return d.c.Now(), fault.Newf(fault.Interrupted, op, "run envctl status --env "+r.Environment, "stopped; Dokploy has queued the deployment all the same")
			}
			return d.c.Now(), nil
		}
	}
	if ctx.Err() != nil {
		return time.Time{}, err
	}
	return time.Time{}, fault.Newf(fault.Unknown, op, "look for it among the service's deployments in Dokploy, then run envctl deploy "+r.Component+" --env "+r.Environment,
		"whether Dokploy queued the deployment is not known (%v)", err)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// check refuses what would not arrive as it is, before anything is asked.
func check(r providers.Release) error {
	if err := rollout.Check(r); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Values)) {
		if strings.HasPrefix(name, "COMPOSE_") || strings.HasPrefix(name, "DOCKER_") || name == "APP_NAME" {
			return fault.Newf(fault.Refused, rollout.Op(r), "rename the variable", "%s: Dokploy and docker compose set or obey this name themselves", name)
		}
		if name == ManagedVariable || name == KeptVariable || name == providers.MarkerVariable {
			return fault.Newf(fault.Refused, rollout.Op(r), "rename the variable", "%s: envctl keeps its own notes there", name)
		}
		if _, err := dotenv.Quote(r.Values[name], dotenv.Dokploy); err != nil {
			return fault.Wrap(err, fault.Refused, rollout.Op(r)+": "+name, fault.HintOf(err))
		}
		// The writer has to find it again, too.
		if _, err := dotenv.Set(nil, name, r.Values[name], dotenv.Dokploy); err != nil {
			return fault.Wrap(err, fault.Refused, rollout.Op(r), fault.HintOf(err))
		}
	}
	return nil
}

var _ providers.Told = (*Deployer)(nil)

// Env returns the variables of the component's environment text as Dokploy's
// reader takes them; of r only Project, Environment and Component count.
func (d *Deployer) Env(ctx context.Context, r providers.Release) (map[string]secret.Value, error) {
	id, err := d.find(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := d.one(ctx, rollout.Op(r), id)
	if err != nil {
		return nil, err
	}
	return readText(rollout.Op(r), c.text)
}
