//go:build unix

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
)

func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }

func engine(t *testing.T, d *realtest.Docker) *Engine {
	t.Helper()
	e, err := New(Config{Host: d.Host()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// start runs a container with this test's own project as its label, and more.
func start(t *testing.T, d *realtest.Docker, project, name string, args ...string) string {
	t.Helper()
	d.Cleanup(t, "test="+project)
	return d.Run(t, append([]string{"run", "-d", "--network=none", "--name=" + name, "--label=test=" + project}, args...)...)
}

func labels(project, environment, component, service string) []string {
	return []string{
		"--label=envctl.project=" + project, "--label=envctl.environment=" + environment,
		"--label=envctl.component=" + component, "--label=envctl.service=" + service,
	}
}

func only(t *testing.T, e *Engine, q providers.ContainerQuery) providers.Container {
	t.Helper()
	cs, err := e.Containers(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(cs) != 1 {
		t.Fatalf("%d containers for %+v", len(cs), q)
	}
	return cs[0]
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 400 {
		if ok() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("waited in vain until", what)
}

// value is what v holds, for comparisons in tests.
func value(v secret.Value) string {
	if !v.IsSet() {
		return "(unset)"
	}
	return v.Reveal()
}

func TestWhichContainersAreEvidence(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "evidence"
	start(t, d, p, "evidence-backend", append(labels(p, "production", "app", "backend"), realtest.Image)...)
	start(t, d, p, "evidence-postgres", append(labels(p, "production", "postgres", "postgres"), realtest.Image)...)
	start(t, d, p, "evidence-backend-staging", append(labels(p, "staging", "app", "backend"), realtest.Image)...)
	start(t, d, p, "evidence-laptop", realtest.Image) // a name alone
	start(t, d, p, "evidence-laptop-2", realtest.Image)
	start(t, d, p, "evidence-half", "--label=envctl.project="+p, realtest.Image)
	start(t, d, p, "evidence-other", append(labels("other", "production", "app", "backend"), realtest.Image)...)
	d.Run(t, "stop", "-t0", "evidence-postgres")

	all := []string{"evidence-backend", "evidence-backend-staging", "evidence-half", "evidence-laptop", "evidence-other", "laptop"}
	for _, c := range []struct {
		name string
		q    providers.ContainerQuery
		want string
	}{
		{"labels", providers.ContainerQuery{Project: p, Environment: "production"}, "evidence-backend evidence-postgres"},
		{"component", providers.ContainerQuery{Project: p, Environment: "production", Component: "app"}, "evidence-backend"},
		{"another environment", providers.ContainerQuery{Project: p, Environment: "staging"}, "evidence-backend-staging"},
		{"nothing", providers.ContainerQuery{Project: p, Environment: "qa"}, ""},
		{"names without a bound endpoint", providers.ContainerQuery{Project: p, Environment: "qa", Names: all}, ""},
		// A bound endpoint makes a bare name evidence, never one whose labels contradict.
		{"bound", providers.ContainerQuery{Project: p, Environment: "production", Component: "app", Bound: true, Names: all}, "evidence-backend evidence-half evidence-laptop"},
		{"bound to another", providers.ContainerQuery{Project: p, Environment: "qa", Bound: true, Names: all}, "evidence-half evidence-laptop"},
		{"bound without names", providers.ContainerQuery{Project: p, Environment: "production", Bound: true}, "evidence-backend evidence-postgres"},
	} {
		cs, err := e.Containers(t.Context(), c.q)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, c := range cs {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if _, err := e.Containers(t.Context(), providers.ContainerQuery{Project: p}); err == nil {
		t.Error("a query without an environment was answered")
	}
}

func TestWhatTheEngineSays(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "states"
	if err := d.Import("envctl-test:unhealthy", map[string]string{"/testimage": program(t)},
		`ENTRYPOINT ["/testimage"]`, `HEALTHCHECK --interval=100ms --retries=2 CMD ["/testimage","health"]`); err != nil {
		t.Fatal(err)
	}
	before, err := e.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := start(t, d, p, "states-a", append(labels(p, "a", "app", "web"), "-e", "A=1", "-e", "EMPTY=", "envctl-test:unhealthy", "serve", "never")...)
	start(t, d, p, "states-b", append(labels(p, "b", "app", "web"), "envctl-test:unhealthy", "serve")...)
	start(t, d, p, "states-c", append(labels(p, "c", "app", "web"), "--restart=always", realtest.Image, "crash", "0s", "3")...)
	start(t, d, p, "states-d", append(labels(p, "d", "app", "web"), realtest.Image, "crash", "0s", "7")...)

	a := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	if a.ID != id || a.Name != "states-a" || a.Service != "web" || a.Component != "app" || a.Image != "envctl-test:unhealthy" ||
		a.State != "running" || a.PID == 0 || a.Created.Before(before) || a.Started.Before(a.Created) {
		t.Errorf("%+v", a)
	}
	if value(a.Env["A"]) != "1" || value(a.Env["EMPTY"]) != "" || a.Env["B"].IsSet() {
		t.Errorf("configured environment: %v", a.Env)
	}
	state := func(env string) providers.Container {
		return only(t, e, providers.ContainerQuery{Project: p, Environment: env})
	}
	until(t, "unhealthy", func() bool { return state("a").Health == "unhealthy" })
	until(t, "healthy", func() bool { return state("b").Health == "healthy" })
	until(t, "crash-looping", func() bool { c := state("c"); return c.Restarts > 1 && c.ExitCode == 3 })
	until(t, "exited", func() bool { c := state("d"); return c.State == "exited" && c.ExitCode == 7 })
	if ps, err := e.Processes(t.Context(), state("d")); err != nil || len(ps) != 0 {
		t.Errorf("an exited container has processes: %v %v", ps, err)
	}
	d.Run(t, "rm", "-f", "states-a")
	if ps, err := e.Processes(t.Context(), a); err != nil && !fault.Is(err, fault.NotFound) {
		t.Errorf("a container that is gone: %v %v", ps, err)
	} else {
		for _, p := range ps {
			if p.Err == nil {
				t.Errorf("a container that is gone has a process: %+v", p)
			}
		}
	}
	if err := e.Logs(t.Context(), a, providers.LogOptions{}, io.Discard); !fault.Is(err, fault.NotFound) {
		t.Errorf("logs of a container that is gone: %v", err)
	}
}

func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "testimage")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "envctl/internal/realtest/testimage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// A wrapper at pid 1 holds an older value than the child that does the work.
func TestProcessesHaveTheirOwnValues(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "wrapper"
	start(t, d, p, "wrapper-a", append(labels(p, "a", "app", "web"), "-e", "KEY=old", "-e", "SAME=s", realtest.Image, "wrapper", "KEY=new", "EXTRA=x", "--", "serve")...)
	c := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	var ps []providers.Process
	until(t, "two processes", func() bool {
		var err error
		if ps, err = e.Processes(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return len(ps) == 2 && ps[1].Exe == "testimage"
	})
	for i, want := range []map[string]string{{"KEY": "old", "SAME": "s"}, {"KEY": "new", "SAME": "s", "EXTRA": "x"}} {
		got := ps[i]
		if got.Err != nil || got.Exe != "testimage" {
			t.Errorf("process %d: %+v", i, got)
		}
		for _, name := range []string{"KEY", "SAME", "EXTRA"} {
			w, ok := want[name]
			if got.Env[name].IsSet() != ok || got.Env[name].Reveal() != w {
				t.Errorf("process %d: %s is %q, want %q", i, name, value(got.Env[name]), w)
			}
		}
		if late := got.Started.Sub(c.Started); late < -time.Second || late > 5*time.Second {
			t.Errorf("process %d started %s after its container", i, late)
		}
	}
	if ps[1].PPID != ps[0].PID {
		t.Errorf("the child's parent is %d, not %d", ps[1].PPID, ps[0].PID)
	}
	if ps[0].PID != c.PID {
		t.Errorf("pid %d, the engine says %d", ps[0].PID, c.PID)
	}
	if value(c.Env["KEY"]) != "old" || c.Env["EXTRA"].IsSet() {
		t.Error("the configuration must be what the engine was told")
	}
	if text := fmt.Sprintf("%+v %#v %v", ps, c, c.Env); strings.Contains(text, "old") || strings.Contains(text, "new") {
		t.Error("a value was printed:", text)
	}
	d.Run(t, "pause", "wrapper-a")
	paused, err := e.Processes(t.Context(), c)
	d.Run(t, "unpause", "wrapper-a")
	if err != nil || len(paused) != 2 || paused[1].Err != nil || value(paused[1].Env["KEY"]) != "new" {
		t.Errorf("paused: %v %v", paused, err)
	}
}

// setproctitle leaves rubbish where the environment was: that proves nothing.
func TestOverwrittenEnvironmentIsNoEvidence(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "retitle"
	start(t, d, p, "retitle-a", append(labels(p, "a", "app", "web"), "-e", "KEY=value", realtest.Image, "retitle", "serve")...)
	c := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	until(t, "the title is written", func() bool {
		ps, err := e.Processes(t.Context(), c)
		if err != nil || len(ps) != 1 {
			t.Fatal(ps, err)
		}
		return ps[0].Env == nil && ps[0].Err != nil && strings.Contains(ps[0].Err.Error(), "configuration only")
	})
}

// Health checks and execs begin as the engine's own runtime: never a process of the container.
func TestEngineHelpersAreNotEvidence(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "helpers"
	start(t, d, p, "helpers-a", append(labels(p, "a", "app", "web"), "-e", "KEY=value", realtest.Image)...)
	c := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				cmd := exec.Command("docker", "exec", "helpers-a", "/testimage", "health")
				cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"))
				_ = cmd.Run()
			}
		}
	}()
	for began := time.Now(); time.Since(began) < 2*time.Second; {
		ps, err := e.Processes(t.Context(), c)
		if err != nil {
			t.Error(err)
			break
		}
		for _, p := range ps {
			if p.Err != nil || value(p.Env["KEY"]) != "value" {
				t.Errorf("%s: %v, KEY is %s", p.Exe, p.Err, value(p.Env["KEY"]))
			}
		}
	}
	close(stop)
	<-done
}

func TestLogs(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	const p = "logs"
	start(t, d, p, "logs-a", append(labels(p, "a", "app", "web"), realtest.Image, "say", "one", "two\x1b[31m", "three")...)
	start(t, d, p, "logs-b", append(labels(p, "b", "app", "web"), "-t", realtest.Image, "say", "one", "two")...)
	a := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	b := only(t, e, providers.ContainerQuery{Project: p, Environment: "b"})
	read := func(c providers.Container, o providers.LogOptions) string {
		var out bytes.Buffer
		if err := e.Logs(t.Context(), c, o, &out); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	until(t, "all is said", func() bool { return strings.Contains(read(a, providers.LogOptions{}), "healthy") })
	until(t, "all is said", func() bool { return strings.Contains(read(b, providers.LogOptions{}), "healthy") })
	all := read(a, providers.LogOptions{})
	for _, line := range []string{"one\n", "err one\n", "two\x1b[31m\n", "err three\n"} {
		if !strings.Contains(all, line) {
			t.Errorf("%q lacks %q", all, line)
		}
	}
	if n := strings.Count(all, "\n"); n != 7 {
		t.Errorf("%d lines: %q", n, all)
	}
	if got := read(a, providers.LogOptions{Tail: 2}); strings.Count(got, "\n") != 2 {
		t.Errorf("tail: %q", got)
	}
	if got := read(b, providers.LogOptions{}); !strings.Contains(got, "one\r\nerr one\r\n") {
		t.Errorf("terminal: %q", got)
	}
	now, err := e.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := read(a, providers.LogOptions{Since: now}); got != "" {
		t.Errorf("since now: %q", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	follow := make(chan error)
	out := &tail{}
	go func() { follow <- e.Logs(ctx, a, providers.LogOptions{Follow: true, Tail: 1}, out) }()
	until(t, "the last line", func() bool { return strings.Contains(out.String(), "\n") })
	select {
	case err := <-follow:
		t.Error("did not follow:", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	if err := <-follow; !fault.Is(err, fault.Interrupted) {
		t.Error("cancelled:", err)
	}
	go func() { follow <- e.Logs(t.Context(), a, providers.LogOptions{Follow: true}, io.Discard) }()
	d.Run(t, "stop", "-t1", "logs-a")
	if err := <-follow; err != nil {
		t.Error("the end of a followed container:", err)
	}
	broken := errors.New("broken pipe")
	if err := e.Logs(t.Context(), a, providers.LogOptions{}, brokenWriter{broken}); !errors.Is(err, broken) {
		t.Error("a writer's error:", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// An engine that stands still or dies ends every question in time.
func TestEngineStopsAnswering(t *testing.T) {
	t.Parallel()
	d := realtest.StartDockerd(t)
	e, err := New(Config{Host: d.Host(), Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	const p = "stopped"
	d.Run(t, append(append([]string{"run", "-d", "--network=none", "--name=stopped-a"}, labels(p, "a", "app", "web")...), realtest.Image)...)
	q := providers.ContainerQuery{Project: p, Environment: "a"}
	c := only(t, e, q)
	following := make(chan error, 1)
	go func() { following <- e.Logs(t.Context(), c, providers.LogOptions{Follow: true}, io.Discard) }()
	asks := func(state string) {
		for name, ask := range map[string]func(context.Context) error{
			"containers": func(ctx context.Context) error { _, err := e.Containers(ctx, q); return err },
			"clock":      func(ctx context.Context) error { _, err := e.Clock(ctx); return err },
			"logs":       func(ctx context.Context) error { return e.Logs(ctx, c, providers.LogOptions{}, io.Discard) },
		} {
			began := time.Now()
			err := ask(t.Context())
			if !fault.Is(err, fault.Unavailable) || fault.HintOf(err) == "" || !strings.Contains(err.Error(), d.Socket) {
				t.Errorf("%s, %s: %v", state, name, err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s, %s: took %s", state, name, took)
			}
		}
	}
	time.Sleep(100 * time.Millisecond)
	d.Pause(t)
	asks("paused")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Containers(ctx, q); !fault.Is(err, fault.Unavailable) {
		t.Error("paused, the caller's deadline:", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := e.Containers(gone, q); !fault.Is(err, fault.Interrupted) {
		t.Error("paused, cancelled:", err)
	}
	d.Resume(t)
	only(t, e, q)
	d.Kill(t)
	if err := <-following; !fault.Is(err, fault.Unavailable) {
		t.Error("killed while following:", err)
	}
	asks("killed")
	// The container goes on, and its processes can still be seen.
	if ps, err := e.Processes(t.Context(), c); err != nil || len(ps) != 1 || ps[0].Err != nil {
		t.Error("killed, processes:", ps, err)
	}
}
