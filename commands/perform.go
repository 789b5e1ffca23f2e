package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/playbooks"
)

// runDocument is envctl.run/v1.
type runDocument struct {
	Schema      string         `json:"schema"`
	ID          string         `json:"id"`
	Playbook    string         `json:"playbook"`
	Environment string         `json:"environment"`
	Component   string         `json:"component,omitempty"`
	State       string         `json:"state"`
	DryRun      bool           `json:"dry_run,omitempty"`
	Unchanged   bool           `json:"unchanged,omitempty"`
	Closed      bool           `json:"closed,omitempty"`
	FromVersion *int           `json:"from_version,omitempty"`
	ToVersion   *int           `json:"to_version,omitempty"`
	Deployed    bool           `json:"deployed"`
	Verified    any            `json:"verified"` // false, or its evidence
	Proven      []string       `json:"proven,omitempty"`
	Plan        []factDocument `json:"plan,omitempty"`
	// Rows say what an import or an edit made of each key.
	Rows  []playbooks.ImportRow `json:"rows,omitempty"`
	Steps []plan.StepRecord     `json:"steps"`
}

type factDocument struct {
	Label string `json:"label"`
	Text  string `json:"text"`
}

type verifiedDocument struct {
	Evidence string   `json:"evidence"`
	Services []string `json:"services"`
}

// engine returns the engine of this run.
func (a *app) engine(w *playbooks.World) *plan.Engine {
	return &plan.Engine{
		Dir: w.Dirs.State, Root: w.Project.Root, File: unusual(w.Project.File), Version: a.Version, Now: a.Now, Rand: a.Rand, Observer: a.observe,
		Force: a.Force, FS: a.Disk, Who: a.author(),
	}
}

// observe shows a run's progress: a line per step on a terminal, one object per
// step under --events, nothing when piped.
func (a *app) observe(e plan.Event) {
	a.reports.times.add(e)
	if a.globals.events {
		line, err := json.Marshal(struct {
			Schema string `json:"schema"`
			plan.Event
		}{"envctl.event/v1", e})
		if err == nil {
			fmt.Fprintln(a.ui.Out, string(line))
		}
		return
	}
	if e.Kind != plan.EventWarning && (a.ui.JSON || (!a.ui.ErrTTY && a.ui.Verbose == 0)) {
		return
	}
	text := e.Title
	if text == "" {
		text = e.Text
	}
	switch e.Kind {
	case plan.EventBegin:
		a.ui.Progress(fmt.Sprintf("[%d/%d] %s", e.N, e.Of, text))
	case plan.EventDone, plan.EventSkipped, plan.EventFailed, plan.EventUndone, plan.EventUndoFailed, plan.EventEnded:
		a.ui.Progress("")
		if e.Kind == plan.EventFailed || e.Kind == plan.EventUndone || e.Kind == plan.EventUndoFailed {
			a.ui.Note("  %s: %s", e.Kind, text)
		}
	case plan.EventWarning:
		a.ui.Warn("%s", e.Text)
	case plan.EventUndoing:
		a.ui.Progress("undoing " + text)
	case plan.EventNote:
		a.ui.Progress(fmt.Sprintf("[%d/%d] %s: %s", e.N, e.Of, e.Title, e.Text))
	default:
	}
}

// consent shows what will happen and asks for what the plan wants: the name of
// a protected environment, or yes where something restarts or is lost.
func (a *app) consent(ctx context.Context, p *plan.Plan) error {
	if p.Confirm == "" {
		if a.globals.yes || !a.asks(p) {
			return nil
		}
		if !a.ui.CanAsk() {
			return fault.New(fault.Refused, p.Playbook, "a step of it cannot be undone", "add --yes if it is meant; look first with --dry-run")
		}
		a.showPlan(ctx, p)
		ok, err := a.ui.Ask().Confirm(ctx, "go on?")
		if err == nil && !ok {
			err = fault.New(fault.Interrupted, p.Playbook, "not confirmed, nothing was written", "")
		}
		return err
	}
	if a.globals.confirm != "" {
		if a.globals.confirm != p.Confirm {
			return fault.Newf(fault.Refused, p.Playbook, "give --confirm "+p.Confirm, "--confirm %s is not the environment of this write", a.globals.confirm)
		}
		if !a.ui.JSON {
			a.showPlan(ctx, p)
		}
		return nil
	}
	if !a.ui.CanAsk() {
		return fault.Newf(fault.Refused, p.Playbook, "add --confirm "+p.Confirm+" (--yes is not enough); look first with --dry-run", "%s is protected", p.Confirm)
	}
	a.showPlan(ctx, p)
	typed, err := a.ui.Ask().Input(ctx, p.Confirm+" is protected; type its name to go on")
	if err == nil && strings.TrimSpace(typed) != p.Confirm {
		err = fault.New(fault.Refused, p.Playbook, "the name does not match, nothing was written", "")
	}
	return err
}

// asks tells whether a plan is worth a question where nothing is protected.
func (a *app) asks(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.Risk >= plan.Irreversible })
}

// showPlan writes a plan's facts to standard error.
func (a *app) showPlan(ctx context.Context, p *plan.Plan) {
	p.Settle(ctx)
	for _, line := range a.factLines(p.Facts, "  ", a.ui.ErrTTY) {
		a.ui.Note("%s", line)
	}
}

// The column of a plan's labels is as wide as the longest one, within these.
const narrowLabel, wideLabel = 9, 20

// factLines lays facts out in two columns; folded, for a terminal, at its width.
func (a *app) factLines(facts []plan.Fact, indent string, folded bool) []string {
	label := narrowLabel
	for _, f := range facts {
		if n := len(f.Label); n <= wideLabel {
			label = max(label, n)
		}
	}
	hang := len(indent) + label + 1
	var lines []string
	for _, f := range facts {
		line := fmt.Sprintf("%s%-*s %s", indent, label, f.Label, f.Text)
		for folded && utf8.RuneCountInString(line) > a.ui.Width() {
			at := a.ui.Width()
			runes := []rune(line)
			for at > hang && runes[at] != ' ' {
				at--
			}
			if at <= hang { // a word that is longer than the line
				break
			}
			lines = append(lines, strings.TrimRight(string(runes[:at]), " "))
			line = strings.Repeat(" ", hang) + strings.TrimLeft(string(runes[at:]), " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// warn says what a plan warns of, whether or not its facts are shown.
func (a *app) warn(p *plan.Plan) {
	for _, f := range p.Facts {
		if f.Label == playbooks.WarningFact {
			a.ui.Warn("%s", f.Text)
		}
	}
	p.Facts = slices.DeleteFunc(p.Facts, func(f plan.Fact) bool { return f.Label == playbooks.WarningFact })
}

// setPatience is how long a set waits for another run of its path: one key is
// right whatever its siblings become, so two of them are no conflict.
const setPatience = 30 * time.Second

// perform shows, asks, runs and reports a plan: the one way every write takes.
func (a *app) perform(ctx context.Context, w *playbooks.World, env config.Environment, p *plan.Plan) error {
	e := a.engine(w)
	stopped := e.Stopped(p)
	if err := unlessHalfRotated(stopped, p.Playbook, p.Component); err != nil {
		return err
	}
	p.Facts = append(p.Facts, waiting(stopped)...)
	if a.globals.dryRun {
		return a.endReport(p, a.dryRun(ctx, p))
	}
	a.warn(p)
	if err := a.consent(ctx, p); err != nil {
		return err
	}
	if p.Playbook == "set" {
		e.Wait = setPatience
	}
	if err := a.beginReport(ctx, p); err != nil {
		return err
	}
	res, err := e.Run(ctx, p)
	a.prune(ctx, e)
	return a.endReport(p, a.report(env, p, res, err), res.Record)
}

func (a *app) dryRun(ctx context.Context, p *plan.Plan) error {
	p.Settle(ctx)
	if a.ui.JSON || a.globals.events {
		doc := runDocument{Schema: "envctl.run/v1", Playbook: p.Playbook, Environment: p.Environment, Component: p.Component, State: "planned", DryRun: true, Verified: false, Rows: a.rows, Steps: []plan.StepRecord{}}
		for _, f := range p.Facts {
			doc.Plan = append(doc.Plan, factDocument{f.Label, f.Text})
		}
		for _, s := range p.Steps {
			doc.Steps = append(doc.Steps, plan.StepRecord{ID: s.ID, Title: s.Title, State: plan.StepPending})
		}
		return a.planned(doc)
	}
	for _, line := range a.factLines(p.Facts, "", a.ui.OutTTY) {
		a.ui.Print("%s", line)
	}
	for i, s := range p.Steps {
		way := ""
		if s.Undo == nil && s.Risk > plan.Reads {
			way = "  (cannot be undone)"
		}
		a.ui.Print("step %d    %s%s", i+1, s.Title, way)
	}
	a.ui.Note("dry run: nothing was written")
	return nil
}

// planned answers a dry run for machines: a document, or one line of a stream.
func (a *app) planned(doc any) error {
	if a.ui.JSON {
		return a.ui.Document(doc)
	}
	line, err := json.Marshal(doc)
	if err == nil {
		_, err = fmt.Fprintln(a.ui.Out, string(line))
	}
	return err
}

// report says how a run ended: what was written, what was deployed, what was
// read back, and only that.
func (a *app) report(env config.Environment, p *plan.Plan, res plan.Result, err error) error {
	doc := runDoc(res.Record)
	doc.Rows = a.rows
	why := ""
	for _, v := range receiptsOf(res.Record, "verify") {
		if v["evidence"] == "" {
			why = v["why"]
		}
	}
	if err == nil && doc.Deployed && doc.Verified == false {
		err = fault.New(fault.No, "verify "+p.Component+" in "+p.Environment, "unverified: deployed, but not proven by a running process: "+why, "run envctl trace KEY --env "+p.Environment+", or envctl doctor")
	}
	if a.ui.JSON {
		if doc.ID != "" {
			if derr := a.ui.Document(doc); derr != nil {
				return derr
			}
		}
		return err
	}
	if a.globals.events {
		return err
	}
	if doc.State == string(plan.Done) {
		for _, write := range receiptsOf(res.Record, "write") {
			a.sayWrite(write)
		}
		if retired := receiptOf(res.Record, "retire"); retired != nil && playbooks.Unchanged(retired) {
			a.ui.Warn("no key was retired: the keys changed while data was re-encrypted")
		} else if retired != nil {
			a.sayWrite(retired)
		}
		for _, reserved := range receiptsOf(res.Record, "reserve") {
			for _, field := range slices.Sorted(maps.Keys(reserved)) {
				if service, ok := strings.CutPrefix(field, "port."); ok {
					a.ui.Print("reserved port %s for %s", reserved[field], service)
				}
			}
		}
		for _, issued := range receiptsOf(res.Record, "credential") {
			a.sayIssued(issued)
		}
		a.sayDeploy(env, p, doc, why)
		if end := receiptOf(res.Record, "end"); end["kept"] != "" {
			a.ui.Warn("the old login still works: %s", end["kept"])
		}
		for _, what := range doc.Proven {
			a.ui.Lead(ui.Good, "proven", ": %s", what)
		}
	}
	return err
}

func runDoc(r plan.Record) runDocument {
	doc := runDocument{
		Schema: "envctl.run/v1", ID: r.ID, Playbook: r.Playbook, Environment: r.Environment, Component: r.Component,
		State: string(r.State), Closed: r.Closed, Verified: false, Steps: r.Steps,
	}
	if doc.Steps == nil {
		doc.Steps = []plan.StepRecord{}
	}
	if w := receiptOf(r, "write"); w != nil {
		doc.FromVersion, doc.ToVersion = number(w["from"]), number(w["to"])
		doc.Unchanged = playbooks.Unchanged(w)
	}
	if w := receiptOf(r, "retire"); w != nil && doc.FromVersion != nil {
		doc.ToVersion = number(w["to"])
	}
	if r.State != plan.Done {
		return doc
	}
	for _, s := range r.Steps {
		if what := s.Receipt["proven"]; what != "" && s.State == plan.StepDone {
			doc.Proven = append(doc.Proven, what)
		}
	}
	doc.Deployed = len(receiptsOf(r, "deploy")) > 0
	if v, ok := verified(r); ok {
		doc.Verified = v
	}
	return doc
}

// verified puts the evidence of all verify steps together: the weakest of it, or
// the application's own answer where one step had none.
func verified(r plan.Record) (verifiedDocument, bool) {
	all := receiptsOf(r, "verify")
	out := verifiedDocument{Services: []string{}}
	for _, v := range all {
		if v["evidence"] == "" {
			own := receiptOf(r, "prove")
			return verifiedDocument{Evidence: own["evidence"], Services: []string{own["services"]}}, own["evidence"] != ""
		}
		if out.Evidence == "" || v["evidence"] != "process" {
			out.Evidence = v["evidence"]
		}
		for _, service := range strings.Split(v["services"], ",") {
			if !slices.Contains(out.Services, service) {
				out.Services = append(out.Services, service)
			}
		}
	}
	return out, len(all) > 0
}

// receiptsOf returns the receipts of the finished steps called id, id.COMPONENT or
// id:ROUND.
func receiptsOf(r plan.Record, id string) []plan.Receipt {
	var out []plan.Receipt
	for _, s := range r.Steps {
		if (s.ID == id || strings.HasPrefix(s.ID, id+".") || strings.HasPrefix(s.ID, id+":")) && s.State == plan.StepDone && s.Receipt != nil {
			out = append(out, s.Receipt)
		}
	}
	return out
}

func receiptOf(r plan.Record, step string) plan.Receipt {
	for _, s := range r.Steps {
		if s.ID == step && s.State == plan.StepDone {
			return s.Receipt
		}
	}
	return nil
}

func number(s string) *int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil
	}
	return &n
}

// sayWrite prints the line of a write: path, versions, keys by fingerprint.
func (a *app) sayWrite(r plan.Receipt) {
	if playbooks.Unchanged(r) {
		a.ui.Print("%s  unchanged, still version %s", r["path"], r["to"])
		return
	}
	a.ui.Print("%s  %s → %s", r["path"], orNew(r["from"]), r["to"])
	for _, k := range playbooks.WrittenKeys(r) {
		old, fresh := r["old."+k], r["fp."+k]
		switch {
		case fresh == "":
			a.ui.Print("  %s removed (was %s)", k, short(old))
		case old == "":
			a.ui.Print("  %s set (%s)", k, short(fresh))
		default:
			a.ui.Print("  %s changed (%s → %s)", k, short(old), short(fresh))
		}
	}
	if between := r["between"]; between != "" {
		a.ui.Warn("someone else wrote version %s in between; your key was set on top, theirs are kept", between)
	}
}

// sayIssued prints what a credential is called, where it went and what was proven of
// it.
func (a *app) sayIssued(r plan.Receipt) {
	to := r["file"]
	if to == "" {
		to = "the deployer"
	}
	a.ui.Print("issued %s of %s  accessor %s, to %s", r["kind"], r["policy"], r["accessor"], to)
	a.ui.Print("  proven: reads %s; refused at %s", r["can"], r["cannot"])
}

// sayDeploy prints what is true of the running processes after a run.
func (a *app) sayDeploy(env config.Environment, p *plan.Plan, doc runDocument, why string) {
	v, ok := doc.Verified.(verifiedDocument)
	switch {
	case ok:
		a.ui.Lead(ui.Good, "deployed and verified", ": %s (%s)", strings.Join(v.Services, ", "), v.Evidence)
	case doc.Deployed:
		a.ui.Print("deployed, unverified: %s", why)
	case doc.Unchanged || len(receiptsOf(plan.Record{Steps: doc.Steps}, "write")) == 0:
	case doc.FromVersion == nil:
		a.ui.Print("written, not deployed")
	default:
		a.ui.Print("written (%s → %d), not deployed", orNew(strconv.Itoa(*doc.FromVersion)), *doc.ToVersion)
		if env.Deploy.Kind != config.DeployNone {
			a.ui.Note("next: envctl deploy %s --env %s", p.Component, p.Environment)
		}
	}
}

func orNew(v string) string {
	if v == "0" {
		return "new"
	}
	return v
}

// short cuts a fingerprint for people.
func short(fp string) string {
	if len(fp) > 8 {
		return fp[:8]
	}
	return fp
}

// age says how long ago t was.
func (a *app) age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := a.Now().Sub(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}
