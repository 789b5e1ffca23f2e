//go:build unix

package command_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/command"
	"envctl/providers/deploytest"
)

const canary = "canary-2f6b80c41d7e"

// script hands the release to the machine beside it, which is all that a deploy
// script has to do.
const script = `#!/bin/sh
set -eu
umask 077
in=$(mktemp "$DEPLOY_TO/in.XXXXXX")
cat >"$in"
if grep -q '"name":"wbe"' "$in"; then
  rm "$in"
  echo '{"error": "not-found", "message": "there is no service wbe"}'
  exit 3
fi
echo "deploying $ENVCTL_PROJECT/$ENVCTL_ENVIRONMENT/$ENVCTL_COMPONENT"
mv "$in" "$DEPLOY_TO/$ENVCTL_ENVIRONMENT.json"
echo "{\"deployment\": \"$ENVCTL_RELEASE\"}"
`

// machine runs what the script left in its folder.
type machine struct {
	*deploytest.Engine
	t   *testing.T
	dir string
	// removed containers stay so until the script runs again.
	done map[string]time.Time
}

func (m machine) Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error) {
	files, err := filepath.Glob(filepath.Join(m.dir, "*.json"))
	if err != nil {
		m.t.Error(err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			m.t.Error(err)
			continue
		}
		if m.done[file].Equal(info.ModTime()) {
			continue
		}
		m.done[file] = info.ModTime()
		data, err := os.ReadFile(file)
		if err != nil {
			m.t.Error(err)
		}
		var in struct {
			Schema, Project, Environment, Component, Release string
			Services                                         []struct{ Name, Container string }
			Values                                           map[string]string
		}
		if err := json.Unmarshal(data, &in); err != nil || in.Schema != "envctl.release/v1" {
			m.t.Error(err, in.Schema)
		}
		for _, s := range in.Services {
			env := map[string]string{"ENV": in.Environment, providers.MarkerVariable: in.Release}
			maps.Copy(env, in.Values)
			m.Up(s.Container, s.Name, map[string]string{
				providers.LabelProject: in.Project, providers.LabelEnvironment: in.Environment, providers.LabelComponent: in.Component,
				providers.LabelService: s.Name, providers.LabelRelease: in.Release,
			}, env)
		}
	}
	return m.Engine.Containers(ctx, q)
}

func TestContract(t *testing.T) {
	t.Parallel()
	deploytest.Run(t, func(t *testing.T, services map[string]deploytest.Behaviour) deploytest.World {
		dir, to := t.TempDir(), t.TempDir()
		write(t, dir, "deploy.sh", script)
		engine := machine{deploytest.NewEngine(), t, to, map[string]time.Time{}}
		w := deploytest.World{Runtime: engine, Remove: engine.Remove, Release: release()}
		w.Release.Services = nil
		for name, b := range services {
			engine.Behave(name, b)
			w.Release.Services = append(w.Release.Services, providers.Service{Name: name, Container: "ledger-" + name})
		}
		w.Deployer = deployer(t, command.Config{Command: "./deploy.sh", Dir: dir, Engine: engine, Environ: append(os.Environ(), "DEPLOY_TO="+to)})
		return w
	})
}

func release() providers.Release {
	return providers.Release{
		Project: "ledger", Environment: "staging", Component: "app", Marker: "00ff",
		Services: []providers.Service{{Name: "web", Container: "ledger-web-staging"}},
		Values:   map[string]secret.Value{"KEY": secret.New(canary), "PIN": secret.New("4711")},
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func deployer(t *testing.T, c command.Config) *command.Deployer {
	t.Helper()
	c.Trusted, c.Now = true, time.Now
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	d, err := command.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run deploys with a script of its own.
func run(t *testing.T, text string, change func(*command.Config)) (providers.Deployment, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "deploy.sh", "#!/bin/sh\n"+text)
	c := command.Config{Command: "./deploy.sh one two", Dir: dir}
	if change != nil {
		change(&c)
	}
	dep, err := deployer(t, c).Deploy(t.Context(), release())
	if err != nil {
		for _, s := range []string{err.Error(), fault.HintOf(err)} {
			if strings.Contains(s, canary) || strings.Contains(s, "4711") || strings.ContainsRune(s, '\x1b') {
				t.Errorf("shown: %q", s)
			}
		}
		if fault.HintOf(err) == "" {
			t.Errorf("no hint: %v", err)
		}
	}
	return dep, err
}

func TestOnlyWhenTrusted(t *testing.T) {
	t.Parallel()
	_, err := command.New(command.Config{Command: "./deploy.sh", Dir: "/", Now: time.Now})
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.HintOf(err), "envctl trust") {
		t.Error(err)
	}
	for _, bad := range []string{"", "  ", "./deploy.sh; rm x", "./deploy.sh $HOME", "sh -c 'x'", "a | b", "a\x00b", `echo {"deployment":"1"}`} {
		if _, err := command.New(command.Config{Command: bad, Dir: "/", Trusted: true, Now: time.Now}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What the script sees: arguments of the file, its folder, no credential of
// envctl's, values nowhere but on standard input.
func TestWhatTheScriptSees(t *testing.T) {
	t.Parallel()
	to := t.TempDir()
	const credential = "credential-9d2a"
	dep, err := run(t, `cat >"$TO/stdin"; env >"$TO/env"; echo "$0 $*" >"$TO/argv"; pwd >"$TO/pwd"; tr '\0' '\n' </proc/$$/cmdline >>"$TO/argv"; echo '{"deployment":"d-1"}'`, func(c *command.Config) {
		c.Environ = []string{
			"PATH=" + os.Getenv("PATH"), "TO=" + to, "AWS_PROFILE=kept", "ENVCTL_CONFIRM=" + credential, "VAULT_ADDR=https://kept",
			"VAULT_TOKEN=" + credential, "VAULT_ROOT_TOKEN=" + credential, "VAULT_SECRET_ID=" + credential, "BAO_TOKEN=" + credential,
			"DOKPLOY_API_KEY=" + credential, "OP_SERVICE_ACCOUNT_TOKEN=" + credential, "OP_CONNECT_TOKEN=" + credential, "OP_SESSION_x=" + credential,
			"ENVCTL_PROJECT=forged",
		}
	})
	if err != nil || dep.ID != "d-1" || dep.Started.IsZero() {
		t.Fatal(dep, err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(to, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	env, argv := read("env"), read("argv")
	for _, line := range []string{"ENVCTL_PROJECT=ledger\n", "ENVCTL_ENVIRONMENT=staging\n", "ENVCTL_COMPONENT=app\n", "ENVCTL_RELEASE=00ff\n", "AWS_PROFILE=kept\n", "VAULT_ADDR=https://kept\n"} {
		if !strings.Contains(env, line) {
			t.Errorf("no %q", line)
		}
	}
	for where, text := range map[string]string{"environment": env, "arguments": argv} {
		if strings.Contains(text, credential) || strings.Contains(text, canary) || strings.Contains(text, "4711") || strings.Contains(text, "forged") {
			t.Errorf("%s: %q", where, text)
		}
	}
	if !strings.Contains(argv, " one two\n") || !strings.Contains(read("stdin"), `"KEY":"`+canary+`"`) {
		t.Errorf("%q", argv)
	}
}

func TestHowItEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		kind   fault.Kind
		words  string
	}{
		"fails":               {"echo first >&2; echo 'bad key " + canary + "' >&2; exit 7", fault.No, "./deploy.sh exited with 7: first; bad key [secret]"},
		"fails with a piece":  {"echo 'pin 4711 " + canary[3:12] + "' >&2; exit 1", fault.No, "pin [secret] [secret]"},
		"fails in colour":     {`printf '\033[31mred\n' >&2; exit 1`, fault.No, "red"},
		"fails silently":      {"exit 1", fault.No, "without a word"},
		"names a kind":        {`echo '{"error":"conflict","message":"locked by another"}'; exit 1`, fault.Conflict, "locked by another"},
		"names another kind":  {`echo '{"error":"internal","message":"boo"}'; exit 1`, fault.No, "boo"},
		"shows a value":       {`echo '{"error":"denied","message":"` + canary + `"}'; exit 1`, fault.Denied, "[secret]"},
		"is killed":           {"kill -9 $$", fault.No, "signal: killed"},
		"says nothing":        {"exit 0", fault.Invalid, "does not say which deployment"},
		"says something else": {"echo done", fault.Invalid, "does not say which deployment"},
		"an empty deployment": {`echo '{"deployment":""}'`, fault.Invalid, "does not say which deployment"},
		"a value as id":       {`echo '{"deployment":"` + canary + `"}'`, fault.Invalid, "shows a part of a value"},
		"a terminal's id":     {`printf '{"deployment":"\\u001b[31m"}\n'`, fault.Invalid, "short printable"},
		"an error at exit 0":  {`echo '{"error":"denied"}'`, fault.Invalid, "does not say which deployment"},
		"too much":            {`head -c 2000000 /dev/zero | tr '\0' x; echo; echo '{"deployment":"1"}'`, fault.Invalid, "longer than"},
		"too slow":            {"sleep 60", fault.Unavailable, "was stopped"},
		"ignores the end":     {"trap '' TERM; sleep 60", fault.Unavailable, "was stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := run(t, c.script, func(c *command.Config) {
				if strings.Contains(name, "too slow") || strings.Contains(name, "ignores") {
					c.Timeout = 300 * time.Millisecond
				}
			})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Error(took)
			}
		})
	}
	if _, err := run(t, "", func(c *command.Config) { c.Command = "./none.sh" }); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := run(t, "", func(c *command.Config) { c.Command = "deploy.sh" }); !fault.Is(err, fault.NotFound) {
		t.Error("a bare name is looked for in the project's folder:", err)
	}
}

type broken struct{}

func (broken) Containers(context.Context, providers.ContainerQuery) ([]providers.Container, error) {
	return nil, fault.New(fault.Unavailable, "ask the engine", "no answer", "start it")
}

// An engine that shows nothing proves nothing, unless the operator bound it.
func TestWhereNothingIsSeen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		engine command.Engine
		bound  bool
		want   fault.Kind // Internal: none
	}{
		{nil, false, fault.Internal},
		{deploytest.NewEngine(), false, fault.Internal},
		{deploytest.NewEngine(), true, fault.No},
		{broken{}, false, fault.Internal},
		{broken{}, true, fault.Unavailable},
	} {
		d := deployer(t, command.Config{Command: "true", Dir: t.TempDir(), Engine: c.engine, Bound: c.bound})
		err := d.Wait(t.Context(), release(), providers.Deployment{ID: "1", Started: time.Now()})
		if (err != nil || c.want != fault.Internal) && !fault.Is(err, c.want) {
			t.Errorf("%T bound %v: %v", c.engine, c.bound, err)
		}
	}
}
