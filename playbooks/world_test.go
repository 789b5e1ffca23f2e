package playbooks_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	"envctl/providers/memory"
)

const projectFile = `version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}}
  bare: {}
  production: {protected: true, deploy: {kind: compose}}
  "pr-*": {ephemeral: true, base: staging}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {TOKEN: hex, RING: fernet, SINGLE: fernet}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h}
      ring: {variable: RING, ring: true, keep: 2}
      single: {variable: SINGLE}
`

const templateFile = `{{- with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}
SECRET_KEY={{ .Data.data.SECRET_KEY }}
{{- if .Data.data.SECRET_KEY_PREVIOUS }}
SECRET_KEY_PREVIOUS={{ .Data.data.SECRET_KEY_PREVIOUS }}
{{- end }}
TOKEN={{ or .Data.data.TOKEN "none" }}
RING={{ or .Data.data.RING "none" }}
SINGLE={{ or .Data.data.SINGLE "none" }}
PLAIN={{ or .Data.data.PLAIN "none" }}
{{- end }}
`

// clock ticks a millisecond at each look, and can be set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Millisecond)
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// counter is a random source that never repeats itself and is the same in
// every fresh world.
type counter struct {
	mu   sync.Mutex
	n    uint32
	seed byte
}

func (c *counter) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b {
		c.n = c.n*1664525 + 1013904223 + uint32(c.seed)
		b[i] = byte(c.n >> 24)
	}
	return len(b), nil
}

// store is the memory store with faults, and points to die at around a write.
type store struct {
	*memory.Store
	point  func(string)
	before func(p naming.Path)                            // runs before each write reaches the store
	lie    func(p naming.Path) (providers.Version, bool)  // answers a write without applying it
	lose   func(p naming.Path, v providers.Version) error // applies it, and loses the answer
	read   func(p naming.Path, v providers.Version) error // a read that fails
	line   *line                                          // the way to it
	noMeta bool                                           // the token may not write metadata
	wrote  []string
	mu     sync.Mutex
}

func (s *store) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	if err := s.line.ask(); err != nil {
		return providers.Bundle{}, err
	}
	if s.read != nil && p.Component != naming.LockComponent {
		if err := s.read(p, v); err != nil {
			return providers.Bundle{}, err
		}
	}
	return s.Store.Read(ctx, p, v)
}

func (s *store) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	if err := s.line.ask(); err != nil {
		return nil, err
	}
	return s.Store.History(ctx, p)
}

func (s *store) Meta(ctx context.Context, p naming.Path) (providers.Meta, error) {
	if err := s.line.ask(); err != nil {
		return providers.Meta{}, err
	}
	return s.Store.Meta(ctx, p)
}

func (s *store) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (v providers.Version, err error) {
	err = s.line.change(func() (werr error) {
		v, werr = s.write(ctx, p, base, patch)
		return werr
	})
	return v, err
}

func (s *store) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.line.change(func() error { return s.Store.Delete(ctx, p, v...) })
}

func (s *store) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.line.change(func() error { return s.Store.Undelete(ctx, p, v...) })
}

func (s *store) Purge(ctx context.Context, p naming.Path) error {
	return s.line.change(func() error { return s.Store.Purge(ctx, p) })
}

func (s *store) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	if s.noMeta {
		return fault.New(fault.Denied, "write the metadata of "+p.String(), "", "")
	}
	return s.line.change(func() error { return s.Store.PatchMeta(ctx, p, custom) })
}

func (s *store) write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	if p.Component == naming.LockComponent { // the faults are of what is locked
		s.point("before the lock")
		defer s.point("after the lock")
		return s.Store.Write(ctx, p, base, patch)
	}
	if s.before != nil {
		s.before(p)
	}
	s.point("before the write")
	if s.lie != nil {
		if v, lies := s.lie(p); lies {
			return v, nil
		}
	}
	v, err := s.Store.Write(ctx, p, base, patch)
	if err == nil {
		s.mu.Lock()
		s.wrote = append(s.wrote, fmt.Sprintf("%s@%d %s", p, v, strings.Join(slices.Sorted(maps.Keys(patch)), ",")))
		s.mu.Unlock()
	}
	s.point("after the write")
	if err == nil && s.lose != nil {
		err = s.lose(p, v)
	}
	return v, err
}

// box is one container.
type box struct {
	service, component, environment string
	env                             map[string]secret.Value
	marker                          string
	started                         time.Time
	state, health                   string
	wrapper                         map[string]secret.Value // what pid 1 held before it started the program
}

// fleet is a deployer and the engine that runs what it deploys. It recreates a
// container when its marker changed, as the compose deployer does.
type fleet struct {
	mu    sync.Mutex
	now   func() time.Time
	point func(string)
	boxes map[string]*box
	// Faults.
	deployErr, waitErr error
	onWait             func(ctx context.Context) error
	stale              bool // restarts nothing and says that all went well
	forgetful          bool // starts containers with the values of the release before
	last               map[string]secret.Value
	configOnly         bool // processes cannot be read
	blind              bool // nor can the configuration
	unreachable        error
	wrapped            bool // pid 1 keeps older values than its child
	releases           int
	looked             func() // called when the containers are looked at
	began              func(b *box)
}

func (f *fleet) Describe() string { return "test fleet" }

func (f *fleet) Deploy(ctx context.Context, r providers.Release) (providers.Deployment, error) {
	f.point("before the deploy")
	f.mu.Lock()
	f.releases++
	id := fmt.Sprintf("d%d", f.releases)
	if f.deployErr != nil {
		defer f.mu.Unlock()
		return providers.Deployment{}, f.deployErr
	}
	values := maps.Clone(r.Values)
	if f.forgetful && f.last != nil {
		values = f.last
	}
	f.last = maps.Clone(r.Values)
	for _, s := range r.Services {
		old := f.boxes[s.Container]
		if f.stale && old != nil || old != nil && old.marker == r.Marker && old.state == "running" {
			continue
		}
		b := &box{
			service: s.Name, component: r.Component, environment: r.Environment, env: values,
			marker: r.Marker, started: f.now(), state: "running",
		}
		if f.wrapped && old != nil {
			b.wrapper = old.env
		}
		f.boxes[s.Container] = b
		if f.began != nil {
			f.began(b)
		}
	}
	f.mu.Unlock()
	f.point("after the deploy")
	return providers.Deployment{ID: id, Started: f.now()}, ctx.Err()
}

func (f *fleet) Wait(ctx context.Context, _ providers.Release, _ providers.Deployment) error {
	if f.onWait != nil {
		if err := f.onWait(ctx); err != nil {
			return err
		}
	}
	return f.waitErr
}

func (f *fleet) Containers(_ context.Context, q providers.ContainerQuery) ([]providers.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looked != nil {
		f.looked()
	}
	if f.unreachable != nil {
		return nil, f.unreachable
	}
	var out []providers.Container
	for _, name := range slices.Sorted(maps.Keys(f.boxes)) {
		b := f.boxes[name]
		if b.environment != q.Environment || q.Component != "" && b.component != q.Component {
			continue
		}
		c := providers.Container{
			ID: name, Name: name, Service: b.service, Component: b.component, State: b.state, Health: b.health, Started: b.started, PID: 1,
			Labels: map[string]string{providers.LabelProject: q.Project, providers.LabelEnvironment: b.environment, providers.LabelComponent: b.component, providers.LabelService: b.service, providers.LabelRelease: b.marker},
			Env:    maps.Clone(b.env),
		}
		if f.blind {
			c.Env = nil
		}
		out = append(out, c)
	}
	return out, nil
}

func (f *fleet) Processes(_ context.Context, c providers.Container) ([]providers.Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boxes[c.Name]
	child := providers.Process{PID: 1, Exe: "app", Started: b.started, Env: maps.Clone(b.env)}
	if f.configOnly {
		child.Env, child.Err = nil, fault.New(fault.Denied, "read the processes", "not permitted", "")
	}
	if b.wrapper == nil {
		return []providers.Process{child}, nil
	}
	child.PID, child.PPID = 2, 1
	return []providers.Process{{PID: 1, Exe: "wrapper", Started: b.started, Env: maps.Clone(b.wrapper)}, child}, nil
}

func (f *fleet) Logs(context.Context, providers.Container, providers.LogOptions, io.Writer) error {
	return nil
}

// lab is a world made of these parts.
type lab struct {
	*playbooks.World
	store *store
	fleet *fleet
	clock *clock
	eng   *plan.Engine
	app   *app
}

// newLab makes a project in dir, with values in every path named.
func newLab(dir, project string) (*lab, error) {
	for name, text := range map[string]string{config.FileName: project, "app.ctmpl": templateFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return openLab(dir)
}

// openLab makes a lab of the project files in dir, on an empty store.
func openLab(dir string) (*lab, error) {
	p, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		return nil, err
	}
	return labOf(p), nil
}

// labOf makes a lab of a project that was read already.
func labOf(p *config.Project) *lab {
	c := newClock()
	nothing := func(string) {}
	l := &lab{
		store: &store{Store: memory.New("tester", c.now), point: nothing},
		fleet: &fleet{now: c.now, boxes: map[string]*box{}, point: nothing},
		clock: c,
	}
	l.app = &app{lab: l}
	l.fleet.began = l.app.write
	l.World = l.on(p)
	l.eng = &plan.Engine{Dir: filepath.Join(p.Root, "state"), Root: p.Root, Version: "test", Now: c.now, Rand: &counter{seed: 9}, FS: &plantest.Disk{}}
	return l
}

// on wires a world of the lab's parts for a project.
func (l *lab) on(p *config.Project) *playbooks.World {
	return &playbooks.World{
		Project: p, User: &config.User{}, Dirs: config.Dirs{State: filepath.Join(p.Root, "machine")}, Getenv: func(string) string { return "" }, WorkDir: p.Root,
		Now: l.clock.now, Rand: &counter{}, Trusted: true,
		Store:   func(config.Environment) (providers.Store, error) { return l.store, nil },
		Runtime: func(config.Environment) (providers.Runtime, error) { return l.fleet, nil },
		Deployer: func(e config.Environment, _ string) (providers.Deployer, error) {
			if e.Deploy.Kind == config.DeployNone {
				return nil, nil //nolint:nilnil // no deployer is an answer
			}
			return l.fleet, nil
		},
		Ask: l.app.ask, Pause: func(_ context.Context, d time.Duration) { l.clock.move(d) }, Jobs: l.app,
		OperatorKey: func() (secret.Key, error) { return secret.NewKey([]byte("operator")), nil },
		PortBusy:    func(context.Context, int) (string, error) { return "", nil }, // whatever else this machine does
	}
}

func testLab(t *testing.T) *lab {
	t.Helper()
	l, err := newLab(t.TempDir(), projectFile)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) target(env string) playbooks.Target {
	e, err := l.Project.Environment(env)
	if err != nil {
		panic(err)
	}
	return playbooks.Target{Environment: e, Component: "app"}
}

func (l *lab) path(env string) naming.Path { return l.Path(l.target(env)) }

// start gives an environment values and runs its containers on them.
func (l *lab) start(env string, kv ...string) error {
	patch := providers.Patch{}
	for i := 0; i+1 < len(kv); i += 2 {
		patch[kv[i]] = secret.New(kv[i+1])
	}
	if _, err := l.store.Store.Write(context.Background(), l.path(env), providers.Absent, patch); err != nil {
		return err
	}
	if l.target(env).Environment.Deploy.Kind == config.DeployNone {
		return nil
	}
	point := l.fleet.point
	l.fleet.point = func(string) {}
	defer func() { l.fleet.point = point }()
	return l.release(env)
}

// release deploys an environment past all playbooks.
func (l *lab) release(env string) error {
	ctx := context.Background()
	r, err := l.Render(ctx, l.store, l.target(env), nil)
	if err != nil {
		return err
	}
	rules, err := l.Rules()
	if err != nil {
		return err
	}
	_, err = l.fleet.Deploy(ctx, providers.Release{
		Project: "ledger", Environment: env, Component: "app", Values: r.Variables, Marker: r.Marker,
		Services: []providers.Service{{Name: "backend", Container: rules.Container(env, "backend")}},
	})
	return err
}

func (l *lab) box(env string) *box {
	rules, _ := l.Rules()
	return l.fleet.boxes[rules.Container(env, "backend")]
}

// values reads the newest version of an environment's path.
func (l *lab) values(env string) map[string]string {
	b, err := l.store.Store.Read(context.Background(), l.path(env), providers.Latest)
	if err != nil {
		return nil
	}
	return clear(b.Values)
}

func (l *lab) version(env string) int {
	h, err := l.store.History(context.Background(), l.path(env))
	if err != nil {
		return 0
	}
	return int(h[len(h)-1].Version)
}

// write writes past all playbooks: the other operator.
func (l *lab) write(env string, kv ...string) {
	patch := providers.Patch{}
	for i := 0; i+1 < len(kv); i += 2 {
		patch[kv[i]] = secret.New(kv[i+1])
	}
	base := providers.Version(l.version(env))
	if _, err := l.store.Store.Write(context.Background(), l.path(env), base, patch); err != nil {
		panic(err)
	}
}

// seed makes a path past all playbooks.
func (l *lab) seed(p naming.Path, kv ...string) {
	patch := providers.Patch{}
	for i := 0; i+1 < len(kv); i += 2 {
		patch[kv[i]] = secret.New(kv[i+1])
	}
	if _, err := l.store.Store.Write(context.Background(), p, providers.Absent, patch); err != nil {
		panic(err)
	}
}

func writeFile(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

func clear(m map[string]secret.Value) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v.Reveal()
	}
	return out
}

// running is what the environment's process holds.
func (l *lab) running(env string) map[string]string {
	if b := l.box(env); b != nil {
		return clear(b.env)
	}
	return nil
}

func (l *lab) rotation(name string) playbooks.Rotation {
	_, r, err := l.FindRotation(name, "app")
	if err != nil {
		panic(err)
	}
	return r
}

func (l *lab) rotate(env, name string) (plan.Result, error) {
	p, err := l.Rotate(context.Background(), l.target(env), l.rotation(name))
	if err != nil {
		return plan.Result{}, err
	}
	return l.eng.Run(context.Background(), p)
}

func (l *lab) set(env string, deploy bool, kv ...string) (plan.Result, error) {
	patch := providers.Patch{}
	for i := 0; i+1 < len(kv); i += 2 {
		patch[kv[i]] = secret.New(kv[i+1])
	}
	p, err := l.Set(context.Background(), l.target(env), "set", patch, deploy)
	if err != nil {
		return plan.Result{}, err
	}
	return l.eng.Run(context.Background(), p)
}

func (l *lab) rebuild(h plan.Header) (*plan.Plan, error) {
	return l.Rebuild(context.Background(), h)
}

func (l *lab) undo(id string) (plan.Result, error) {
	return l.eng.Undo(context.Background(), id, l.rebuild)
}

func (l *lab) resume(id string) (plan.Result, error) {
	return l.eng.Resume(context.Background(), id, l.rebuild)
}

// receipt returns the receipt of a finished step.
func receipt(r plan.Result, step string) plan.Receipt {
	for _, s := range r.Record.Steps {
		if s.ID == step && s.State == plan.StepDone {
			return s.Receipt
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Fatalf("kind %v, want %v: %v", fault.KindOf(err), k, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error()+" | "+fault.HintOf(err), w) {
			t.Fatalf("does not say %q: %v | %s", w, err, fault.HintOf(err))
		}
	}
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Fatalf("%s holds %v, want %v", what, got, want)
	}
}
