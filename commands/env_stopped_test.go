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
