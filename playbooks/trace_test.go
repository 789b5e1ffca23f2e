package playbooks_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// A path that may not be read decides the variables that need it, and no other.
func TestTraceOfADeniedPath(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir(), projectFile)
	must(t, err)
	must(t, writeFile(l.Project.Root, "app.ctmpl", `{{ with secret "secret/data/ledger/staging/app" }}TOKEN={{ .Data.data.TOKEN }}{{ end }}
{{ with secret "secret/data/ledger/staging/closed" }}{{ if .Data.data.on }}FLAG=1
{{ end }}PASSWORD={{ .Data.data.PASSWORD }}{{ end }}
`))
	must(t, l.start("staging", "TOKEN", "t0"))
	closed := naming.Path{Project: "ledger", Environment: "staging", Component: "closed"}
	l.store.read = func(p naming.Path, _ providers.Version) error {
		if p == closed {
			return fault.New(fault.Denied, "read "+p.String(), "permission denied", "")
		}
		return nil
	}
	for variable, want := range map[string]string{"TOKEN": "consistent", "PASSWORD": "unknown", "FLAG": "unknown"} {
		tr, err := l.Trace(t.Context(), l.target("staging"), variable, &playbooks.Letters{})
		must(t, err)
		if tr.Verdict.Status != want {
			t.Errorf("%s: %+v", variable, tr.Verdict)
		}
		denied := ""
		for _, r := range tr.Sources {
			if r.State == "denied" {
				denied += r.Location
			}
		}
		if where := map[bool]string{true: "secret/" + closed.String()}[want == "unknown"]; denied != where {
			t.Errorf("%s: the denied row names %q", variable, denied)
		}
	}
}

// What runs is said to be of no version only where all versions were looked at.
func TestTraceOfAValueOfNoKnownVersion(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		env, because string
		deny         bool
	}{
		"all looked at": {"staging", "no version of the store", false},
		"one unread":    {"staging", "is not known", true},
	} {
		l := testLab(t)
		must(t, l.start(tt.env, "SECRET_KEY", "s0"))
		_, err := l.store.Store.Write(t.Context(), l.path(tt.env), 1, providers.Patch{"SECRET_KEY": secret.New("s1")})
		must(t, err)
		l.box(tt.env).env["SECRET_KEY"] = secret.New("someone's own")
		l.store.read = func(p naming.Path, v providers.Version) error {
			if tt.deny && v == 1 {
				return fault.New(fault.Denied, "read "+p.String(), "permission denied", "")
			}
			return nil
		}
		tr, err := l.Trace(t.Context(), l.target(tt.env), "SECRET_KEY", &playbooks.Letters{})
		must(t, err)
		if tr.Verdict.Status != "drift" || !strings.Contains(tr.Verdict.Because, tt.because) {
			t.Errorf("%s: %+v", name, tr.Verdict)
		}
	}
}

// A rollback that a store could not answer is not said to have no version to go to.
func TestRollbackOfAStoreThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	must(t, l.start("bare", "SECRET_KEY", "s0"))
	l.store.read = func(p naming.Path, _ providers.Version) error {
		return fault.New(fault.Unavailable, "read "+p.String(), "connection refused", "check VAULT_ADDR")
	}
	_, err := l.Rollback(t.Context(), l.target("bare"), 1)
	if !fault.Is(err, fault.Unavailable) || fault.HintOf(err) != "check VAULT_ADDR" {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}

// A process that still holds what was removed is stale, in a trace and a status.
func TestWhatWasRemovedAndStillRuns(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	must(t, l.start("staging", "SECRET_KEY", "s0", "SECRET_KEY_PREVIOUS", "p0"))
	status := func() string {
		rows, err := l.Status(t.Context(), l.target("staging"))
		must(t, err)
		return rows[0].Verdict
	}
	if got := status(); got != "current" {
		t.Fatalf("before: %s", got)
	}
	_, err := l.store.Store.Write(t.Context(), l.path("staging"), 1, providers.Patch{"SECRET_KEY_PREVIOUS": secret.Value{}})
	must(t, err)
	if got := status(); got != "stale" {
		t.Errorf("status %s", got)
	}
	tr, err := l.Trace(t.Context(), l.target("staging"), "SECRET_KEY_PREVIOUS", &playbooks.Letters{})
	must(t, err)
	if tr.Verdict.Status != "stale" || tr.Verdict.Fix != "envctl deploy app --env staging" {
		t.Errorf("%+v", tr.Verdict)
	}
	// The image's own value of that name is no remainder.
	l.box("staging").env["SECRET_KEY_PREVIOUS"] = secret.New("the image's")
	if got := status(); got != "current" {
		t.Errorf("with a value of the image: %s", got)
	}
}

// teller is the fleet with an environment text of its own, as Dokploy has one.
type teller struct {
	*fleet
	text map[string]string
	err  error
}

func (d *teller) Env(context.Context, providers.Release) (map[string]secret.Value, error) {
	out := map[string]secret.Value{}
	for k, v := range d.text {
		out[k] = secret.New(v)
	}
	return out, d.err
}

// What the deployer keeps is a row and a link of the chain: its next deployment
// brings it, whatever runs now.
func TestTraceOfWhatTheDeployerKeeps(t *testing.T) {
	t.Parallel()
	now := map[string]string{"SECRET_KEY": "s1"}
	for name, tt := range map[string]struct {
		text           map[string]string
		err            error
		bare           bool // nothing runs
		state, verdict string
		evidence       string
	}{
		"the same":                 {now, nil, false, "set", "consistent", "process"},
		"an older version":         {map[string]string{"SECRET_KEY": "s0"}, nil, false, "set", "stale", "deployer"},
		"somebody's own":           {map[string]string{"SECRET_KEY": "x"}, nil, false, "set", "drift", "deployer"},
		"empty":                    {map[string]string{"SECRET_KEY": ""}, nil, false, "empty", "drift", "deployer"},
		"another way":              {nil, nil, false, "unset", "consistent", "process"},
		"not asked":                {nil, fault.New(fault.Unavailable, "read", "connection refused", ""), false, "unreachable", "consistent", "process"},
		"denied":                   {nil, fault.New(fault.Denied, "read", "401", ""), false, "denied", "consistent", "process"},
		"nothing runs":             {now, nil, true, "set", "unverified", ""},
		"nothing runs, older":      {map[string]string{"SECRET_KEY": "s0"}, nil, true, "set", "stale", "deployer"},
		"nothing runs, unset":      {nil, nil, true, "unset", "stale", "deployer"},
		"nothing runs, not asked":  {nil, fault.New(fault.Unavailable, "read", "connection refused", ""), true, "unreachable", "unverified", ""},
		"nothing runs, no service": {nil, fault.New(fault.NotFound, "read", "no such service", ""), true, "not-configured", "unverified", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLab(t)
			must(t, l.start("staging", "SECRET_KEY", "s0"))
			l.write("staging", "SECRET_KEY", "s1")
			must(t, l.release("staging"))
			if tt.bare {
				maps.DeleteFunc(l.fleet.boxes, func(string, *box) bool { return true })
			}
			l.World.Deployer = func(config.Environment, string) (providers.Deployer, error) {
				return &teller{fleet: l.fleet, text: tt.text, err: tt.err}, nil
			}
			tr, err := l.Trace(t.Context(), l.target("staging"), "SECRET_KEY", &playbooks.Letters{})
			must(t, err)
			var told []playbooks.SourceRow
			for _, r := range tr.Sources {
				if r.Source == "deployer" {
					told = append(told, r)
				}
			}
			if len(told) != 1 || told[0].State != tt.state || told[0].Location != "test fleet" {
				t.Fatalf("rows %+v", told)
			}
			if tr.Verdict.Status != tt.verdict || tr.Verdict.Evidence != tt.evidence {
				t.Errorf("%+v", tr.Verdict)
			}
		})
	}
}

// What the store no longer has and the deployer still gives comes back with its
// next deployment.
func TestTraceOfWhatOnlyTheDeployerKeeps(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	must(t, l.start("staging", "SECRET_KEY", "s0"))
	l.World.Deployer = func(config.Environment, string) (providers.Deployer, error) {
		return &teller{fleet: l.fleet, text: map[string]string{"SECRET_KEY_PREVIOUS": "p0"}}, nil
	}
	tr, err := l.Trace(t.Context(), l.target("staging"), "SECRET_KEY_PREVIOUS", &playbooks.Letters{})
	must(t, err)
	if tr.Verdict.Status != "drift" || tr.Verdict.Evidence != "deployer" {
		t.Errorf("%+v", tr.Verdict)
	}
}

// A deployer that keeps nothing itself is no source.
func TestTraceOfADeployerThatKeepsNothing(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	must(t, l.start("staging", "SECRET_KEY", "s0"))
	tr, err := l.Trace(t.Context(), l.target("staging"), "SECRET_KEY", &playbooks.Letters{})
	must(t, err)
	for _, r := range tr.Sources {
		if r.Source == "deployer" {
			t.Errorf("%+v", r)
		}
	}
}

// What a template makes of a value is not the value: all that runs is up to date, and
// holds something else.
func TestTraceOfAnAlteredValue(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"plain": "consistent", "a #b": "drift"} {
		l := testLab(t)
		must(t, l.start("staging", "SECRET_KEY", "s0", "PLAIN", value))
		tr, err := l.Trace(t.Context(), l.target("staging"), "PLAIN", &playbooks.Letters{})
		must(t, err)
		if v := tr.Verdict; v.Status != want || (v.Status == "drift") != strings.Contains(v.Because, "app.ctmpl:9") || strings.Contains(v.Because, value) {
			t.Errorf("%q: %+v", value, tr.Verdict)
		}
	}
}
