package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	watch "envctl/providers/internal/rollout"
)

const (
	// interval between looks at the engine: a healthy container is noticed
	// within it and the few milliseconds a look takes.
	interval = 75 * time.Millisecond
	// settle is how long a container without a health check has to run before it
	// counts as up: most that dislike a value end at once.
	settle = 1050 * time.Millisecond
)

// Wait returns nil when every service of r has containers of this release, all
// of them healthy (or running for a second, where no health check is defined)
// and none of an older release. It ends with No at the first service that is
// crash-looping, unhealthy, stopped, gone or still of an older release, with
// Unavailable when ctx's time is over or the engine does not answer.
func (d *Deployer) Wait(ctx context.Context, r providers.Release, dep providers.Deployment) error {
	if len(r.Services) == 0 {
		return check(r)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	runs := map[string]run{}
	var last rollout
	for {
		containers, err := d.c.Engine.Containers(ctx, query(r))
		switch {
		case err == nil:
			last = judge(r, dep, containers, runs)
			if bad := last.first(failed); bad != nil {
				return fault.New(fault.No, op(r), last.String()+d.lastWords(ctx, r, bad.of), logsHint(r, *bad))
			}
			if last.first(waiting) == nil {
				return nil
			}
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ended(ctx, r, last)
		case <-tick.C:
		}
	}
}

func ended(ctx context.Context, r providers.Release, last rollout) error {
	kind, why := fault.Unavailable, "not up in time"
	if errors.Is(ctx.Err(), context.Canceled) {
		kind, why = fault.Interrupted, "stopped waiting"
	}
	hint := "run envctl status --env " + r.Environment
	if slow := last.first(waiting); slow != nil {
		hint = logsHint(r, *slow)
	}
	if len(last) > 0 {
		why += ": " + last.String()
	}
	return fault.New(kind, op(r), why, hint)
}

func logsHint(r providers.Release, s service) string {
	return "run envctl logs " + s.name + " --env " + r.Environment
}

func query(r providers.Release) providers.ContainerQuery {
	return providers.ContainerQuery{Project: r.Project, Environment: r.Environment, Component: r.Component}
}

// lastWords is what a container that did not come up said last, without what it was
// given; "" where that cannot be had. A roll back removes the container and its log.
func (d *Deployer) lastWords(ctx context.Context, r providers.Release, c providers.Container) string {
	engine, ok := d.c.Engine.(interface {
		Logs(ctx context.Context, c providers.Container, o providers.LogOptions, w io.Writer) error
	})
	if !ok || c.ID == "" {
		return ""
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	var said bytes.Buffer
	if err := engine.Logs(after, c, providers.LogOptions{Tail: 4}, &said); err != nil {
		return ""
	}
	var given []secret.Value
	for name, v := range c.Env {
		if !slices.Contains([]string{"PATH", "HOME", "HOSTNAME", "LANG", "ENV", providers.MarkerVariable}, name) {
			given = append(given, v)
		}
	}
	if words := watch.Redact(watch.LastLines(said.String(), 4), r, given...); words != "" {
		return "; it said: " + words
	}
	return ""
}

// survey is one look at what runs, for the message of a failed deploy.
func (d *Deployer) survey(ctx context.Context, r providers.Release) (rollout, error) {
	containers, err := d.c.Engine.Containers(ctx, query(r))
	if err != nil {
		return nil, err
	}
	return judge(r, providers.Deployment{}, containers, map[string]run{}), nil
}

type state int

const (
	up state = iota
	waiting
	failed
)

// service is how one service of a release is doing, in words.
type service struct {
	name, words string
	state       state
	of          providers.Container // the one that words are about
}

type rollout []service

func (o rollout) first(s state) *service {
	for i := range o {
		if o[i].state == s {
			return &o[i]
		}
	}
	return nil
}

// String names every service, the troubled ones first.
func (o rollout) String() string {
	var parts []string
	for _, s := range [...]state{failed, waiting, up} {
		for _, v := range o {
			if v.state == s {
				parts = append(parts, v.name+" "+v.words)
			}
		}
	}
	return strings.Join(parts, "; ")
}

// run is what earlier looks saw of a container.
type run struct {
	started  time.Time
	restarts int
	looks    int
}

func judge(r providers.Release, dep providers.Deployment, containers []providers.Container, runs map[string]run) rollout {
	var out rollout
	for _, s := range r.Services {
		now := service{name: s.Name, words: "runs the new release"}
		var of providers.Container
		worse := func(st state, format string, args ...any) {
			if st > now.state {
				now.state, now.words, now.of = st, fmt.Sprintf(format, args...), of
			}
		}
		fresh := 0
		for _, c := range containers {
			if c.Service != s.Name {
				continue
			}
			of = c
			if c.Labels[providers.LabelRelease] == r.Marker {
				fresh++
				one(c, dep, runs, worse)
			}
		}
		of = providers.Container{}
		for _, c := range containers {
			if c.Service == s.Name && c.Labels[providers.LabelRelease] != r.Marker && c.State != "exited" && c.State != "dead" && c.State != "created" {
				worse(failed, "still runs an older release in %s", c.Name)
			}
		}
		if fresh == 0 {
			worse(failed, "is gone: it has no container of this release")
		}
		out = append(out, now)
	}
	return out
}

// one judges a container of the release.
func one(c providers.Container, dep providers.Deployment, runs map[string]run, worse func(state, string, ...any)) {
	before, seen := runs[c.ID]
	now := run{c.Started, c.Restarts, 1}
	if seen && before.started.Equal(c.Started) && c.State == "running" {
		now.looks = before.looks + 1
	}
	left := c.Created.Before(dep.Started) // compose found nothing to change in it
	restarted := c.Restarts > 0
	if left {
		// What it did before this deployment does not count against it.
		now.restarts = c.Restarts
		if seen {
			now.restarts = before.restarts
		}
		restarted = c.Restarts > now.restarts
	}
	runs[c.ID] = now
	switch {
	case c.State == "restarting" || restarted:
		worse(failed, "is crash-looping: %s exited with %d, restarted %d times", c.Name, c.ExitCode, c.Restarts)
	case c.State == "exited" || c.State == "dead" || c.State == "removing":
		worse(failed, "is not running: %s exited with %d", c.Name, c.ExitCode)
	case c.State == "paused":
		worse(failed, "is not running: %s is paused", c.Name)
	case c.State != "running":
		worse(waiting, "is not started yet: %s is %s", c.Name, c.State)
	case c.Health == "unhealthy":
		worse(failed, "is unhealthy: the health check of %s fails", c.Name)
	case c.Health == "starting":
		worse(waiting, "is starting: %s is not healthy yet", c.Name)
	case c.Health == "" && !left && time.Duration(now.looks-1)*interval < settle:
		worse(waiting, "runs the new release for less than a second in %s", c.Name)
	}
}
