package commands

import (
	"context"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers/ports"
)

func placeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "branch", Usage: "the git `BRANCH` (default: the one checked out)"},
		&cli.BoolFlag{Name: "explain", Usage: "show how it came about"},
		&cli.StringFlag{Name: "workspace", Usage: "the workspace's `ID` (default: $WORKSPACE_ID, else from its path)"},
	}
}

// place is a branch in a workspace, which only local and ci environments depend on.
func (a *app) place(w *playbooks.World, branch, workspace string) (string, string) {
	if branch == "" {
		branch = gitBranch(w.Project.Root)
	}
	if workspace == "" {
		workspace = a.Getenv("WORKSPACE_ID")
	}
	if workspace == "" {
		workspace = naming.Workspace(w.Project.Root)
	}
	return branch, workspace
}

// nameWorld opens the project, the environment and the rules.
func (a *app) nameWorld() (*playbooks.World, config.Environment, naming.Rules, error) {
	w, err := a.open()
	if err != nil {
		return nil, config.Environment{}, naming.Rules{}, err
	}
	e, err := a.readEnv(w)
	if err != nil {
		return nil, e, naming.Rules{}, err
	}
	r, err := w.Rules()
	return w, e, r, err
}

func (a *app) service(w *playbooks.World, name string) error {
	if contains(w.Project.Services(), name) {
		return nil
	}
	hint := "list it in envctl.yaml: components: {app: {services: [" + name + "]}}"
	if near := naming.Nearest(name, w.Project.Services()); near != "" {
		hint = "did you mean " + near + "?"
	}
	return fault.New(fault.Usage, "service "+name, "not in "+config.FileName, hint)
}

func (a *app) nameCommand() *cli.Command {
	return &cli.Command{
		Name: "name", Usage: "Print the name of a service's container", ArgsUsage: "SERVICE", Category: "names",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "explain", Usage: "show how it came about"}},
		Action: a.action(1, 1, func(_ context.Context, c *cli.Context) error {
			w, e, r, err := a.nameWorld()
			if err != nil {
				return err
			}
			s := c.Args().First()
			if err := a.service(w, s); err != nil {
				return err
			}
			name, steps := r.Explain(naming.Subject{Kind: naming.KindContainer, Environment: e.Name, Service: s})
			if a.ui.JSON {
				return a.ui.Document(nameDocument{Schema: "envctl.name/v1", Environment: e.Name, Service: s, Name: name, Steps: stepsDoc(steps, c.Bool("explain"))})
			}
			if c.Bool("explain") {
				for _, st := range steps {
					a.ui.Note("%-40s %s", st.Rule, st.Result)
				}
			}
			a.ui.Print("%s", name)
			return nil
		}),
	}
}

type nameDocument struct {
	Schema      string    `json:"schema"`
	Environment string    `json:"environment"`
	Service     string    `json:"service"`
	Name        string    `json:"name"`
	Steps       []stepDoc `json:"steps,omitempty"`
}

type stepDoc struct {
	Rule   string `json:"rule"`
	Result string `json:"result"`
}

func stepsDoc(steps []naming.Step, want bool) []stepDoc {
	if !want {
		return nil
	}
	out := make([]stepDoc, len(steps))
	for i, s := range steps {
		out[i] = stepDoc(s)
	}
	return out
}

func (a *app) namesCommand() *cli.Command {
	return &cli.Command{
		Name: "names", Usage: "List every name of an environment, from containers to policies", Category: "names",
		Flags: placeFlags(),
		Action: a.action(0, 0, func(_ context.Context, c *cli.Context) error {
			w, e, r, err := a.nameWorld()
			if err != nil {
				return err
			}
			branch, workspace := a.place(w, c.String("branch"), c.String("workspace"))
			rows := names(w, e, r, branch, workspace)
			if a.ui.JSON {
				return a.ui.Document(struct {
					Schema      string    `json:"schema"`
					Environment string    `json:"environment"`
					Branch      string    `json:"branch,omitempty"`
					Workspace   string    `json:"workspace,omitempty"`
					Names       []nameRow `json:"names"`
				}{"envctl.names/v1", e.Name, onlyLocal(e, branch), onlyLocal(e, workspace), rows})
			}
			cells := make([][]ui.Cell, len(rows))
			for i, n := range rows {
				cells[i] = []ui.Cell{ui.C("%s", n.Kind), ui.C("%s", n.Of), ui.C("%s", n.Name)}
			}
			return a.ui.Table([]string{"KIND", "OF", "NAME"}, cells)
		}),
	}
}

func onlyLocal(e config.Environment, s string) string {
	if naming.IsLocal(e.Name) {
		return s
	}
	return ""
}

type nameRow struct {
	Kind string `json:"kind"`
	Of   string `json:"of"`
	Name string `json:"name"`
}

func names(w *playbooks.World, e config.Environment, r naming.Rules, branch, workspace string) []nameRow {
	var rows []nameRow
	for _, s := range w.Project.Services() {
		rows = append(rows, nameRow{"container", s, r.Container(e.Name, s)})
	}
	rows = append(rows,
		nameRow{"database", e.Name, r.Database(e.Name, branch, workspace)},
		nameRow{"network", e.Name, r.Network(e.Name, branch, workspace)},
		nameRow{"bucket", e.Name, r.Bucket(e.Name, branch, workspace)},
		nameRow{"suffix", e.Name, r.Suffix(e.Name, branch, workspace)},
	)
	for _, c := range w.Project.ComponentNames() {
		rows = append(rows, nameRow{"path", c, w.Project.Vault.Mount + "/" + r.Path(e.Name, c).String()})
	}
	for _, c := range w.Project.ComponentNames() {
		rows = append(rows, nameRow{"policy", c, r.Policy(e.Name, c)})
	}
	return rows
}

func (a *app) portCommand() *cli.Command {
	return &cli.Command{
		Name: "port", Usage: "Print a service's port on this branch, and keep it", ArgsUsage: "SERVICE", Category: "names",
		Description: "The first choice is a digest of branch and workspace; when somebody holds it, or something listens there, the\nnext free one is taken, recorded, and given again for the same question.",
		Flags: append(placeFlags(), &cli.BoolFlag{Name: "release", Usage: "give the port back"},
			&cli.BoolFlag{Name: "list", Usage: "show who holds which port"}),
		Action: a.action(0, 1, func(ctx context.Context, c *cli.Context) error { return a.port(ctx, c) }),
	}
}

func (a *app) port(ctx context.Context, c *cli.Context) error {
	registry := ports.New(filepath.Join(a.dirs().State, "ports.json"), a.Now)
	if c.Bool("list") {
		return a.listPorts(registry)
	}
	if c.NArg() != 1 {
		return fault.New(fault.Usage, "envctl port", "wants SERVICE", "run envctl port --help")
	}
	w, e, r, err := a.nameWorld()
	if err != nil {
		return err
	}
	s := c.Args().First()
	if err := a.service(w, s); err != nil {
		return err
	}
	branch, workspace := a.place(w, c.String("branch"), c.String("workspace"))
	holder := ports.Holder{Project: w.Project.Name, Environment: e.Name, Service: s}
	if naming.IsLocal(e.Name) {
		holder.Branch, holder.Workspace = naming.Branch(branch), workspace
	}
	if c.Bool("release") {
		return a.releasePort(ctx, registry, holder)
	}
	request := ports.Request{Holder: holder, Folder: w.Project.Root, First: r.Port(e.Name, branch, workspace, s), Range: r.PortRange()}
	get := registry.Acquire
	if a.globals.dryRun {
		get = registry.Look
	}
	got, err := get(ctx, request)
	if err != nil {
		return err
	}
	_, steps := r.Explain(naming.Subject{Kind: naming.KindPort, Environment: e.Name, Service: s, Branch: branch, Workspace: workspace})
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema string `json:"schema"`
			ports.Grant
			ports.Holder
			Steps []stepDoc `json:"steps,omitempty"`
		}{"envctl.port/v1", got, holder, stepsDoc(steps, c.Bool("explain"))})
	}
	if c.Bool("explain") {
		for _, st := range steps {
			a.ui.Note("%-44s %s", st.Rule, st.Result)
		}
		for _, k := range got.Probes {
			if k.Skipped != "" {
				a.ui.Note("%-44s %s", strconv.Itoa(k.Port)+" is taken", k.Skipped)
			}
		}
		if got.Held {
			a.ui.Note("%-44s %d", "held already by "+holder.String(), got.Port)
		}
	}
	a.ui.Print("%d", got.Port)
	return nil
}

func (a *app) releasePort(ctx context.Context, registry *ports.Registry, holder ports.Holder) error {
	if a.globals.dryRun {
		a.ui.Note("dry run: nothing was released")
		return nil
	}
	gone, err := registry.Release(ctx, func(e ports.Entry) bool { return e.Holder == holder })
	if err != nil {
		return err
	}
	if len(gone) == 0 {
		return fault.New(fault.NotFound, "release the port of "+holder.String(), "it holds none", "run envctl port --list")
	}
	for _, g := range gone {
		a.ui.Print("%d", g.Port)
	}
	return nil
}

func (a *app) listPorts(registry *ports.Registry) error {
	held, err := registry.List()
	if err != nil {
		return err
	}
	if a.ui.JSON {
		if held == nil {
			held = []ports.Entry{}
		}
		return a.ui.Document(struct {
			Schema string        `json:"schema"`
			Ports  []ports.Entry `json:"ports"`
		}{"envctl.ports/v1", held})
	}
	rows := make([][]ui.Cell, 0, len(held))
	for _, h := range held {
		note := ""
		if h.Stale {
			note = "its folder is gone"
		}
		rows = append(rows, []ui.Cell{
			ui.C("%d", h.Port), ui.C("%s", h.Service), ui.C("%s", h.Project), ui.C("%s", h.Environment),
			ui.C("%s", dash(h.Branch)), ui.C("%s", dash(h.Workspace)), ui.C("%s", h.Since.UTC().Format(time.RFC3339)), ui.Toned(ui.Caution, note),
		})
	}
	return a.ui.Table([]string{"PORT", "SERVICE", "PROJECT", "ENVIRONMENT", "BRANCH", "WORKSPACE", "SINCE", ""}, rows)
}
