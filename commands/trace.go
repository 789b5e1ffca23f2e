package commands

import (
	"context"
	"fmt"
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
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "all-envs", Usage: "in every environment of the file"}},
		Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
			return a.trace(ctx, c.Args().First(), c.Bool("all-envs"))
		}),
	}
}

func (a *app) trace(ctx context.Context, variable string, all bool) error {
	if err := variableArgument("trace", variable); err != nil {
		return err
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	var names []string
	if all {
		names = w.Project.EnvironmentNames()
	} else {
		e, err := a.readEnv(w)
		if err != nil {
			return err
		}
		names = []string{e.Name}
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
		if err != nil {
			return err
		}
		t, err := w.Trace(ctx, playbooks.Target{Environment: e, Component: comp}, variable, letters)
		if err != nil {
			last = err
			continue
		}
		traces = append(traces, t)
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
	for i, t := range traces {
		if i > 0 && a.ui.OutTTY {
			a.ui.Print("")
		}
		if err := a.showTrace(t); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) showTrace(t *playbooks.Trace) error {
	v := t.Verdict
	tone := ui.Bad
	switch v.Status {
	case "consistent":
		tone = ui.Good
	case "unknown", "unverified":
		tone = ui.Caution
	}
	fmt.Fprintln(a.ui.Out, ui.Clean(t.Variable+"  "+t.Environment+"/"+t.Component+"  ")+a.ui.Paint(tone, v.Status)+": "+ui.Clean(v.Because))
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
	tone := ui.Plain
	switch {
	case s.Context || s.State == "not-configured":
		tone = ui.Faint
	case s.State == "unreachable" || s.State == "denied":
		tone = ui.Caution
	}
	return []ui.Cell{ui.Toned(tone, s.Source), ui.C("%s", where), ui.Toned(tone, s.State), ui.Toned(ui.Strong, s.Value), ui.C("%s", detail)}
}
