package playbooks_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/playbooks"
)

func TestInterruptBeforeTheFirstEffect(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(l *lab, cancel func()){
		"before the run":               func(_ *lab, cancel func()) { cancel() },
		"while it notes what is there": func(l *lab, cancel func()) { l.fleet.looked = cancel },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
			must(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stop(l, cancel)
			_, err = l.eng.Run(ctx, p)
			wantKind(t, err, fault.Interrupted)
			all, err := l.eng.List()
			must(t, err)
			if len(all) != 0 || l.version("staging") != 1 {
				t.Fatal("a journal or a version is left", all)
			}
		})
	}
}

// The step in hand is finished, the run stops, and both ways on are named.
func TestInterruptDuringTheDeploy(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"resume", "undo"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
			must(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			l.fleet.onWait = func(step context.Context) error { cancel(); return step.Err() }
			res, err := l.eng.Run(ctx, p)
			id := res.Record.ID
			wantKind(t, err, fault.Partial, "envctl resume "+id, "envctl undo "+id)
			l.fleet.onWait = nil
			if verb == "undo" {
				_, err = l.undo(id)
				must(t, err)
				if l.values("staging")["SECRET_KEY"] != "old" || l.running("staging")["SECRET_KEY"] != "old" {
					t.Fatal("not undone")
				}
				return
			}
			res, err = l.resume(id)
			must(t, err)
			if receipt(res, "verify")["evidence"] != "process" || l.version("staging") != 2 {
				t.Fatal("not finished")
			}
		})
	}
}

// A deadline ends the step in hand too.
func TestDeadlineDuringTheWait(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	l.fleet.onWait = func(step context.Context) error {
		select {
		case <-step.Done():
			return step.Err()
		case <-time.After(20 * time.Second):
			t.Error("the wait was not ended")
			return nil
		}
	}
	res, err := l.eng.Run(ctx, p)
	wantKind(t, err, fault.Partial, "timed out", "envctl resume "+res.Record.ID)
	l.fleet.onWait = nil
	_, err = l.resume(res.Record.ID)
	must(t, err)
}

// Someone changed the key while the run lay there: resume does not call it done.
func TestResumeLooksAgain(t *testing.T) {
	t.Parallel()
	half := func(t *testing.T) (*lab, string) {
		t.Helper()
		l := started(t, "staging")
		p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
		must(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		l.fleet.point = func(at string) {
			if at == "before the deploy" {
				cancel()
			}
		}
		res, err := l.eng.Run(ctx, p)
		wantKind(t, err, fault.Partial)
		l.fleet.point = func(string) {}
		return l, res.Record.ID
	}
	t.Run("the old value was put back", func(t *testing.T) {
		t.Parallel()
		l, id := half(t)
		l.write("staging", "SECRET_KEY", "old")
		_, err := l.resume(id)
		wantKind(t, err, fault.Partial, "no longer holds")
	})
	t.Run("the store lost the write", func(t *testing.T) {
		t.Parallel()
		l, id := half(t)
		must(t, l.store.Purge(context.Background(), l.path("staging")))
		l.write("staging", "SECRET_KEY", "old")
		_, err := l.resume(id)
		wantKind(t, err, fault.Partial, "no longer holds")
	})
	t.Run("the path was deleted", func(t *testing.T) {
		t.Parallel()
		l, id := half(t)
		must(t, l.store.Delete(context.Background(), l.path("staging")))
		_, err := l.resume(id)
		wantKind(t, err, fault.Deleted, "envctl restore --env staging --component app")
	})
	t.Run("a neighbour was changed", func(t *testing.T) {
		t.Parallel()
		l, id := half(t)
		l.write("staging", "PLAIN", "theirs")
		res, err := l.resume(id)
		must(t, err)
		if receipt(res, "verify")["evidence"] != "process" || l.values("staging")["PLAIN"] != "theirs" || l.running("staging")["SECRET_KEY"] != l.values("staging")["SECRET_KEY"] {
			t.Fatal(l.running("staging"))
		}
	})
}

// clockStore stamps versions by a clock of its own, as a server does.
func TestFinishUnderAWrongClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		passed, wrong time.Duration
		retired       bool
	}{
		"a day fast, an hour in":       {time.Hour, day, false},
		"a day slow, an hour in":       {time.Hour, -day, false},
		"right, an hour in":            {time.Hour, 0, false},
		"right, when it is over":       {25 * time.Hour, 0, true},
		"a day fast, when it is over":  {25 * time.Hour, day, true},
		"a day slow, when it is over":  {25 * time.Hour, -day, false}, // refused, to be asked again
		"ten minutes fast, just short": {23*time.Hour + 55*time.Minute, 10 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			_, err := l.rotate("staging", "jwt")
			must(t, err)
			l.clock.move(c.passed) // the store's clock
			l.Now = func() time.Time { return l.clock.now().Add(c.wrong) }
			p, err := l.Finish(context.Background(), l.target("staging"), l.rotation("jwt"))
			if err == nil {
				_, err = l.eng.Run(context.Background(), p)
			}
			_, there := l.values("staging")["SECRET_KEY_PREVIOUS"]
			_, runs := l.running("staging")["SECRET_KEY_PREVIOUS"]
			if there == c.retired || runs == c.retired {
				t.Fatalf("in the store %v, in the process %v, and it said: %v", there, runs, err)
			}
			if !c.retired {
				wantKind(t, err, fault.Refused, "overlap lasts until")
			}
		})
	}
}

// Nothing else asks the clock: a rotation under any is a rotation.
func TestRotateUnderAWrongClock(t *testing.T) {
	t.Parallel()
	for _, wrong := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 10 * time.Minute, 24 * time.Hour} {
		l := started(t, "staging")
		n := 0
		l.Now = func() time.Time { n++; return l.clock.now().Add(time.Duration(n%3-1) * wrong) } // and it jumps
		l.eng.Now = l.Now
		l.fleet.now = l.Now
		res, err := l.rotate("staging", "jwt")
		must(t, err)
		if receipt(res, "verify")["evidence"] != "process" {
			t.Fatal("not verified")
		}
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if l.values("staging")["SECRET_KEY"] != "old" || l.running("staging")["SECRET_KEY"] != "old" {
			t.Fatal("not undone")
		}
	}
}

// The way on after a failed first deploy is named: envctl cannot stop containers.
func TestUndoNamesWhatItCannotStop(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	l.store.point, l.fleet.point = func(string) {}, func(string) {}
	l.write("staging", "SECRET_KEY", "old")
	l.fleet.waitErr = fault.New(fault.No, "wait for backend", "crash-looping", "")
	res, err := l.rotate("staging", "jwt")
	wantKind(t, err, fault.Partial, "has to be stopped by hand", "envctl undo "+res.Record.ID)
	if l.values("staging")["SECRET_KEY"] != "old" {
		t.Fatal("the write was not taken back")
	}
	l.fleet.boxes = map[string]*box{} // the operator stops it
	res, err = l.undo(res.Record.ID)
	must(t, err)
	if res.Record.State != plan.Undone {
		t.Fatal(res.Record.State)
	}
}

// A component without services of its own is rotated for those that read it.
func TestRotateWhatOnlyOthersRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := newLab(dir, strings.Replace(projectFile, "components:", "components:\n  shared: {generate: {KEY: hex}}", 1))
	must(t, err)
	must(t, writeFile(dir, "app.ctmpl", templateFile+`{{ with secret (printf "secret/data/ledger/%s/shared" (env "ENV")) }}SHARED={{ .Data.data.KEY }}{{ end }}
`))
	shared := playbooks.Target{Environment: l.target("staging").Environment, Component: "shared"}
	l.seed(naming.Path{Project: "ledger", Environment: "staging", Component: "shared"}, "KEY", "old")
	must(t, l.start("staging", "SECRET_KEY", "s"))
	_, r, err := l.FindRotation("KEY", "shared")
	must(t, err)
	p, err := l.Rotate(context.Background(), shared, r)
	must(t, err)
	res, err := l.eng.Run(context.Background(), p)
	must(t, err)
	if receipt(res, "verify.app")["evidence"] != "process" || l.running("staging")["SHARED"] == "old" {
		t.Fatal(res.Record.Steps)
	}
}
