//go:build unix

package commands_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// rollLab is a project whose service has three replicas on a real engine.
type rollLab struct {
	dir, project string
	env          []string
	docker       *realtest.Docker
}

func newRollLab(t *testing.T, d *realtest.Docker) *rollLab {
	t.Helper()
	l := newDeployLab(t, d, `    restart: always
    command: [serve, "${AFTER}"]
    healthcheck: {test: [CMD, /testimage, health], interval: 100ms, retries: 1000}
    deploy: {replicas: 3}
`)
	l.set(t, "AFTER", "1ms")
	l.ok(t, "deploy", "app", "--env", "staging")
	return l
}

// newDeployLab is a project whose one service is the test image with what more says.
func newDeployLab(t *testing.T, d *realtest.Docker, more string) *rollLab {
	t.Helper()
	realtest.Tool(t, "docker-compose")
	l := &rollLab{dir: t.TempDir(), docker: d, project: fmt.Sprintf("roll%d", os.Getpid())}
	l.project += fmt.Sprintf("x%d", time.Now().UnixNano()%1e6)
	d.Cleanup(t, "envctl.project="+l.project)
	l.env = append(d.Env(), "HOME="+l.dir, "PATH="+os.Getenv("PATH"))
	for name, text := range map[string]string{
		"envctl.yaml": "version: 1\nproject: " + l.project + `
environments:
  staging: {deploy: {kind: compose}}
components:
  app: {compose: compose.yaml, services: [web]}
`,
		"compose.yaml": "services:\n  web:\n    image: " + realtest.Image + `
    pull_policy: never
    network_mode: none
` + more,
	} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.ok(t, "init", "--no-recovery")
	return l
}

func (l *rollLab) run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := command(t, l.dir, l.env, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (l *rollLab) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, code := l.run(t, args...)
	if code != 0 {
		t.Fatalf("envctl %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (l *rollLab) set(t *testing.T, key, value string) {
	t.Helper()
	cmd := command(t, l.dir, l.env, "set", key, "--stdin", "--env", "staging")
	cmd.Stdin = strings.NewReader(value)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

// replicas returns how many run of each release, as the engine says.
func (l *rollLab) replicas(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	text := l.docker.Run(t, "ps", "--filter", "label=envctl.project="+l.project, "--format", `{{.Label "envctl.release"}}`)
	for _, mark := range strings.Fields(text) {
		out[mark]++
	}
	return out
}

// halfway begins a roll and returns it while a new replica stands beside the old ones.
func (l *rollLab) halfway(t *testing.T) *exec.Cmd {
	t.Helper()
	l.set(t, "AFTER", "700ms")
	cmd := command(t, l.dir, l.env, "deploy", "app", "--env", "staging")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); len(l.replicas(t)) < 2; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			t.Fatal("no roll began")
		}
	}
	return cmd
}

// stopped returns the run that was left.
func (l *rollLab) stopped(t *testing.T) string {
	t.Helper()
	out := l.ok(t, "runs", "--json")
	var doc struct {
		Runs []struct{ ID, Playbook, State string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err, out)
	}
	for _, r := range doc.Runs {
		if r.Playbook == "deploy" && r.State != "done" {
			return r.ID
		}
	}
	t.Fatal("no run is left:", out)
	return ""
}

func (l *rollLab) status(t *testing.T) (string, int) {
	t.Helper()
	return l.run(t, "status", "--env", "staging")
}

// A roll whose envctl was killed is named by status and trace, and can be
// finished and taken back.
func TestRollOfAKilledProgram(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	for _, verb := range []string{"resume", "undo"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			l := newRollLab(t, d)
			before := l.replicas(t)
			cmd := l.halfway(t)
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if out, code := l.status(t); code != 1 || !strings.Contains(out, "half-rolled-out") || !strings.Contains(out, "next: envctl deploy app --env staging") {
				t.Errorf("status: exit %d\n%s", code, out)
			}
			if out, code := l.run(t, "trace", "AFTER", "--env", "staging"); code != 1 || !strings.Contains(out, "half-rolled-out: web:") {
				t.Errorf("trace: exit %d\n%s", code, out)
			}
			l.ended(t, verb, before)
		})
	}
}

// ended goes on with the run that was left, or takes it back, and looks at what runs.
func (l *rollLab) ended(t *testing.T, verb string, before map[string]int) {
	t.Helper()
	l.ok(t, verb, l.stopped(t))
	now := l.replicas(t)
	same := fmt.Sprint(now) == fmt.Sprint(before)
	if len(now) != 1 || same != (verb == "undo") {
		t.Errorf("%v run after %s, %v before", now, verb, before)
	}
	for _, n := range now {
		if n != 3 {
			t.Errorf("%v run", now)
		}
	}
	out, code := l.status(t)
	if want := map[string]int{"resume": 0, "undo": 1}[verb]; code != want || strings.Contains(out, "half-rolled-out") {
		t.Errorf("status after %s: exit %d\n%s", verb, code, out)
	}
}

// A roll whose engine was killed stops; with the engine back it can be finished
// and taken back.
func TestRollOnAKilledEngine(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"resume", "undo"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			d := realtest.StartDockerd(t)
			l := newRollLab(t, d)
			before := l.replicas(t)
			cmd := l.halfway(t)
			d.Kill(t)
			err := cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 8 {
				t.Errorf("exit %d: %v", code, err)
			}
			d.Restart(t)
			l.ended(t, verb, before)
		})
	}
}

// What an application prints shows no secret that is known, and is no command to
// GitHub's runner.
func TestLogsAreHarmless(t *testing.T) {
	t.Parallel()
	l := newDeployLab(t, realtest.Dockerd(t), "    command: [say, \"key ${API_KEY}\", \"db ${DB_URL}\", \"login hunter2hunter2\", \"::add-mask::staging\", \"level ${LEVEL}\"]\n")
	const canary = "canary-5b21f0"
	l.set(t, "API_KEY", canary)
	l.set(t, "DB_URL", "postgres://app:hunter2hunter2@db/app")
	l.set(t, "LEVEL", "verbose")
	l.ok(t, "deploy", "app", "--env", "staging")
	plain := l.ok(t, "logs", "web", "--env", "staging")
	for _, want := range []string{"key [secret]\n", "err key [secret]\n", "db [secret]\n", "login [secret]\n", "level verbose\n", "::add-mask::staging\n"} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %q in\n%s", want, plain)
		}
	}
	l.set(t, "API_KEY", "another-0c3d77") // what runs still prints the older one
	l.env = append(l.env, "GITHUB_ACTIONS=true")
	inGitHub := l.ok(t, "logs", "app", "--env", "staging")
	lines := strings.Split(strings.TrimSpace(inGitHub), "\n")
	token, ok := strings.CutPrefix(lines[0], "::stop-commands::")
	if !ok || len(token) < 32 || lines[len(lines)-1] != "::"+token+"::" || !strings.Contains(inGitHub, "\n::add-mask::staging\n") {
		t.Error(inGitHub)
	}
	if strings.Contains(plain+inGitHub, canary) {
		t.Error("a secret is shown:\n" + plain + inGitHub)
	}
	if again := l.ok(t, "logs", "app", "--env", "staging"); strings.Contains(again, token) {
		t.Error("the token is used again")
	}
}
