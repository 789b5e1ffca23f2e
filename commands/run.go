package commands

import (
	"context"
	"os/exec"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

func (a *app) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "Run a program with an environment's variables", ArgsUsage: "-- CMD [ARGUMENT…]", Category: "values",
		Description: "The program gets this process's environment, less envctl's own credentials, plus the component's variables as\nits template renders them (the store's keys where there is no template). It ends with the program's exit code.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "isolated", Usage: "give it the variables and PATH, HOME, USER, LANG, TERM, TMPDIR, nothing else"},
		},
		Action: a.action(1, -1, func(ctx context.Context, c *cli.Context) error {
			return a.runChild(ctx, c.Args().Slice(), c.Bool("isolated"))
		}),
	}
}

func (a *app) runChild(ctx context.Context, argv []string, isolated bool) error {
	w, t, err := a.readTarget(ctx)
	if err != nil {
		return err
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return err
	}
	r, err := w.Render(ctx, store, t, nil)
	if err != nil {
		return err
	}
	if len(r.Variables) == 0 {
		return fault.Newf(fault.NotFound, "run in "+t.Environment.Name, "run envctl env create "+t.Environment.Name+", or envctl set", "%s holds no variables", w.Path(t))
	}
	for _, p := range r.Problems {
		a.ui.Warn("%s:%d: %s", r.Template.File, p.Line, p.Message)
	}
	program := argv[0]
	if !strings.Contains(program, "/") {
		if program, err = exec.LookPath(program); err != nil {
			return fault.Newf(fault.NotFound, "run "+argv[0], "check the program's name and PATH", "no such program")
		}
	} else {
		program = a.abs(program)
	}
	if a.globals.dryRun {
		if a.ui.JSON {
			return a.ui.Document(struct {
				Schema      string   `json:"schema"`
				DryRun      bool     `json:"dry_run"`
				Environment string   `json:"environment"`
				Component   string   `json:"component"`
				Program     string   `json:"program"`
				Variables   []string `json:"variables"`
			}{"envctl.exec/v1", true, t.Environment.Name, t.Component, program, sortedNames(r.Variables)})
		}
		a.ui.Print("would run %s with %d variables of %s", oneLine(strings.Join(argv, " ")), len(r.Variables), w.Path(t))
		return nil
	}
	a.maskAll(r.FromStore)
	return a.replace(program, argv, a.childEnvironment(r.Variables, isolated))
}

// childEnvironment returns NAME=value lines for a child: this process's own less
// what only envctl needs, with the variables over them.
func (a *app) childEnvironment(variables map[string]secret.Value, isolated bool) []string {
	var env []string
	for _, line := range a.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if _, mine := variables[name]; mine || credential(name) || (isolated && !slices.Contains(kept, name)) {
			continue
		}
		env = append(env, line)
	}
	for _, name := range sortedNames(variables) {
		env = append(env, assign(name, variables[name]))
	}
	return env
}

// kept is what a program cannot do without.
var kept = []string{"HOME", "LANG", "PATH", "TERM", "TMPDIR", "USER"} //nolint:gochecknoglobals // a constant list

// credential tells whether a variable carries one of envctl's own credentials.
func credential(name string) bool {
	switch name {
	case "BAO_TOKEN", "VAULT_ROLE_ID", "VAULT_ROOT_TOKEN", "VAULT_SECRET_ID", "VAULT_TOKEN", "DOKPLOY_API_KEY",
		"OP_CONNECT_TOKEN", "OP_SERVICE_ACCOUNT_TOKEN", "BAO_ROLE_ID", "BAO_SECRET_ID":
		return true
	}
	return strings.HasPrefix(name, "ENVCTL_") || strings.HasPrefix(name, "OP_SESSION_")
}

func sortedNames(m map[string]secret.Value) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
