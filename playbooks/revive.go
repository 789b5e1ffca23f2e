package playbooks

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// argRevive is the argument of a run that brings a deleted version back.
const argRevive = "revive"

// reviving says how a path whose newest version is gone is brought back.
func reviving(ctx context.Context, s providers.Reader, p naming.Path, t Target) string {
	revisions, err := s.History(ctx, p)
	_, able := s.(providers.Lifecycle)
	for i := len(revisions) - 1; err == nil && i >= 0; i-- {
		switch r := revisions[i]; {
		case r.Destroyed:
		case !r.Deleted:
			return fmt.Sprintf("run envctl rollback --to %d%s first", r.Version, t.on())
		case able && i == len(revisions)-1:
			return fmt.Sprintf("run envctl restore %s to bring version %d back first", strings.TrimSpace(t.on()), r.Version)
		case able:
			return fmt.Sprintf("run envctl restore --version %d%s, then envctl rollback --to %d%s", r.Version, t.on(), r.Version, t.on())
		}
	}
	return "no version of it is left: run envctl env create " + t.Environment.Name + " to fill a new one, after removing the path's metadata in the store"
}

// Revive plans bringing a deleted version of a target's path back: the one named,
// or the newest. NotFound, Destroyed, or Usage where it is not deleted.
func (w *World) Revive(ctx context.Context, t Target, v providers.Version) (*plan.Plan, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	p := w.Path(t)
	op, look := "bring back "+p.String(), "envctl list"+t.on()
	revisions, err := store.History(ctx, p)
	if err != nil {
		return nil, err
	}
	if v == providers.Latest && len(revisions) > 0 {
		v = revisions[len(revisions)-1].Version
	}
	for _, r := range revisions {
		switch {
		case r.Version != v:
		case r.Destroyed:
			return nil, fault.Newf(fault.Destroyed, op, reviving(ctx, store, p, t), "version %d is destroyed, for good", v)
		case !r.Deleted:
			return nil, fault.Newf(fault.Usage, op, "name a variable to put back an earlier value of it, or look with "+look, "version %d is not deleted", v)
		default:
			return w.revival(t, v)
		}
	}
	return nil, fault.Newf(fault.NotFound, op, look, "there is no version %d", v)
}

// revival is the plan of bringing version v back.
func (w *World) revival(t Target, v providers.Version) (*plan.Plan, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	p := w.Path(t)
	life, ok := store.(providers.Lifecycle)
	if !ok {
		return nil, fault.New(fault.Usage, "bring back "+p.String(), "this store cannot", "run envctl rollback --to N"+t.on())
	}
	deleted := func(ctx context.Context) (bool, error) {
		revisions, err := store.History(ctx, p)
		for _, r := range revisions {
			if err == nil && r.Version == v && !r.Destroyed {
				return r.Deleted, nil
			}
		}
		if err == nil {
			err = fault.Newf(fault.Destroyed, "bring back "+p.String(), "look with envctl list"+t.on(), "version %d is gone for good", v)
		}
		return false, err
	}
	out := &plan.Plan{
		Playbook: "restore", Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component,
		Args:  map[string]string{argRevive: strconv.Itoa(int(v))},
		Facts: []plan.Fact{{Label: "bring back", Text: fmt.Sprintf("version %d of %s, which is deleted", v, p)}},
		Steps: []plan.Step{{
			ID: "revive", Title: fmt.Sprintf("bring back version %d of %s", v, p), Risk: plan.Writes,
			Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				prior, _ := page.Prior()
				gone, err := deleted(ctx)
				if err != nil || !gone {
					return prior, err // by the interrupted attempt, or by somebody else
				}
				r := plan.Receipt{fieldPath: p.String(), "version": strconv.Itoa(int(v))}
				if err := page.Intend(r); err != nil {
					return nil, err
				}
				return r, life.Undelete(ctx, p, v)
			},
			Verify: func(ctx context.Context, _ plan.Receipt) error {
				_, err := store.Read(ctx, p, v)
				return err
			},
			Undo: func(ctx context.Context, r plan.Receipt) error {
				gone, err := deleted(ctx)
				if r["version"] == "" || err != nil || gone {
					return err
				}
				return life.Delete(ctx, p, v)
			},
		}},
	}
	if t.Environment.Protected {
		out.Confirm = t.Environment.Name
	}
	return out, nil
}
