package playbooks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Fields of a deployment's intent where people write what it overwrites.
const (
	fieldTyped    = "typed"    // where in the store what they typed is
	fieldRun      = "run"      // under whose name
	fieldSame     = "same"     // where nothing is: the variables whose lines said what the release says
	fieldReleased = "released" // "true": an earlier release was there beside it
)

// kept is where the store has what somebody typed for a component's variables before
// a release took them over: its deployer keeps no versions.
func (w *World) kept(t Target) naming.Path {
	return naming.Path{Project: w.Project.Name, Environment: t.Environment.Name, Component: naming.BeforeComponent}
}

// takeOver journals a deployment's intent, once the store has what the release will
// overwrite of somebody else's.
func (w *World) takeOver(ctx context.Context, t Target, d providers.Deployer, page *plan.Page, rel *providers.Release) error {
	intent := plan.Receipt{"component": t.Component}
	o, ok := d.(providers.Overwriter)
	if !ok {
		return page.Intend(intent)
	}
	foreign, released, err := o.Foreign(ctx, *rel)
	if err != nil {
		return err
	}
	intent[fieldReleased] = fmt.Sprint(released)
	// An interrupted attempt may have written over what it found.
	if prior, cut := page.Prior(); cut && prior[fieldReleased] != "" {
		for _, field := range []string{fieldTyped, fieldRun, fieldReleased} {
			intent[field] = prior[field]
		}
		for _, name := range strings.Fields(prior[fieldSame]) {
			foreign[name] = secret.Value{}
		}
	}
	rel.Known = maps.Clone(foreign)
	maps.DeleteFunc(rel.Known, func(_ string, line secret.Value) bool { return !line.IsSet() })
	same := strings.Join(slices.Sorted(maps.Keys(foreign)), " ")
	// Lines that all say what the release says are no loss.
	if len(rel.Known) > 0 || len(same) > sameLimit {
		v, err := w.keep(ctx, t, keptAs(page.Run(), t), foreign)
		if err != nil {
			return err
		}
		intent[fieldTyped], intent[fieldRun] = fmt.Sprintf("%s@%d", w.kept(t), v), page.Run()
	} else {
		intent[fieldSame] = same
	}
	if err := page.Intend(intent); err != nil {
		return err
	}
	if len(rel.Known) > 0 {
		page.Warn("takes over " + list(slices.Sorted(maps.Keys(rel.Known))) + ", typed in " + d.Describe() + "; what was typed is kept at " + intent[fieldTyped])
	}
	return nil
}

// sameLimit is how long the names of lines that need no keeping may be in a journal.
const sameLimit = 400

// was finds out what releases said, by their markers, once each.
func (w *World) was(ctx context.Context, t Target) func(string) (map[string]secret.Value, error) {
	found := map[string]map[string]secret.Value{}
	return func(mark string) (map[string]secret.Value, error) {
		if v, ok := found[mark]; ok || t.Environment.Base != "" { // what it borrowed is in no marker
			return v, nil
		}
		store, err := w.Store(t.Environment)
		if err != nil {
			return nil, err
		}
		pinned, err := w.versionsOf(ctx, t, mark)
		var r *Rendered
		if err == nil {
			r, err = w.Render(ctx, store, t, pinned)
		}
		switch {
		case err == nil:
			found[mark] = r.Variables
		case fault.Is(err, fault.Refused, fault.Denied, fault.NotFound, fault.Deleted, fault.Destroyed):
			found[mark] = nil // nobody knows any more
		default:
			return nil, err
		}
		return found[mark], nil
	}
}

// keptAs begins the names under which one run keeps lines of one component.
func keptAs(run string, t Target) string { return run + "." + t.Component + "." }

// keepTries bounds how often keeping begins anew after a run of another component.
const keepTries = 5

// keep writes what somebody typed to the store, and reads it back.
func (w *World) keep(ctx context.Context, t Target, as string, foreign map[string]secret.Value) (providers.Version, error) {
	p := w.kept(t)
	store, err := w.Store(t.Environment)
	if err != nil {
		return 0, err
	}
	patch := providers.Patch{}
	for name, line := range foreign {
		if !line.IsSet() { // it stays
			line = secret.New("")
		}
		patch[as+name] = line
	}
	for try := 1; ; try++ {
		base := providers.Absent
		now, err := store.Read(ctx, p, providers.Latest)
		switch {
		case err == nil:
			base = now.Version
		case fault.Is(err, fault.Deleted, fault.Destroyed):
			last, herr := newestRevision(ctx, store, p)
			if herr != nil {
				return 0, herr
			}
			base = last.Version
		case !fault.Is(err, fault.NotFound):
			return 0, w.unkept(t, foreign, err)
		}
		v, err := store.Write(ctx, p, base, patch)
		if fault.Is(err, fault.Conflict) && try < keepTries {
			continue
		}
		if err != nil {
			return 0, w.unkept(t, foreign, err)
		}
		back, err := store.Read(ctx, p, v)
		if err != nil {
			return 0, err
		}
		for key, line := range patch {
			if !back.Values[key].Equal(line) {
				return 0, fault.Newf(fault.Unknown, "keep "+strings.TrimPrefix(key, as)+" at "+p.String(), "run the command again", "version %d does not hold what was written", v)
			}
		}
		return v, nil
	}
}

// unkept refuses to overwrite for good what nobody else has.
func (w *World) unkept(t Target, foreign map[string]secret.Value, err error) error {
	if !fault.Is(err, fault.Denied) {
		return err
	}
	return fault.Wrap(err, fault.Denied, "keep what was typed for "+list(slices.Sorted(maps.Keys(foreign)))+" before "+t.Component+" is deployed over it",
		"let the token create, read, update and patch "+w.kept(t).String())
}

// putBack undoes a deployment that took over what somebody typed: their lines stand
// again, and where no release was there before, nothing else does.
func (w *World) putBack(ctx context.Context, t Target, d providers.Deployer, did plan.Receipt, restart bool, pinned map[naming.Path]providers.Version) error {
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	op := "put back what was typed for " + t.Component + " in " + t.Environment.Name
	o, ok := d.(providers.Overwriter)
	if !ok {
		return fault.New(fault.Refused, op, "it was deployed by another deployer", "undo it with the deploy: of that run in envctl.yaml")
	}
	foreign := map[string]secret.Value{}
	for _, name := range strings.Fields(did[fieldSame]) {
		foreign[name] = secret.Value{}
	}
	if did[fieldTyped] != "" {
		var err error
		if foreign, err = w.typed(ctx, t, did); err != nil {
			return fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
		}
	}
	if did[fieldReleased] != "true" {
		rel, err := w.named(t)
		if err != nil {
			return err
		}
		rel.Marker, rel.Was = "none", w.was(ctx, t)
		return o.Return(ctx, rel, foreign, false, restart)
	}
	want, rel, err := w.prepare(ctx, t, pinned)
	if err != nil {
		return err
	}
	if err := o.Return(ctx, rel, foreign, true, restart); err != nil || !restart {
		return err
	}
	for name := range foreign {
		delete(want.Variables, name)
	}
	_, err = w.evidence(ctx, t, want)
	return err
}

// typed reads what a deployment kept: as it was written then, or, where that version
// is gone, what the newest one has of it.
func (w *World) typed(ctx context.Context, t Target, did plan.Receipt) (map[string]secret.Value, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	p := w.kept(t)
	_, at, _ := strings.Cut(did[fieldTyped], "@")
	v, _ := strconv.Atoi(at) // without one: the newest
	b, err := store.Read(ctx, p, providers.Version(v))
	if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
		b, err = store.Read(ctx, p, providers.Latest)
	}
	if err != nil {
		return nil, err
	}
	foreign := map[string]secret.Value{}
	for key, line := range b.Values {
		if name, mine := strings.CutPrefix(key, keptAs(did[fieldRun], t)); mine && line.Len() > 0 {
			foreign[name] = line
		} else if mine {
			foreign[name] = secret.Value{}
		}
	}
	if len(foreign) == 0 {
		return nil, fault.Newf(fault.NotFound, "read "+p.String(), "put them back in Dokploy by hand", "it holds none of its lines any more")
	}
	return foreign, nil
}
