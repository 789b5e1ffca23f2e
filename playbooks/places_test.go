package playbooks_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// estate is a deployer that deploys to places of its own, as Dokploy does.
type estate struct {
	*fleet
	places map[string]providers.Place // by kind and path
	n      int
	blind  bool // does not look whether it made one already
}

// keys are the places of a release, from the outside in.
func (e *estate) keys(r providers.Release) []providers.Place {
	return []providers.Place{
		{Kind: "project", Name: r.Project},
		{Kind: "environment", Name: r.Project + "/" + r.Environment},
		{Kind: "service", Name: r.Project + "/" + r.Environment + "/" + r.Component},
	}
}

func (e *estate) Places(_ context.Context, r providers.Release) ([]providers.Place, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.keys(r)
	for i, p := range all {
		if have, ok := e.places[p.Name]; ok {
			all[i] = have
		}
	}
	return all, nil
}

func (e *estate) Build(_ context.Context, r providers.Release, kind, mark string) (providers.Place, error) {
	e.point("before the place")
	e.mu.Lock()
	keys := e.keys(r)
	i := slices.IndexFunc(keys, func(p providers.Place) bool { return p.Kind == kind })
	p := keys[i]
	if i > 0 && e.places[keys[i-1].Name].ID == "" {
		e.mu.Unlock()
		return p, fault.New(fault.NotFound, "make "+p.Name, "nothing is around it", "")
	}
	for e.blind && e.places[p.Name].ID != "" {
		p.Name += " again"
	}
	if e.places[p.Name].ID == "" {
		e.n++
		p.ID, p.Mark = fmt.Sprint("id", e.n), mark
		e.places[p.Name] = p
	}
	e.mu.Unlock()
	e.point("after the place")
	return p, nil
}

func (e *estate) Clear(_ context.Context, p providers.Place) error {
	e.point("before the stop")
	e.mu.Lock()
	e.empty(p)
	e.mu.Unlock()
	e.point("after the stop")
	return nil
}

func (e *estate) empty(p providers.Place) {
	parts := strings.Split(p.Name, "/")
	for name, b := range e.boxes {
		if len(parts) == 3 && b.environment == parts[1] && b.component == parts[2] {
			delete(e.boxes, name)
		}
	}
}

func (e *estate) Raze(_ context.Context, p providers.Place, _ bool) error {
	e.point("before the raze")
	e.mu.Lock()
	for name := range e.places {
		if strings.HasPrefix(name, p.Name+"/") {
			e.mu.Unlock()
			return fault.New(fault.Refused, "remove "+p.Name, "something is in it", "")
		}
	}
	e.empty(p)
	delete(e.places, p.Name)
	e.mu.Unlock()
	e.point("after the raze")
	return nil
}

func (e *estate) names() []string {
	var all []string
	for name := range e.places {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

const estateFile = `version: 1
project: ledger
environments:
  staging: {deploy: {kind: dokploy}}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {SECRET_KEY: jwt}
  other:
    services: [worker]
    generate: {OTHER: hex}
`

// manor is a lab on an estate.
type manor struct {
	*lab
	estate *estate
	file   string
}

func newManor(dir string, disk *plantest.Disk, names ...string) (*manor, error) {
	for name, text := range map[string]string{config.FileName: estateFile, "app.ctmpl": templateFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	l, err := openLab(dir)
	if err != nil {
		return nil, err
	}
	m := &manor{lab: l, file: filepath.Join(dir, config.FileName), estate: &estate{fleet: l.fleet, places: map[string]providers.Place{}}}
	for _, name := range names {
		m.estate.n++
		kind := []string{"project", "environment", "service"}[strings.Count(name, "/")]
		m.estate.places[name] = providers.Place{Kind: kind, Name: name, ID: fmt.Sprint("old", m.estate.n), Kept: "others made it"}
	}
	l.store.point, l.fleet.point = disk.Point, disk.Point
	return m, m.reload()
}

func (m *manor) reload() error {
	p, err := config.Load(m.file)
	if err != nil {
		return err
	}
	m.World = m.on(p)
	m.Dirs.State = filepath.Join(p.Root, "machine")
	m.World.Store = func(config.Environment) (providers.Store, error) { return mortal{m.store}, nil }
	m.World.Deployer = func(config.Environment, string) (providers.Deployer, error) { return m.estate, nil }
	return nil
}

func (m *manor) planned(h plan.Header, first func() (*plan.Plan, error)) (*plan.Plan, error) {
	if err := m.reload(); err != nil {
		return nil, err
	}
	if h.ID != "" {
		return m.rebuild(h)
	}
	return first()
}

func (m *manor) stands(want ...string) error {
	return check(slices.Equal(m.estate.names(), want), "there are %v, want %v", m.estate.names(), want)
}

func (m *manor) boxes(env string) (n int) {
	for _, b := range m.fleet.boxes {
		if b.environment == env {
			n++
		}
	}
	return n
}

func (m *manor) create(name string) func() (*plan.Plan, error) {
	return func() (*plan.Plan, error) {
		return m.CreateEnv(context.Background(), playbooks.Creation{Name: name, From: "staging"})
	}
}

// The places of a new environment, killed everywhere: each is made once, and undo
// takes away those that the run made and no other.
func TestEveryCrashOfPlaces(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]string{
		"from nothing": nil, "one service is there": {"ledger", "ledger/qa", "ledger/qa/app"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := slices.Clone(before)
			for _, p := range []string{"ledger", "ledger/qa", "ledger/qa/app", "ledger/qa/other"} {
				if !slices.Contains(want, p) {
					want = append(want, p)
				}
			}
			slices.Sort(want)
			report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
				m, err := newManor(dir, disk, before...)
				must(t, err)
				return plantest.World{
					Plan: func(h plan.Header) (*plan.Plan, error) { return m.planned(h, m.create("qa")) },
					Done: func() error {
						if err := m.stands(want...); err != nil {
							return err
						}
						return check(m.boxes("qa") == 2, "%d containers run", m.boxes("qa"))
					},
					Undone: func() error {
						if err := m.stands(before...); err != nil {
							return err
						}
						b, err := m.store.Store.Read(context.Background(), naming.Path{Project: "ledger", Environment: "qa", Component: "app"}, providers.Latest)
						return check(fault.Is(err, fault.NotFound, fault.Deleted), "the path is there, and holds %v %v", b.Values, err)
					},
				}
			}, func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
				if verb == "undo" && fault.Is(err, fault.Partial) && strings.Contains(err.Error(), "has to be stopped by hand") {
					return nil // the service that was there runs now, and nothing ran before
				}
				return consistent(verb, w, disk, res, err)
			}))
		})
	}
}

// The enumeration notices a place that is made twice.
func TestCrashesFindAPlaceMadeTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	problems := everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
		m, err := newManor(dir, disk, "ledger", "ledger/qa", "ledger/qa/other")
		must(t, err)
		m.estate.blind = true
		lost := false
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				if h.ID != "" && !lost { // forgets what it made before it died
					lost = true
					for name, p := range m.estate.places {
						p.Mark = ""
						m.estate.places[name] = p
					}
				}
				return m.planned(h, m.create("qa"))
			},
			Done:   func() error { return m.stands("ledger", "ledger/qa", "ledger/qa/app", "ledger/qa/other") },
			Undone: func() error { return m.stands("ledger", "ledger/qa", "ledger/qa/other") },
		}
	}, consistent)
	if len(problems) == 0 {
		t.Error("nothing found")
	}
}

// env delete and its undo, on places that envctl made and on one that it did not.
func TestEveryCrashOfDeletingPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
		quiet := &plantest.Disk{}
		quiet.Arm(nil)
		m, err := newManor(dir, quiet)
		must(t, err)
		p, err := m.create("qa")()
		must(t, err)
		_, err = m.eng.Run(context.Background(), p)
		must(t, err)
		theirs := m.estate.places["ledger/qa/other"]
		theirs.Kept = "it holds their variables"
		m.estate.places[theirs.Name] = theirs
		m.store.point, m.fleet.point = disk.Point, disk.Point
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				return m.planned(h, func() (*plan.Plan, error) {
					return m.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa"})
				})
			},
			Done: func() error {
				if err := m.stands("ledger", "ledger/qa", "ledger/qa/other"); err != nil {
					return err
				}
				return check(m.boxes("qa") == 0, "%d containers run", m.boxes("qa"))
			},
			Undone: func() error {
				if err := m.stands("ledger", "ledger/qa", "ledger/qa/app", "ledger/qa/other"); err != nil {
					return err
				}
				return check(m.boxes("qa") == 2, "%d containers run", m.boxes("qa"))
			},
		}
	}, consistent))
}

// Nothing that others put there meanwhile goes with an undo, and a second delete
// finds nothing.
func TestPlacesOfOthersStay(t *testing.T) {
	t.Parallel()
	disk := &plantest.Disk{}
	disk.Arm(nil)
	m, err := newManor(t.TempDir(), disk)
	must(t, err)
	run := func(make func() (*plan.Plan, error)) plan.Result {
		t.Helper()
		p, err := make()
		must(t, err)
		res, err := m.eng.Run(context.Background(), p)
		must(t, err)
		return res
	}
	res := run(m.create("qa"))
	m.estate.places["ledger/prod"] = providers.Place{Kind: "environment", Name: "ledger/prod", ID: "theirs"}
	must(t, m.reload())
	_, err = m.undo(res.Record.ID)
	must(t, err)
	must(t, m.stands("ledger", "ledger/prod"))

	must(t, m.reload())
	run(m.create("qa"))
	must(t, m.reload())
	gone := func(destroy bool) func() (*plan.Plan, error) {
		return func() (*plan.Plan, error) {
			return m.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa", Destroy: destroy})
		}
	}
	run(gone(true))
	must(t, m.stands("ledger", "ledger/prod"))
	if m.boxes("qa") != 0 {
		t.Error("it still runs")
	}
}
