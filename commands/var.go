package commands

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/playbooks"
)

func (a *app) varCommand() *cli.Command {
	return &cli.Command{
		Name: "var", Usage: "Add, rename or remove a variable in all layers at once", Category: "project",
		Description: "Changes the template, the code and the example in one step, after a preview, and no other byte of them. Each file\n" +
			"is read back before anything is written: it has to say what it said, but for this variable. What no safe edit is\n" +
			"known for is refused with its place. The store is not touched; the commands for it are printed.",
		Subcommands: []*cli.Command{a.varAddCommand(), a.varRenameCommand(), a.varRemoveCommand()},
	}
}

func (a *app) varAddCommand() *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "Declare a variable in every layer that lacks it", ArgsUsage: "NAME",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "class", Usage: "the settings `CLASS`, where the code has several"},
			&cli.StringFlag{Name: "default", Usage: "the `VALUE` where the store has none; not for secrets"},
			&cli.StringFlag{Name: "description", Usage: "what it is for, one `LINE`"},
			&cli.StringFlag{Name: "example", Usage: "the `VALUE` that the example shows"},
			&cli.StringFlag{Name: "from", Usage: "the store's `COMPONENT#KEY` (default: the component's own key of that name)"},
			&cli.StringFlag{Name: "group", Usage: "the `HEADING` of the example it goes under (default: at the end)"},
			&cli.BoolFlag{Name: "no-template", Usage: "it does not come from the store"},
			&cli.BoolFlag{Name: "optional", Usage: "it may be missing"},
			&cli.StringFlag{Name: "type", Usage: "`TYPE`: " + strings.Join(playbooks.VarTypes(), ", ") + " (default: secret or str, by the name)"},
		},
		Action: a.action(1, 1, func(_ context.Context, c *cli.Context) error {
			return a.changeVariable(c.Args().First(), "", func(w *playbooks.World, component string) (*playbooks.VarChange, error) {
				return w.AddVariable(component, c.Args().First(), playbooks.VarAddOptions{
					Type: c.String("type"), Default: c.String("default"), HasDefault: c.IsSet("default"), Optional: c.Bool("optional"),
					Description: c.String("description"), Example: c.String("example"), Group: c.String("group"), Class: c.String("class"),
					From: c.String("from"), NoTemplate: c.Bool("no-template"),
				})
			})
		}),
	}
}

func (a *app) varRenameCommand() *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "Give a variable another name in every layer", ArgsUsage: "OLD NEW",
		Description: "The store's key is renamed in the templates, and the commands that move its value are printed; --keep-key leaves\n" +
			"the key and has the template map it. In the code the field gets an alias, so that what reads the attribute stays\n" +
			"right; --rename-field renames the attribute.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep-key", Usage: "the store's key keeps its name"},
			&cli.BoolFlag{Name: "rename-field", Usage: "rename the attribute in the code, too"},
		},
		Action: a.action(2, 2, func(_ context.Context, c *cli.Context) error {
			old, fresh := c.Args().Get(0), c.Args().Get(1)
			if err := a.variableArgument("var rename "+old, fresh); err != nil {
				return err
			}
			return a.changeVariable(old, old, func(w *playbooks.World, component string) (*playbooks.VarChange, error) {
				return w.RenameVariable(component, old, fresh, playbooks.VarRenameOptions{KeepKey: c.Bool("keep-key"), RenameField: c.Bool("rename-field")})
			})
		}),
	}
}

func (a *app) varRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "Remove a variable from every layer", ArgsUsage: "NAME",
		Action: a.action(1, 1, func(_ context.Context, c *cli.Context) error {
			name := c.Args().First()
			return a.changeVariable(name, name, func(w *playbooks.World, component string) (*playbooks.VarChange, error) {
				return w.RemoveVariable(component, name)
			})
		}),
	}
}

type varDocument struct {
	Schema    string         `json:"schema"`
	Action    string         `json:"action"`
	Variable  string         `json:"variable"`
	To        string         `json:"to,omitempty"`
	Component string         `json:"component"`
	State     string         `json:"state"` // planned, done
	Files     []varFileEntry `json:"files"`
	Next      []string       `json:"next"`
	Notes     []string       `json:"notes"`
}

type varFileEntry struct {
	Layer string `json:"layer"`
	File  string `json:"file"`
	Diff  string `json:"diff"`
}

// changeVariable plans, shows, asks and writes a change of the layers. declared
// is the variable that decides the component; "" for a new one.
func (a *app) changeVariable(name, declared string, plan func(*playbooks.World, string) (*playbooks.VarChange, error)) error {
	// A name that a layer has may be illegal: that is a reason to rename or remove it.
	if strings.Contains(name, "=") || declared == "" {
		if err := a.variableArgument("var add", name); err != nil {
			return err
		}
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	component, err := w.DeclaringComponent(a.globals.component, declared)
	if err != nil {
		return err
	}
	change, err := plan(w, component)
	if err != nil {
		return err
	}
	doc := varDocument{
		Schema: "envctl.var/v1", Action: change.Action, Variable: change.Variable, To: change.To, Component: change.Component, State: "planned",
		Files: []varFileEntry{}, Next: append([]string{}, change.Next...), Notes: append([]string{}, change.Notes...),
	}
	for _, e := range change.Edits {
		doc.Files = append(doc.Files, varFileEntry{e.Layer, e.File, e.Diff()})
	}
	if a.globals.dryRun {
		return a.showChange(doc)
	}
	if !a.globals.yes {
		if !a.ui.CanAsk() {
			return fault.New(fault.Usage, "var "+change.Action+" "+name, "there is no terminal to ask on", "look with --dry-run, then add --yes")
		}
		for _, f := range doc.Files {
			a.ui.Note("%s", strings.TrimSuffix(f.Diff, "\n"))
		}
		ok, err := a.ui.Ask().Confirm(context.Background(), "change "+howMany(len(doc.Files), "file", "files")+"?")
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(fault.Interrupted, "var "+change.Action+" "+name, "not confirmed, nothing was written", "")
		}
	}
	if err := w.ApplyVarChange(change); err != nil {
		return err
	}
	doc.State = "done"
	return a.showChange(doc)
}

// showChange prints the diffs of a plan, or the files of a change that was made.
func (a *app) showChange(doc varDocument) error {
	if a.ui.JSON {
		return a.ui.Document(doc)
	}
	for _, f := range doc.Files {
		if doc.State == "planned" {
			a.ui.Print("%s", strings.TrimSuffix(f.Diff, "\n"))
		} else {
			a.ui.Print("%s\t%s\tchanged", f.Layer, f.File)
		}
	}
	for _, n := range doc.Notes {
		a.ui.Note("note: %s", n)
	}
	for _, n := range doc.Next {
		a.ui.Note("next: %s", n)
	}
	if doc.State == "planned" {
		a.ui.Note("dry run: nothing was written")
	}
	return nil
}
