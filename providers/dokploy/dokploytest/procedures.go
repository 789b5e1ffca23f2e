package dokploytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

type handler func(procedure string, in map[string]any) (int, string, string)

func (s *Server) procedures() map[string]handler {
	return map[string]handler{
		"GET compose.loadServices":               s.ofCompose(s.loadServices),
		"GET compose.one":                        s.ofCompose(s.composeOne),
		"GET compose.readLogs":                   s.containerLogs,
		"GET deployment.allByCompose":            given("composeId", s.allByCompose),
		"GET deployment.queueList":               s.queueList,
		"GET deployment.readLogs":                given("deploymentId", s.readLogs),
		"GET docker.getContainersByAppNameMatch": s.listContainers,
		"GET environment.one":                    given("environmentId", s.environmentOne),
		"GET project.all":                        s.projectAll,
		"GET project.one":                        given("projectId", s.projectOne),
		"POST compose.create":                    s.composeCreate,
		"POST compose.delete":                    s.ofCompose(s.composeDelete),
		"POST compose.deploy":                    s.ofCompose(s.deploy),
		"POST compose.saveEnvironment":           given("composeId", s.saveEnvironment),
		"POST compose.stop":                      s.ofCompose(s.stop),
		"POST compose.update":                    given("composeId", s.update),
		"POST environment.create":                s.environmentCreate,
		"POST environment.remove":                given("environmentId", s.environmentRemove),
		"POST project.create":                    s.projectCreate,
		"POST project.remove":                    given("projectId", s.projectRemove),
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func typeOf(v any, there bool) string {
	switch v.(type) {
	case nil:
		if there {
			return "null"
		}
		return "undefined"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "object"
}

// text returns a required string field.
func text(in map[string]any, field string) (string, string) {
	v, there := in[field]
	if s, ok := v.(string); ok && s != "" {
		return s, ""
	}
	return "", typeOf(v, there)
}

// given hands on what a required field says.
func given(field string, h func(procedure, value string, in map[string]any) (int, string, string)) handler {
	return func(procedure string, in map[string]any) (int, string, string) {
		value, got := text(in, field)
		if got != "" {
			return wrong(procedure, field, "string", got)
		}
		return h(procedure, value, in)
	}
}

// ofCompose hands on the service that is asked for, and answers for one that is not there.
func (s *Server) ofCompose(h func(procedure string, in map[string]any, c *compose) (int, string, string)) handler {
	return given("composeId", func(procedure, id string, in map[string]any) (int, string, string) {
		c := s.composes[id]
		if c == nil {
			return missing(procedure, "Compose not found")
		}
		return h(procedure, in, c)
	})
}

func golden(text string) map[string]any {
	m := map[string]any{}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		panic(err)
	}
	return m
}

func (c *compose) document() map[string]any {
	m := golden(goldenCompose)
	maps.Copy(m, map[string]any{
		"composeId": c.ID, "name": c.Name, "appName": c.App, "description": c.Description, "env": c.Env, "composeFile": c.File,
		"refreshToken": "refresh-" + c.ID, "sourceType": c.Source, "createEnvFile": c.EnvFile, "composeStatus": c.Status,
		"environmentId": c.environment.ID, "createdAt": stamp(c.created),
	})
	return m
}

func (s *Server) projectAll(string, map[string]any) (int, string, string) {
	all := []any{}
	for _, p := range s.projects {
		environments := []any{}
		for _, e := range p.Environments {
			composes := []any{}
			for _, c := range e.composes {
				composes = append(composes, map[string]any{"composeId": c.ID, "name": c.Name, "composeStatus": c.Status})
			}
			m := map[string]any{"name": e.Name, "environmentId": e.ID, "isDefault": e.Name == "production", "compose": composes}
			others(m)
			environments = append(environments, m)
		}
		m := p.document()
		m["environments"], m["projectTags"] = environments, []any{}
		all = append(all, m)
	}
	return fine(all)
}

func (s *Server) composeOne(_ string, _ map[string]any, c *compose) (int, string, string) {
	m := c.document()
	maps.Copy(m, golden(goldenOne))
	e := c.environment.document()
	e["project"] = c.environment.project.document()
	m["environment"] = e
	return fine(m)
}

// update replaces the fields that are given. For an id that it does not know it
// answers 200 and nothing.
func (s *Server) update(procedure, id string, in map[string]any) (int, string, string) {
	env, there := in["env"]
	if got := typeOf(env, there); got != "string" && got != "undefined" && got != "null" {
		return wrong(procedure, "env", "string", got)
	}
	c := s.composes[id]
	if c == nil {
		return http.StatusOK, jsonKind, ""
	}
	if there {
		c.Env = nil
		if t, ok := env.(string); ok {
			c.Env = &t
		}
	}
	if f, ok := in["composeFile"].(string); ok {
		c.File = f
	}
	if b, ok := in["createEnvFile"].(bool); ok {
		c.EnvFile = b
	}
	return fine(c.document())
}

func (s *Server) saveEnvironment(procedure, id string, in map[string]any) (int, string, string) {
	env, there := in["env"]
	if !there {
		return wrong(procedure, "env", "nonoptional", "undefined")
	}
	c := s.composes[id]
	if c == nil {
		return refuse(http.StatusBadRequest, "BAD_REQUEST", procedure, "Error adding environment variables")
	}
	c.Env = nil
	if t, ok := env.(string); ok {
		c.Env = &t
	}
	if b, there := in["createEnvFile"]; there {
		c.EnvFile = b == true
	}
	return fine(true)
}

// deploy queues a job and gives no id.
func (s *Server) deploy(_ string, in map[string]any, c *compose) (int, string, string) {
	title, _ := in["title"].(string)
	if title == "" {
		title = "Manual deployment"
	}
	description, _ := in["description"].(string)
	s.queue = append(s.queue, &job{id: "job-" + strconv.Itoa(s.next()), title: title, description: description, compose: c, queued: time.Now()})
	s.poke()
	return fine(map[string]any{"success": true, "message": "Deployment queued", "composeId": c.ID})
}

func (s *Server) queueList(string, map[string]any) (int, string, string) {
	all := []any{}
	for i := len(s.queue) - 1; i >= 0; i-- {
		j := s.queue[i]
		m := map[string]any{
			"id": j.id, "name": "deployments", "timestamp": j.queued.UnixMilli(), "state": "waiting",
			"data": map[string]any{"composeId": j.compose.ID, "titleLog": j.title, "type": "deploy", "applicationType": "compose", "descriptionLog": j.description, "server": false},
			"servicePath": map[string]any{"label": "Compose", "href": fmt.Sprintf("/dashboard/project/%s/environment/%s/services/compose/%s",
				j.compose.environment.project.ID, j.compose.environment.ID, j.compose.ID)},
		}
		if j.active != nil {
			m["state"], m["processedOn"] = "active", j.active.UnixMilli()
		}
		all = append(all, m)
	}
	return fine(all)
}

// allByCompose is an empty list for an id that it does not know.
func (s *Server) allByCompose(_, id string, _ map[string]any) (int, string, string) {
	all := []any{}
	for _, r := range s.rows {
		if r.compose.ID != id {
			continue
		}
		m := golden(goldenRow)
		maps.Copy(m, map[string]any{
			"deploymentId": r.ID, "title": r.Title, "description": r.Description, "status": r.Status, "composeId": id,
			"logPath":   "/etc/dokploy/logs/" + r.compose.App + "/" + r.compose.App + "-" + r.created.UTC().Format("2006-01-02:15:04:05") + ".log",
			"createdAt": stamp(r.created), "startedAt": stamp(r.created), "finishedAt": nil,
		})
		if r.finished != nil {
			m["finishedAt"] = stamp(*r.finished)
		}
		all = append(all, m)
	}
	return fine(all)
}

// readLogs answers a JSON string.
func (s *Server) readLogs(procedure, id string, in map[string]any) (int, string, string) {
	tail := 100
	if t, ok := in["tail"].(string); ok {
		tail, _ = strconv.Atoi(t)
		if tail < 1 {
			m := "Too small: expected number to be >=1"
			return http.StatusBadRequest, jsonKind, encode(map[string]any{
				"message": "Input validation failed", "code": "BAD_REQUEST",
				"data": map[string]any{
					"code": "BAD_REQUEST", "httpStatus": 400, "path": procedure,
					"zodError": map[string]any{"formErrors": []any{}, "fieldErrors": map[string]any{"tail": []any{m}}},
				},
				"issues": []any{map[string]any{"origin": "number", "code": "too_small", "minimum": 1, "inclusive": true, "path": []any{"tail"}, "message": m}},
			})
		}
	}
	for _, r := range s.rows {
		if r.ID == id {
			lines := strings.SplitAfter(strings.TrimSuffix(r.Log, "\n"), "\n")
			return fine(strings.Join(lines[max(0, len(lines)-tail):], "") + "\n")
		}
	}
	return missing(procedure, "Deployment not found")
}

func (s *Server) loadServices(procedure string, _ map[string]any, c *compose) (int, string, string) {
	if c.Source != "raw" && !c.loaded {
		return missing(procedure, "Services not found")
	}
	names := []string{}
	for _, sv := range parse(c.File) {
		names = append(names, sv.name)
	}
	return fine(names)
}

var appName = regexp.MustCompile(`^[a-zA-Z0-9.\-_]+$`)

func (s *Server) listContainers(procedure string, in map[string]any) (int, string, string) {
	app, got := text(in, "appName")
	if got != "" {
		return wrong(procedure, "appName", "string", got)
	}
	if !appName.MatchString(app) {
		return wrong(procedure, "appName", "app name", "another")
	}
	all := []any{}
	if s.runner != nil {
		for _, l := range s.runner.List(app) {
			all = append(all, map[string]any{"containerId": l.ID, "name": l.Name, "state": l.State, "status": l.Status})
		}
		return fine(all)
	}
	for _, c := range s.engine.All() {
		if c.Labels[composeProject] == app {
			all = append(all, map[string]any{"containerId": c.ID[:12], "name": c.Name, "state": c.State, "status": words(c)})
		}
	}
	return fine(all)
}
