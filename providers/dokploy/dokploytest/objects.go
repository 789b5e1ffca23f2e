package dokploytest

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

func (s *Server) newProject(name string, description *string) *project {
	p := &project{ID: id(), Name: name, Description: description, created: time.Now()}
	about := "Production environment"
	p.add("production", &about)
	s.projects = append(s.projects, p)
	return p
}

func (p *project) add(name string, description *string) *environment {
	e := &environment{ID: id(), Name: name, Description: description, created: time.Now(), project: p}
	p.Environments = append(p.Environments, e)
	return e
}

func (e *environment) isDefault() bool { return e == e.project.Environments[0] }

func (p *project) document() map[string]any {
	return map[string]any{
		"projectId": p.ID, "name": p.Name, "description": p.Description, "createdAt": stamp(p.created),
		"organizationId": "organization", "env": "",
	}
}

func (e *environment) document() map[string]any {
	return map[string]any{
		"environmentId": e.ID, "name": e.Name, "description": e.Description, "createdAt": stamp(e.created), "env": e.Env,
		"projectId": e.project.ID, "isDefault": e.isDefault(),
	}
}

// others are the kinds of services that no test has.
func others(m map[string]any) {
	for _, kind := range []string{"applications", "libsql", "mariadb", "mongo", "mysql", "postgres", "redis"} {
		m[kind] = []any{}
	}
}

func optional(in map[string]any, field string) *string {
	if t, ok := in[field].(string); ok {
		return &t
	}
	return nil
}

func (s *Server) projectCreate(procedure string, in map[string]any) (int, string, string) {
	name, got := text(in, "name")
	if got != "" {
		return wrong(procedure, "name", "string", got)
	}
	p := s.newProject(name, optional(in, "description"))
	return fine(map[string]any{"project": p.document(), "environment": p.Environments[0].document()})
}

func (s *Server) projectOne(procedure, id string, _ map[string]any) (int, string, string) {
	i := slices.IndexFunc(s.projects, func(p *project) bool { return p.ID == id })
	if i < 0 {
		return missing(procedure, "Project not found")
	}
	m := s.projects[i].document()
	environments := []any{}
	for _, e := range s.projects[i].Environments {
		composes := []any{}
		for _, c := range e.composes {
			composes = append(composes, map[string]any{
				"name": c.Name, "description": c.Description, "appName": c.App, "createdAt": stamp(c.created), "serverId": nil,
				"composeId": c.ID, "composeStatus": c.Status, "server": nil,
			})
		}
		d := e.document()
		d["compose"] = composes
		others(d)
		environments = append(environments, d)
	}
	m["environments"], m["projectTags"] = environments, []any{}
	return fine(m)
}

// projectRemove is not among the recorded calls: it takes all with it.
func (s *Server) projectRemove(procedure, id string, _ map[string]any) (int, string, string) {
	i := slices.IndexFunc(s.projects, func(p *project) bool { return p.ID == id })
	if i < 0 {
		return missing(procedure, "Project not found")
	}
	p := s.projects[i]
	for _, e := range p.Environments {
		for _, c := range slices.Clone(e.composes) {
			s.forget(c)
		}
	}
	s.projects = slices.Delete(s.projects, i, i+1)
	return fine(p.document())
}

func (s *Server) environment(id string) *environment {
	for _, p := range s.projects {
		for _, e := range p.Environments {
			if e.ID == id {
				return e
			}
		}
	}
	return nil
}

// environmentCreate takes a name that is there already, but for production.
func (s *Server) environmentCreate(procedure string, in map[string]any) (int, string, string) {
	name, got := text(in, "name")
	if got != "" {
		return wrong(procedure, "name", "string", got)
	}
	id, got := text(in, "projectId")
	if got != "" {
		return wrong(procedure, "projectId", "string", got)
	}
	if name == "production" {
		return refuse(http.StatusBadRequest, "BAD_REQUEST", procedure, "You cannot create a environment with the name 'production'")
	}
	i := slices.IndexFunc(s.projects, func(p *project) bool { return p.ID == id })
	if i < 0 {
		return missing(procedure, "Project not found")
	}
	return fine(s.projects[i].add(name, optional(in, "description")).document())
}

func (s *Server) environmentOne(procedure, id string, _ map[string]any) (int, string, string) {
	e := s.environment(id)
	if e == nil {
		return missing(procedure, "Environment not found")
	}
	m := e.document()
	delete(m, "createdAt")
	others(m)
	composes := []any{}
	for _, c := range e.composes {
		composes = append(composes, map[string]any{
			"composeId": c.ID, "name": c.Name, "createdAt": stamp(c.created), "composeStatus": c.Status,
			"description": c.Description, "serverId": nil, "icon": nil, "server": nil,
		})
	}
	m["compose"], m["project"] = composes, e.project.document()
	return fine(m)
}

func (s *Server) environmentRemove(procedure, id string, _ map[string]any) (int, string, string) {
	e := s.environment(id)
	switch {
	case e == nil:
		return missing(procedure, "Environment not found")
	case e.isDefault():
		return refuse(http.StatusBadRequest, "BAD_REQUEST", procedure, "You cannot delete the default environment")
	case len(e.composes) > 0:
		return refuse(http.StatusBadRequest, "BAD_REQUEST", procedure, "Cannot delete environment: it has active services. Delete all services first.")
	}
	e.project.Environments = slices.DeleteFunc(e.project.Environments, func(o *environment) bool { return o == e })
	return fine(e.document())
}

// composeCreate ignores env, and gives appName a suffix.
func (s *Server) composeCreate(procedure string, in map[string]any) (int, string, string) {
	name, got := text(in, "name")
	if got != "" {
		return wrong(procedure, "name", "string", got)
	}
	id, got := text(in, "environmentId")
	if got != "" {
		return wrong(procedure, "environmentId", "string", got)
	}
	e := s.environment(id)
	if e == nil {
		return missing(procedure, "Environment not found")
	}
	c := s.add(e, name, "")
	c.Description = optional(in, "description")
	if f := optional(in, "composeFile"); f != nil {
		c.File = *f
	}
	c.Source = "github"
	if f := optional(in, "sourceType"); f != nil {
		c.Source = *f
	}
	c.App = "compose-parse-virtual-" + strconv.Itoa(100+s.next())
	if f := optional(in, "appName"); f != nil {
		c.App = *f + "-" + strconv.Itoa(100000+s.next())
	}
	return fine(c.document())
}

// composeDelete deletes without deleteVolumes too.
func (s *Server) composeDelete(_ string, in map[string]any, c *compose) (int, string, string) {
	m := c.document()
	maps.Copy(m, golden(goldenOne))
	for _, box := range s.engine.All() {
		if box.Labels[composeProject] == c.App {
			s.engine.Remove(box.Name)
		}
	}
	if s.runner != nil {
		s.runner.Down(c.App, in["deleteVolumes"] == true)
	}
	if in["deleteVolumes"] == true {
		s.emptied = append(s.emptied, c.Name)
	}
	s.forget(c)
	return fine(m)
}

// stop leaves the containers where they are, exited.
func (s *Server) stop(_ string, _ map[string]any, c *compose) (int, string, string) {
	for _, box := range s.engine.All() {
		if box.Labels[composeProject] == c.App {
			s.engine.Remove(box.Name)
		}
	}
	if s.runner != nil {
		s.runner.Stop(c.App)
	}
	c.Status = "idle"
	return fine(true)
}

// containerLogs is a JSON string, of an unknown container too.
func (s *Server) containerLogs(procedure string, in map[string]any) (int, string, string) {
	for _, field := range []string{"composeId", "containerId"} {
		if _, got := text(in, field); got != "" {
			return wrong(procedure, field, "string", got)
		}
	}
	container, _ := text(in, "containerId")
	if s.runner != nil {
		tail, _ := text(in, "tail")
		return fine(s.runner.Logs(container, tail))
	}
	for _, box := range s.engine.All() {
		if box.ID[:12] == container {
			return fine(box.Started.UTC().Format(time.RFC3339Nano) + " started\n")
		}
	}
	return fine("Error response from daemon: No such container: " + container + "\n")
}
