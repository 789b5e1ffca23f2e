package compose

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

var _ providers.Remover = (*Deployer)(nil)

// composeLabel is what compose writes on all that it makes for a project.
const composeLabel = "com.docker.compose.project"

// patience is how many seconds a container has to end before it is killed.
const patience = "10"

// Remove asks for the labels and not for the compose file, which may be another
// by now: what compose started beside the services of the release stays and is
// among Left. The anonymous volumes of a container go with it where volumes are
// asked for. Errors: Invalid (the names), Unavailable, Denied, Interrupted, and No
// when docker refused; what was removed until then is in the Removal.
func (d *Deployer) Remove(ctx context.Context, r providers.Release, volumes bool) (providers.Removal, error) {
	var gone providers.Removal
	path := naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}
	if err := path.Check(); err != nil {
		return gone, fault.Wrap(err, fault.Invalid, "remove "+path.String(), "run envctl check")
	}
	found, err := d.c.Engine.Containers(ctx, query(r))
	if err != nil {
		return gone, err
	}
	if len(found) > 0 {
		ids := make([]string, len(found))
		for i, c := range found {
			ids[i] = c.ID
		}
		if _, err := d.remove(ctx, r, "container", slices.Concat([]string{"stop", "-t", patience}, ids)...); err != nil {
			return gone, err
		}
		rm := []string{"rm", "--force"}
		if volumes {
			rm = append(rm, "--volumes")
		}
		if _, err := d.remove(ctx, r, "container", slices.Concat(rm, ids)...); err != nil {
			return gone, err
		}
		// docker's word is not enough: the engine is asked again.
		left, err := d.c.Engine.Containers(ctx, query(r))
		if err != nil {
			return gone, err
		}
		for _, c := range found {
			if slices.ContainsFunc(left, func(l providers.Container) bool { return l.ID == c.ID }) {
				return gone, fault.Newf(fault.No, "remove "+path.String(), "docker rm -f "+c.Name+", then run it again", "the container %s is still there", c.Name)
			}
			gone.Containers = append(gone.Containers, c.Name)
		}
	}
	mine := "label=" + composeLabel + "=" + projectName(r)
	others, err := d.listed(ctx, r, "container", "ls", "--all", "--filter", mine, "--format", "{{.Names}}")
	if err != nil {
		return gone, err
	}
	gone.Left = others
	networks, err := d.listed(ctx, r, "network", "ls", "--filter", mine, "--format", "{{.Name}}")
	if err != nil {
		return gone, err
	}
	for _, n := range networks {
		// One that something still uses cannot be removed, and must not be.
		used, err := d.listed(ctx, r, "network", "inspect", "--format", "{{range .Containers}}{{println .Name}}{{end}}", n)
		if err != nil {
			return gone, err
		}
		if len(used)+len(others) > 0 {
			gone.Left = append(gone.Left, n)
			continue
		}
		if _, err := d.remove(ctx, r, "network", "rm", n); err != nil {
			return gone, err
		}
		gone.Networks = append(gone.Networks, n)
	}
	if !volumes {
		return gone, nil
	}
	named, err := d.listed(ctx, r, "volume", "ls", "--filter", mine, "--format", "{{.Name}}")
	if err != nil {
		return gone, err
	}
	for _, v := range named {
		if len(others) > 0 {
			gone.Left = append(gone.Left, v)
			continue
		}
		if _, err := d.remove(ctx, r, "volume", "rm", v); err != nil {
			return gone, err
		}
		gone.Volumes = append(gone.Volumes, v)
	}
	return gone, nil
}

// listed runs a listing and returns its lines, sorted.
func (d *Deployer) listed(ctx context.Context, r providers.Release, args ...string) ([]string, error) {
	out, err := d.remove(ctx, r, args[0], args[1:]...)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(out)
	slices.Sort(names)
	return names, nil
}

// remove runs one docker command about r, and says why it failed.
func (d *Deployer) remove(ctx context.Context, r providers.Release, object string, args ...string) (string, error) {
	out, err := d.docker(ctx, r, append([]string{object}, args...), nil)
	var f *failure
	if err == nil || !errors.As(err, &f) {
		return string(out), err
	}
	op := "remove " + naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}.String()
	hint := "run envctl status --env " + r.Environment + ", then the command again"
	switch {
	case f.missing:
		return "", fault.New(fault.Unavailable, op, f.text, "install docker, or run envctl doctor")
	case errors.Is(ctx.Err(), context.Canceled):
		return "", fault.New(fault.Interrupted, op, "stopped while docker was at work", hint)
	case ctx.Err() != nil:
		return "", fault.New(fault.Unavailable, op, "docker was not done in time", hint)
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if _, err := d.c.Engine.Clock(after); err != nil {
		return "", err
	}
	return "", fault.Newf(fault.No, op, hint, "docker %s %s: %s", object, args[0], f.text)
}
