package playbooks

import (
	"context"
	"maps"
	"strings"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/providers"
)

// pathWrite is the rotations of one path that are one write.
type pathWrite struct {
	t         Target
	cur       providers.Bundle
	rotations []Rotation
	checks    []func(written time.Time) error
	noted     string // when its metadata says that it was rotated last
	unknown   error  // of a rebuilt plan: the file has a recipe no longer
}

// argNoted, before a component, is the argument that keeps what was noted.
const argNoted = "noted."

// lockLength is how long the names of a run's components may be together; a run
// of more holds its whole environment.
const lockLength = 400

// rotatePaths plans one run: a check-and-set write for each path, then a
// deployment and a proof for each component that any of them reaches.
func (w *World) rotatePaths(store providers.Store, e config.Environment, playbook string, writes []pathWrite, readers *readers, unasked func() bool) (*plan.Plan, error) {
	p := &plan.Plan{Playbook: playbook, Project: w.Project.Name, Environment: e.Name, Args: map[string]string{}}
	if e.Protected {
		p.Confirm = e.Name
	}
	several := len(writes) > 1
	var names []string
	var before, writing, after, records []plan.Step
	reached := map[string][]*written{}
	for _, one := range writes {
		c := w.rotations(store, playbook, one)
		c.Several, c.Unasked = several, unasked
		for _, r := range one.rotations {
			p.Args[one.t.Component+"/"+r.Name] = r.Recipe.Variable
		}
		wrote := &written{}
		names = append(names, one.t.Component)
		p.Facts = append(p.Facts, c.facts(store, one.cur)...)
		writing = append(writing, w.writeStep(c, store, fixed(one.cur), wrote))
		for _, name := range readers.of(one.t.Component) {
			reached[name] = append(reached[name], wrote)
		}
		if meta, ok := store.(providers.Metadata); ok && one.noted != "" {
			p.Args[argNoted+one.t.Component] = clip(one.noted)
			records = append(records, recordStep(store, meta, c, one))
		}
	}
	if p.Component = strings.Join(names, ","); len(p.Component) > lockLength {
		p.Component = ""
	}
	for _, name := range readers.names {
		if reached[name] == nil {
			continue
		}
		d, err := w.Deployer(e, name)
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue
		}
		if comp, _ := w.Project.Components.Get(name); len(comp.Services) == 0 && len(reached) > 1 {
			continue // it runs nothing itself
		}
		of := ""
		if several || name != names[0] {
			of = "." + name
		}
		r, facts, err := w.rollout(Target{Environment: e, Component: name}, d, of, reached[name]...)
		if err != nil {
			return nil, err
		}
		for _, wrote := range reached[name] {
			wrote.components++
		}
		p.Facts = append(p.Facts, facts...)
		before, after = append(before, r.before), append(after, r.deploy, r.verify)
	}
	p.Steps = append(append(append(before, writing...), after...), records...)
	return p, w.guard(p, e)
}

// rotations is the change that the rotations of one path make together.
func (w *World) rotations(store providers.Store, playbook string, one pathWrite) Change {
	c := Change{Target: one.t, Playbook: playbook, Deploy: true, ReadBack: true, Again: "envctl " + playbook + one.t.on()}
	all := make([]Change, len(one.rotations))
	for i, r := range one.rotations {
		all[i] = w.rotation(rotating{w: w, t: one.t, r: r, store: store, cur: one.cur})
		c.Keys = append(c.Keys, all[i].Keys...)
		if facts, err := w.rotationFacts(one.t, r, one.cur); err == nil { // else it is refused when it is made
			c.Facts = append(c.Facts, facts...)
		}
	}
	c.Make = func(now providers.Bundle) (providers.Patch, error) {
		if one.unknown != nil {
			return nil, one.unknown
		}
		patch := providers.Patch{}
		for i, r := range one.rotations {
			if _, err := w.rotationFacts(one.t, r, now); err != nil {
				return nil, err
			}
			some, err := all[i].Make(now)
			if err != nil {
				return nil, err
			}
			maps.Copy(patch, some)
		}
		return patch, nil
	}
	c.Check = func(ctx context.Context, before, after providers.Bundle) error {
		for i := range all {
			if err := all[i].Check(ctx, before, after); err != nil {
				return err
			}
		}
		for _, check := range one.checks {
			if err := check(after.Created); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// rebuildRotateAll makes the plan of a run of a batch again.
func (w *World) rebuildRotateAll(ctx context.Context, e config.Environment, h plan.Header) (*plan.Plan, error) {
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	var writes []pathWrite
	for _, name := range w.Project.ComponentNames() {
		args := cutKeys(h.Args, name+"/")
		if len(args) == 0 {
			continue
		}
		one := pathWrite{t: Target{Environment: e, Component: name}, noted: h.Args[argNoted+name]}
		if one.cur, err = w.current(ctx, store, one.t); err != nil {
			return nil, err
		}
		for _, recipe := range sortedKeys(args) {
			_, r, err := w.FindRotation(recipe, name)
			if err == nil && r.Recipe.Variable != args[recipe] {
				err = fault.Newf(fault.Refused, "rotate "+recipe, "run envctl undo "+h.ID, "the recipe is of %s now, and was of %s", r.Recipe.Variable, args[recipe])
			}
			r.Name = recipe
			if one.rotations = append(one.rotations, r); one.unknown == nil {
				one.unknown = err
			}
		}
		writes = append(writes, one)
	}
	if len(writes) == 0 {
		return nil, fault.New(fault.Invalid, "rebuild "+h.Playbook, "the journal names no recipe of a component that the file has", "envctl runs")
	}
	return w.rotatePaths(store, e, h.Playbook, writes, w.readers(), nil)
}

// noting adds to a rotation of its own, as its last step, that the note of its path
// is kept true.
func noting(c Change, store providers.Store, cur providers.Bundle, noted string) Change {
	meta, ok := store.(providers.Metadata)
	if !ok || noted == "" {
		return c
	}
	c.Args[argNoted+c.Component] = clip(noted)
	extend, one := c.Extend, pathWrite{t: c.Target, cur: cur, noted: noted}
	c.Extend = func(p *plan.Plan, r rollouts) error {
		if err := extend(p, r); err != nil {
			return err
		}
		p.Steps = append(p.Steps, recordStep(store, meta, c, one))
		return nil
	}
	return c
}

// recordStep notes in a path's custom metadata when its values were rotated, where
// the path keeps such a note: a PATCH, which leaves all other metadata as it is. A
// note that cannot be made takes no rotation back; the versions tell as well.
func recordStep(store providers.Reader, meta providers.Metadata, c Change, one pathWrite) plan.Step {
	path := one.cur.Path
	id := "record"
	if c.Several {
		id += "." + c.Component
	}
	return plan.Step{
		ID: id, Title: "note the time in the metadata of " + path.String(), Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			wrote, _ := page.Receipt(c.stepID())
			b, err := store.Read(ctx, path, versionOf(wrote, fieldTo))
			r := plan.Receipt{fieldWas: clip(one.noted)}
			if err == nil {
				r[metaRotatedAt] = b.Created.UTC().Format(time.RFC3339)
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			if err == nil {
				err = meta.PatchMeta(ctx, path, map[string]string{metaRotatedAt: r[metaRotatedAt]})
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil, err
				}
				r["why"] = clip(err.Error())
				page.Warn("the rotation stands, but " + metaRotatedAt + " of " + path.String() + " is still " + one.noted + ": " + err.Error())
			}
			return r, nil
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r[metaRotatedAt] == "" {
				return nil
			}
			now, err := meta.Meta(ctx, path)
			if err != nil || now.Custom[metaRotatedAt] != r[metaRotatedAt] {
				return err // somebody noted another time since
			}
			return meta.PatchMeta(ctx, path, map[string]string{metaRotatedAt: r[fieldWas]})
		},
	}
}
