package playbooks

import (
	"context"
	"fmt"
	"slices"
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
	if !ok && r.Database != nil {
		g, _ = secret.FindGenerator("password")
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
// was read with the old value kept where the recipe says so, deploy, verify, and
// prove what the recipe has a proof for.
func (w *World) Rotate(ctx context.Context, t Target, r Rotation) (*plan.Plan, error) {
	if r.Recipe.Database != nil {
		return w.rotateRole(ctx, t, r)
	}
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
	change := w.rotation(rotating{w: w, t: t, r: r, store: store, cur: cur})
	change.Facts = facts
	return change.planOn(ctx, w, store, cur)
}

// rebuildRotate makes a rotation's plan again. What a new rotation would refuse
// is refused when the step is done again, so that undo needs none of it.
func (w *World) rebuildRotate(ctx context.Context, t Target, name string, h plan.Header) (*plan.Plan, error) {
	_, r, unknown := w.FindRotation(name, t.Component)
	if unknown != nil { // undo still has to know what must not get lost
		r = Rotation{Recipe: config.Recipe{Variable: h.Args["variable"], Ring: h.Args["encrypts"] == "ring"}}
		if h.Args["encrypts"] != "" {
			r.Generator, _ = secret.FindGenerator("fernet")
		}
	}
	r.Name = name
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, t)
	if err != nil {
		return nil, err
	}
	ro := rotating{w: w, t: t, r: r, store: store, cur: cur, rebuilt: &h}
	if unknown == nil && h.Args["finish"] == "true" {
		return w.finishPlan(ctx, ro)
	}
	change := w.rotation(ro)
	make := change.Make
	change.Make = func(now providers.Bundle) (providers.Patch, error) {
		if unknown != nil {
			return nil, unknown
		}
		if _, err := w.rotationFacts(t, r, now); err != nil {
			return nil, err
		}
		return make(now)
	}
	return change.planOn(ctx, w, store, cur)
}

// rotating is a rotation at work: where, on what, and, for a run that is made
// again, what its journal says.
type rotating struct {
	w       *World
	t       Target
	r       Rotation
	store   providers.Store
	cur     providers.Bundle // as it was read while planning
	rebuilt *plan.Header
}

// wants tells whether the plan has a step: for the first time when it is needed,
// made again when the journal has it.
func (ro rotating) wants(id string, needed bool) bool {
	if ro.rebuilt == nil {
		return needed
	}
	return slices.ContainsFunc(ro.rebuilt.Steps, func(s plan.StepName) bool { return s.ID == id })
}

// rotation is the change that a rotation makes.
func (w *World) rotation(ro rotating) Change {
	t, r := ro.t, ro.r
	v := r.Recipe.Variable
	keys := []string{v}
	if hold := r.hold(); hold != "" {
		keys = append(keys, hold)
	}
	c := Change{
		Target: t, Playbook: "rotate " + r.Name, Deploy: true, Keys: keys, ReadBack: true,
		Args:  map[string]string{"name": r.Name, "variable": v, "encrypts": r.encrypts()},
		Again: "envctl rotate " + r.Name + t.on(),
		Make:  func(now providers.Bundle) (providers.Patch, error) { return r.patch(w, t, now) },
		Check: func(_ context.Context, before, after providers.Bundle) error {
			if !before.Values[v].IsSet() || !after.Values[v].IsSet() || after.Values[v].Equal(before.Values[v]) {
				return fault.Newf(fault.No, "rotate "+v, "look with envctl history "+v+t.on(), "version %d of %s holds the value of version %d: it was not rotated", after.Version, after.Path, before.Version)
			}
			return nil
		},
	}
	c.Extend = ro.extendJWT
	if r.fernet() {
		c.Extend = ro.extendFernet
		c.PutBack, c.PutBackDone = ro.putBack, ro.putBackDone
	}
	noted := ro.cur.Custom[metaRotatedAt]
	if ro.rebuilt != nil {
		noted = ro.rebuilt.Args[argNoted+t.Component]
	}
	return ro.stubbed(noting(c, ro.store, ro.cur, noted))
}

// stubbed lets a plan that is made again have the steps that its journal has,
// whatever became of the recipe: undo goes past them.
func (ro rotating) stubbed(c Change) Change {
	extend := c.Extend
	c.Extend = func(p *plan.Plan, r rollouts) error {
		if extend != nil {
			if err := extend(p, r); err != nil || ro.rebuilt == nil {
				return err
			}
		}
		if ro.rebuilt == nil {
			return nil
		}
		for _, name := range ro.rebuilt.Steps {
			if slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.ID == name.ID }) {
				continue
			}
			stub := plan.Step{
				ID: name.ID, Title: name.Title, Risk: plan.Reads,
				Do: func(context.Context, *plan.Page) (plan.Receipt, error) {
					return nil, fault.New(fault.Refused, p.Playbook, "the recipe has changed since the run began", "bring envctl.yaml back to where it was, then envctl resume, or envctl undo")
				},
				Undo: func(context.Context, plan.Receipt) error { return nil },
			}
			if name.ID == stepReencrypt {
				stub.Risk, stub.Undo = plan.Irreversible, nil
			}
			p.Steps = append(p.Steps, stub)
		}
		return nil
	}
	return c
}

// hold is the key that keeps the old value: the recipe's previous, or where a
// single Fernet key waits for its data to be re-encrypted; "" for none.
func (r Rotation) hold() string {
	switch {
	case r.Recipe.Ring:
		return ""
	case r.Recipe.Previous == "" && r.fernet():
		return r.Recipe.Variable + "_PREVIOUS"
	}
	return r.Recipe.Previous
}

// fernet tells whether the value encrypts data, so that an old key is needed as
// long as there is some.
func (r Rotation) fernet() bool { return r.Recipe.Ring || r.Generator.Name == "fernet" }

// encrypts says how a value is used that encrypts data: as one key or as a ring.
func (r Rotation) encrypts() string {
	switch {
	case r.Recipe.Ring:
		return "ring"
	case r.fernet():
		return "key"
	}
	return ""
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
	switch {
	case r.fernet():
		more, err := w.fernetFacts(t, r, cur)
		return append(facts, more...), err
	case r.Recipe.Previous != "":
		more, accepted := w.overlapFacts(t, r, cur)
		facts = append(facts, more...)
		if where, ok := secret.Published(cur.Values[v]); ok && accepted {
			facts = append(facts, plan.Fact{Label: WarningFact, Text: "the value that stays valid is published in " + where + ": anybody can sign with it until it is retired"})
		}
	case r.Generator.Name == "jwt":
		facts = append(facts, plan.Fact{Label: "ends", Text: "every session: the recipe has no previous variable, so no token made so far stays valid"})
	}
	return facts, nil
}

// patch generates the new value and says what becomes of the old one.
func (r Rotation) patch(w *World, t Target, now providers.Bundle) (providers.Patch, error) {
	v := r.Recipe.Variable
	fresh, err := w.fresh(t, v, r.Generator)
	if err != nil {
		return nil, err
	}
	old := now.Values[v]
	patch := providers.Patch{v: fresh}
	switch {
	case r.Recipe.Ring:
		ring, err := secret.PrependKey(old, fresh)
		if err == nil && r.Recipe.Reencrypt == "" { // else only what was re-encrypted is retired
			ring, _, err = secret.RetireKeys(ring, r.keep())
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "rotate "+v, "")
		}
		patch[v] = ring
	case r.hold() != "":
		patch[r.hold()] = old
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

// needsTrust refuses a recipe with commands or URLs of a file nobody trusted.
func (w *World) needsTrust(op string, r config.Recipe) error {
	if (r.Reencrypt != "" || r.Probe != nil) && !w.Trusted {
		return fault.New(fault.Refused, op, "its recipe names a command or a URL, and "+config.FileName+" as it is now is not trusted",
			"read the file, then run envctl trust")
	}
	return nil
}

// extendJWT proves the rotation of a signing key by the recipe's probe.
func (ro rotating) extendJWT(p *plan.Plan, d rollouts) error {
	v, previous := ro.r.Recipe.Variable, ro.r.Recipe.Previous
	then, ends := "and one of the old key no longer: every session has ended", false
	if previous != "" {
		then = "and one of the old key still is"
		if ends = ro.w.overlap(ro.t, ro.r).none(); ends {
			then = "and one of the old key is tried, which need not be"
		}
	}
	ro.proving(p, d, "a token of the new key is accepted there, "+then, func(before, after providers.Bundle) []bearer {
		fresh := bearer{field: "new", words: "the new key", key: after.Values[v], accepted: true, how: "is accepted"}
		old := bearer{field: "old", words: "the old key", key: before.Values[v], how: "no longer is"}
		switch {
		case ends: // what a template says of a session is no fault where the application knows better
			old.key, old.orElse = after.Values[previous], "still is"
		case previous != "":
			old.key, old.accepted, old.how = after.Values[previous], true, "still is"
		}
		return []bearer{fresh, old}
	})
	return nil
}

// proving puts the recipe's probe around a plan's write; who says whose tokens are
// tried when it is made.
func (ro rotating) proving(p *plan.Plan, d rollouts, then string, who func(before, after providers.Bundle) []bearer) {
	probe, why := ro.w.probing(ro.t, ro.r)
	if probe != nil && len(d.after) == 0 {
		// The application has the keys only later. That it has the one in use is known
		// before that one is retired, or moved on: another it may not have yet.
		p.Facts = append(p.Facts, plan.Fact{Label: "probe", Text: probe.shown() + ": first, a token of the key in use is accepted and one of a random key is not; nothing is asked at the end, since nothing is deployed here"})
		ro.insert(p, d, probe.beforeStep(ro.cur.Values[ro.r.Recipe.Variable], "bring the keys of the store to the application, or correct the recipe's probe"))
		return
	}
	if probe == nil {
		if why != "" {
			p.Facts = append(p.Facts, plan.Fact{Label: "no probe", Text: why})
		}
		return
	}
	p.Facts = append(p.Facts,
		plan.Fact{Label: "probe", Text: probe.shown() + ": first, a token of the key in use is accepted and one of a random key is not"},
		plan.Fact{Label: "prove", Text: "at the end, " + then})
	ro.insert(p, d, probe.beforeStep(ro.cur.Values[ro.r.Recipe.Variable], ""), probe.proveStep(d.services, func(ctx context.Context) ([]bearer, string, error) {
		before, after, err := ro.written(ctx, d.wrote)
		if err != nil {
			return nil, "", err
		}
		all, untried := who(before, after), ""
		for _, b := range all {
			if !b.key.IsSet() {
				untried = fmt.Sprintf("; one of %s was not tried: version %d is gone", b.words, after.Version-1)
			}
		}
		return slices.DeleteFunc(all, func(b bearer) bool { return !b.key.IsSet() }), untried, nil
	}))
}

// insert puts one step before the plan's write and the others at its end.
func (ro rotating) insert(p *plan.Plan, d rollouts, before plan.Step, after ...plan.Step) {
	p.Steps = append(slices.Insert(p.Steps, len(d.before), before), after...)
}

// written returns the version that the plan's write made and the one it was made
// on, which is empty where the store has dropped it.
func (ro rotating) written(ctx context.Context, wrote *written) (before, after providers.Bundle, err error) {
	to := versionOf(wrote.receipt, fieldTo)
	path := ro.w.Path(ro.t)
	if to == 0 || Unchanged(wrote.receipt) {
		return before, after, fault.Newf(fault.Internal, "prove the rotation of "+ro.r.Recipe.Variable, "", "nothing is known of the write to %s", path)
	}
	if after, err = ro.store.Read(ctx, path, to); err != nil {
		return before, after, err
	}
	if ro.cur.Version == to-1 && stamp(ro.cur.Created) == wrote.receipt[fieldCreated] {
		return ro.cur, after, nil
	}
	before, err = ro.store.Read(ctx, path, to-1)
	if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
		before, err = providers.Bundle{Path: path}, nil
	}
	return before, after, err
}
