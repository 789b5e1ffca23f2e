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
	_, released = have[ManagedVariable]
	ours := strings.Split(have[ManagedVariable].Reveal(), ",")
	if released {
		ours = append(ours, "ENV", providers.MarkerVariable)
	}
	lines = map[string]secret.Value{}
	for name, v := range variables(r) {
		was, there := have[name]
		if !there || slices.Contains(ours, name) {
			continue
		}
		lines[name] = secret.Value{}
		if was.Equal(v) {
			continue
		}
		if lines[name], err = dotenv.Line([]byte(text.Reveal()), name); err != nil {
			return nil, false, fault.Wrap(err, fault.Refused, rollout.Op(r), "repair the text in Dokploy")
		}
	}
	return lines, released, nil
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
			return fault.Newf(fault.Conflict, rollout.Op(r), "run the command again", "somebody changed the line of %s in Dokploy at the same moment; nothing was written", name)
		}
	}
	return nil
}

// Return writes the lines back, and deploys the text.
func (d *Deployer) Return(ctx context.Context, r providers.Release, lines map[string]secret.Value, released bool) error {
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
	if err != nil {
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
// released beside them.
func putBack(text secret.Value, r providers.Release, lines map[string]secret.Value, released bool) (secret.Value, error) {
	op := rollout.Op(r)
	have, err := readText(op, text)
	if err != nil {
		return secret.Value{}, err
	}
	src := []byte(text.Reveal())
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		if !lines[name].IsSet() {
			continue // it is as it was
		}
		e, err := dotenv.SetLine(src, name, lines[name], dotenv.Dokploy)
		if err != nil {
			return secret.Value{}, err
		}
		src = e.Src
	}
	managed := strings.Split(have[ManagedVariable].Reveal(), ",")
	want := map[string]secret.Value{}
	if released {
		want = variables(r)
		want[ManagedVariable] = secret.New(strings.Join(slices.Sorted(maps.Keys(r.Values)), ","))
	} else {
		managed = append(managed, "ENV", ManagedVariable, providers.MarkerVariable)
	}
	for name := range lines {
		delete(want, name)
		managed = slices.DeleteFunc(managed, func(other string) bool { return other == name })
	}
	return apply(op, src, have, managed, want)
}
