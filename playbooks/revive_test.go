package playbooks_test

import (
	"context"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/providers"
)

// A deleted path comes back as the version it was, and undo deletes it again.
func TestRevive(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	ctx := t.Context()
	must(t, l.start("bare", "TOKEN", "t0"))
	l.write("bare", "TOKEN", "t1")
	_, err := l.Revive(ctx, l.target("bare"), providers.Latest)
	wantKind(t, err, fault.Usage)
	must(t, l.store.Delete(ctx, l.path("bare")))
	p, err := l.Revive(ctx, l.target("bare"), providers.Latest)
	must(t, err)
	res, err := l.eng.Run(ctx, p)
	must(t, err)
	if v := l.values("bare"); v["TOKEN"] != "t1" || l.version("bare") != 2 {
		t.Fatal(v, l.version("bare"))
	}
	_, err = l.undo(res.Record.ID)
	must(t, err)
	_, err = l.store.Read(ctx, l.path("bare"), providers.Latest)
	wantKind(t, err, fault.Deleted)
	must(t, l.store.Destroy(ctx, l.path("bare")))
	_, err = l.Revive(ctx, l.target("bare"), providers.Latest)
	wantKind(t, err, fault.Destroyed)
}

// Stopped anywhere it is finished or taken back.
func TestEveryCrashOfARevival(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := newLab(dir, projectFile)
	must(t, err)
	plantest.Crashes(t, 2, func(d *plantest.Disk) plantest.World {
		l, err := openLab(dir)
		must(t, err)
		must(t, l.start("bare", "TOKEN", "t0"))
		must(t, l.store.Delete(context.Background(), l.path("bare")))
		state := func(gone bool) func() error {
			return func() error {
				_, err := l.store.Read(context.Background(), l.path("bare"), providers.Latest)
				if fault.Is(err, fault.Deleted) != gone || !gone && err != nil {
					return fault.Newf(fault.Internal, "", "", "gone %v: %v", gone, err)
				}
				return nil
			}
		}
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				if h.Playbook == "" {
					return l.Revive(context.Background(), l.target("bare"), providers.Latest)
				}
				return l.Rebuild(context.Background(), h)
			},
			Done: state(false), Undone: state(true), Now: l.clock.now,
		}
	})
}
