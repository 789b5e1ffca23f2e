package playbooks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// ServiceStatus is one service of an environment as it runs.
type ServiceStatus struct {
	Environment string     `json:"environment"`
	Component   string     `json:"component"`
	Service     string     `json:"service"`
	Container   string     `json:"container"`
	State       string     `json:"state"` // the engine's, or absent
	Health      string     `json:"health,omitempty"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	Restarts    int        `json:"restarts,omitempty"`
	Verdict     string     `json:"values"` // current, stale, half-rolled-out, unhealthy, unverified, absent
	Because     string     `json:"because,omitempty"`
	Evidence    string     `json:"evidence,omitempty"`
	Fix         string     `json:"fix,omitempty"` // what to type
}

// Containers returns the containers that are evidence for a target.
func (w *World) Containers(ctx context.Context, t Target) ([]providers.Container, providers.Runtime, error) {
	services, err := w.services(t)
	if err != nil {
		return nil, nil, err
	}
	rt, err := w.Runtime(t.Environment)
	if err != nil {
		return nil, nil, err
	}
	found, err := rt.Containers(ctx, w.query(t, services))
	return found, rt, err
}

// Status looks at every service of a target: what runs, since when, and whether
// its processes hold what the store renders now.
func (w *World) Status(ctx context.Context, t Target) ([]ServiceStatus, error) {
	services, err := w.services(t)
	if err != nil || len(services) == 0 {
		return nil, err
	}
	found, watched, rt, err := w.seen(ctx, t)
	if err != nil {
		return nil, err
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	want, wantErr := w.Render(ctx, store, t, nil)
	var out []ServiceStatus
	for _, s := range services {
		row := ServiceStatus{Environment: t.Environment.Name, Component: t.Component, Service: s.Name, Container: s.Container, State: "absent", Verdict: "absent"}
		mine := ofService(found, s)
		if len(mine) == 0 {
			out = append(out, row.seenBy(watched, s)...)
			continue
		}
		for _, c := range mine {
			r := row
			r.Container, r.State, r.Health, r.Restarts = c.Name, c.State, c.Health, c.Restarts
			if !c.Started.IsZero() {
				started := c.Started.UTC()
				r.StartedAt = &started
			}
			switch {
			case c.State != "running" || c.Health == "unhealthy":
				r.Verdict, r.Because, r.Fix = "unhealthy", strings.TrimSpace(c.State+" "+c.Health), logsOf(t, s)
			case w.looping(c):
				r.Verdict, r.Because, r.Fix = "unhealthy", loopingWords(c), logsOf(t, s)
			case wantErr != nil:
				r.Verdict, r.Because = "unverified", wantErr.Error()
			default:
				want.Gone = w.removed(ctx, store, t, c, want)
				kind, why, err := w.judge(ctx, rt, t, c, want)
				r.Evidence = kind
				switch {
				case fault.Is(err, fault.No):
					r.Verdict, r.Because, r.Fix = "stale", err.Error(), redeploy(t)
					if how := halfway(mine, want.Marker); how != "" {
						r.Verdict, r.Because = HalfRolledOut, "of an older release; "+how
					}
				case err != nil:
					return out, err
				case kind == "":
					r.Verdict, r.Because = "unverified", why
				default:
					r.Verdict, r.Because = "current", why
				}
			}
			out = append(out, r)
		}
	}
	return out, wantErr
}

func logsOf(t Target, s providers.Service) string {
	return fmt.Sprintf("envctl logs %s --env %s", s.Name, t.Environment.Name)
}

// removed returns what a container was given by an earlier version of the store and
// the newest no longer gives. A variable of the image's own is none of it.
func (w *World) removed(ctx context.Context, store providers.Reader, t Target, c providers.Container, want *Rendered) map[string]secret.Value {
	comp, err := w.Project.Component(t.Component)
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range w.Declared(t.Component, w.Layers(comp)) {
		if _, given := want.Variables[name]; !given && c.Env[name].IsSet() {
			names = append(names, name)
		}
	}
	out := map[string]secret.Value{}
	for _, b := range want.Inputs {
		for v := b.Version - 1; v > 0 && v > b.Version-maxVersions && len(out) < len(names); v-- {
			then, err := w.Render(ctx, store, t, map[naming.Path]providers.Version{b.Path: v})
			if err != nil {
				break // what cannot be read proves nothing
			}
			for _, name := range names {
				if old := then.Variables[name]; old.IsSet() && old.Equal(c.Env[name]) {
					out[name] = old
				}
			}
		}
	}
	return out
}

// unseen is why a container that only its deployer shows proves nothing.
const unseen = "only the deployer shows it: its engine cannot be reached from here; bind that one under runtimes: in your config.yaml"

// watched returns what the deployer shows of a target, where it can and the
// engine, which the operator did not name as the one that runs it, shows nothing.
func (w *World) watched(ctx context.Context, t Target, found []providers.Container) ([]providers.Container, error) {
	if _, bound := w.User.Runtimes.Get(w.Project.Name + "/" + t.Environment.Name); bound || len(found) > 0 {
		return nil, nil
	}
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return nil, err
	}
	watcher, ok := d.(providers.Watcher)
	if !ok {
		return nil, nil
	}
	r, err := w.named(t)
	if err != nil {
		return nil, err
	}
	return watcher.Watch(ctx, r)
}

// seen returns what the engine shows of a target, else what its deployer does.
func (w *World) seen(ctx context.Context, t Target) (found, watched []providers.Container, rt providers.Runtime, err error) {
	found, rt, err = w.Containers(ctx, t)
	watched, watchErr := w.watched(ctx, t, found)
	if len(watched) > 0 {
		return nil, watched, rt, nil
	}
	if err == nil {
		err = watchErr
	}
	return found, nil, rt, err
}

// seenBy is a service's rows as its deployer shows them; the row itself where it
// shows none.
func (s ServiceStatus) seenBy(watched []providers.Container, of providers.Service) []ServiceStatus {
	mine := ofService(watched, of)
	if len(mine) == 0 {
		return []ServiceStatus{s}
	}
	var out []ServiceStatus
	for _, c := range mine {
		s.Container, s.State, s.Health, s.Verdict, s.Because = c.Name, c.State, c.Health, "unverified", unseen
		if c.State != "running" || c.Health == "unhealthy" {
			s.Verdict, s.Because = "unhealthy", strings.TrimSpace(c.State+" "+c.Health)
		}
		out = append(out, s)
	}
	return out
}

// loopTime is how long a container that was restarted must run before it counts
// as up: it may just be between two crashes.
const loopTime = 30 * time.Second

// looping tells whether a running container was restarted so shortly ago that
// it may be crash-looping.
func (w *World) looping(c providers.Container) bool {
	return c.Restarts > 0 && w.Now().Sub(c.Started) < loopTime
}

func loopingWords(c providers.Container) string {
	return fmt.Sprintf("%s was restarted %d times, the last time just now: it may be crashing again and again", c.Name, c.Restarts)
}
