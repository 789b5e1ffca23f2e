package playbooks_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/providers"
	"envctl/providers/rolestest"
)

const databaseFile = `version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}}
  bare: {}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {PW: password, KEYPAIR: rsa}
    rotate:
      single: {variable: PW, database: {kind: postgres, role: app}}
      turns: {variable: PW, database: {kind: postgres, role: app, alternate: app_b, role_variable: PWUSER}}
      turns-later: {variable: PW, overlap: 24h, database: {kind: postgres, role: app, alternate: app_b, role_variable: PWUSER}}
      cache: {variable: PW, database: {kind: redis, role: app}}
      cache-later: {variable: PW, overlap: 24h, database: {kind: redis, role: app}}
      pem: {variable: KEYPAIR, database: {kind: postgres, role: app}}
      owner: {variable: PW, database: {kind: postgres, role: admin}}
      gone: {variable: PW, database: {kind: postgres, role: gone}}
`

const databaseTemplate = `{{- with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}
PW={{ .Data.data.PW }}
PWUSER={{ or .Data.data.PWUSER "app" }}
{{- end }}
`

// roleLab is a lab with a database server, whose roles app and app_b are alike.
type roleLab struct {
	*lab
	server *rolestest.Server // nil: a real one
	truth  interface {
		Opens(role, password string) bool
		Passwords(role string) []string
	}
	dies func(point func(string)) // at the server's changes
}

var databaseValues = []string{"PW", "old-password", "PWUSER", "app", "SIBLING", "stays"}

func databaseLab(p *config.Project, plural bool) *roleLab {
	l := &roleLab{lab: labOf(p), server: rolestest.New(map[string]string{"app": "old-password", "app_b": "", "admin": "admin-password"})}
	l.truth, l.dies = l.server, func(point func(string)) { l.server.Point = point }
	l.server.Plural = plural
	l.Roles = func(config.Environment, string, config.Database) (providers.Roles, error) { return l.server, nil }
	return l
}

func databaseProject(t *testing.T) *config.Project {
	t.Helper()
	dir := t.TempDir()
	must(t, writeFile(dir, config.FileName, databaseFile))
	must(t, writeFile(dir, "app.ctmpl", databaseTemplate))
	l, err := openLab(dir)
	must(t, err)
	return l.Project
}

func startedRoles(t *testing.T, recipe, env string) *roleLab {
	t.Helper()
	l := databaseLab(databaseProject(t), strings.HasPrefix(recipe, "cache"))
	must(t, l.start(env, databaseValues...))
	return l
}

func (l *roleLab) finish(env, name string) (plan.Result, error) {
	p, err := l.Finish(context.Background(), l.target(env), l.rotation(name))
	if err != nil {
		return plan.Result{}, err
	}
	return l.eng.Run(context.Background(), p)
}

// agrees tells what is wrong with the store, the server and the processes: they
// must hold one login that works.
func (l *roleLab) agrees(env string) error {
	v := l.values(env)
	if !l.truth.Opens(v["PWUSER"], v["PW"]) {
		return fmt.Errorf("the server refuses %s the store's password", v["PWUSER"])
	}
	if run := l.running(env); env != "bare" && (run["PW"] != v["PW"] || run["PWUSER"] != v["PWUSER"]) {
		return fmt.Errorf("the processes hold another login than the store")
	}
	return check(v["SIBLING"] == "stays", "the sibling is %q", v["SIBLING"])
}

// rotated is agrees, and that the login is new and the old one ended or not.
func (l *roleLab) rotated(env string, turns, oldWorks bool) error {
	v := l.values(env)
	switch {
	case v["PW"] == "old-password":
		return fmt.Errorf("the password is the old one")
	case l.version(env) != 2:
		return fmt.Errorf("the path is at version %d", l.version(env))
	case (v["PWUSER"] == "app_b") != turns:
		return fmt.Errorf("the role is %s", v["PWUSER"])
	case l.truth.Opens("app", "old-password") != oldWorks:
		return fmt.Errorf("the old password works: %t", !oldWorks)
	}
	return l.agrees(env)
}

func TestRotateADatabasePassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		recipe, env     string
		turns, oldWorks bool
	}{
		{"single", "staging", false, false},
		{"single", "bare", false, false},
		{"turns", "staging", true, false},
		{"turns", "bare", true, true}, // nothing is deployed, so nothing ends
		{"turns-later", "staging", true, true},
		{"cache", "staging", false, false},
		{"cache-later", "staging", false, true},
	} {
		t.Run(c.recipe+" "+c.env, func(t *testing.T) {
			t.Parallel()
			l := startedRoles(t, c.recipe, c.env)
			res, err := l.rotate(c.env, c.recipe)
			must(t, err)
			must(t, l.rotated(c.env, c.turns, c.oldWorks))
			if proof := receipt(res, "login")["proven"]; !strings.Contains(proof, "logs in with the store's password") {
				t.Fatal(proof)
			}
			if c.oldWorks {
				if strings.HasSuffix(c.recipe, "later") {
					_, err := l.finish(c.env, c.recipe)
					wantKind(t, err, fault.Refused, "overlap lasts until")
				}
				l.clock.move(25 * time.Hour)
				done, err := l.finish(c.env, c.recipe)
				must(t, err)
				must(t, l.rotated(c.env, c.turns, false))
				_, err = l.finish(c.env, c.recipe)
				wantKind(t, err, fault.NotFound, "refused already")
				_, err = l.undo(done.Record.ID)
				must(t, err)
				must(t, l.rotated(c.env, c.turns, true))
			}
			_, err = l.undo(res.Record.ID)
			must(t, err)
			must(t, l.agrees(c.env))
			if v := l.values(c.env); v["PW"] != "old-password" || len(l.server.Passwords("app")) != 1 || len(l.server.Passwords("app_b")) != 0 {
				t.Fatal("not as before", l.server.Passwords("app"), l.server.Passwords("app_b"))
			}
			// and once more, the other way round where two take turns
			_, err = l.rotate(c.env, c.recipe)
			must(t, err)
			_, err = l.rotate(c.env, c.recipe)
			must(t, err)
			must(t, l.agrees(c.env))
		})
	}
}

// Without an administrator a role changes its own password with the one it has.
func TestRolesChangeTheirOwnPassword(t *testing.T) {
	t.Parallel()
	for _, recipe := range []string{"single", "cache"} {
		l := startedRoles(t, recipe, "staging")
		l.server.Admin = ""
		res, err := l.rotate("staging", recipe)
		must(t, err)
		must(t, l.rotated("staging", false, false))
		_, err = l.undo(res.Record.ID)
		must(t, err)
		must(t, l.agrees("staging"))
	}
	l := startedRoles(t, "turns", "staging")
	l.server.Admin = ""
	_, err := l.rotate("staging", "turns")
	wantKind(t, err, fault.Refused, "need an administrator")
}

// What would end in a login that does not work is refused before anything is
// written.
func TestDatabaseRotationRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		recipe string
		change func(l *roleLab)
		kind   fault.Kind
		words  string
	}{
		"not trusted":              {"single", func(l *roleLab) { l.Trusted = false }, fault.Refused, "envctl trust"},
		"a key pair":               {"pem", func(l *roleLab) { l.write("staging", "KEYPAIR", "x") }, fault.Refused, "no password for a database"},
		"the administrator":        {"owner", func(*roleLab) {}, fault.Refused, "the administrator"},
		"store and server differ":  {"single", func(l *roleLab) { l.write("staging", "PW", "drifted") }, fault.No, "disagree already"},
		"no such role":             {"gone", func(*roleLab) {}, fault.No, "disagree already"},
		"lets anyone in":           {"single", func(l *roleLab) { l.server.Account("app", func(a *rolestest.Account) { a.NoAsking = true }) }, fault.Refused, "without a password"},
		"a superuser":              {"single", func(l *roleLab) { l.server.Account("app", func(a *rolestest.Account) { a.Role.Superuser = true }) }, fault.Refused, "superuser"},
		"the other is a superuser": {"turns", func(l *roleLab) { l.server.Account("app_b", func(a *rolestest.Account) { a.Role.Superuser = true }) }, fault.Refused, "superuser"},
		"the other may do less":    {"turns", func(l *roleLab) { l.server.Account("app_b", func(a *rolestest.Account) { a.Role.Grants = nil }) }, fault.Refused, "only app: member of owners"},
		"the other is in use":      {"turns", func(l *roleLab) { l.server.Account("app_b", func(a *rolestest.Account) { a.Open = 2 }) }, fault.No, "2 sessions"},
		"the other may not log in": {"turns", func(l *roleLab) { l.server.Account("app_b", func(a *rolestest.Account) { a.Off = true }) }, fault.Refused, "may not log in"},
		"a stranger in use":        {"turns", func(l *roleLab) { l.write("staging", "PWUSER", "postgres") }, fault.Invalid, "neither app nor app_b"},
		"the server is down": {"single", func(l *roleLab) {
			l.server.Fault = func(string, string) error { return fault.New(fault.Unavailable, "log in", "no answer", "") }
		}, fault.Unavailable, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startedRoles(t, c.recipe, "staging")
			c.change(l)
			before := l.version("staging")
			_, err := l.rotate("staging", c.recipe)
			wantKind(t, err, c.kind, c.words)
			if l.version("staging") != before || !l.server.Opens("app", "old-password") {
				t.Fatal("something was changed")
			}
		})
	}
}

// Each of these servers or stores lies once; success must not be said, and what
// was done is taken back or named.
func TestDatabaseRotationIsNotFooled(t *testing.T) {
	t.Parallel()
	broken := fault.New(fault.Unavailable, "change", "the server went away", "")
	for name, c := range map[string]struct {
		recipe string
		lie    func(l *roleLab)
		kind   fault.Kind
		words  string
	}{
		"a change that is acknowledged and not made": {"single", func(l *roleLab) { l.server.Ignore = true }, fault.No, "refuses app the password that the store holds"},
		"an old password that still works": {"single", func(l *roleLab) {
			l.server.Point = func(at string) {
				if at == "after allow" {
					l.server.Account("app", func(a *rolestest.Account) { a.Passwords = append(a.Passwords, "old-password") })
				}
			}
		}, fault.No, "still takes the password"},
		"an end that is acknowledged and not made": {"cache", func(l *roleLab) {
			l.server.Point = func(at string) {
				if at == "after forbid" {
					l.server.Account("app", func(a *rolestest.Account) { a.Passwords = append(a.Passwords, "old-password") })
				}
			}
		}, fault.No, "still takes the password"},
		"an old login that ends too early": {"cache", func(l *roleLab) {
			l.server.Point = func(at string) {
				if at == "after allow" {
					l.server.Account("app", func(a *rolestest.Account) { a.Passwords = a.Passwords[1:] })
					l.server.Point = func(string) {}
				}
			}
		}, fault.No, "which was to last"},
		"a container with the old password": {"single", func(l *roleLab) { l.fleet.stale = true }, fault.No, ""},
		"a container with the old login":    {"turns", func(l *roleLab) { l.fleet.stale = true }, fault.No, ""},
		"a server that fails":               {"single", func(l *roleLab) { l.server.Fault = failing("allow", broken) }, fault.Unavailable, "went away"},
		"someone who changes the password while it is deployed": {"single", func(l *roleLab) {
			n := 0
			l.fleet.onWait = func(context.Context) error {
				if n++; n == 1 {
					l.server.Account("app", func(a *rolestest.Account) { a.Passwords = []string{"someone-else's"} })
				}
				return nil
			}
		}, fault.No, "refuses app the password that the store holds"},
		"a login in use at the end": {"turns", func(l *roleLab) { l.server.Account("app", func(a *rolestest.Account) { a.Open = 1 }) }, fault.No, "app is in use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // the waiting takes no time
				l := startedRoles(t, c.recipe, "staging")
				c.lie(l)
				res, err := l.rotate("staging", c.recipe)
				wantKind(t, err, c.kind, c.words)
				if res.Record.State != plan.Undone {
					t.Fatal(res.Record.State, err)
				}
				must(t, l.agrees("staging"))
				if l.values("staging")["PW"] != "old-password" {
					t.Fatal("the store is not taken back")
				}
			})
		})
	}
}

// failing fails one call once.
func failing(call string, err error) func(string, string) error {
	done := false
	return func(at, _ string) error {
		if at != call || done {
			return nil
		}
		done = true
		return err
	}
}

// An answer that is lost is no failure: the login tells.
func TestLostAnswerOfTheServer(t *testing.T) {
	t.Parallel()
	l := startedRoles(t, "single", "staging")
	lost := &lossy{l.server}
	l.Roles = func(config.Environment, string, config.Database) (providers.Roles, error) { return lost, nil }
	_, err := l.rotate("staging", "single")
	must(t, err)
	must(t, l.rotated("staging", false, false))
}

// lossy makes every change and loses the answer.
type lossy struct{ *rolestest.Server }

func (s *lossy) Allow(ctx context.Context, as, l providers.Login) error {
	_ = s.Server.Allow(ctx, as, l)
	return fault.New(fault.Unavailable, "change", "the connection was cut", "")
}

// A server that goes away and stays away leaves a run that says so; when it is
// back, undo takes it back.
func TestServerGoneMidRun(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"undo", "resume"} {
		l := startedRoles(t, "single", "staging")
		down := false
		l.server.Fault = func(call, _ string) error {
			if down = down || call == "allow"; down {
				return fault.New(fault.Unavailable, call, "no answer", "")
			}
			return nil
		}
		res, err := l.rotate("staging", "single")
		wantKind(t, err, fault.Partial, "not undone: role")
		l.server.Fault = nil
		if verb == "undo" {
			_, err = l.undo(res.Record.ID)
			must(t, err)
			if l.values("staging")["PW"] != "old-password" {
				t.Fatal("not taken back")
			}
		} else {
			_, err = l.resume(res.Record.ID)
			wantKind(t, err, fault.Refused, "on its way back")
		}
	}
}

// databaseScene is one rotation of a database's password.
type databaseScene struct {
	recipe, env     string
	finish          bool
	turns, oldWorks bool // at the end
	self            bool // without an administrator
}

func databaseScenes() map[string]databaseScene {
	return map[string]databaseScene{
		"single":                   {recipe: "single", env: "staging"},
		"single, no deployer":      {recipe: "single", env: "bare"},
		"turns":                    {recipe: "turns", env: "staging", turns: true},
		"turns, no deployer":       {recipe: "turns", env: "bare", turns: true, oldWorks: true},
		"turns, the end later":     {recipe: "turns-later", env: "staging", turns: true, oldWorks: true},
		"turns --finish":           {recipe: "turns-later", env: "staging", finish: true, turns: true},
		"cache":                    {recipe: "cache", env: "staging"},
		"cache, its end later":     {recipe: "cache-later", env: "staging", oldWorks: true},
		"cache --finish":           {recipe: "cache-later", env: "staging", finish: true},
		"cache, self, no deployer": {recipe: "cache", env: "bare", oldWorks: true, self: true},
	}
}

func TestEveryCrashOfADatabaseRotation(t *testing.T) {
	t.Parallel()
	project := databaseProject(t)
	for name, c := range databaseScenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := c.trial(t, project)
			report(t, everyCrash(t, 1, tr.world, tr.look))
		})
	}
}

func (c databaseScene) trial(t *testing.T, project *config.Project) trial {
	return c.trialOn(t, func() *roleLab {
		l := databaseLab(project, strings.HasPrefix(c.recipe, "cache"))
		if c.self {
			l.server.Admin = ""
		}
		return l
	})
}

// trialOn is the trial on a server that fresh makes, or makes fresh.
func (c databaseScene) trialOn(t *testing.T, fresh func() *roleLab) trial {
	return trial{look: discreet(t, "old-password"), fresh: func(disk *plantest.Disk) (*lab, plantest.World) {
		l := fresh()
		must(t, l.start(c.env, databaseValues...))
		if c.finish {
			_, err := l.rotate(c.env, c.recipe)
			must(t, err)
			l.clock.move(25 * time.Hour)
		}
		store, ran, app, appB := l.values(c.env), l.running(c.env), l.truth.Passwords("app"), l.truth.Passwords("app_b")
		l.store.point, l.fleet.point = disk.Point, disk.Point
		l.dies(disk.Point)
		return l.lab, plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				switch {
				case h.ID != "":
					return l.rebuild(h)
				case c.finish:
					return l.Finish(context.Background(), l.target(c.env), l.rotation(c.recipe))
				}
				return l.Rotate(context.Background(), l.target(c.env), l.rotation(c.recipe))
			},
			Done: func() error { return l.rotated(c.env, c.turns, c.oldWorks) },
			Undone: func() error {
				if err := l.agrees(c.env); err != nil {
					return err
				}
				if !maps.Equal(l.values(c.env), store) || clean(l.running(c.env)) != clean(ran) {
					return fmt.Errorf("the store or the processes are not as before")
				}
				return check(fmt.Sprint(l.truth.Passwords("app"), l.truth.Passwords("app_b")) == fmt.Sprint(app, appB), "the server is not as before")
			},
		}
	}}
}

// The store's check-and-set chooses the winner before anyone touches the server.
func TestDatabaseRotatorsAtOnce(t *testing.T) {
	t.Parallel()
	project := databaseProject(t)
	for _, recipe := range []string{"single", "turns", "cache"} {
		l := databaseLab(project, recipe == "cache")
		must(t, l.start("staging", databaseValues...))
		const n = 8
		plans := make([]*plan.Plan, n)
		for i := range plans {
			var err error
			plans[i], err = l.Rotate(context.Background(), l.target("staging"), l.rotation(recipe))
			must(t, err)
		}
		var wg sync.WaitGroup
		won := make([]bool, n)
		for i := range plans {
			wg.Go(func() {
				// Another machine each: no lock of ours is shared.
				eng := &plan.Engine{Dir: fmt.Sprintf("/state%d", i), Now: l.clock.now, Rand: &counter{seed: byte(i)}, FS: &plantest.Disk{}}
				_, err := eng.Run(context.Background(), plans[i])
				won[i] = err == nil
				if err != nil && !fault.Is(err, fault.Conflict, fault.No) {
					t.Errorf("%s: %v", recipe, err)
				}
			})
		}
		wg.Wait()
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		if winners != 1 {
			t.Fatalf("%s: %d won", recipe, winners)
		}
		must(t, l.rotated("staging", recipe == "turns", false))
	}
}

// A run goes on only with the roles that it was started with.
func TestForgedDatabaseRun(t *testing.T) {
	t.Parallel()
	l := startedRoles(t, "turns", "staging")
	for _, args := range []map[string]string{
		{"name": "turns", "was": "app", "role": "admin"},
		{"name": "turns", "was": "app", "role": "app"},
		{"name": "single", "was": "app", "role": "app_b"},
		{"name": "gone", "was": "app", "role": "app"},
	} {
		_, err := l.rebuild(plan.Header{Playbook: "rotate " + args["name"], Project: "ledger", Environment: "staging", Component: "app", Args: args})
		wantKind(t, err, fault.Refused, "other roles")
	}
}
