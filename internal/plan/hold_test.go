package plan_test

import (
	"context"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
)

// keeper is a store's locks: how many checks pass before the lock is lost.
type keeper struct {
	err      error // of Lock
	checks   int   // that pass; below zero: all
	asked    []plan.Holder
	dead     func(plan.Holder) bool
	released int
}

func (k *keeper) Lock(_ context.Context, component string, h plan.Holder, dead func(plan.Holder) bool) (plan.Lock, error) {
	if component != "app" {
		return nil, fault.New(fault.Internal, "lock", "another component: "+component, "")
	}
	k.asked, k.dead = append(k.asked, h), dead
	return k, k.err
}

func (k *keeper) Check(context.Context) error {
	if k.checks == 0 {
		return fault.New(fault.Conflict, "lock ledger/production/app", "run 2 of bob has taken it over", "wait for it")
	}
	k.checks--
	return nil
}

func (k *keeper) Release(context.Context) error { k.released++; return nil }

func locked(t *testing.T, k *keeper) (*world, *plan.Engine, func(plan.Header) (*plan.Plan, error)) {
	t.Helper()
	w := newWorld(nil)
	e := engine(t, &plantest.Disk{})
	e.Who = "alice@laptop"
	return w, e, func(h plan.Header) (*plan.Plan, error) {
		p, err := w.plan(h)
		if err == nil {
			p.Locks = k
		}
		return p, err
	}
}

// Whatever a run had done when its lock was lost, it does nothing more: not the
// next step, and not the way back.
func TestLostLockStopsBeforeTheNextEffect(t *testing.T) {
	t.Parallel()
	for passed := range 12 {
		k := &keeper{checks: passed}
		w, e, build := locked(t, k)
		effects := 0
		w.saved = func() { effects++ }
		p, err := build(plan.Header{})
		if err != nil {
			t.Fatal(err)
		}
		if passed >= 3 { // three effects; then the way back
			w.fail = "verify-deploy"
		}
		res, err := e.Run(t.Context(), p)
		if k.released != 1 {
			t.Fatalf("%d checks: released %d times", passed, k.released)
		}
		switch {
		case fault.Is(err, fault.Unavailable): // the planted failure: through, and back
			if passed != 7 || w.undone() != nil {
				t.Fatalf("%d checks: %v, %v", passed, err, w.undone())
			}
			return
		case passed == 0:
			if !fault.Is(err, fault.Conflict) || res.Record.ID != "" || effects != 0 {
				t.Fatalf("nothing was done: %v %+v", err, res)
			}
			continue
		case !fault.Is(err, fault.Partial) || !strings.Contains(err.Error(), "bob has taken it over") || effects == 0:
			t.Fatalf("%d checks: %v", passed, err)
		}
		if effects > passed {
			t.Fatalf("%d checks and %d effects", passed, effects)
		}
		// Later it is free again, and the run can be finished or taken back.
		w.fail = ""
		k.checks = -1
		way := e.Resume
		if res.Record.Undoing {
			way = e.Undo
		}
		if res, err = way(t.Context(), res.Record.ID, build); err != nil {
			t.Fatalf("%d checks, afterwards: %v", passed, err)
		}
		if len(k.asked) != 2 || k.asked[1] != (plan.Holder{Run: res.Record.ID, Playbook: p.Playbook, Who: "alice@laptop"}) || k.asked[0] != k.asked[1] {
			t.Fatal(k.asked)
		}
	}
	t.Fatal("never got through")
}

func TestLockedTargets(t *testing.T) {
	t.Parallel()
	t.Run("held by another machine", func(t *testing.T) {
		t.Parallel()
		k := &keeper{err: fault.New(fault.Conflict, "lock", "bob works on it", "wait")}
		w, e, build := locked(t, k)
		p, _ := build(plan.Header{})
		res, err := e.Run(t.Context(), p)
		all, lerr := e.List()
		if !fault.Is(err, fault.Conflict) || res.Record.ID != "" || len(all) != 0 || lerr != nil || w.writes != 0 {
			t.Fatal(err, res, all, lerr)
		}
	})
	t.Run("this operator may not lock", func(t *testing.T) {
		t.Parallel()
		k := &keeper{err: fault.New(fault.Denied, "write the lock", "permission denied", "ask bob")}
		w, e, build := locked(t, k)
		var warned string
		e.Observer = func(ev plan.Event) {
			if ev.Kind == plan.EventWarning {
				warned += ev.Text
			}
		}
		p, _ := build(plan.Header{})
		if _, err := e.Run(t.Context(), p); err != nil || w.done() != nil {
			t.Fatal(err, w.done())
		}
		if !strings.Contains(warned, "not kept out") || !strings.Contains(warned, "permission denied") || !strings.Contains(warned, "ask bob") {
			t.Fatalf("warned %q", warned)
		}
	})
	t.Run("one write needs none", func(t *testing.T) {
		t.Parallel()
		k := &keeper{checks: -1}
		_, e, build := locked(t, k)
		p, _ := build(plan.Header{})
		p.Steps = p.Steps[:2]
		if p.Steps[0].Risk > plan.Reads || p.Contended() {
			t.Fatal("the plan is not one write")
		}
		if _, err := e.Run(t.Context(), p); err != nil || len(k.asked) != 0 {
			t.Fatal(err, k.asked)
		}
	})
	t.Run("who is dead", func(t *testing.T) {
		t.Parallel()
		k := &keeper{checks: 2}
		_, e, build := locked(t, k)
		p, _ := build(plan.Header{})
		res, err := e.Run(t.Context(), p)
		if !fault.Is(err, fault.Partial) {
			t.Fatal(err)
		}
		id := res.Record.ID
		for _, c := range []struct {
			h    plan.Holder
			dead bool
		}{
			{plan.Holder{Run: id, Who: "alice@laptop"}, true},
			{plan.Holder{Run: id, Who: "alice@desktop"}, false},
			{plan.Holder{Run: "1kjmma2g5w91", Who: "alice@laptop"}, false},
			{plan.Holder{Run: "../" + id, Who: "alice@laptop"}, false},
		} {
			if k.dead(c.h) != c.dead {
				t.Errorf("%+v is dead: %v", c.h, !c.dead)
			}
		}
	})
}

// A lock whose answer was lost may stand: the operator's next run is told that its
// holder is over, and nobody else is.
func TestALockWithoutAnAnswerIsTakenOver(t *testing.T) {
	t.Parallel()
	k := &keeper{err: fault.New(fault.Unavailable, "lock ledger/production/app", "no answer", ""), checks: -1}
	_, e, build := locked(t, k)
	p, err := build(plan.Header{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.Run(t.Context(), p)
	if !fault.Is(err, fault.Unavailable) || res.Record.ID != "" {
		t.Fatal(res, err)
	}
	if len(e.Stopped(p)) != 0 {
		t.Error("a run that did nothing waits for resume")
	}
	k.err = nil
	if _, err = e.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if !k.dead(k.asked[0]) {
		t.Error("its own lock is in the operator's way")
	}
	for _, other := range []plan.Holder{{Run: k.asked[0].Run, Who: "bob@laptop"}, {Run: strings.Repeat("0", 12), Who: e.Who}} {
		if k.dead(other) {
			t.Errorf("the lock of %+v is taken away", other)
		}
	}
}
