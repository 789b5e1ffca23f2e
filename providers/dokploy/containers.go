package dokploy

import (
	"context"
	"net/url"
	"regexp"
	"strconv"
	"strings"

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
		listed, err := d.list(ctx, rollout.Op(r), app)
		if err != nil {
			return nil, err
		}
		for _, l := range listed {
			for _, s := range missing {
				if l.Name == s.Container || numbered(l.Name, app+"-"+s.Name+"-") {
					shown = append(shown, l.container(s))
				}
			}
		}
		return shown, nil
	}
}

// numbered tells whether name is prefix and a number, as compose names containers.
func numbered(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

var endedWith = regexp.MustCompile(`^(?:Exited|Restarting) \((\d+)\)`)

func (l listing) container(s providers.Service) providers.Container {
	c := providers.Container{ID: l.ContainerID, Name: l.Name, Service: s.Name, State: l.State}
	for words, health := range map[string]string{"(healthy)": "healthy", "(unhealthy)": "unhealthy", "(health: starting)": "starting"} {
		if strings.HasSuffix(l.Status, words) {
			c.Health = health
		}
	}
	if m := endedWith.FindStringSubmatch(l.Status); m != nil {
		c.ExitCode, _ = strconv.Atoi(m[1]) // digits
	}
	return c
}
