//go:build unix

package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/compose"
	"envctl/providers/docker"
)

const canary = "canary-93f1d2c07ab4"

const service = "    image: " + realtest.Image + "\n    pull_policy: never\n    network_mode: none\n"

// patience is for machines that are busy with other things.
const patience = 4 * time.Minute

func (w *testWorld) up(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := w.Deployer.Deploy(ctx, w.Release)
	if err == nil {
		err = w.Deployer.Wait(ctx, w.Release, d)
	}
	if err != nil {
		t.Fatal(err, "hint:", fault.HintOf(err))
	}
}

func (w *testWorld) fails(t *testing.T, k fault.Kind, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := w.Deployer.Deploy(ctx, w.Release)
	if err == nil {
		err = w.Deployer.Wait(ctx, w.Release, d)
	}
	if !fault.Is(err, k) || fault.HintOf(err) == "" {
		t.Errorf("%s, want %s: %v", fault.KindOf(err), k, err)
	}
	if err == nil {
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error()+fault.HintOf(err), canary[7:]) {
		t.Errorf("a value is shown: %v", err)
	}
}

func (w *testWorld) env(t *testing.T, service string) map[string]secret.Value {
	t.Helper()
	cs, err := w.Runtime.Containers(t.Context(), providers.ContainerQuery{Project: w.Release.Project, Environment: w.Release.Environment})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		if c.Service == service {
			return c.Env
		}
	}
	t.Fatalf("no container of %s among %d", service, len(cs))
	return nil
}

func is(t *testing.T, env map[string]secret.Value, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if !env[k].IsSet() || env[k].Reveal() != v {
			t.Errorf("%s is %q (set: %v), want %q", k, env[k].Reveal(), env[k].IsSet(), v)
		}
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// What the file itself says, what lies beside it, and who wins.
func TestWhereValuesComeFrom(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	text := "services:\n  web:\n" + service + `    env_file: [extra.env]
    environment: ["KEY=file", "ONLY_FILE=${PLAIN:-none}", "FROM_DOTENV=${BESIDE:-none}", "SUFFIX=x${ENV_SUFFIX}", "WHERE=${ENVCTL_ENVIRONMENT}/${ENV}", "ASKED=${KEY}", VAULT_TOKEN, DOCKER_HOST]
    labels: ["mine=kept", "envctl.environment=production"]
    container_name: not-this
  other:
` + service + "    command: [serve]\n"
	for _, c := range []struct{ env, suffix, beside string }{{"staging", "x-staging", "none"}, {"production", "x", "none"}, {"local", "x", "beside"}} {
		t.Run(c.env, func(t *testing.T) {
			t.Parallel()
			w := world(t, d, text)
			write(t, w.dir, map[string]string{".env": "BESIDE=beside\nKEY=dotenv\n", "extra.env": "KEY=extra\nEXTRA=extra\n"})
			lookup := w.config.Env
			w.config.Env = func(k string) string {
				if k == "VAULT_TOKEN" || k == "ENVCTL_KEY" || k == "KEY" {
					return "operators"
				}
				return lookup(k)
			}
			w.with(t, w.config)
			w.Release.Environment = c.env
			w.Release.Services = []providers.Service{{Name: "web", Container: w.Release.Project + "-web-" + c.env}}
			w.Release.Values = map[string]secret.Value{
				"KEY": secret.New("a$b"), "PLAIN": secret.New("p q"), "DOCKER_HOST": secret.New("tcp://10.0.0.1:1"),
				"COMPOSE_PROFILES": secret.New("x"), "LD_PRELOAD": secret.New("/evil.so"), "PATH": secret.New("/evil"), "http_proxy": secret.New("http://evil"),
			}
			w.up(t)
			env := w.env(t, "web")
			is(t, env, map[string]string{
				"KEY": "a$b", "ONLY_FILE": "p q", "FROM_DOTENV": c.beside, "SUFFIX": c.suffix, "WHERE": c.env + "/" + c.env,
				"ASKED": "a$b", "EXTRA": "extra", "PLAIN": "p q", "ENV": c.env, "DOCKER_HOST": "tcp://10.0.0.1:1", "PATH": "/evil", "LD_PRELOAD": "/evil.so",
			})
			if env["VAULT_TOKEN"].IsSet() {
				t.Error("envctl's own credential reached the container")
			}
			cs, err := w.Runtime.Containers(t.Context(), providers.ContainerQuery{Project: w.Release.Project, Environment: c.env})
			if err != nil || len(cs) != 1 || cs[0].Labels["mine"] != "kept" || cs[0].Name != w.Release.Services[0].Container {
				t.Errorf("%+v %v", cs, err)
			}
		})
	}
}

// No value on a command line, in a file, or in front of a program that has no need of envctl's credentials.
func TestValuesStayInside(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	w := world(t, d, "services:\n  web:\n"+service)
	spy := t.TempDir()
	write(t, spy, map[string]string{"docker": fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" >>%s/args\nenv >>%s/env\nexec %s \"$@\"\n", spy, spy, realtest.Tool(t, "docker"))})
	w.config.Docker = filepath.Join(spy, "docker")
	lookup := w.config.Env
	w.config.Env = func(k string) string {
		if v := lookup(k); v != "" {
			return v
		}
		return "operators-" + k
	}
	// Only what a client needs is asked for; the rest would be this answer.
	for _, drop := range []string{"ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		next := w.config.Env
		w.config.Env = func(k string) string {
			if k == drop {
				return ""
			}
			return next(k)
		}
	}
	w.with(t, w.config)
	w.Release.Values = map[string]secret.Value{"KEY": secret.New(canary)}
	w.up(t)
	args, err := os.ReadFile(filepath.Join(spy, "args"))
	if err != nil || bytes.Contains(args, []byte(canary)) || !bytes.Contains(args, []byte("/dev/null")) {
		t.Errorf("arguments: %v\n%s", err, args)
	}
	env, err := os.ReadFile(filepath.Join(spy, "env"))
	if err != nil || !bytes.Contains(env, []byte("KEY="+canary)) || bytes.Contains(env, []byte("operators-VAULT")) || bytes.Contains(env, []byte("operators-ENVCTL")) {
		t.Errorf("environment: %v\n%s", err, env)
	}
	for _, dir := range []string{w.dir, d.Config} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte(canary)) {
				t.Error("a value is in", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestReplicasKeepTheirOwnNames(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	w := world(t, d, "services:\n  web:\n"+service+"    deploy: {replicas: 2}\n  job:\n"+service+"    profiles: [later]\n")
	w.Release.Values = map[string]secret.Value{"KEY": secret.New("1")}
	w.up(t)
	w.Release.Marker, w.Release.Values = "2", map[string]secret.Value{"KEY": secret.New("2")}
	w.up(t)
	cs, err := w.Runtime.Containers(t.Context(), providers.ContainerQuery{Project: w.Release.Project, Environment: "staging", Component: "app"})
	if err != nil || len(cs) != 3 {
		t.Fatalf("%d containers, %v", len(cs), err)
	}
	for _, c := range cs {
		is(t, c.Env, map[string]string{"KEY": "2", providers.MarkerVariable: "2"})
	}
}

// What compose says is shown without values, whole or in part.
func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	web := "services:\n  web:\n" + service
	for _, c := range []struct {
		name, file string
		kind       fault.Kind
		words      []string
	}{
		{"not YAML", "services: [", fault.Invalid, []string{"compose.yaml"}},
		{"a value where a port must be", web + `    ports: ["80:${KEY}"]` + "\n", fault.Invalid, []string{"compose.yaml", "Port"}},
		{"half a value where a port must be", web + `    ports: ["1:${PAIR}"]` + "\n", fault.Invalid, []string{"compose.yaml"}},
		{"a value in a message", web + "    environment: [\"A=${NOT_THERE:?give ${KEY}}\"]\n", fault.Invalid, []string{"NOT_THERE"}},
		{"an image that is not there", "services:\n  web:\n    image: nowhere:${KEY}\n    pull_policy: never\n    network_mode: none\n", fault.No, []string{"web is gone"}},
		{"a volume that cannot be", web + "    volumes: [\"/proc/${KEY}/x:/x\"]\n", fault.No, []string{"web"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := world(t, d, c.file)
			w.Release.Services = []providers.Service{{Name: "web", Container: w.Release.Project + "-web"}}
			w.Release.Values = map[string]secret.Value{"KEY": secret.New(canary), "PAIR": secret.New("10:" + canary)}
			w.fails(t, c.kind, c.words...)
		})
	}
	t.Run("a foreign container has the name", func(t *testing.T) {
		t.Parallel()
		w := world(t, d, web)
		d.Run(t, "run", "-d", "--network=none", "--label="+providers.LabelProject+"="+w.Release.Project, "--name="+w.Release.Services[0].Container, realtest.Image)
		w.fails(t, fault.Conflict, w.Release.Services[0].Container)
	})
	t.Run("half rolled out", func(t *testing.T) {
		t.Parallel()
		w := world(t, d, web+"  worker:\n"+service+"    command: [\"${MODE}\"]\n    restart: always\n")
		w.Release.Values = map[string]secret.Value{"MODE": secret.New("serve")}
		w.up(t)
		w.Release.Marker, w.Release.Values = "2", map[string]secret.Value{"MODE": secret.New("crash")}
		w.fails(t, fault.No, "worker is crash-looping", "web ", "the new release")
		// Compose itself stops half-way: the second service cannot be made.
		w.Release.Marker, w.Release.Values = "3", map[string]secret.Value{"MODE": secret.New("serve")}
		write(t, w.dir, map[string]string{"compose.yaml": web + "  worker:\n    image: nowhere:1\n    pull_policy: never\n    network_mode: none\n    depends_on: [web]\n"})
		w.fails(t, fault.No, "worker still runs an older release")
	})
	t.Run("no compose file", func(t *testing.T) {
		t.Parallel()
		w := world(t, d, web)
		if err := os.Remove(w.config.File); err != nil {
			t.Fatal(err)
		}
		w.fails(t, fault.NotFound, "compose.yaml")
	})
	t.Run("no docker program", func(t *testing.T) {
		t.Parallel()
		w := world(t, d, web)
		w.config.Env = func(string) string { return "" }
		w.with(t, w.config)
		w.fails(t, fault.Unavailable, "PATH")
	})
	t.Run("no compose plugin", func(t *testing.T) {
		t.Parallel()
		w := world(t, d, web)
		w.config.Env = func(k string) string {
			return map[string]string{"PATH": os.Getenv("PATH"), "HOME": w.dir, "DOCKER_CONFIG": w.dir}[k]
		}
		w.with(t, w.config)
		w.fails(t, fault.Unavailable, "no compose plugin")
	})
}

// The wait ends within 200 ms of the engine saying healthy.
func TestHealthyIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	w := world(t, d, "services:\n  web:\n"+service+"    command: [serve, 1s]\n    healthcheck: {test: [CMD, /testimage, health], interval: 100ms, retries: 1000}\n")
	w.up(t)
	noticed := time.Now()
	var log []struct {
		End      time.Time
		ExitCode int
	}
	text := d.Run(t, "inspect", "-f", "{{json .State.Health.Log}}", w.Release.Services[0].Container)
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatal(err)
	}
	for _, l := range log {
		if l.ExitCode == 0 {
			took := noticed.Sub(l.End)
			t.Log("noticed after", took)
			if took > 200*time.Millisecond {
				t.Error("noticed after", took)
			}
			return
		}
	}
	t.Error("no successful check in", text)
}

func private(t *testing.T, file string) (*testWorld, *realtest.Docker) {
	t.Helper()
	d := realtest.StartDockerd(t)
	w := world(t, d, file)
	engine, err := docker.New(docker.Config{Host: d.Host(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	w.config.Engine = engine
	w.with(t, w.config)
	return w, d
}

const starting = "services:\n  web:\n" + service + "    command: [serve, never]\n    healthcheck: {test: [CMD, /testimage, health], interval: 1s, retries: 1000}\n"

func TestEngineDiesWhileDeploying(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		stop func(*testing.T, *realtest.Docker)
		on   func(*testing.T, *realtest.Docker)
	}{
		{"killed", func(t *testing.T, d *realtest.Docker) { d.Kill(t) }, func(*testing.T, *realtest.Docker) {}},
		{"paused", func(t *testing.T, d *realtest.Docker) { d.Pause(t) }, func(t *testing.T, d *realtest.Docker) { d.Resume(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, d := private(t, starting)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			dep, err := w.Deployer.Deploy(ctx, w.Release)
			if err != nil {
				t.Fatal(err)
			}
			waited := make(chan error, 1)
			go func() { waited <- w.Deployer.Wait(ctx, w.Release, dep) }()
			time.Sleep(300 * time.Millisecond)
			c.stop(t, d)
			if err := <-waited; !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
				t.Error("wait:", err)
			}
			// And while compose itself is at work: the engine answers the first question only.
			w.Release.Marker = "2"
			w.config.Engine = answersOnce{w.config.Engine}
			w.with(t, w.config)
			short, stop := context.WithTimeout(t.Context(), 3*time.Second)
			defer stop()
			began := time.Now()
			_, err = w.Deployer.Deploy(short, w.Release)
			if !fault.Is(err, fault.Unavailable, fault.Invalid) {
				t.Error("deploy:", fault.KindOf(err), err)
			}
			if fault.Is(err, fault.Invalid) {
				t.Error("an engine that is gone is called a bad file:", err)
			}
			if took := time.Since(began); took > 9*time.Second {
				t.Error("deploy took", took)
			}
			c.on(t, d)
		})
	}
}

// answersOnce knows the time without asking, so that compose is what meets the dead engine.
type answersOnce struct{ compose.Engine }

func (answersOnce) Clock(context.Context) (time.Time, error) { return time.Now(), nil }

func TestStaleContainersAreNamed(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	w := world(t, d, "services:\n  web:\n"+service)
	d.Run(t, "run", "-d", "--network=none", "--name="+w.Release.Project+"-left", "--label=envctl.project="+w.Release.Project, "--label=envctl.environment=staging",
		"--label=envctl.component=app", "--label=envctl.service=web", "--label=envctl.release=0", realtest.Image)
	w.fails(t, fault.No, "older release in "+w.Release.Project+"-left")
}
