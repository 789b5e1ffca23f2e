// Package deploytest is the contract of providers.Deployer as tests, which every
// deployer passes.
package deploytest

import (
	"context"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Behaviour is what a service's program does once it is started.
type Behaviour int

// The behaviours, which a harness builds from whatever its deployer runs.
const (
	Plain     Behaviour = iota // runs; no health check
	Healthy                    // healthy within a second
	Starting                   // its health check neither passes nor gives up within a minute
	Unhealthy                  // its health check gives up within seconds
	Crashing                   // exits with 3 at once, and is restarted each time
	Exiting                    // exits with 4 at once, and is not restarted
)

// World is what one test runs in: a release whose services behave as asked, not
// yet deployed. The suite sets Values and Marker. Nothing of another world of
// the same test binary is in it, and the harness removes it all with the test.
type World struct {
	Deployer providers.Deployer
	Runtime  providers.Runtime
	Release  providers.Release
	// Remove takes a container away, as an operator's docker rm -f does.
	Remove func(container string)
	// Carries tells whether the deployer can pass a value on unchanged; nil: it
	// can. What it cannot it has to refuse, by the variable's name.
	Carries func(secret.Value) bool
}

// Harness makes a world.
type Harness func(t *testing.T, services map[string]Behaviour) World

// Hard are values that readers of environments are known to change.
func Hard() map[string]secret.Value {
	all := map[string]string{
		"BACKSLASH": `C:\new\table\"quoted\"`, "BACKTICK": "`id` $(id)", "CONTROL": "\x01\x1b[31m\x7f", "C1": "\u0085\u009b\u2028\ufeff",
		"CRLF": "a\r\nb\rc", "DOLLAR": "$HOME ${HOME} $$ ${A:-b} $", "EMOJI": "\U0001f511é漢", "EMPTY": "", "EQUALS": "a=b==", "FERNET": "a-_=,b-_=",
		"HASH": "a #b", "JSON": `{"a": ["b", null]}`, "NULLISH": "null", "NUMBER": "0123", "PEM": "-----BEGIN KEY-----\nYQ==\n-----END KEY-----\n",
		"PERCENT": "%s %(a)s %%", "QUOTES": `"a" 'b'`, "SPACES": "  a  ", "TAB": "\ta\t", "TRUTH": "yes", "URL": "postgres://u:p%40s@h:5432/d?a=b&c=d",
		"YAML": "- a: !!b *c &d |", "BIG": strings.Repeat("0123456789abcdef", 4096),
	}
	values := make(map[string]secret.Value, len(all))
	for k, v := range all {
		values[k] = secret.New(v)
	}
	return values
}

const canary = "canary-51c7a9e2b04d"

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"values arrive unchanged", values},
		{"a new release replaces the old", replaces},
		{"repeating changes nothing", repeats},
		{"environments are apart", apart},
		{"failures are named", failures},
		{"not up in time", inTime},
		{"gone while waiting", gone},
		{"refusals change nothing", refusals},
		{"cancelled", cancelled},
	} {
		t.Run(c.name, func(t *testing.T) { t.Parallel(); c.test(t, h) })
	}
}

func deploy(t *testing.T, w World) providers.Deployment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := w.Deployer.Deploy(ctx, w.Release)
	if err != nil {
		t.Fatal("deploy:", err)
	}
	return d
}

func ready(t *testing.T, w World) {
	t.Helper()
	d := deploy(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Deployer.Wait(ctx, w.Release, d); err != nil {
		t.Fatal("wait:", err)
	}
	if d.ID == "" || d.Started.IsZero() {
		t.Errorf("deployment: %+v", d)
	}
}

func containers(t *testing.T, w World) []providers.Container {
	t.Helper()
	cs, err := w.Runtime.Containers(t.Context(), providers.ContainerQuery{Project: w.Release.Project, Environment: w.Release.Environment, Component: w.Release.Component})
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// holds checks that configuration and processes hold the release and no more of
// the names in gone.
func holds(t *testing.T, w World, gone ...string) {
	t.Helper()
	cs := containers(t, w)
	if len(cs) != len(w.Release.Services) {
		t.Fatalf("%d containers for %d services", len(cs), len(w.Release.Services))
	}
	want := map[string]secret.Value{"ENV": secret.New(w.Release.Environment), providers.MarkerVariable: secret.New(w.Release.Marker)}
	for k, v := range w.Release.Values {
		want[k] = v
	}
	check := func(where string, got map[string]secret.Value) {
		for k, v := range want {
			if !got[k].IsSet() || !got[k].Equal(v) {
				t.Errorf("%s: %s is not what was released", where, k)
			}
		}
		for _, k := range gone {
			if got[k].IsSet() {
				t.Errorf("%s: %s is still there", where, k)
			}
		}
	}
	for _, c := range cs {
		check(c.Name+" configuration", c.Env)
		named := false
		for _, s := range w.Release.Services {
			named = named || s.Name == c.Service && s.Container == c.Name
		}
		if !named || c.Labels[providers.LabelRelease] != w.Release.Marker || c.State != "running" || c.Component != w.Release.Component {
			t.Errorf("%+v", c)
		}
		ps, err := w.Runtime.Processes(t.Context(), c)
		if err != nil || len(ps) == 0 {
			t.Errorf("%s: processes %v %v", c.Name, ps, err)
		}
		for _, p := range ps {
			if p.Err != nil {
				t.Errorf("%s: %v", c.Name, p.Err)
			}
			check(c.Name+" process "+p.Exe, p.Env)
		}
	}
}

func values(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Healthy, "worker": Plain})
	w.Release.Values, w.Release.Marker = Hard(), "1"
	var unfit []string
	for name, v := range w.Release.Values {
		if w.Carries != nil && !w.Carries(v) {
			unfit = append(unfit, name)
			delete(w.Release.Values, name)
		}
	}
	if len(unfit) >= len(w.Release.Values) {
		t.Errorf("carries %d of %d values", len(w.Release.Values), len(Hard()))
	}
	ready(t, w)
	holds(t, w)
	for _, name := range unfit {
		bad := w
		bad.Release.Marker = "2"
		bad.Release.Values = map[string]secret.Value{name: secret.New(Hard()[name].Reveal() + canary)}
		if err := refused(t, bad, 30*time.Second); bad.Carries(bad.Release.Values[name]) {
			t.Errorf("%s: carried with a canary behind it: %v", name, err)
		} else {
			says(t, err, fault.Refused, name)
		}
	}
	holds(t, w)
	if s := w.Deployer.Describe(); s == "" || strings.Contains(s, canary) {
		t.Errorf("describe: %q", s)
	}
}

func replaces(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Healthy})
	w.Release.Marker = "1"
	w.Release.Values = map[string]secret.Value{"KEY": secret.New("old"), "RETIRED": secret.New("x")}
	ready(t, w)
	before := containers(t, w)[0]
	w.Release.Marker = "2"
	w.Release.Values = map[string]secret.Value{"KEY": secret.New("new")}
	ready(t, w)
	holds(t, w, "RETIRED")
	// The same marker does not hide another value, nor the same values another marker.
	w.Release.Values["KEY"] = secret.New("newer")
	ready(t, w)
	holds(t, w)
	between := containers(t, w)[0]
	w.Release.Marker = "3"
	ready(t, w)
	holds(t, w)
	after := containers(t, w)[0]
	if before.ID == between.ID || between.ID == after.ID || !after.Started.After(before.Started) {
		t.Errorf("not replaced: %s %s %s", before.ID, between.ID, after.ID)
	}
}

func repeats(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Healthy})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New("v")}
	ready(t, w)
	before := containers(t, w)[0]
	ready(t, w)
	if after := containers(t, w)[0]; after.ID != before.ID || !after.Started.Equal(before.Started) {
		t.Error("repeating a deploy restarted the container")
	}
}

func apart(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Healthy})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New("first")}
	ready(t, w)
	other := w
	other.Release.Environment = "qa"
	other.Release.Services = []providers.Service{{Name: "web", Container: w.Release.Services[0].Container + "-qa"}}
	other.Release.Values = map[string]secret.Value{"KEY": secret.New("second")}
	ready(t, other)
	holds(t, w)
	holds(t, other)
}

// refused runs a release that has to fail, and returns why.
func refused(t *testing.T, w World, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	d, err := w.Deployer.Deploy(ctx, w.Release)
	if err == nil {
		err = w.Deployer.Wait(ctx, w.Release, d)
	}
	if took := time.Since(began); took > limit+time.Second {
		t.Errorf("took %s of %s", took, limit)
	}
	if err == nil {
		t.Fatal("no error")
	}
	for _, text := range []string{err.Error(), fault.HintOf(err)} {
		if strings.Contains(text, canary) {
			t.Errorf("a value is shown: %q", text)
		}
	}
	if fault.HintOf(err) == "" {
		t.Errorf("no hint: %v", err)
	}
	return err
}

func says(t *testing.T, err error, k fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Errorf("%s, want %s: %v", fault.KindOf(err), k, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func failures(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		b    Behaviour
		word string
	}{{"crashing", Crashing, "crash-looping"}, {"unhealthy", Unhealthy, "unhealthy"}, {"exiting", Exiting, "exited with 4"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := h(t, map[string]Behaviour{"web": Healthy, "worker": c.b})
			w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New(canary)}
			err := refused(t, w, 30*time.Second)
			says(t, err, fault.No, "worker", c.word, w.Release.Environment)
			if !strings.Contains(fault.HintOf(err), "envctl logs worker") {
				t.Errorf("hint: %q", fault.HintOf(err))
			}
		})
	}
}

func inTime(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Starting})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New(canary)}
	says(t, refused(t, w, 5*time.Second), fault.Unavailable, "web")
}

func gone(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Starting})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New(canary)}
	d := deploy(t, w)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- w.Deployer.Wait(ctx, w.Release, d) }()
	time.Sleep(300 * time.Millisecond)
	w.Remove(w.Release.Services[0].Container)
	says(t, <-waited, fault.No, "web")
}

func refusals(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Healthy})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New("v")}
	ready(t, w)
	before := containers(t, w)[0]

	bad := w
	bad.Release.Marker = "2"
	bad.Release.Services = append([]providers.Service{{Name: "wbe", Container: "wbe"}}, w.Release.Services...)
	says(t, refused(t, bad, 30*time.Second), fault.NotFound, "wbe")

	for name, v := range map[string]string{"NUL": canary + "\x00", "BINARY": canary + "\xff\xfe", "HUGE": canary + strings.Repeat("x", 200_000)} {
		bad := w
		bad.Release.Marker = "2"
		bad.Release.Values = map[string]secret.Value{name: secret.New(v)}
		says(t, refused(t, bad, 30*time.Second), fault.Invalid, name)
	}
	if after := containers(t, w); len(after) != 1 || after[0].ID != before.ID {
		t.Error("a refused deploy changed what runs")
	}
	holds(t, w)
}

func cancelled(t *testing.T, h Harness) {
	w := h(t, map[string]Behaviour{"web": Starting})
	w.Release.Marker, w.Release.Values = "1", map[string]secret.Value{"KEY": secret.New("v")}
	d := deploy(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if err := w.Deployer.Wait(ctx, w.Release, d); !fault.Is(err, fault.Interrupted) {
		t.Error("wait:", err)
	}
	if _, err := w.Deployer.Deploy(ctx, w.Release); !fault.Is(err, fault.Interrupted) {
		t.Error("deploy:", err)
	}
}
