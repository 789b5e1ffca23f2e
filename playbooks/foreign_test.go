package playbooks_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// board is a fleet whose deployer keeps the variables itself, among lines that
// somebody typed: a release writes over them, and what runs is what stands there.
type board struct {
	*fleet
	lines    map[string]string
	ours     map[string]bool // by a release
	released bool
}

func (b *board) deployer(config.Environment, string) (providers.Deployer, error) { return b, nil }

func (b *board) Foreign(_ context.Context, r providers.Release) (map[string]secret.Value, bool, error) {
	foreign := map[string]secret.Value{}
	for name, v := range r.Values {
		switch line, there := b.lines[name]; {
		case !there || b.ours[name]:
		case line == v.Reveal():
			foreign[name] = secret.Value{}
		default:
			foreign[name] = secret.New(line)
		}
	}
	return foreign, b.released, nil
}

func (b *board) Stage(_ context.Context, r providers.Release) error {
	b.point("before the lines")
	foreign, _, _ := b.Foreign(context.Background(), r)
	for name, line := range foreign {
		if line.IsSet() && r.Known != nil && !line.Equal(r.Known[name]) {
			return fault.New(fault.Conflict, "deploy", "somebody typed "+name, "")
		}
	}
	for name := range b.ours {
		delete(b.lines, name)
	}
	b.ours, b.released = map[string]bool{}, true
	for name, v := range r.Values {
		b.lines[name], b.ours[name] = v.Reveal(), true
	}
	b.point("after the lines")
	return nil
}

func (b *board) Deploy(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	if err := b.Stage(ctx, r); err != nil {
		return providers.Deployment{}, err
	}
	return b.run(ctx, r)
}

func (b *board) run(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	r.Values = map[string]secret.Value{}
	for name, line := range b.lines {
		r.Values[name] = secret.New(line)
	}
	return b.fleet.Deploy(ctx, r)
}

func (b *board) Return(ctx context.Context, r providers.Release, foreign map[string]secret.Value, released, restart bool) error {
	b.point("before the lines go back")
	for name := range b.ours {
		if _, theirs := foreign[name]; !theirs {
			delete(b.lines, name)
		}
	}
	b.ours, b.released = map[string]bool{}, released
	for name, v := range r.Values {
		if _, theirs := foreign[name]; released && !theirs {
			b.lines[name], b.ours[name] = v.Reveal(), true
		}
	}
	for name, line := range foreign {
		if line.IsSet() {
			b.lines[name] = line.Reveal()
		}
	}
	b.point("after the lines go back")
	if !restart {
		return nil
	}
	_, err := b.run(ctx, r)
	return err
}

// typed puts a board in the place of a lab's deployer.
func (l *lab) typed(lines map[string]string) *board {
	b := &board{fleet: l.fleet, lines: maps.Clone(lines), ours: map[string]bool{}}
	l.Deployer = b.deployer
	return b
}

// Killed anywhere, a release that takes over typed lines is finished, or they stand
// there again as they were; the journal holds none.
func TestEveryCrashOfATakeOver(t *testing.T) {
	t.Parallel()
	shared := testLab(t)
	theirs := map[string]string{"TOKEN": "canary-typed", "PLAIN": "sibling", "OTHER": "theirs"}
	for name, plans := range map[string]func(l *lab) (*plan.Plan, error){
		"deploy": func(l *lab) (*plan.Plan, error) { return l.Deploy(context.Background(), l.target("staging")) },
		"rotate": func(l *lab) (*plan.Plan, error) {
			return l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
				var b *board
				s := scene{
					env: "staging", values: []string{"SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"},
					before: func(l *lab) error { b = l.typed(theirs); return nil },
					plan:   plans,
					done: func(l *lab) error {
						return check(b.lines["TOKEN"] == "t0" && b.lines["OTHER"] == "theirs" && l.running("staging")["TOKEN"] == "t0", "%v", b.lines)
					},
					undone: func(l *lab) error {
						return check(maps.Equal(b.lines, theirs) && l.values("staging")["SECRET_KEY"] == "old", "%v, in the store %v", b.lines, l.values("staging"))
					},
				}
				_, w, err := s.world(shared.Project, disk)
				must(t, err)
				return w
			}, discreet(t, "canary-typed")))
		})
	}
}

// What will be taken over is in the plan, before anything is: a dry run is where
// somebody looks for it.
func TestThePlanNamesWhatIsTakenOver(t *testing.T) {
	t.Parallel()
	for want, lines := range map[string]map[string]string{
		"TOKEN, typed by somebody; what was typed is kept at ledger/staging/envctl-before": {"TOKEN": "typed", "OTHER": "theirs"},
		"": {"OTHER": "theirs"},
	} {
		l := started(t, "staging")
		b := l.typed(lines)
		p, err := l.Deploy(t.Context(), l.target("staging"))
		must(t, err)
		p.Settle(t.Context())
		got := ""
		for _, f := range p.Facts {
			if f.Label == "takes over" {
				got += f.Text
			}
		}
		if got != want || !maps.Equal(b.lines, lines) {
			t.Errorf("got %q, want %q; %v", got, want, b.lines)
		}
	}
}

func TestTakeOverIsRefusedWhereNothingKeepsTheLines(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	b := l.typed(map[string]string{"TOKEN": "typed"})
	l.store.read = func(p naming.Path, _ providers.Version) error {
		if p.Component == naming.BeforeComponent {
			return fault.New(fault.Denied, "read "+p.String(), "permission denied", "")
		}
		return nil
	}
	_, err := l.deploy("staging")
	wantKind(t, err, fault.Denied, "TOKEN")
	if !strings.Contains(fault.HintOf(err), "staging/"+naming.BeforeComponent) || b.lines["TOKEN"] != "typed" {
		t.Fatal(fault.HintOf(err), b.lines)
	}
	// What the store says already needs no keeping: the line says so too.
	b.lines["TOKEN"] = l.values("staging")["TOKEN"]
	_, err = l.deploy("staging")
	must(t, err)
}

// Two components of one environment take over at once: both lines are kept.
func TestKeepingOfSeveralComponents(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.typed(map[string]string{"TOKEN": "typed"})
	first := true
	l.store.before = func(p naming.Path) {
		if p.Component != naming.BeforeComponent || !first {
			return
		}
		first = false
		_, err := l.store.Store.Write(context.Background(), p, providers.Absent, providers.Patch{"run.other.KEY": secret.New("x")})
		must(t, err)
	}
	_, err := l.deploy("staging")
	must(t, err)
	got, err := l.store.Read(context.Background(), naming.Path{Project: l.Project.Name, Environment: "staging", Component: naming.BeforeComponent}, providers.Latest)
	must(t, err)
	if len(got.Values) != 2 || got.Values["run.other.KEY"].Reveal() != "x" {
		t.Fatal(fmt.Sprint(len(got.Values)))
	}
}

// What a run kept is read as it was written then, whatever becomes of the newest
// version.
func TestKeptLinesOutliveTheirNewestVersion(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, harm := range map[string]func(s providers.Store, p naming.Path) error{
		"taken out of the newest": func(s providers.Store, p naming.Path) error {
			b, err := s.Read(ctx, p, providers.Latest)
			if err != nil {
				return err
			}
			gone := providers.Patch{"left": secret.New("x")}
			for key := range b.Values {
				gone[key] = secret.Value{}
			}
			_, err = s.Write(ctx, p, b.Version, gone)
			return err
		},
		"written on": func(s providers.Store, p naming.Path) error {
			_, err := s.Write(ctx, p, providers.Any, providers.Patch{"run.other.KEY": secret.New("x")})
			return err
		},
	} {
		l := started(t, "staging")
		b := l.typed(map[string]string{"TOKEN": "typed", "OTHER": "theirs"})
		res, err := l.deploy("staging")
		must(t, err)
		must(t, harm(l.store.Store, naming.Path{Project: l.Project.Name, Environment: "staging", Component: naming.BeforeComponent}))
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if b.lines["TOKEN"] != "typed" || b.lines["OTHER"] != "theirs" {
			t.Error(name, b.lines)
		}
	}
}
