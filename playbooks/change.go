package playbooks

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

// Names of receipts' fields that more than one step reads.
const (
	fieldPath    = "path"
	fieldFrom    = "from"
	fieldTo      = "to"
	fieldCreated = "created"
	fieldBetween = "between"
	fieldMarker  = "marker"
	fieldFP      = "fp." // followed by a key: the fingerprint written, "" when removed
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
	// Several says that the plan writes other paths too.
	Several bool
	// Keep says what happens to the old value, for the plan.
	Facts []plan.Fact
	// Lost is said by resume when the value of an interrupted write is gone.
	Lost string
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
		return b, fault.Newf(fault.KindOf(err), "write "+p.String(),
			fmt.Sprintf("run envctl restore --env %s --component %s first", t.Environment.Name, t.Component),
			"its newest version is %s", fault.KindOf(err))
	}
	return b, err
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
	keys := strings.Join(c.Keys, ", ")
	from, to := "new path", "1"
	if cur.Version > 0 {
		from, to = strconv.Itoa(int(cur.Version)), strconv.Itoa(int(cur.Version)+1)
	}
	p := &plan.Plan{
		Playbook: c.Playbook, Project: w.Project.Name, Environment: c.Environment.Name, Component: c.Component, Args: c.Args,
		Facts: append([]plan.Fact{
			{Label: "write", Text: fmt.Sprintf("%s  %s → %s  %s", cur.Path, from, to, keys)},
			{Label: "store", Text: store.Describe()},
		}, c.Facts...),
	}
	if c.Environment.Protected {
		p.Confirm = c.Environment.Name
	}
	write := w.writeStep(c, store, cur)
	p.Steps = []plan.Step{write}
	if !c.Deploy {
		return p, nil
	}
	var before, after []plan.Step
	for _, name := range w.affected(c.Target) {
		t := Target{Environment: c.Environment, Component: name}
		deployer, err := w.Deployer(c.Environment, name)
		if err != nil {
			return nil, err
		}
		if deployer == nil {
			continue
		}
		r, facts, err := w.rollout(t, deployer, name != c.Component)
		if err != nil {
			return nil, err
		}
		p.Facts = append(p.Facts, facts...)
		before, after = append(before, r.before), append(after, r.deploy, r.verify)
	}
	p.Steps = append(append(before, write), after...)
	return p, nil
}

// affected returns the components whose processes a write to a target's path
// reaches, in the file's order: those whose template reads the path, and those
// without a template that own it.
func (w *World) affected(t Target) []string {
	var out []string
	for _, c := range w.Project.Components {
		tmpl, err := w.Template(c.Key)
		reads := tmpl == nil && c.Key == t.Component || err != nil && c.Key == t.Component
		if tmpl != nil {
			for _, p := range tmpl.Paths {
				comp := patternComponent(p.Pattern)
				reads = reads || comp == t.Component || comp == ""
			}
		}
		if reads {
			out = append(out, c.Key)
		}
	}
	return out
}

// stepID is "write", or "write.COMPONENT" where a plan writes several paths.
func (c Change) stepID() string {
	if c.Several {
		return "write." + c.Component
	}
	return "write"
}

// writeStep writes the patch on the version that was planned from. Its intent
// carries the fingerprints of what is about to be written, so that a resumed
// run can tell whether the write happened.
func (w *World) writeStep(c Change, store providers.Store, cur providers.Bundle) plan.Step {
	path := w.Path(c.Target)
	return plan.Step{
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
			if prior, ok := page.Prior(); ok {
				return c.settle(ctx, w, page, store, cur, prior, key)
			}
			patch, err := c.Make(cur)
			if err != nil {
				return nil, err
			}
			return w.write(ctx, page, store, c, cur, patch, key)
		},
		Undo: func(ctx context.Context, r plan.Receipt) error { return w.undoWrite(ctx, store, c.Target, r) },
	}
}

func (w *World) write(ctx context.Context, page *plan.Page, store providers.Store, c Change, cur providers.Bundle, patch providers.Patch, key secret.Key) (plan.Receipt, error) {
	r := plan.Receipt{
		fieldPath: cur.Path.String(), fieldFrom: strconv.Itoa(int(cur.Version)), fieldTo: strconv.Itoa(int(cur.Version)),
		fieldCreated: stamp(cur.Created),
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
	if len(patch) == 0 {
		return r, nil // unchanged: nothing is written
	}
	base := cur.Version
	if c.OneKey && len(patch) == 1 && cur.Version > 0 {
		base = providers.Any
	}
	v, err := store.Write(ctx, cur.Path, base, patch)
	if err != nil {
		return nil, c.explain(err)
	}
	r[fieldTo] = strconv.Itoa(int(v))
	if v != cur.Version+1 {
		r[fieldBetween] = fmt.Sprintf("%d..%d", cur.Version+1, v-1)
	}
	return r, nil
}

// explain adds what to type to a conflict.
func (c Change) explain(err error) error {
	if fault.Is(err, fault.Conflict) && fault.HintOf(err) == "" {
		return fault.Wrap(err, fault.Conflict, "", fmt.Sprintf("run envctl %s --env %s again to plan from the new version", c.Playbook, c.Environment.Name))
	}
	return err
}

// settle finds out what became of an interrupted attempt: it happened, it did
// not and can be made again, or someone else wrote since.
func (c Change) settle(ctx context.Context, w *World, page *plan.Page, store providers.Store, cur providers.Bundle, prior plan.Receipt, key secret.Key) (plan.Receipt, error) {
	from, err := strconv.Atoi(prior[fieldFrom])
	if err != nil {
		return nil, fault.New(fault.Invalid, "resume", "the journal's record of the write is not readable", "")
	}
	if written(cur, providers.Version(from), prior, key) {
		prior[fieldTo] = strconv.Itoa(int(cur.Version))
		return prior, nil
	}
	if int(cur.Version) != from || stamp(cur.Created) != prior[fieldCreated] {
		return nil, fault.Newf(fault.Conflict, "resume the write of "+cur.Path.String(), "run envctl undo for this run, then plan anew",
			"planned from version %d, it is now at %d with other values", from, cur.Version)
	}
	if c.Lost != "" {
		return nil, fault.New(fault.Refused, "resume the write of "+cur.Path.String(), "the value was never written and is kept nowhere", c.Lost)
	}
	patch, err := c.Make(cur)
	if err != nil {
		return nil, err
	}
	return w.write(ctx, page, store, c, cur, patch, key)
}

// written tells whether the bundle holds what the receipt says was written
// after version from.
func written(cur providers.Bundle, from providers.Version, r plan.Receipt, key secret.Key) bool {
	if cur.Version <= from {
		return false
	}
	for f, fp := range r {
		k, ok := strings.CutPrefix(f, fieldFP)
		if ok && key.Fingerprint(cur.Values[k]) != fp {
			return false
		}
	}
	return true
}

// undoWrite puts back, in one write, the keys that the receipt's write changed.
func (w *World) undoWrite(ctx context.Context, store providers.Store, t Target, r plan.Receipt) error {
	path := w.Path(t)
	from, err := strconv.Atoi(r[fieldFrom])
	if err != nil {
		return nil //nolint:nilerr // no intent: nothing happened
	}
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return err
	}
	cur, err := store.Read(ctx, path, providers.Latest)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	old := providers.Bundle{}
	if from > 0 {
		if old, err = store.Read(ctx, path, providers.Version(from)); err != nil {
			return fault.Wrap(err, fault.KindOf(err), fmt.Sprintf("read version %d of %s to put it back", from, path), "")
		}
		if stamp(old.Created) != r[fieldCreated] {
			return fault.Newf(fault.Conflict, "undo the write of "+path.String(), "",
				"version %d is not the one that was there: the path was deleted and made again", from)
		}
	}
	patch, changedSince := providers.Patch{}, []string{}
	for f, fp := range r {
		k, ok := strings.CutPrefix(f, fieldFP)
		if !ok || old.Values[k].Equal(cur.Values[k]) {
			continue
		}
		if key.Fingerprint(cur.Values[k]) != fp {
			changedSince = append(changedSince, k)
			continue
		}
		patch[k] = old.Values[k]
	}
	if len(changedSince) > 0 {
		sort.Strings(changedSince)
		return fault.Newf(fault.Conflict, "undo the write of "+path.String(),
			fmt.Sprintf("look with envctl history %s --env %s", changedSince[0], t.Environment.Name),
			"%s changed again since, and stays as it is", list(changedSince))
	}
	if len(patch) == 0 {
		return nil
	}
	if from == 0 && len(patch) == len(cur.Values) {
		if l, ok := store.(providers.Lifecycle); ok {
			return l.Delete(ctx, path, cur.Version)
		}
	}
	_, err = store.Write(ctx, path, cur.Version, patch)
	return err
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
