package playbooks

import (
	"context"
	"slices"

	"envctl/internal/config"
	"envctl/internal/secret"
	"envctl/providers"
)

// holdings are the values that running processes have of one variable.
type holdings struct {
	values   []secret.Value
	services []string
	config   bool // some of them are only what the engine was told
	whole    bool // every container of every service was seen
}

// by names the evidence.
func (h holdings) by() string {
	switch {
	case len(h.values) == 0:
		return "store"
	case h.config:
		return "container-config"
	}
	return "process"
}

// holdings looks at every process that a write to the target's path reaches.
func (w *World) holdings(ctx context.Context, t Target, variable string) holdings {
	h := holdings{whole: t.Environment.Deploy.Kind == config.DeployCompose}
	rt, err := w.Runtime(t.Environment)
	if err != nil {
		return holdings{}
	}
	for _, name := range w.affected(t) {
		at := Target{Environment: t.Environment, Component: name}
		services, err := w.services(at)
		if err != nil {
			return holdings{}
		}
		found, err := rt.Containers(ctx, w.query(at, services))
		if err != nil {
			return holdings{}
		}
		for _, s := range services {
			mine := ofService(w.own(at, found), s)
			h.whole = h.whole && len(mine) > 0
			for _, c := range mine {
				h.look(ctx, rt, c, variable)
			}
			if len(mine) > 0 && !slices.Contains(h.services, s.Name) {
				h.services = append(h.services, s.Name)
			}
		}
	}
	return h
}

// look adds what one container's processes hold, or else what its engine was told.
func (h *holdings) look(ctx context.Context, rt providers.Runtime, c providers.Container, variable string) {
	add := func(v secret.Value) {
		if !slices.ContainsFunc(h.values, v.Equal) {
			h.values = append(h.values, v)
		}
	}
	seen := false
	if procs, err := rt.Processes(ctx, c); err == nil && c.State == "running" {
		for _, p := range leaves(procs) {
			if v, ok := p.Env[variable]; ok && p.Err == nil {
				add(v)
				seen = true
			}
		}
		seen = seen && !hidden(procs)
	}
	if v, ok := c.Env[variable]; ok && !seen {
		add(v)
		h.config = true
		return
	}
	h.whole = h.whole && (seen || len(c.Env) > 0)
}
