package plan_test

import (
	"testing"
	"time"

	"envctl/internal/plan/plantest"
)

func TestEveryCrashIsResumedAndUndone(t *testing.T) {
	t.Parallel()
	plantest.Crashes(t, 2, func(d *plantest.Disk) plantest.World { return newWorld(d).tests() })
}

// A playbook that fails at any step is undone, whatever dies on its way back.
func TestEveryCrashOfAPlaybookThatFails(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"look", "write", "verify-deploy"} {
		plantest.Crashes(t, 1, func(d *plantest.Disk) plantest.World {
			w := newWorld(d)
			w.fail = step
			tests := w.tests()
			tests.Fails = true
			return tests
		})
	}
}

// No decision is taken by the clock: it may jump a day either way at any time.
func TestEveryCrashUnderAClockThatJumps(t *testing.T) {
	t.Parallel()
	plantest.Crashes(t, 1, func(d *plantest.Disk) plantest.World {
		w := newWorld(d).tests()
		at, n := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), 0
		w.Now = func() time.Time {
			n++
			return at.Add(time.Duration(n*n*7919%3-1) * 24 * time.Hour)
		}
		return w
	})
}

// The enumeration finds what it is there to find.
func TestEnumerationFindsPlantedFaults(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(*world){
		"an fsync that does nothing":   func(w *world) { w.disk.Lying = true },
		"a name that is not on disk":   func(w *world) { w.disk.Nameless = true },
		"a Do that ignores its intent": func(w *world) { w.blind = true },
		"an effect before its intent":  func(w *world) { w.eager = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases, problems := plantest.Enumerate(1, func(d *plantest.Disk) plantest.World {
				w := newWorld(d)
				plant(w)
				return w.tests()
			})
			if len(problems) == 0 {
				t.Errorf("%d crashes and no problem found", cases)
			} else {
				t.Logf("%d of %d, the first: %s", len(problems), cases, problems[0])
			}
		})
	}
}
