package commands

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
)

// TestReportText compares a report with its golden; UPDATE_SCRIPTS=1 writes it.
// What came from outside is escaped, wherever it stands.
func TestReportText(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := &app{Process: Process{Version: "test", Now: func() time.Time { return at }, Getenv: func(string) string { return "op" }}, ui: &ui.UI{}}
	const hostile = "a|b `c` *d* <e> @team #1 [x](http://evil) \x1b[31m\u202e\n## no heading"
	p := &plan.Plan{Playbook: "rotate jwt", Project: "ledger", Environment: "production", Component: "app", Facts: []plan.Fact{
		{Label: "write", Text: "ledger/production/app  12 → 13  SECRET_KEY"}, {Label: "store", Text: hostile},
	}}
	r := plan.Record{
		ID: "0123456789ab", Playbook: "rotate jwt", Project: "ledger", Environment: "production", Component: "app", State: plan.Undone,
		StartedAt: at, EndedAt: at.Add(12300 * time.Millisecond), Steps: []plan.StepRecord{
			{ID: "write", Title: "write ledger/production/app", State: plan.StepDone, Receipt: plan.Receipt{
				"path": "ledger/production/app", "from": "12", "to": "13", "fp.SECRET_KEY": "0011223344556677", "old.SECRET_KEY": "8899aabbccddeeff",
			}},
			{ID: "deploy", Title: "deploy app", State: plan.StepDone, Receipt: plan.Receipt{"deployment": "d1", "started": "2026-03-01T12:00:01Z"}},
			{ID: "verify", Title: "read the running processes", State: plan.StepFailed, Kind: "no", Error: hostile},
			{ID: "verify.worker", Title: "read the running processes", State: plan.StepDone, Receipt: plan.Receipt{"evidence": "process", "services": "worker,cron"}},
		},
	}
	for i, s := range r.Steps {
		a.reports.times.add(plan.Event{Run: r.ID, Step: s.ID, Kind: plan.EventBegin, At: at.Add(time.Duration(i) * time.Second)})
		a.reports.times.add(plan.Event{Run: r.ID, Step: s.ID, Kind: plan.EventDone, At: at.Add(time.Duration(i)*time.Second + 1500*time.Millisecond)})
	}
	a.reports.who = hostile
	got := a.reportText(p, []plan.Record{r}, fault.New(fault.No, "verify app", hostile, "run envctl deploy app"))
	file := filepath.Join("testdata", "report.golden.md")
	if os.Getenv("UPDATE_SCRIPTS") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A plan's labels stand in one column, and on a terminal no line is wider than it.
func TestPlanColumns(t *testing.T) {
	t.Parallel()
	a := &app{ui: &ui.UI{Columns: 40}}
	facts := []plan.Fact{
		{Label: "lock", Text: "ledger/production, on this machine only: nobody else is kept out"},
		{Label: "left to its default", Text: "app  LOG_LEVEL"},
		{Label: "a label that is far too long", Text: "x"},
		{Label: "url", Text: "https://example.com/a/path/that/is/longer/than/a/line"},
	}
	want := []string{
		"  lock                ledger/production,",
		"                      on this machine",
		"                      only: nobody else",
		"                      is kept out",
		"  left to its default app  LOG_LEVEL",
		"  a label that is far too long x",
		"  url                 https://example.com/a/path/that/is/longer/than/a/line",
	}
	if got := a.factLines(facts, "  ", true); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := a.factLines(facts[:1], "", false); !slices.Equal(got, []string{"lock      " + facts[0].Text}) {
		t.Errorf("%q", got)
	}
}
