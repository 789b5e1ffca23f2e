package commands

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
	"envctl/providers"
)

func (a *app) diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "Compare two environments or versions, key by key", ArgsUsage: "A B", Category: "values",
		Description: "A and B are environments (staging) or versions of them (staging@7). Equal values show equal fingerprints.",
		Flags:       diffFlags(),
		Action: a.reading(2, 2, func(ctx context.Context, c *cli.Context) error {
			return a.diff(ctx, c.Args().Get(0), c.Args().Get(1), c.Bool("all"), c.Bool("reveal"), c.Bool("exit-code"))
		}),
	}
}

func diffFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "also the keys that are the same"},
		&cli.BoolFlag{Name: "exit-code", Usage: "exit 1 when something differs"},
		revealFlag(),
	}
}

func (a *app) diff(ctx context.Context, left, right string, all, reveal, exit bool) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	components := w.Project.ComponentNames()
	if c := a.globals.component; c != "" {
		components = []string{c}
	}
	type row struct {
		playbooks.Difference
		LeftShown  *string `json:"left_value,omitempty"`
		RightShown *string `json:"right_value,omitempty"`
	}
	doc := struct {
		Schema string `json:"schema"`
		Left   string `json:"left"`
		Right  string `json:"right"`
		Keys   []row  `json:"keys"`
		Differ int    `json:"differ"`
	}{"envctl.diff/v1", left, right, []row{}, 0}
	for _, comp := range components {
		if _, err := w.Project.Component(comp); err != nil {
			return err
		}
		var sides [2]playbooks.Side
		for i, s := range []string{left, right} {
			name, v, err := playbooks.ParseSide(s)
			if err != nil {
				return err
			}
			e, err := w.Project.Environment(name)
			if err != nil {
				return err
			}
			if v != providers.Latest && len(components) > 1 {
				return fault.New(fault.Usage, "diff "+s, "a version belongs to one component", "name it with --component")
			}
			sides[i] = playbooks.Side{Target: playbooks.Target{Environment: e, Component: comp}, Version: v}
		}
		diffs, err := w.Diff(ctx, sides[0], sides[1])
		if err != nil {
			return err
		}
		for _, d := range diffs {
			if d.State != "same" {
				doc.Differ++
			}
			if reveal {
				a.mask(d.LeftValue, d.RightValue)
			}
			doc.Keys = append(doc.Keys, row{d, revealed(d.LeftValue, reveal), revealed(d.RightValue, reveal)})
		}
	}
	var end error
	if exit && doc.Differ > 0 {
		end = silentError{1}
	}
	if a.ui.JSON {
		return errors.Join(a.ui.Document(doc), end)
	}
	var rows [][]ui.Cell
	for _, d := range doc.Keys {
		if d.State == "same" && !all {
			continue
		}
		l, r := short(d.Left), short(d.Right)
		if reveal {
			l, r = shown(d.LeftValue, true), shown(d.RightValue, true)
		}
		tone := map[string]ui.Tone{"changed": ui.Caution, "only-left": ui.Bad, "only-right": ui.Good}[d.State]
		rows = append(rows, []ui.Cell{ui.C("%s", d.Key), ui.C("%s", d.Component), ui.Toned(tone, d.State), ui.C("%s", dash(l)), ui.C("%s", dash(r))})
	}
	if err := a.ui.Table([]string{"KEY", "COMPONENT", "STATE", left, right}, rows); err != nil {
		return err
	}
	a.ui.Note("%d of %d keys differ", doc.Differ, len(doc.Keys))
	return end
}
