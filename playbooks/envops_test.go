package playbooks_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	"envctl/providers/ports"
)

// remover is the fleet with the ability to remove what it made.
type remover struct {
	*fleet
	volumes map[string]bool // by environment
	foreign []string        // stays, and is said to
	err     error           // after the first container is gone
}

func (f *remover) Remove(_ context.Context, r providers.Release, volumes bool) (providers.Removal, error) {
	f.point("before the removal")
	f.mu.Lock()
	gone := providers.Removal{Left: f.foreign}
	for _, name := range slices.Sorted(maps.Keys(f.boxes)) {
		if b := f.boxes[name]; b.environment == r.Environment && b.component == r.Component {
			delete(f.boxes, name)
			gone.Containers = append(gone.Containers, name)
		}
	}
	err := f.err
	if err == nil && volumes {
		delete(f.volumes, r.Environment)
	}
	f.mu.Unlock()
	f.point("after the removal")
	return gone, err
}

// mortal is the store with points to die at around what ends a path.
type mortal struct{ *store }

func (s mortal) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	s.point("before the delete")
	defer s.point("after the delete")
	return s.store.Delete(ctx, p, v...)
}

func (s mortal) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	s.point("before the undelete")
	defer s.point("after the undelete")
	return s.store.Undelete(ctx, p, v...)
}

func (s mortal) Purge(ctx context.Context, p naming.Path) error {
	s.point("before the purge")
	defer s.point("after the purge")
	return s.store.Purge(ctx, p)
}

func (s mortal) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	s.point("before the metadata")
	defer s.point("after the metadata")
	return s.store.PatchMeta(ctx, p, custom)
}

// acl is a server's policies.
type acl struct {
	text  map[string]string
	point func(string)
	lie   bool // says that it wrote, and does not
}

func (a *acl) ReadPolicy(_ context.Context, name string) (string, error) {
	if t, ok := a.text[name]; ok {
		return t, nil
	}
	return "", fault.New(fault.NotFound, "read the policy "+name, "there is none", "")
}

func (a *acl) WritePolicy(_ context.Context, name, text string) error {
	a.point("before the policy")
	defer a.point("after the policy")
	switch {
	case a.lie:
	case text == "":
		delete(a.text, name)
	default:
		a.text[name] = text
	}
	return nil
}

const deleteFile = `# the ledger
version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}} # stays
  qa:
    deploy: {kind: compose}
  # about production
  production: {}
  "pr-*": {ephemeral: true, ttl: 72h}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {SECRET_KEY: jwt}
  postgres:
    generate: {POSTGRES_PASSWORD: password}
`

// stage is a lab whose parts can end: qa and staging run.
type stage struct {
	*lab
	file    string
	remover *remover
	acl     *acl
	port    int
}

func newStage(dir string, disk *plantest.Disk) (*stage, error) {
	for name, text := range map[string]string{config.FileName: deleteFile, "app.ctmpl": templateFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "machine")); err != nil {
		return nil, err
	}
	l, err := openLab(dir)
	if err != nil {
		return nil, err
	}
	s := &stage{lab: l, file: filepath.Join(dir, config.FileName), acl: &acl{text: map[string]string{}, point: disk.Point}}
	s.remover = &remover{fleet: l.fleet, volumes: map[string]bool{"qa": true, "staging": true}}
	if err := s.reload(); err != nil {
		return nil, err
	}
	for _, env := range []string{"staging", "qa"} {
		if err := l.start(env, "SECRET_KEY", "canary-"+env, "PLAIN", env); err != nil {
			return nil, err
		}
	}
	grant, err := s.registry().Acquire(context.Background(), ports.Request{
		Holder: ports.Holder{Project: "ledger", Environment: "qa", Service: "backend"}, Folder: dir, First: 5523, Range: naming.PortRange{Lo: 5523, Hi: 5999},
	})
	if err != nil {
		return nil, err
	}
	s.port = grant.Port
	l.store.point, l.fleet.point = disk.Point, disk.Point
	return s, nil
}

// reload reads the project file as another process would.
func (s *stage) reload() error {
	p, err := config.Load(s.file)
	if err != nil {
		return err
	}
	s.World = s.on(p)
	s.Dirs.State = filepath.Join(p.Root, "machine")
	s.World.Store = func(config.Environment) (providers.Store, error) { return mortal{s.store}, nil }
	s.World.Policies = func(config.Environment) (providers.Policies, error) { return s.acl, nil }
	s.World.Deployer = func(e config.Environment, component string) (providers.Deployer, error) {
		if e.Deploy.Kind == config.DeployNone || component != "app" {
			return nil, nil //nolint:nilnil // no deployer is an answer
		}
		return s.remover, nil
	}
	return nil
}

func (s *stage) registry() *ports.Registry {
	return ports.New(filepath.Join(s.Dirs.State, "ports.json"), s.clock.now).Asking(s.PortBusy)
}

func (s *stage) held() []int {
	all, err := s.registry().List()
	if err != nil {
		panic(err)
	}
	var out []int
	for _, e := range all {
		out = append(out, e.Port)
	}
	return out
}

// plan makes a plan in a process of its own.
func (s *stage) planned(h plan.Header, first func() (*plan.Plan, error)) (*plan.Plan, error) {
	if err := s.reload(); err != nil {
		return nil, err
	}
	if h.ID != "" {
		return s.rebuild(h)
	}
	return first()
}

// unharmed says what is wrong with staging, which no test here deletes.
func (s *stage) unharmed() error {
	return check(s.values("staging")["SECRET_KEY"] == "canary-staging" && s.running("staging")["SECRET_KEY"] == "canary-staging" && s.remover.volumes["staging"],
		"staging is %v, runs %v", s.values("staging"), s.running("staging"))
}

func (s *stage) text() string {
	b, err := os.ReadFile(s.file)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// whole says what is missing of qa.
func (s *stage) whole() error {
	if err := s.reload(); err != nil {
		return err
	}
	switch {
	case s.text() != deleteFile:
		return fmt.Errorf("the project file is\n%s", s.text())
	case s.values("qa")["SECRET_KEY"] != "canary-qa" || s.version("qa") != 1:
		return fmt.Errorf("qa holds %v at %d", s.values("qa"), s.version("qa"))
	case s.running("qa")["SECRET_KEY"] != "canary-qa":
		return fmt.Errorf("%v run in qa", s.running("qa"))
	case !slices.Equal(s.held(), []int{s.port}) || !s.remover.volumes["qa"]:
		return fmt.Errorf("held are %v, volumes %v", s.held(), s.remover.volumes)
	}
	return s.unharmed()
}

// ended says what is left of qa.
func (s *stage) ended(destroyed bool) error {
	want := strings.Replace(deleteFile, "  qa:\n    deploy: {kind: compose}\n", "", 1)
	_, err := s.store.History(context.Background(), naming.Path{Project: "ledger", Environment: "qa", Component: "app"})
	switch {
	case s.text() != want:
		return fmt.Errorf("the project file is\n%s", s.text())
	case fault.Is(err, fault.NotFound) != destroyed:
		return fmt.Errorf("the history: %w", err)
	case len(s.held()) != 0 || s.remover.volumes["qa"] == destroyed:
		return fmt.Errorf("held are %v, volumes %v", s.held(), s.remover.volumes)
	}
	for name, b := range s.fleet.boxes {
		if b.environment == "qa" {
			return fmt.Errorf("%s still runs", name)
		}
	}
	_, err = s.store.Store.Read(context.Background(), naming.Path{Project: "ledger", Environment: "qa", Component: "app"}, providers.Latest)
	if err == nil {
		return fmt.Errorf("the path is still there")
	}
	return s.unharmed()
}

// env delete, killed everywhere: finished by resume; taken back by undo, to the
// byte, unless something is gone for good already, and then undo says so.
func TestEveryCrashOfEnvDelete(t *testing.T) {
	t.Parallel()
	for name, destroy := range map[string]bool{"softly": false, "for good": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := 0
			tr := deletion(t, destroy, &refused)
			report(t, everyCrash(t, 1, tr.world, tr.look))
			if destroy == (refused == 0) {
				t.Errorf("undo was refused %d times", refused)
			}
		})
	}
}

// deletion is the trial of env delete; it counts the undos that are refused.
func deletion(t *testing.T, destroy bool, refused *int) trial {
	dir := t.TempDir()
	return trial{
		fresh: func(disk *plantest.Disk) (*lab, plantest.World) {
			s, err := newStage(dir, disk)
			must(t, err)
			return s.lab, plantest.World{
				Plan: func(h plan.Header) (*plan.Plan, error) {
					return s.planned(h, func() (*plan.Plan, error) {
						return s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa", Destroy: destroy})
					})
				},
				Done:   func() error { return s.ended(destroy) },
				Undone: s.whole,
			}
		},
		look: func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
			plantest.Canary(t, disk, "canary")
			if destroy && verb == "undo" && fault.Is(err, fault.Refused) {
				*refused++
				res, err := engineOn(disk).Resume(context.Background(), res.Record.ID, w.Plan)
				if err != nil || res.Record.State != plan.Done {
					return fmt.Errorf("after a refused undo: %w %s", err, res.Record.State)
				}
				return w.Done()
			}
			return consistent(verb, w, disk, res, err)
		},
	}
}

// What was made of a lifetime and of policies is taken back like all else.
func TestEveryCrashOfMarks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := "# made by envctl for an older form\n" + strings.Repeat("# é\n", 60)
	report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
		s, err := newStage(dir, disk)
		must(t, err)
		s.acl.text["ledger-pr-9-postgres"] = old
		state := func() (custom map[string]string, policies map[string]string) {
			m, err := s.store.Meta(context.Background(), naming.Path{Project: "ledger", Environment: "pr-9", Component: "app"})
			if err != nil && !fault.Is(err, fault.NotFound) {
				t.Error(err)
			}
			return m.Custom, s.acl.text
		}
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				return s.planned(h, func() (*plan.Plan, error) {
					return s.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-9", TTL: "3d", Creator: "op@here", WithPolicy: true})
				})
			},
			Done: func() error {
				custom, policies := state()
				if custom["ttl"] != "3d" || custom["creator"] != "op@here" || custom["created"] == "" {
					return fmt.Errorf("the metadata says %v", custom)
				}
				for _, c := range []string{"app", "postgres"} {
					if err := sound(policies["ledger-pr-9-"+c], c); err != nil {
						return err
					}
				}
				return s.unharmed()
			},
			Undone: func() error {
				custom, policies := state()
				if alive, err := s.Lifetimes(context.Background()); err != nil || len(alive) != 0 {
					return fmt.Errorf("%v count as environments %w", alive, err)
				}
				return check(len(custom) == 0 && maps.Equal(policies, map[string]string{"ledger-pr-9-postgres": old}), "left are %v, %v", custom, policies)
			},
		}
	}, consistent))
}

// sound says what is wrong with a policy's text.
func sound(text, component string) error {
	want := fmt.Sprintf(`# made by envctl for ledger/pr-9/%[1]s
path "secret/data/ledger/pr-9/%[1]s" {
  capabilities = ["read"]
}
path "secret/metadata/ledger/pr-9/%[1]s" {
  capabilities = ["read", "list"]
}
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
`, component)
	return check(text == want, "the policy is\n%s", text)
}

// calm is a stage where nobody dies.
func calm(t *testing.T) *stage {
	t.Helper()
	disk := &plantest.Disk{}
	disk.Arm(nil)
	s, err := newStage(t.TempDir(), disk)
	must(t, err)
	return s
}

func (s *stage) delete(d playbooks.Deletion) (plan.Result, error) {
	p, err := s.DeleteEnv(context.Background(), d)
	if err != nil {
		return plan.Result{}, err
	}
	return s.eng.Run(context.Background(), p)
}

// A writer between plan and deletion keeps what it wrote, and the run is undone.
func TestDeleteAmongWriters(t *testing.T) {
	t.Parallel()
	for _, destroy := range []bool{false, true} {
		s := calm(t)
		p, err := s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa", Destroy: destroy})
		must(t, err)
		s.write("qa", "PLAIN", "late")
		_, err = s.eng.Run(context.Background(), p)
		wantKind(t, err, fault.Conflict, "somebody wrote version 2")
		if s.values("qa")["PLAIN"] != "late" || s.running("qa") == nil || s.text() != deleteFile {
			t.Fatalf("destroy %v: %v, runs %v", destroy, s.values("qa"), s.running("qa"))
		}
		must(t, s.unharmed())
	}
}

func TestDeleteRefuses(t *testing.T) {
	t.Parallel()
	s := calm(t)
	for _, d := range []playbooks.Deletion{{Name: "production"}, {Name: "production", Destroy: true, KeepContainers: true, WithPolicy: true}} {
		_, err := s.DeleteEnv(context.Background(), d)
		wantKind(t, err, fault.Refused, "never deleted")
	}
	_, err := s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "nope"})
	wantKind(t, err, fault.Usage)

	// A deployer that cannot remove, and containers that nobody can see.
	s.World.Deployer = func(config.Environment, string) (providers.Deployer, error) { return s.fleet, nil }
	_, err = s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa"})
	wantKind(t, err, fault.Refused, "cannot remove what it made", "--keep-containers")
	s.fleet.unreachable = fault.New(fault.Unavailable, "list containers", "docker does not answer", "")
	_, err = s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "qa"})
	wantKind(t, err, fault.Unavailable, "--keep-containers")
	res, err := s.delete(playbooks.Deletion{Name: "qa", KeepContainers: true})
	must(t, err)
	s.fleet.unreachable = nil
	if s.running("qa") != nil && s.values("qa") != nil || res.Record.State != plan.Done {
		t.Fatal("not deleted")
	}
	must(t, s.unharmed())
}

// A removal that fails half-way is deployed again.
func TestDeleteFailsAndIsUndone(t *testing.T) {
	t.Parallel()
	s := calm(t)
	s.remover.err = fault.New(fault.No, "remove ledger/qa/app", "docker network rm: has active endpoints", "")
	_, err := s.delete(playbooks.Deletion{Name: "qa"})
	wantKind(t, err, fault.No, "what it did is undone")
	must(t, s.whole())

	// What stays is said.
	s.remover.err, s.remover.foreign = nil, []string{"a-db"}
	res, err := s.delete(playbooks.Deletion{Name: "qa"})
	must(t, err)
	if got := receipt(res, "remove.app")["left"]; got != "a-db" {
		t.Errorf("left is %q", got)
	}
}

// A policy that somebody else made is neither replaced nor removed; one that was
// changed since is not taken back; one that was not written is noticed.
func TestPolicyOfOthers(t *testing.T) {
	t.Parallel()
	s := calm(t)
	create := func() (plan.Result, error) {
		p, err := s.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-9", WithPolicy: true})
		if err != nil {
			return plan.Result{}, err
		}
		return s.eng.Run(context.Background(), p)
	}
	theirs := map[string]string{"ledger-pr-9-app": "path \"secret/data/ledger/+/app\" { capabilities = [\"read\"] }"}
	s.acl.text = maps.Clone(theirs)
	_, err := create()
	wantKind(t, err, fault.Refused, "somebody else made it")
	if !maps.Equal(s.acl.text, theirs) {
		t.Fatalf("policies are %v", s.acl.text)
	}

	s.acl.text = map[string]string{}
	s.acl.lie = true
	_, err = create()
	wantKind(t, err, fault.No, "not what this run wrote")

	s.acl.lie = false
	res, err := create()
	must(t, err)
	s.acl.text["ledger-pr-9-app"] += "# changed\n"
	_, err = s.undo(res.Record.ID)
	wantKind(t, err, fault.Partial, "policy.app")
	if s.acl.text["ledger-pr-9-app"] == "" {
		t.Fatal("what somebody changed is gone")
	}
	_, err = s.delete(playbooks.Deletion{Name: "pr-9", WithPolicy: true})
	must(t, err)
	if len(s.acl.text) != 0 {
		t.Errorf("policies left: %v", s.acl.text)
	}
}

// env promote, killed everywhere. The source moves on meanwhile: what was shown is
// what is written.
func TestEveryCrashOfPromote(t *testing.T) {
	t.Parallel()
	tr := promoted(t)
	report(t, everyCrash(t, 1, tr.world, tr.look))
}

func promoted(t *testing.T) trial {
	tr := scene{
		env: "staging", values: []string{"SECRET_KEY", "old", "PLAIN", "sibling", "TOKEN", "t0"},
		before: func(l *lab) error { return l.start("bare", "SECRET_KEY", "canary-bare", "TOKEN", "canary-token") },
		plan: func(l *lab) (*plan.Plan, error) {
			p, err := l.Promote(context.Background(), playbooks.Promotion{
				From: l.target("bare").Environment, To: l.target("staging").Environment, Component: "app", Keys: []string{"SECRET_KEY", "TOKEN"},
			})
			l.write("bare", "SECRET_KEY", "later")
			return p, err
		},
		done: func(l *lab) error {
			return check(maps.Equal(l.values("staging"), map[string]string{"SECRET_KEY": "canary-bare", "TOKEN": "canary-token", "PLAIN": "sibling"}) && l.version("staging") == 2 &&
				l.running("staging")["SECRET_KEY"] == "canary-bare", "%v at %d, runs %v", l.values("staging"), l.version("staging"), l.running("staging"))
		},
	}.trial(t, testLab(t).Project)
	tr.look = discreet(t, "canary")
	return tr
}

// Another writer of the target is never overwritten; a source that was made anew
// is not taken for the one that was shown.
func TestPromoteConflicts(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	must(t, l.start("bare", "SECRET_KEY", "bare"))
	promote := func() *plan.Plan {
		p, err := l.Promote(context.Background(), playbooks.Promotion{
			From: l.target("bare").Environment, To: l.target("staging").Environment, Component: "app", Keys: []string{"SECRET_KEY"},
		})
		must(t, err)
		return p
	}
	p := promote()
	l.write("staging", "PLAIN", "theirs")
	_, err := l.eng.Run(context.Background(), p)
	wantKind(t, err, fault.Conflict, "envctl env promote bare staging --only SECRET_KEY --component app")
	if l.values("staging")["SECRET_KEY"] != "old" || l.values("staging")["PLAIN"] != "theirs" {
		t.Fatalf("staging holds %v", l.values("staging"))
	}

	p = promote()
	must(t, l.store.Purge(context.Background(), l.path("bare")))
	_, err = l.store.Store.Write(context.Background(), l.path("bare"), providers.Absent, providers.Patch{"SECRET_KEY": secret.New("another")})
	must(t, err)
	p, err = l.Rebuild(context.Background(), plan.Header{Playbook: p.Playbook, Environment: "staging", Component: "app", Args: p.Args})
	must(t, err)
	_, err = l.eng.Run(context.Background(), p)
	wantKind(t, err, fault.Conflict, "not the one that was shown")
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{72 * time.Hour: "72h", 30 * time.Minute: "30m", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", time.Nanosecond: "1ns", 20*time.Minute + time.Second: "20m1s", 0: "0s"} {
		if got := playbooks.Span(d); got != want {
			t.Errorf("%v is %q, want %q", int64(d), got, want)
		}
	}
}
