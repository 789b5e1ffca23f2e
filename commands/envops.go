package commands

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/ui"
	"envctl/naming"
	"envctl/playbooks"
)

// envOperations are the commands about whole environments that change them.
func (a *app) envOperations() []*cli.Command {
	return []*cli.Command{
		{
			Name: "promote", Usage: "Copy keys from one environment to another, deploy, and prove it", ArgsUsage: "FROM TO --only KEYS",
			Description: "The keys that differ are shown by fingerprint first. They are written on the version of TO that was read, as\nthey are in the version of FROM that is shown. Secrets are copied only when --only names them.",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "all-non-secret", Usage: "every key of FROM that is no secret and does not name FROM"},
				&cli.BoolFlag{Name: "no-deploy", Usage: "write only"},
				&cli.StringFlag{Name: "only", Usage: "the `KEYS`, separated by commas or spaces"},
				a.reportFlag(),
			},
			Action: a.asking(2, -1, a.envPromote),
		},
		{
			Name: "delete", Usage: "Delete an environment: containers, paths, ports, entry", ArgsUsage: "NAME",
			Description: "Containers and their network are removed, the newest version of each path is deleted softly, ports are\nreleased, and the environment's own entry leaves the project file; envctl undo brings all of it back. A\nprotected environment is refused.",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "destroy", Usage: "volumes and all versions too, for good"},
				&cli.BoolFlag{Name: "keep-containers", Usage: "leave what runs as it is"},
				a.reportFlag(),
				&cli.BoolFlag{Name: "with-policy", Usage: "its policies and every credential of theirs too, with the token in VAULT_ROOT_TOKEN"},
			},
			Action: a.asking(1, 1, func(ctx context.Context, c *cli.Context) error {
				return a.envDelete(ctx, playbooks.Deletion{
					Name: c.Args().First(), Destroy: c.Bool("destroy"), KeepContainers: c.Bool("keep-containers"), WithPolicy: c.Bool("with-policy"),
				})
			}),
		},
		{
			Name: "sweep", Usage: "Delete the environments of pull requests that are closed",
			Description: "Every ephemeral pr-N that the store or the engine knows and --open does not name is listed, and with --delete\n(or --yes) deleted, each in a run of its own.",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "delete", Usage: "really delete them"},
				&cli.BoolFlag{Name: "destroy", Usage: "volumes and all versions too, for good; wants --yes"},
				&cli.StringFlag{Name: "open", Usage: "the `NUMBERS` of the open pull requests, separated by commas, or none"},
				a.reportFlag(),
			},
			Action: a.asking(0, 0, a.envSweep),
		},
	}
}

// keyList reads KEY,KEY and further arguments.
func (a *app) keyList(command string, texts ...string) ([]string, error) {
	var keys []string
	for _, text := range texts {
		for _, k := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
			if err := a.variableArgument(command, k); err != nil {
				return nil, err
			}
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

func (a *app) envPromote(ctx context.Context, c *cli.Context) error {
	const command = "env promote"
	if c.NArg() > 2 && c.String("only") == "" {
		return fault.Newf(fault.Usage, command, "name the keys with --only", "%d arguments are too many, want FROM TO", c.NArg())
	}
	keys, err := a.keyList(command, append([]string{c.String("only")}, c.Args().Slice()[2:]...)...)
	if err != nil {
		return err
	}
	if len(keys) == 0 && !c.Bool("all-non-secret") {
		return fault.New(fault.Usage, command, "no key is named", "add --only KEY,KEY, or --all-non-secret")
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	m := playbooks.Promotion{Keys: keys, NonSecret: c.Bool("all-non-secret"), NoDeploy: c.Bool("no-deploy")}
	if m.From, err = w.Project.Environment(c.Args().Get(0)); err != nil {
		return err
	}
	if m.To, err = w.Project.Environment(c.Args().Get(1)); err != nil {
		return err
	}
	for _, k := range append(keys, "")[:max(1, len(keys))] {
		name, err := w.ComponentOf(ctx, m.From, a.globals.component, k)
		if err != nil {
			return err
		}
		if m.Component != "" && m.Component != name {
			return fault.Newf(fault.Usage, command, "promote the keys of one component at a time", "%s belongs to %s, %s to %s", keys[0], m.Component, k, name)
		}
		m.Component = name
	}
	p, err := w.Promote(ctx, m)
	if err != nil {
		return err
	}
	if len(p.Steps) == 0 && !a.ui.JSON && !a.globals.dryRun {
		a.showPlan(ctx, p)
		a.ui.Print("%s has the same values already, nothing to do", m.To.Name)
		return nil
	}
	if p.Confirm == "" && !a.ui.JSON && !a.globals.dryRun {
		a.warn(p)
		a.showPlan(ctx, p)
	}
	return a.perform(ctx, w, m.To, p)
}

func (a *app) envDelete(ctx context.Context, d playbooks.Deletion) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	p, err := w.DeleteEnv(ctx, d)
	if err != nil {
		return err
	}
	switch {
	case a.globals.dryRun:
		return a.dryRun(ctx, p)
	case len(p.Steps) == 0 && a.ui.JSON:
		return a.sayUnchanged(p)
	case len(p.Steps) == 0:
		a.showPlan(ctx, p)
		a.ui.Print("nothing of %s is left to delete", d.Name)
		return nil
	case a.asks(p):
		err = a.consent(ctx, p)
	case a.ui.CanAsk() && !a.globals.yes:
		a.showPlan(ctx, p)
		var ok bool
		if ok, err = a.ui.Ask().Confirm(ctx, "delete "+d.Name+"?"); err == nil && !ok {
			err = fault.New(fault.Interrupted, p.Playbook, "not confirmed, nothing was deleted", "")
		}
	}
	if err != nil {
		return err
	}
	e, err := w.Project.Environment(d.Name)
	if err != nil {
		return err
	}
	if err := a.beginReport(ctx, p); err != nil {
		return err
	}
	res, err := a.engine(w).Run(ctx, p)
	if err = a.endReport(p, a.report(e, p, res, err), res.Record); err != nil || a.ui.JSON || a.globals.events {
		return err
	}
	a.sayDeleted(res.Record)
	if !d.Destroy {
		a.ui.Note("next: envctl undo %s brings it back", res.Record.ID)
	}
	return nil
}

// sayDeleted prints what a deletion did, step by step.
func (a *app) sayDeleted(r plan.Record) {
	for _, s := range r.Steps {
		if s.State != plan.StepDone || s.Receipt == nil {
			continue
		}
		switch id, _, _ := strings.Cut(s.ID, "."); id {
		case "remove":
			for _, kind := range []string{"containers", "networks", "volumes"} {
				for _, name := range strings.FieldsFunc(s.Receipt[kind], func(r rune) bool { return r == ',' }) {
					a.ui.Print("removed %s %s", strings.TrimSuffix(kind, "s"), name)
				}
			}
			if left := s.Receipt["left"]; left != "" {
				a.ui.Warn("left as they are, not made or still used by others: %s", strings.ReplaceAll(left, ",", ", "))
			}
		case "raze":
			a.ui.Print("%s service %s", map[string]string{"remove": "removed", "destroy": "removed", "stop": "stopped"}[s.Receipt["how"]], s.Receipt["name"])
		case "razed":
			if left := s.Receipt["left"]; left != "" {
				a.ui.Warn("left as it is: %s", left)
			} else {
				a.ui.Print("removed the deployer's environment %s", s.Receipt["name"])
			}
		case "delete":
			a.ui.Print("deleted %s  version %s", s.Receipt["path"], s.Receipt["version"])
		case "purge":
			a.ui.Print("destroyed %s", s.Receipt["path"])
		case "revoke":
			a.ui.Print("revoked %s credentials of %s", s.Receipt["revoked"], s.Receipt["policy"])
		case "unpolicy":
			a.ui.Print("removed policy %s", s.Receipt["policy"])
		case "ports":
			for field := range s.Receipt {
				if port, ok := strings.CutPrefix(field, "port."); ok {
					a.ui.Print("released port %s", port)
				}
			}
		case "undeclare":
			a.ui.Print("removed %s from envctl.yaml", r.Environment)
		}
	}
}

// lifetimeRow is one environment of env list --expired.
type lifetimeRow struct {
	Name    string     `json:"name"`
	Entry   string     `json:"entry"`
	Creator string     `json:"creator,omitempty"`
	Created time.Time  `json:"created_at"`
	TTL     string     `json:"ttl,omitempty"`
	Expires *time.Time `json:"expires_at,omitempty"`
}

// envExpired lists the ephemeral environments whose time is over.
func (a *app) envExpired(ctx context.Context) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	all, err := w.Lifetimes(ctx)
	if err != nil {
		return err
	}
	rows := []lifetimeRow{}
	cells := [][]ui.Cell{}
	for _, l := range all {
		if l.Expires.IsZero() || a.Now().Before(l.Expires) {
			continue
		}
		rows = append(rows, lifetimeRow{Name: l.Name, Entry: l.Entry, Creator: l.Creator, Created: l.Created, TTL: playbooks.Span(l.TTL), Expires: &l.Expires})
		cells = append(cells, []ui.Cell{ui.C("%s", l.Name), ui.C("%s", playbooks.Span(l.TTL)), ui.C("%s", l.Expires.Format(time.RFC3339)), ui.C("%s", dash(l.Creator))})
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema       string        `json:"schema"`
			Ephemeral    int           `json:"ephemeral"` // how many there are
			Environments []lifetimeRow `json:"environments"`
		}{"envctl.env-expired/v1", len(all), rows})
	}
	if err := a.ui.Table([]string{"ENVIRONMENT", "TTL", "EXPIRED", "CREATOR"}, cells); err != nil {
		return err
	}
	a.ui.Note("%d of %d ephemeral environments are expired", len(rows), len(all))
	if len(rows) > 0 {
		a.ui.Note("next: envctl env delete %s", rows[0].Name)
	}
	return nil
}

// pulls reads the numbers of open pull requests: 41,#47 or none. Nothing at all
// is refused: an empty answer of a program that was asked for them would delete
// everything.
func pulls(text string) (map[string]bool, error) {
	open := map[string]bool{}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	if len(words) == 1 && words[0] == "none" {
		return open, nil
	}
	for _, word := range words {
		n := strings.TrimPrefix(strings.TrimPrefix(word, "#"), "pr-")
		if !naming.IsPreview("pr-" + n) {
			return nil, fault.Newf(fault.Usage, "env sweep", "give --open 41,47", "%q is no pull request's number", word)
		}
		open[n] = true
	}
	if len(open) == 0 {
		return nil, fault.New(fault.Usage, "env sweep", "the open pull requests are not named", "give --open 41,47, or --open none where there are none")
	}
	return open, nil
}

// sweepRow is what becomes of one preview.
type sweepRow struct {
	Name       string `json:"name"`
	State      string `json:"state"` // kept, closed, deleted, failed
	Because    string `json:"because"`
	Paths      int    `json:"paths"`
	Containers bool   `json:"containers"`
	Run        string `json:"run,omitempty"`
}

func (a *app) envSweep(ctx context.Context, c *cli.Context) error {
	open, err := pulls(c.String("open"))
	if err != nil {
		return err
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	previews, err := w.Previews(ctx)
	if err != nil {
		return err
	}
	really := (c.Bool("delete") || a.globals.yes) && !a.globals.dryRun
	swept := &plan.Plan{Playbook: "env sweep"}
	if really {
		if err := a.beginReport(ctx, swept); err != nil {
			return err
		}
	}
	rows := []sweepRow{}
	var failed []string
	var cause error
	for _, p := range previews {
		row := sweepRow{Name: p.Environment.Name, State: "kept", Paths: p.Paths, Containers: p.Containers}
		switch {
		case open[p.Number]:
			row.Because = "its pull request is open"
		case p.Environment.Protected:
			row.Because = "it is protected"
		case !p.Environment.Ephemeral:
			row.Because = "it is not ephemeral"
		default:
			done, err := a.sweepOne(ctx, &row, c.Bool("destroy"), really)
			if err != nil {
				row.State, row.Because = "failed", err.Error()
				failed = append(failed, row.Name)
				if cause == nil {
					cause = err
				}
			}
			if !done && err == nil {
				continue // nothing of it is left
			}
		}
		rows = append(rows, row)
		if ctx.Err() != nil {
			break
		}
	}
	if err := a.saySwept(rows, really); err != nil {
		return err
	}
	if len(failed) > 0 {
		err = fault.Newf(fault.KindOf(cause), "env sweep", fault.HintOf(cause), "%d of %d could not be deleted: %s", len(failed), len(rows), strings.Join(failed, ", "))
	}
	return a.endReport(swept, err, a.reports.kept...)
}

// sweepOne deletes one preview in a run of its own; done is false where nothing
// of it was left.
func (a *app) sweepOne(ctx context.Context, row *sweepRow, destroy, really bool) (done bool, err error) {
	// The project file may have changed with the one before.
	file, err := a.projectFile()
	if err != nil {
		return true, err
	}
	w, err := a.wire(file)
	if err != nil {
		return true, err
	}
	p, err := w.DeleteEnv(ctx, playbooks.Deletion{Name: row.Name, Destroy: destroy})
	if err != nil || len(p.Steps) == 0 {
		return false, err
	}
	row.State, row.Because = "closed", "its pull request is not open"
	if !really {
		return true, nil
	}
	if err := a.consent(ctx, p); err != nil {
		return true, err
	}
	res, err := a.engine(w).Run(ctx, p)
	row.Run, a.reports.kept = res.Record.ID, append(a.reports.kept, res.Record)
	if err == nil {
		row.State = "deleted"
	}
	return true, err
}

func (a *app) saySwept(rows []sweepRow, really bool) error {
	closed := 0
	for _, r := range rows {
		if r.State == "closed" {
			closed++
		}
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema       string     `json:"schema"`
			DryRun       bool       `json:"dry_run"`
			Environments []sweepRow `json:"environments"`
		}{"envctl.env-sweep/v1", !really, rows})
	}
	cells := make([][]ui.Cell, len(rows))
	for i, r := range rows {
		tone := map[string]ui.Tone{"failed": ui.Bad, "closed": ui.Caution, "deleted": ui.Good}[r.State]
		holds := fmt.Sprintf("%d paths", r.Paths)
		if r.Containers {
			holds += ", containers"
		}
		cells[i] = []ui.Cell{ui.C("%s", r.Name), ui.Toned(tone, r.State), ui.C("%s", holds), ui.C("%s", dash(r.Run)), ui.C("%s", r.Because)}
	}
	if err := a.ui.Table([]string{"ENVIRONMENT", "STATE", "HOLDS", "RUN", "BECAUSE"}, cells); err != nil {
		return err
	}
	if !really {
		a.ui.Note("dry run: nothing was deleted; %d would be, with --delete", closed)
	}
	return nil
}
