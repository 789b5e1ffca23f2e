package dokploytest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"envctl/providers"
	"envctl/providers/dotenv"
)

func (s *Server) next() int { s.n++; return s.n }

func (s *Server) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// work does one job after the other.
func (s *Server) work(ctx context.Context, wake chan struct{}) {
	for {
		s.mu.Lock()
		var j *job
		if len(s.queue) > 0 && !s.held {
			j = s.queue[0]
		}
		s.mu.Unlock()
		if j == nil {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			}
			continue
		}
		if !s.do(ctx, j) {
			return
		}
	}
}

// do is one job; false when the server ended first. The environment is read
// when the job starts.
func (s *Server) do(ctx context.Context, j *job) bool {
	s.mu.Lock()
	now := time.Now()
	j.active = &now
	r := &row{ID: id(), Title: j.title, Description: j.description, Status: "running", compose: j.compose, created: now, job: j, Log: "Initializing deployment\n"}
	s.rows = append([]*row{r}, s.rows...)
	j.compose.Status = "running"
	var log string
	var ok bool
	env, envFile, file, app, build := "", j.compose.EnvFile, j.compose.File, j.compose.App, s.build
	if j.compose.Env != nil {
		env = *j.compose.Env
	}
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(build):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	if runner := s.runner; runner != nil {
		s.mu.Unlock() // it takes its time, and calls go on meanwhile
		log, ok = runner.Up(app, file, env)
		s.mu.Lock()
	} else {
		log, ok = s.up(j.compose, file, env, envFile)
	}
	r.Log += log
	r.Status = "done"
	if !ok {
		r.Status = "error"
		r.Log += "Error occurred ❌, check the logs for details.\n"
	}
	done := time.Now()
	r.finished, j.compose.Status, j.compose.loaded = &done, r.Status, true
	s.queue = slices.DeleteFunc(s.queue, func(q *job) bool { return q == j })
	return true
}

func id() string {
	b := make([]byte, 10)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b) + "_"
}

// spec is a service of a compose file: the little of compose that tests use.
type spec struct {
	name, Container string
	env, labels     map[string]string
	file            bool
}

func parse(file string) []spec {
	var doc struct {
		Services map[string]struct {
			Container string `yaml:"container_name"`
			EnvFile   any    `yaml:"env_file"`
			Env       map[string]string
			Labels    any
			Variables map[string]string `yaml:"environment"`
		}
	}
	if yaml.Unmarshal([]byte(file), &doc) != nil {
		return nil
	}
	var all []spec
	for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
		d := doc.Services[name]
		all = append(all, spec{name: name, Container: d.Container, env: d.Variables, labels: labels(d.Labels), file: d.EnvFile != nil})
	}
	return all
}

// labels reads both of their forms.
func labels(v any) map[string]string {
	out := map[string]string{}
	switch all := v.(type) {
	case map[string]any:
		for k, v := range all {
			out[k] = fmt.Sprint(v)
		}
	case []any:
		for _, v := range all {
			k, v, _ := strings.Cut(fmt.Sprint(v), "=")
			out[k] = v
		}
	}
	return out
}

var (
	reference = regexp.MustCompile(`\$\{\{([^}]*)\}\}`)
	variable  = regexp.MustCompile(`\$\{([A-Za-z_0-9]+)(?::-([^}]*))?\}`)
)

// up is docker compose up -d: a container that is what it should be is left alone.
func (s *Server) up(c *compose, file, env string, envFile bool) (string, bool) {
	if c.Source != "raw" {
		return "Error: ❌ Github Provider not found\n\n", false
	}
	log := "File 'docker-compose.yml' created: ✅\n"
	if m := reference.FindStringSubmatch(env); m != nil {
		return log + "Invalid project environment variable: " + m[1] + "\n", false
	}
	values := map[string]string{"APP_NAME": c.App, "COMPOSE_PROJECT_NAME": c.App}
	reading, err := dotenv.ReadAs(dotenv.Dokploy, "", []byte(env), nil)
	if err != nil {
		return log + err.Error() + "\n", false
	}
	for k, v := range reading.Values() {
		values[k] = v.Reveal()
	}
	values["DOCKER_CONFIG"] = "/etc/dokploy/.docker"
	expand := func(m map[string]string) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			out[k] = variable.ReplaceAllStringFunc(v, func(ref string) string {
				p := variable.FindStringSubmatch(ref)
				return cmp.Or(values[p[1]], p[2])
			})
		}
		return out
	}
	log += "╔═══╗\n║ App Name: " + c.App + " ║\n╚═══╝\n"
	if !envFile {
		values = map[string]string{}
	}
	for _, sp := range parse(file) {
		if sp.file && !envFile {
			return log + "env file /etc/dokploy/compose/" + c.App + "/code/.env not found: no such file or directory\nError: ❌ Docker command failed\n\n", false
		}
		if why := s.failing[sp.name]; why != "" {
			return log + expand(map[string]string{"": why})[""] + "\nError: ❌ Docker command failed\n\n", false
		}
		name := cmp.Or(sp.Container, c.App+"-"+sp.name+"-1")
		env := map[string]string{}
		if sp.file {
			maps.Copy(env, values)
		}
		maps.Copy(env, expand(sp.env))
		labels := expand(sp.labels)
		labels[composeProject] = c.App
		if s.engine.Up(name, sp.name, labels, env) {
			log += fmt.Sprintf(" Container %s  Started\n", name)
		}
	}
	return log + "Docker Compose Deployed: ✅\n", true
}

// composeProject is the label by which the containers of a service are known.
const composeProject = "com.docker.compose.project"

// words is what docker ps says.
func words(c providers.Container) string {
	switch {
	case c.State == "exited":
		return fmt.Sprintf("Exited (%d) Less than a second ago", c.ExitCode)
	case c.State == "restarting":
		return fmt.Sprintf("Restarting (%d) Less than a second ago", c.ExitCode)
	case c.Health == "starting":
		return "Up Less than a second (health: starting)"
	case c.Health != "":
		return "Up 2 seconds (" + c.Health + ")"
	}
	return "Up Less than a second"
}
