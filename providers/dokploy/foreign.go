package dokploy

import (
	"context"
	"maps"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/dotenv"
	"envctl/providers/internal/rollout"
)

var _ providers.Overwriter = (*Deployer)(nil)

// Foreign returns the lines of the environment text that somebody typed for variables
// of r, as they are written there.
func (d *Deployer) Foreign(ctx context.Context, r providers.Release) (map[string]secret.Value, bool, error) {
	id, err := d.find(ctx, r)
	if err != nil {
		return nil, false, err
	}
	c, err := d.one(ctx, rollout.Op(r), id)
	if err != nil {
		return nil, false, err
	}
	return foreign(c.text, r)
}

func foreign(text secret.Value, r providers.Release) (lines map[string]secret.Value, released bool, err error) {
	have, err := readText(rollout.Op(r), text)
	if err != nil {
		return nil, false, err
	}
	ours, released, err := written(have, r)
	if err != nil {
		return nil, false, err
	}
	lines = map[string]secret.Value{}
	want := variables(r)
	for _, name := range append(slices.Collect(maps.Keys(want)), managed(have)...) {
		was, there := have[name]
		if !there || ours[name] {
			continue
		}
		lines[name] = secret.Value{}
		if was.Equal(want[name]) {
			continue
		}
		lines[name], err = dotenv.Line([]byte(text.Reveal()), name)
		if err == nil && !lines[name].IsSet() {
			err = fault.Newf(fault.Refused, "", "", "the line of %s cannot be told from the others", name)
		}
		if err != nil {
			return nil, false, fault.Wrap(err, fault.Refused, rollout.Op(r), "repair the text in Dokploy")
		}
	}
	return lines, released, nil
}

// managed are the variables that the text says a release wrote.
func managed(have map[string]secret.Value) []string {
	return strings.FieldsFunc(have[ManagedVariable].Reveal(), func(c rune) bool { return c == ',' })
}

// written are the variables of the text that a release wrote, and nobody since as far
// as r.Was knows; released tells that there is a release in it.
func written(have map[string]secret.Value, r providers.Release) (ours map[string]bool, released bool, err error) {
	if _, released = have[ManagedVariable]; !released {
		return nil, false, nil
	}
	ours = map[string]bool{}
	for _, name := range append(managed(have), "ENV", providers.MarkerVariable) {
		ours[name] = true
	}
	want := variables(r)
	same := func(name string) bool { return have[name].Equal(want[name]) || !have[name].IsSet() }
	if r.Was == nil || !slices.ContainsFunc(append(managed(have), "ENV"), func(name string) bool { return !same(name) }) {
		return ours, true, nil
	}
	r.Marker = have[providers.MarkerVariable].Reveal()
	if r.Values, err = r.Was(r.Marker); err != nil || r.Values == nil {
		return ours, true, err
	}
	want = variables(r)
	maps.DeleteFunc(ours, func(name string, _ bool) bool { return !same(name) })
	return ours, true, nil
}

// known refuses to overwrite lines that nobody has kept.
func known(text secret.Value, r providers.Release) error {
	if r.Known == nil {
		return nil
	}
	lines, _, err := foreign(text, r)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		if line := lines[name]; line.IsSet() && !line.Equal(r.Known[name]) {
			return fault.Newf(fault.Conflict, rollout.Op(r), "envctl set it, or take the line out in Dokploy, then run the command again",
				"somebody typed the line of %s in Dokploy meanwhile; nothing was written", name)
		}
	}
	return nil
}

// Return writes the lines back, and deploys the text where it is to be restarted.
func (d *Deployer) Return(ctx context.Context, r providers.Release, lines map[string]secret.Value, released, restart bool) error {
	id, err := d.find(ctx, r)
	if err != nil {
		return err
	}
	r.Values = maps.Clone(r.Values)
	maps.DeleteFunc(r.Values, func(name string, _ secret.Value) bool { _, foreign := lines[name]; return foreign })
	if err := check(r); err != nil {
		return err
	}
	op := rollout.Op(r)
	err = d.change(ctx, op, "run the command again", id, func(text secret.Value) (secret.Value, error) {
		return putBack(text, r, lines, released)
	})
	if err != nil || !restart {
		return err
	}
	dep, err := d.begin(ctx, r, id)
	if err != nil {
		return err
	}
	c, err := d.ended(ctx, r, dep)
	if err != nil {
		return err
	}
	return rollout.Watch{Release: r, Since: dep.Started, Interval: interval, Look: d.look(r, c.app)}.Wait(ctx)
}

// putBack returns text with the lines in it, and with r where something is to be
// released beside them. Whatever else somebody has typed by now stays.
func putBack(text secret.Value, r providers.Release, lines map[string]secret.Value, released bool) (secret.Value, error) {
	op := rollout.Op(r)
	have, err := readText(op, text)
	if err != nil {
		return secret.Value{}, err
	}
	ours, there, err := written(have, r)
	if err != nil {
		return secret.Value{}, err
	}
	src := []byte(text.Reveal())
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		if !lines[name].IsSet() || have[name].IsSet() && !ours[name] {
			continue // it is as it was, or theirs again
		}
		e, err := dotenv.SetLine(src, name, lines[name], dotenv.Dokploy)
		if err != nil {
			return secret.Value{}, err
		}
		src = e.Src
	}
	theirs := func(name string) bool { _, back := lines[name]; return back || have[name].IsSet() && !ours[name] }
	want := map[string]secret.Value{}
	if released {
		r.Values = maps.Clone(r.Values)
		maps.DeleteFunc(r.Values, func(name string, _ secret.Value) bool { return theirs(name) })
		want = variables(r)
		maps.DeleteFunc(want, func(name string, _ secret.Value) bool { return theirs(name) })
		want[ManagedVariable] = names(r.Values)
	}
	maps.DeleteFunc(ours, func(name string, _ bool) bool { return theirs(name) })
	if !released && there {
		ours[ManagedVariable] = true
	}
	return apply(op, src, have, slices.Sorted(maps.Keys(ours)), want)
}
