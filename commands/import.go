package commands

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/playbooks"
	"envctl/providers/dotenv"
)

func (a *app) importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "Bring a dotenv file into the store, in one write", ArgsUsage: "FILE|-", Category: "values",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "allow-empty", Usage: "also the keys without a value"},
			&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"},
		},
		Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
			return a.importFile(ctx, c.Args().First(), c.Bool("allow-empty"), c.Bool("deploy"))
		}),
	}
}

func (a *app) importFile(ctx context.Context, name string, allowEmpty, deploy bool) error {
	w, t, err := a.writeTarget(ctx, "")
	if err != nil {
		return err
	}
	src, err := a.readInput(name)
	if err != nil {
		return err
	}
	file, err := dotenv.Parse(name, src)
	if err != nil {
		return err
	}
	rows, patch, err := w.Importing(ctx, t, file, allowEmpty)
	if err != nil {
		return err
	}
	a.showImport(rows)
	if len(patch) == 0 {
		if a.ui.JSON {
			return a.ui.Document(runDocument{
				Schema: "envctl.run/v1", Playbook: "import", Environment: t.Environment.Name, Component: t.Component,
				State: "done", Unchanged: true, Verified: false, Steps: []plan.StepRecord{},
			})
		}
		a.ui.Print("%s  unchanged", w.Path(t))
		return nil
	}
	p, err := w.Set(ctx, t, "import", patch, deploy)
	if err != nil {
		return err
	}
	for _, r := range rows {
		p.Facts = append(p.Facts, factOf(r.State, r.Key))
	}
	return a.perform(ctx, w, t.Environment, p)
}

// showImport shows what an import would do to each key.
func (a *app) showImport(rows []playbooks.ImportRow) {
	tones := map[string]ui.Tone{"added": ui.Good, "changed": ui.Caution, "refused": ui.Bad}
	for _, r := range rows {
		if r.State != "unchanged" {
			a.ui.Note("  %s %s%s", a.ui.Paint(tones[r.State], fmt.Sprintf("%-9s", r.State)), r.Key, because(r.Why))
		}
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return "  (" + why + ")"
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	if name != "-" {
		return readFile(a.abs(name), "read "+name)
	}
	data, err := io.ReadAll(io.LimitReader(a.ui.In, inputLimit))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "read standard input", "")
	}
	return data, nil
}
