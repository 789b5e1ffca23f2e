package dokploy

import (
	"cmp"
	"context"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/internal/rollout"
)

// listing is a container as Dokploy tells it, in the words of docker ps.
type listing struct{ ContainerID, Name, State, Status string }

// list returns the containers of a compose service.
func (d *Deployer) list(ctx context.Context, op, app string) ([]listing, error) {
	a, err := d.http.get(ctx, op, "docker.getContainersByAppNameMatch", url.Values{"appName": {app}, "appType": {"docker-compose"}})
	if err != nil {
		return nil, err
	}
	var all []listing
	return all, a.decode(op, &all)
}

// look returns how the release's containers are seen: by the engine, and for
// services that it does not show, by Dokploy.
func (d *Deployer) look(r providers.Release, app string) func(context.Context) ([]providers.Container, error) {
	query := providers.ContainerQuery{Project: r.Project, Environment: r.Environment, Component: r.Component, Bound: d.c.Bound}
	for _, s := range r.Services {
		query.Names = append(query.Names, s.Container)
	}
	return func(ctx context.Context) ([]providers.Container, error) {
		var shown []providers.Container
		if d.c.Engine != nil {
			var err error
			if shown, err = d.c.Engine.Containers(ctx, query); err != nil && d.c.Bound {
				return nil, err
			}
			// Without a binding this machine's engine need not be Dokploy's at all.
		}
		var missing []providers.Service
		for _, s := range r.Services {
			found := false
			for _, c := range shown {
				found = found || c.Service == s.Name || s.Container != "" && c.Name == s.Container
			}
			if !found {
				missing = append(missing, s)
			}
		}
		if len(missing) == 0 {
			return shown, nil
		}
		listed, err := d.listed(ctx, r, app, missing)
		return append(shown, listed...), err
	}
}

// listed returns the containers of services as Dokploy tells them.
func (d *Deployer) listed(ctx context.Context, r providers.Release, app string, services []providers.Service) ([]providers.Container, error) {
	all, err := d.list(ctx, rollout.Op(r), app)
	if err != nil {
		return nil, err
	}
	var out []providers.Container
	for _, l := range all {
		for _, s := range services {
			if l.Name == s.Container || numbered(l.Name, app+"-"+s.Name+"-") {
				out = append(out, l.container(s))
			}
		}
	}
	return out, nil
}

var _ providers.Watcher = (*Deployer)(nil)

// Watch returns the containers of r's services as Dokploy tells them.
func (d *Deployer) Watch(ctx context.Context, r providers.Release) ([]providers.Container, error) {
	id, err := d.find(ctx, r)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := d.one(ctx, rollout.Op(r), id)
	if err != nil {
		return nil, err
	}
	all, err := d.listed(ctx, r, c.app, r.Services)
	slices.SortFunc(all, func(a, b providers.Container) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

const (
	most   = 10_000      // lines that Dokploy gives at once
	glance = time.Second // between looks at what goes on
)

// Output asks for a container's lines, and with Follow again and again: Dokploy
// has no stream. Each line begins with its time, which tells those already seen.
func (d *Deployer) Output(ctx context.Context, r providers.Release, c providers.Container, o providers.LogOptions, w io.Writer) error {
	op := "logs of " + c.Name
	id, err := d.find(ctx, r)
	if err != nil {
		return err
	}
	tail, since := o.Tail, "all"
	if tail == 0 || tail > most {
		tail = most
	}
	var last time.Time
	for {
		asked := d.c.Now()
		a, err := d.http.get(ctx, op, "compose.readLogs", url.Values{"composeId": {id}, "containerId": {c.ID}, "tail": {strconv.Itoa(tail)}, "since": {since}})
		if o.Follow && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var text string
		if err := a.decode(op, &text); err != nil {
			return err
		}
		if strings.HasPrefix(text, "Error response from daemon: No such container") {
			return fault.New(fault.NotFound, op, "the container is gone", "run envctl status --env "+r.Environment)
		}
		for line := range strings.Lines(text) {
			said, rest, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339Nano, said)
			switch {
			case err != nil && since != "all":
				continue // shown before
			case err != nil:
				rest = line // docker's own words
			case !at.After(last) || at.Before(o.Since):
				continue
			default:
				last = at
			}
			if _, err := io.WriteString(w, rest); err != nil {
				return err
			}
		}
		if !o.Follow {
			return nil
		}
		if pauseFor(ctx, glance) != nil {
			return nil // that is how following ends
		}
		tail, since = most, strconv.Itoa(int(d.c.Now().Sub(asked).Seconds())+5)+"s"
	}
}

// numbered tells whether name is prefix and a number, as compose names containers.
func numbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

var endedWith = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:Exited|Restarting) \((\d+)\)`) })

func (l listing) container(s providers.Service) providers.Container {
	c := providers.Container{ID: l.ContainerID, Name: l.Name, Service: s.Name, State: l.State}
	for words, health := range map[string]string{"(healthy)": "healthy", "(unhealthy)": "unhealthy", "(health: starting)": "starting"} {
		if strings.HasSuffix(l.Status, words) {
			c.Health = health
		}
	}
	if m := endedWith().FindStringSubmatch(l.Status); m != nil {
		c.ExitCode, _ = strconv.Atoi(m[1]) // digits
	}
	return c
}
