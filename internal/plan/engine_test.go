package plan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
)

func TestRun(t *testing.T) {
	t.Parallel()
	w, e := newWorld(nil), engine(t, nil)
	var seen []string
	e.Observer = func(ev plan.Event) { seen = append(seen, fmt.Sprint(ev.Kind, " ", ev.Step, ev.State)) }
	res, err := e.Run(t.Context(), mustPlan(t, w))
	if err != nil || w.done() != nil {
		t.Fatal(err, w.done())
	}
	wantState(t, res, plan.Done)
	want := []string{
		"started ", "begin look", "done look", "begin role", "done role", "begin write", "done write",
		"begin deploy", "note deploy", "done deploy", "ended done",
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("events %q", seen)
	}
	all, err := e.List()
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], res.Record) {
		t.Errorf("listed %+v, %v", all, err)
	}
	out, err := json.Marshal(all[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		`"playbook":"rotate jwt"`, `"environment":"production"`, `"component":"app"`, `"state":"done"`,
		`"started_at":"2026-01-02T`, `"ended_at":"2026`, `{"id":"write","title":"Write 1 → 2","state":"done","receipt":{"from":"1","to":"2"}}`,
	} {
		if !strings.Contains(string(out), field) {
			t.Errorf("%s lacks %s", out, field)
		}
	}
}

// A failure undoes everything and keeps its cause's kind and hint.
func TestFailureIsUndone(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"look", "role", "write", "verify-write", "deploy", "verify-deploy"} {
		w, e := newWorld(nil), engine(t, nil)
		w.fail = step
		res, err := e.Run(t.Context(), mustPlan(t, w))
		wantKind(t, err, fault.Unavailable)
		wantState(t, res, plan.Undone)
		if fault.HintOf(err) != "fix "+step || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, hint %q", err, fault.HintOf(err))
		}
		if err := w.undone(); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		if _, err := e.Resume(t.Context(), res.Record.ID, w.plan); !fault.Is(err, fault.Refused) {
			t.Errorf("resume of an undone run: %v", err)
		}
	}
}

// failsBack makes a playbook fail at its end and an undo fail once.
func failsBack(t *testing.T) (*world, *plan.Engine, plan.Result, error) {
	w, e := newWorld(nil), engine(t, nil)
	w.fail = "verify-deploy"
	p := mustPlan(t, w)
	write := p.Steps[2].Undo
	p.Steps[2].Undo = func(ctx context.Context, r plan.Receipt) error {
		w.fail = "undo-write"
		return write(ctx, r)
	}
	res, err := e.Run(t.Context(), p)
	return w, e, res, err
}

func TestUndoThatFailsIsPartialAndCanGoOn(t *testing.T) {
	t.Parallel()
	w, e, res, err := failsBack(t)
	wantKind(t, err, fault.Partial)
	wantState(t, res, plan.Failed)
	for _, part := range []string{"not undone: write (", "role (waits for write)", "do verify-deploy: planted"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if hint := fault.HintOf(err); hint != "envctl undo "+res.Record.ID {
		t.Errorf("hint %q", hint)
	}
	states := ""
	for _, s := range res.Record.Steps {
		states += string(s.State) + " "
	}
	if states != "done done undo-failed undone " {
		t.Error(states)
	}
	_, err = e.Resume(t.Context(), res.Record.ID, w.plan)
	wantKind(t, err, fault.Refused)

	w.fail = ""
	again, err := e.Undo(t.Context(), res.Record.ID, w.plan)
	if err != nil || w.undone() != nil {
		t.Fatal(err, w.undone())
	}
	wantState(t, again, plan.Undone)
}

// A way back that needs what is away is not begun: the run can be resumed and undone.
func TestNoWayBackThroughWhatIsAway(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"resume", "undo"} {
		for _, away := range []bool{true, false} {
			w, e := newWorld(nil), engine(t, nil)
			w.fail = "deploy"
			p := mustPlan(t, w)
			asked := 0
			p.Steps[2].Reach = func(context.Context) error {
				if asked++; !away {
					return nil
				}
				return fault.New(fault.Unavailable, "ask", "it is away", "")
			}
			res, err := e.Run(t.Context(), p)
			if asked != 1 {
				t.Errorf("asked %d times", asked)
			}
			if !away {
				wantKind(t, err, fault.Unavailable)
				wantState(t, res, plan.Undone)
				continue
			}
			wantKind(t, err, fault.Partial)
			wantState(t, res, plan.Partial)
			if hint := fault.HintOf(err); !strings.Contains(hint, "resume") || !strings.Contains(hint, "undo") {
				t.Errorf("hint %q", hint)
			}
			w.fail = ""
			over := w.done
			if verb == "resume" {
				res, err = e.Resume(t.Context(), res.Record.ID, w.plan)
			} else {
				res, err = e.Undo(t.Context(), res.Record.ID, w.plan)
				over = w.undone
			}
			if err != nil || over() != nil {
				t.Errorf("%s: %v, %v", verb, err, over())
			}
		}
	}
}

// One that cannot be undone is passed by and reported; an irreversible one ends
// the way back: the run stays where it is, to be resumed.
func TestWhatCannotBeUndone(t *testing.T) {
	t.Parallel()
	w, e := newWorld(nil), engine(t, nil)
	w.fail = "verify-deploy"
	p := mustPlan(t, w)
	p.Steps[1].Undo = nil
	res, err := e.Run(t.Context(), p)
	wantKind(t, err, fault.Partial)
	wantState(t, res, plan.Failed)
	if err == nil || !strings.Contains(err.Error(), "role (undo role: cannot be undone)") || w.running != "old" {
		t.Errorf("%v, running %s", err, w.running)
	}

	w = newWorld(nil)
	final := func(h plan.Header) (*plan.Plan, error) {
		p, err := w.plan(h)
		p.Steps[2].Undo, p.Steps[2].Risk = nil, plan.Irreversible
		return p, err
	}
	w.fail = "verify-deploy"
	p, _ = final(plan.Header{})
	res, err = e.Run(t.Context(), p)
	wantKind(t, err, fault.Partial)
	wantState(t, res, plan.Partial)
	if w.running != canary || len(w.roles) != 1 {
		t.Errorf("it went back past what it stands on: %+v", w)
	}
	_, err = e.Undo(t.Context(), res.Record.ID, final)
	wantKind(t, err, fault.Refused)
	if hint := fault.HintOf(err); hint != "envctl resume "+res.Record.ID {
		t.Errorf("hint %q", hint)
	}
	w.fail = ""
	if res, err = e.Resume(t.Context(), res.Record.ID, final); err != nil || w.done() != nil {
		t.Error(err, w.done())
	}
	_, err = e.Undo(t.Context(), res.Record.ID, final)
	wantKind(t, err, fault.Refused)
}

func TestResumeRefusesAnotherPlan(t *testing.T) {
	t.Parallel()
	w, e := newWorld(nil), engine(t, nil)
	id := stopped(t, w, e)
	other := func(h plan.Header) (*plan.Plan, error) {
		p, err := w.plan(h)
		p.Steps = p.Steps[:2]
		return p, err
	}
	before := fmt.Sprintf("%+v", *w)
	_, err := e.Resume(t.Context(), id, other)
	wantKind(t, err, fault.Refused)
	if err == nil || !strings.Contains(err.Error(), "it was look, role, write, deploy, and is look, role") {
		t.Error(err)
	}
	without := func(h plan.Header) (*plan.Plan, error) {
		p, err := w.plan(h)
		p.Steps = append(p.Steps[:1:1], p.Steps[2:]...)
		return p, err
	}
	_, err = e.Undo(t.Context(), id, without)
	wantKind(t, err, fault.Refused)
	_, err = e.Resume(t.Context(), id, func(plan.Header) (*plan.Plan, error) { return nil, fault.New(fault.Sealed, "plan", "sealed", "") })
	wantKind(t, err, fault.Sealed)
	if after := fmt.Sprintf("%+v", *w); after != before {
		t.Error(after)
	}
	// Only what is to be undone must be in the plan.
	if _, err := e.Undo(t.Context(), id, other); err != nil || w.undone() != nil {
		t.Error(err, w.undone())
	}
}

// stopped leaves a run that was interrupted in its second step.
func stopped(t *testing.T, w *world, e *plan.Engine) (id string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := mustPlan(t, w)
	do := p.Steps[1].Do
	p.Steps[1].Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) { cancel(); return do(ctx, page) }
	res, err := e.Run(ctx, p)
	wantKind(t, err, fault.Partial)
	return res.Record.ID
}

// What an earlier process did is read back before resume builds on it.
func TestResumeVerifiesWhatWasDone(t *testing.T) {
	t.Parallel()
	w, e := newWorld(nil), engine(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	p := mustPlan(t, w)
	p.Steps[2].Verify = func(context.Context, plan.Receipt) error { cancel(); return nil }
	res, err := e.Run(ctx, p)
	wantKind(t, err, fault.Partial)
	w.versions[1] = "forged"
	_, err = e.Resume(t.Context(), res.Record.ID, w.plan)
	wantKind(t, err, fault.Partial)
	if err == nil || !strings.Contains(err.Error(), "what step write did no longer holds") || w.running != "old" {
		t.Error(err, w.running)
	}
}

func TestUndoOfADoneRun(t *testing.T) {
	t.Parallel()
	w, e := newWorld(nil), engine(t, nil)
	res, err := e.Run(t.Context(), mustPlan(t, w))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	interrupted := func(h plan.Header) (*plan.Plan, error) {
		p, err := w.plan(h)
		undo := p.Steps[3].Undo
		p.Steps[3].Undo = func(ctx context.Context, r plan.Receipt) error { cancel(); return undo(ctx, r) }
		return p, err
	}
	half, err := e.Undo(ctx, res.Record.ID, interrupted)
	wantKind(t, err, fault.Partial)
	wantState(t, half, plan.Partial)
	if hint := fault.HintOf(err); hint != "envctl undo "+res.Record.ID {
		t.Errorf("hint %q", hint)
	}
	_, err = e.Resume(t.Context(), res.Record.ID, w.plan)
	wantKind(t, err, fault.Refused)
	for i := range 2 {
		whole, err := e.Undo(t.Context(), res.Record.ID, w.plan)
		if err != nil || w.undone() != nil || whole.Already != (i == 1) {
			t.Errorf("time %d: %+v, %v, %v", i, whole, err, w.undone())
		}
	}
}

// Bugs of a playbook that the engine catches, and takes back.
func TestTheEngineCatchesBugs(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(*plan.Step){
		"no intent": func(s *plan.Step) {
			do := s.Do
			s.Do = func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) { return do(ctx, &plan.Page{}) }
		},
		"a receipt of two lines": func(s *plan.Step) {
			do := s.Do
			s.Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				_, err := do(ctx, page)
				return plan.Receipt{"key": canary + "\n" + canary}, err
			}
		},
	} {
		w, e := newWorld(nil), engine(t, nil)
		w.ignoreFull = true
		p := mustPlan(t, w)
		plant(&p.Steps[1])
		res, err := e.Run(t.Context(), p)
		wantKind(t, err, fault.Internal)
		wantState(t, res, plan.Undone)
		if err := w.undone(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error quotes the receipt: %v", name, err)
		}
	}
}

func TestPlansThatCannotBeJournaled(t *testing.T) {
	t.Parallel()
	do := func(context.Context, *plan.Page) (plan.Receipt, error) { return nil, nil }
	good := plan.Step{ID: "a", Do: do}
	for name, p := range map[string]plan.Plan{
		"no playbook":    {Steps: []plan.Step{good}},
		"twice":          {Playbook: "x", Steps: []plan.Step{good, good}},
		"no Do":          {Playbook: "x", Steps: []plan.Step{{ID: "a"}}},
		"bad id":         {Playbook: "x", Steps: []plan.Step{{ID: "a b", Do: do}}},
		"control":        {Playbook: "x\x1b[1m", Steps: []plan.Step{good}},
		"bidi":           {Playbook: "x", Steps: []plan.Step{{ID: "a", Title: "\u202etxt", Do: do}}},
		"long argument":  {Playbook: "x", Args: map[string]string{"a": strings.Repeat("v", 513)}},
		"named argument": {Playbook: "x", Args: map[string]string{"a=b": "c"}},
		"not UTF-8":      {Playbook: "x", Args: map[string]string{"a": "\xff"}},
	} {
		e := engine(t, nil)
		_, err := e.Run(t.Context(), &p)
		wantKind(t, err, fault.Internal)
		if all, _ := e.List(); len(all) != 0 {
			t.Errorf("%s: left %+v", name, all)
		}
	}
}

// A disk that fills at every byte: no effect without its intent on disk, and
// what had begun can be finished or undone once there is room.
func TestDiskFullAtEveryByte(t *testing.T) {
	t.Parallel()
	whole := &plantest.Disk{}
	if _, err := engine(t, whole).Run(t.Context(), mustPlan(t, newWorld(whole))); err != nil {
		t.Fatal(err)
	}
	names, _ := whole.Names("/state/runs")
	size := len(whole.Safe("/state/runs/" + names[0]))
	for room := range size {
		for _, verb := range []string{"resume", "undo"} {
			full := room
			d := &plantest.Disk{Full: &full}
			w, e := newWorld(d), engine(t, d)
			p := mustPlan(t, w)
			for i := range p.Steps {
				if p.Steps[i].Risk > plan.Reads {
					watchIntent(t, d, &p.Steps[i])
				}
			}
			res, err := e.Run(t.Context(), p)
			all, lerr := e.List()
			if lerr != nil {
				t.Fatal(lerr)
			}
			if fault.Is(err, fault.Unavailable) {
				if len(all) != 0 || w.undone() != nil || w.writes != 0 {
					t.Fatalf("room for %d bytes: %+v, %v", room, all, w.undone())
				}
				continue
			}
			wantKind(t, err, fault.Partial)
			wantState(t, res, plan.Partial)
			full = 1 << 20
			do, holds := e.Resume, w.done
			if verb == "undo" {
				do, holds = e.Undo, w.undone
			}
			if _, err := do(t.Context(), all[0].ID, w.plan); err != nil || holds() != nil {
				t.Fatalf("room for %d bytes, then %s: %v, %v", room, verb, err, holds())
			}
		}
	}
}

// watchIntent fails t when the world changes in s before an intent is safe.
func watchIntent(t *testing.T, d *plantest.Disk, s *plan.Step) {
	do, id := s.Do, s.ID
	s.Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		r, err := do(ctx, page)
		names, _ := d.Names("/state/runs")
		if r != nil && !bytes.Contains(d.Safe("/state/runs/"+names[0]), []byte(`"step":"`+id+`"`)) {
			t.Errorf("%s went on without its intent on disk", id)
		}
		return r, err
	}
}

// A Do that goes on although its intent is not on disk is not forgotten.
func TestIgnoredIntentErrorIsNotForgotten(t *testing.T) {
	t.Parallel()
	d := &plantest.Disk{}
	w, e := newWorld(d), engine(t, d)
	w.ignoreFull = true
	p := mustPlan(t, w)
	do := p.Steps[1].Do
	p.Steps[1].Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
		none := 0
		d.Full = &none
		return do(ctx, page)
	}
	_, err := e.Run(t.Context(), p)
	wantKind(t, err, fault.Partial)
	if all, _ := e.List(); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestObserverIsSerial(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	var inside, most atomic.Int32
	notes := 0
	e.Observer = func(ev plan.Event) {
		most.Store(max(most.Load(), inside.Add(1)))
		time.Sleep(10 * time.Microsecond)
		inside.Add(-1)
		if ev.Kind == plan.EventNote {
			notes++
		}
	}
	var leaked *plan.Page
	p := &plan.Plan{Playbook: "x", Steps: []plan.Step{{ID: "a", Risk: plan.Writes, Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
		leaked = page
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				page.Note("n")
				if err := page.Intend(plan.Receipt{"i": fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				page.Receipt("a")
			})
		}
		all.Wait()
		return nil, nil
	}}}}
	if _, err := e.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 1 || notes != 50 {
		t.Errorf("%d at once, %d notes", most.Load(), notes)
	}
	leaked.Note("late")
	if err := leaked.Intend(nil); err == nil || notes != 50 {
		t.Error("a page outlived its step")
	}
}

// The journal holds what the playbook gave it and nothing of a foreign error.
func TestForeignErrorTextStaysOut(t *testing.T) {
	t.Parallel()
	d := &plantest.Disk{}
	e := engine(t, d)
	p := &plan.Plan{Playbook: "x", Steps: []plan.Step{{ID: "a", Do: func(context.Context, *plan.Page) (plan.Receipt, error) {
		return nil, fault.Wrap(errors.New("body: "+canary), fault.Denied, "write ledger", "")
	}}}}
	res, err := e.Run(t.Context(), p)
	wantKind(t, err, fault.Denied)
	plantest.Canary(t, d, canary)
	if s := res.Record.Steps[0]; s.Kind != "denied" || s.Error != "write ledger" {
		t.Errorf("%+v", s)
	}
}

// steps are so many writes that do nothing.
func steps(n int) []plan.Step {
	var all []plan.Step
	for i := range n {
		all = append(all, plan.Step{ID: fmt.Sprint("s", i), Risk: plan.Writes, Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
			return plan.Receipt{"version": "13"}, page.Intend(plan.Receipt{"base": "12"})
		}})
	}
	return all
}

// What the engine adds to a step, on a disk whose fsync takes no time, stays under
// two milliseconds: the least of some rounds, whatever else the machine does.
func TestStepOverhead(t *testing.T) {
	t.Parallel()
	const n = 20
	all, least := steps(n), time.Hour
	for range 15 {
		e, start := engine(t, &plantest.Disk{}), time.Now()
		if _, err := e.Run(t.Context(), &plan.Plan{Playbook: "x", Steps: all}); err != nil {
			t.Fatal(err)
		}
		least = min(least, time.Since(start)/n)
	}
	if least > 2*time.Millisecond {
		t.Errorf("%v a step", least)
	}
}

func BenchmarkStep(b *testing.B) {
	const n = 20
	all := steps(n)
	for b.Loop() {
		e := engine(b, &plantest.Disk{})
		if _, err := e.Run(b.Context(), &plan.Plan{Playbook: "x", Steps: all}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/step")
}

// A step that a later one changes is not asked again once that one has begun.
func TestUntil(t *testing.T) {
	t.Parallel()
	for until, kind := range map[string]fault.Kind{"second": 0, "": fault.Partial} {
		e, asked := engine(t, nil), 0
		build := func(cancel func()) *plan.Plan {
			return &plan.Plan{Playbook: "x", Steps: []plan.Step{
				{
					ID: "first", Until: until, Do: func(context.Context, *plan.Page) (plan.Receipt, error) { return plan.Receipt{}, nil },
					Verify: func(context.Context, plan.Receipt) error {
						if asked++; asked > 1 {
							return fault.New(fault.No, "look", "it is another one now", "")
						}
						return nil
					},
				},
				{
					ID: "second", Risk: plan.Writes, Undo: func(context.Context, plan.Receipt) error { return nil },
					Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
						cancel()
						return plan.Receipt{}, page.Intend(plan.Receipt{})
					},
				},
				{ID: "third", Do: func(context.Context, *plan.Page) (plan.Receipt, error) { return plan.Receipt{}, nil }},
			}}
		}
		ctx, cancel := context.WithCancel(t.Context())
		res, err := e.Run(ctx, build(cancel))
		wantKind(t, err, fault.Partial)
		_, err = e.Resume(t.Context(), res.Record.ID, func(plan.Header) (*plan.Plan, error) { return build(func() {}), nil })
		if kind == 0 && err != nil || kind != 0 && fault.KindOf(err) != kind {
			t.Errorf("until %q: %v", until, err)
		}
	}
}
