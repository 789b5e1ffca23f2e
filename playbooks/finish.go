package playbooks

import (
	"context"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

// Finish plans the end of a rotation: the previous value is removed, when the
// overlap that the recipe promises has passed; of a key that encrypts data, when
// all of it was encrypted again.
func (w *World) Finish(ctx context.Context, t Target, r Rotation) (*plan.Plan, error) {
	if r.Recipe.Database != nil {
		return w.finishRole(ctx, t, r)
	}
	op := "finish the rotation of " + r.Recipe.Variable
	if r.Recipe.Previous == "" && !r.fernet() {
		return nil, fault.New(fault.Usage, op, "its recipe has no previous variable", "nothing to retire")
	}
	if err := w.needsTrust(op, r.Recipe); err != nil {
		return nil, err
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, t)
	if err != nil {
		return nil, err
	}
	ro := rotating{w: w, t: t, r: r, store: store, cur: cur}
	if r.fernet() {
		return w.finishPlan(ctx, ro)
	}
	if !cur.Values[r.Recipe.Previous].IsSet() {
		return nil, fault.Newf(fault.NotFound, op, "look with envctl history "+r.Recipe.Variable+t.on(), "%s has no %s: nothing to retire", cur.Path, r.Recipe.Previous)
	}
	since, err := w.setSince(ctx, store, cur, r.Recipe.Variable)
	if err != nil {
		return nil, err
	}
	if err := tooEarly(w.Now(), since, r); err != nil {
		return nil, err
	}
	return w.finishPlan(ctx, ro)
}

func (w *World) finishPlan(ctx context.Context, ro rotating) (*plan.Plan, error) {
	if ro.r.fernet() {
		return w.finishFernet(ctx, ro)
	}
	t, r, store := ro.t, ro.r, ro.store
	retired := "the old value in " + r.Recipe.Previous + " stops being accepted"
	if w.overlap(t, r).none() {
		retired = "the old value in " + r.Recipe.Previous + ", which no template passes on, is removed"
	}
	change := Change{
		Target: t, Playbook: "rotate " + r.Name, Deploy: true, Keys: []string{r.Recipe.Previous}, ReadBack: true,
		Args:  map[string]string{"name": r.Name, "finish": "true"},
		Again: "envctl rotate " + r.Name + t.on() + " --finish",
		Facts: []plan.Fact{{Label: "retire", Text: retired}},
		Make:  Values(providers.Patch{r.Recipe.Previous: secret.Value{}}),
		// The plan asked this machine's clock. The version just written carries the
		// store's own, and nothing is deployed yet.
		Check: func(ctx context.Context, before, after providers.Bundle) error {
			since, err := w.setSince(ctx, store, before, r.Recipe.Variable)
			if err != nil {
				return err
			}
			return tooEarly(after.Created, since, r)
		},
		Extend: func(p *plan.Plan, d rollouts) error {
			ro.proving(p, d, "a token of the current key is accepted there, and one of the retired key no longer", func(before, after providers.Bundle) []bearer {
				return []bearer{
					{field: "new", words: "the current key", key: after.Values[r.Recipe.Variable], accepted: true, how: "is accepted"},
					{field: "old", words: "the retired key", key: before.Values[r.Recipe.Previous], how: "no longer is"},
				}
			})
			return nil
		},
	}
	return ro.stubbed(change).planOn(ctx, w, store, ro.cur)
}

// tooEarly refuses to retire before the overlap that began at since is over.
func tooEarly(now, since time.Time, r Rotation) error {
	ends := since.Add(r.Recipe.Overlap.Duration)
	if !now.Before(ends) {
		return nil
	}
	at := ends.UTC().Format(time.RFC3339)
	return fault.Newf(fault.Refused, "finish the rotation of "+r.Recipe.Variable, "run it again after "+at, "the overlap lasts until %s", at)
}

// setSince returns when the current value of key was written: the time of the
// oldest version of the newest run of versions that hold it.
func (w *World) setSince(ctx context.Context, r providers.Reader, cur providers.Bundle, key string) (time.Time, error) {
	return (&past{r: r, cur: cur}).since(ctx, key)
}
