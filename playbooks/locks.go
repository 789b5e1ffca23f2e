package playbooks

import (
	"context"

	"envctl/internal/config"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/lease"
)

// guard gives a plan that others could spoil the locks of its environment's store,
// and says for whom they hold.
func (w *World) guard(p *plan.Plan, e config.Environment) error {
	if !p.Contended() {
		return nil
	}
	store, err := w.Store(e)
	if err != nil {
		return err
	}
	at := naming.Path{Project: p.Project, Environment: p.Environment, Component: p.Component}
	if _, ok := store.(providers.Shared); !ok {
		p.Facts = append(p.Facts, plan.Fact{Label: "lock", Text: at.String() + ", on this machine only: the embedded store has no lock for others"})
		return nil
	}
	path := naming.Path{Project: p.Project, Environment: p.Environment, Component: naming.LockComponent}
	p.Locks = locks{&lease.Locks{Store: store, Path: path, Rand: w.Rand, Purge: p.Playbook == "env delete"}}
	p.Facts = append(p.Facts, plan.Fact{Label: "lock", Text: at.String() + ", on every machine, at " + path.String()})
	return nil
}

// locks are a store's, as the engine knows them.
type locks struct{ l *lease.Locks }

// Lock takes a component or a whole environment.
func (l locks) Lock(ctx context.Context, component string, h plan.Holder, dead func(plan.Holder) bool) (plan.Lock, error) {
	got, err := l.l.Lock(ctx, component, lease.Holder(h), func(h lease.Holder) bool { return dead(plan.Holder(h)) })
	if err != nil {
		return nil, err
	}
	return got, nil
}
