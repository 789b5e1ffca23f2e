package commands

import (
	"context"
	"fmt"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/playbooks"
)

// readEnv returns the environment of a read: --env (or ENVCTL_ENV), the file's
// default, local, the only one.
func (a *app) readEnv(w *playbooks.World) (config.Environment, error) {
	name := a.globals.env
	names := w.Project.EnvironmentNames()
	switch {
	case name != "":
	case w.Project.DefaultEnvironment != "":
		name = w.Project.DefaultEnvironment
	case contains(names, "local"):
		name = "local"
	case len(names) == 1:
		name = names[0]
	default:
		return config.Environment{}, fault.New(fault.Usage, "choose an environment", "none is named and the project has several",
			"name one with --env: "+strings.Join(names, ", "))
	}
	return w.Project.Environment(name)
}

// readEnvs returns the names of the environments of a read: the one that is
// meant, or with --all-envs every one of the file.
func (a *app) readEnvs(w *playbooks.World, all bool) ([]string, error) {
	if all {
		return w.Project.EnvironmentNames(), nil
	}
	e, err := a.readEnv(w)
	return []string{e.Name}, err
}

// writeEnv returns the environment of a write, which must be named.
func (a *app) writeEnv(w *playbooks.World) (config.Environment, error) {
	if a.globals.env == "" {
		return config.Environment{}, fault.New(fault.Usage, "choose an environment", "a write names its environment",
			"add --env, one of: "+strings.Join(w.Project.EnvironmentNames(), ", "))
	}
	return w.Project.Environment(a.globals.env)
}

// target settles which component is meant. variable "" means none decides.
func (a *app) target(ctx context.Context, w *playbooks.World, e config.Environment, variable string) (playbooks.Target, error) {
	c, err := w.ComponentOf(ctx, e, a.globals.component, variable)
	return playbooks.Target{Environment: e, Component: c}, err
}

// readTarget opens the project and settles environment and component of a read.
func (a *app) readTarget(ctx context.Context, variable string) (*playbooks.World, playbooks.Target, error) {
	return a.resolve(ctx, variable, a.readEnv)
}

// writeTarget is readTarget for a write.
func (a *app) writeTarget(ctx context.Context, variable string) (*playbooks.World, playbooks.Target, error) {
	return a.resolve(ctx, variable, a.writeEnv)
}

func (a *app) resolve(ctx context.Context, variable string, env func(*playbooks.World) (config.Environment, error)) (*playbooks.World, playbooks.Target, error) {
	w, err := a.open()
	if err != nil {
		return nil, playbooks.Target{}, err
	}
	e, err := env(w)
	if err != nil {
		return nil, playbooks.Target{}, err
	}
	t, err := a.target(ctx, w, e, variable)
	return w, t, err
}

// variableArgument refuses KEY=value, which the shell's history and every
// process list would keep, and names that are no variable's.
func variableArgument(command, arg string) error {
	if name, _, found := strings.Cut(arg, "="); found {
		return fault.Newf(fault.Refused, command+" "+name, fmt.Sprintf("run envctl %s %s and type the value, or pipe it: … | envctl %s %s --stdin", command, name, command, name),
			"a value on the command line is visible to every process and stays in the shell's history")
	}
	if !playbooks.IsVariable(arg) {
		// It is not repeated: envctl set KEY VALUE is what one types by habit.
		return fault.New(fault.Usage, command, "an argument is not a variable's name", "write names as UPPER_SNAKE, e.g. SECRET_KEY; a value comes by prompt, --stdin or --from-file")
	}
	return nil
}

func contains(all []string, s string) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}
