//go:build unix

package compose_test

import (
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/compose"
	"envctl/providers/deploytest"
	"envctl/providers/docker"
)

func TestMain(m *testing.M) { os.Exit(realtest.Main(m)) }

func TestContract(t *testing.T) {
	t.Parallel()
	realtest.Tool(t, "docker-compose")
	deploytest.Run(t, func(t *testing.T, services map[string]deploytest.Behaviour) deploytest.World {
		w := world(t, realtest.Dockerd(t), file(services))
		return w.World
	})
}

// file is a compose file whose services behave as asked.
func file(services map[string]deploytest.Behaviour) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, name := range slices.Sorted(maps.Keys(services)) {
		fmt.Fprintf(&b, "  %s:\n    image: %s\n    pull_policy: never\n    network_mode: none\n", name, realtest.Image)
		command, retries := "", 0
		switch services[name] {
		case deploytest.Plain:
			command = "serve"
		case deploytest.Healthy:
			command, retries = "serve, 300ms", 100
		case deploytest.Starting:
			command, retries = "serve, never", 10000
		case deploytest.Unhealthy:
			command, retries = "serve, never", 2
		case deploytest.Crashing:
			command = "crash, 0s, '3'"
			b.WriteString("    restart: always\n")
		case deploytest.Exiting:
			command = "crash, 0s, '4'"
		}
		fmt.Fprintf(&b, "    command: [%s]\n", command)
		if retries > 0 {
			fmt.Fprintf(&b, "    healthcheck: {test: [CMD, /testimage, health], interval: 200ms, retries: %d}\n", retries)
		}
	}
	return b.String()
}

type testWorld struct {
	deploytest.World
	dir    string
	config compose.Config
	docker *realtest.Docker
}

// world writes a compose file and returns a release of all services it has, in
// a project of this test's own.
func world(t *testing.T, d *realtest.Docker, text string) *testWorld {
	t.Helper()
	realtest.Tool(t, "docker-compose")
	engine, err := docker.New(docker.Config{Host: d.Host(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	project := fmt.Sprintf("t%08x", crc32.ChecksumIEEE([]byte(t.Name())))
	d.Cleanup(t, providers.LabelProject+"="+project)
	w := &testWorld{dir: t.TempDir(), docker: d}
	w.config = compose.Config{
		File: filepath.Join(w.dir, "compose.yaml"), Host: d.Host(), Engine: engine,
		Env: func(k string) string {
			return map[string]string{"PATH": os.Getenv("PATH"), "HOME": w.dir, "DOCKER_CONFIG": d.Config}[k]
		},
	}
	if err := os.WriteFile(w.config.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Runtime = engine
	w.Release = providers.Release{Project: project, Environment: "staging", Component: "app", Marker: "1"}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutSuffix(strings.TrimRight(line, "\n"), ":"); ok && strings.HasPrefix(name, "  ") && !strings.HasPrefix(name, "   ") {
			name = strings.TrimSpace(name)
			w.Release.Services = append(w.Release.Services, providers.Service{Name: name, Container: project + "-" + name + "-staging"})
		}
	}
	w.Remove = func(container string) { d.Run(t, "rm", "-f", container) }
	w.with(t, w.config)
	return w
}

// with makes the deployer anew.
func (w *testWorld) with(t *testing.T, c compose.Config) {
	t.Helper()
	deployer, err := compose.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.config, w.Deployer = c, deployer
}

func values(all map[string]string) map[string]secret.Value {
	out := map[string]secret.Value{}
	for k, v := range all {
		out[k] = secret.New(v)
	}
	return out
}
