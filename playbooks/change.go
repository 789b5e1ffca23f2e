package playbooks

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Names of receipts' fields that more than one step reads.
const (
	fieldPath    = "path"
	fieldFrom    = "from"
	fieldTo      = "to"
	fieldCreated = "created"
	fieldBetween = "between"
	fieldWas     = "was" // how the newest version was, when it was not live
	fieldMarker  = "marker"
	fieldUnknown = "unknown" // why nobody can say what runs
	fieldFP      = "fp."     // followed by a key: the fingerprint written, "" when removed
	fieldOld     = "old."
)

// Change is one write of one path, with what follows from it.
type Change struct {
	Target
	Playbook string
	Args     map[string]string
	// Keys are what the patch will touch, known before it is made.
	Keys []string
	// Make returns the patch for the bundle that was read; it runs inside the
	// step, so that planning makes no secret. An empty patch: nothing to do.
	Make func(current providers.Bundle) (providers.Patch, error)
	// OneKey writes without a version as precondition, which is safe for one key:
	// siblings stay. All else is check-and-set.
	OneKey bool
	Deploy bool // deploy and verify afterwards
	// Read returns the version to write on, where that is not the one that the plan
	// was made from.
	Read reading
	// ID is the write's step id, where it is not "write".
	ID string
	// Several says that the plan writes other paths too.
	Several bool
	// Whole says that the write makes an environment, of which nothing counts as
	// being there once it is taken back: an undo deletes a path that it began, softly.
	Whole bool
	// Keep says what happens to the old value, for the plan.
	Facts []plan.Fact
	// Lost is what to type when resume finds the write not made and its value gone.
	Lost string
	// Anew lets resume make a write that was not made on whatever is there now: it
	// is as right on another version.
	Anew bool
	// Was says how the newest version was, when it was not live: deleted, destroyed.
	Was string
	// Again is the command that plans the same anew.
	Again string
	// ReadBack reads the version that a write made, before anything builds on it.
	// A write that is deployed is read back all the same.
	ReadBack bool
	// Unasked tells that nobody was asked since the path was read: it was a moment
	// ago, and is not read once more before the write.
	Unasked func() bool
	// Check looks at what the write left, when it is read back: the version it was
	// made on and the one it made.
	Check func(ctx context.Context, before, after providers.Bundle) error
	// PutBack changes what an undo writes, which is what the keys held before: some
	// values must not get lost although they are taken back. PutBackDone tells a
	// path that such an undo has left.
	PutBack     func(ctx context.Context, before, now providers.Bundle, patch providers.Patch) error
	PutBackDone func(before, now providers.Bundle) bool
	// Extend adds steps of its own to the plan of the write and what follows from it.
	Extend func(p *plan.Plan, r rollouts) error
}

// maxChanged is how many keys one write changes at most: a receipt has two
// fingerprints of each, and a little more.
const maxChanged = plan.MaxEntries/2 - 16

// some lists names for people, the first of very many.
func some(names []string) string {
	const few = 30
	if len(names) <= few {
		return list(names)
	}
	return fmt.Sprintf("%s and %d more", list(names[:few]), len(names)-few)
}

// current reads the newest version of a target's path. A path that was never
// written is an empty bundle of version Absent.
func (w *World) current(ctx context.Context, s providers.Reader, t Target) (providers.Bundle, error) {
	p := w.Path(t)
	b, err := s.Read(ctx, p, providers.Latest)
	if fault.Is(err, fault.NotFound) {
		return providers.Bundle{Path: p}, nil
	}
	if fault.Is(err, fault.Deleted, fault.Destroyed) {
		return b, fault.Newf(fault.KindOf(err), "write "+p.String(), reviving(ctx, s, p, t), "its newest version is %s", fault.KindOf(err))
	}
	return b, err
}

// versions says which versions of a path can be gone back to.
func versions(ctx context.Context, s providers.Reader, p naming.Path, t Target) string {
	revisions, err := s.History(ctx, p)
	var live []string
	for i := 0; err == nil && i+1 < len(revisions); i++ {
		if r := revisions[i]; !r.Deleted && !r.Destroyed {
			live = append(live, strconv.Itoa(int(r.Version)))
		}
	}
	if len(live) == 0 {
		return "look with envctl list" + t.on() + ": it has no earlier version"
	}
	return "choose one of the versions " + list(live) + ": run envctl rollback --to " + live[len(live)-1] + t.on()
}

// Plan reads what the change needs and returns its plan.
func (c Change) Plan(ctx context.Context, w *World) (*plan.Plan, error) {
	store, err := w.Store(c.Environment)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, c.Target)
	if err != nil {
		return nil, err
	}
	return c.planOn(ctx, w, store, cur)
}

// planOn plans the change from a bundle that was read already.
func (c Change) planOn(_ context.Context, w *World, store providers.Store, cur providers.Bundle) (*plan.Plan, error) {
	if len(c.Keys) > maxChanged {
		return nil, fault.Newf(fault.Refused, "write "+cur.Path.String(), "write them in parts", "%d keys in one write; the journal holds at most %d", len(c.Keys), maxChanged)
	}
	p := &plan.Plan{
		Playbook: c.Playbook, Project: w.Project.Name, Environment: c.Environment.Name, Component: c.Component, Args: c.Args,
		Facts: c.facts(store, cur),
	}
	if c.Environment.Protected {
		p.Confirm = c.Environment.Name
	}
	r := rollouts{wrote: &written{}}
	if c.Deploy {
		var err error
		if r, err = w.rollouts(c.Target, r.wrote, ""); err != nil {
			return nil, err
		}
	}
	if c.Read == nil {
		c.Read = fixed(cur)
	}
	write := w.writeStep(c, store, c.Read, r.wrote)
	p.Facts = append(p.Facts, r.facts...)
	p.Steps = append(append(append(p.Steps, r.before...), write), r.after...)
	if c.Extend != nil {
		if err := c.Extend(p, r); err != nil {
			return p, err
		}
	}
	return p, w.guard(p, c.Environment)
}

// rollouts are the steps that bring a write to every component that it reaches.
type rollouts struct {
	wrote    *written
	before   []plan.Step // before the write
	after    []plan.Step
	facts    []plan.Fact
	targets  []Target // that are deployed
	services []string // all of theirs
}

// rollouts plans the deployment of every component that a write to the target's
// path reaches; none where nothing is deployed. stage is "", or tells a second
// round of a plan apart.
func (w *World) rollouts(t Target, wrote *written, stage string) (rollouts, error) {
	out := rollouts{wrote: wrote}
	affected := w.affected(t)
	for _, name := range affected {
		at := Target{Environment: t.Environment, Component: name}
		deployer, err := w.Deployer(t.Environment, name)
		if err != nil {
			return out, err
		}
		comp, _ := w.Project.Components.Get(name)
		if deployer == nil || len(comp.Services) == 0 && len(affected) > 1 {
			continue // it runs nothing itself
		}
		of := ""
		if name != t.Component {
			of = "." + name
		}
		r, facts, err := w.rollout(at, deployer, of+stage, wrote)
		if err != nil {
			return out, err
		}
		out.facts = append(out.facts, facts...)
		if wrote != nil {
			wrote.components++
		}
		out.before, out.after = append(out.before, r.before), append(out.after, r.deploy, r.verify)
		out.targets, out.services = append(out.targets, at), append(out.services, comp.Services...)
	}
	return out, nil
}

// facts says what the write will do.
func (c Change) facts(store providers.Store, cur providers.Bundle) []plan.Fact {
	from, to := "new path", "1"
	if cur.Version > 0 {
		from, to = strconv.Itoa(int(cur.Version)), strconv.Itoa(int(cur.Version)+1)
	}
	return append([]plan.Fact{
		{Label: "write", Text: fmt.Sprintf("%s  %s → %s  %s", cur.Path, from, to, some(c.Keys))},
		{Label: "store", Text: store.Describe()},
	}, c.Facts...)
}

// affected returns the components whose processes a write to a target's path
// reaches, in the file's order: those whose template reads the path, and those
// without a template that own it.
func (w *World) affected(t Target) []string { return w.readers().of(t.Component) }

// stepID is "write", or "write.COMPONENT" where a plan writes several paths.
func (c Change) stepID() string {
	if c.Several {
		return "write." + c.Component
	}
	return cmp.Or(c.ID, "write")
}

// reading returns the version of a path that a write is made on.
type reading func(context.Context, *plan.Page) (providers.Bundle, error)

// fixed is the version that was read while planning.
func fixed(b providers.Bundle) reading {
	return func(context.Context, *plan.Page) (providers.Bundle, error) { return b, nil }
}

// writeStep writes the patch on the version that read returns. Its intent
// carries the fingerprints of what is about to be written, so that a resumed
// run can tell whether the write happened.
func (w *World) writeStep(c Change, store providers.Store, read reading, wrote *written) plan.Step {
	path := w.Path(c.Target)
	var cur providers.Bundle // the version that this process wrote on
	step := plan.Step{
		ID: c.stepID(), Title: "write " + path.String(), Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			if s, ok := store.(interface{ Ensure(context.Context) error }); ok {
				if err := s.Ensure(ctx); err != nil {
					return nil, err
				}
			}
			key, err := w.Fingerprints(ctx, store)
			if err != nil {
				return nil, err
			}
			if cur, err = read(ctx, page); err != nil {
				return nil, err
			}
			if prior, ok := page.Prior(); ok {
				return c.settle(ctx, w, page, store, cur, prior, key)
			}
			return w.write(ctx, page, store, c, cur, key)
		},
		Undo: func(ctx context.Context, r plan.Receipt) error { return w.undoWrite(ctx, store, c, r) },
	}
	if c.Deploy || c.ReadBack {
		step.Verify = func(ctx context.Context, r plan.Receipt) error {
			wrote.receipt = r
			return w.readBack(ctx, store, c, cur, r)
		}
	}
	return step
}

func (w *World) write(ctx context.Context, page *plan.Page, store providers.Store, c Change, cur providers.Bundle, key secret.Key) (plan.Receipt, error) {
	if c.Lost != "" {
		return nil, fault.New(fault.Refused, "resume the write of "+cur.Path.String(), "the value was never written and is kept nowhere", c.Lost)
	}
	patch, err := c.Make(cur)
	if err != nil {
		return nil, err
	}
	r := plan.Receipt{
		fieldPath: cur.Path.String(), fieldFrom: strconv.Itoa(int(cur.Version)), fieldTo: strconv.Itoa(int(cur.Version)),
		fieldCreated: stamp(cur.Created),
	}
	if c.Was != "" {
		r[fieldWas] = c.Was
	}
	for k, v := range patch {
		if old := cur.Values[k]; old.Equal(v) {
			delete(patch, k)
			continue
		}
		r[fieldFP+k], r[fieldOld+k] = key.Fingerprint(v), key.Fingerprint(cur.Values[k])
	}
	if err := page.Intend(r); err != nil {
		return nil, err
	}
	if len(patch) == 0 && c.Was == "" {
		return r, nil // unchanged: nothing is written
	}
	base := cur.Version
	if c.OneKey && len(patch) == 1 && cur.Version > 0 {
		base = providers.Any
	}
	if err := c.still(ctx, store, cur); err != nil {
		return nil, err
	}
	v, err := store.Write(ctx, cur.Path, base, patch)
	if err != nil {
		return nil, c.explain(err)
	}
	if v <= cur.Version {
		return nil, fault.Newf(fault.Unknown, "write "+cur.Path.String(), c.history(), "the store answered with version %d for a write on version %d", v, cur.Version)
	}
	r[fieldTo] = strconv.Itoa(int(v))
	if v != cur.Version+1 {
		r[fieldBetween] = fmt.Sprintf("%d..%d", cur.Version+1, v-1)
	}
	return r, nil
}

// still looks whether the path is the one that was planned from: a path that was
// deleted and made again may have reached the same version number, which the
// store's check-and-set lets pass.
func (c Change) still(ctx context.Context, store providers.Reader, cur providers.Bundle) error {
	if !c.ReadBack || cur.Version == 0 || c.Was != "" || c.Unasked != nil && c.Unasked() {
		return nil
	}
	now, err := store.Read(ctx, cur.Path, providers.Latest)
	if err == nil && (now.Version != cur.Version || !now.Created.Equal(cur.Created)) {
		err = fault.Newf(fault.Conflict, "write "+cur.Path.String(), "", "changed by someone else (now version %d of %s)", now.Version, stamp(now.Created))
	}
	return c.explain(err)
}

// explain adds what to type to a conflict.
func (c Change) explain(err error) error {
	if fault.Is(err, fault.Conflict) && c.Again != "" {
		return fault.Wrap(err, fault.Conflict, "", "run "+c.Again+" again to plan from the new version")
	}
	return err
}

// on names the target for a command.
func (t Target) on() string { return " --env " + t.Environment.Name + " --component " + t.Component }

// history is the command that shows what became of the change's first key.
func (c Change) history() string {
	if len(c.Keys) == 0 {
		return "envctl list" + c.on()
	}
	return "envctl history " + c.Keys[0] + c.on()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Unchanged tells whether a finished write found nothing to do.
func Unchanged(r plan.Receipt) bool { return r[fieldFrom] == r[fieldTo] }

// Values turns given values into a patch maker that ignores what is there.
func Values(patch providers.Patch) func(providers.Bundle) (providers.Patch, error) {
	return func(providers.Bundle) (providers.Patch, error) {
		out := providers.Patch{}
		for k, v := range patch {
			out[k] = v
		}
		return out, nil
	}
}

// CheckValue refuses what no process environment can carry.
func CheckValue(key string, v secret.Value) error {
	op := "value of " + key
	s := v.Reveal() //nolint:forbidigo // looked at, not shown
	switch {
	case strings.ContainsRune(s, 0):
		return fault.New(fault.Refused, op, "holds a NUL byte, which no process environment can carry", "encode it: base64 FILE | envctl set "+key+" --stdin")
	case len(s) > maxValue:
		return fault.Newf(fault.Refused, op, "keep a reference to the large thing in the store, and the thing elsewhere", "%d bytes; a process environment carries at most %d in one variable", len(s), maxValue)
	case !utf8.ValidString(s):
		return fault.New(fault.Refused, op, "is not UTF-8, which the store's JSON would change", "encode it: base64 FILE | envctl set "+key+" --stdin")
	}
	return nil
}

// maxValue is Linux's MAX_ARG_STRLEN (128 KiB) less the name, '=' and NUL.
const maxValue = 128<<10 - 256
