package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"

	"envctl/internal/fault"
)

// run is one run while this process works on it.
type run struct {
	e    *Engine
	plan *Plan
	work context.Context // of the steps: outlives the first interrupt

	mu sync.Mutex // of the journal and what it says
	j  *journal
	st *state

	told  sync.Mutex // one event at a time
	gone  bool       // the journal was removed: nothing had been changed
	lock  Lock       // against other machines; nil without one
	taken error      // why the lock is lost
}

// start makes the steps' context. end closes the journal, which unlocks it.
func (e *Engine) start(ctx context.Context, p *Plan, j *journal, st *state) (r *run, end func()) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var watcher sync.WaitGroup
	watcher.Go(func() {
		deadline := ctx.Done()
		for {
			select {
			case <-work.Done():
				return
			case <-e.Force:
				cancel()
			case <-deadline:
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					cancel()
				}
				deadline = nil
			}
		}
	})
	r = &run{e: e, plan: p, work: work, j: j, st: st}
	return r, func() {
		cancel()
		watcher.Wait()
		_ = j.file.Close() // every record in it is on disk already
	}
}

// append journals rec, durably, and only then takes it in.
func (r *run) append(rec record) error { return r.journal(rec, (*journal).append) }

// jot journals rec, to be durable with the next append, and takes it in.
func (r *run) jot(rec record) error { return r.journal(rec, (*journal).jot) }

func (r *run) journal(rec record, write func(*journal, record) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.At = r.e.Now().UTC()
	if err := write(r.j, rec); err != nil {
		return err
	}
	return r.st.apply(rec)
}

func (r *run) opened(recType string) record {
	host, _ := os.Hostname() // only shown
	return record{Type: recType, PID: os.Getpid(), Host: host}
}

func (r *run) receipt(stepID string) (Receipt, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.st.step(stepID)
	if s == nil || s.receipt == nil {
		return nil, false
	}
	return maps.Clone(s.receipt), true
}

func (r *run) result(err error) (Result, error) {
	if r.gone {
		return Result{}, err
	}
	return Result{Record: r.st.record()}, err
}

// forget removes the journal of a run that changed nothing.
func (r *run) forget() error {
	r.gone = true
	return r.e.discard(r.j)
}

func (r *run) planned(id string) *Step {
	for i := range r.plan.Steps {
		if r.plan.Steps[i].ID == id {
			return &r.plan.Steps[i]
		}
	}
	return nil
}

// pivot returns the step past which the run only goes forward, nil for none.
func (r *run) pivot() *Step {
	for i := range r.plan.Steps {
		if s := r.st.step(r.plan.Steps[i].ID); s != nil && s.touched() && r.plan.Steps[i].final() {
			return &r.plan.Steps[i]
		}
	}
	return nil
}

func (r *run) stopping(ctx context.Context) bool { return ctx.Err() != nil || r.work.Err() != nil }

// forward does every step that is not done yet.
func (r *run) forward(ctx context.Context) error {
	for i := range r.plan.Steps {
		s := &r.plan.Steps[i]
		if r.st.step(s.ID).state == StepDone {
			r.tell(EventSkipped, s.ID, "")
			continue
		}
		if r.stopping(ctx) {
			return r.stop(ctx, nil)
		}
		err := r.do(s) //nolint:contextcheck // r.work outlives the first interrupt on purpose
		if lost := r.lost(); lost != nil {
			return r.halt(lost)
		}
		switch {
		case err == nil:
			continue
		case r.j.err != nil:
			return r.cut(err)
		case r.stopping(ctx):
			return r.stop(ctx, err)
		case r.pivot() != nil:
			return r.end(Partial, r.partial(err, "past step "+r.pivot().ID+", which cannot be undone, it only goes forward"))
		}
		return r.fail(ctx, err)
	}
	return r.end(Done, nil)
}

// do does one step; its failure is journaled.
func (r *run) do(s *Step) error {
	st := r.st.step(s.ID)
	if err := r.jot(record{Type: recBegin, Step: s.ID}); err != nil {
		return err
	}
	page := &Page{run: r, step: s, cut: st.hasIntent}
	if page.cut {
		page.prior = st.known()
	}
	r.tell(EventBegin, s.ID, "")
	receipt, err := s.Do(r.within(s.ID), page)
	intended := page.close()
	if r.j.err != nil { // an intent is not on disk
		if err == nil { // and Do went on: only this process knows that it has changed something
			st.hasIntent = true
		}
		return r.j.err
	}
	if err == nil {
		err = fault.Wrap(checkReceipt(receipt), fault.Internal, "journal the receipt of "+s.ID, "")
	}
	if err == nil && !intended && !page.cut && receipt != nil && s.Risk > Reads {
		// A bug, found after the fact: give Undo what there is.
		if err := r.append(record{Type: recIntent, Step: s.ID, Data: receipt}); err != nil {
			return err
		}
		err = fault.New(fault.Internal, "do "+s.ID, "the step did not journal its intent", "")
	}
	if err == nil {
		write := r.append
		if s == &r.plan.Steps[len(r.plan.Steps)-1] {
			// No effect comes after it: it is on disk with the run's end, and without
			// it a power cut leaves the step as one that was cut off.
			write = r.jot
		}
		if err := write(record{Type: recReceipt, Step: s.ID, Data: receipt}); err != nil {
			return err
		}
		if s.Verify != nil {
			err = s.Verify(r.work, maps.Clone(receipt))
		}
	}
	if err != nil {
		kind, text := brief(err)
		if jerr := r.append(record{Type: recFailed, Step: s.ID, Kind: kind, Text: text}); jerr != nil {
			return both(err, jerr)
		}
		r.tell(EventFailed, s.ID, text)
		return err
	}
	r.tell(EventDone, s.ID, "")
	return nil
}

// verifyAgain asks whether what an earlier process did still holds.
func (r *run) verifyAgain(ctx context.Context) error {
	for i := range r.plan.Steps {
		s := &r.plan.Steps[i]
		st := r.st.step(s.ID)
		if st.state != StepDone || s.Verify == nil || r.superseded(s) {
			continue
		}
		if r.stopping(ctx) {
			return r.stop(ctx, nil)
		}
		if err := s.Verify(r.work, maps.Clone(st.receipt)); err != nil { //nolint:contextcheck // r.work outlives the first interrupt on purpose
			err = r.partial(err, "what step "+s.ID+" did no longer holds, and nothing more was done")
			if r.pivot() != nil { // there is no way back either
				err = fault.Wrap(err, fault.Partial, "", fault.HintOf(err)+orClose(r.st.header.ID))
			}
			return r.end(Partial, err)
		}
	}
	return nil
}

// superseded tells that a later step may have changed what s verifies.
func (r *run) superseded(s *Step) bool {
	later := r.st.step(s.Until)
	return later != nil && later.touched()
}

// back undoes in reverse what stands. left names what could not be undone.
func (r *run) back(ctx context.Context) (left []string, err error) {
	if err := r.append(r.opened(recUndo)); err != nil {
		return nil, r.cut(err)
	}
	for i := len(r.st.steps) - 1; i >= 0; i-- {
		st := &r.st.steps[i]
		s := r.planned(st.ID)
		if !st.undoable() || (s.Undo == nil && !st.touched()) {
			continue
		}
		if r.stopping(ctx) {
			return nil, r.stop(ctx, nil)
		}
		if err := r.fence(); err != nil {
			return nil, r.halt(err)
		}
		r.tell(EventUndoing, st.ID, "")
		undone := record{Type: recUndone, Step: st.ID}
		if s.Undo == nil {
			err = fault.New(fault.Refused, "undo "+st.ID, "cannot be undone", "")
		} else {
			err = s.Undo(r.within(s.ID), st.known()) //nolint:contextcheck // r.work outlives the first interrupt on purpose
		}
		if err != nil {
			undone.Type = recUndoFailed
			undone.Kind, undone.Text = brief(err)
		}
		if jerr := r.append(undone); jerr != nil {
			return nil, r.cut(both(err, jerr))
		}
		if err == nil {
			r.tell(EventUndone, st.ID, "")
			continue
		}
		r.tell(EventUndoFailed, st.ID, undone.Text)
		left = append(left, st.ID+" ("+clean(err.Error())+")")
		if s.Undo != nil {
			// The steps before are what this one stands on: they wait for the next undo.
			for i--; i >= 0; i-- {
				if r.st.steps[i].undoable() {
					left = append(left, r.st.steps[i].ID+" (waits for "+st.ID+")")
				}
			}
			break
		}
	}
	state := Undone
	if len(left) > 0 {
		state = Failed
	}
	return left, r.end(state, nil)
}

// fail undoes the run because of cause.
func (r *run) fail(ctx context.Context, cause error) error {
	did := r.st.touched()
	if did && r.away(cause) { //nolint:contextcheck // r.work outlives the first interrupt on purpose
		return r.end(Partial, r.partial(cause, "stopped, and not undone: that needs what is away"))
	}
	left, err := r.back(ctx)
	switch {
	case err != nil:
		return both(err, cause)
	case len(left) > 0:
		// What stopped the way forward may stop the way back: it is said once.
		once := strings.ReplaceAll(strings.Join(left, "; "), " ("+clean(cause.Error())+")", "")
		return r.partial(cause, "not undone: "+once)
	case did:
		return r.wrap(cause, fault.KindOf(cause), fault.HintOf(cause), "what it did is undone")
	}
	return r.wrap(cause, fault.KindOf(cause), fault.HintOf(cause), "nothing was changed")
}

// away tells whether the run failed because something is away that the way back
// needs as well.
func (r *run) away(cause error) bool {
	if !fault.Is(cause, fault.Unavailable) {
		return false
	}
	for i := range r.plan.Steps {
		s := &r.plan.Steps[i]
		if s.Reach != nil && r.st.step(s.ID).undoable() && s.Reach(r.within(s.ID)) != nil {
			return true
		}
	}
	return false
}

// stop ends the run because ctx ended, after the step in hand or its cause.
func (r *run) stop(ctx context.Context, cause error) error {
	if !r.st.touched() && !r.st.undoing {
		if err := r.forget(); err != nil {
			return err
		}
		return interrupted(ctx, r.st.header.Playbook, cause)
	}
	why := "stopped by an interrupt"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "timed out"
	}
	return r.end(Partial, r.partial(cause, why))
}

// halt ends the run because its target is somebody else's by now: also the way
// back would be in their way.
func (r *run) halt(cause error) error {
	if !r.st.touched() && !r.st.undoing {
		return both(cause, r.forget())
	}
	return r.end(Partial, r.partial(cause, "stopped before its next effect"))
}

// cut ends the run because its journal cannot be written: nothing more happens.
func (r *run) cut(cause error) error {
	if !r.st.touched() && !r.st.undoing {
		return both(cause, r.forget())
	}
	return r.partial(cause, "stopped, the journal cannot be written")
}

// end journals how the run ended and returns err, or why that failed.
func (r *run) end(s State, err error) error {
	if jerr := r.append(record{Type: recEnd, State: s}); jerr != nil {
		return both(r.partial(jerr, "stopped, the journal cannot be written"), err)
	}
	r.tell(EventEnded, "", "")
	return err
}

func (r *run) partial(cause error, message string) error {
	rec := r.st.record()
	hint := rec.Next()
	if rec.State != Failed {
		rec.State = Partial // also before its end is journaled
		hint = rec.Next()
		if r.plan != nil && !r.st.undoing && r.pivot() != nil { // undo would refuse
			hint = "envctl resume " + rec.ID
			if fault.Is(cause, lasting()...) {
				hint += orClose(rec.ID)
			}
		}
	}
	return r.wrap(cause, fault.Partial, hint, message)
}

func (r *run) wrap(cause error, k fault.Kind, hint, message string) error {
	return &fault.Error{Kind: k, Op: r.st.header.Playbook + " (run " + r.st.header.ID + ")", Message: message, Hint: hint, Err: cause}
}

func interrupted(ctx context.Context, op string, cause error) error {
	out := &fault.Error{Kind: fault.Interrupted, Op: op, Message: "interrupted before anything was changed", Hint: "run the command again", Err: cause}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		out.Kind, out.Message = fault.Unavailable, "timed out before anything was changed"
	}
	return out
}

// both joins errors on one line; the first one's kind counts.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; %w", a, b)
}

// brief is what the journal keeps of an error: its kind and the words of the
// outermost fault, not the foreign text under it.
func brief(err error) (kind, text string) {
	var known *fault.Error
	if errors.As(err, &known) {
		text = known.Op
		if known.Message != "" {
			if text != "" {
				text += ": "
			}
			text += known.Message
		}
	}
	return fault.KindOf(err).String(), clean(text)
}

// tell reports an event, one at a time.
func (r *run) tell(kind EventKind, step, text string) {
	if r.e.Observer == nil {
		return
	}
	r.told.Lock()
	defer r.told.Unlock()
	r.mu.Lock()
	ev := Event{At: r.e.Now().UTC(), Run: r.st.header.ID, Kind: kind, Step: step, Text: text}
	for i := range r.st.steps {
		if s := &r.st.steps[i]; s.ID == step {
			ev.Title, ev.N, ev.Of = s.Title, i+1, len(r.st.steps)
			if kind == EventDone || kind == EventSkipped {
				ev.Receipt = maps.Clone(s.receipt)
			}
		}
	}
	switch kind {
	case EventEnded:
		ev.State = r.st.end
	case EventStarted, EventResumed:
		h := r.st.header
		ev.Playbook, ev.Environment, ev.Component = h.Playbook, h.Environment, h.Component
	default:
	}
	r.mu.Unlock()
	r.e.Observer(ev)
}
