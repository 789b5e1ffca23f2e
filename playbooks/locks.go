package playbooks

import (
	"context"
	"slices"
	"strings"

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

// Lock takes a component, several of them (their names joined by commas), or a
// whole environment.
func (l locks) Lock(ctx context.Context, component string, h plan.Holder, dead func(plan.Holder) bool) (plan.Lock, error) {
	names := strings.Split(component, ",")
	slices.Sort(names) // two runs that want the same take them in the same order
	var held leases
	for _, name := range slices.Compact(names) {
		got, err := l.l.Lock(ctx, name, lease.Holder(h), func(h lease.Holder) bool { return dead(plan.Holder(h)) })
		if err != nil {
			_ = held.Release(context.WithoutCancel(ctx)) // they run out by themselves
			return nil, err
		}
		held = append(held, got)
	}
	return held, nil
}

// leases are the locks of one run.
type leases []*lease.Lease

// Check returns Conflict once any of them is lost.
func (l leases) Check(ctx context.Context) error {
	for _, one := range l {
		if err := one.Check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Release gives all of them back.
func (l leases) Release(ctx context.Context) error {
	var err error
	for _, one := range l {
		if rerr := one.Release(ctx); err == nil {
			err = rerr
		}
	}
	return err
}
