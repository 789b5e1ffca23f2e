package rollout

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	r := providers.Release{
		Project: "ledger", Environment: "staging", Component: "postgres",
		Services: []providers.Service{{Name: "postgres", Container: "ledger-postgres-staging"}},
		Values: map[string]secret.Value{
			"DATABASE_URL": secret.New("postgres://ledger:hunter2hunter2@db/ledger"), "PIN": secret.New("4711"),
			"ENVIRONMENT": secret.New("staging"), "EMPTY": secret.New(""), "A": secret.New("x"),
		},
	}
	for in, want := range map[string]string{
		"service postgres of ledger-postgres-staging has no DATABASE_URL": "service postgres of ledger-postgres-staging has no DATABASE_URL",
		"invalid port: hunter2hunter2@db":                                 "invalid port: [secret]",
		"invalid port: unter2":                                            "invalid port: [secret]",
		"pin 4711 in staging x":                                           "pin [secret] in staging x",
		"theirs is foreign-value":                                         "theirs is [secret]",
		"a\x1b[31m\tb\nc\u009b":                                           "a [31m b c ",
		"":                                                                "",
	} {
		if got := Redact(in, r, secret.New("foreign-value")); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Redact(strings.Repeat("é", 5000)+" end", r); len(got) > 700 || !strings.HasSuffix(got, " end") || !utf8.ValidString(got) {
		t.Errorf("long text: %d bytes", len(got))
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a\n\nb\n ║  ║ \nc\n": "b; c", "one": "one"} {
		if got := LastLines(in, 2); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	good := func() providers.Release {
		return providers.Release{Project: "p", Environment: "e", Component: "c", Marker: "1", Services: []providers.Service{{Name: "web"}}, Values: map[string]secret.Value{"A_1": secret.New("")}}
	}
	if err := Check(good()); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*providers.Release){
		"project": func(r *providers.Release) { r.Project = "../x" }, "no service": func(r *providers.Release) { r.Services = nil },
		"service": func(r *providers.Release) { r.Services = []providers.Service{{Name: "-web"}} },
		"name":    func(r *providers.Release) { r.Values["A-B"] = secret.New("") }, "digit": func(r *providers.Release) { r.Values["1A"] = secret.New("") },
		"empty name": func(r *providers.Release) { r.Values[""] = secret.New("") }, "NUL": func(r *providers.Release) { r.Values["A"] = secret.New("\x00") },
		"bytes": func(r *providers.Release) { r.Values["A"] = secret.New("\xff") }, "long": func(r *providers.Release) { r.Values["A"] = secret.New(strings.Repeat("x", maxEntry-1)) },
	} {
		r := good()
		change(&r)
		if err := Check(r); !fault.Is(err, fault.Invalid) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, marker := range []string{"", "a b", "a\nb", "é"} {
		r := good()
		r.Marker = marker
		if err := Check(r); !fault.Is(err, fault.Internal) {
			t.Errorf("marker %q: %v", marker, err)
		}
	}
	r := good()
	r.Values["A"] = secret.New(strings.Repeat("x", maxEntry-2))
	if err := Check(r); err != nil {
		t.Error("the longest value:", err)
	}
}

var since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestWait(t *testing.T) {
	t.Parallel()
	c := func(change func(*providers.Container)) []providers.Container {
		one := providers.Container{ID: "1", Name: "web-1", Service: "web", State: "running", Created: since.Add(time.Second), Started: since.Add(time.Second)}
		change(&one)
		return []providers.Container{one}
	}
	plain := c(func(*providers.Container) {})
	for _, test := range []struct {
		name  string
		looks [][]providers.Container // the last one for ever
		kind  fault.Kind              // Internal: up
		words string
	}{
		{"healthy", [][]providers.Container{c(func(c *providers.Container) { c.Health = "healthy" })}, fault.Internal, ""},
		{"known by its container's name", [][]providers.Container{c(func(c *providers.Container) { c.Health, c.Service, c.Name = "healthy", "x", "the-web" })}, fault.Internal, ""},
		{"an unknown release", [][]providers.Container{c(func(c *providers.Container) { c.Health = "healthy"; c.Labels = map[string]string{"a": "b"} })}, fault.Internal, ""},
		{"the release by variable", [][]providers.Container{c(func(c *providers.Container) {
			c.Health, c.Env = "healthy", map[string]secret.Value{providers.MarkerVariable: secret.New("2")}
		})}, fault.Internal, ""},
		{"an older one by variable", [][]providers.Container{c(func(c *providers.Container) {
			c.Health, c.Env = "healthy", map[string]secret.Value{providers.MarkerVariable: secret.New("1")}
		})}, fault.No, "older release in web-1"},
		{"an older one by label", [][]providers.Container{c(func(c *providers.Container) {
			c.Health, c.Labels = "healthy", map[string]string{providers.LabelRelease: "1"}
		})}, fault.No, "older release"},
		{"an older one that has stopped", [][]providers.Container{c(func(c *providers.Container) {
			c.State, c.Labels = "exited", map[string]string{providers.LabelRelease: "1"}
		})}, fault.No, "is gone"},
		{"left as it was", [][]providers.Container{c(func(c *providers.Container) { c.Created, c.Restarts = since.Add(-time.Hour), 5 })}, fault.Internal, ""},
		{"left, begins to restart", [][]providers.Container{
			c(func(c *providers.Container) { c.Created, c.Restarts, c.Health = since.Add(-time.Hour), 5, "starting" }),
			c(func(c *providers.Container) { c.Created, c.Restarts = since.Add(-time.Hour), 6 }),
		}, fault.No, "crash-looping"},
		{"runs, then ends", [][]providers.Container{plain, plain, c(func(c *providers.Container) { c.State, c.ExitCode = "exited", 1 })}, fault.No, "exited with 1"},
		{"another's", [][]providers.Container{c(func(c *providers.Container) { c.Service = "worker" })}, fault.No, "web is gone"},
		{"slow", [][]providers.Container{c(func(c *providers.Container) { c.Health = "starting" })}, fault.Unavailable, "not up in time: web is starting"},
		{"paused", [][]providers.Container{c(func(c *providers.Container) { c.State = "paused" })}, fault.No, "is paused"},
		{"created", [][]providers.Container{c(func(c *providers.Container) { c.State = "created" })}, fault.Unavailable, "web-1 is created"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			w := Watch{
				Release: providers.Release{Project: "p", Environment: "e", Component: "c", Marker: "2", Services: []providers.Service{{Name: "web", Container: "the-web"}}},
				Since:   since, Interval: 20 * time.Millisecond,
				Look: func(context.Context) ([]providers.Container, error) {
					now := test.looks[min(n, len(test.looks)-1)]
					n++
					return now, nil
				},
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := w.Wait(ctx)
			if test.kind == fault.Internal && err == nil {
				return
			}
			if !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.words) || fault.HintOf(err) == "" {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
		})
	}
	// Without a health check it has to run for a second.
	began := time.Now()
	w := Watch{
		Release: providers.Release{Marker: "2", Services: []providers.Service{{Name: "web"}}}, Since: since, Interval: 50 * time.Millisecond,
		Look: func(context.Context) ([]providers.Container, error) { return plain, nil },
	}
	if err := w.Wait(t.Context()); err != nil || time.Since(began) < time.Second {
		t.Error(err, time.Since(began))
	}
}
