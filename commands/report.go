package commands

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/playbooks"
)

// reporting is the report that a run leaves behind, for a change ticket.
type reporting struct {
	file  string // as given; "" for none
	who   string // "": the author
	times timeline
	kept  []plan.Record // of runs whose report comes when all are done
}

// reportMode: a report holds no value, but versions, hosts and fingerprints are
// nobody else's business until it is attached somewhere.
const reportMode = 0o600

func (a *app) reportFlag() cli.Flag {
	return &cli.StringFlag{Name: "report", Usage: "write a Markdown report of the run to `FILE`, also when it fails", Destination: &a.reports.file}
}

// timeline is when each step of the runs of this process began and ended.
type timeline map[[2]string][2]time.Time

func (t *timeline) add(e plan.Event) {
	if *t == nil {
		*t = timeline{}
	}
	at := [2]string{e.Run, e.Step}
	span := (*t)[at]
	switch e.Kind {
	case plan.EventBegin, plan.EventUndoing:
		if span[0].IsZero() {
			span[0] = e.At
		}
	case plan.EventDone, plan.EventFailed, plan.EventUndone, plan.EventUndoFailed:
		span[1] = e.At
	default:
		return
	}
	(*t)[at] = span
}

// beginReport puts a first report in its place before anything happens: where that
// fails nothing is begun, and a process that is killed leaves a report that says so.
func (a *app) beginReport(ctx context.Context, p *plan.Plan) error {
	if a.reports.file != "" || a.Getenv("GITHUB_STEP_SUMMARY") != "" {
		p.Settle(ctx)
	}
	if a.reports.file == "" {
		return nil
	}
	text := a.reportText(p, nil, nil)
	text += "\nThe run has begun and not ended when this was written: look with `envctl runs`.\n"
	err := atomicfile.Write(a.abs(a.reports.file), []byte(text), reportMode)
	return fault.Wrap(err, fault.KindOf(err), "report to "+a.reports.file, "name a file that can be written with --report; nothing was changed")
}

// endReport writes the report of what was done, and returns answer. A report that is
// lost now is a warning: what was done is done.
func (a *app) endReport(p *plan.Plan, answer error, records ...plan.Record) error {
	records = slices.DeleteFunc(records, func(r plan.Record) bool { return r.ID == "" })
	if a.reports.file == "" && a.Getenv("GITHUB_STEP_SUMMARY") == "" {
		return answer
	}
	text := a.reportText(p, records, answer)
	if a.reports.file != "" {
		if err := atomicfile.Write(a.abs(a.reports.file), []byte(text), reportMode); err != nil {
			a.ui.Warn("the report is not written: %v", err)
		}
		return answer
	}
	if a.inGitHub() {
		if err := appendSummary(a.Getenv("GITHUB_STEP_SUMMARY"), text); err != nil {
			a.ui.Warn("the step's summary is not written: %s", plainCause(err))
		}
	}
	return answer
}

// appendSummary adds to the summary that GitHub shows of a step.
func appendSummary(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// md is markdown for a page on a forge, where @name calls people and #1 links.
func md(s string) string {
	return strings.NewReplacer("@", "&#64;", "#", `\#`).Replace(markdown(s))
}

// reportText is the report: no values, whatever happened.
func (a *app) reportText(p *plan.Plan, records []plan.Record, cause error) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	where := strings.Trim(strings.Join([]string{p.Project, p.Environment, p.Component}, "/"), "/")
	line("# envctl %s: %s", md(p.Playbook), md(where))
	line("")
	table(&b, []string{"", ""}, a.headline(records, cause))
	if cause != nil {
		line("\n**%s**", md(cause.Error()))
		if hint := fault.HintOf(cause); hint != "" {
			line("\nNext: %s", md(hint))
		}
	}
	if len(p.Facts) > 0 {
		line("\n## Plan\n")
		var rows [][]string
		for _, f := range p.Facts {
			rows = append(rows, []string{f.Label, f.Text})
		}
		table(&b, []string{"", ""}, rows)
	}
	for _, r := range records {
		if r.ID != "" {
			a.reportRun(&b, r, len(records) > 1)
		}
	}
	return b.String()
}

// headline is who did it, when, and how it ended.
func (a *app) headline(records []plan.Record, cause error) [][]string {
	state := "planned"
	switch {
	case len(records) > 0:
		states := map[plan.State]int{}
		for _, r := range records {
			states[r.State]++
		}
		var parts []string
		for _, s := range []plan.State{plan.Done, plan.Undone, plan.Failed, plan.Partial, plan.Running} {
			if n := states[s]; n > 0 && len(records) == 1 {
				parts = append(parts, string(s))
			} else if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, s))
			}
		}
		state = strings.Join(parts, ", ")
	case cause != nil:
		state = "nothing was changed"
	}
	rows := [][]string{{"state", state}, {"operator", cmp.Or(a.reports.who, a.author())}, {"envctl", a.Version}}
	if len(records) == 0 {
		return append(rows, []string{"at", stampText(a.Now())})
	}
	start, end := records[0].StartedAt, records[0].EndedAt
	for _, r := range records {
		if r.StartedAt.Before(start) {
			start = r.StartedAt
		}
		if r.EndedAt.After(end) {
			end = r.EndedAt
		}
	}
	rows = append(rows, []string{"started", stampText(start)})
	if !end.IsZero() {
		rows = append(rows, []string{"ended", stampText(end) + ", after " + took(start, end)})
	}
	return rows
}

func (a *app) reportRun(b *strings.Builder, r plan.Record, several bool) {
	fmt.Fprintf(b, "\n## Run %s", md(r.ID))
	if several {
		fmt.Fprintf(b, ": %s", md(r.Component))
	}
	fmt.Fprintf(b, "\n\n")
	rows := [][]string{{"state", string(r.State)}, {"target", strings.Trim(r.Project+"/"+r.Environment+"/"+r.Component, "/")}}
	for _, w := range writesOf(r) {
		text := w["path"] + " " + orNew(w["from"]) + " → " + w["to"]
		if playbooks.Unchanged(w) {
			text = w["path"] + " unchanged, version " + w["to"]
		}
		rows = append(rows, []string{"version", text})
	}
	for _, d := range receiptsOf(r, "deploy") {
		rows = append(rows, []string{"deployed", strings.TrimSpace(d["deployment"] + " " + d["started"])})
	}
	proofs := receiptsOf(r, "verify")
	for _, v := range proofs {
		if v["evidence"] == "" {
			rows = append(rows, []string{"not proven", v["why"]})
			continue
		}
		rows = append(rows, []string{"proven", strings.ReplaceAll(v["services"], ",", ", ") + " by " + v["evidence"]})
	}
	for _, s := range r.Steps {
		if what := s.Receipt["proven"]; what != "" && s.State == plan.StepDone && r.State == plan.Done {
			rows = append(rows, []string{"proven", what})
		}
	}
	if r.State == plan.Done && len(proofs) == 0 && len(receiptsOf(r, "write")) > 0 {
		rows = append(rows, []string{"not deployed", "written only: no process was looked at"})
	}
	if next := r.Next(); next != "" {
		rows = append(rows, []string{"next", next})
	}
	table(b, []string{"", ""}, rows)
	if keys := writtenRows(r); len(keys) > 0 {
		fmt.Fprint(b, "\n")
		table(b, []string{"path", "key", "was", "is"}, keys)
	}
	fmt.Fprint(b, "\n")
	var steps [][]string
	for _, s := range r.Steps {
		begin, took1 := "", ""
		if span := a.reports.times[[2]string{r.ID, s.ID}]; !span[0].IsZero() {
			begin = stampText(span[0])
			if !span[1].IsZero() {
				took1 = took(span[0], span[1])
			}
		}
		steps = append(steps, []string{s.ID, s.Title, string(s.State), begin, took1, s.Error})
	}
	table(b, []string{"step", "what", "state", "began", "took", ""}, steps)
}

// writesOf are a run's writes: those it set out to make, and what it retired.
func writesOf(r plan.Record) []plan.Receipt {
	return append(receiptsOf(r, "write"), receiptsOf(r, "retire")...)
}

// writtenRows are the keys of a run's writes, by fingerprint.
func writtenRows(r plan.Record) [][]string {
	var rows [][]string
	for _, w := range writesOf(r) {
		for _, k := range playbooks.WrittenKeys(w) {
			rows = append(rows, []string{w["path"], k, dash(short(w["old."+k])), dash(short(w["fp."+k]))})
		}
	}
	return rows
}

// table writes a Markdown table.
func table(b *strings.Builder, header []string, rows [][]string) {
	write := func(cells []string, escape func(string) string) {
		b.WriteString("|")
		for _, c := range cells {
			b.WriteString(" " + escape(c) + " |")
		}
		b.WriteString("\n")
	}
	same := func(s string) string { return s }
	write(header, same)
	write(slices.Repeat([]string{"---"}, len(header)), same)
	for _, r := range rows {
		write(r, md)
	}
}

func stampText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// took says how long something took.
func took(from, to time.Time) string {
	return fmt.Sprintf("%.1f s", max(0, to.Sub(from).Seconds()))
}
