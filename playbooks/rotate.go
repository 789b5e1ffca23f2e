package playbooks

import (
	"context"
	"fmt"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Rotation is a recipe with everything about it settled.
type Rotation struct {
	Name      string // as typed: a recipe's name or a variable
	Recipe    config.Recipe
	Generator secret.Generator
}

// rotationOf finds what NAME means in a component: a recipe's name, a recipe's
// variable, or a variable that the component generates.
func rotationOf(c config.Component, name string) (Rotation, bool) {
	r, ok := c.Rotate.Get(name)
	recipeName := name
	if !ok {
		for _, e := range c.Rotate {
			if e.Value.Variable == name {
				r, recipeName, ok = e.Value, e.Key, true
				break
			}
		}
	}
	if !ok {
		if _, made := c.Generate[name]; !made {
			return Rotation{}, false
		}
		r = config.Recipe{Variable: name}
	}
	typeName := c.Generate[r.Variable]
	if typeName == "" {
		typeName = recipeName
	}
	g, ok := secret.FindGenerator(typeName)
	if !ok && r.Ring {
		g, _ = secret.FindGenerator("fernet")
	}
	return Rotation{Name: name, Recipe: r, Generator: g}, true
}

// RotationNames returns what rotate accepts in a component: recipes, then
// generated variables.
func RotationNames(c config.Component) []string {
	var names []string
	for _, e := range c.Rotate {
		names = append(names, e.Key)
	}
	return append(names, sortedKeys(c.Generate)...)
}

// FindRotation returns the component and the rotation that NAME means: in the
// component named, else in the only one that knows it.
func (w *World) FindRotation(name, component string) (string, Rotation, error) {
	var found []string
	var rotation Rotation
	var known []string
	for _, e := range w.Project.Components {
		if component != "" && e.Key != component {
			continue
		}
		known = append(known, RotationNames(e.Value)...)
		if r, ok := rotationOf(e.Value, name); ok {
			found, rotation = append(found, e.Key), r
		}
	}
	switch len(found) {
	case 1:
		if v := rotation.Recipe.Variable; rotation.Generator.New == nil {
			return "", rotation, fault.New(fault.Usage, "rotate "+name, "nothing says how "+v+" is made",
				"add generate: {"+v+": jwt} to the component "+found[0]+" in "+config.FileName+" (or another of: "+list(generatorNames())+")")
		}
		return found[0], rotation, nil
	case 0:
		hint := "give it a generator in envctl.yaml: components: {app: {generate: {" + strings.ToUpper(name) + ": jwt}}}"
		if near := naming.Nearest(name, known); near != "" {
			hint = "did you mean envctl rotate " + near + "?"
		} else if len(known) > 0 {
			hint += "; known here: " + list(known)
		}
		return "", rotation, fault.New(fault.Usage, "rotate "+name, "no recipe and no generator has that name", hint)
	default:
		return "", rotation, fault.Newf(fault.Usage, "rotate "+name, "name one with --component", "several components know it: %s", list(found))
	}
}

func generatorNames() []string {
	var names []string
	for _, g := range secret.Generators() {
		names = append(names, g.Name)
	}
	return names
}

// Rotate plans the rotation of one secret: generate, write on the version that
// was read with the old value kept where the recipe says so, deploy, verify.
func (w *World) Rotate(ctx context.Context, t Target, r Rotation) (*plan.Plan, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, t)
	if err != nil {
		return nil, err
	}
	facts, err := w.rotationFacts(t, r, cur)
	if err != nil {
		return nil, err
	}
	change := w.rotation(t, r)
	change.Facts = facts
	return change.planOn(ctx, w, store, cur)
}

// rotation is the change that a rotation makes.
func (w *World) rotation(t Target, r Rotation) Change {
	v := r.Recipe.Variable
	keys := []string{v}
	if r.Recipe.Previous != "" && !r.Recipe.Ring {
		keys = append(keys, r.Recipe.Previous)
	}
	return Change{
		Target: t, Playbook: "rotate " + r.Name, Deploy: true, Keys: keys, ReadBack: true,
		Args:  map[string]string{"name": r.Name},
		Again: "envctl rotate " + r.Name + t.on(),
		Make:  func(now providers.Bundle) (providers.Patch, error) { return r.patch(w, now) },
		Check: func(_ context.Context, before, after providers.Bundle) error {
			if !before.Values[v].IsSet() || !after.Values[v].IsSet() || after.Values[v].Equal(before.Values[v]) {
				return fault.Newf(fault.No, "rotate "+v, "look with envctl history "+v+t.on(), "version %d of %s holds the value of version %d: it was not rotated", after.Version, after.Path, before.Version)
			}
			return nil
		},
	}
}

// rotationFacts says what a rotation of the value there is will do, or refuses it.
func (w *World) rotationFacts(t Target, r Rotation, cur providers.Bundle) ([]plan.Fact, error) {
	v := r.Recipe.Variable
	op := "rotate " + v
	if err := w.needsTrust(op, r.Recipe); err != nil {
		return nil, err
	}
	if !cur.Values[v].IsSet() {
		return nil, fault.Newf(fault.NotFound, op, fmt.Sprintf("run envctl set %s --generate %s%s", v, r.Generator.Name, t.on()),
			"%s has no %s", cur.Path, v)
	}
	facts := []plan.Fact{{Label: "generate", Text: r.Generator.Name + " for " + v}}
	fernet := r.Generator.Name == "fernet"
	switch {
	case r.Recipe.Ring:
		ring, err := secret.ParseRing(cur.Values[v])
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, op, fmt.Sprintf("look at it with envctl get %s%s --reveal", v, t.on()))
		}
		keep := r.keep()
		stay := min(len(ring), keep-1)
		facts = append(facts, plan.Fact{Label: "ring", Text: fmt.Sprintf("the new key first, %d old kept, %d retired", stay, len(ring)-stay)})
		if gone := len(ring) - stay; gone > 0 {
			facts = append(facts, plan.Fact{Label: "lost", Text: "data still encrypted with a retired key can never be read again"})
		}
		if stay == 0 {
			return nil, fault.New(fault.Refused, op, "keeps no old key, so everything encrypted so far would be lost", "set keep: 2 in the recipe")
		}
	case fernet && r.Recipe.Reencrypt != "":
		return nil, fault.New(fault.Refused, op, "replacing a single Fernet key needs its reencrypt command, which this version does not run yet", "make it a ring (ring: true, keep: 2)")
	case fernet:
		return nil, fault.New(fault.Refused, op, "a single Fernet key cannot be replaced without re-encryption: everything encrypted so far would be lost",
			"make it a ring (ring: true, keep: 2), or give the recipe a reencrypt command")
	case r.Recipe.Previous != "":
		text := "the old value stays valid in " + r.Recipe.Previous
		if r.Recipe.Overlap.Duration > 0 {
			text += " for " + r.Recipe.Overlap.String()
		}
		facts = append(facts, plan.Fact{Label: "overlap", Text: text})
		if cur.Values[r.Recipe.Previous].IsSet() {
			facts = append(facts, plan.Fact{Label: "ends", Text: "the value that " + r.Recipe.Previous + " holds now is accepted no longer"})
		}
	case r.Generator.Name == "jwt":
		facts = append(facts, plan.Fact{Label: "ends", Text: "every session: the recipe has no previous variable, so no token made so far stays valid"})
	}
	if r.Recipe.Probe != nil {
		facts = append(facts, plan.Fact{Label: "not run", Text: "the recipe's probe: this version does not make it; the running processes are read instead"})
	}
	if r.Recipe.Reencrypt != "" {
		facts = append(facts, plan.Fact{Label: "not run", Text: "the recipe's reencrypt command: run it yourself before the next rotation"})
	}
	return facts, nil
}

// patch generates the new value and says what becomes of the old one.
func (r Rotation) patch(w *World, now providers.Bundle) (providers.Patch, error) {
	fresh, err := r.Generator.New(w.Rand)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "generate "+r.Generator.Name, "")
	}
	v := r.Recipe.Variable
	old := now.Values[v]
	patch := providers.Patch{v: fresh}
	switch {
	case r.Recipe.Ring:
		ring, err := secret.PrependKey(old, fresh)
		if err == nil {
			ring, _, err = secret.RetireKeys(ring, r.keep())
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "rotate "+v, "")
		}
		patch[v] = ring
	case r.Recipe.Previous != "":
		patch[r.Recipe.Previous] = old
	}
	if patch[v].Equal(old) {
		return nil, fault.Newf(fault.Internal, "rotate "+v, "", "the generator %s gave the old value again", r.Generator.Name)
	}
	return patch, nil
}

// keep is how many keys of a ring stay, the new one among them.
func (r Rotation) keep() int {
	if r.Recipe.Keep > 0 {
		return r.Recipe.Keep
	}
	return 2
}

// needsTrust refuses a recipe with commands or URLs of a file nobody trusted,
// and says which of them this version does not use.
func (w *World) needsTrust(op string, r config.Recipe) error {
	if (r.Reencrypt != "" || r.Probe != nil) && !w.Trusted {
		return fault.New(fault.Refused, op, "its recipe names a command or a URL, and "+config.FileName+" as it is now is not trusted",
			"read the file, then run envctl trust")
	}
	return nil
}
