package dokploytest

import (
	"slices"
	"strconv"
	"time"

	"envctl/providers/deploytest"
)

// Compose makes a compose service with a raw compose file, and the project and
// the environment where they are missing; it returns its id.
func (s *Server) Compose(projectName, environmentName, name, file string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p *project
	for _, have := range s.projects {
		if have.Name == projectName {
			p = have
		}
	}
	if p == nil {
		p = s.newProject(projectName, nil)
	}
	var e *environment
	for _, have := range p.Environments {
		if have.Name == environmentName {
			e = have
		}
	}
	if e == nil {
		e = p.add(environmentName, nil)
	}
	return s.add(e, name, file).ID
}

// Duplicate makes a second environment of the same name, which Dokploy allows,
// with a compose service in it.
func (s *Server) Duplicate(projectName, environmentName, name, file string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.projects {
		if p.Name == projectName {
			return s.add(p.add(environmentName, nil), name, file).ID
		}
	}
	return ""
}

func (s *Server) add(e *environment, name, file string) *compose {
	c := &compose{ID: id(), Name: name, App: name + "-" + strconv.Itoa(100+s.next()), Status: "idle", Source: "raw", File: file, EnvFile: true, created: time.Now(), environment: e}
	s.composes[c.ID] = c
	e.composes = append(e.composes, c)
	return c
}

// Delete takes a compose service away, as someone else would.
func (s *Server) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.composes[id])
}

func (s *Server) forget(c *compose) {
	delete(s.composes, c.ID)
	c.environment.composes = slices.DeleteFunc(c.environment.composes, func(o *compose) bool { return o == c })
	s.rows = slices.DeleteFunc(s.rows, func(r *row) bool { return r.compose == c })
	s.queue = slices.DeleteFunc(s.queue, func(j *job) bool { return j.compose == c })
}

// Objects returns what the server holds, as "project", "project/environment" and
// "project/environment/service", sorted.
func (s *Server) Objects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, p := range s.projects {
		all = append(all, p.Name)
		for _, e := range p.Environments {
			all = append(all, p.Name+"/"+e.Name)
			for _, c := range e.composes {
				all = append(all, p.Name+"/"+e.Name+"/"+c.Name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Find returns the id of a service by its name, "" for none.
func (s *Server) Find(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, c := range s.composes {
		if c.Name == name {
			return id
		}
	}
	return ""
}

// File returns a service's compose file.
func (s *Server) File(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.composes[id].File
}

// Text returns a service's environment text.
func (s *Server) Text(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.composes[id]; c != nil && c.Env != nil {
		return *c.Env
	}
	return ""
}

// SetText writes a service's environment text, as someone else would.
func (s *Server) SetText(id, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.composes[id].Env = &text
}

// Change changes a service: a source other than raw, the environment file off.
func (s *Server) Change(id, source string, envFile bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.composes[id].Source, s.composes[id].EnvFile = source, envFile
}

// App returns a service's appName, which is its compose project.
func (s *Server) App(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.composes[id].App
}

// Fail makes docker compose fail at a service with that line; ${NAME} in it
// shows a variable. "" makes it work again.
func (s *Server) Fail(service, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing[service] = line
}

// Hold keeps jobs waiting, or lets them go on.
func (s *Server) Hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = on
	s.poke()
}

// Build sets how long a job takes.
func (s *Server) Build(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.build = d
}

// Allow gives the key n more calls; then it is answered 401.
func (s *Server) Allow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = n
}

// Before and After have f called around every call's work.
func (s *Server) Before(f func(procedure string)) { s.mu.Lock(); s.before = f; s.mu.Unlock() }

// After is as Before, when the work is done and the answer is not yet sent.
func (s *Server) After(f func(procedure string)) { s.mu.Lock(); s.after = f; s.mu.Unlock() }

// Break has the next calls of a procedure end in faults, one each.
func (s *Server) Break(procedure string, faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[procedure] = append(s.faults[procedure], faults...)
}

// Requests returns the calls so far, as "GET project.all".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Statuses returns the deployment records of a service, newest first, as
// "title status".
func (s *Server) Statuses(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, r := range s.rows {
		if r.compose.ID == id {
			all = append(all, r.Title+" "+r.Status)
		}
	}
	return all
}

// Waiting returns how many jobs are in the queue.
func (s *Server) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Engine returns what the server deploys to.
func (s *Server) Engine() *deploytest.Engine { return s.engine }

// Run has deployments made by r instead of the engine in memory.
func (s *Server) Run(r Runner) { s.mu.Lock(); s.runner = r; s.mu.Unlock() }

// Emptied returns the services that were deleted with their volumes.
func (s *Server) Emptied() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.emptied)
}
