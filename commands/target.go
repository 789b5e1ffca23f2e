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

// chooseEnv is readEnv or writeEnv.
type chooseEnv func(*playbooks.World) (config.Environment, error)

// readTarget opens the project and settles environment and component of a read
// of a whole path.
func (a *app) readTarget(ctx context.Context) (*playbooks.World, playbooks.Target, error) {
	return a.resolve(a.readEnv, func(w *playbooks.World, e config.Environment) (string, error) {
		return w.ComponentOf(ctx, e, a.globals.component, "")
	})
}

// writeTarget is readTarget for a write, of variables if it names any.
func (a *app) writeTarget(ctx context.Context, variables ...string) (*playbooks.World, playbooks.Target, error) {
	return a.resolve(a.writeEnv, func(w *playbooks.World, e config.Environment) (string, error) {
		if len(variables) == 0 {
			variables = []string{""}
		}
		return w.ComponentOfAll(ctx, e, a.globals.component, variables)
	})
}

// knownTarget is for what asks after a variable that must exist, or, with ever,
// must have existed.
func (a *app) knownTarget(ctx context.Context, variable string, env chooseEnv, ever bool) (*playbooks.World, playbooks.Target, error) {
	return a.resolve(env, func(w *playbooks.World, e config.Environment) (string, error) {
		return w.ComponentKnowing(ctx, e, a.globals.component, variable, ever)
	})
}

func (a *app) resolve(env chooseEnv, component func(*playbooks.World, config.Environment) (string, error)) (*playbooks.World, playbooks.Target, error) {
	w, err := a.open()
	if err != nil {
		return nil, playbooks.Target{}, err
	}
	e, err := env(w)
	if err != nil {
		return nil, playbooks.Target{}, err
	}
	c, err := component(w, e)
	return w, playbooks.Target{Environment: e, Component: c}, err
}

// variableArgument refuses KEY=value, which the shell's history and every
// process list would keep, and names that are no variable's.
func (a *app) variableArgument(command, arg string) error {
	if name, _, found := strings.Cut(arg, "="); found {
		again := fmt.Sprintf("envctl %s %s", command, name)
		if a.globals.env != "" {
			again += " --env " + a.globals.env
		}
		hint := "run " + again
		if command == "set" {
			hint += " and type the value, or pipe it: … | " + again + " --stdin"
		}
		return fault.New(fault.Refused, command+" "+name, "a value on the command line is visible to every process and stays in the shell's history", hint)
	}
	if upper := strings.ToUpper(arg); command == "trace" && playbooks.IsVariable(upper) {
		if arg != upper {
			return fault.New(fault.Usage, command, "an argument is not a variable's name", "write names as UPPER_SNAKE, e.g. "+upper)
		}
		return nil
	}
	if !playbooks.IsVariable(arg) {
		// It is not repeated: envctl set KEY VALUE is what one types by habit.
		return fault.New(fault.Usage, command, "an argument is not a variable's name", "write names as UPPER_SNAKE, e.g. SECRET_KEY; a value comes by prompt, --stdin or --from-file")
	}
	return nil
}

// nameColumns says beside a piped table, which has no heading, what its columns are.
func (a *app) nameColumns(columns []string) {
	if !a.ui.OutTTY {
		a.ui.Note("columns: %s", strings.Join(columns, ", "))
	}
}

func contains(all []string, s string) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}
