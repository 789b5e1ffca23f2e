package commands

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

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

func (a *app) listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "List an environment's variables by fingerprint", Category: "values",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all-envs", Usage: "one column per environment"},
			revealFlag(),
		},
		Action: a.reading(0, 0, func(ctx context.Context, c *cli.Context) error {
			return a.list(ctx, c.Bool("all-envs"), c.Bool("reveal"))
		}),
	}
}

func (a *app) list(ctx context.Context, allEnvs, reveal bool) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	names, err := a.readEnvs(w, allEnvs)
	if err != nil {
		return err
	}
	components := w.Project.ComponentNames()
	if c := a.globals.component; c != "" {
		if _, err := w.Project.Component(c); err != nil {
			return err
		}
		components = []string{c}
	}
	doc := listDocument{Schema: "envctl.list/v1", Paths: []pathState{}, Keys: []listKey{}}
	var last, unread error // unread: there may be more than is shown
	readable := false
	for _, name := range names {
		e, err := w.Project.Environment(name)
		if err != nil {
			return err
		}
		for _, comp := range components {
			t := playbooks.Target{Environment: e, Component: comp}
			state := pathState{Environment: name, Component: comp, Path: w.Path(t).String(), State: "set"}
			held, b, err := w.Holdings(ctx, t)
			if err != nil {
				last = err
				state.State, state.Message = fault.KindOf(err).String(), err.Error()
				if !fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
					unread = err
				}
			} else {
				readable, state.Version = true, int(b.Version)
			}
			doc.Paths = append(doc.Paths, state)
			for _, h := range held {
				if reveal {
					a.mask(h.Value)
				}
				doc.Keys = append(doc.Keys, listKey{Holding: h, Environment: name, Value: revealed(h.Value, reveal)})
			}
		}
	}
	if !readable && last != nil {
		return last
	}
	if a.ui.JSON {
		if doc.Environment = names[0]; allEnvs {
			doc.Environment, doc.Environments = "", names
		}
		return errors.Join(a.ui.Document(doc), unread)
	}
	for _, p := range doc.Paths {
		if p.State != "set" {
			a.ui.Note("%s  %s", p.Path, strings.TrimPrefix(p.Message, "read "+p.Path+": "))
		} else if !allEnvs && a.ui.OutTTY {
			a.ui.Print("%s  version %d", p.Path, p.Version)
		}
	}
	if allEnvs {
		a.nameColumns(listColumns(names))
		return errors.Join(a.ui.Table(listColumns(names), columnRows(doc.Keys, names, reveal)), unread)
	}
	rows := make([][]ui.Cell, 0, len(doc.Keys))
	for _, k := range doc.Keys {
		rows = append(rows, []ui.Cell{ui.C("%s", k.Key), ui.C("%s", valueOrMark(k, reveal)), ui.C("%s", k.Component)})
	}
	err = a.ui.Table([]string{"KEY", "FINGERPRINT", "COMPONENT"}, rows)
	if e, eerr := w.Project.Environment(names[0]); eerr == nil && e.Base != "" {
		a.ui.Note("what it lacks is borrowed: envctl list --env %s", e.Base)
	}
	return errors.Join(err, unread)
}

func listColumns(names []string) []string {
	return append([]string{"KEY", "COMPONENT"}, names...)
}

func columnRows(keys []listKey, names []string, reveal bool) [][]ui.Cell {
	type id struct{ key, component string }
	index := map[id]int{}
	var rows [][]ui.Cell
	for _, k := range keys {
		at, ok := index[id{k.Key, k.Component}]
		if !ok {
			at = len(rows)
			index[id{k.Key, k.Component}] = at
			row := make([]ui.Cell, 2+len(names))
			row[0], row[1] = ui.C("%s", k.Key), ui.C("%s", k.Component)
			for i := range names {
				row[2+i] = ui.Toned(ui.Faint, "-")
			}
			rows = append(rows, row)
		}
		for i, n := range names {
			if n == k.Environment {
				rows[at][2+i] = ui.C("%s", valueOrMark(k, reveal))
			}
		}
	}
	return rows
}

func valueOrMark(k listKey, reveal bool) string {
	switch {
	case reveal:
		return shown(k.Holding.Value, true)
	case k.State == "empty":
		return "(empty)"
	}
	return k.Fingerprint
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
			patch, v, err := w.Restoring(ctx, t, key, providers.Version(c.Int("version")))
			if err != nil {
				return err
			}
			p, err := w.Set(ctx, t, "restore", patch, c.Bool("deploy"))
			if err != nil {
				return err
			}
			p.Facts = append(p.Facts, factOf("restore", fmt.Sprintf("%s as it was in version %d", key, v)))
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
