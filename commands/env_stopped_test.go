package commands

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// What a creation that was cut off has left in the way is not to be restored by hand:
// the run is to be finished.
func TestACutOffCreationIsResumed(t *testing.T) {
	t.Parallel()
	e := &plan.Engine{Dir: t.TempDir(), Now: time.Now, Rand: rand.Reader}
	ctx, cancel := context.WithCancel(t.Context())
	res, err := e.Run(ctx, &plan.Plan{Playbook: "env create", Project: "ledger", Environment: "qa", Steps: []plan.Step{{
		ID: "write", Risk: plan.Writes,
		Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
			cancel()
			return nil, page.Intend(nil)
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}, {ID: "more", Do: func(context.Context, *plan.Page) (plan.Receipt, error) { return nil, nil }}}})
	if !fault.Is(err, fault.Partial) {
		t.Fatal(err)
	}
	deleted := fault.New(fault.Deleted, "write ledger/qa/app", "its newest version is deleted", "envctl restore")
	for _, c := range []struct {
		project, name string
		err           error
		want          string
	}{
		{"ledger", "qa", deleted, "envctl resume " + res.Record.ID},
		{"ledger", "staging", deleted, "envctl restore"},
		{"other", "qa", deleted, "envctl restore"},
		{"ledger", "qa", fault.New(fault.Denied, "read", "", "vault login"), "vault login"},
	} {
		got := unlessStopped(e, c.project, c.name, c.err)
		if !strings.HasPrefix(fault.HintOf(got), c.want) || fault.KindOf(got) != fault.KindOf(c.err) {
			t.Errorf("%s/%s: %v, hint %q", c.project, c.name, got, fault.HintOf(got))
		}
	}
}

// A second rotation on top of one that stopped after its write would push the value
// that most processes still hold out of the overlap.
func TestNoRotationOnTopOfOneThatStopped(t *testing.T) {
	t.Parallel()
	stopped := func(playbook, step string, effect bool) ([]plan.Record, string) {
		e := &plan.Engine{Dir: t.TempDir(), Now: time.Now, Rand: rand.Reader}
		ctx, cancel := context.WithCancel(t.Context())
		steps := []plan.Step{{
			ID: step, Risk: plan.Writes,
			Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
				cancel()
				return nil, page.Intend(nil)
			},
			Undo: func(context.Context, plan.Receipt) error { return nil },
		}, {ID: "more", Do: func(context.Context, *plan.Page) (plan.Receipt, error) { return nil, nil }}}
		if !effect {
			steps[1].ID = "write"
		}
		res, err := e.Run(ctx, &plan.Plan{Playbook: playbook, Project: "ledger", Environment: "qa", Component: "app", Steps: steps})
		if !fault.Is(err, fault.Partial) {
			t.Fatal(err)
		}
		return e.Stopped(&plan.Plan{Project: "ledger", Environment: "qa"}), res.Record.ID
	}
	for _, c := range []struct {
		stopped, playbook, component string
		refused                      bool
	}{
		{"rotate jwt", "rotate jwt", "app", true},
		{"rotate --all", "rotate jwt", "app", true},
		{"rotate jwt", "rotate fernet", "app", false},
		{"rotate jwt", "rotate jwt", "other", false},
		{"rotate --due", "rotate jwt", "other", false},
		{"rotate jwt", "set", "app", false},
		{"set", "rotate jwt", "app", false},
	} {
		runs, id := stopped(c.stopped, "write", true)
		err := unlessHalfRotated(runs, c.playbook, c.component)
		if len(runs) != 1 || (err != nil) != c.refused || c.refused && (!fault.Is(err, fault.Refused) || !strings.HasPrefix(fault.HintOf(err), "envctl resume "+id)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if runs, _ := stopped("rotate jwt", "before", false); len(runs) != 1 || unlessHalfRotated(runs, "rotate jwt", "app") != nil {
		t.Error("refused although nothing was written")
	}
}
