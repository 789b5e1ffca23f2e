package playbooks_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

func started(t *testing.T, env string) *lab {
	t.Helper()
	l := testLab(t)
	must(t, l.start(env, "SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"))
	return l
}

func TestRotateIsWrittenDeployedAndProven(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	v := l.values("staging")
	if v["SECRET_KEY"] == "old" || v["SECRET_KEY_PREVIOUS"] != "old" || v["PLAIN"] != "sibling" || l.version("staging") != 2 {
		t.Fatal(v, l.version("staging"))
	}
	if run := l.running("staging"); run["SECRET_KEY"] != v["SECRET_KEY"] || run["SECRET_KEY_PREVIOUS"] != "old" {
		t.Fatal(run)
	}
	if e := receipt(res, "verify")["evidence"]; e != "process" {
		t.Fatal("evidence", e)
	}
	again, err := l.resume(res.Record.ID)
	must(t, err)
	if !again.Already || l.version("staging") != 2 || l.fleet.releases != 2 {
		t.Fatal("a second resume changed something")
	}
	_, err = l.undo(res.Record.ID)
	must(t, err)
	same(t, "the store", l.values("staging"), map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling"})
	if run := l.running("staging"); run["SECRET_KEY"] != "old" || run["SECRET_KEY_PREVIOUS"] != "" {
		t.Fatal(run)
	}
}

// A rotation that did not reach the running process is not a rotation: each of
// these worlds lies once, and must be caught and taken back, or said to be
// unverified.
func TestRotationIsNotFooled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie  func(l *lab)
		kind fault.Kind // of the run's error; Internal (0): no error, and no evidence
		left bool       // what was deployed cannot be taken back by a fleet that lies on
	}{
		"a deployer that restarts nothing": {func(l *lab) { l.fleet.stale = true }, fault.No, false},
		"containers made with the values from before": {func(l *lab) {
			l.fleet.last = map[string]secret.Value{"SECRET_KEY": secret.New("old"), "TOKEN": secret.New("t0"), "RING": secret.New("none"), "PLAIN": secret.New("sibling")}
			l.fleet.forgetful = true
		}, fault.No, true},
		"a deploy that fails": {func(l *lab) { l.fleet.deployErr = fault.New(fault.Unavailable, "deploy", "engine gone", "") }, fault.Unavailable, false},
		"a wait that fails once": {func(l *lab) {
			n := 0
			l.fleet.onWait = func(context.Context) error {
				if n++; n == 1 {
					return fault.New(fault.No, "wait for backend", "crash-looping", "")
				}
				return nil
			}
		}, fault.No, false},
		"a store that answers and does nothing": {func(l *lab) {
			l.store.lie = func(naming.Path) (providers.Version, bool) { return 2, true }
		}, fault.No, false},
		"a store that answers an old version": {func(l *lab) {
			l.store.lie = func(naming.Path) (providers.Version, bool) { return 1, true }
		}, fault.Unknown, false},
		"someone who puts the old value back before the deploy": {func(l *lab) {
			done := false
			l.fleet.point = func(at string) {
				if at == "before the deploy" && !done {
					done = true
					l.write("staging", "SECRET_KEY", "old")
				}
			}
			l.fleet.onWait = func(context.Context) error { return l.release("staging") }
		}, fault.No, false},
		"processes that cannot be read, configuration neither": {func(l *lab) { l.fleet.configOnly, l.fleet.blind = true, true }, fault.Internal, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			c.lie(l)
			res, err := l.rotate("staging", "jwt")
			if c.kind == fault.Internal {
				must(t, err)
				if e := receipt(res, "verify")["evidence"]; e != "" {
					t.Fatal("verified by ", e)
				}
				return
			}
			if err == nil {
				t.Fatalf("success: %+v", res.Record.Steps)
			}
			if fault.KindOf(err) == fault.Partial && c.left {
				return
			}
			wantKind(t, err, c.kind)
			if !c.left && c.kind != fault.Unavailable {
				if res.Record.State != plan.Undone {
					t.Fatal(res.Record.State, err)
				}
				same(t, "the store", l.values("staging"), map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling"})
			}
		})
	}
}

func TestWrapperWithOlderValuesIsNotStale(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.fleet.wrapped = true
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if e := receipt(res, "verify")["evidence"]; e != "process" {
		t.Fatal(e)
	}
}

func TestConfigurationOnlyIsWeakerEvidence(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.fleet.configOnly = true
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if e := receipt(res, "verify")["evidence"]; e != "container-config" {
		t.Fatal(e)
	}
}

// Another environment's container has the right values and proves nothing.
func TestForeignContainerIsNoEvidence(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.fleet.onWait = func(context.Context) error {
		l.fleet.mu.Lock()
		defer l.fleet.mu.Unlock()
		for _, b := range l.fleet.boxes {
			b.environment = "production"
		}
		return nil
	}
	_, err := l.rotate("staging", "jwt")
	if err == nil {
		t.Fatal("verified by production's container")
	}
}

// What was removed must be gone from the processes too: a retired key that is
// still accepted is not retired.
func TestFinishIsNotFooledByAProcessThatKeepsTheOldKey(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	_, err := l.rotate("staging", "jwt")
	must(t, err)
	l.clock.move(25 * time.Hour)
	l.fleet.stale = true
	p, err := l.Finish(context.Background(), l.target("staging"), l.rotation("jwt"))
	must(t, err)
	_, err = l.eng.Run(context.Background(), p)
	wantKind(t, err, fault.No, "SECRET_KEY_PREVIOUS")
	if v := l.values("staging"); v["SECRET_KEY_PREVIOUS"] != "old" {
		t.Fatal("not taken back", v)
	}
}

func TestUnsetIsNotFooled(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir(), `version: 1
project: ledger
environments: {staging: {deploy: {kind: compose}}}
components: {app: {services: [backend]}}
`)
	must(t, err)
	must(t, l.start("staging", "A", "1", "B", "2"))
	l.fleet.stale = true
	p, err := l.Set(context.Background(), l.target("staging"), "unset", providers.Patch{"A": secret.Value{}}, true)
	must(t, err)
	_, err = l.eng.Run(context.Background(), p)
	wantKind(t, err, fault.No, "A")
	same(t, "the store", l.values("staging"), map[string]string{"A": "1", "B": "2"})
}

// A key that no template emits reaches no process, whatever the others hold.
func TestKeyThatNothingReadsIsNeverVerified(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.write("staging", "SINGLE2", "x")
	must(t, l.release("staging"))
	res, err := l.set("staging", true, "SINGLE2", "y")
	must(t, err)
	if r := receipt(res, "verify"); r["evidence"] != "" || r["why"] == "" {
		t.Fatal(r)
	}
}

func TestUnhealthyIsNotVerified(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	n := 0
	l.fleet.onWait = func(context.Context) error {
		if n++; n == 1 {
			l.box("staging").health = "unhealthy"
		}
		return nil
	}
	_, err := l.rotate("staging", "jwt")
	wantKind(t, err, fault.No, "unhealthy")
}

// One replica of two that still holds the old values, or is unhealthy, is named:
// half a roll-out is none.
func TestHalfRolledOutIsNotVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(second, first *box)
		kind  fault.Kind
		words string
	}{
		"old values": {func(_, _ *box) {}, fault.No, "replica-2"},
		// It stays so, and undo cannot prove that all is well again.
		"unhealthy": {func(second, first *box) {
			second.env, second.marker, second.health = first.env, first.marker, "unhealthy"
		}, fault.Partial, "replica-2 is unhealthy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			second := *l.box("staging")
			l.fleet.boxes["replica-2"] = &second
			n := 0
			l.fleet.onWait = func(context.Context) error {
				if n++; n == 1 {
					c.spoil(&second, l.box("staging"))
				}
				return nil
			}
			res, err := l.rotate("staging", "jwt")
			wantKind(t, err, c.kind, c.words)
			if res.Record.State == plan.Done {
				t.Fatal("it is done")
			}
			if name == "old values" && !strings.Contains(err.Error(), "half-rolled-out, 1 of 2 running replicas is of the newest release") {
				t.Error(err)
			}
		})
	}
}

// Where the store holds what was never deployed and does not run, the way back leads
// to the release that ran, and the run ends with its cause.
func TestWayBackPastWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.write("staging", "PLAIN", "bad")
	l.fleet.onWait = func(context.Context) error {
		if l.running("staging")["PLAIN"] == "bad" {
			return fault.New(fault.No, "deploy", "it is unhealthy", "look")
		}
		return nil
	}
	res, err := l.rotate("staging", "jwt")
	wantKind(t, err, fault.No, "it is unhealthy")
	if now := l.running("staging"); res.Record.State != plan.Undone || now["PLAIN"] != "sibling" || now["SECRET_KEY"] != "old" {
		t.Errorf("%s, %v run", res.Record.State, now)
	}
	if v := l.values("staging"); v["PLAIN"] != "bad" || v["SECRET_KEY"] != "old" {
		t.Errorf("the store holds %v", v)
	}
}

// Each replica that is of an older release than another says so, and what to type.
func TestHalfRolledOutIsNamed(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	second := *l.box("staging")
	l.fleet.boxes["replica-2"] = &second
	l.write("staging", "SECRET_KEY", "newer")
	rows, err := l.Status(t.Context(), l.target("staging"))
	must(t, err)
	for _, r := range rows {
		if r.Verdict != "stale" { // both of one release
			t.Errorf("%+v", r)
		}
	}
	must(t, l.release("staging"))
	rows, err = l.Status(t.Context(), l.target("staging"))
	must(t, err)
	seen := map[string]string{}
	for _, r := range rows {
		seen[r.Container] = r.Verdict
		if r.Verdict == playbooks.HalfRolledOut && (!strings.Contains(r.Because, "1 of 2") || r.Fix != "envctl deploy app --env staging") {
			t.Errorf("%+v", r)
		}
	}
	if len(seen) != 2 || seen["replica-2"] != playbooks.HalfRolledOut {
		t.Errorf("%v", seen)
	}
	tr, err := l.Trace(t.Context(), l.target("staging"), "SECRET_KEY", &playbooks.Letters{})
	must(t, err)
	if v := tr.Verdict; v.Status != playbooks.HalfRolledOut || !strings.Contains(v.Because, "replica-2") || v.Fix != "envctl deploy app --env staging" {
		t.Errorf("%+v", v)
	}
}

// Where the store keeps one version, nothing tells what a write changed: that is
// said, not guessed.
func TestWithoutTheVersionBeforeNothingIsVerified(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	must(t, l.store.SetMaxVersions(context.Background(), l.path("staging"), 1))
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if r := receipt(res, "verify"); r["evidence"] != "" || r["why"] == "" {
		t.Fatal(r)
	}
}
