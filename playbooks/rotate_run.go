package playbooks

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// RunBatch carries out the jobs of a batch, several at a time, each part as a run of its
// own. What became of each is in Rotations; the records are returned in the order
// of the jobs. A job that fails is undone and hinders no other; when ctx ends, those
// under way stop as their engine does, and no other begins.
func (w *World) RunBatch(ctx context.Context, e *plan.Engine, b *Batch) []plan.Record {
	records := make([][]plan.Record, len(b.Jobs))
	var workers sync.WaitGroup
	var taken atomic.Int64
	for range min(max(1, b.selection.Parallel), len(b.Jobs)) {
		workers.Go(func() { // a goroutine each, not one a job: its stack has grown by the second
			for i := int(taken.Add(1)) - 1; i < len(b.Jobs); i = int(taken.Add(1)) - 1 {
				records[i] = w.runJob(ctx, e, b.Jobs[i])
			}
		})
	}
	workers.Wait()
	return slices.Concat(records...)
}

func (w *World) runJob(ctx context.Context, e *plan.Engine, j *Job) []plan.Record {
	var records []plan.Record
	var failed error // what follows would build on it
	for i, part := range j.parts {
		if ctx.Err() != nil || failed != nil {
			for _, r := range part.rotations {
				r.State = RotationStopped
				if failed != nil {
					r.Err = fault.Wrap(failed, fault.KindOf(failed), "not begun", fault.HintOf(failed))
				}
			}
			continue
		}
		p := part.plan
		if i > 0 { // the parts before wrote to the same paths
			var err error
			if p, err = part.make(ctx); err != nil {
				for _, r := range part.rotations {
					r.refuse(err)
				}
				continue
			}
		}
		res, err := e.Run(ctx, p)
		failed = err
		for _, r := range part.rotations {
			w.settleRotation(r, res.Record, err)
		}
		if res.Record.ID != "" {
			records = append(records, res.Record)
		}
	}
	return records
}

// settleRotation says what became of a rotation, from the journal of its run.
func (w *World) settleRotation(r *Rotating, record plan.Record, err error) {
	r.Run, r.Err = record.ID, err
	switch {
	case fault.Is(err, fault.Partial):
		r.State = RotationPartial
		return
	case fault.Is(err, fault.Interrupted):
		r.State, r.Err = RotationStopped, nil
		return
	case err != nil:
		r.State = RotationFailed
		return
	}
	r.State = RotationRotated
	reached, verified := r.path.reached, false
	restarted := map[string][]string{} // by component
	for _, s := range record.Steps {
		word, of, _ := strings.Cut(s.ID, ".")
		if of == "" {
			of = r.Component
		}
		if s.State != plan.StepDone || s.Receipt == nil {
			continue
		}
		switch {
		case word == "write" && of == r.Component:
			r.From, r.To = int(versionOf(s.Receipt, fieldFrom)), int(versionOf(s.Receipt, fieldTo))
		case word == "deploy" && slices.Contains(reached, of):
			r.Deployed = true
			services, _ := w.services(Target{Environment: r.path.t.Environment, Component: of})
			for _, one := range services {
				restarted[of] = append(restarted[of], one.Container)
			}
		case word == "verify" && slices.Contains(reached, of):
			p := Proof{Kind: s.Receipt["evidence"], Services: strings.Split(s.Receipt["services"], ","), Why: s.Receipt["why"]}
			if !verified || r.Proof.Kind != "" && p.Kind != "process" {
				r.Proof.Kind, r.Proof.Why = p.Kind, p.Why
			}
			r.Proof.Services, verified = append(r.Proof.Services, p.Services...), true
			if read := strings.Fields(s.Receipt["containers"]); len(read) > 0 && restarted[of] != nil {
				restarted[of] = read // replicas have names of their own
			}
		}
	}
	for _, of := range reached {
		r.Restarted = append(r.Restarted, restarted[of]...)
	}
	if r.Deployed && r.Proof.Kind == "" {
		r.State = RotationUnverified
		r.Err = fault.New(fault.No, "verify "+r.Component+" in "+r.path.t.Environment.Name, "unverified: deployed, but not proven by a running process: "+r.Proof.Why,
			"run envctl trace "+r.Variable+r.path.t.on()+", or envctl doctor")
	}
}

// Outcome is nil where every rotation that was to take place did. What is left
// part-way counts most, then what failed (No where causes differ), then what a rule
// refused. NotFound: the environment has none of the values.
func (b *Batch) Outcome() error {
	var of [3][]*Rotating // partial, failed, refused
	stopped, absent := 0, 0
	for _, r := range b.Rotations {
		switch r.State {
		case RotationPartial:
			of[0] = append(of[0], r)
		case RotationFailed, RotationUnverified:
			of[1] = append(of[1], r)
		case RotationRefused:
			of[2] = append(of[2], r)
		case RotationStopped:
			stopped++
		case RotationAbsent:
			absent++
		}
	}
	op := b.selection.playbook() + " in " + b.Environment.Name
	for i, word := range []string{"stopped part-way", "failed", "cannot be rotated"} {
		some := of[i]
		if len(some) == 0 {
			continue
		}
		kind := fault.KindOf(some[0].Err)
		for _, r := range some[1:] {
			if fault.KindOf(r.Err) != kind {
				kind = fault.No
			}
		}
		names := make([]string, len(some))
		for i, r := range some {
			names[i] = r.Component + "/" + r.Name
		}
		if len(names) > 5 {
			names = append(names[:5], "…")
		}
		if i == 2 {
			kind = fault.Refused
		}
		return fault.Newf(kind, op, fault.HintOf(some[0].Err), "%d of %d %s: %s", len(some), len(b.Rotations), word, list(names))
	}
	if absent == len(b.Rotations) {
		return fault.Newf(fault.NotFound, op, "look with envctl list --env "+b.Environment.Name+", or fill it: envctl env create "+b.Environment.Name,
			"it holds none of the %d values that have a recipe", absent)
	}
	if stopped > 0 {
		return fault.Newf(fault.Interrupted, op, "run it again", "interrupted: %d of %d were not begun", stopped, len(b.Rotations))
	}
	return nil
}
