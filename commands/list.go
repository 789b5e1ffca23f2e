package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
)

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
