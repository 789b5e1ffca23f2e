package commands

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers/dotenv"
	"envctl/providers/formats"
)

type exportOptions struct {
	format, out, at, name       string
	readers, services, sections []string
	only                        []string
	stored, reveal              bool
}

func (a *app) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "Write an environment's variables for another program", ArgsUsage: "[KEY…]", Category: "values",
		Description: "The variables are those that the component's services see: its template's, or the store's keys where it has none;\n" +
			"--stored takes the store's keys in any case. A variable that the reader of the format would not read back exactly\n" +
			"is refused by name, and nothing is written.\n\n" +
			"On a pipe the values are written as they are: that is what the command is for. On a terminal they are masked unless\n" +
			"--reveal. --out writes a file of mode 0600.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "at", Usage: "the dotted `PATH` of the map in Helm values (default: env)"},
			&cli.StringSliceFlag{Name: "for", Usage: "the `READER` of a dotenv file: sh, docker, compose, python or dokploy; repeatable (default: all but dokploy)"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT`: " + formats.Names() + " (default: by the name of --out, else dotenv)"},
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of a Kubernetes Secret (default: project-environment-component)"},
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "write to `FILE`, mode 0600, whole or not at all"},
			revealFlag(),
			&cli.StringSliceFlag{Name: "section", Usage: "an INI `SECTION`: FACEBOOK_KEY becomes key of [facebook]; repeatable"},
			&cli.StringSliceFlag{Name: "service", Usage: "a compose `SERVICE`; repeatable (default: the component's)"},
			&cli.BoolFlag{Name: "stored", Usage: "the keys of the store's path, not the template's variables"},
		},
		Action: a.action(0, -1, func(ctx context.Context, c *cli.Context) error {
			return a.export(ctx, exportOptions{
				format: c.String("format"), out: c.String("out"), at: c.String("at"), name: c.String("name"),
				readers: c.StringSlice("for"), services: c.StringSlice("service"), sections: c.StringSlice("section"),
				only: c.Args().Slice(), stored: c.Bool("stored"), reveal: c.Bool("reveal"),
			})
		}),
	}
}

type exportDocument struct {
	Schema      string                    `json:"schema"`
	Environment string                    `json:"environment"`
	Component   string                    `json:"component"`
	Format      string                    `json:"format"`
	Readers     []string                  `json:"readers,omitempty"`
	File        string                    `json:"file,omitempty"`
	Keys        []exportKey               `json:"keys"`
	Findings    []playbooks.RenderFinding `json:"findings,omitempty"`
	Text        *string                   `json:"text,omitempty"` // under --reveal
}

type exportKey struct {
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
}

func (a *app) export(ctx context.Context, o exportOptions) error {
	for _, k := range o.only {
		if err := a.variableArgument("export", k); err != nil {
			return err
		}
	}
	format, options, err := o.settle()
	if err != nil {
		return err
	}
	w, t, err := a.readTarget(ctx)
	if err != nil {
		return err
	}
	if len(options.Services) == 0 {
		c, err := w.Project.Component(t.Component)
		if err != nil {
			return err
		}
		if options.Services = c.Services; len(options.Services) == 0 {
			options.Services = []string{t.Component}
		}
	}
	if options.Name == "" {
		options.Name = strings.ReplaceAll(strings.Join([]string{w.Project.Name, t.Environment.Name, t.Component}, "-"), "_", "-")
	}
	got, err := w.Exporting(ctx, t, o.stored)
	if err != nil {
		return err
	}
	if err := a.exportable(t, got.Findings, o.only); err != nil {
		return err
	}
	values, err := chosen(got.Values, o.only, w, t)
	if err != nil {
		return err
	}
	text, err := formats.Write(format, values, options)
	if err != nil {
		return err
	}
	doc := exportDocument{
		Schema: "envctl.export/v1", Environment: t.Environment.Name, Component: t.Component, Format: string(format), Readers: o.readers,
		File: o.out, Keys: []exportKey{}, Findings: got.Findings,
	}
	for _, k := range sortedNames(values) {
		doc.Keys = append(doc.Keys, exportKey{k, got.Key.Fingerprint(values[k])})
	}
	if o.out != "" && !a.globals.dryRun || o.reveal || !a.ui.OutTTY && !a.ui.JSON {
		a.maskAll(got.FromStore)
	}
	switch {
	case o.out != "" && a.globals.dryRun:
		a.ui.Note("dry run: %s for %s would go to %s", howMany(len(values), "variable", "variables"), format, o.out)
	case o.out != "":
		if err := atomicfile.Write(a.abs(o.out), bytesOf(text), 0o600); err != nil {
			return err
		}
		a.ui.Note("%s of %s/%s in %s, mode 0600", howMany(len(values), "variable", "variables"), t.Environment.Name, t.Component, o.out)
	case a.ui.JSON:
		doc.Text = revealed(text, o.reveal)
	case !a.ui.OutTTY:
		return writeText(a.ui.Out, text)
	case o.reveal:
		a.ui.Print("%s", strings.TrimSuffix(reveal1(text), "\n"))
	default:
		masked, err := formats.Write(format, mask(values), options)
		if err != nil {
			return err
		}
		a.ui.Print("%s", strings.TrimSuffix(reveal1(masked), "\n"))
		a.ui.Note("masked: --reveal shows the values, a pipe or --out FILE gets them")
	}
	if a.ui.JSON {
		return a.ui.Document(doc)
	}
	return nil
}

// settle turns the flags into a format and its options.
func (o exportOptions) settle() (formats.Format, formats.WriteOptions, error) {
	w := formats.WriteOptions{At: o.at, Services: o.services, Sections: o.sections, Name: o.name}
	format, err := formats.Dotenv, error(nil)
	switch {
	case o.format != "":
		format, err = formats.Parse(o.format)
	case o.out != "" && len(o.readers) == 0:
		format = formats.Guess(o.out, nil)
	}
	if err != nil {
		return format, w, err
	}
	for _, name := range o.readers {
		d, err := dotenv.ParseDialect(name)
		if err != nil {
			return format, w, err
		}
		w.Readers = append(w.Readers, d)
	}
	if o.out == "-" {
		return format, w, fault.New(fault.Usage, "export", "--out names a file", "without --out the text goes to standard output; ./- is a file of that name")
	}
	usage := func(flag string, f formats.Format) error {
		return fault.Newf(fault.Usage, "export", "leave "+flag+" out, or choose --format "+string(f), "%s belongs to --format %s, not %s", flag, f, format)
	}
	for _, x := range []struct {
		given bool
		flag  string
		of    formats.Format
	}{
		{len(o.readers) > 0 && !(format == formats.Shell && slices.Equal(o.readers, []string{"sh"})), "--for", formats.Dotenv},
		{o.at != "", "--at", formats.Helm},
		{o.name != "", "--name", formats.K8s},
		{len(o.services) > 0, "--service", formats.Compose},
		{len(o.sections) > 0, "--section", formats.INI},
	} {
		if x.given && format != x.of {
			return format, w, usage(x.flag, x.of)
		}
	}
	return format, w, nil
}

// exportable refuses what the template's findings make another value than the
// store holds.
func (a *app) exportable(t playbooks.Target, findings []playbooks.RenderFinding, only []string) error {
	for _, f := range findings {
		if len(only) > 0 && f.Variable != "" && !slices.Contains(only, f.Variable) {
			continue
		}
		return fault.Newf(fault.Refused, "export "+f.Variable, "run envctl render "+t.Component+" --check --env "+t.Environment.Name+"; or export the store's own keys with --stored",
			"%s:%d: %s", f.File, f.Line, f.Message)
	}
	return nil
}

// chosen returns the variables that were asked for, all when none was.
func chosen(all map[string]secret.Value, only []string, w *playbooks.World, t playbooks.Target) (map[string]secret.Value, error) {
	if len(only) == 0 {
		return all, nil
	}
	out := map[string]secret.Value{}
	for _, k := range only {
		if !all[k].IsSet() {
			return nil, fault.Newf(fault.NotFound, "export "+k, "it has: "+strings.Join(sortedNames(all), ", "), "%s has no such variable", w.Path(t))
		}
		out[k] = all[k]
	}
	return out, nil
}

// mask returns placeholders, which import refuses.
func mask(values map[string]secret.Value) map[string]secret.Value {
	out := map[string]secret.Value{}
	for k, v := range values {
		out[k] = secret.New(v.String())
	}
	return out
}
