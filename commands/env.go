package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/internal/ui"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers/dotenv"
)

func (a *app) envCommand() *cli.Command {
	return &cli.Command{
		Name: "env", Usage: "List, create, show, compare, promote and delete environments", Category: "playbooks",
		Subcommands: append([]*cli.Command{
			{
				Name: "list", Usage: "List the project's environments",
				Flags: []cli.Flag{&cli.BoolFlag{Name: "expired", Usage: "ask the stores for ephemeral ones whose time is over"}},
				Action: a.asking(0, 0, func(ctx context.Context, c *cli.Context) error {
					if c.Bool("expired") {
						return a.envExpired(ctx)
					}
					return a.envList()
				}),
			},
			{
				Name: "create", Usage: "Create an environment, whole: entry, paths, values, deploy, verify", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "allow-missing", Usage: "create it although values are missing"},
					&cli.StringFlag{Name: "from", Usage: "copy the non-secrets of `ENV`, with names adapted"},
					&cli.StringFlag{Name: "credentials-dir", Usage: "the credentials go into files of mode 0600 in `DIR`, not to the deployer"},
					&cli.BoolFlag{Name: "no-deploy", Usage: "write only"},
					&cli.BoolFlag{Name: "plan", Usage: "show all that it would do, and do nothing; as --dry-run"},
					a.reportFlag(),
					&cli.StringFlag{Name: "ttl", Usage: "it is ephemeral and lives for `DURATION`, e.g. 72h or 3d"},
					&cli.StringFlag{Name: "values", Usage: "values as KEY=value lines in `FILE`, or - for standard input"},
					&cli.StringFlag{Name: "with-credentials", Usage: "its policies, and a credential for each component with services: `KIND` token or approle"},
					&cli.BoolFlag{Name: "with-policy", Usage: "write its read-only policies, with the token in VAULT_ROOT_TOKEN"},
				},
				Description: envCreateDescription,
				Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
					a.globals.dryRun = a.globals.dryRun || c.Bool("plan")
					creation := playbooks.Creation{
						Name: c.Args().First(), From: c.String("from"), AllowMissing: c.Bool("allow-missing"), NoDeploy: c.Bool("no-deploy"),
						TTL: c.String("ttl"), WithPolicy: c.Bool("with-policy"), Credentials: c.String("with-credentials"),
					}
					if dir := c.String("credentials-dir"); dir != "" {
						creation.CredentialsDir = a.abs(dir)
					}
					return a.envCreate(ctx, creation, c.String("values"))
				}),
			},
			{
				Name: "show", Usage: "Show one environment: store, versions, what is missing, names", ArgsUsage: "NAME",
				Action: a.asking(1, 1, func(ctx context.Context, c *cli.Context) error { return a.envShow(ctx, c.Args().First()) }),
			},
			{
				Name: "diff", Usage: "Compare two environments or versions, key by key", ArgsUsage: "A B", Flags: diffFlags(),
				Action: a.asking(2, 2, func(ctx context.Context, c *cli.Context) error {
					return a.diff(ctx, c.Args().Get(0), c.Args().Get(1), c.Bool("all"), c.Bool("reveal"), c.Bool("exit-code"))
				}),
			},
		}, a.envOperations()...),
	}
}

const envCreateDescription = `Adds the environment's entry to envctl.yaml, fills a path for every component, writes policies and credentials
where asked, makes what the deployer lacks (Dokploy: project, environment, service), reserves ports, deploys, and
reads the values back from the running processes. What is there already stays: a second run finishes a half-made
environment, and envctl undo takes back what a run made and nothing else. --plan shows all of it first.

With --with-credentials token each component with services gets a token that has its policy alone and lives while it
is renewed each week; with approle, a role and a secret to log in with. The values are in no output and no journal:
they go to the deployer (Dokploy) as VAULT_APP_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID, or with
--credentials-dir into files of mode 0600. Each is used before it is handed over: it reads its own paths, is refused
at every other environment's, and can write nothing.`

type envRow struct {
	Name      string `json:"name"`
	Store     string `json:"store"`
	Deploy    string `json:"deploy"`
	Protected bool   `json:"protected"`
	Ephemeral bool   `json:"ephemeral"`
	Base      string `json:"base,omitempty"`
	TTL       string `json:"ttl,omitempty"`
	Pattern   bool   `json:"pattern,omitempty"`
	Default   bool   `json:"default,omitempty"`
}

func (a *app) envList() error {
	w, err := a.open()
	if err != nil {
		return err
	}
	rows := []envRow{}
	for _, entry := range w.Project.Environments {
		r := envRow{Name: entry.Key, Pattern: strings.Contains(entry.Key, "*"), Default: entry.Key == w.Project.DefaultEnvironment}
		e, err := w.Project.Environment(strings.ReplaceAll(entry.Key, "*", "0"))
		if err != nil {
			return err
		}
		r.Store, r.Deploy, r.Protected, r.Ephemeral, r.Base = e.Store, e.Deploy.Kind, e.Protected, e.Ephemeral, e.Base
		if e.TTL > 0 {
			r.TTL = e.TTL.String()
		}
		rows = append(rows, r)
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema       string   `json:"schema"`
			Environments []envRow `json:"environments"`
		}{"envctl.env-list/v1", rows})
	}
	cells := make([][]ui.Cell, len(rows))
	for i, r := range rows {
		var notes []string
		for _, n := range []struct {
			on   bool
			text string
		}{{r.Default, "default"}, {r.Protected, "protected"}, {r.Ephemeral, "ephemeral"}, {r.Base != "", "base " + r.Base}, {r.TTL != "", "ttl " + r.TTL}} {
			if n.on {
				notes = append(notes, n.text)
			}
		}
		cells[i] = []ui.Cell{ui.C("%s", r.Name), ui.C("%s", r.Store), ui.C("%s", r.Deploy), ui.C("%s", strings.Join(notes, ", "))}
	}
	return a.ui.Table([]string{"ENVIRONMENT", "STORE", "DEPLOY", ""}, cells)
}

func (a *app) envCreate(ctx context.Context, c playbooks.Creation, values string) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	if values != "" {
		read := func() (map[string]secret.Value, error) { return a.valuesFile(values) }
		if c.Values, err = unless(ctx, "read "+values, read); err != nil {
			return err
		}
	}
	if a.ui.CanAsk() && !a.globals.dryRun {
		c.Ask = func(ctx context.Context, key, from string) (secret.Value, error) {
			return a.ui.Ask().Hidden(ctx, key+" ("+from+")")
		}
	}
	if c.Creator = w.User.Author; c.Creator == "" {
		c.Creator = a.author()
	}
	p, err := w.CreateEnv(ctx, c)
	if err != nil {
		return unlessStopped(a.engine(w), w.Project.Name, c.Name, err)
	}
	if len(p.Steps) == 0 {
		if a.ui.JSON {
			return a.sayUnchanged(p)
		}
		a.ui.Print("%s is complete already, nothing to do", c.Name)
		return nil
	}
	e, err := w.Project.Environment(c.Name)
	if err != nil { // not in the file before the run
		e = config.Environment{Name: c.Name}
	}
	return a.perform(ctx, w, e, p)
}

// unlessStopped gives an error for what stands in the way of a creation the commands
// that go on from a creation that stopped half-way, where that may be why it does.
func unlessStopped(e *plan.Engine, project, name string, err error) error {
	if !fault.Is(err, fault.Deleted, fault.Destroyed, fault.Conflict, fault.Refused) {
		return err
	}
	for _, r := range e.Stopped(&plan.Plan{Project: project, Environment: name}) {
		if r.Playbook == "env create" {
			return fault.Wrap(err, fault.KindOf(err), "", r.Next()+" (it stopped part-way)")
		}
	}
	return err
}

// sayUnchanged is the document of a plan that has nothing to do: no run was made.
func (a *app) sayUnchanged(p *plan.Plan) error {
	return a.ui.Document(runDocument{
		Schema: "envctl.run/v1", Playbook: p.Playbook, Environment: p.Environment, State: string(plan.Done),
		DryRun: a.globals.dryRun, Unchanged: true, Verified: false, Steps: []plan.StepRecord{},
	})
}

// valuesFile reads KEY=value lines.
func (a *app) valuesFile(name string) (map[string]secret.Value, error) {
	src, err := a.readInput(name)
	if err != nil {
		return nil, err
	}
	file, err := dotenv.Parse(name, src)
	if err != nil {
		return nil, err
	}
	for _, p := range file.Problems {
		return nil, fault.Newf(fault.Invalid, fmt.Sprintf("%s:%d", name, p.Line), "put the value in single quotes", "%s", p.Message)
	}
	out := map[string]secret.Value{}
	for _, e := range file.Entries {
		out[e.Key] = e.Value
	}
	return out, nil
}

type envDocument struct {
	Schema string `json:"schema"`
	envRow
	Paths   []pathState `json:"paths"`
	Missing []string    `json:"missing"`
	Names   []nameRow   `json:"names"`
}

func (a *app) envShow(ctx context.Context, name string) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	e, err := w.Project.Environment(name)
	if err != nil {
		if naming.CheckSegment("environment", name) == nil {
			err = fault.Wrap(err, fault.Usage, "", fault.HintOf(err)+"; a new one: envctl env create "+name)
		}
		return err
	}
	doc := envDocument{Schema: "envctl.env-show/v1", Paths: []pathState{}, Missing: []string{}, envRow: envRow{
		Name: e.Name, Store: e.Store, Deploy: e.Deploy.Kind, Protected: e.Protected, Ephemeral: e.Ephemeral, Base: e.Base, Default: e.Name == w.Project.DefaultEnvironment,
	}}
	layers := w.AllLayers()
	var last error
	for _, comp := range w.Project.ComponentNames() {
		t := playbooks.Target{Environment: e, Component: comp}
		state := pathState{Environment: name, Component: comp, Path: w.Path(t).String(), State: "set"}
		held, b, err := w.Holdings(ctx, t)
		switch {
		case err == nil:
			state.Version = int(b.Version)
		case fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed):
			state.State, state.Message = fault.KindOf(err).String(), err.Error()
		default:
			last = err
			state.State, state.Message = fault.KindOf(err).String(), err.Error()
		}
		doc.Paths = append(doc.Paths, state)
		if last != nil {
			continue
		}
		have := map[string]bool{}
		if e.Base != "" { // what it borrows is not missing
			base, err := w.Project.Environment(e.Base)
			if err != nil {
				return err
			}
			borrowed, _, err := w.Holdings(ctx, playbooks.Target{Environment: base, Component: comp})
			if err != nil && !fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
				last = err
				continue
			}
			held = append(held, borrowed...)
		}
		for _, h := range held {
			have[h.Key] = true
		}
		for _, n := range w.Needs(comp, layers) {
			if !have[n.Key] && !n.Optional {
				doc.Missing = append(doc.Missing, comp+"."+n.Key)
			}
		}
	}
	r, err := w.Rules()
	if err != nil {
		return err
	}
	branch, workspace := a.place(w, "", "")
	doc.Names = names(w, e, r, branch, workspace)
	if a.ui.JSON {
		return errors.Join(a.ui.Document(doc), last)
	}
	a.ui.Print("%s  store %s, deploy %s%s", e.Name, e.Store, e.Deploy.Kind, because(protectedWord(e)))
	var rows [][]ui.Cell
	for _, p := range doc.Paths {
		version := "-"
		if p.Version > 0 {
			version = fmt.Sprint(p.Version)
		}
		rows = append(rows, []ui.Cell{ui.C("path"), ui.C("%s", p.Path), ui.C("%s", p.State), ui.C("%s", version)})
	}
	for _, m := range doc.Missing {
		rows = append(rows, []ui.Cell{ui.Toned(ui.Bad, "missing"), ui.C("%s", m), ui.C(""), ui.C("")})
	}
	for _, n := range doc.Names {
		if n.Kind != "path" {
			rows = append(rows, []ui.Cell{ui.C("%s", n.Kind), ui.C("%s", n.Name), ui.C(""), ui.C("")})
		}
	}
	if err := a.ui.Table([]string{"KIND", "NAME", "STATE", "VERSION"}, rows); err != nil {
		return err
	}
	if len(doc.Missing) > 0 {
		a.ui.Note("next: envctl env create %s  (adds what is missing)", e.Name)
	}
	return last
}

func protectedWord(e config.Environment) string {
	if e.Protected {
		return "protected"
	}
	return ""
}
