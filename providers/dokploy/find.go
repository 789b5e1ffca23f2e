package dokploy

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/internal/rollout"
)

type project struct {
	ProjectID, Name string
	Environments    []struct {
		Name    string
		Compose []struct{ ComposeID, Name string }
	}
}

func (d *Deployer) projects(ctx context.Context, op string) ([]project, error) {
	a, err := d.http.get(ctx, op, "project.all", nil)
	if err != nil {
		return nil, err
	}
	var all []project
	return all, a.decode(op, &all)
}

// names returns what the compose service of a component may be called, the
// first that exists wins.
func (d *Deployer) names(r providers.Release) []string {
	rules := d.c.Rules
	rules.Project = r.Project
	names := []string{
		rules.Container(r.Environment, r.Component),
		rules.Container(naming.Production, r.Component),
		r.Project + "-" + r.Component,
	}
	slices.Sort(names[1:])
	return slices.Compact(names)
}

// find returns the id of the component's compose service. Dokploy lets two
// environments, and two services, have one name: that is refused.
func (d *Deployer) find(ctx context.Context, r providers.Release) (string, error) {
	op := rollout.Op(r)
	all, err := d.projects(ctx, op)
	if err != nil {
		return "", err
	}
	var projects, environments, services []string
	ids := map[string][]string{}
	foundProject, foundEnvironment := false, false
	for _, p := range all {
		projects = append(projects, p.Name)
		if p.Name != r.Project {
			continue
		}
		foundProject = true
		for _, e := range p.Environments {
			environments = append(environments, e.Name)
			if e.Name != r.Environment {
				continue
			}
			foundEnvironment = true
			for _, c := range e.Compose {
				services = append(services, c.Name)
				ids[c.Name] = append(ids[c.Name], c.ComposeID)
			}
		}
	}
	has := func(names []string) string {
		slices.Sort(names)
		return cmp.Or(strings.Join(slices.Compact(names), ", "), "none")
	}
	wanted := d.names(r)
	switch {
	case !foundProject:
		return "", fault.Newf(fault.NotFound, op, "make the project in Dokploy, or give the key access to it", "Dokploy has no project %s; the key sees %s", r.Project, has(projects))
	case !foundEnvironment:
		return "", fault.Newf(fault.NotFound, op, "make the environment in Dokploy", "Dokploy's project %s has no environment %s; it has %s", r.Project, r.Environment, has(environments))
	}
	for _, name := range wanted {
		switch found := ids[name]; {
		case len(found) == 1 && legalID(found[0]):
			return found[0], nil
		case len(found) == 1:
			return "", fault.New(fault.Unavailable, op, "Dokploy's id of "+name+" is not an id", "run envctl doctor")
		case len(found) > 1:
			return "", fault.Newf(fault.Refused, op, "rename all but one in Dokploy", "Dokploy has %d compose services called %s in %s", len(found), name, r.Environment)
		}
	}
	return "", fault.Newf(fault.NotFound, op, "make it in Dokploy (provider Raw), or rename it there",
		"Dokploy's environment %s has no compose service %s; it has %s", r.Environment, strings.Join(wanted, " or "), has(services))
}

func legalID(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// service is a compose service as Dokploy has it now.
type service struct {
	id, app, source string
	text            secret.Value // the environment text
	envFile         bool         // the text is written beside the compose file
}

func (d *Deployer) one(ctx context.Context, op, id string) (service, error) {
	a, err := d.http.get(ctx, op, "compose.one", url.Values{"composeId": {id}})
	if err != nil {
		return service{}, err
	}
	var raw struct {
		ComposeID, AppName, SourceType string
		Env                            *string
		CreateEnvFile                  *bool
	}
	if err := a.decode(op, &raw); err != nil {
		return service{}, err
	}
	if raw.ComposeID != id {
		return service{}, fault.New(fault.Unavailable, op, "Dokploy answered with another service than the one asked for", "run envctl doctor")
	}
	s := service{id: id, app: raw.AppName, source: raw.SourceType, envFile: raw.CreateEnvFile == nil || *raw.CreateEnvFile, text: secret.New("")}
	if raw.Env != nil {
		s.text = secret.New(*raw.Env)
	}
	return s, nil
}

// checkService refuses to write for a service that could not pass the values on.
func (d *Deployer) checkService(ctx context.Context, r providers.Release, c service) error {
	op := rollout.Op(r)
	if !c.envFile {
		return fault.New(fault.Refused, op, "the service's environment file is switched off in Dokploy, so no variable would reach a container", "switch on Create Environment File for the service in Dokploy")
	}
	a, err := d.http.get(ctx, op, "compose.loadServices", url.Values{"composeId": {c.id}})
	if err != nil && c.source != "raw" && fault.Is(err, fault.Invalid, fault.NotFound, fault.Unavailable) {
		return nil // a repository that was never fetched has no services yet; Wait misses them
	}
	if err != nil {
		return err
	}
	var have []string
	if err := a.decode(op, &have); err != nil {
		return err
	}
	for _, s := range r.Services {
		if !slices.Contains(have, s.Name) {
			slices.Sort(have)
			return fault.Newf(fault.NotFound, op, "correct services in envctl.yaml, or the compose file in Dokploy",
				"the compose file in Dokploy has no service %s; it has %s", s.Name, cmp.Or(strings.Join(have, ", "), "none"))
		}
	}
	return nil
}
