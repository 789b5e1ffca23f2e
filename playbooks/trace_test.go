package playbooks_test

import (
	"strings"
	"testing"

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
