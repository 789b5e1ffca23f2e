package playbooks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Holding is one key of a path, known by its fingerprint.
type Holding struct {
	Key         string       `json:"key"`
	Component   string       `json:"component"`
	State       string       `json:"state"` // set, empty, unset
	Fingerprint string       `json:"fingerprint,omitempty"`
	Version     int          `json:"version,omitempty"`
	Value       secret.Value `json:"-"`
	NonString   bool         `json:"non_string,omitempty"`
}

// Holdings lists the keys of a target's path, sorted. NotFound and its kin as
// the store says them.
func (w *World) Holdings(ctx context.Context, t Target) ([]Holding, providers.Bundle, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, providers.Bundle{}, err
	}
	b, err := store.Read(ctx, w.Path(t), providers.Latest)
	if err != nil {
		return nil, b, w.hintMissing(err, t)
	}
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return nil, b, err
	}
	out := make([]Holding, 0, len(b.Values))
	for _, k := range sortedKeys(b.Values) {
		out = append(out, holding(k, t.Component, b, key))
	}
	return out, b, nil
}

func holding(k, component string, b providers.Bundle, key secret.Key) Holding {
	v := b.Values[k]
	h := Holding{Key: k, Component: component, State: stateOf(v), Fingerprint: key.Fingerprint(v), Version: int(b.Version), Value: v}
	for _, n := range b.NonString {
		h.NonString = h.NonString || n == k
	}
	return h
}

// stateOf is a value's state in product words.
func stateOf(v secret.Value) string {
	switch {
	case !v.IsSet():
		return "unset"
	case v.Len() == 0:
		return "empty"
	}
	return "set"
}

// hintMissing tells what to type when a path is not there.
func (w *World) hintMissing(err error, t Target) error {
	if !fault.Is(err, fault.NotFound) {
		return err // of a deleted version the store names the one to restore
	}
	return fault.Wrap(err, fault.NotFound, "", fmt.Sprintf("run envctl set KEY --env %s --component %s, or envctl env create %s", t.Environment.Name, t.Component, t.Environment.Name))
}

// Get returns one key of a target, at a version or the newest.
func (w *World) Get(ctx context.Context, t Target, key string, v providers.Version) (Holding, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return Holding{}, err
	}
	b, err := store.Read(ctx, w.Path(t), v)
	if err != nil {
		return Holding{}, w.hintMissing(err, t)
	}
	if !b.Values[key].IsSet() {
		hint := fmt.Sprintf("run envctl list --env %s --component %s", t.Environment.Name, t.Component)
		if near := naming.Nearest(key, sortedKeys(b.Values)); near != "" {
			hint = "did you mean " + near + "? " + hint
		}
		return Holding{}, fault.Newf(fault.NotFound, "get "+key, hint, "%s has no such key (version %d)", b.Path, b.Version)
	}
	fp, err := w.Fingerprints(ctx, store)
	if err != nil {
		return Holding{}, err
	}
	return holding(key, t.Component, b, fp), nil
}

// Event is one version of a path as one key lived through it.
type Event struct {
	Version     int          `json:"version"`
	ChangedAt   time.Time    `json:"changed_at"`
	Author      string       `json:"author,omitempty"`
	State       string       `json:"state"` // set, empty, unset, deleted, destroyed
	Fingerprint string       `json:"fingerprint,omitempty"`
	Changed     bool         `json:"changed"` // differs from the version before
	Value       secret.Value `json:"-"`
}

// History returns the versions of a target's path, oldest first, as key lived
// through them. NotFound when no version ever held it.
func (w *World) History(ctx context.Context, t Target, key string) ([]Event, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	revisions, err := store.History(ctx, w.Path(t))
	if err != nil {
		return nil, w.hintMissing(err, t)
	}
	fp, err := w.Fingerprints(ctx, store)
	if err != nil {
		return nil, err
	}
	var out []Event
	var before secret.Value
	ever := false
	for _, r := range revisions {
		e := Event{Version: int(r.Version), ChangedAt: r.Created.UTC(), Author: r.Author}
		switch {
		case r.Destroyed:
			e.State = "destroyed"
		case r.Deleted:
			e.State, e.Changed, before = "deleted", before.IsSet(), secret.Value{}
		default:
			b, err := store.Read(ctx, w.Path(t), r.Version)
			if err != nil {
				return nil, err
			}
			v := b.Values[key]
			e.State, e.Fingerprint, e.Value, e.Changed = stateOf(v), fp.Fingerprint(v), v, !v.Equal(before)
			ever, before = ever || v.IsSet(), v
		}
		out = append(out, e)
	}
	if !ever {
		return nil, fault.Newf(fault.NotFound, "history of "+key, fmt.Sprintf("run envctl list --env %s --component %s", t.Environment.Name, t.Component),
			"no version of %s holds it", w.Path(t))
	}
	return out, nil
}

// Difference is one key on two sides.
type Difference struct {
	Key       string `json:"key"`
	Component string `json:"component"`
	State     string `json:"state"` // same, changed, only-left, only-right
	Left      string `json:"left,omitempty"`
	Right     string `json:"right,omitempty"`

	LeftValue, RightValue secret.Value `json:"-"`
}

// Side is one side of a diff: an environment, at a version or the newest.
type Side struct {
	Target
	Version providers.Version
}

// ParseSide splits "staging@7".
func ParseSide(s string) (environment string, v providers.Version, err error) {
	name, at, found := strings.Cut(s, "@")
	if !found {
		return name, providers.Latest, nil
	}
	n, err := strconv.Atoi(at)
	if err != nil || n < 1 {
		return "", 0, fault.Newf(fault.Usage, "read "+s, "write an environment, or one of its versions as staging@7", "%q is not a version", at)
	}
	return name, providers.Version(n), nil
}

// Diff compares one component on two sides, key by key.
func (w *World) Diff(ctx context.Context, left, right Side) ([]Difference, error) {
	var sides [2]map[string]secret.Value
	var keys [2]secret.Key
	for i, s := range []Side{left, right} {
		store, err := w.Store(s.Environment)
		if err != nil {
			return nil, err
		}
		var b providers.Bundle
		if s.Version == providers.Latest { // as its services see it: with what it borrows
			b, err = w.readWithBase(ctx, store, s.Target, w.Path(s.Target), s.Version)
		} else {
			b, err = store.Read(ctx, w.Path(s.Target), s.Version)
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, w.hintMissing(err, s.Target)
		}
		sides[i] = b.Values
		if keys[i], err = w.Fingerprints(ctx, store); err != nil {
			return nil, err
		}
	}
	all := map[string]bool{}
	for _, s := range sides {
		for k := range s {
			all[k] = true
		}
	}
	out := make([]Difference, 0, len(all))
	for _, k := range sortedKeys(all) {
		l, r := sides[0][k], sides[1][k]
		d := Difference{Key: k, Component: left.Component, State: "changed", LeftValue: l, RightValue: r}
		// One key for both columns, so that equal values show equal fingerprints
		// even where the sides live in different stores.
		d.Left, d.Right = keys[0].Fingerprint(l), keys[0].Fingerprint(r)
		switch {
		case l.Equal(r):
			d.State = "same"
		case !l.IsSet():
			d.State = "only-right"
		case !r.IsSet():
			d.State = "only-left"
		}
		out = append(out, d)
	}
	return out, nil
}

// Restoring finds what restore puts back: the newest version before the current
// one that held key with another value (or a version named), and the patch.
func (w *World) Restoring(ctx context.Context, t Target, key string, v providers.Version) (providers.Patch, providers.Bundle, error) {
	none := providers.Bundle{}
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, none, err
	}
	p := w.Path(t)
	if v == providers.Latest {
		events, err := w.History(ctx, t, key)
		if err != nil {
			return nil, none, err
		}
		now := events[len(events)-1]
		for i := len(events) - 2; i >= 0 && v == providers.Latest; i-- {
			if e := events[i]; (e.State == "set" || e.State == "empty") && !e.Value.Equal(now.Value) {
				v = providers.Version(e.Version)
			}
		}
		if v == providers.Latest {
			return nil, none, fault.Newf(fault.NotFound, "restore "+key, "run envctl history "+key+" --env "+t.Environment.Name, "no earlier version of %s holds another value of it", p)
		}
	}
	b, err := store.Read(ctx, p, v)
	if err != nil {
		return nil, none, fault.Wrap(err, fault.KindOf(err), "", "run envctl history "+key+t.on())
	}
	if !b.Values[key].IsSet() {
		return nil, none, fault.Newf(fault.NotFound, "restore "+key, "run envctl history "+key+" --env "+t.Environment.Name, "version %d of %s does not hold it", v, p)
	}
	return providers.Patch{key: b.Values[key]}, b, nil
}

// Restore plans putting back what a variable held in a version, or before.
func (w *World) Restore(ctx context.Context, t Target, key string, v providers.Version, deploy bool) (*plan.Plan, error) {
	patch, from, err := w.Restoring(ctx, t, key, v)
	if err != nil {
		return nil, err
	}
	p, err := w.Set(ctx, t, "restore", patch, deploy)
	if err != nil {
		return nil, err
	}
	p.Args[argVersion], p.Args[fieldCreated] = strconv.Itoa(int(from.Version)), stamp(from.Created)
	p.Facts = append(p.Facts, plan.Fact{Label: "restore", Text: fmt.Sprintf("%s as it was in version %d", key, from.Version)})
	return p, nil
}

// RollingBack returns the patch that makes the newest version equal to version
// to; it works on a deleted path too.
func RollingBack(to providers.Bundle) func(providers.Bundle) (providers.Patch, error) {
	return func(now providers.Bundle) (providers.Patch, error) {
		patch := providers.Patch{}
		for k := range now.Values {
			if !to.Values[k].IsSet() {
				patch[k] = secret.Value{}
			}
		}
		for k, v := range to.Values {
			if !v.Equal(now.Values[k]) {
				patch[k] = v
			}
		}
		return patch, nil
	}
}
