package playbooks_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// scene is one playbook in a world of its own, to be killed everywhere.
type scene struct {
	env    string
	values []string           // of the path before
	before func(l *lab) error // what else was there before
	plan   func(l *lab) (*plan.Plan, error)
	done   func(l *lab) error // what must hold when it is finished; Undone is as before
	undone func(l *lab) error // what must hold when it is undone, where that is not exactly as before
}

// check is a small error.
func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// world makes the lab of a scene on a disk, and what the enumeration asks of it.
func (s scene) world(p *config.Project, disk *plantest.Disk) (*lab, plantest.World, error) {
	l := labOf(p)
	if len(s.values) > 0 {
		if err := l.start(s.env, s.values...); err != nil {
			return nil, plantest.World{}, err
		}
	}
	if s.before != nil {
		if err := s.before(l); err != nil {
			return nil, plantest.World{}, err
		}
	}
	store, ran := l.values(s.env), l.running(s.env)
	version, boxes := l.version(s.env), len(l.fleet.boxes)
	l.store.point, l.fleet.point = disk.Point, disk.Point
	w := plantest.World{
		Plan: func(h plan.Header) (*plan.Plan, error) {
			if h.ID == "" {
				return s.plan(l)
			}
			return l.rebuild(h)
		},
		Done: func() error {
			if err := s.done(l); err != nil {
				return err
			}
			if t := l.target(s.env); t.Environment.Deploy.Kind != config.DeployNone {
				p, err := l.Evidence(context.Background(), t)
				if err != nil || p.Kind != "process" {
					return fmt.Errorf("not verified: %+v %w", p, err)
				}
			}
			return nil
		},
		Undone: func() error {
			if s.undone != nil {
				return s.undone(l)
			}
			if got := l.values(s.env); !maps.Equal(got, store) {
				return fmt.Errorf("the store holds %v, before %v", got, store)
			}
			if got := l.running(s.env); clean(got) != clean(ran) || len(l.fleet.boxes) != boxes {
				return fmt.Errorf("%v run, before %v", got, ran)
			}
			return check(l.version(s.env) <= version+2, "%d versions came of a run and its undo", l.version(s.env)-version)
		},
	}
	return l, w, nil
}

// trial is a playbook to be killed, or cut off, everywhere: its worlds, and what
// must hold at the end in each.
type trial struct {
	fresh func(*plantest.Disk) (*lab, plantest.World)
	look  judge
}

func (tr trial) world(disk *plantest.Disk) plantest.World {
	_, w := tr.fresh(disk)
	return w
}

func (s scene) trial(t *testing.T, p *config.Project) trial {
	return trial{fresh: func(disk *plantest.Disk) (*lab, plantest.World) {
		l, w, err := s.world(p, disk)
		must(t, err)
		return l, w
	}, look: consistent}
}

// discreet is consistent, and that the journal holds no text with canary in it.
func discreet(t *testing.T, canary string) judge {
	return func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
		plantest.Canary(t, disk, canary)
		return consistent(verb, w, disk, res, err)
	}
}

func clean(m map[string]string) string { return fmt.Sprint(m) }

func scenes() map[string]scene {
	old := []string{"SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"}
	rotated := func(l *lab, env string) error {
		v := l.values(env)
		switch {
		case v["SECRET_KEY"] == "old" || v["SECRET_KEY_PREVIOUS"] != "old" || v["PLAIN"] != "sibling" || v["TOKEN"] != "t0":
			return fmt.Errorf("the store holds %v", v)
		case l.version(env) != 2:
			return fmt.Errorf("it is at version %d: written twice", l.version(env))
		case env != "bare" && (l.running(env)["SECRET_KEY"] != v["SECRET_KEY"] || l.running(env)["SECRET_KEY_PREVIOUS"] != "old"):
			return fmt.Errorf("%v run", l.running(env))
		}
		return nil
	}
	rotate := func(env, name string) func(l *lab) (*plan.Plan, error) {
		return func(l *lab) (*plan.Plan, error) {
			return l.Rotate(context.Background(), l.target(env), l.rotation(name))
		}
	}
	return map[string]scene{
		"rotate jwt":              {env: "staging", values: old, plan: rotate("staging", "jwt"), done: func(l *lab) error { return rotated(l, "staging") }},
		"rotate jwt, no deployer": {env: "bare", values: old, plan: rotate("bare", "jwt"), done: func(l *lab) error { return rotated(l, "bare") }},
		"rotate a ring": {
			env: "staging", values: append([]string{"RING", someKey}, old...), plan: rotate("staging", "ring"),
			done: func(l *lab) error {
				ring := strings.Split(l.values("staging")["RING"], ",")
				return check(len(ring) == 2 && ring[1] == someKey && l.running("staging")["RING"] == l.values("staging")["RING"], "ring %v", ring)
			},
			undone: ringUndone,
		},
		"rotate --finish": {
			env: "staging", values: append([]string{"SECRET_KEY_PREVIOUS", "older"}, old...),
			before: func(l *lab) error { l.clock.move(25 * time.Hour); return nil },
			plan: func(l *lab) (*plan.Plan, error) {
				return l.Finish(context.Background(), l.target("staging"), l.rotation("jwt"))
			},
			done: func(l *lab) error {
				_, stored := l.values("staging")["SECRET_KEY_PREVIOUS"]
				_, runs := l.running("staging")["SECRET_KEY_PREVIOUS"]
				return check(!stored && !runs && l.values("staging")["SECRET_KEY"] == "old", "the old value is still there")
			},
		},
		"deploy": {
			env: "staging", values: old,
			before: func(l *lab) error { l.write("staging", "TOKEN", "t1"); return nil },
			plan:   func(l *lab) (*plan.Plan, error) { return l.Deploy(context.Background(), l.target("staging")) },
			done: func(l *lab) error {
				return check(l.running("staging")["TOKEN"] == "t1" && l.version("staging") == 2, "%v run", l.running("staging"))
			},
		},
		"restore": {
			env: "staging", values: old,
			before: func(l *lab) error { l.write("staging", "TOKEN", "t1"); return l.release("staging") },
			plan: func(l *lab) (*plan.Plan, error) {
				return l.Restore(context.Background(), l.target("staging"), "TOKEN", 1, true)
			},
			done: func(l *lab) error {
				return check(l.values("staging")["TOKEN"] == "t0" && l.running("staging")["TOKEN"] == "t0" && l.version("staging") == 3, "%v", l.values("staging"))
			},
		},
		"rollback": {
			env: "bare", values: old,
			before: func(l *lab) error {
				l.write("bare", "SECRET_KEY", "new", "MORE", "m")
				return nil
			},
			plan: func(l *lab) (*plan.Plan, error) { return l.Rollback(context.Background(), l.target("bare"), 1) },
			done: func(l *lab) error {
				v := l.values("bare")
				return check(len(v) == 3 && v["SECRET_KEY"] == "old" && l.version("bare") == 3, "%v at %d", v, l.version("bare"))
			},
		},
		"rollback that pushes its own version out": {
			env: "bare", values: old,
			before: func(l *lab) error {
				for i := range 9 {
					l.write("bare", "SECRET_KEY", fmt.Sprint("new", i))
				}
				return nil
			},
			plan: func(l *lab) (*plan.Plan, error) { return l.Rollback(context.Background(), l.target("bare"), 1) },
			done: func(l *lab) error {
				return check(l.values("bare")["SECRET_KEY"] == "old" && l.version("bare") == 11, "%v", l.values("bare"))
			},
		},
		"rollback of a deleted path": {
			env: "bare", values: old,
			before: func(l *lab) error {
				l.write("bare", "SECRET_KEY", "new")
				return l.store.Delete(context.Background(), l.path("bare"))
			},
			plan: func(l *lab) (*plan.Plan, error) { return l.Rollback(context.Background(), l.target("bare"), 1) },
			done: func(l *lab) error {
				return check(l.values("bare")["SECRET_KEY"] == "old" && l.version("bare") == 3, "%v", l.values("bare"))
			},
		},
	}
}

// Killed before, in and after every journal write and every effect, each
// playbook is finished by resume, and by undo it is as if it had never been.
func TestEveryCrashOfEveryPlaybook(t *testing.T) {
	t.Parallel()
	for name, s := range scenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := s.trial(t, testLab(t).Project)
			report(t, everyCrash(t, 1, tr.world, tr.look))
		})
	}
}

// The same with a second death on the way to the end or back.
func TestTwoCrashesOfARotation(t *testing.T) {
	t.Parallel()
	tr := scenes()["rotate jwt"].trial(t, testLab(t).Project)
	report(t, everyCrash(t, 2, tr.world, tr.look))
}

// The enumeration notices what it is there for.
func TestCrashesFindPlantedFaults(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	for name, plant := range map[string]func(l *lab, d *plantest.Disk){
		"an fsync that does nothing": func(_ *lab, d *plantest.Disk) { d.Lying = true },
		"a write that leaves more than it should": func(l *lab, _ *plantest.Disk) {
			l.store.lose = func(p naming.Path, v providers.Version) error {
				_, err := l.store.Store.Write(context.Background(), p, v, providers.Patch{"EXTRA": secret.New("x")})
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := everyCrash(t, 1, func(d *plantest.Disk) plantest.World {
				l, w, err := scenes()["rotate jwt, no deployer"].world(l.Project, d)
				must(t, err)
				plant(l, d)
				return w
			}, consistent)
			if len(problems) == 0 {
				t.Fatal("nothing found")
			}
		})
	}
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for i, p := range problems {
		if i == 10 {
			t.Errorf("… and %d more", len(problems)-i)
			break
		}
		t.Error(p)
	}
}

// consistent is how all playbooks end whose values can be made again.
func consistent(verb string, w plantest.World, _ *plantest.Disk, _ plan.Result, err error) error {
	switch {
	case err != nil:
		return err
	case verb == "undo":
		return w.Undone()
	}
	return w.Done()
}

// A typed value is kept nowhere: resume finishes only what was written, and says
// what to type where it was not; undo takes back either.
func TestEveryCrashOfATypedValue(t *testing.T) {
	t.Parallel()
	shared := testLab(t)
	for name, env := range map[string]string{"deployed": "staging", "written": "bare"} {
		for what, kv := range map[string][]string{"one key": {"TOKEN", "canary-value"}, "two keys": {"TOKEN", "canary-value", "PLAIN", "canary-other"}} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				s := scene{
					env: env, values: []string{"SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"},
					plan: func(l *lab) (*plan.Plan, error) {
						patch := providers.Patch{}
						for i := 0; i < len(kv); i += 2 {
							patch[kv[i]] = secret.New(kv[i+1])
						}
						return l.Set(context.Background(), l.target(env), "set", patch, env == "staging")
					},
					done: func(l *lab) error {
						return check(l.values(env)["TOKEN"] == "canary-value" && l.version(env) == 2, "%v", l.values(env))
					},
				}
				refused := 0
				report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
					_, w, err := s.world(shared.Project, disk)
					must(t, err)
					return w
				}, func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
					plantest.Canary(t, disk, "canary")
					if verb == "resume" && fault.Is(err, fault.Refused) {
						refused++
						if !strings.Contains(err.Error(), "never written") || !strings.HasPrefix(fault.HintOf(err), "run envctl set ") || !strings.Contains(fault.HintOf(err), "TOKEN") || res.Record.State != plan.Undone {
							return fmt.Errorf("%w (%s), %s", err, fault.HintOf(err), res.Record.State)
						}
						return w.Undone()
					}
					return consistent(verb, w, disk, res, err)
				}))
				if refused == 0 {
					t.Error("resume was never refused")
				}
			})
		}
	}
}

func engineOn(disk *plantest.Disk) *plan.Engine {
	c := newClock()
	return &plan.Engine{Dir: "/state", Now: c.now, Rand: &counter{seed: 3}, FS: disk}
}

// crashes are the deaths at one operation; of a write, some of its bytes: the
// engine's own tests die at every byte.
func crashes(at int, op plantest.Op, torn bool) []plantest.Crash {
	all := []plantest.Crash{{Op: at, After: true}, {Op: at, After: true, Power: true}}
	if at == 0 {
		all = append(all, plantest.Crash{})
	}
	for n := 1; torn && n < op.Bytes; n += 61 {
		all = append(all, plantest.Crash{Op: at, Bytes: n})
	}
	return all
}

// judge says what is wrong with a world in which verb ended so; nil: nothing.
type judge func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error

// everyCrash kills a run at every operation of its journal and its effects, then
// resumes it, and in another world undoes it, and lets judge look. With two
// deaths the process that goes on is killed too, at some of its operations. In
// short mode it dies at every fifth operation only.
func everyCrash(t *testing.T, deaths int, fresh func(*plantest.Disk) plantest.World, look judge) (problems []string) {
	t.Helper()
	return everyNth(t, 1, deaths, fresh, look)
}

// everyNth is everyCrash at every nth operation only.
func everyNth(t *testing.T, nth, deaths int, fresh func(*plantest.Disk) plantest.World, look judge) (problems []string) {
	t.Helper()
	if testing.Short() {
		nth *= 5
	}
	ctx := context.Background()
	way := &plantest.Disk{}
	w := fresh(way)
	p, err := w.Plan(plan.Header{})
	must(t, err)
	way.Arm(nil)
	_, err = engineOn(way).Run(ctx, p)
	if err == nil {
		err = w.Done()
	}
	if err != nil {
		return []string{"undisturbed: " + err.Error()}
	}
	cases := 0
	// dead returns a world whose run died at c, with the run's id.
	dead := func(c plantest.Crash) (plantest.World, *plantest.Disk, string) {
		disk := &plantest.Disk{}
		w := fresh(disk)
		p, err := w.Plan(plan.Header{})
		must(t, err)
		disk.Arm(&c)
		if disk.Survive(func() { _, _ = engineOn(disk).Run(ctx, p) }) {
			t.Fatal("the run lived")
		}
		all, err := engineOn(disk).List()
		must(t, err)
		if len(all) == 0 {
			return w, disk, ""
		}
		return w, disk, all[0].ID
	}
	do := func(verb string, w plantest.World, disk *plantest.Disk, id string) (plan.Result, error) {
		if verb == "undo" {
			return engineOn(disk).Undo(ctx, id, w.Plan)
		}
		return engineOn(disk).Resume(ctx, id, w.Plan)
	}
	settle := func(how, verb string, w plantest.World, disk *plantest.Disk, id string) {
		cases++
		if id == "" {
			if err := w.Undone(); err != nil {
				problems = append(problems, how+": "+err.Error())
			}
			return
		}
		disk.Arm(nil)
		res, err := do(verb, w, disk, id)
		if perr := look(verb, w, disk, res, err); perr != nil {
			problems = append(problems, how+": "+perr.Error())
		} else if err == nil {
			if again, err := do(verb, w, disk, id); err != nil || !again.Already {
				problems = append(problems, fmt.Sprintf("%s: a second %s: %v %v", how, verb, again, err))
			} else if err := look(verb, w, disk, again, nil); err != nil {
				problems = append(problems, fmt.Sprintf("%s: after a second %s: %v", how, verb, err))
			}
		}
	}
	for at, op := range way.Ops() {
		if at%nth != 0 {
			continue
		}
		for _, c := range crashes(at, op, true) {
			for _, verb := range []string{"resume", "undo"} {
				w, disk, id := dead(c)
				how := fmt.Sprintf("%s (%s), then %s", c, op.Name, verb)
				settle(how, verb, w, disk, id)
				if deaths < 2 || c.Bytes > 0 || c.Power {
					continue
				}
				ops := disk.Ops()
				for at2 := at % 7; at2 < len(ops); at2 += 7 {
					c2 := plantest.Crash{Op: at2, After: true, Power: at2%2 == 0}
					w, disk, id := dead(c)
					if id == "" {
						continue
					}
					disk.Arm(&c2)
					disk.Survive(func() { _, _ = do(verb, w, disk, id) })
					if all, err := engineOn(disk).List(); err == nil && len(all) == 0 {
						id = "" // it died before its header was on disk, and had done nothing
					}
					settle(fmt.Sprintf("%s crossed by %s (%s)", how, c2, ops[at2].Name), verb, w, disk, id)
				}
			}
		}
	}
	t.Logf("%d crashes, %d problems", cases, len(problems))
	return problems
}

const createFile = `# the ledger
version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}}
  bare: {}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {TOKEN: hex, RING: fernet}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h}
  postgres:
    generate: {POSTGRES_PASSWORD: password}
# the end`

// env create, from its line in the project file to the running process: what is
// generated is made again, what was given is not, and undo leaves every byte of
// the file as it was.
func TestEveryCrashOfEnvCreate(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]map[string]secret.Value{"generated": nil, "given": {"PLAIN": secret.New("canary-given")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := creation(t, given)
			report(t, everyCrash(t, 1, tr.world, tr.look))
		})
	}
}

func creation(t *testing.T, given map[string]secret.Value) trial {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "app.ctmpl"), []byte(templateFile), 0o600))
	file := filepath.Join(dir, config.FileName)
	return trial{
		fresh: func(disk *plantest.Disk) (*lab, plantest.World) {
			must(t, os.WriteFile(file, []byte(createFile), 0o600))
			must(t, os.RemoveAll(filepath.Join(dir, "machine")))
			l, err := openLab(dir)
			must(t, err)
			must(t, l.start("staging", "PLAIN", "from-staging", "SECRET_KEY", "staging-secret"))
			l.store.point, l.fleet.point = disk.Point, disk.Point
			return l, plantest.World{
				Plan: func(h plan.Header) (*plan.Plan, error) {
					p, err := config.Load(file) // as another process would
					if err != nil {
						return nil, err
					}
					l.World = l.on(p)
					if h.ID != "" {
						return l.rebuild(h)
					}
					return l.CreateEnv(context.Background(), playbooks.Creation{Name: "qa", From: "staging", Values: given})
				},
				Done: func() error {
					p, err := config.Load(file)
					if err != nil {
						return err
					}
					l.World = l.on(p)
					v := l.values("qa")
					want := "from-qa" // adapted
					if given != nil {
						want = "canary-given"
					}
					if v["SECRET_KEY"] == "" || v["SECRET_KEY"] == "staging-secret" || v["PLAIN"] != want || l.version("qa") != 1 {
						return fmt.Errorf("%v at %d", v, l.version("qa"))
					}
					if held, err := os.ReadFile(filepath.Join(dir, "machine", "ports.json")); err != nil || !strings.Contains(string(held), `"qa"`) {
						return fmt.Errorf("no port is held: %s %w", held, err)
					}
					proof, err := l.Evidence(context.Background(), l.target("qa"))
					return check(err == nil && proof.Kind == "process", "%+v %v", proof, err)
				},
				Undone: func() error {
					now, err := os.ReadFile(file)
					if err != nil || string(now) != createFile {
						return fmt.Errorf("the project file is\n%s (%w)", now, err)
					}
					if held, err := os.ReadFile(filepath.Join(dir, "machine", "ports.json")); err == nil && strings.Contains(string(held), `"qa"`) {
						return fmt.Errorf("a port is still held: %s", held)
					}
					b, err := l.store.Store.Read(context.Background(), naming.Path{Project: "ledger", Environment: "qa", Component: "app"}, providers.Latest)
					return check(fault.Is(err, fault.NotFound, fault.Deleted), "the path is there, and holds %v %v", b.Values, err)
				},
			}
		},
		look: func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
			plantest.Canary(t, disk, "canary")
			switch {
			case verb == "resume" && given != nil && fault.Is(err, fault.Refused):
				if !strings.Contains(err.Error(), "never written") || res.Record.State != plan.Undone {
					return fmt.Errorf("%w, %s", err, res.Record.State)
				}
				return w.Undone()
			case verb == "undo" && fault.Is(err, fault.Partial) && strings.Contains(err.Error(), "has to be stopped by hand"):
				return nil // containers of the new environment run
			}
			return consistent(verb, w, disk, res, err)
		},
	}
}
