package playbooks_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/naming"
	"envctl/providers"
)

// line is the way to the store, cut at one of its calls.
type line struct {
	*store
	n, at  int // the call that it is cut at, from 1; 0: never
	kind   fault.Kind
	for1   bool // that call alone fails, else all from there on
	answer bool // a write is carried out, and its answer lost
}

func (l *line) cut() error {
	l.n++
	if l.at == 0 || l.n < l.at || l.for1 && l.n > l.at {
		return nil
	}
	return fault.New(l.kind, "ask the store", "planted", "run envctl doctor")
}

func (l *line) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	if err := l.cut(); err != nil {
		return providers.Bundle{}, err
	}
	return l.store.Read(ctx, p, v)
}

func (l *line) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	if err := l.cut(); err != nil {
		return nil, err
	}
	return l.store.History(ctx, p)
}

func (l *line) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	err := l.cut()
	if err == nil {
		return l.store.Write(ctx, p, base, patch)
	}
	if l.answer {
		if _, werr := l.store.Write(ctx, p, base, patch); werr != nil {
			return 0, werr
		}
		err = fault.New(fault.Unknown, "write", "the answer was lost", "run envctl history")
	}
	return 0, err
}

// The way to the store is cut at each call of each playbook, for that call or for
// good, with each answer there is. The run ends with the cause's kind, or
// part-way; what it says of itself is true; and once the store is back it can be
// finished, and taken back, with nothing done twice.
func TestTheStoreIsCutOffAtEachCall(t *testing.T) {
	t.Parallel()
	kinds := []fault.Kind{fault.Unavailable, fault.Sealed, fault.Expired, fault.Denied, fault.Refused}
	for name, s := range scenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			project, err := config.Load(filepath.Join(testLab(t).Project.Root, config.FileName))
			must(t, err)
			cases := 0
			for at := 1; ; at++ {
				reached := false
				for i, how := range []line{{for1: true}, {}, {for1: true, answer: true}, {answer: true}} {
					for _, verb := range []string{"resume", "undo"} {
						how.at, how.kind = at, kinds[(at+i)%len(kinds)]
						got, err := cutOff(s, project, how, verb)
						reached = reached || got
						cases++
						if err != nil {
							t.Errorf("call %d, one call %v, carried out %v, %s, then %s: %v", at, how.for1, how.answer, how.kind, verb, err)
						}
					}
				}
				if !reached || t.Failed() {
					break
				}
			}
			t.Logf("%d cases", cases)
		})
	}
}

// cutOff is one case; reached: the run came to the call.
func cutOff(s scene, project *config.Project, way line, verb string) (reached bool, err error) {
	ctx := context.Background()
	disk := &plantest.Disk{}
	disk.Arm(nil)
	l, w, err := s.world(project, disk)
	if err != nil {
		return false, err
	}
	at := way.at
	way.at, way.store = 0, l.store
	l.World.Store = func(config.Environment) (providers.Store, error) { return &way, nil }
	p, err := w.Plan(plan.Header{})
	if err != nil {
		return false, err
	}
	way.n, way.at = 0, at
	eng := engineOn(disk)
	res, err := eng.Run(ctx, p)
	reached, way.at = way.n >= at, 0
	switch {
	case err == nil:
		if res.Record.State != plan.Done {
			return reached, fmt.Errorf("no error, and the run is %s", res.Record.State)
		}
		return reached, w.Done()
	case !fault.Is(err, way.kind, fault.Partial) && (!way.answer || !fault.Is(err, fault.Unknown, fault.Conflict)):
		return reached, fmt.Errorf("it ended with %s: %w", fault.KindOf(err), err)
	case fault.HintOf(err) == "":
		return reached, fmt.Errorf("no hint: %w", err)
	case res.Record.ID == "" || res.Record.State == plan.Undone:
		return reached, errors.Join(w.Undone())
	}
	do := eng.Resume
	if verb == "undo" || res.Record.Undoing {
		verb, do = "undo", eng.Undo
	}
	if again, rerr := do(ctx, res.Record.ID, w.Plan); rerr != nil {
		return reached, fmt.Errorf("after %w: %s is %s: %w", err, verb, again.Record.State, rerr)
	}
	if verb == "undo" {
		return reached, w.Undone()
	}
	return reached, w.Done()
}
