package playbooks

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/providers"
)

// Fields of the receipts of places.
const (
	fieldMark  = "mark" // what is left at a place that a run makes, before it does
	fieldName  = "name"
	fieldPlace = "id" // of the place that a run made, "" where it was there already
	fieldLeft  = "left"
)

// serviceKind is the innermost place, one for each component; those around it are
// shared by all components of an environment, or of the project.
const serviceKind = "service"

// placing returns the steps that make the places which a target is deployed to,
// those that are missing, and what to say of them; fresh tells that the service
// itself is made. shared are the places around it that the plan makes already.
func (w *World) placing(ctx context.Context, t Target, d providers.Deployer, c Creation, shared map[string]bool) (steps []plan.Step, facts []plan.Fact, fresh bool, err error) {
	b, ok := d.(providers.Builder)
	if !ok {
		return nil, nil, false, nil
	}
	places, err := b.Places(ctx, w.bare(t))
	if err != nil {
		return nil, nil, false, err
	}
	for _, p := range places {
		id := "place." + p.Kind
		if p.Kind == serviceKind {
			id += "." + t.Component
		}
		if shared[id] || !c.wants(id, p.ID == "") {
			continue
		}
		shared[id] = true
		fresh = fresh || p.Kind == serviceKind
		steps = append(steps, w.placeStep(id, t, b, p))
		facts = append(facts, plan.Fact{Label: "make", Text: fmt.Sprintf("the %s %s in %s", p.Kind, p.Name, d.Describe())})
	}
	return steps, facts, fresh, nil
}

// placeOf returns a target's place of a kind as it is now.
func (w *World) placeOf(ctx context.Context, t Target, b providers.Builder, kind string) (providers.Place, error) {
	places, err := b.Places(ctx, w.bare(t))
	if err != nil {
		return providers.Place{}, err
	}
	i := slices.IndexFunc(places, func(p providers.Place) bool { return p.Kind == kind })
	if i < 0 {
		return providers.Place{}, fault.Newf(fault.Internal, "look for a "+kind, "", "the deployer has none")
	}
	return places[i], nil
}

// placeStep makes one place. The mark that it leaves there tells, after a crash
// and when it is undone, this run's from one that somebody else made.
func (w *World) placeStep(id string, t Target, b providers.Builder, p providers.Place) plan.Step {
	return plan.Step{
		ID: id, Title: "make the " + p.Kind + " " + p.Name, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			r, cut := page.Prior()
			now, err := w.placeOf(ctx, t, b, p.Kind)
			if err != nil {
				return nil, err
			}
			if !cut {
				if now.ID != "" {
					return nil, nil // somebody made it since the plan was
				}
				mark := make([]byte, 8)
				if _, err := io.ReadFull(w.Rand, mark); err != nil {
					return nil, fault.Wrap(err, fault.Internal, "make the "+p.Kind, "")
				}
				r = plan.Receipt{fieldMark: hex.EncodeToString(mark), fieldName: p.Name}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			if now.ID == "" {
				rel, err := w.named(t)
				if err != nil {
					return nil, err
				}
				if now, err = b.Build(ctx, rel, p.Kind, r[fieldMark]); err != nil {
					return nil, err
				}
			}
			if now.Mark == r[fieldMark] {
				r[fieldPlace] = now.ID
			}
			return r, nil
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r[fieldMark] == "" {
				return nil
			}
			now, err := w.placeOf(ctx, t, b, p.Kind)
			if err != nil || now.ID == "" || now.Mark != r[fieldMark] {
				return err // gone, or not this run's
			}
			if p.Kind == serviceKind && now.Kept != "" {
				return fault.Newf(fault.Conflict, "remove "+p.Name, "move them, or remove it in the deployer, then undo again", "%s", now.Kept)
			}
			err = b.Raze(ctx, now, false)
			if p.Kind != serviceKind && fault.Is(err, fault.Refused) {
				return nil // others are in it by now: it is theirs too
			}
			return err
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			if r[fieldMark] == "" {
				return nil
			}
			now, err := w.placeOf(ctx, t, b, p.Kind)
			if err == nil && now.ID == "" {
				err = fault.Newf(fault.No, "look for the "+p.Kind+" "+p.Name, "run envctl env create "+t.Environment.Name+" again", "it is gone again")
			}
			return err
		},
	}
}

// razing decides what becomes of the service that a target is deployed to, when
// its environment is deleted: what Build and a release make again is removed;
// all else is stopped and stays, unless it is to go for good.
func (w *World) razing(ctx context.Context, t Target, d providers.Deployer, destroy bool, args map[string]string, fact func(string, string, ...any)) error {
	b, ok := d.(providers.Builder)
	if !ok {
		return nil
	}
	places, err := b.Places(ctx, w.bare(t))
	if err != nil {
		return fault.Wrap(err, fault.KindOf(err), "look for what "+t.Component+" is deployed to", "run envctl doctor; to leave it as it is, add --keep-containers")
	}
	for _, p := range places {
		switch {
		case p.ID == "":
		case p.Kind == serviceKind && destroy:
			args[argRaze+t.Component] = "destroy"
			fact("destroy", "the service %s and its volumes in %s: cannot be undone", p.Name, d.Describe())
		case p.Kind == serviceKind && p.Kept != "":
			args[argRaze+t.Component] = "stop"
			fact("stop", "the service %s in %s, and leave it there: %s", p.Name, d.Describe(), p.Kept)
		case p.Kind == serviceKind:
			args[argRaze+t.Component] = "remove"
			fact("remove", "the service %s from %s", p.Name, d.Describe())
		case p.Kind == environmentKind && (p.Kept == "" || destroy && p.Mark != "") && args[argRazed] == "":
			args[argRazed] = t.Component
			fact("remove", "the environment %s from %s, if nothing else is in it", p.Name, d.Describe())
		}
	}
	return nil
}

// environmentKind is the place around the services, which goes with the last of them.
const environmentKind = "environment"

func (w *World) builderOf(t Target) (providers.Builder, providers.Deployer, error) {
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return nil, nil, err
	}
	b, ok := d.(providers.Builder)
	if !ok {
		return nil, nil, fault.Newf(fault.Refused, "env delete "+t.Environment.Name, "bring "+t.Component+"'s deployer back in envctl.yaml, then go on", "%s is no longer deployed to places of its own", t.Component)
	}
	return b, d, nil
}

// razeStep removes, or only stops, the service of a target.
func (w *World) razeStep(t Target, how string) (plan.Step, error) {
	b, d, err := w.builderOf(t)
	if err != nil {
		return plan.Step{}, err
	}
	titles := map[string]string{"remove": "remove the service of ", "destroy": "remove the service and the volumes of ", "stop": "stop the service of "}
	if titles[how] == "" {
		return plan.Step{}, fault.New(fault.Invalid, "rebuild env delete", "the journal does not say what becomes of "+t.Component, "")
	}
	step := plan.Step{
		ID: "raze." + t.Component, Title: titles[how] + t.Component, Risk: plan.Restarts,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			now, err := w.placeOf(ctx, t, b, serviceKind)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if now.ID == "" {
				return r, nil // by the interrupted attempt, or by somebody else
			}
			if how == "remove" && now.Kept != "" {
				return nil, fault.Newf(fault.Conflict, "remove "+now.Name, "run envctl env delete "+t.Environment.Name+" again", "since the plan was made: %s", now.Kept)
			}
			if !cut {
				r = plan.Receipt{"component": t.Component, "how": how, fieldName: now.Name, fieldMark: now.Mark}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			if how == "stop" {
				return r, b.Clear(ctx, now)
			}
			return r, b.Raze(ctx, now, how == "destroy")
		},
		Verify: func(ctx context.Context, _ plan.Receipt) error {
			if how == "stop" {
				return nil
			}
			now, err := w.placeOf(ctx, t, b, serviceKind)
			if err == nil && now.ID != "" {
				err = fault.New(fault.No, "remove "+now.Name, "it is still there", "look for it in the deployer, then run envctl env delete "+t.Environment.Name+" again")
			}
			return err
		},
	}
	if how == "destroy" {
		step.Risk = plan.Irreversible
		return step, nil
	}
	step.Undo = func(ctx context.Context, r plan.Receipt) error {
		if r[fieldName] == "" {
			return nil
		}
		now, err := w.placeOf(ctx, t, b, serviceKind)
		if err != nil {
			return err
		}
		if now.ID == "" {
			rel, err := w.named(t)
			if err != nil {
				return err
			}
			if _, err = b.Build(ctx, rel, serviceKind, r[fieldMark]); err != nil {
				return err
			}
		}
		if _, err := w.release(ctx, t, d); err != nil {
			return err
		}
		_, err = w.Evidence(ctx, t)
		return err
	}
	return step, nil
}

// razedStep removes the environment's own place, once its services are gone.
func (w *World) razedStep(t Target) (plan.Step, error) {
	b, _, err := w.builderOf(t)
	if err != nil {
		return plan.Step{}, err
	}
	return plan.Step{
		ID: "razed", Title: "remove the deployer's environment " + t.Environment.Name, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			now, err := w.placeOf(ctx, t, b, environmentKind)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if now.ID == "" {
				return r, nil
			}
			if !cut {
				r = plan.Receipt{fieldName: now.Name, fieldMark: now.Mark}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			err = b.Raze(ctx, now, false)
			if fault.Is(err, fault.Refused) {
				r[fieldLeft], err = clip(err.Error()), nil // others are in it
			}
			return r, err
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r[fieldName] == "" {
				return nil
			}
			now, err := w.placeOf(ctx, t, b, environmentKind)
			if err != nil || now.ID != "" {
				return err
			}
			_, err = b.Build(ctx, w.bare(t), environmentKind, r[fieldMark])
			return err
		},
	}, nil
}
