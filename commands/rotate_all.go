package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/playbooks"
)

// rotateAllDocument is envctl.rotate-all/v1.
type rotateAllDocument struct {
	Schema      string             `json:"schema"`
	Playbook    string             `json:"playbook"`
	Environment string             `json:"environment"`
	State       string             `json:"state"` // planned, done, failed, partial
	DryRun      bool               `json:"dry_run,omitempty"`
	AsOf        time.Time          `json:"as_of"`
	Rotations   []rotationDocument `json:"rotations"`
	Summary     map[string]int     `json:"summary"` // how many rotations are in each state
	Plan        []factDocument     `json:"plan,omitempty"`
	Runs        []runDocument      `json:"runs"`
}

type rotationDocument struct {
	Component   string     `json:"component"`
	Name        string     `json:"name"`
	Variable    string     `json:"variable"`
	State       string     `json:"state"`
	Since       *time.Time `json:"since,omitempty"`
	AtLeast     bool       `json:"since_at_least,omitempty"`
	Every       string     `json:"every,omitempty"`
	DueAt       *time.Time `json:"due_at,omitempty"`
	Run         string     `json:"run,omitempty"`
	FromVersion *int       `json:"from_version,omitempty"`
	ToVersion   *int       `json:"to_version,omitempty"`
	Deployed    bool       `json:"deployed"`
	Restarted   []string   `json:"restarted,omitempty"`
	Verified    any        `json:"verified"` // false, or its evidence
	Kind        string     `json:"kind,omitempty"`
	Message     string     `json:"message,omitempty"`
	Hint        string     `json:"hint,omitempty"`
}

// rotateAll rotates every recipe, or those whose value is older than it may be.
func (a *app) rotateAll(ctx context.Context, w *playbooks.World, e config.Environment, s playbooks.Selection) error {
	defer roomy(len(w.Project.Components))()
	a.working("reading the environment's paths")
	engine := a.engine(w)
	stopped := engine.Stopped(&plan.Plan{Project: w.Project.Name, Environment: e.Name, Component: s.Component})
	s.Held = func(component, recipe string) error { return unlessHalfRotated(stopped, "rotate "+recipe, component) }
	b, err := w.RotateAll(ctx, e, s)
	a.ui.Progress("")
	if err != nil {
		return err
	}
	p := b.Plan()
	p.Facts = append(p.Facts, waiting(stopped)...)
	if a.globals.dryRun {
		return a.endReport(p, a.showBatch(ctx, b, nil, p))
	}
	a.warn(p)
	if len(b.Jobs) > 0 {
		if p.Confirm != "" && a.globals.confirm == "" {
			b.Asked()
		}
		asked := a.globals.yes || !a.asks(p) // else consent shows it
		if p.Confirm == "" && asked && !a.ui.JSON && !a.globals.events {
			a.showPlan(ctx, p)
		}
		if err := a.consent(ctx, p); err != nil {
			return err
		}
	}
	if err := a.beginReport(ctx, p); err != nil {
		return err
	}
	var records []plan.Record
	if len(b.Jobs) > 0 {
		engine.Observer = a.observeMany(len(b.Jobs))
		records = w.RunBatch(ctx, engine, b)
		a.prune(ctx, engine)
	}
	return a.endReport(p, a.showBatch(ctx, b, records, p), records...)
}

// observeMany is observe for runs that go on at the same time.
func (a *app) observeMany(runs int) func(plan.Event) {
	var mu sync.Mutex
	ended := 0
	return func(e plan.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.globals.events:
			a.observe(e)
			return
		case e.Kind == plan.EventWarning:
			a.ui.Warn("%s", e.Text)
		case e.Kind == plan.EventEnded:
			ended++
			a.ui.Progress("")
		case e.Kind == plan.EventBegin, e.Kind == plan.EventUndoing:
			a.working(fmt.Sprintf("%d of %d runs ended; %s", ended, runs, e.Title))
		default:
		}
		a.reports.times.add(e)
	}
}

func (a *app) working(text string) {
	if !a.globals.events {
		a.ui.Progress(text)
	}
}

// showBatch answers with every rotation, done or planned, and returns how it ended.
func (a *app) showBatch(ctx context.Context, b *playbooks.Batch, records []plan.Record, p *plan.Plan) error {
	dry := a.globals.dryRun
	if dry {
		p.Settle(ctx)
	}
	outcome := b.Outcome()
	if dry && (a.ui.JSON || a.globals.events) {
		return a.planned(a.batchDocument(b, records, p, outcome))
	}
	if a.ui.JSON {
		if err := a.ui.Document(a.batchDocument(b, records, p, outcome)); err != nil {
			return err
		}
		return outcome
	}
	if a.globals.events {
		return outcome
	}
	rows := make([][]ui.Cell, 0, len(b.Rotations))
	for _, r := range b.Rotations {
		why := ""
		if r.Err != nil {
			why = r.Err.Error()
		}
		row := []ui.Cell{ui.C("%s", r.Component), ui.C("%s", r.Name), ui.C("%s", r.Variable), ui.Toned(rotationTone(r.State), r.State)}
		if dry {
			since, every := "-", "-"
			if !r.Age.Since.IsZero() {
				since = r.Age.Since.UTC().Format("2006-01-02T15:04:05Z")
				if r.Age.AtLeast {
					since = "before " + since
				}
			}
			if r.Every > 0 {
				every = days(r.Every)
			}
			if r.State == playbooks.RotationNotDue {
				why = "due at " + r.Due().UTC().Format("2006-01-02T15:04:05Z")
			}
			row = append(row, ui.C("%s", since), ui.C("%s", every))
		} else {
			versions := "-"
			if r.To > 0 {
				versions = fmt.Sprintf("%d → %d", r.From, r.To)
			}
			if why == "" {
				why = proven(r)
			}
			row = append(row, ui.C("%s", versions), ui.C("%s", dash(strings.Join(r.Restarted, " "))))
		}
		rows = append(rows, append(row, ui.C("%s", why)))
	}
	header := []string{"COMPONENT", "RECIPE", "VARIABLE", "STATE", "VERSIONS", "RESTARTED", ""}
	if dry {
		header = []string{"COMPONENT", "RECIPE", "VARIABLE", "STATE", "SINCE", "EVERY", ""}
	}
	if err := a.ui.Table(header, rows); err != nil {
		return err
	}
	if dry && len(b.Jobs) > 0 {
		a.showPlan(ctx, p)
	}
	a.ui.Note("%s", summary(b))
	if counted(b)[playbooks.RotationUnscheduled] == len(b.Rotations) {
		a.ui.Note("no recipe says how old its value may become: add every: 90d to it in %s", config.FileName)
	}
	if dry {
		a.ui.Note("dry run: nothing was written")
		return nil
	}
	return outcome
}

func rotationTone(state string) ui.Tone {
	switch state {
	case playbooks.RotationRotated:
		return ui.Good
	case playbooks.RotationFailed, playbooks.RotationPartial:
		return ui.Bad
	case playbooks.RotationRefused, playbooks.RotationUnverified, playbooks.RotationStopped:
		return ui.Caution
	case playbooks.RotationNotDue, playbooks.RotationUnscheduled, playbooks.RotationAbsent:
		return ui.Faint
	}
	return ui.Plain
}

// proven says what is known of the processes after a rotation.
func proven(r *playbooks.Rotating) string {
	switch {
	case r.State != playbooks.RotationRotated:
		return ""
	case !r.Deployed:
		return "written, not deployed"
	}
	return "verified: " + strings.Join(r.Proof.Services, ", ") + " (" + r.Proof.Kind + ")"
}

// rotationStates are the states of a batch's rotations, in the order they are told.
var rotationStates = []string{ //nolint:gochecknoglobals // a constant list
	playbooks.RotationPlanned, playbooks.RotationRotated, playbooks.RotationUnverified, playbooks.RotationFailed, playbooks.RotationPartial,
	playbooks.RotationStopped, playbooks.RotationRefused, playbooks.RotationAbsent, playbooks.RotationNotDue, playbooks.RotationUnscheduled,
}

func counted(b *playbooks.Batch) map[string]int {
	n := map[string]int{}
	for _, r := range b.Rotations {
		n[r.State]++
	}
	return n
}

func summary(b *playbooks.Batch) string {
	n := counted(b)
	var parts []string
	for _, s := range rotationStates {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

// days writes a duration as the project file does.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

func (a *app) batchDocument(b *playbooks.Batch, records []plan.Record, p *plan.Plan, outcome error) rotateAllDocument {
	doc := rotateAllDocument{
		Schema: "envctl.rotate-all/v1", Playbook: p.Playbook, Environment: b.Environment.Name, State: string(plan.Done), DryRun: a.globals.dryRun,
		AsOf: b.AsOf.UTC(), Rotations: []rotationDocument{}, Summary: counted(b), Runs: []runDocument{},
	}
	switch {
	case doc.DryRun:
		doc.State = "planned"
		for _, f := range p.Facts {
			doc.Plan = append(doc.Plan, factDocument{f.Label, f.Text})
		}
	case fault.Is(outcome, fault.Partial, fault.Interrupted):
		doc.State = string(plan.Partial)
	case outcome != nil:
		doc.State = string(plan.Failed)
	}
	for _, r := range b.Rotations {
		doc.Rotations = append(doc.Rotations, rotationDoc(r))
	}
	for _, r := range records {
		doc.Runs = append(doc.Runs, runDoc(r))
	}
	return doc
}

func rotationDoc(r *playbooks.Rotating) rotationDocument {
	d := rotationDocument{
		Component: r.Component, Name: r.Name, Variable: r.Variable, State: r.State, AtLeast: r.Age.AtLeast, Run: r.Run,
		Deployed: r.Deployed, Restarted: r.Restarted, Verified: false,
	}
	if r.Every > 0 {
		d.Every = days(r.Every)
	}
	if !r.Age.Since.IsZero() {
		since, due := r.Age.Since.UTC(), r.Due().UTC()
		d.Since, d.DueAt = &since, &due
	}
	if r.To > 0 {
		from, to := r.From, r.To
		d.FromVersion, d.ToVersion = &from, &to
	}
	if r.Deployed && r.Proof.Kind != "" {
		d.Verified = verifiedDocument{Evidence: r.Proof.Kind, Services: slices.Clone(r.Proof.Services)}
	}
	if r.Err != nil {
		d.Kind, d.Message, d.Hint = fault.KindOf(r.Err).String(), r.Err.Error(), fault.HintOf(r.Err)
	}
	return d
}
