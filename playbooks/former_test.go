package playbooks_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// deploy runs a plain deployment.
func (l *lab) deploy(env string) (plan.Result, error) {
	p, err := l.Deploy(context.Background(), l.target(env))
	if err != nil {
		return plan.Result{}, err
	}
	return l.eng.Run(context.Background(), p)
}

func TestUndoOfADeploymentBringsBackWhatRan(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.write("staging", "TOKEN", "t1", "PLAIN", "p1")
	l.write("staging", "TOKEN", "t2")
	ran, before := l.box("staging").marker, l.values("staging")
	res, err := l.deploy("staging")
	must(t, err)
	if l.running("staging")["TOKEN"] != "t2" {
		t.Fatal(l.running("staging"))
	}
	_, err = l.undo(res.Record.ID)
	must(t, err)
	if got := l.running("staging"); got["TOKEN"] != "t0" || got["PLAIN"] != "sibling" || l.box("staging").marker != ran {
		t.Fatalf("%v run, of %s", got, l.box("staging").marker)
	}
	same(t, "the store", l.values("staging"), before)
	if l.version("staging") != 3 {
		t.Fatalf("version %d", l.version("staging"))
	}
}

// A deployment whose containers do not come up is taken back to the values that
// they ran with, not tried again with those that failed.
func TestFailedDeploymentRollsBack(t *testing.T) {
	t.Parallel()
	l := started(t, "staging")
	l.write("staging", "TOKEN", "broken")
	l.fleet.onWait = func(context.Context) error {
		if l.running("staging")["TOKEN"] == "broken" {
			return fault.New(fault.No, "wait for backend", "crash-looping", "envctl logs backend")
		}
		return nil
	}
	res, err := l.deploy("staging")
	wantKind(t, err, fault.No, "crash-looping", "what it did is undone")
	if l.running("staging")["TOKEN"] != "t0" || res.Record.State != plan.Undone {
		t.Fatal(l.running("staging"), res.Record.State)
	}
}

// What cannot be brought back is said before anything is restarted.
func TestDeploymentWithoutAWayBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose func(l *lab) error
		says string
	}{
		"its version is destroyed": {func(l *lab) error { return l.store.Destroy(context.Background(), l.path("staging"), 1) }, "are gone"},
		"its path was made anew": {func(l *lab) error {
			must(t, l.store.Purge(context.Background(), l.path("staging")))
			l.seed(l.path("staging"), "SECRET_KEY", "again", "TOKEN", "again")
			return nil
		}, "are gone"},
		"its template has changed": {func(l *lab) error {
			return os.WriteFile(filepath.Join(l.Project.Root, "app.ctmpl"), []byte(templateFile+"MORE=1\n"), 0o600)
		}, "app.ctmpl has changed since"},
		"it was not envctl's": {nil, "not of one release"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := started(t, "staging")
			if c.lose == nil {
				l.box("staging").marker = ""
			}
			l.write("staging", "TOKEN", "t1")
			res, err := l.deploy("staging")
			must(t, err)
			if c.lose != nil {
				must(t, c.lose(l))
			}
			releases := l.fleet.releases
			_, err = l.undo(res.Record.ID)
			wantKind(t, err, fault.Partial, c.says, "what runs now stays")
			if l.fleet.releases != releases {
				t.Fatal("something was deployed")
			}
		})
	}
}
