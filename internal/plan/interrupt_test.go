package plan_test

import (
	"context"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

func TestInterrupt(t *testing.T) {
	t.Parallel()
	// Before anything: no journal.
	w, e := newWorld(nil), engine(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	p := mustPlan(t, w)
	look := p.Steps[0].Do
	p.Steps[0].Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		cancel()
		return look(ctx, page)
	}
	res, err := e.Run(ctx, p)
	wantKind(t, err, fault.Interrupted)
	if res.Record.ID != "" {
		t.Errorf("a run that is no more: %+v", res)
	}
	if all, err := e.List(); len(all) != 0 || err != nil {
		t.Errorf("left %+v, %v", all, err)
	}

	// In a step: it is finished, the next does not begin.
	ctx, cancel = context.WithCancel(t.Context())
	p = mustPlan(t, w)
	role := p.Steps[1].Do
	p.Steps[1].Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		cancel()
		if ctx.Err() != nil {
			t.Error("the first interrupt reached the step")
		}
		return role(ctx, page)
	}
	res, err = e.Run(ctx, p)
	wantKind(t, err, fault.Partial)
	wantState(t, res, plan.Partial)
	id := res.Record.ID
	if hint := fault.HintOf(err); hint != "envctl resume "+id+"  or  envctl undo "+id {
		t.Errorf("hint %q", hint)
	}
	if len(w.roles) != 1 || w.writes != 0 {
		t.Errorf("%+v", w)
	}
	res, err = e.Resume(t.Context(), id, w.plan)
	if err != nil || w.done() != nil {
		t.Error(err, w.done())
	}
	wantState(t, res, plan.Done)

	// In the last step: the run is done.
	w = newWorld(nil)
	ctx, cancel = context.WithCancel(t.Context())
	p = mustPlan(t, w)
	p.Steps[3].Verify = func(context.Context, plan.Receipt) error { cancel(); return nil }
	res, err = e.Run(ctx, p)
	wantState(t, res, plan.Done)
	if err != nil {
		t.Error(err)
	}
}

// The second interrupt, or the deadline, ends the step in hand; nothing is
// undone behind the operator's back.
func TestForce(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"force", "deadline"} {
		w, e := newWorld(nil), engine(t, nil)
		force := make(chan struct{})
		e.Force = force
		ctx, cancel := context.WithCancel(t.Context())
		passed := make(chan struct{})
		if how == "deadline" {
			ctx = &late{ctx, passed}
		}
		p := mustPlan(t, w)
		p.Steps[3].Verify = func(work context.Context, _ plan.Receipt) error {
			if how == "force" {
				cancel()
				close(force)
			} else {
				close(passed)
			}
			<-work.Done()
			return work.Err()
		}
		res, err := e.Run(ctx, p)
		cancel()
		e.Force = nil
		wantKind(t, err, fault.Partial)
		wantState(t, res, plan.Partial)
		if how == "deadline" && !strings.Contains(err.Error(), "timed out") {
			t.Error(err)
		}
		if w.running != canary {
			t.Error("undone")
		}
		if _, err := e.Undo(t.Context(), res.Record.ID, w.plan); err != nil || w.undone() != nil {
			t.Error(err, w.undone())
		}
	}
}

// late is a context whose deadline passes when the channel is closed.
type late struct {
	context.Context
	passed chan struct{}
}

func (l *late) Done() <-chan struct{} { return l.passed }

func (l *late) Err() error {
	select {
	case <-l.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
