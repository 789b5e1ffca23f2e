package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
)

func (a *app) traceCommand() *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "Follow one variable from its declaration to the running process", ArgsUsage: "KEY", Category: "questions",
		Description: "The same letter means the same value. Exit 0: consistent; 1: stale, drift, missing, undeclared, shadowed or\nunverified; 5: known nowhere; 7: unknown.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "all-envs", Usage: "one column per environment"}},
		Action: a.reading(1, 1, func(ctx context.Context, c *cli.Context) error {
			return a.trace(ctx, c.Args().First(), c.Bool("all-envs"))
		}),
	}
}

func (a *app) trace(ctx context.Context, variable string, all bool) error {
	if err := a.variableArgument("trace", variable); err != nil {
		return err
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	names, err := a.readEnvs(w, all)
	if err != nil {
		return err
	}
	letters := &playbooks.Letters{}
	var traces []*playbooks.Trace
	var last error
	for _, n := range names {
		e, err := w.Project.Environment(n)
		if err != nil {
			return err
		}
		comp, err := w.ComponentTraced(ctx, e, a.globals.component, variable)
		var t *playbooks.Trace
		if err == nil {
			t, err = w.Trace(ctx, playbooks.Target{Environment: e, Component: comp}, variable, letters)
		}
		switch {
		case err == nil:
			traces = append(traces, t)
		case all && fault.Is(err, fault.NotFound): // it may be known in another one
			last = err
		default:
			return err
		}
	}
	if len(traces) == 0 {
		return last
	}
	if err := a.showTraces(traces, all); err != nil {
		return err
	}
	worst := 0
	for _, t := range traces {
		switch t.Verdict.Status {
		case "consistent":
		case "unknown":
			worst = exitCode(fault.New(fault.Unavailable, "", "", ""))
		default:
			worst = max(worst, 1)
		}
	}
	if worst > 0 {
		return silentError{worst}
	}
	return nil
}

func (a *app) showTraces(traces []*playbooks.Trace, all bool) error {
	if a.ui.JSON {
		if all {
			return a.ui.Document(struct {
				Schema       string             `json:"schema"`
				Variable     string             `json:"variable"`
				Environments []*playbooks.Trace `json:"environments"`
			}{"envctl.trace/v1", traces[0].Variable, traces})
		}
		return a.ui.Document(traces[0])
	}
	if all {
		return a.showColumns(traces)
	}
	return a.showTrace(traces[0])
}

// showColumns shows one variable in several environments: a row per layer and
// source, a column per environment.
func (a *app) showColumns(traces []*playbooks.Trace) error {
	header := []string{traces[0].Variable}
	var order []string
	cells := map[string][]ui.Cell{}
	put := func(row string, column int, c ui.Cell) {
		if cells[row] == nil {
			order = append(order, row)
			cells[row] = make([]ui.Cell, len(traces))
			for i := range cells[row] {
				cells[row][i] = ui.Toned(ui.Faint, "-")
			}
		}
		at := &cells[row][column]
		switch {
		case at.Text == "-":
			*at = c
		case !slices.Contains(strings.Fields(at.Text), c.Text): // several processes, several values
			at.Text += " " + c.Text
		}
	}
	for i, t := range traces {
		header = append(header, t.Environment)
		for _, l := range t.Layers {
			if l.State != "not-configured" {
				put(l.Layer, i, ui.C("%s", l.State))
			}
		}
		for _, s := range t.Sources {
			if s.Context && s.State == "not-configured" {
				continue
			}
			row := s.Source
			if s.Key != "" {
				row += " " + s.Key
			}
			if s.Value != "" {
				put(row, i, ui.Toned(ui.Strong, s.Value))
			} else {
				put(row, i, ui.Toned(sourceTone(s), s.State))
			}
		}
	}
	for i, t := range traces {
		put("verdict", i, ui.Toned(verdictTone(t.Verdict.Status), t.Verdict.Status))
	}
	rows := make([][]ui.Cell, len(order))
	for i, name := range order {
		rows[i] = append([]ui.Cell{ui.C("%s", name)}, cells[name]...)
	}
	a.nameColumns(header)
	if err := a.ui.Table(header, rows); err != nil {
		return err
	}
	for _, t := range traces {
		if t.Verdict.Status != "consistent" {
			a.ui.Note("%s: %s", t.Environment, t.Verdict.Because)
		}
		if t.Verdict.Fix != "" {
			a.ui.Note("next: %s", t.Verdict.Fix)
		}
	}
	return nil
}

func verdictTone(status string) ui.Tone {
	switch status {
	case "consistent":
		return ui.Good
	case "unknown", "unverified":
		return ui.Caution
	}
	return ui.Bad
}

func sourceTone(s playbooks.SourceRow) ui.Tone {
	switch {
	case s.Context || s.State == "not-configured":
		return ui.Faint
	case s.State == "unreachable" || s.State == "denied":
		return ui.Caution
	}
	return ui.Plain
}

func (a *app) showTrace(t *playbooks.Trace) error {
	v := t.Verdict
	fmt.Fprintln(a.ui.Out, ui.Clean(t.Variable+"  "+t.Environment+"/"+t.Component+"  ")+a.ui.Paint(verdictTone(v.Status), v.Status)+": "+ui.Clean(v.Because))
	var rows [][]ui.Cell
	for _, l := range t.Layers {
		if l.State == "not-configured" {
			continue
		}
		where := l.File
		if l.Line > 0 {
			where = fmt.Sprintf("%s:%d", l.File, l.Line)
		}
		rows = append(rows, []ui.Cell{ui.C("%s", l.Layer), ui.C("%s", where), ui.C("%s", l.State), ui.C(""), ui.C("%s", l.Detail)})
	}
	for _, s := range t.Sources {
		if s.Context && s.State == "not-configured" {
			continue // --json has it
		}
		rows = append(rows, a.sourceCells(s))
	}
	if err := a.ui.Table([]string{"WHERE", "LOCATION", "STATE", "VALUE", ""}, rows); err != nil {
		return err
	}
	if v.Fix != "" {
		a.ui.Note("next: %s", v.Fix)
	}
	return nil
}

func (a *app) sourceCells(s playbooks.SourceRow) []ui.Cell {
	where := s.Location
	switch {
	case s.Key != "":
		where += "#" + s.Key
	case s.PID != 0:
		where += fmt.Sprintf(" %d %s", s.PID, s.Exe)
	case s.Line > 0:
		where = fmt.Sprintf("%s:%d", where, s.Line)
	}
	detail := s.Detail
	add := func(text string) {
		if detail != "" {
			detail = text + ", " + detail
		} else {
			detail = text
		}
	}
	if s.StartedAt != nil {
		add("started " + s.StartedAt.Format(time.RFC3339))
	}
	if s.MatchesVersion > 0 {
		add(fmt.Sprintf("= version %d", s.MatchesVersion))
	}
	if s.Version > 0 {
		text := fmt.Sprintf("version %d", s.Version)
		if s.ChangedAt != nil {
			text += " of " + s.ChangedAt.Format(time.RFC3339)
		}
		add(text)
	}
	if s.PartOf != "" {
		add("part of " + s.PartOf)
	}
	tone := sourceTone(s)
	return []ui.Cell{ui.Toned(tone, s.Source), ui.C("%s", where), ui.Toned(tone, s.State), ui.Toned(ui.Strong, s.Value), ui.C("%s", detail)}
}
