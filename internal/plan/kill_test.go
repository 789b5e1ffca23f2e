package plan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// The test binary is also the process that is killed: CHILD names the state
// folder, CHILD_POINT where it dies, CHILD_HOLD that it waits in its first step,
// CHILD_STARTS that its deployment is a program that outlives it.
func childMain() {
	dir := os.Getenv("CHILD")
	if dir == "" {
		return
	}
	die := -1
	if at := os.Getenv("CHILD_POINT"); at != "" {
		die, _ = strconv.Atoi(at)
	}
	f := &fileWorld{dir: dir, killer: &killer{FS: plan.OS{}, at: die}}
	p := f.plan()
	if os.Getenv("CHILD_HOLD") != "" {
		p.Steps[0].Do = func(context.Context, *plan.Page) (plan.Receipt, error) {
			fmt.Println("held")
			time.Sleep(time.Minute)
			return nil, errors.New("nobody killed it")
		}
	}
	if os.Getenv("CHILD_STARTS") != "" {
		p.Steps[3].Do = outlive
	}
	_, err := f.engine().Run(context.Background(), p)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("points", f.killer.n)
	os.Exit(0)
}

// killer kills this process for real, at its operation number at: operations
// come as a half and a whole, so that a write can be torn.
type killer struct {
	plan.FS
	at, n int
}

func (k *killer) point() {
	if k.n == k.at {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {}
	}
	k.n++
}

func (k *killer) Open(path string, m plan.Mode) (plan.File, error) {
	k.point()
	f, err := k.FS.Open(path, m)
	return killerFile{f, k}, err
}

func (k *killer) SyncDir(dir string) error {
	k.point()
	return k.FS.SyncDir(dir)
}

type killerFile struct {
	plan.File
	k *killer
}

func (f killerFile) Write(b []byte) (int, error) {
	f.k.point()
	n, err := f.File.Write(b[:len(b)/2])
	if err != nil {
		return n, err
	}
	f.k.point()
	m, err := f.File.Write(b[len(b)/2:])
	return n + m, err
}

func (f killerFile) Sync() error {
	f.k.point()
	defer f.k.point()
	return f.File.Sync()
}

// fileWorld is the test world in a file, so that it outlives its process.
type fileWorld struct {
	dir    string
	killer *killer
}

func (f *fileWorld) engine() *plan.Engine {
	return &plan.Engine{Dir: filepath.Join(f.dir, "envctl"), Now: time.Now, Rand: &seq{}, FS: f.killer}
}

type saved struct {
	Versions, Roles []string
	Running         string
}

func (f *fileWorld) load() *world {
	w := newWorld(nil)
	if b, err := os.ReadFile(filepath.Join(f.dir, "world")); err == nil {
		var s saved
		if err := json.Unmarshal(b, &s); err != nil {
			panic(err)
		}
		w.versions, w.roles, w.running = s.Versions, s.Roles, s.Running
	}
	return w
}

func (f *fileWorld) save(w *world) {
	f.killer.point()
	b, _ := json.Marshal(saved{w.versions, w.roles, w.running})
	tmp := filepath.Join(f.dir, "world.tmp")
	if err := errors.Join(os.WriteFile(tmp, b, 0o600), os.Rename(tmp, filepath.Join(f.dir, "world"))); err != nil {
		panic(err)
	}
	f.killer.point()
}

// plan is the test playbook with every effect saved at once.
func (f *fileWorld) plan() *plan.Plan { p, _ := f.build(plan.Header{}); return p }

func (f *fileWorld) build(h plan.Header) (*plan.Plan, error) {
	w := f.load()
	w.saved = func() { f.save(w) }
	return w.plan(h)
}

func child(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(append(os.Environ(), "CHILD="+dir), env...)
	return cmd
}

// A process that is really killed, at every operation on its journal, in the
// middle of every record, and around every effect.
func TestKillNine(t *testing.T) {
	t.Parallel()
	out, err := child(t, t.TempDir()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	points, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(out), "points")))
	if err != nil || points < 40 {
		t.Fatalf("%q: %v", out, err)
	}
	for at := range points {
		for _, verb := range []string{"resume", "undo"} {
			dir := t.TempDir()
			var dead *exec.ExitError
			if out, err := child(t, dir, "CHILD_POINT="+strconv.Itoa(at)).CombinedOutput(); !errors.As(err, &dead) || dead.ExitCode() != -1 {
				t.Fatalf("point %d: not killed: %v %s", at, err, out)
			}
			f := &fileWorld{dir: dir, killer: &killer{FS: plan.OS{}, at: -1}}
			if err := settle(f, verb); err != nil {
				t.Errorf("killed at point %d of %d, then %s: %v", at, points, verb, err)
			}
		}
	}
}

func settle(f *fileWorld, verb string) error {
	e := f.engine()
	all, err := e.List()
	if err != nil || len(all) > 1 {
		return fmt.Errorf("%d runs: %w", len(all), err)
	}
	if len(all) == 0 {
		return f.load().undone()
	}
	do, holds := e.Resume, (*world).done
	if verb == "undo" {
		do, holds = e.Undo, (*world).undone
	}
	for i := range 2 {
		res, err := do(context.Background(), all[0].ID, f.build)
		if ended := i == 1 || (verb == "resume" && all[0].State == plan.Done); err != nil || res.Already != ended {
			return fmt.Errorf("time %d: %+v: %w", i, res.Record, err)
		}
		if err := holds(f.load()); err != nil {
			return err
		}
	}
	return nil
}

// Two processes: a target and a run belong to one at a time, and to nobody
// once that one is dead.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := child(t, dir, "CHILD_HOLD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	f := &fileWorld{dir: dir, killer: &killer{FS: plan.OS{}, at: -1}}
	e := f.engine()
	all, err := e.List()
	if err != nil || len(all) != 1 || all[0].State != plan.Running || all[0].PID != cmd.Process.Pid {
		t.Fatalf("%+v, %v", all, err)
	}
	id := all[0].ID
	p := f.plan()
	for name, component := range map[string]string{"the same component": "app", "the whole environment": ""} {
		p.Component = component
		_, err := e.Run(t.Context(), p)
		wantKind(t, err, fault.Conflict)
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v does not name %s", name, err, id)
		}
	}
	_, err = e.Resume(t.Context(), id, f.build)
	wantKind(t, err, fault.Conflict)
	_, err = e.Undo(t.Context(), id, f.build)
	wantKind(t, err, fault.Conflict)
	p.Component = "redis"
	if _, err := e.Run(t.Context(), p); err != nil {
		t.Errorf("another component: %v", err)
	}

	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if r, err := e.Load(id); err != nil || r.State != plan.Partial {
		t.Errorf("after its death: %+v, %v", r, err)
	}
	if res, err := e.Undo(t.Context(), id, f.build); err != nil || res.Record.State != plan.Undone {
		t.Errorf("%+v, %v", res, err)
	}
}
