package commands_test

import (
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/commands"
	"envctl/providers/deploytest"
	"envctl/providers/dokploy/dokploytest"
)

// operator is someone at a machine whose engine runs no container.
type operator struct {
	t   *testing.T
	dir string
	env map[string]string
}

func newOperator(t *testing.T, project string) *operator {
	t.Helper()
	dir := t.TempDir()
	o := &operator{t, dir, map[string]string{
		"HOME": dir, "USER": "op", "NO_COLOR": "1", "PATH": os.Getenv("PATH"), "DOCKER_HOST": "unix://" + emptyEngine(t),
		"XDG_CONFIG_HOME": filepath.Join(dir, "config"), "XDG_STATE_HOME": filepath.Join(dir, "state"), "XDG_CACHE_HOME": filepath.Join(dir, "cache"),
	}}
	o.write("envctl.yaml", project)
	return o
}

func (o *operator) write(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o700); err != nil {
		o.t.Fatal(err)
	}
}

// run is envctl's exit code, and all that it said.
func (o *operator) run(stdin string, args ...string) (int, string) {
	o.t.Helper()
	streams := make([]*os.File, 2)
	for i := range streams {
		f, err := os.CreateTemp(o.t.TempDir(), "stream")
		if err != nil {
			o.t.Fatal(err)
		}
		defer f.Close()
		streams[i] = f
	}
	if _, err := streams[0].WriteString(stdin); err != nil {
		o.t.Fatal(err)
	}
	if _, err := streams[0].Seek(0, 0); err != nil {
		o.t.Fatal(err)
	}
	code := commands.Main(o.t.Context(), commands.Process{
		Args: args, Executable: os.Args[0], WorkDir: o.dir, Stdin: streams[0], Stdout: streams[1], Stderr: streams[1],
		Getenv: func(k string) string { return o.env[k] },
		Environ: func() []string {
			var all []string
			for k, v := range o.env {
				all = append(all, k+"="+v)
			}
			return all
		},
		Now: time.Now, Rand: rand.Reader, Version: "test",
	})
	said, err := os.ReadFile(streams[1].Name())
	if err != nil {
		o.t.Fatal(err)
	}
	if strings.Contains(string(said), canary) || strings.Contains(string(said), dokploytest.Key) {
		o.t.Errorf("envctl %s shows a value:\n%s", strings.Join(args, " "), said)
	}
	return code, string(said)
}

func (o *operator) wants(code int, words string, stdin string, args ...string) {
	o.t.Helper()
	if got, said := o.run(stdin, args...); got != code || !strings.Contains(said, words) {
		o.t.Errorf("envctl %s: exit %d, want %d and %q:\n%s", strings.Join(args, " "), got, code, words, said)
	}
}

// emptyEngine is a docker engine without containers.
func emptyEngine(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "eng")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Api-Version", "1.41")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			_, _ = w.Write([]byte("[]"))
			return
		}
		_, _ = w.Write([]byte(`{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"20.10"}`))
	})}
	go func() { _ = server.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

func TestDeployThroughDokploy(t *testing.T) {
	t.Parallel()
	s := dokploytest.New(t)
	s.Engine().Behave("web", deploytest.Healthy)
	id := s.Compose("ledger", "staging", "ledger-app", "services:\n  web:\n    env_file: [.env]\n")
	s.SetText(id, "# theirs\nA=1\n")
	o := newOperator(t, "version: 1\nproject: ledger\nenvironments:\n  staging: {deploy: {kind: dokploy}}\ncomponents:\n  app: {services: [web]}\n")

	o.wants(0, "", canary, "set", "KEY", "--stdin", "--env", "staging")
	o.wants(2, "DOKPLOY_URL", "", "deploy", "app", "--env", "staging", "--yes")
	o.wants(1, "DOKPLOY_URL", "", "doctor")
	o.env["DOKPLOY_URL"], o.env["DOKPLOY_API_KEY"] = s.URL(), "wrong"
	o.wants(1, "rate limit", "", "doctor")
	o.env["DOKPLOY_API_KEY"] = dokploytest.Key
	if _, said := o.run("", "doctor"); !strings.Contains(said, "the key is good, and sees the project") {
		t.Error(said)
	}
	// It is deployed; that no engine shows the process is said, and is not success.
	o.wants(1, "staging", "", "deploy", "app", "--env", "staging", "--yes")
	text := s.Text(id)
	if !strings.HasPrefix(text, "# theirs\nA=1\n") || !strings.Contains(text, "\nKEY="+canary+"\n") || !strings.Contains(text, "\nENV=staging\n") {
		t.Errorf("%q", text)
	}
	if got := s.Statuses(id); len(got) == 0 || !strings.HasSuffix(got[0], " done") {
		t.Errorf("%q", got)
	}
	if _, said := o.run("", "deploy", "app", "--env", "staging", "--yes"); !strings.Contains(said, "unverified") || !strings.Contains(said, "only the deployer shows it") {
		t.Error(said)
	}
	o.wants(1, "only the deployer shows it", "", "status", "--env", "staging")
	o.wants(0, "started\n", "", "logs", "web", "--env", "staging", "--tail", "5")
	// The operator's own file does as well as the environment.
	if err := os.MkdirAll(filepath.Join(o.dir, "config", "envctl"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.write("config/envctl/config.yaml", "dokploy: {url: '"+s.URL()+"', api_key: '"+dokploytest.Key+"'}\n")
	delete(o.env, "DOKPLOY_URL")
	delete(o.env, "DOKPLOY_API_KEY")
	if _, said := o.run("", "doctor"); !strings.Contains(said, "the key is good, and sees the project") {
		t.Error(said)
	}
}

func TestDeployByCommand(t *testing.T) {
	t.Parallel()
	o := newOperator(t, "version: 1\nproject: ledger\nenvironments:\n  staging: {deploy: {kind: command, command: ./deploy.sh}}\ncomponents:\n  app: {services: [web]}\n")
	o.write("deploy.sh", "#!/bin/sh\ncat >\"$HOME/stdin\"\nenv >\"$HOME/env\"\necho '{\"deployment\": \"42\"}'\n")
	o.env["VAULT_TOKEN"] = "credential-77ab"
	o.wants(0, "", canary, "set", "KEY", "--stdin", "--env", "staging")
	o.wants(2, "envctl trust", "", "deploy", "app", "--env", "staging", "--yes")
	if _, err := os.Stat(filepath.Join(o.dir, "stdin")); err == nil {
		t.Error("an untrusted command was run")
	}
	o.wants(0, "trusted", "", "trust", "--yes")
	o.wants(1, "staging", "", "deploy", "app", "--env", "staging", "--yes")
	in, err := os.ReadFile(filepath.Join(o.dir, "stdin"))
	if err != nil || !strings.Contains(string(in), `"KEY":"`+canary+`"`) {
		t.Errorf("%q %v", in, err)
	}
	env, err := os.ReadFile(filepath.Join(o.dir, "env"))
	if err != nil || strings.Contains(string(env), canary) || strings.Contains(string(env), "credential-77ab") || !strings.Contains(string(env), "ENVCTL_ENVIRONMENT=staging\n") {
		t.Errorf("%q %v", env, err)
	}
}
