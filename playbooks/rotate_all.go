package playbooks

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/plan"
	"envctl/providers"
)

// How a rotation of a batch stands.
const (
	RotationPlanned     = "planned"
	RotationNotDue      = "not-due"
	RotationUnscheduled = "unscheduled" // --due: nothing says how old it may become
	RotationAbsent      = "absent"      // the environment has no such value
	RotationRefused     = "refused"     // by a rule; nothing was written for it
	RotationRotated     = "rotated"     // written and read back; deployed and proven where there is a deployer
	RotationUnverified  = "unverified"  // deployed, and no running process proves it
	RotationFailed      = "failed"      // undone, or nothing was written
	RotationPartial     = "partial"     // stopped part-way: its run is to be resumed or undone
	RotationStopped     = "stopped"     // never begun
)

// Selection says which recipes a batch is about.
type Selection struct {
	Due       bool   // only those whose value is older than it may be
	Component string // "" for all
	Parallel  int    // how many paths are worked on at a time
	// Held says why a recipe has to wait, nil where it has not to; nil: none has.
	Held func(component, recipe string) error
}

func (s Selection) playbook() string {
	if s.Due {
		return "rotate --due"
	}
	return "rotate --all"
}

// Rotating is one recipe of a batch.
type Rotating struct {
	Component, Name, Variable string
	State                     string
	Age                       Age           // --due only
	Every                     time.Duration // --due only; zero: nothing says
	Err                       error         // why it is refused or failed
	From, To                  int
	Run                       string
	Deployed                  bool
	Restarted                 []string // containers
	Proof                     Proof

	rotation Rotation
	path     *rotatingPath
}

// Due is when the value becomes too old.
func (r *Rotating) Due() time.Time { return r.Age.Since.Add(r.Every) }

// rotatingPath is one path of a batch.
type rotatingPath struct {
	t     Target
	cur   providers.Bundle
	err   error
	asOf  time.Time // by the store's clock, else by this machine's
	local bool      // asOf is this machine's
	all   []*Rotating
	// reached are the components whose processes its values go to.
	reached []string
}

// Batch is what rotate --all or --due is about to do, planned by reading only.
type Batch struct {
	Environment config.Environment
	Rotations   []*Rotating // in the file's order
	Jobs        []*Job      // independent of each other
	AsOf        time.Time   // the store's time

	project   string
	selection Selection
	asked     bool
}

// Job is what has to stand or fall together: paths whose values reach the same
// processes. Its parts are runs, one after the other.
type Job struct{ parts []*part }

// Plan is the plan of the job's first run.
func (j *Job) Plan() *plan.Plan { return j.parts[0].plan }

// part is one run.
type part struct {
	rotations []*Rotating
	plan      *plan.Plan // what is shown; all but the first are planned again when it is done
	make      func(context.Context) (*plan.Plan, error)
}

// RotateAll reads every path that has a rotation recipe and plans the rotation of
// all of them, or of those that are due. The recipes of one path that only change
// values are one write, and a component that several of the written paths reach
// is deployed once. A recipe that cannot be rotated is in the batch with the
// reason, and hinders no other.
func (w *World) RotateAll(ctx context.Context, e config.Environment, s Selection) (*Batch, error) {
	if s.Component != "" {
		if _, err := w.Project.Component(s.Component); err != nil {
			return nil, err
		}
	}
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	b := &Batch{Environment: e, project: w.Project.Name, selection: s}
	paths := w.rotatingPaths(b)
	if len(paths) == 0 {
		return nil, fault.New(fault.Usage, s.playbook(), "no component has a rotation recipe",
			"add one to "+config.FileName+": components: {app: {rotate: {jwt: {variable: SECRET_KEY, every: 90d}}}}")
	}
	group, ctx2 := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.Parallel))
	for _, p := range paths {
		group.Go(func() error {
			p.look(ctx2, w, store, s)
			return ctx2.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), s.playbook(), "")
	}
	for _, p := range paths {
		if p.asOf.After(b.AsOf) {
			b.AsOf = p.asOf
		}
	}
	w.plan(ctx, b, store, paths)
	return b, nil
}

// rotatingPaths lists the recipes of the file. A variable that only has a
// generator is none: nothing says that replacing it in the store is all there is
// to do, and for a database's password it is not.
func (w *World) rotatingPaths(b *Batch) []*rotatingPath {
	var paths []*rotatingPath
	for _, c := range w.Project.Components {
		if len(c.Value.Rotate) == 0 || b.selection.Component != "" && c.Key != b.selection.Component {
			continue
		}
		p := &rotatingPath{t: Target{Environment: b.Environment, Component: c.Key}}
		taken := map[string]string{} // variable → the recipe that writes it
		for _, e := range c.Value.Rotate {
			_, r, err := w.FindRotation(e.Key, c.Key)
			item := &Rotating{Component: c.Key, Name: e.Key, Variable: e.Value.Variable, State: RotationPlanned, rotation: r, path: p}
			item.refuse(err)
			for _, v := range []string{e.Value.Variable, e.Value.Previous} {
				if by := taken[v]; v != "" && by != "" {
					item.refuse(fault.Newf(fault.Refused, "rotate "+e.Key, "rotate it by its name: envctl rotate "+e.Key+p.t.on(), "the recipe %s writes %s too", by, v))
				}
				taken[v] = e.Key
			}
			p.all, b.Rotations = append(p.all, item), append(b.Rotations, item)
		}
		paths = append(paths, p)
	}
	return paths
}

// refuse settles why a rotation does not take place.
func (r *Rotating) refuse(err error) {
	if err == nil || r.State != RotationPlanned {
		return
	}
	r.Err, r.State = err, RotationFailed
	switch fault.KindOf(err) {
	case fault.Refused, fault.Usage:
		r.State = RotationRefused
	case fault.NotFound:
		r.State = RotationAbsent
	default:
	}
}

// look reads a path and settles which of its recipes are rotated.
func (p *rotatingPath) look(ctx context.Context, w *World, store providers.Store, s Selection) {
	p.cur, p.err = w.current(ctx, store, p.t)
	if p.asOf = p.cur.AsOf; p.asOf.IsZero() {
		p.asOf, p.local = w.Now().UTC(), true
	}
	before := &past{r: store, cur: p.cur}
	for _, r := range p.all {
		if r.refuse(p.err); p.err != nil {
			continue
		}
		if s.Due && p.cur.Values[r.Variable].IsSet() && r.State == RotationPlanned {
			p.due(ctx, r, before)
		}
		if r.State == RotationPlanned && s.Held != nil {
			r.refuse(s.Held(r.Component, r.Name))
		}
		if r.State == RotationPlanned {
			_, err := w.rotationFacts(p.t, r.rotation, p.cur)
			r.refuse(err)
		}
	}
}

// due settles whether a value is older than it may be.
func (p *rotatingPath) due(ctx context.Context, r *Rotating, before *past) {
	limit, err := every(r.rotation.Recipe, p.cur.Custom)
	if err != nil {
		r.refuse(fault.Newf(fault.Invalid, "rotate "+r.Name, "write it as in 90d", "the custom metadata %s of %s is not readable: %v", metaRotateEvery, p.cur.Path, err))
		return
	}
	if r.Every = limit; limit == 0 {
		r.State = RotationUnscheduled
		return
	}
	if r.Age, err = before.age(ctx, r.Variable, r.rotation.sameAge); err != nil {
		r.refuse(err)
	} else if p.asOf.Before(r.Due()) {
		r.State = RotationNotDue
	}
}

// alone tells whether a rotation is more than a write, a deployment and a look at
// the processes: it then gets a run of its own.
func (r Rotation) alone() bool {
	more := r.Recipe
	more.Variable, more.Previous, more.Overlap, more.Every = "", "", config.Duration{}, config.Duration{}
	return r.fernet() || !reflect.DeepEqual(more, config.Recipe{})
}

// plan groups what is to be rotated into jobs and plans the runs of
// each one.
func (w *World) plan(ctx context.Context, b *Batch, store providers.Store, paths []*rotatingPath) {
	readers := w.readers()
	for _, p := range paths {
		p.reached = readers.of(p.t.Component)
	}
	for _, together := range linked(paths, b.Environment.Deploy.Kind != config.DeployNone) {
		job := &Job{}
		merged := &part{}
		var writes []pathWrite
		for _, p := range together {
			one := pathWrite{t: p.t, cur: p.cur, noted: p.cur.Custom[metaRotatedAt]}
			for _, r := range p.all {
				switch {
				case r.State != RotationPlanned:
				case r.rotation.alone():
					job.parts = append(job.parts, &part{rotations: []*Rotating{r}, make: func(ctx context.Context) (*plan.Plan, error) {
						return w.Rotate(ctx, p.t, r.rotation)
					}})
				default:
					one.rotations = append(one.rotations, r.rotation)
					one.checks = append(one.checks, r.stillDue)
					merged.rotations = append(merged.rotations, r)
				}
			}
			if len(one.rotations) > 0 {
				writes = append(writes, one)
			}
		}
		if len(writes) > 0 {
			merged.make = func(context.Context) (*plan.Plan, error) {
				return w.rotatePaths(store, b.Environment, b.selection.playbook(), writes, readers, func() bool { return !b.asked })
			}
			job.parts = append([]*part{merged}, job.parts...)
		}
		job.parts = slices.DeleteFunc(job.parts, func(one *part) bool {
			var err error
			if one.plan, err = one.make(ctx); err != nil {
				for _, r := range one.rotations {
					r.refuse(err)
				}
			}
			return err != nil
		})
		if len(job.parts) > 0 {
			b.Jobs = append(b.Jobs, job)
		}
	}
}

// stillDue refuses what was taken for due by a clock that the store's contradicts.
func (r *Rotating) stillDue(written time.Time) error {
	if r.Every == 0 || !r.path.local || !written.Before(r.Due()) {
		return nil
	}
	return fault.Newf(fault.Refused, "rotate "+r.Name, "correct this machine's clock", "by the store's clock it is due at %s", r.Due().UTC().Format(time.RFC3339))
}

// Plan is all of the batch in one plan, to be shown and consented to; it is never run.
func (b *Batch) Plan() *plan.Plan {
	p := &plan.Plan{Playbook: b.selection.playbook(), Project: b.project, Environment: b.Environment.Name, Component: b.selection.Component}
	for _, j := range b.Jobs {
		for i, part := range j.parts {
			if i > 0 {
				p.Facts = append(p.Facts, plan.Fact{Label: "then", Text: fmt.Sprintf("%s of %s, in a run of its own", part.rotations[0].Name, part.rotations[0].Component)})
			}
			for _, f := range part.plan.Facts {
				if f.Label == "write" && i > 0 || f.Label == "store" && slices.ContainsFunc(p.Facts, func(g plan.Fact) bool { return g.Label == f.Label && g.Text == f.Text }) {
					continue // the version is that of the part before
				}
				p.Facts = append(p.Facts, f)
			}
			if part.plan.Confirm != "" {
				p.Confirm = part.plan.Confirm
			}
			p.Steps = append(p.Steps, part.plan.Steps...)
		}
	}
	for _, r := range b.Rotations {
		if r.State == RotationRefused || r.State == RotationFailed {
			p.Facts = append(p.Facts, plan.Fact{Label: r.State, Text: r.Component + "/" + r.Name + ": " + r.Err.Error()})
		}
	}
	return p
}

// Asked says that somebody was asked between planning and running, which takes
// long enough for paths to change under the plan.
func (b *Batch) Asked() { b.asked = true }

// readers is which components' processes a write to a component's path reaches.
type readers struct {
	names []string
	reads map[string]func(component string) bool
}

// readers reads every template once.
func (w *World) readers() *readers {
	all := &readers{reads: map[string]func(string) bool{}}
	for _, c := range w.Project.Components {
		tmpl, err := w.Template(c.Key)
		all.names = append(all.names, c.Key)
		all.reads[c.Key] = func(component string) bool {
			if tmpl == nil || err != nil {
				return c.Key == component
			}
			return slices.ContainsFunc(tmpl.Paths, func(p layer.TemplatePath) bool {
				of := patternComponent(p.Pattern)
				return of == component || of == ""
			})
		}
	}
	return all
}

func (r *readers) of(component string) []string {
	var out []string
	for _, name := range r.names {
		if r.reads[name](component) {
			out = append(out, name)
		}
	}
	return out
}

// linked groups paths, in their order. Where what they reach is deployed, those that
// reach a component in common, directly or through others, are one group.
func linked(paths []*rotatingPath, deployed bool) [][]*rotatingPath {
	group := map[*rotatingPath]*rotatingPath{}
	root := func(p *rotatingPath) *rotatingPath {
		for group[p] != nil {
			p = group[p]
		}
		return p
	}
	first := map[string]*rotatingPath{}
	for _, p := range paths {
		if !deployed || !slices.ContainsFunc(p.all, func(r *Rotating) bool { return r.State == RotationPlanned }) {
			continue
		}
		for _, c := range p.reached {
			if first[c] == nil {
				first[c] = p
			} else if a, b := root(first[c]), root(p); a != b {
				group[b] = a
			}
		}
	}
	at := map[*rotatingPath]int{}
	var out [][]*rotatingPath
	for _, p := range paths {
		r := root(p)
		if _, ok := at[r]; !ok {
			at[r] = len(out)
			out = append(out, nil)
		}
		out[at[r]] = append(out[at[r]], p)
	}
	return out
}
