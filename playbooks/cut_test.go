package playbooks_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
)

// line is the way to the store, cut at one of its calls. A nil one is whole.
type line struct {
	n, at  int32 // calls so far, of several readers at once; the call that it is cut at, from 1, 0: never
	kind   fault.Kind
	for1   bool // that call alone fails, else all from there on
	answer bool // a change is carried out, and its answer lost
}

// ask is a call that reads.
func (l *line) ask() error {
	if l == nil {
		return nil
	}
	n := atomic.AddInt32(&l.n, 1)
	if l.at == 0 || n < l.at || l.for1 && n > l.at {
		return nil
	}
	return fault.New(l.kind, "ask the store", "planted", "run envctl doctor")
}

// change is a call that do carries out.
func (l *line) change(do func() error) error {
	err := l.ask()
	if err == nil {
		return do()
	}
	if l.answer {
		if err := do(); err != nil {
			return err
		}
		return fault.New(fault.Unknown, "write", "the answer was lost", "run envctl history")
	}
	return err
}

// cuttable are the playbooks whose way to the store is cut.
func cuttable(t *testing.T) map[string]trial {
	all := map[string]trial{
		"env create": creation(t, nil), "env delete": deletion(t, false, new(int)), "env delete --destroy": deletion(t, true, new(int)),
		"env promote": promoted(t), "rotate --all": batched(t, false),
	}
	shared := testLab(t).Project
	for name, s := range scenes() {
		all[name] = s.trial(t, shared)
	}
	shared = provenProject(t)
	for name, s := range provenScenes() {
		all[name] = provenTrial(t, shared, s, new(int))
	}
	shared = databaseProject(t)
	for name, s := range databaseScenes() {
		all["database, "+name] = s.trial(t, shared)
	}
	return all
}

// The way to the store is cut at each call of each playbook, for that call or for
// good, with each answer there is. The run ends with the cause's kind, or
// part-way; what it says of itself is true; and once the store is back it can be
// finished, and taken back, with nothing done twice.
func TestTheStoreIsCutOffAtEachCall(t *testing.T) {
	t.Parallel()
	for name, tr := range cuttable(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, everyCut(t, tr))
		})
	}
}

// everyCut says what is wrong after which cut.
func everyCut(t *testing.T, tr trial) (problems []string) {
	t.Helper()
	kinds := []fault.Kind{fault.Unavailable, fault.Sealed, fault.Expired, fault.Denied, fault.Refused}
	cases := 0
	for at := int32(1); ; at++ {
		reached := false
		for i, how := range []line{{for1: true}, {}, {for1: true, answer: true}, {answer: true}} {
			for _, verb := range []string{"resume", "undo"} {
				how.at, how.kind = at, kinds[(int(at)+i)%len(kinds)]
				got, err := cutOff(tr, how, verb)
				reached = reached || got
				cases++
				if err != nil {
					problems = append(problems, fmt.Sprintf("call %d, one call %v, carried out %v, %s, then %s: %v", at, how.for1, how.answer, how.kind, verb, err))
				}
			}
		}
		if !reached || len(problems) > 0 {
			break
		}
	}
	t.Logf("%d cases", cases)
	return problems
}

// cutOff is one case; reached: the run came to the call.
func cutOff(tr trial, way line, verb string) (reached bool, err error) {
	ctx := context.Background()
	disk := &plantest.Disk{}
	disk.Arm(nil)
	l, w := tr.fresh(disk)
	p, err := w.Plan(plan.Header{})
	if err != nil {
		return false, err
	}
	l.store.line = &way
	eng := engineOn(disk)
	res, err := eng.Run(ctx, p)
	reached, l.store.line = atomic.LoadInt32(&way.n) >= way.at, nil
	switch {
	case err == nil:
		if res.Record.State != plan.Done {
			return reached, fmt.Errorf("no error, and the run is %s", res.Record.State)
		}
		if verb == "resume" {
			return reached, w.Done()
		}
	case !fault.Is(err, way.kind, fault.Partial) && (!way.answer || !fault.Is(err, fault.Unknown, fault.Conflict)):
		return reached, fmt.Errorf("it ended with %s: %w", fault.KindOf(err), err)
	case fault.HintOf(err) == "":
		return reached, fmt.Errorf("no hint: %w", err)
	case res.Record.ID == "" || res.Record.State == plan.Undone:
		return reached, tr.look("undo", w, disk, res, nil)
	}
	do := eng.Resume
	if verb == "undo" || res.Record.Undoing {
		verb, do = "undo", eng.Undo
	}
	again, rerr := do(ctx, res.Record.ID, w.Plan)
	if lerr := tr.look(verb, w, disk, again, rerr); lerr != nil {
		return reached, errors.Join(fmt.Errorf("after %w: %s is %s", err, verb, again.Record.State), lerr)
	}
	return reached, nil
}

// The cuts notice what they are there for.
func TestCutsFindPlantedFaults(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(s *plan.Step){
		"a step that says it was done": func(s *plan.Step) {
			do := s.Do
			s.Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				r, err := do(ctx, page)
				if err != nil {
					return plan.Receipt{}, nil //nolint:nilerr // it is the fault
				}
				return r, nil
			}
		},
		"an undo that does nothing": func(s *plan.Step) {
			s.Undo = func(context.Context, plan.Receipt) error { return nil }
		},
		"an error of another kind": func(s *plan.Step) {
			do := s.Do
			s.Do = func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				r, err := do(ctx, page)
				if err != nil {
					err = fault.New(fault.Internal, "write", err.Error(), "look")
				}
				return r, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := scenes()["rotate jwt, no deployer"].trial(t, testLab(t).Project)
			fresh := tr.fresh
			tr.fresh = func(disk *plantest.Disk) (*lab, plantest.World) {
				l, w := fresh(disk)
				planned := w.Plan
				w.Plan = func(h plan.Header) (*plan.Plan, error) {
					p, err := planned(h)
					if err == nil {
						for i := range p.Steps {
							plant(&p.Steps[i])
						}
					}
					return p, err
				}
				return l, w
			}
			if len(everyCut(t, tr)) == 0 {
				t.Error("nothing found")
			}
		})
	}
}
