package commands

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/ui"
	"envctl/playbooks"
)

func (a *app) deployCommand() *cli.Command {
	return &cli.Command{
		Name: "deploy", Usage: "Bring values into the running processes, and read them back", ArgsUsage: "[COMPONENT]", Category: "playbooks",
		Description: deployDescription,
		Flags:       []cli.Flag{a.reportFlag()},
		Action: a.asking(0, 1, func(ctx context.Context, c *cli.Context) error {
			w, err := a.open()
			if err != nil {
				return err
			}
			e, err := a.writeEnv(w)
			if err != nil {
				return err
			}
			t, err := a.componentArgument(ctx, w, e, c.Args().First())
			if err != nil {
				return err
			}
			p, err := w.Deploy(ctx, t)
			if err != nil {
				return err
			}
			return a.perform(ctx, w, e, p)
		}),
	}
}

const deployDescription = `With deploy: {kind: compose} a service of several replicas (deploy.replicas or scale in the compose file) is
rolled: a new container starts beside the old ones, and when it is healthy an old one is stopped and removed,
until all are new. deploy.update_config.parallelism in the compose file makes it several at a time. Where the
service's fixed host ports have no room for one more, or update_config says order: stop-first, the old one goes
first and the others serve meanwhile. A service of one replica is recreated, with an interruption, unless the
component lists it in envctl.yaml under rolling: [SERVICE]; its container then has compose's name (SERVICE-2,
SERVICE-3 …), so let others reach it by its service's name. Services with a volume that has no name or with a
pre_stop hook are always recreated. --dry-run says how each is replaced.

A new container that does not become healthy ends the roll: it is stopped, the old ones that are left go on, and
what was replaced is rolled back. Where that cannot be done either, status and trace say half-rolled-out.

Docker itself sends clients to a container as soon as it runs: let the application listen when it is ready, and
answer what it has taken when it is asked to end, or put a proxy that looks at health in front.`

// componentArgument accepts a component or one of its services as argument.
func (a *app) componentArgument(ctx context.Context, w *playbooks.World, e config.Environment, arg string) (playbooks.Target, error) {
	if arg == "" && a.globals.component == "" {
		var running []string // components that run something
		for _, c := range w.Project.Components {
			if len(c.Value.Services) > 0 && (c.Value.Compose != "" || e.Deploy.Kind != config.DeployCompose) {
				running = append(running, c.Key)
			}
		}
		if len(running) == 1 {
			return playbooks.Target{Environment: e, Component: running[0]}, nil
		}
	}
	if arg == "" {
		comp, err := w.ComponentOf(ctx, e, a.globals.component, "")
		return playbooks.Target{Environment: e, Component: comp}, err
	}
	if c, ok := w.Project.ComponentOfService(arg); ok {
		if _, isComponent := w.Project.Components.Get(arg); !isComponent {
			arg = c
		}
	}
	if _, err := w.Project.Component(arg); err != nil {
		return playbooks.Target{}, err
	}
	return playbooks.Target{Environment: e, Component: arg}, nil
}

func (a *app) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "Show what runs, and whether it holds what the store says", ArgsUsage: "[COMPONENT]", Category: "playbooks",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all-envs", Usage: "every environment of the file"}},
		Action: a.asking(0, 1, func(ctx context.Context, c *cli.Context) error {
			return a.status(ctx, c.Args().First(), c.Bool("all-envs"))
		}),
	}
}

type statusDocument struct {
	Schema      string                    `json:"schema"`
	Environment string                    `json:"environment,omitempty"`
	Services    []playbooks.ServiceStatus `json:"services"`
	Errors      []string                  `json:"errors,omitempty"`
}

func (a *app) status(ctx context.Context, component string, all bool) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	names, err := a.readEnvs(w, all)
	if err != nil {
		return err
	}
	doc := statusDocument{Schema: "envctl.status/v1", Services: []playbooks.ServiceStatus{}}
	if !all {
		doc.Environment = names[0]
	}
	var failed error
	bad := false
	for _, n := range names {
		e, err := w.Project.Environment(n)
		if err != nil {
			return err
		}
		components := w.Project.ComponentNames()
		if component != "" || a.globals.component != "" {
			t, err := a.componentArgument(ctx, w, e, component)
			if err != nil {
				return err
			}
			components = []string{t.Component}
		}
		for _, comp := range components {
			rows, err := w.Status(ctx, playbooks.Target{Environment: e, Component: comp})
			if err != nil {
				if failed == nil {
					failed = err
				}
				doc.Errors = append(doc.Errors, err.Error())
			}
			for _, r := range rows {
				bad = bad || r.Verdict == "stale" || r.Verdict == playbooks.HalfRolledOut || r.Verdict == "unhealthy" || r.Verdict == "unverified" ||
					(r.Verdict == "absent" && e.Deploy.Kind != config.DeployNone)
				doc.Services = append(doc.Services, r)
			}
		}
	}
	if len(doc.Services) == 0 && failed != nil {
		return failed
	}
	if a.ui.JSON {
		if err := a.ui.Document(doc); err != nil {
			return err
		}
	} else {
		rows := make([][]ui.Cell, 0, len(doc.Services))
		for _, s := range doc.Services {
			tone := map[string]ui.Tone{"current": ui.Good, "stale": ui.Bad, playbooks.HalfRolledOut: ui.Bad, "unhealthy": ui.Bad, "absent": ui.Faint}[s.Verdict]
			rows = append(rows, []ui.Cell{
				ui.C("%s", s.Environment), ui.C("%s", s.Service), ui.C("%s", s.Container), ui.C("%s", s.State),
				ui.C("%s", dash(a.ageOrEmpty(s))), ui.Toned(tone, s.Verdict), ui.C("%s", s.Because),
			})
		}
		if err := a.ui.Table([]string{"ENVIRONMENT", "SERVICE", "CONTAINER", "STATE", "STARTED", "VALUES", ""}, rows); err != nil {
			return err
		}
		var fixes []string
		for _, s := range doc.Services {
			if s.Fix != "" && !slices.Contains(fixes, s.Fix) {
				fixes = append(fixes, s.Fix)
				a.ui.Note("next: %s", s.Fix)
			}
		}
		for _, e := range doc.Errors[min(1, len(doc.Errors)):] {
			a.ui.Warn("%s", e)
		}
	}
	if failed != nil {
		return failed
	}
	if bad {
		return silentError{1}
	}
	return nil
}

func (a *app) ageOrEmpty(s playbooks.ServiceStatus) string {
	if s.StartedAt == nil {
		return ""
	}
	return a.age(*s.StartedAt)
}
