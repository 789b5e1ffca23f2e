package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/playbooks"
)

func (a *app) runsCommand() *cli.Command {
	return &cli.Command{
		Name: "runs", Usage: "List the journal of playbooks", Category: "playbooks",
		Description: "A run that neither resume nor undo can end, because what it wrote was changed\n" +
			"again since, is ended by --close: the journal says so, nothing else is touched.\n" +
			fmt.Sprintf("The journals of the newest %d runs are kept, and of older ones those of the last %d days; a run\n", keptRuns, keptDays) +
			"that waits for resume or undo is kept until it ends. One whose journal is gone cannot be undone.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "close", Usage: "leave the stopped run `RUN` as it stands; takes nothing back"}},
		Action: a.action(0, 0, func(ctx context.Context, c *cli.Context) error {
			if c.IsSet("close") {
				if c.String("close") == "" {
					return fault.New(fault.Usage, "runs", "--close names no run", "see which there are: envctl runs")
				}
				return a.closeRun(ctx, c.String("close"))
			}
			records, err := a.journal().List()
			if a.ui.JSON {
				if records == nil {
					records = []plan.Record{}
				}
				return errors.Join(a.ui.Document(struct {
					Schema string        `json:"schema"`
					Runs   []plan.Record `json:"runs"`
				}{"envctl.runs/v1", records}), err)
			}
			rows := make([][]ui.Cell, 0, len(records))
			for _, r := range records {
				rows = append(rows, []ui.Cell{
					ui.C("%s", r.ID), ui.Toned(stateTone(r.State), string(r.State)), ui.C("%s", r.Playbook),
					ui.C("%s", r.Environment), ui.C("%s", r.Component), ui.C("%s", r.StartedAt.Format("2006-01-02T15:04:05Z")), ui.C("%s", next(r)),
				})
			}
			return errors.Join(a.ui.Table([]string{"RUN", "STATE", "PLAYBOOK", "ENVIRONMENT", "COMPONENT", "STARTED", ""}, rows), err)
		}),
	}
}

// next is what a run waits for, or that it waits no longer.
func next(r plan.Record) string {
	if r.Closed {
		return "closed"
	}
	return r.Next()
}

// closeRun ends a stopped run in the journal, and says what of it stands.
func (a *app) closeRun(ctx context.Context, id string) error {
	if a.globals.dryRun {
		return fault.New(fault.Usage, "runs", "--close has no --dry-run", "look with envctl runs")
	}
	res, err := a.journal().Close(ctx, id)
	if err != nil {
		return err
	}
	r := res.Record
	if a.ui.JSON {
		return a.ui.Document(runDoc(r))
	}
	switch {
	case res.Already && r.Closed:
		a.ui.Note("run %s is closed already, nothing was done", id)
		return nil
	case res.Already:
		a.ui.Note("run %s is %s, there is nothing to close", id, r.State)
		return nil
	}
	a.ui.Print("run %s closed: it stays %s, nothing was taken back", id, r.State)
	for _, s := range r.Steps {
		if s.State != plan.StepPending {
			a.ui.Print("  %s: %s", s.State, s.Title)
		}
	}
	return nil
}

func stateTone(s plan.State) ui.Tone {
	switch s {
	case plan.Done:
		return ui.Good
	case plan.Failed:
		return ui.Bad
	case plan.Partial, plan.Running:
		return ui.Caution
	case plan.Undone:
		return ui.Faint
	}
	return ui.Plain
}

// How many journals of runs that ended are kept whatever their age, and for how
// long the others.
const (
	keptRuns = 1000
	keptDays = 90
)

// prune removes the journals that nobody is likely to ask for any more, and says so.
// It is no part of the command: what it cannot remove it leaves.
func (a *app) prune(ctx context.Context, e *plan.Engine) {
	n, err := e.Prune(ctx, keptRuns, a.Now().AddDate(0, 0, -keptDays))
	if n > 0 {
		a.ui.Note("removed the journals of %d runs that ended, the oldest beyond the newest %d: they were more than %d days old, and cannot be undone any more", n, keptRuns, keptDays)
	}
	if err != nil && a.ui.Verbose > 0 {
		a.ui.Warn("old journals are left: %v", err)
	}
}

// waiting warns of runs that stopped and wait to be resumed or undone.
func waiting(stopped []plan.Record) []plan.Fact {
	var facts []plan.Fact
	for _, r := range stopped {
		facts = append(facts, plan.Fact{Label: playbooks.WarningFact, Text: fmt.Sprintf("run %s (%s) of %s is %s: %s", r.ID, r.Playbook, r.Environment, r.State, r.Next())})
	}
	return facts
}

// unlessHalfRotated refuses to rotate on top of the same rotation that stopped after
// its write began: what most processes hold would be pushed out of the overlap by a
// key that hardly any process ever had. stopped are runs of the environment.
func unlessHalfRotated(stopped []plan.Record, playbook, component string) error {
	if !strings.HasPrefix(playbook, "rotate ") {
		return nil
	}
	wrote := func(s plan.StepRecord) bool {
		return strings.HasPrefix(s.ID, "write") && s.State != plan.StepPending && s.State != plan.StepUndone
	}
	for _, r := range stopped {
		same := r.Playbook == playbook || strings.HasPrefix(r.Playbook, "rotate --") // of a batch, the components are all that is known
		if same && slices.Contains(strings.Split(r.Component, ","), component) && slices.ContainsFunc(r.Steps, wrote) {
			return fault.Newf(fault.Refused, playbook, r.Next(), "run %s (%s) is %s, and another on top would end the value that still counts", r.ID, r.Playbook, r.State)
		}
	}
	return nil
}

// journal is the engine as far as it needs no project.
func (a *app) journal() *plan.Engine {
	return &plan.Engine{Dir: a.dirs().State, Version: a.Version, Now: a.Now, Rand: a.Rand, Observer: a.observe, Force: a.Force, FS: a.Disk}
}

func (a *app) resumeCommand() *cli.Command {
	return a.continuing("resume", "Finish a run that stopped part-way", (*plan.Engine).Resume)
}

func (a *app) undoCommand() *cli.Command {
	return a.continuing("undo", "Take back what a run did", (*plan.Engine).Undo)
}

type continuation = func(*plan.Engine, context.Context, string, func(plan.Header) (*plan.Plan, error)) (plan.Result, error)

func (a *app) continuing(name, usage string, do continuation) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "RUN", Category: "playbooks",
		Flags: []cli.Flag{a.reportFlag()},
		Action: a.asking(1, 1, func(ctx context.Context, c *cli.Context) error {
			id := c.Args().First()
			record, err := a.journal().Load(id)
			if err != nil {
				return err
			}
			w, err := a.openAt(record.Header.Root, record.Header.File)
			if err != nil {
				return err
			}
			e, err := w.Project.Environment(record.Environment)
			if err != nil { // env create has not declared it yet, or took it back
				e = config.Environment{Name: record.Environment}
			}
			if a.globals.dryRun {
				p, err := w.Rebuild(ctx, record.Header)
				if err != nil {
					return err
				}
				return a.dryRun(ctx, p)
			}
			p := &plan.Plan{Playbook: record.Playbook, Environment: record.Environment, Component: record.Component}
			res, err := do(a.engine(w), ctx, id, func(h plan.Header) (*plan.Plan, error) {
				made, err := w.Rebuild(ctx, h)
				if err == nil {
					p = made
				}
				if err == nil && (name != "undo" || made.Confirm != "") { // the engine itself refuses what cannot be undone
					err = a.consent(ctx, made)
				}
				if err == nil {
					err = a.beginReport(ctx, p)
				}
				return made, err
			})
			p.Playbook = name + " of " + p.Playbook // only shown from here on
			if err == nil && res.Already {
				a.ui.Note("run %s is %s already, nothing was done", id, res.Record.State)
				if a.ui.JSON { // what it did is history: nothing was read back now
					doc := runDoc(res.Record)
					doc.Deployed, doc.Verified = false, false
					return a.ui.Document(doc)
				}
				return nil
			}
			switch {
			case err != nil && res.Record.State == plan.Done: // what it did is history
			case name != "undo" || err != nil:
				err = a.report(e, p, res, err)
			case a.ui.JSON:
				err = a.ui.Document(runDoc(res.Record))
			default:
				a.ui.Print("run %s undone", id)
			}
			return a.endReport(p, err, res.Record)
		}),
	}
}
