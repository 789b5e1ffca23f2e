package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
)

// Engine runs plans and keeps their journals. Every field but Dir, Now and
// Rand may be left zero.
type Engine struct {
	Dir      string           // envctl's state folder: runs/ and locks/ are made in it
	Root     string           // the project's folder, for the journal
	File     string           // the project file's name in it, for the journal; "" for the usual one
	Version  string           // envctl's, for the journal
	Who      string           // the operator and the machine, for those who find its lock
	Now      func() time.Time // only recorded and shown: no decision on a run is taken by the clock
	Rand     io.Reader        // for run ids
	Observer func(Event)      // called one event at a time
	// Force ends the step in hand when it is closed, by ending its context: the
	// second interrupt. The first, and a deadline, are the context of Run; a
	// deadline that passes ends the step in hand too.
	Force <-chan struct{}
	FS    FS // nil: OS
	// Wait is how long Run waits for another run of the same target, for plans that
	// hold whatever that one writes; 0: not at all.
	Wait time.Duration

	names commit // of the journals that are new: many runs at a time share its syncs
}

// EventKind names what happened.
type EventKind string

// The events of a run, in the order they can come.
const (
	EventWarning    EventKind = "warning"     // something to know that stops nothing
	EventStarted    EventKind = "started"     // the run has an id and a journal
	EventResumed    EventKind = "resumed"     // another process goes on with it
	EventSkipped    EventKind = "skipped"     // a step was done by an earlier process
	EventBegin      EventKind = "begin"       // a step begins
	EventNote       EventKind = "note"        // Page.Note
	EventDone       EventKind = "done"        // a step is done and verified
	EventFailed     EventKind = "failed"      // a step failed
	EventUndoing    EventKind = "undoing"     // a step is being taken back
	EventUndone     EventKind = "undone"      // it was
	EventUndoFailed EventKind = "undo-failed" // it was not
	EventEnded      EventKind = "ended"       // State says how
)

// Event is one thing that happened in a run.
type Event struct {
	At      time.Time `json:"at"`
	Run     string    `json:"run"`
	Kind    EventKind `json:"event"`
	Step    string    `json:"step,omitempty"`
	Title   string    `json:"title,omitempty"`
	N       int       `json:"n,omitempty"` // the step's place, from 1
	Of      int       `json:"of,omitempty"`
	Text    string    `json:"text,omitempty"`
	State   State     `json:"state,omitempty"`
	Receipt Receipt   `json:"receipt,omitempty"`
	// Of EventStarted and EventResumed: what the run is about.
	Playbook    string `json:"playbook,omitempty"`
	Environment string `json:"environment,omitempty"`
	Component   string `json:"component,omitempty"`
}

// Result is how a run stands when Run, Resume or Undo returns, with an error
// too; zero when there is no run, or none any more.
type Result struct {
	Record Record
	// Already tells that the run had ended so before: nothing was done now.
	Already bool
}

// Run carries out p. It journals every step before, during and after; each intent
// is on disk before its effect, each receipt before the next step or with the end. On an error of Do or Verify it undoes in reverse what the run did and
// returns an error of the cause's kind, or Partial when something is left.
// When ctx ends it finishes the step in hand and stops: Partial, or
// Interrupted with no journal left when nothing had been changed. Other kinds:
// Conflict (another run on this target), Unavailable (the journal cannot be
// written, nothing was changed), Internal (the plan is not fit to run).
func (e *Engine) Run(ctx context.Context, p *Plan) (Result, error) {
	if err := p.validate(); err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, interrupted(ctx, p.Playbook, nil)
	}
	h := Header{
		Playbook: p.Playbook, Project: p.Project, Environment: p.Environment, Component: p.Component,
		Args: p.Args, Root: e.Root, File: e.File, Version: e.Version, StartedAt: e.Now().UTC(), Steps: []StepName{},
	}
	for _, s := range p.Steps {
		h.Steps = append(h.Steps, StepName{ID: s.ID, Title: s.Title})
	}
	release, err := e.awaitTarget(ctx, h)
	if err != nil {
		return Result{}, err
	}
	defer release()
	if p.Contended() {
		for _, r := range e.Stopped(p) {
			if err := e.outlived(ctx, p.Playbook, r); err != nil {
				return Result{}, err
			}
		}
	}
	host, _ := os.Hostname() // only shown
	j, st, err := e.create(ctx, h, os.Getpid(), host)
	if err != nil {
		return Result{}, err
	}
	r, end := e.start(ctx, p, j, st)
	defer end()
	unlock, err := r.hold(ctx)
	switch {
	case err == nil:
	case fault.Is(err, fault.Conflict, fault.Denied):
		return r.result(both(err, r.forget()))
	default:
		// The lock may stand, its answer lost. The journal is the proof that the run
		// behind it is over, and lets this operator's next run take it over at once.
		r.gone = true
		return r.result(r.end(Undone, err))
	}
	defer unlock()
	r.tell(EventStarted, "", "")
	return r.result(r.forward(ctx))
}

// Resume goes on with run id where it stopped, on the plan that build makes of
// its header while the run is locked. A run that is done stays as it is and is
// Already; first the finished steps are verified again. Error kinds: those of
// Run and of build, NotFound, Conflict (it is running), Invalid (damaged
// journal), Refused (it was undone or is on its way back; the plan has other
// steps now), Partial (what it did no longer holds).
func (e *Engine) Resume(ctx context.Context, id string, build func(Header) (*Plan, error)) (Result, error) {
	op := "resume run " + clean(id)
	return e.reopen(ctx, id, op, build, func(r *run) (bool, error) {
		switch st := r.st; {
		case st.end == Done:
			return true, nil
		case st.end == Undone:
			return false, fault.New(fault.Refused, op, "it was undone: run "+st.header.Playbook+" again", "envctl "+st.header.Playbook)
		case st.undoing:
			return false, fault.New(fault.Refused, op, "it is on its way back", "envctl undo "+id)
		}
		return false, nil
	}, func(r *run) error {
		if err := r.matches(); err != nil {
			return fault.Wrap(err, fault.Refused, op, "envctl undo "+id)
		}
		if err := r.append(r.opened(recResume)); err != nil {
			return r.cut(err)
		}
		r.tell(EventResumed, "", "")
		if err := r.verifyAgain(ctx); err != nil {
			return err
		}
		return r.forward(ctx)
	})
}

// Undo takes back run id, in reverse, on the plan that build makes of its
// header while the run is locked. A run that is undone is Already. It can be
// called again after an error. Error kinds: those of build, NotFound, Conflict
// (it is running, or another run on this target), Invalid (damaged journal),
// Refused (a step that cannot be undone was passed; the plan lacks a step),
// Partial (not all could be undone), Interrupted (before anything was undone).
func (e *Engine) Undo(ctx context.Context, id string, build func(Header) (*Plan, error)) (Result, error) {
	op := "undo run " + clean(id)
	return e.reopen(ctx, id, op, build, func(r *run) (bool, error) {
		return r.st.end == Undone, nil
	}, func(r *run) error {
		if err := r.covers(); err != nil {
			return fault.Wrap(err, fault.Refused, op, "bring "+e.project(r.st.header)+" back to where it was, then envctl undo "+id)
		}
		if s := r.pivot(); s != nil && !r.st.undoing {
			hint := "envctl runs"
			if r.st.end != Done {
				hint = "envctl resume " + id
			}
			return fault.Newf(fault.Refused, op, hint, "step %s cannot be undone, and what came before it is what it stands on", s.ID)
		}
		if ctx.Err() != nil {
			return interrupted(ctx, op, nil)
		}
		if left, err := r.back(ctx); err != nil {
			return err
		} else if len(left) > 0 {
			return r.partial(nil, "not undone: "+strings.Join(left, "; "))
		}
		return nil
	})
}

func (e *Engine) project(h Header) string {
	if h.Root != "" {
		return h.Root
	}
	return "the project"
}

// reopen is what Resume and Undo share: lock, look, build, go.
func (e *Engine) reopen(ctx context.Context, id, op string, build func(Header) (*Plan, error),
	over func(*run) (bool, error), work func(*run) error,
) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, interrupted(ctx, op, nil)
	}
	j, st, err := e.open(ctx, id)
	if errors.Is(err, errBusy) {
		return Result{}, e.stillRunning(id, op)
	}
	if err != nil {
		return Result{}, err
	}
	r, end := e.start(ctx, nil, j, st)
	defer end()
	if st.header.ID == "" {
		return Result{}, notFound(id)
	}
	if already, err := over(r); already || err != nil {
		return Result{Record: st.record(), Already: already}, err
	}
	release, err := e.lockTarget(st.header)
	if err != nil {
		return Result{Record: st.record()}, err
	}
	defer release()
	if err := e.outlived(ctx, op, st.record()); err != nil {
		return Result{Record: st.record()}, err
	}
	if r.plan, err = build(st.header); err == nil {
		err = r.plan.validate()
	}
	var unlock func()
	if err == nil {
		unlock, err = r.hold(ctx)
	}
	if err != nil {
		return Result{Record: st.record()}, err
	}
	defer unlock()
	return r.result(work(r))
}

func (e *Engine) stillRunning(id, op string) error {
	who := "another process"
	if r, err := e.Load(id); err == nil { // only to name it
		who = fmt.Sprintf("process %d on %s", r.PID, r.Host)
	}
	return fault.New(fault.Conflict, op, "it is running: "+who, "envctl runs")
}

func (e *Engine) fs() FS {
	if e.FS == nil {
		return OS{}
	}
	return e.FS
}

// matches tells whether the plan is the journal's: same steps, same target.
func (r *run) matches() error {
	h := r.st.header
	if r.plan.Playbook != h.Playbook || r.plan.Project != h.Project || r.plan.Environment != h.Environment || r.plan.Component != h.Component {
		return fault.New(fault.Refused, "", "the plan is of another playbook or target", "")
	}
	var now, then []string
	for i := range r.plan.Steps {
		now = append(now, r.plan.Steps[i].ID)
	}
	for _, s := range h.Steps {
		then = append(then, s.ID)
	}
	if !slices.Equal(now, then) {
		return fault.Newf(fault.Refused, "", "", "the plan has changed since: it was %s, and is %s", strings.Join(then, ", "), strings.Join(now, ", "))
	}
	return nil
}

// covers tells whether the plan has every step that is to be undone.
func (r *run) covers() error {
	for i := range r.st.steps {
		if s := &r.st.steps[i]; s.undoable() && r.planned(s.ID) == nil {
			return fault.Newf(fault.Refused, "", "", "the plan has changed since: it has no step %s", s.ID)
		}
	}
	return nil
}
