package commands

import (
	"context"
	"errors"
	"io/fs"
	"strconv"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/internal/ui"
	"envctl/playbooks"
	"envctl/providers"
)

func plainCause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// shown is how a value appears: in clear only under --reveal.
func shown(v secret.Value, reveal bool) string {
	if !v.IsSet() {
		return ""
	}
	if reveal {
		return reveal1(v)
	}
	return v.String()
}

func revealFlag() cli.Flag {
	return &cli.BoolFlag{Name: "reveal", Usage: "show values in clear"}
}

func versionFlag() cli.Flag {
	return &cli.IntFlag{Name: "version", Usage: "version `N` instead of the newest"}
}

func (a *app) getCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "Show one variable of the store, masked", ArgsUsage: "KEY", Category: "values",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "raw", Usage: "print the bare value and nothing else, for pipes"},
			revealFlag(), versionFlag(),
		},
		Action: a.reading(1, 1, func(ctx context.Context, c *cli.Context) error {
			key, raw, reveal := c.Args().First(), c.Bool("raw"), c.Bool("reveal")
			w, t, err := a.knownTarget(ctx, key, a.readEnv, false)
			if err != nil {
				return err
			}
			h, err := w.Get(ctx, t, key, providers.Version(c.Int("version")))
			if err != nil {
				return err
			}
			if h.NonString {
				a.ui.Warn("%s is not a string in the store; large numbers come back rounded", key)
			}
			if raw || reveal {
				a.mask(h.Value)
			}
			if raw {
				return printRaw(a.ui.Out, h.Value)
			}
			if a.ui.JSON {
				return a.ui.Document(getDocument{
					Schema: "envctl.get/v1", Key: key, Environment: t.Environment.Name, Component: t.Component, Path: w.Path(t).String(),
					State: h.State, Version: h.Version, Fingerprint: h.Fingerprint, Value: revealed(h.Value, reveal),
				})
			}
			return a.ui.Table([]string{"KEY", "VALUE", "FINGERPRINT", "VERSION", "PATH"}, [][]ui.Cell{{
				ui.C("%s", key), ui.C("%s", shown(h.Value, reveal)), ui.C("%s", short(h.Fingerprint)), ui.C("%d", h.Version), ui.C("%s", w.Path(t)),
			}})
		}),
	}
}

type getDocument struct {
	Schema      string  `json:"schema"`
	Key         string  `json:"key"`
	Environment string  `json:"environment"`
	Component   string  `json:"component"`
	Path        string  `json:"path"`
	State       string  `json:"state"`
	Version     int     `json:"version"`
	Fingerprint string  `json:"fingerprint"`
	Value       *string `json:"value,omitempty"`
}

type listDocument struct {
	Schema       string      `json:"schema"`
	Environment  string      `json:"environment,omitempty"`
	Environments []string    `json:"environments,omitempty"`
	Paths        []pathState `json:"paths"`
	Keys         []listKey   `json:"keys"`
}

type pathState struct {
	Environment string `json:"environment"`
	Component   string `json:"component"`
	Path        string `json:"path"`
	State       string `json:"state"` // set, or why it could not be read
	Version     int    `json:"version,omitempty"`
	Message     string `json:"message,omitempty"`
}

type listKey struct {
	playbooks.Holding
	Environment string  `json:"environment"`
	Value       *string `json:"value,omitempty"`
}

func (a *app) historyCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "Show the versions of one variable", ArgsUsage: "KEY", Category: "values",
		Flags: []cli.Flag{revealFlag()},
		Action: a.reading(1, 1, func(ctx context.Context, c *cli.Context) error {
			key, reveal := c.Args().First(), c.Bool("reveal")
			w, t, err := a.knownTarget(ctx, key, a.readEnv, true)
			if err != nil {
				return err
			}
			events, err := w.History(ctx, t, key)
			if err != nil {
				return err
			}
			for _, e := range events {
				if reveal {
					a.mask(e.Value)
				}
			}
			if a.ui.JSON {
				type row struct {
					playbooks.Event
					Value *string `json:"value,omitempty"`
				}
				rows := make([]row, len(events))
				for i, e := range events {
					rows[i] = row{e, revealed(e.Value, reveal)}
				}
				return a.ui.Document(struct {
					Schema      string `json:"schema"`
					Key         string `json:"key"`
					Environment string `json:"environment"`
					Component   string `json:"component"`
					Path        string `json:"path"`
					Versions    []row  `json:"versions"`
				}{"envctl.history/v1", key, t.Environment.Name, t.Component, w.Path(t).String(), rows})
			}
			rows := make([][]ui.Cell, 0, len(events))
			for i := len(events) - 1; i >= 0; i-- {
				e := events[i]
				mark := ""
				if e.Changed {
					mark = "changed"
				}
				value := e.Fingerprint
				if reveal {
					value = shown(e.Value, true)
				}
				rows = append(rows, []ui.Cell{
					ui.C("%d", e.Version), ui.C("%s", e.ChangedAt.Format("2006-01-02T15:04:05Z")), ui.C("%s", e.State), ui.C("%s", value),
					ui.Toned(ui.Caution, mark), ui.C("%s", e.Author),
				})
			}
			return a.ui.Table([]string{"VERSION", "AT", "STATE", "FINGERPRINT", "", "AUTHOR"}, rows)
		}),
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) unsetCommand() *cli.Command {
	return &cli.Command{
		Name: "unset", Usage: "Remove one variable; restore brings it back", ArgsUsage: "KEY", Category: "values",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"}, a.reportFlag()},
		Action: a.asking(1, 1, func(ctx context.Context, c *cli.Context) error {
			key := c.Args().First()
			w, t, err := a.knownTarget(ctx, key, a.writeEnv, false)
			if err != nil {
				return err
			}
			if _, err := w.Get(ctx, t, key, providers.Latest); err != nil {
				return err
			}
			p, err := w.Set(ctx, t, "unset", providers.Patch{key: secret.Value{}}, c.Bool("deploy"))
			if err != nil {
				return err
			}
			return a.perform(ctx, w, t.Environment, p)
		}),
	}
}

func (a *app) restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "Put back an earlier value, or a path that was deleted", ArgsUsage: "[KEY]", Category: "values",
		Description: "With KEY, writes the value that the variable had before, or in --version N, as a new version.\n\n" +
			"Without KEY, brings back the path's newest version, or --version N, after a soft delete (envctl env delete, vault kv\n" +
			"delete): the same version, all of its variables. What is destroyed stays so.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "deploy", Usage: "deploy and verify afterwards"}, a.reportFlag(), versionFlag()},
		Action: a.asking(0, 1, func(ctx context.Context, c *cli.Context) error {
			key := c.Args().First()
			if key == "" {
				return a.revive(ctx, providers.Version(c.Int("version")), c.Bool("deploy"))
			}
			w, t, err := a.knownTarget(ctx, key, a.writeEnv, true)
			if err != nil {
				return err
			}
			p, err := w.Restore(ctx, t, key, providers.Version(c.Int("version")), c.Bool("deploy"))
			if err != nil {
				return err
			}
			return a.perform(ctx, w, t.Environment, p)
		}),
	}
}

// revive brings a deleted version of a path back.
func (a *app) revive(ctx context.Context, v providers.Version, deploy bool) error {
	w, t, err := a.writeTarget(ctx)
	if err != nil {
		return err
	}
	next := "envctl deploy " + t.Component + " --env " + t.Environment.Name
	if deploy {
		return fault.New(fault.Usage, "restore --deploy", "a deleted path comes back alone", "leave --deploy out, then run "+next)
	}
	p, err := w.Revive(ctx, t, v)
	if err != nil {
		return err
	}
	if err := a.perform(ctx, w, t.Environment, p); err != nil || a.globals.dryRun || a.ui.JSON || a.globals.events {
		return err
	}
	a.ui.Print("brought back: version %s of %s, not deployed", p.Args["revive"], w.Path(t))
	if t.Environment.Deploy.Kind != config.DeployNone {
		a.ui.Note("next: %s", next)
	}
	return nil
}

func (a *app) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "Make a path equal to one of its earlier versions", Category: "values",
		Flags: []cli.Flag{a.reportFlag(), &cli.IntFlag{Name: "to", Usage: "the version `N`"}},
		Action: a.asking(0, 0, func(ctx context.Context, c *cli.Context) error {
			if !c.IsSet("to") {
				return fault.New(fault.Usage, "rollback", "the version to go back to is not named", "name it with --to; envctl history KEY shows the versions")
			}
			if c.Int("to") < 1 {
				return fault.Newf(fault.Usage, "rollback", "run envctl history KEY to see the versions", "--to %s is not a version", strconv.Itoa(c.Int("to")))
			}
			w, t, err := a.writeTarget(ctx)
			if err != nil {
				return err
			}
			p, err := w.Rollback(ctx, t, providers.Version(c.Int("to")))
			if err != nil {
				return err
			}
			return a.perform(ctx, w, t.Environment, p)
		}),
	}
}

func (a *app) generateCommand() *cli.Command {
	return &cli.Command{
		Name: "generate", Usage: "Print a new secret, for pipes", ArgsUsage: "TYPE", Category: "values",
		Description: "TYPE is one of " + generatorNames() + ".",
		Action: a.action(1, 1, func(_ context.Context, c *cli.Context) error {
			g, ok := secret.FindGenerator(c.Args().First())
			if !ok {
				return fault.Newf(fault.Usage, "generate", "types: "+generatorNames(), "no type %q", c.Args().First())
			}
			v, err := g.New(a.Rand)
			if err != nil {
				return err
			}
			a.mask(v)
			return printRaw(a.ui.Out, v)
		}),
	}
}
