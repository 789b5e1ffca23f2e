package compose

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

var ( // a deployment and what was there before and came after
	deployed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	earlier  = deployed.Add(-time.Hour)
	later    = deployed.Add(time.Second)
)

func container(change func(*providers.Container)) providers.Container {
	c := providers.Container{ID: "1", Name: "web-1", Service: "web", State: "running", Created: later, Started: later, Labels: map[string]string{providers.LabelRelease: "2"}}
	if change != nil {
		change(&c)
	}
	return c
}

func TestJudge(t *testing.T) {
	t.Parallel()
	healthy := func(c *providers.Container) { c.Health = "healthy" }
	set := func(f func(*providers.Container)) []providers.Container {
		return []providers.Container{container(healthy), container(func(c *providers.Container) { c.ID, c.Name = "2", "web-2"; healthy(c); f(c) })}
	}
	for _, c := range []struct {
		name  string
		cs    []providers.Container
		state state
		words string
	}{
		{"all healthy", set(healthy), up, "runs the new release"},
		{"nothing", nil, failed, "is gone"},
		{"another service's", set(func(c *providers.Container) { c.Service = "x"; c.State = "exited" }), up, "runs the new release"},
		{"one starting", set(func(c *providers.Container) { c.Health = "starting" }), waiting, "web-2 is not healthy yet"},
		{"one unhealthy", set(func(c *providers.Container) { c.Health = "unhealthy" }), failed, "is unhealthy"},
		{"one restarting", set(func(c *providers.Container) { c.State, c.ExitCode, c.Restarts = "restarting", 3, 1 }), failed, "crash-looping: web-2 exited with 3, restarted 1 times"},
		{"one restarted and up again", set(func(c *providers.Container) { c.Restarts = 1 }), failed, "crash-looping"},
		{"one that restarted before this deployment", set(func(c *providers.Container) { c.Created, c.Restarts = earlier, 5 }), up, "runs the new release"},
		{"one exited well", set(func(c *providers.Container) { c.State = "exited" }), failed, "exited with 0"},
		{"one dead", set(func(c *providers.Container) { c.State = "dead" }), failed, "not running"},
		{"one paused", set(func(c *providers.Container) { c.State = "paused" }), failed, "web-2 is paused"},
		{"one created", set(func(c *providers.Container) { c.State = "created" }), waiting, "web-2 is created"},
		{"one just running", set(func(c *providers.Container) { c.Health = "" }), waiting, "less than a second"},
		{"one that has run for long", set(func(c *providers.Container) { c.Health, c.Created = "", earlier }), up, "runs the new release"},
		{"one of an older release", set(func(c *providers.Container) { c.Labels = map[string]string{providers.LabelRelease: "1"} }), failed, "older release in web-2"},
		{"one without a release", set(func(c *providers.Container) { c.Labels = nil }), failed, "older release in web-2"},
		{"an older one that has stopped", set(func(c *providers.Container) { c.Labels, c.State = nil, "exited" }), up, "runs the new release"},
	} {
		got := judge(providers.Release{Marker: "2", Services: []providers.Service{{Name: "web"}}}, providers.Deployment{Started: deployed}, c.cs, map[string]run{})
		if len(got) != 1 || got[0].state != c.state || !strings.Contains(got.String(), c.words) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// engine plays the looks that a wait takes, the last one for ever.
type engine struct {
	looks [][]providers.Container
	err   error
	n     int
}

func (e *engine) Containers(context.Context, providers.ContainerQuery) ([]providers.Container, error) {
	now := e.looks[min(e.n, len(e.looks)-1)]
	e.n++
	return now, e.err
}

func (*engine) Clock(context.Context) (time.Time, error) { return deployed, nil }

func TestWaitOverTime(t *testing.T) {
	t.Parallel()
	look := func(change func(*providers.Container)) []providers.Container {
		return []providers.Container{container(change)}
	}
	plain := look(nil)
	old := look(func(c *providers.Container) { c.Created, c.Restarts, c.Health = earlier, 5, "starting" })
	for _, c := range []struct {
		name  string
		e     engine
		kind  fault.Kind
		words string
	}{
		{"runs, then ends", engine{looks: [][]providers.Container{plain, plain, plain, look(func(c *providers.Container) { c.State, c.ExitCode = "exited", 1 })}}, fault.No, "exited with 1"},
		{"an old one that begins to restart", engine{looks: [][]providers.Container{old, look(func(c *providers.Container) { c.Created, c.Restarts = earlier, 6 })}}, fault.No, "crash-looping"},
		{"gone", engine{looks: [][]providers.Container{plain, nil}}, fault.No, "is gone"},
		{"slow", engine{looks: [][]providers.Container{look(func(c *providers.Container) { c.Health = "starting" })}}, fault.Unavailable, "not up in time: web is starting"},
		{"no engine", engine{looks: [][]providers.Container{nil}, err: fault.New(fault.Denied, "x", "not allowed", "y")}, fault.Denied, "not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, err := New(Config{File: "/compose.yaml", Engine: &c.e})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			r := providers.Release{Project: "p", Environment: "e", Component: "c", Marker: "2", Services: []providers.Service{{Name: "web"}}}
			err = d.Wait(ctx, r, providers.Deployment{Started: deployed})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || fault.HintOf(err) == "" {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
		})
	}
	d, err := New(Config{File: "/compose.yaml", Engine: &engine{looks: [][]providers.Container{plain}}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := providers.Release{Project: "p", Environment: "e", Component: "c", Marker: "2", Services: []providers.Service{{Name: "web"}}}
	if err := d.Wait(t.Context(), r, providers.Deployment{Started: deployed}); err != nil || time.Since(began) < time.Second {
		t.Error("without a health check:", err, time.Since(began))
	}
}

// talking is an engine whose containers have said something.
type talking struct {
	engine
	says string
}

func (e *talking) Logs(_ context.Context, c providers.Container, o providers.LogOptions, w io.Writer) error {
	if o.Follow || o.Tail < 1 {
		return fmt.Errorf("asked for all of %s", c.Name)
	}
	_, err := io.WriteString(w, e.says)
	return err
}

// A roll back removes the log of what did not come up: the message keeps its end,
// without any value that the container was given.
func TestLastWords(t *testing.T) {
	t.Parallel()
	bad := container(func(c *providers.Container) {
		c.State, c.ExitCode = "exited", 3
		c.Env = map[string]secret.Value{"OTHER_TOKEN": secret.New("of-the-compose-file"), "PATH": secret.New("/usr/local/bin")}
	})
	d, err := New(Config{File: "/compose.yaml", Engine: &talking{
		engine: engine{looks: [][]providers.Container{{bad}}},
		says:   "starting in /usr/local\n\nno port in hunter2hunter2\x1b[2J\nnor in of-the-compose-file\n",
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := providers.Release{
		Project: "p", Environment: "e", Component: "c", Marker: "2", Services: []providers.Service{{Name: "web"}},
		Values: map[string]secret.Value{"SECRET_KEY": secret.New("hunter2hunter2")},
	}
	err = d.Wait(t.Context(), r, providers.Deployment{Started: deployed})
	want := "web is not running: web-1 exited with 3; it said: starting in /usr/local; no port in [secret] [2J; nor in [secret]"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
