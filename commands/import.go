package commands

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/playbooks"
	"envctl/providers/formats"
)

type importOptions struct {
	file, format, at                string
	allowEmpty, skipRefused, deploy bool
}

func (a *app) importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "Bring a file's variables into the store, in one write", ArgsUsage: "FILE|-", Category: "values",
		Description: "Reads " + formats.Names() + ": by --format, else by the file's name (a .yaml file by what stands in it); standard\n" +
			"input is dotenv unless --format says otherwise. Shows what each key would become, and writes once, on the version it\n" +
			"compared with. Nothing is written by half: a file that cannot be read stops the import, and so does a variable that is\n" +
			"refused, unless --skip-refused leaves it out.\n\n" +
			"A number or a boolean keeps its text where every reader writes it back as it stands (8080, 0.5, true). What readers\n" +
			"write back differently (010, 1.10, 1e3, yes, a date) is refused until it is put in quotes, and so is a $ that the\n" +
			"file's reader would replace: the store holds values, not references.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "allow-empty", Usage: "also the keys without a value"},
			&cli.StringFlag{Name: "at", Usage: "the `PART` of the file: a.b in JSON and YAML (env in Helm values), a compose service, an INI section, a Secret's name"},
			&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"},
			&cli.StringFlag{Name: "format", Usage: "the file's `FORMAT`: " + formats.Names()},
			a.reportFlag(),
			&cli.BoolFlag{Name: "skip-refused", Usage: "leave out what cannot be imported, and write the rest"},
		},
		Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
			return a.importFile(ctx, importOptions{
				file: c.Args().First(), format: c.String("format"), at: c.String("at"),
				allowEmpty: c.Bool("allow-empty"), skipRefused: c.Bool("skip-refused"), deploy: c.Bool("deploy"),
			})
		}),
	}
}

func (a *app) importFile(ctx context.Context, o importOptions) error {
	w, t, err := a.writeTarget(ctx)
	if err != nil {
		return err
	}
	name := o.file
	if name == "-" {
		name = "standard input"
	}
	src, err := unless(ctx, "read "+o.file, func() ([]byte, error) { return a.readInput(o.file) })
	if err != nil {
		return err
	}
	format := formats.Guess(o.file, src)
	if o.format != "" {
		if format, err = formats.Parse(o.format); err != nil {
			return err
		}
	}
	items, err := formats.Read(format, name, src, formats.ReadOptions{At: o.at})
	if err != nil {
		return err
	}
	c, err := w.Importing(ctx, t, name, items, o.allowEmpty)
	if err != nil {
		return err
	}
	a.showRows(name, c.Rows)
	if n := c.Refused(); len(n) > 0 && !o.skipRefused {
		if a.ui.JSON {
			if err := a.ui.Document(rowsDocument("import", "refused", c)); err != nil {
				return err
			}
		}
		return fault.Newf(fault.Refused, "import "+name, "correct the file, or add --skip-refused to leave them out",
			"%s, and nothing was written: %s (%s)", howMany(len(n), "variable is refused", "variables are refused"), n[0].Key, n[0].Why)
	}
	return a.applyRows(ctx, w, c, "import", fmt.Sprintf("envctl import %s --env %s --component %s", o.file, t.Environment.Name, t.Component), o.deploy)
}

// applyRows writes what a comparison found, or says that there is nothing to write.
func (a *app) applyRows(ctx context.Context, w *playbooks.World, c *playbooks.Comparison, playbook, again string, deploy bool) error {
	if len(c.Patch) == 0 {
		if a.ui.JSON {
			doc := rowsDocument(playbook, "done", c)
			doc.Unchanged = true
			return a.ui.Document(doc)
		}
		a.ui.Print("%s  unchanged", c.Path)
		return nil
	}
	a.rows = c.Rows
	p, err := w.Apply(ctx, c, playbook, again, deploy)
	if err != nil {
		return err
	}
	if playbook == "import" && !a.ui.JSON { // its rows were shown, with more to each
		p.Facts = slices.DeleteFunc(p.Facts, func(f plan.Fact) bool {
			return slices.ContainsFunc(c.Rows, func(r playbooks.ImportRow) bool { return f.Label == r.State && f.Text == r.Key })
		})
	}
	return a.perform(ctx, w, c.Target.Environment, p)
}

// rowsDocument is the document of a comparison that wrote nothing.
func rowsDocument(playbook, state string, c *playbooks.Comparison) runDocument {
	return runDocument{
		Schema: "envctl.run/v1", Playbook: playbook, Environment: c.Target.Environment.Name, Component: c.Target.Component,
		State: state, Verified: false, Rows: c.Rows, Steps: []plan.StepRecord{},
	}
}

// showRows shows what each key would become.
func (a *app) showRows(file string, rows []playbooks.ImportRow) {
	say := a.ui.Note
	if a.globals.dryRun && !a.ui.JSON { // they are the answer
		say = a.ui.Print
	}
	same := 0
	for _, r := range rows {
		if r.State == "unchanged" {
			same++
			continue
		}
		detail := because(r.Why)
		switch {
		case r.State == "refused" && r.Line > 0:
			detail = fmt.Sprintf("  (%s:%d: %s)", file, r.Line, r.Why)
		case r.Old != "" && r.New != "":
			detail = fmt.Sprintf("  (%s → %s)", short(r.Old), short(r.New))
		case r.Old != "":
			detail = fmt.Sprintf("  (was %s)", short(r.Old))
		case r.New != "":
			detail = fmt.Sprintf("  (%s)", short(r.New))
		}
		say("  %-9s %s%s", r.State, r.Key, detail)
	}
	if same > 0 {
		say("  %-9s %s", "unchanged", howMany(same, "key", "keys"))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return "  (" + why + ")"
}

// howMany says how many.
func howMany(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	if name != "-" {
		v, err := readValue(a.abs(name), "read "+name)
		return bytesOf(v), err
	}
	data, err := io.ReadAll(io.LimitReader(a.ui.In, inputLimit))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "read standard input", "")
	}
	return data, nil
}
