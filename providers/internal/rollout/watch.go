package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
)

// settle is how long a container without a health check has to run before it
// counts as up: most that dislike a value end at once.
const settle = 1050 * time.Millisecond

// Watch waits for a release's containers.
type Watch struct {
	Release providers.Release
	// Since is when the deployment began, by the engine's clock as far as it is
	// known: what a container did before does not count against it.
	Since time.Time
	// Look returns the containers that run the release's services now. Where it
	// does not know which release one runs, it leaves out marker and label.
	Look     func(context.Context) ([]providers.Container, error)
	Interval time.Duration // between looks
	// Elsewhere accepts that no container is seen at all: this machine's engine
	// need not be the one that was deployed to.
	Elsewhere bool
}

// Wait returns nil when every service has containers, all of them healthy (or
// running for a second, where no health check is defined) and none known to be
// of another release. It ends with No at the first service that is
// crash-looping, unhealthy, stopped, gone or still of an older release; with
// Unavailable when ctx's time is over; with Interrupted when ctx is cancelled;
// with Look's error otherwise.
func (w Watch) Wait(ctx context.Context) error {
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	runs := map[string]run{}
	var last report
	for seen := false; ; {
		containers, err := w.Look(ctx)
		switch {
		case err == nil && len(containers) == 0 && w.Elsewhere && !seen:
			return nil
		case err == nil:
			seen = true
			last = w.judge(containers, runs)
			if bad := last.first(failed); bad != nil {
				return fault.New(fault.No, Op(w.Release), last.String(), LogsHint(w.Release, bad.name))
			}
			if last.first(waiting) == nil {
				return nil
			}
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return w.ended(ctx, last)
		case <-tick.C:
		}
	}
}

func (w Watch) ended(ctx context.Context, last report) error {
	words := last.String()
	hint := "run envctl status --env " + w.Release.Environment
	if slow := last.first(waiting); slow != nil {
		hint = LogsHint(w.Release, slow.name)
	}
	return Ended(ctx, w.Release, words, hint)
}

// Ended is the error for a ctx that is over: Unavailable where its time is,
// Interrupted where it was cancelled. state says how far things are.
func Ended(ctx context.Context, r providers.Release, state, hint string) error {
	kind, why := fault.Unavailable, "not up in time"
	if errors.Is(ctx.Err(), context.Canceled) {
		kind, why = fault.Interrupted, "stopped waiting"
	}
	if state != "" {
		why += ": " + state
	}
	return fault.New(kind, Op(r), why, hint)
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
}

type report []service

func (o report) first(s state) *service {
	for i := range o {
		if o[i].state == s {
			return &o[i]
		}
	}
	return nil
}

// String names every service, the troubled ones first.
func (o report) String() string {
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

// Marker returns the release that c says it runs, "" when it does not say.
func Marker(c providers.Container) string {
	if m := c.Labels[providers.LabelRelease]; m != "" {
		return m
	}
	return c.Env[providers.MarkerVariable].Reveal()
}

func (w Watch) judge(containers []providers.Container, runs map[string]run) report {
	var out report
	for _, s := range w.Release.Services {
		now := service{name: s.Name, words: "runs"}
		worse := func(st state, format string, args ...any) {
			if st > now.state {
				now.state, now.words = st, fmt.Sprintf(format, args...)
			}
		}
		found := false
		for _, c := range containers {
			if c.Service != s.Name && (s.Container == "" || c.Name != s.Container) {
				continue
			}
			stopped := c.State == "exited" || c.State == "dead" || c.State == "created"
			switch m := Marker(c); {
			case m == "" || m == w.Release.Marker:
				found = true
				w.one(c, runs, worse)
			case !stopped:
				found = true
				worse(failed, "still runs an older release in %s", c.Name)
			}
		}
		if !found {
			worse(failed, "is gone: it has no container of this release")
		}
		out = append(out, now)
	}
	return out
}

// one judges a container of the release.
func (w Watch) one(c providers.Container, runs map[string]run, worse func(state, string, ...any)) {
	before, seen := runs[c.ID]
	now := run{c.Started, c.Restarts, 1}
	if seen && before.started.Equal(c.Started) && c.State == "running" {
		now.looks = before.looks + 1
	}
	left := !c.Created.IsZero() && c.Created.Before(w.Since) // the deployer found nothing to change in it
	restarted := c.Restarts > 0
	if left {
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
	case c.Health == "" && !left && time.Duration(now.looks-1)*w.Interval < settle:
		worse(waiting, "runs for less than a second in %s", c.Name)
	}
}
