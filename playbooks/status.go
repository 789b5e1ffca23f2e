package playbooks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"envctl/internal/fault"
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
	Verdict     string     `json:"values"` // current, stale, unhealthy, unverified, absent
	Because     string     `json:"because,omitempty"`
	Evidence    string     `json:"evidence,omitempty"`
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
	found, rt, err := w.Containers(ctx, t)
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
			out = append(out, row)
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
				r.Verdict, r.Because = "unhealthy", strings.TrimSpace(c.State+" "+c.Health)
			case w.looping(c):
				r.Verdict, r.Because = "unhealthy", loopingWords(c)
			case wantErr != nil:
				r.Verdict, r.Because = "unverified", wantErr.Error()
			default:
				kind, why, err := w.judge(ctx, rt, t, c, want)
				r.Evidence = kind
				switch {
				case fault.Is(err, fault.No):
					r.Verdict, r.Because = "stale", err.Error()
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
