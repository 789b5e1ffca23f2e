package plan_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// superseded is a plan whose write was changed again since: it cannot be undone.
func superseded(plan.Header) (*plan.Plan, error) {
	return &plan.Plan{Playbook: "set", Project: "ledger", Environment: "staging", Component: "app", Steps: []plan.Step{{
		ID: "write", Title: "write it", Risk: plan.Writes,
		Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
			return plan.Receipt{}, page.Intend(plan.Receipt{"to": "1"})
		},
		Undo: func(context.Context, plan.Receipt) error {
			return fault.New(fault.Conflict, "undo the write", "changed again since", "")
		},
	}}}, nil
}

// A run whose undo fails for good can be closed: it waits for nothing any more,
// stays what it is, and can still be undone.
func TestClose(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	p, _ := superseded(plan.Header{})
	res, err := e.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	id := res.Record.ID
	if res, err := e.Close(t.Context(), id); err != nil || !res.Already || res.Record.Closed || len(e.Stopped(p)) != 0 {
		t.Errorf("a run that is done: %+v, %v, %v", res, err, e.Stopped(p))
	}
	_, err = e.Undo(t.Context(), id, superseded)
	wantKind(t, err, fault.Partial)
	if hint := fault.HintOf(err); hint != "envctl undo "+id+"  or  envctl runs --close "+id {
		t.Errorf("hint %q", hint)
	}
	other := *p
	other.Component = "worker"
	if s := e.Stopped(p); len(s) != 1 || s[0].ID != id || len(e.Stopped(&other)) != 0 {
		t.Errorf("stopped %+v, of another component %+v", s, e.Stopped(&other))
	}
	for _, already := range []bool{false, true} {
		res, err = e.Close(t.Context(), id)
		if err != nil || res.Already != already || !res.Record.Closed || res.Record.State != plan.Failed || res.Record.Next() != "" {
			t.Errorf("closed: %+v, %v", res, err)
		}
	}
	if r, err := e.Load(id); err != nil || !r.Closed || len(e.Stopped(p)) != 0 {
		t.Errorf("loaded %+v, %v; stopped %v", r, err, e.Stopped(p))
	}
	_, err = e.Undo(t.Context(), id, superseded)
	wantKind(t, err, fault.Partial)
	if r, err := e.Load(id); err != nil || r.Closed {
		t.Errorf("after another undo: %+v, %v", r, err)
	}
	if _, err := e.Close(t.Context(), id); err != nil {
		t.Error(err)
	}
	if n, err := e.Prune(t.Context(), 0, time.Now().AddDate(100, 0, 0)); n != 1 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	_, err = e.Close(t.Context(), id)
	wantKind(t, err, fault.NotFound)
}

// A run that is being worked on cannot be closed.
func TestCloseOfARunningRun(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	p, _ := superseded(plan.Header{})
	do := p.Steps[0].Do
	p.Steps[0].Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		_, err := e.Close(ctx, page.Run())
		wantKind(t, err, fault.Conflict)
		return do(ctx, page)
	}
	res, err := e.Run(t.Context(), p)
	if err != nil || res.Record.Closed {
		t.Errorf("%+v, %v", res, err)
	}
}

// What stops the way forward and the way back is said once.
func TestOneCauseIsSaidOnce(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	p, _ := superseded(plan.Header{})
	cause := errors.New("the engine is down")
	p.Steps[0].Verify = func(context.Context, plan.Receipt) error { return cause }
	p.Steps[0].Undo = func(context.Context, plan.Receipt) error { return cause }
	_, err := e.Run(t.Context(), p)
	wantKind(t, err, fault.Partial)
	if err == nil || strings.Count(err.Error(), cause.Error()) != 1 || !strings.Contains(err.Error(), "not undone: write: the engine") {
		t.Error(err)
	}
}
