package playbooks

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/providers"
)

// finishRole plans the end of a database login that was kept: the one that the
// store held before.
func (w *World) finishRole(ctx context.Context, t Target, r Rotation) (*plan.Plan, error) {
	d, err := w.roleChange(t, r)
	if err != nil {
		return nil, err
	}
	op := "finish the rotation of " + r.Recipe.Variable
	if !d.overlaps() {
		return nil, fault.New(fault.Usage, op, "its role has one password, and the old one ended when it was replaced", "nothing to retire")
	}
	if err := d.trusted(); err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, d.store, t)
	if err != nil {
		return nil, err
	}
	now, err := d.loginOf(cur)
	if err != nil {
		return nil, err
	}
	before, old, err := d.before(ctx, cur, now)
	if err != nil {
		return nil, err
	}
	since, err := w.setSince(ctx, d.store, cur, r.Recipe.Variable)
	if err != nil {
		return nil, err
	}
	if err := tooEarly(w.Now(), since, r); err != nil {
		return nil, err
	}
	if err := d.roles.Login(ctx, now); err != nil {
		return nil, d.disagree(err, now)
	}
	if _, err := d.lookUp(ctx, now, old.Role); err != nil {
		return nil, err
	}
	switch err := d.roles.Login(ctx, old); {
	case fault.Is(err, fault.Denied):
		return nil, fault.Newf(fault.NotFound, op, "look with envctl history "+r.Recipe.Variable+t.on(), "the login of %s that version %d holds is refused already: nothing to retire", old.Role, before)
	case err != nil:
		return nil, err
	}
	if d.turns() {
		if err := d.unused(ctx, now, old.Role, 0); err != nil {
			return nil, err
		}
	}
	d.was, d.role = old.Role, now.Role
	return d.finish(pair{before, cur.Version})
}

// before returns the newest version that holds another login than the current one.
func (d *roleChange) before(ctx context.Context, cur providers.Bundle, now providers.Login) (providers.Version, providers.Login, error) {
	revisions, err := d.store.History(ctx, cur.Path)
	if err != nil {
		return 0, now, err
	}
	for _, rev := range slices.Backward(revisions) {
		if rev.Version >= cur.Version || rev.Deleted || rev.Destroyed {
			continue
		}
		b, err := d.store.Read(ctx, cur.Path, rev.Version)
		if err != nil {
			return 0, now, err
		}
		if old, err := d.loginOf(b); err == nil && !sameLogin(old, now) {
			return rev.Version, old, nil
		}
	}
	return 0, now, fault.Newf(fault.NotFound, "finish the rotation of "+d.r.Recipe.Variable, "look with envctl history "+d.r.Recipe.Variable+d.t.on(),
		"no earlier version of %s holds another login: nothing to retire", cur.Path)
}

// finish reads the running processes, and ends the old login when none holds it.
func (d *roleChange) finish(s pair) (*plan.Plan, error) {
	p := &plan.Plan{
		Playbook: "rotate " + d.r.Name, Project: d.w.Project.Name, Environment: d.t.Environment.Name, Component: d.t.Component,
		Args: map[string]string{
			"name": d.r.Name, "was": d.was, "role": d.role, "finish": "true",
			fieldFrom: strconv.Itoa(int(s.from)), fieldTo: strconv.Itoa(int(s.to)),
		},
		Facts: []plan.Fact{
			{Label: "retire", Text: "the login of " + d.was + " that version " + strconv.Itoa(int(s.from)) + " holds, which is seen refused"},
			{Label: "role", Text: d.role + " stays, on " + d.roles.Describe()},
		},
	}
	if d.t.Environment.Protected {
		p.Confirm = d.t.Environment.Name
	}
	r, err := d.w.rollouts(d.t, &written{}, "")
	if err != nil {
		return nil, err
	}
	for _, step := range r.after {
		if strings.HasPrefix(step.ID, "verify") {
			p.Steps = append(p.Steps, step)
		}
	}
	verified := slices.Clone(p.Steps)
	end := d.endStep(func(*plan.Page) (pair, error) { return s, nil }, func(*plan.Page) string { return "" })
	do := end.Do
	end.Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		if why := unproven(page, verified); why != "" {
			return nil, fault.New(fault.No, "finish the rotation of "+d.r.Recipe.Variable, why, "run envctl status"+" --env "+d.t.Environment.Name)
		}
		return do(ctx, page)
	}
	p.Steps = append(p.Steps, end)
	return p, d.w.guard(p, d.t.Environment)
}

// rebuildRole makes the plan of a journaled rotation again. What the journal names
// must be what the recipe names: it decides whose password is changed.
func (w *World) rebuildRole(ctx context.Context, t Target, name string, h plan.Header) (*plan.Plan, error) {
	op := "rebuild " + h.Playbook
	_, r, err := w.FindRotation(name, t.Component)
	if err != nil {
		return nil, fault.Wrap(err, fault.Refused, op, "bring the recipe "+name+" back in "+config.FileName)
	}
	db := r.Recipe.Database
	was, role := h.Args["was"], h.Args["role"]
	switch {
	case db == nil,
		db.Alternate == "" && (was != db.Role || role != db.Role),
		db.Alternate != "" && (was == role || !slices.Contains([]string{db.Role, db.Alternate}, was) || !slices.Contains([]string{db.Role, db.Alternate}, role)):
		return nil, fault.Newf(fault.Refused, op, "bring the recipe "+name+" back to what it was in "+config.FileName, "the recipe names other roles than the run: %s and %s", was, role)
	}
	d, err := w.roleChange(t, r)
	if err != nil {
		return nil, err
	}
	d.was, d.role, d.noted = was, role, h.Args[argNoted+t.Component]
	if h.Args["finish"] == "true" {
		s, ok := pairOf(plan.Receipt(h.Args))
		if !ok {
			return nil, fault.New(fault.Invalid, op, "the journal names no versions", "")
		}
		return d.finish(s)
	}
	cur, err := w.current(ctx, d.store, t)
	if err != nil {
		return nil, err
	}
	return d.plan(ctx, cur, nil)
}
