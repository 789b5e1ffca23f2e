package plan_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
)

func TestMain(m *testing.M) {
	childMain()
	goleak.VerifyTestMain(m)
}

const canary = "canary-7f3a9-value"

// world is what the test playbook changes: a versioned store with
// check-and-set, a container that restarts with the store's value, and a
// database without preconditions.
type world struct {
	disk     *plantest.Disk // nil where nothing dies
	versions []string       // version n is versions[n-1]
	running  string
	roles    []string
	writes   int
	saved    func() // called after each effect where there is no disk

	// Planted faults.
	blind, eager, ignoreFull bool
	fail                     string // the step that fails, or "verify-deploy" …
}

func newWorld(d *plantest.Disk) *world {
	return &world{disk: d, versions: []string{"old"}, running: "old"}
}

func (w *world) effect(name string, do func()) {
	if w.disk == nil {
		do()
		if w.saved != nil {
			w.saved()
		}
		return
	}
	w.disk.Point("before " + name)
	do()
	w.disk.Point("after " + name)
}

func (w *world) latest() (version int, value string) {
	return len(w.versions), w.versions[len(w.versions)-1]
}

func (w *world) write(base int, value string) (int, error) {
	if base != len(w.versions) {
		return 0, fault.New(fault.Conflict, "write store", "changed by someone else", "")
	}
	w.effect("write", func() { w.versions = append(w.versions, value); w.writes++ })
	return len(w.versions), nil
}

// fp stands for a keyed fingerprint.
func fp(value string) string { return fmt.Sprintf("fp%d%c", len(value), value[0]) }

func (w *world) oops(at string) error {
	if w.fail == at {
		return fault.New(fault.Unavailable, "do "+at, "planted", "fix "+at)
	}
	return nil
}

func (w *world) plan(h plan.Header) (*plan.Plan, error) {
	base, _ := w.latest()
	if h.ID != "" { // what the first plan read, not what the run has written since
		base, _ = strconv.Atoi(h.Args["base"])
	}
	p := &plan.Plan{Playbook: "rotate jwt", Project: "ledger", Environment: "production", Component: "app", Args: map[string]string{"base": strconv.Itoa(base)}}
	p.Steps = []plan.Step{
		{
			ID: "look", Title: "Look", Risk: plan.Reads,
			Do: func(context.Context, *plan.Page) (plan.Receipt, error) {
				return plan.Receipt{"base": strconv.Itoa(base), "running": w.running}, w.oops("look")
			},
			// Undone last: what ran before the write runs again.
			Undo: func(_ context.Context, r plan.Receipt) error {
				if w.running != r["running"] {
					_, now := w.latest()
					w.effect("redeploy", func() { w.running = now })
				}
				return nil
			},
		},
		{
			ID: "role", Title: "Create the role", Risk: plan.Writes,
			Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
				name := "r" + strconv.Itoa(base)
				if _, ok := page.Prior(); !ok || w.blind {
					if err := page.Intend(plan.Receipt{"role": name}); err != nil && !w.ignoreFull {
						return nil, err
					}
				}
				for _, r := range w.roles {
					if r == name && !w.blind {
						return plan.Receipt{"role": name}, nil
					}
				}
				w.effect("role", func() { w.roles = append(w.roles, name) })
				return plan.Receipt{"role": name}, w.oops("role")
			},
			Undo: func(_ context.Context, r plan.Receipt) error {
				var kept []string
				for _, have := range w.roles {
					if have != r["role"] {
						kept = append(kept, have)
					}
				}
				w.effect("drop role", func() { w.roles = kept })
				return w.oops("undo-role")
			},
		},
		{
			ID: "write", Title: "Write 1 → 2", Risk: plan.Writes,
			Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
				looked, ok := page.Receipt("look")
				if !ok {
					return nil, errors.New("no receipt of the first step")
				}
				from, _ := strconv.Atoi(looked["base"])
				value := canary
				intent := plan.Receipt{"from": looked["base"], "print": fp(value)}
				if prior, ok := page.Prior(); ok {
					if at, now := w.latest(); at == from+1 && fp(now) == prior["print"] {
						return plan.Receipt{"from": looked["base"], "to": strconv.Itoa(at)}, nil
					}
				}
				if w.eager {
					to, err := w.write(from, value)
					if err != nil {
						return nil, err
					}
					return plan.Receipt{"from": looked["base"], "to": strconv.Itoa(to)}, page.Intend(intent)
				}
				if err := page.Intend(intent); err != nil {
					return nil, err
				}
				to, err := w.write(from, value)
				if err != nil {
					return nil, err
				}
				return plan.Receipt{"from": looked["base"], "to": strconv.Itoa(to)}, w.oops("write")
			},
			Undo: func(_ context.Context, r plan.Receipt) error {
				from, _ := strconv.Atoi(r["from"])
				at, now := w.latest()
				if now == w.versions[from-1] {
					return w.oops("undo-write") // never happened, or taken back already
				}
				if fp(now) != r["print"] {
					return fault.New(fault.Conflict, "undo write", "changed by someone else", "")
				}
				if err := w.oops("undo-write"); err != nil {
					return err
				}
				_, err := w.write(at, w.versions[from-1])
				return err
			},
			Verify: func(_ context.Context, r plan.Receipt) error {
				to, _ := strconv.Atoi(r["to"])
				if to > len(w.versions) || w.versions[to-1] != canary {
					return fault.New(fault.No, "verify write", "the version is not the one written", "")
				}
				return w.oops("verify-write")
			},
		},
		{
			ID: "deploy", Title: "Deploy", Risk: plan.Restarts,
			Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
				if err := page.Intend(nil); err != nil {
					return nil, err
				}
				_, now := w.latest()
				page.Note("restarting")
				w.effect("deploy", func() { w.running = now })
				return plan.Receipt{"services": "1"}, w.oops("deploy")
			},
			Undo: func(context.Context, plan.Receipt) error {
				return w.oops("undo-deploy") // the first step redeploys
			},
			Verify: func(context.Context, plan.Receipt) error {
				if w.running != canary {
					return fault.New(fault.No, "verify deploy", "stale", "")
				}
				return w.oops("verify-deploy")
			},
		},
	}
	return p, nil
}

func (w *world) done() error {
	if got := strings.Join(w.versions, ","); got != "old,"+canary {
		return fmt.Errorf("store %s", got)
	}
	if w.running != canary || strings.Join(w.roles, ",") != "r1" {
		return fmt.Errorf("running %s, roles %v", w.running, w.roles)
	}
	return nil
}

func (w *world) undone() error {
	_, now := w.latest()
	if now != "old" || len(w.versions) > 3 || w.running != "old" || len(w.roles) != 0 {
		return fmt.Errorf("store %v, running %s, roles %v", w.versions, w.running, w.roles)
	}
	return nil
}

func (w *world) tests() plantest.World {
	return plantest.World{Plan: w.plan, Done: w.done, Undone: w.undone}
}

func tick() func() time.Time {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time { at = at.Add(time.Millisecond); return at }
}

type seq struct{ n byte }

func (s *seq) Read(b []byte) (int, error) {
	for i := range b {
		s.n += 7
		b[i] = s.n
	}
	return len(b), nil
}

// engine is one on a disk in memory; on nil it uses a real folder.
func engine(t testing.TB, d *plantest.Disk) *plan.Engine {
	e := &plan.Engine{Dir: "/state", Root: "/src/ledger", Version: "test", Now: tick(), Rand: &seq{}}
	if d == nil {
		e.Dir = filepath.Join(t.TempDir(), "state", "envctl")
		return e
	}
	e.FS = d
	return e
}

func mustPlan(t testing.TB, w *world) *plan.Plan {
	t.Helper()
	p, err := w.plan(plan.Header{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantKind(t testing.TB, err error, k fault.Kind) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Errorf("got %v (%s), want kind %s", err, fault.KindOf(err), k)
	}
}

func wantState(t testing.TB, r plan.Result, s plan.State) {
	t.Helper()
	if r.Record.State != s {
		t.Errorf("state %q, want %q", r.Record.State, s)
	}
}
