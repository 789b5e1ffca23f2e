package playbooks

import (
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/naming"
)

// CheckNames refuses a project file in which two different things would get one
// name.
func (w *World) CheckNames() error {
	r, err := w.Rules()
	if err != nil {
		return err
	}
	var envs []string
	for _, e := range w.Project.Environments {
		envs = append(envs, e.Key)
	}
	found := append(naming.Collisions(r, envs, w.Project.Services()), naming.PolicyCollisions(r, envs, w.Project.ComponentNames())...)
	if len(found) > 0 {
		c := found[0]
		var of []string
		for _, in := range c.Inputs {
			of = append(of, strings.TrimSpace(in.Subject+" in "+in.Environment))
		}
		return fault.Newf(fault.Invalid, config.FileName, "rename one of them", "%s would be the %s of two things: %s", c.Name, c.Kind, strings.Join(of, "; "))
	}
	return nil
}
