package playbooks_test

import (
	"context"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/naming"
	"envctl/playbooks"
)

const borrowFile = `version: 1
project: ledger
environments:
  staging: {}
  qa: {}
  production: {}
  "pr-*": {ephemeral: true, base: staging, ttl: 72h}
components:
  app: {services: [backend], generate: {SECRET_KEY: jwt}}
  cache: {services: [redis]}
`

// Names of the source become the new environment's; what may be another's stays.
func TestAdaptedNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, value, want string }{
		{"staging", "mail-staging.internal", "mail-qa.internal"},
		{"staging", "ledger_staging", "ledger_qa"},
		{"staging", "https://x/ledger-staging/a_staging?b", "https://x/ledger-qa/a_qa?b"},
		{"staging", "staging:jobs", "qa:jobs"},
		{"staging", "staging", "qa"},
		{"staging", "upstaging stagings -stagingx", "upstaging stagings -stagingx"},
		{"staging", "https://staging.stripe.com", "https://staging.stripe.com"},
		{"staging", "x-staging-y", "x-qa-y"},
		{"production", "http://ledger-backend:8000", "http://ledger-backend-qa:8000"},
		{"production", "ledger-backend-x ledger-redis", "ledger-backend-x ledger-redis-qa"},
	} {
		dir := t.TempDir()
		must(t, writeFile(dir, config.FileName, borrowFile))
		l, err := openLab(dir)
		must(t, err)
		l.seed(naming.Path{Project: "ledger", Environment: c.from, Component: "app"}, "PLACE", c.value)
		p, err := l.CreateEnv(context.Background(), playbooks.Creation{Name: "qa", From: c.from, AllowMissing: true})
		must(t, err)
		if _, err := l.eng.Run(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		if got := l.values("qa")["PLACE"]; got != c.want {
			t.Errorf("%q from %s became %q, want %q", c.value, c.from, got, c.want)
		}
	}
}

// A preview borrows what its base has: it gets a path of its own for what names the
// base, what is given, and its own name.
func TestPreviewBorrows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, writeFile(dir, config.FileName, borrowFile))
	l, err := openLab(dir)
	must(t, err)
	at := func(env, component string) naming.Path {
		return naming.Path{Project: "ledger", Environment: env, Component: component}
	}
	l.seed(at("staging", "app"), "SECRET_KEY", "canary-secret", "BUCKET", "ledger-staging", "REGION", "eu", "ENVIRONMENT", "staging", "LOG", "info")
	l.seed(at("staging", "cache"), "REDIS_PASSWORD", "canary-redis")
	res, err := l.create(playbooks.Creation{Name: "pr-47"})
	must(t, err)
	same(t, "pr-47", l.values("pr-47"), map[string]string{"BUCKET": "ledger-pr-47", "ENVIRONMENT": "pr-47"})
	if h, err := l.store.History(context.Background(), at("pr-47", "cache")); err == nil {
		t.Errorf("a path that only borrows was written: %v", h)
	}
	r, err := l.Render(context.Background(), l.store, l.target("pr-47"), nil)
	must(t, err)
	same(t, "its process", clear(r.Variables), map[string]string{"SECRET_KEY": "canary-secret", "BUCKET": "ledger-pr-47", "REGION": "eu", "ENVIRONMENT": "pr-47", "LOG": "info"})
	diff, err := l.Diff(context.Background(), playbooks.Side{Target: l.target("staging")}, playbooks.Side{Target: l.target("pr-47")})
	must(t, err)
	states := map[string]string{}
	for _, d := range diff {
		states[d.Key] = d.State
	}
	same(t, "the difference", states, map[string]string{"SECRET_KEY": "same", "BUCKET": "changed", "REGION": "same", "ENVIRONMENT": "changed", "LOG": "same"})
	if again, err := l.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-47"}); err != nil || len(again.Steps) != 0 {
		t.Errorf("a second time: %v %v", again.Steps, err)
	}
	_, err = l.undo(res.Record.ID)
	must(t, err)

	// Nothing to say but its name: that is what it has, so that it can be found and end.
	must(t, l.store.Purge(context.Background(), at("staging", "app")))
	l.seed(at("staging", "app"), "SECRET_KEY", "canary-secret")
	p, err := l.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-48"})
	must(t, err)
	var facts []string
	for _, f := range p.Facts {
		facts = append(facts, f.Label+" "+f.Text)
	}
	if all := strings.Join(facts, "\n"); !strings.Contains(all, "borrowed from staging ledger/pr-48/app  SECRET_KEY") || strings.Contains(all, "canary") {
		t.Error(all)
	}
	_, err = l.eng.Run(context.Background(), p)
	must(t, err)
	same(t, "pr-48", l.values("pr-48"), map[string]string{"ENVIRONMENT": "pr-48"})
	all, err := l.Lifetimes(context.Background())
	if err != nil || len(all) == 0 || all[len(all)-1].Name != "pr-48" {
		t.Errorf("%+v %v", all, err)
	}
}
