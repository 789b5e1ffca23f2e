package commands_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/internal/realtest"
	"envctl/providers/dokploy/dokploytest"
)

// TestDokploy runs the scripts of testdata/dokploy on a stand-in for Dokploy that
// deploys by the real docker compose to real containers. Files may use ${PROJECT}
// and ${IMAGE}; the scripts have the commands of dokployCommands.
func TestDokploy(t *testing.T) {
	t.Parallel()
	engine := realtest.Dockerd(t)
	server := realtest.Vault(t)
	server.Try(http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"}) // another test may have
	runScripts(t, "testdata/dokploy", func(e *testscript.Env) error {
		project := "td" + strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(filepath.Base(e.WorkDir)), "script-"), "_", "-")
		engine.Cleanup(t, "envctl.project="+project)
		for _, kv := range engine.Env() {
			k, v, _ := strings.Cut(kv, "=")
			e.Setenv(k, v)
		}
		s := dokploytest.New(t)
		s.Run(&composeRunner{dir: t.TempDir(), env: append(engine.Env(), "PATH="+os.Getenv("PATH"))})
		e.Values[dokployKey{}] = s
		e.Setenv("PROJECT", project)
		e.Setenv("STORE", "local")
		e.Setenv("VAULT_ADDR", server.Addr)
		e.Setenv("VAULT_TOKEN", server.RootToken)
		e.Setenv("VAULT_ROOT_TOKEN", server.RootToken)
		e.Setenv("IMAGE", realtest.Image)
		e.Setenv("DOKPLOY_URL", s.URL())
		e.Setenv("DOKPLOY_API_KEY", dokploytest.Key)
		return nil
	})
}

type dokployKey struct{}

// dokployCommands are those of the scripts in testdata/dokploy.
func dokployCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"dokploy": dokployCommand,
	}
}

// dokploy VERB asks the stand-in, as somebody in front of it would: objects and
// text SERVICE are printed to standard output; settext SERVICE FILE, fail SERVICE
// WORDS, allow, deny.
func dokployCommand(ts *testscript.TestScript, _ bool, args []string) {
	s, ok := ts.Value(dokployKey{}).(*dokploytest.Server)
	if !ok {
		ts.Fatalf("only in testdata/dokploy")
	}
	switch args[0] {
	case "objects":
		print(ts, strings.Join(s.Objects(), "\n")+"\n")
	case "emptied":
		print(ts, strings.Join(s.Emptied(), "\n")+"\n")
	case "text":
		print(ts, s.Text(s.Find(args[1])))
	case "settext":
		s.SetText(s.Find(args[1]), ts.ReadFile(args[2]))
	case "appendtext":
		id := s.Find(args[1])
		s.SetText(id, s.Text(id)+ts.ReadFile(args[2]))
	case "break":
		s.Break(args[1], map[string]dokploytest.Fault{"lost": dokploytest.Lost, "donelost": dokploytest.DoneLost, "bad": dokploytest.Bad}[args[2]])
	case "allow":
		s.Allow(-1)
	case "deny":
		s.Allow(0)
	default:
		ts.Fatalf("dokploy %s is unknown", args[0])
	}
}

// print leaves text where cmp finds it.
func print(ts *testscript.TestScript, text string) {
	ts.Check(os.WriteFile(ts.MkAbs("said"), []byte(text), 0o600))
}

// composeRunner is docker compose as Dokploy runs it.
type composeRunner struct {
	dir string
	env []string
}

func (c *composeRunner) docker(app string, args ...string) (string, bool) {
	cmd := exec.Command("docker", args...)
	cmd.Env, cmd.Dir = c.env, filepath.Join(c.dir, app)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func (c *composeRunner) compose(app string, args ...string) (string, bool) {
	return c.docker(app, append([]string{"compose", "-p", app, "-f", "docker-compose.yml"}, args...)...)
}

func (c *composeRunner) Up(app, file, env string) (string, bool) {
	dir := filepath.Join(c.dir, app)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err.Error(), false
	}
	for name, text := range map[string]string{"docker-compose.yml": file, ".env": env} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err.Error(), false
		}
	}
	return c.compose(app, "up", "-d", "--remove-orphans")
}

func (c *composeRunner) Stop(app string) { c.compose(app, "stop", "-t", "1") }

func (c *composeRunner) Down(app string, volumes bool) {
	args := []string{"down", "-t", "1"}
	if volumes {
		args = append(args, "-v")
	}
	c.compose(app, args...)
}

func (c *composeRunner) List(app string) []dokploytest.Listed {
	out, _ := c.docker("", "ps", "-a", "--filter", "label=com.docker.compose.project="+app, "--format", "{{.ID}}\t{{.Names}}\t{{.State}}\t{{.Status}}")
	var all []dokploytest.Listed
	for line := range strings.Lines(out) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 4 {
			all = append(all, dokploytest.Listed{ID: f[0], Name: f[1], State: f[2], Status: f[3]})
		}
	}
	return all
}

func (c *composeRunner) Logs(container, tail string) string {
	out, _ := c.docker("", "logs", "-t", "--tail", tail, container)
	return out
}
