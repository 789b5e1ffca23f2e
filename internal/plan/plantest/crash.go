package plantest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// World is one playbook and all that it touches, made fresh for every crash.
type World struct {
	// Plan builds the plan by reading the world as it is now.
	Plan func(plan.Header) (*plan.Plan, error)
	// Done and Undone say what is wrong with the world after the run is finished
	// or taken back, exactly: also when something happened twice. Nil: all is well.
	Done, Undone func() error
	// Fails says that the playbook fails and is undone when nothing disturbs it.
	Fails bool
	// Now is the clock; nil for one that ticks.
	Now func() time.Time
}

// Make makes a fresh world. Its effects call disk.Point before and after
// themselves, to be crashed there too; fresh worlds take the same way through
// the same operations.
type Make func(disk *Disk) World

// Crashes fails t for every crash after which the playbook is not consistent.
// See Enumerate.
func Crashes(t *testing.T, deaths int, fresh Make) {
	t.Helper()
	cases, problems := Enumerate(deaths, fresh)
	for i, p := range problems {
		if i == 20 {
			t.Errorf("… and %d more", len(problems)-i)
			break
		}
		t.Error(p)
	}
	t.Logf("%d crashes, %d problems", cases, len(problems))
}

// Enumerate kills the run before and after each of its operations and after
// each byte of every journal record, by a kill that keeps what was written and
// by a power cut that keeps only what was fsynced. Another process then resumes
// it, and in a second pass undoes it; with two deaths that process is killed at
// each of its own operations in turn, and a third one finishes. The run must end
// done or undone, the world agree, and a second resume or undo change nothing.
// In short mode it takes every 61st byte and every 7th second death.
func Enumerate(deaths int, fresh Make) (cases int, problems []string) {
	report := func(err error, how string) {
		cases++
		if err != nil {
			problems = append(problems, how+": "+err.Error())
		}
	}
	s := newSim(fresh)
	report(s.run(), "undisturbed run")
	first := s.way
	report(s.settle("resume"), "undisturbed run, then resume")
	report(s.settle("undo"), "undisturbed run, then undo")
	for at, op := range first {
		for _, c := range crashesAt(at, op, true) {
			for _, verb := range []string{"resume", "undo"} {
				s, err := crashed(fresh, c)
				if err == nil {
					err = s.settle(verb)
				}
				report(err, fmt.Sprintf("%s (%s), then %s", c, op.Name, verb))
				if deaths < 2 || c.Bytes > 0 || err != nil {
					continue // the second death comes after whole operations only
				}
				for at2, op2 := range s.way {
					if testing.Short() && (at+at2)%7 != 0 {
						continue
					}
					for _, c2 := range crashesAt(at2, op2, false) {
						s, err := crashed(fresh, c)
						if err == nil {
							err = s.settleThrough(verb, c2)
						}
						report(err, fmt.Sprintf("%s (%s), %s crossed by %s (%s)", c, op.Name, verb, c2, op2.Name))
					}
				}
			}
		}
	}
	return cases, problems
}

// crashesAt leaves out the death before an operation, which is the one after
// the operation before it, but for the first.
func crashesAt(at int, op Op, torn bool) []Crash {
	all := []Crash{{Op: at, After: true}, {Op: at, After: true, Power: true}}
	if at == 0 {
		all = append(all, Crash{})
	}
	step := 1
	if testing.Short() {
		step = 61
	}
	for n := 1; torn && n < op.Bytes; n += step {
		all = append(all, Crash{Op: at, Bytes: n})
	}
	return all
}

// sim is a world, its disk and its engine.
type sim struct {
	disk  *Disk
	world World
	eng   *plan.Engine
	way   []Op // the operations of the last thing done
}

func newSim(fresh Make) *sim {
	s := &sim{disk: &Disk{}}
	s.world = fresh(s.disk)
	now := s.world.Now
	if now == nil {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		now = func() time.Time { at = at.Add(time.Millisecond); return at }
	}
	s.eng = &plan.Engine{Dir: "/state", Now: now, Rand: &counter{}, FS: s.disk}
	return s
}

// counter is a random source that differs at each draw and not between worlds.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

func (s *sim) run() error {
	s.disk.Arm(nil)
	p, err := s.world.Plan(plan.Header{})
	if err != nil {
		return err
	}
	_, err = s.eng.Run(context.Background(), p)
	s.way = s.disk.Ops()
	if s.world.Fails && err != nil {
		return s.world.Undone()
	}
	if s.world.Fails {
		return fmt.Errorf("the run did not fail")
	}
	if err != nil {
		return err
	}
	return s.world.Done()
}

// crashed returns a world whose run died of c.
func crashed(fresh Make, c Crash) (*sim, error) {
	s := newSim(fresh)
	p, err := s.world.Plan(plan.Header{})
	if err != nil {
		return nil, err
	}
	s.disk.Arm(&c)
	if s.disk.Survive(func() { _, _ = s.eng.Run(context.Background(), p) }) {
		return nil, fmt.Errorf("the run lived: its operations are not the same each time")
	}
	return s, nil
}

// settle resumes or undoes the run there is, and looks.
func (s *sim) settle(verb string) error {
	id, err := s.only()
	if err != nil {
		return err
	}
	if id == "" { // it died before its header was on disk
		s.way = nil
		return s.world.Undone()
	}
	s.disk.Arm(nil)
	res, err := s.do(verb, id)
	if s.world.Fails && verb == "resume" && err != nil {
		verb = "undo" // a run that fails again is undone again; one on its way back is refused
		if res.Record.State != plan.Undone {
			res, err = s.do(verb, id)
		} else {
			err = nil
		}
	}
	s.way = s.disk.Ops()
	if err != nil {
		return err
	}
	if err := s.look(verb, res.Record.State); err != nil {
		return err
	}
	again, err := s.do(verb, id)
	if err != nil || !again.Already {
		return fmt.Errorf("a second %s: %+v, %w", verb, again, err)
	}
	if err := s.look(verb, again.Record.State); err != nil {
		return fmt.Errorf("after a second %s: %w", verb, err)
	}
	return nil
}

// settleThrough is settle with one death on its way.
func (s *sim) settleThrough(verb string, c Crash) error {
	id, err := s.only()
	if err != nil {
		return err
	}
	s.disk.Arm(&c)
	if s.disk.Survive(func() { _, _ = s.do(verb, id) }) {
		return fmt.Errorf("the %s lived: its operations are not the same each time", verb)
	}
	return s.settle(verb)
}

func (s *sim) do(verb, id string) (plan.Result, error) {
	if verb == "undo" {
		return s.eng.Undo(context.Background(), id, s.world.Plan)
	}
	return s.eng.Resume(context.Background(), id, s.world.Plan)
}

func (s *sim) look(verb string, state plan.State) error {
	want, holds := plan.Done, s.world.Done
	if verb == "undo" {
		want, holds = plan.Undone, s.world.Undone
	}
	if state != want {
		return fmt.Errorf("the run is %s, not %s", state, want)
	}
	return holds()
}

// only returns the id of the one run there is, "" for none.
func (s *sim) only() (string, error) {
	all, err := s.eng.List()
	switch {
	case err != nil:
		return "", err
	case len(all) > 1:
		return "", fmt.Errorf("%d runs", len(all))
	case len(all) == 0:
		return "", nil
	case all[0].State == plan.Running:
		return "", fault.New(fault.Internal, "", "a dead run is shown as running", "")
	}
	return all[0].ID, nil
}

// Canary fails t when text is anywhere on the disk.
func Canary(t testing.TB, d *Disk, text string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, n := range d.nodes {
		if strings.Contains(string(n.data), text) || strings.Contains(path, text) {
			t.Errorf("%s holds the canary", path)
		}
	}
}
