package playbooks_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// machine is another operator's engine, with a state folder of its own.
func (l *lab) machine(who string, disk *plantest.Disk) *plan.Engine {
	return &plan.Engine{Dir: "/state", Root: l.Project.Root, Who: who, Now: l.clock.now, Rand: &counter{seed: byte(len(who))}, FS: disk}
}

func TestTwoMachines(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := started(t, "staging")
	l.eng = l.machine("alice@laptop", &plantest.Disk{})
	bob := l.machine("bob@desktop", &plantest.Disk{})
	other := func() error {
		p, err := l.Deploy(ctx, l.target("staging"))
		must(t, err)
		_, err = bob.Run(ctx, p)
		return err
	}
	var during []error
	l.fleet.onWait = func(context.Context) error {
		l.fleet.onWait = nil // bob's own
		during = append(during, other())
		// One write needs no lock: it is right whatever alice does.
		p, err := l.Set(ctx, l.target("staging"), "set", providers.Patch{"TOKEN": secret.New("new")}, false)
		must(t, err)
		_, err = bob.Run(ctx, p)
		must(t, err)
		return nil
	}
	_, err := l.rotate("staging", "jwt")
	must(t, err)
	wantKind(t, during[0], fault.Conflict, "lock ledger/staging/app", "rotate jwt", "alice@laptop", "wait for it")
	must(t, other())
	paths, err := l.store.List(ctx, naming.Path{Project: "ledger"})
	must(t, err)
	if !slices.Equal(paths, []naming.Path{l.path("staging")}) {
		t.Fatalf("the store lists %v", paths)
	}
}

// A machine that dies leaves a lock, which keeps others out until the store's
// clock says that it was not renewed; whatever this machine's clock says.
func TestDeadMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := started(t, "staging")
	disk := &plantest.Disk{}
	l.eng = l.machine("alice@laptop", disk)
	l.store.before, l.store.point = func(naming.Path) { disk.Arm(&plantest.Crash{}); disk.Point("dies") }, disk.Point
	if disk.Survive(func() { _, _ = l.rotate("staging", "jwt") }) {
		t.Fatal("it lives")
	}
	l.store.before, l.store.point = nil, func(string) {}
	disk.Arm(nil)
	bob := l.machine("bob@desktop", &plantest.Disk{})
	wrong := time.Hour
	bob.Now = func() time.Time { return l.clock.now().Add(wrong) }
	deploy := func() error {
		p, err := l.Deploy(ctx, l.target("staging"))
		must(t, err)
		_, err = bob.Run(ctx, p)
		return err
	}
	for wrong = range map[time.Duration]bool{time.Hour: true, -24 * time.Hour: true} {
		wantKind(t, deploy(), fault.Conflict, "alice@laptop", "if it died, its lock ends in")
	}
	l.clock.move(50 * time.Second)
	wantKind(t, deploy(), fault.Conflict, "its lock ends in 10s")
	l.clock.move(20 * time.Second)
	must(t, deploy())
	// Alice's machine is back: its run is taken back or finished as any other.
	all, err := l.eng.List()
	must(t, err)
	if _, err := l.resume(all[0].ID); err != nil {
		t.Fatal(err)
	}
	if l.version("staging") != 2 {
		t.Fatalf("version %d", l.version("staging"))
	}
}

// Its own machine knows at once that a run is dead.
func TestDeadRunOfThisMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := started(t, "staging")
	disk := &plantest.Disk{}
	l.eng = l.machine("alice@laptop", disk)
	l.store.before, l.store.point = func(naming.Path) { disk.Arm(&plantest.Crash{}); disk.Point("dies") }, disk.Point
	disk.Survive(func() { _, _ = l.rotate("staging", "jwt") })
	l.store.before, l.store.point = nil, func(string) {}
	disk.Arm(nil)
	p, err := l.Deploy(ctx, l.target("staging"))
	must(t, err)
	_, err = l.eng.Run(ctx, p)
	must(t, err)
}

// Every plan that others could spoil has the store's locks, made anew too.
func TestEveryContendedPlanIsLocked(t *testing.T) {
	t.Parallel()
	contended := 0
	for name, s := range scenes() {
		p, err := config.Load(filepath.Join(testLab(t).Project.Root, config.FileName))
		must(t, err)
		l, w, err := s.world(p, &plantest.Disk{})
		must(t, err)
		made, err := w.Plan(plan.Header{})
		must(t, err)
		again, err := l.rebuild(plan.Header{ID: "x", Playbook: made.Playbook, Environment: made.Environment, Component: made.Component, Args: made.Args, Steps: names(made)})
		must(t, err)
		for _, p := range []*plan.Plan{made, again} {
			if p.Contended() != (p.Locks != nil) {
				t.Errorf("%s: contended %v, locks %v", name, p.Contended(), p.Locks)
			}
			if p.Contended() {
				contended++
			}
		}
	}
	if contended < 6 {
		t.Errorf("only %d contended plans were looked at", contended)
	}
}

func names(p *plan.Plan) (out []plan.StepName) {
	for _, s := range p.Steps {
		out = append(out, plan.StepName{ID: s.ID, Title: s.Title})
	}
	return out
}
