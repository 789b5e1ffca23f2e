package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers/dotenv"
)

type renderOptions struct {
	out, reader                 string
	allEnvs, check, raw, reveal bool
}

func (a *app) renderCommand() *cli.Command {
	return &cli.Command{
		Name: "render", Usage: "Render a template with its values, as Vault Agent would", ArgsUsage: "[COMPONENT]", Category: "values",
		Description: "The text is byte for byte what Vault Agent would write. On a terminal everything that comes from the store is\n" +
			"masked unless --reveal. Elsewhere the command wants to be told what is meant: --raw (or --reveal) prints the text,\n" +
			"--out writes a file of mode 0600, whole or not at all, --check only looks. A masked text in a pipe would be taken for\n" +
			"the real one, so there is none. A text with findings is neither written nor printed raw.\n\n" +
			"--env all, or --all-envs, renders every environment; --out then holds {env} for the environment's name.\n" +
			"--check without a component looks at every component that has a template.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all-envs", Usage: "every environment of the project, as --env all"},
			&cli.BoolFlag{Name: "check", Usage: "only look: exit 1 on missing values, merged lines, empty required variables, values that change on their way"},
			&cli.StringFlag{Name: "for", Usage: "the `READER` of the text: sh, docker, compose, python or dokploy (default: sh)"},
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "write to `FILE`, mode 0600"},
			&cli.BoolFlag{Name: "raw", Usage: "print the text and nothing else, for pipes"},
			revealFlag(),
		},
		Action: a.reading(0, 1, func(ctx context.Context, c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				if a.globals.component != "" && a.globals.component != name {
					return fault.Newf(fault.Usage, "render "+name, "name it once", "--component says %s", a.globals.component)
				}
				a.globals.component = name
			}
			return a.render(ctx, renderOptions{
				out: c.String("out"), reader: c.String("for"), allEnvs: c.Bool("all-envs"),
				check: c.Bool("check"), raw: c.Bool("raw"), reveal: c.Bool("reveal"),
			})
		}),
	}
}

type renderDocument struct {
	Schema       string              `json:"schema"`
	Component    string              `json:"component"` // "" where several were rendered, as is the template: each row has its own
	Template     string              `json:"template"`
	Environments []renderEnvironment `json:"environments"`
	Findings     int                 `json:"findings"`
}

type renderEnvironment struct {
	Environment string                    `json:"environment"`
	Component   string                    `json:"component"`
	Template    string                    `json:"template"`
	State       string                    `json:"state"` // rendered, or why it could not be
	Message     string                    `json:"message,omitempty"`
	File        string                    `json:"file,omitempty"`
	Variables   []renderVariable          `json:"variables"`
	Findings    []playbooks.RenderFinding `json:"findings"`
	Text        *string                   `json:"text,omitempty"` // under --reveal
}

type renderVariable struct {
	Variable    string `json:"variable"`
	State       string `json:"state"` // set, empty
	Fingerprint string `json:"fingerprint"`
}

func (a *app) render(ctx context.Context, o renderOptions) error {
	reader := dotenv.Sh
	if o.reader != "" {
		var err error
		if reader, err = dotenv.ParseDialect(o.reader); err != nil {
			return err
		}
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	envs, err := a.renderEnvs(w, o.allEnvs)
	if err != nil {
		return err
	}
	if err := a.renderWay(o, len(envs)); err != nil {
		return err
	}
	names, err := a.renderComponents(ctx, w, envs[0], o)
	if err != nil {
		return err
	}
	doc := renderDocument{Schema: "envctl.render/v1", Environments: []renderEnvironment{}}
	var failed error
	for _, name := range names {
		c, err := w.Project.Component(name)
		if err != nil {
			return err
		}
		of := ""
		if len(names) == 1 {
			doc.Component, doc.Template = name, c.Template
		} else {
			of = name + " in "
		}
		for _, e := range envs {
			row, err := a.renderOne(ctx, w, playbooks.Target{Environment: e, Component: name}, reader, o, len(envs)*len(names) > 1, of)
			row.Component, row.Template = name, c.Template
			if err != nil && len(envs)*len(names) == 1 {
				return err
			}
			if err != nil {
				row.State, row.Message = fault.KindOf(err).String(), err.Error()
				a.ui.Note("%s%s: %s", of, e.Name, err)
				failed = errors.Join(failed, err)
			}
			doc.Findings += len(row.Findings)
			doc.Environments = append(doc.Environments, row)
		}
	}
	if a.ui.JSON {
		if err := a.ui.Document(doc); err != nil {
			return err
		}
	}
	switch {
	case failed != nil && a.ui.JSON:
		return silentError{exitCode(failed)}
	case failed != nil:
		return failed
	case doc.Findings > 0 && (o.check || o.raw || o.out != ""):
		return silentError{1}
	}
	return nil
}

// renderComponents returns the components that are meant: one, or for --check
// every one that has a template.
func (a *app) renderComponents(ctx context.Context, w *playbooks.World, e config.Environment, o renderOptions) ([]string, error) {
	if o.check && a.globals.component == "" {
		var names []string
		for _, c := range w.Project.Components {
			if c.Value.Template != "" {
				names = append(names, c.Key)
			}
		}
		if len(names) > 0 {
			return names, nil
		}
	}
	name, err := w.ComponentOf(ctx, e, a.globals.component, "")
	return []string{name}, err
}

// renderEnvs returns the environments that are meant.
func (a *app) renderEnvs(w *playbooks.World, all bool) ([]config.Environment, error) {
	names := w.Project.EnvironmentNames()
	if !all && (a.globals.env != "all" || contains(names, "all")) {
		e, err := a.readEnv(w)
		return []config.Environment{e}, err
	}
	if len(names) == 0 {
		return nil, fault.New(fault.Usage, "render", "the project names no environment", "name one with --env")
	}
	var out []config.Environment
	for _, n := range names {
		e, err := w.Project.Environment(n)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// renderWay refuses flags that contradict each other, and a pipe that nobody
// said what to put into.
func (a *app) renderWay(o renderOptions, envs int) error {
	usage := func(hint, message string) error { return fault.New(fault.Usage, "render", message, hint) }
	switch {
	case count(o.check, o.raw, o.out != "") > 1:
		return usage("choose one", "--check, --raw and --out exclude each other")
	case o.out == "-":
		return usage("--raw prints the text on standard output; ./- is a file of that name", "--out names a file")
	case a.ui.JSON && o.raw:
		return usage("with --json, --reveal adds the text to the document", "--raw prints the bare text, not a document")
	case envs > 1 && o.raw:
		return usage("write files: --out 'secrets-{env}.env'", "several environments are no one text")
	case envs > 1 && o.out != "" && !strings.Contains(o.out, "{env}"):
		return usage("e.g. --out 'secrets-{env}.env'", "several environments go to several files: --out needs {env} in its name")
	case a.ui.OutTTY || a.ui.JSON || o.check || o.raw || o.reveal || o.out != "":
		return nil
	}
	return usage("add --raw to print every value, --out FILE to write a file of mode 0600, or --check to only look",
		"standard output is no terminal, and the text is made of secrets")
}

// renderOne renders one environment and puts the text where it is meant to go.
func (a *app) renderOne(ctx context.Context, w *playbooks.World, t playbooks.Target, reader dotenv.Dialect, o renderOptions, several bool, of string) (renderEnvironment, error) {
	row := renderEnvironment{Environment: t.Environment.Name, State: "rendered", Variables: []renderVariable{}, Findings: []playbooks.RenderFinding{}}
	r, err := w.Rendering(ctx, t, reader)
	if err != nil {
		return row, err
	}
	row.Findings = append(row.Findings, r.Findings...)
	if a.ui.JSON {
		if err := a.fingerprintRow(ctx, w, t, r, &row); err != nil {
			return row, err
		}
	}
	a.showRenderFindings(t, r.Findings, o.check)
	if o.raw || o.reveal || o.out != "" {
		a.maskAll(r.FromStore)
	}
	switch {
	case o.check:
		if !a.ui.JSON && len(r.Findings) == 0 {
			a.ui.Print("%s%s\t%s\tno findings", of, t.Environment.Name, howMany(len(r.Variables), "variable", "variables"))
		}
	case o.out != "":
		file := strings.ReplaceAll(o.out, "{env}", t.Environment.Name)
		wrote, err := a.writeRendering(file, r)
		if wrote {
			row.File = file
		} else if len(r.Findings) > 0 {
			row.State, row.Message = "refused", file+" is not written: correct the findings first"
		}
		return row, err
	case a.ui.JSON:
		row.Text = revealed(r.Text, o.reveal)
	case o.raw:
		if len(r.Findings) > 0 {
			a.ui.Note("not printed: correct the findings first, or look with --reveal")
			return row, nil
		}
		return row, writeText(a.ui.Out, r.Text)
	default:
		if several {
			a.ui.Print("# === %s ===", t.Environment.Name)
		}
		text := r.Masked
		if o.reveal {
			text = reveal1(r.Text)
		}
		if o.reveal && !a.ui.OutTTY {
			return row, writeText(a.ui.Out, r.Text)
		}
		a.ui.Print("%s", strings.TrimSuffix(text, "\n"))
	}
	return row, nil
}

func (a *app) fingerprintRow(ctx context.Context, w *playbooks.World, t playbooks.Target, r *playbooks.Rendering, row *renderEnvironment) error {
	store, err := w.Store(t.Environment)
	if err != nil {
		return err
	}
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(r.Variables) {
		row.Variables = append(row.Variables, renderVariable{name, stateWord(r.Variables[name]), key.Fingerprint(r.Variables[name])})
	}
	return nil
}

func stateWord(v secret.Value) string {
	if v.Len() == 0 {
		return "empty"
	}
	return "set"
}

// writeRendering writes a text that has no findings, and tells whether it did.
func (a *app) writeRendering(file string, r *playbooks.Rendering) (bool, error) {
	if len(r.Findings) > 0 {
		a.ui.Note("%s is not written: correct the findings first", file)
		return false, nil
	}
	if a.globals.dryRun {
		a.ui.Note("dry run: %s would be written", file)
		return false, nil
	}
	if err := atomicfile.Write(a.abs(file), bytesOf(r.Text), 0o600); err != nil {
		return false, err
	}
	a.ui.Note("%s of %s in %s, mode 0600", howMany(len(r.Variables), "variable", "variables"), r.Target.Environment.Name, file)
	return true, nil
}

// showRenderFindings shows them: as the answer where they were asked for,
// beside it elsewhere.
func (a *app) showRenderFindings(t playbooks.Target, findings []playbooks.RenderFinding, answer bool) {
	say := a.ui.Note
	if answer && !a.ui.JSON {
		say = a.ui.Print
	}
	for _, f := range findings {
		say("%s:%d: %s [%s, %s]", f.File, f.Line, f.Message, f.Rule, t.Environment.Name)
		if f.Fix != "" {
			say("  fix: %s", f.Fix)
		}
	}
}
