//go:build unix

package crashtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"envctl/internal/realtest"
)

// world is a project with its values in a real Vault and its containers on a real
// engine, and a way to each of them that breaks on demand. Its environments are
// staging, which always runs, and qa, which plays make and remove.
type world struct {
	t       *testing.T
	dir     string
	project string
	env     []string
	vault   *realtest.VaultServer
	docker  *realtest.Docker
	store   *way // to Vault
	engine  *way // to the engine, also for compose

	database *realtest.PostgresServer // with a role named as the project; nil: none
}

const projectFile = `version: 1
project: PROJECT
store: vault
environments:
  staging: {}
  qa: {}
components:
  app:
    compose: compose.yaml
    services: [web]
    generate: {TOKEN: hex, SECRET_KEY: jwt}
    rotate:
      token: {variable: TOKEN}
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 1ns}
      role: {variable: DBPW, database: {kind: postgres, role: PROJECT}}
deploy: {kind: compose}
`

const composeFile = `services:
  web:
    image: IMAGE
    pull_policy: never
    network_mode: none
    restart: always
    healthcheck: {test: [CMD, /testimage, health], interval: 100ms, retries: 1000}
`

const userFile = `databases:
  PROJECT/staging/app: {url: "postgres://ADMIN@127.0.0.1:PORT/postgres", password: WORD}
`

func newWorld(t *testing.T, v *realtest.VaultServer, d *realtest.Docker, db *realtest.PostgresServer, project string) *world {
	t.Helper()
	realtest.Tool(t, "docker-compose")
	w := &world{t: t, dir: t.TempDir(), project: project, vault: v, docker: d, database: db}
	d.Cleanup(t, "envctl.project="+project)
	w.store = newWay(t, "tcp", strings.TrimPrefix(v.Addr, "http://"), "")
	w.engine = newWay(t, "unix", d.Socket, filepath.Join(w.dir, "s"))
	w.env = []string{
		childMark + "=1", "HOME=" + w.dir, "USER=op", "NO_COLOR=1", "PATH=" + os.Getenv("PATH"),
		"VAULT_ADDR=http://" + w.store.addr, "VAULT_TOKEN=" + v.RootToken,
		"DOCKER_HOST=unix://" + w.engine.addr, "DOCKER_CONFIG=" + d.Config,
	}
	for name, text := range map[string]string{"envctl.yaml": projectFile, "compose.yaml": composeFile} {
		text = strings.NewReplacer("PROJECT", project, "IMAGE", realtest.Image).Replace(text)
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	values := map[string]string{"TOKEN": "t0", "SECRET_KEY": "k0", "PLAIN": "sibling"}
	if db != nil {
		values["DBPW"] = "first-password"
		db.SQL("CREATE ROLE " + project + " LOGIN PASSWORD 'first-password'")
		folder := filepath.Join(w.dir, ".config", "envctl")
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("PROJECT", project, "ADMIN", db.Admin, "PORT", db.Port, "WORD", db.Password).Replace(userFile)
		if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, said := w.run(nil, "trust", "--yes"); code != 0 {
			t.Fatalf("trust: exit %d\n%s", code, said)
		}
	}
	w.vault.Do(http.MethodPost, "secret/data/"+project+"/staging/app", map[string]any{"data": values})
	if code, said := w.run(nil, "deploy", "app", "--env", "staging"); code != 0 {
		t.Fatalf("the first deploy: exit %d\n%s", code, said)
	}
	return w
}

// run runs envctl as a process of its own; die says where it does, if anywhere.
// The exit code is 137 when it did.
func (w *world) run(die *death, args ...string) (int, string) {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir, cmd.Env = w.dir, append(die.env(), w.env...)
	// A file, for what outlives it holds its output open.
	out, err := os.CreateTemp(w.dir, "said-")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _, _ = out.Close(), os.Remove(out.Name()) }()
	cmd.Stdout, cmd.Stderr = out, out
	w.store.caller(cmd, func() {
		w.engine.caller(cmd, func() {
			if err := cmd.Start(); err != nil {
				w.t.Error(err)
			}
		})
	})
	if cmd.Process == nil {
		return -1, ""
	}
	_ = cmd.Wait() // the state says how it ended
	said, _ := os.ReadFile(out.Name())
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), string(said)
	}
	return cmd.ProcessState.ExitCode(), string(said)
}

// facts is what an environment really is: what the store holds, and what each
// running process of it has; past envctl and past the ways that break.
type facts struct {
	version int
	values  map[string]string   // nil: deleted, or never there
	running []map[string]string // one for each container there is; nil for one that does not run
}

func (w *world) facts(environment string) (f facts, err error) {
	var doc struct {
		Data struct {
			Data     map[string]string
			Metadata struct{ Version int }
		}
	}
	if _, body := w.vault.Try(http.MethodGet, "secret/data/"+w.project+"/"+environment+"/app", nil); len(body) > 0 {
		if err := json.Unmarshal(body, &doc); err != nil {
			return f, fmt.Errorf("%w: %.200s", err, body)
		}
	}
	f.version, f.values = doc.Data.Metadata.Version, doc.Data.Data
	ids, err := w.ask("ps", "--all", "--quiet", "--filter", "label=envctl.project="+w.project, "--filter", "label=envctl.environment="+environment)
	if err != nil || ids == "" {
		return f, err
	}
	// One that has gone since is an error, and the others are answered all the same.
	pids, _ := w.ask(append([]string{"inspect", "--format", "{{.State.Pid}}"}, strings.Fields(ids)...)...)
	for _, pid := range strings.Fields(pids) {
		environ, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil { // it does not run
			f.running = append(f.running, nil)
			continue
		}
		has := map[string]string{}
		for _, kv := range strings.Split(string(environ), "\x00") {
			if k, v, _ := strings.Cut(kv, "="); slices.Contains(variables, k) {
				has[k] = v
			}
		}
		f.running = append(f.running, has)
	}
	return f, nil
}

// ask asks the engine past the way that breaks.
func (w *world) ask(args ...string) (string, error) {
	cmd := exec.Command(realtest.Tool(w.t, "docker"), args...)
	cmd.Env = append(w.docker.Env(), "PATH="+os.Getenv("PATH"), "HOME="+w.dir)
	out, err := cmd.Output()
	return string(out), err
}

// variables are all that the application knows.
var variables = []string{"TOKEN", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "PLAIN", "DBPW"}

// whole tells whether one process runs, with the values of the store; or nothing
// does, and nothing is stored.
func (f facts) whole() error {
	switch {
	case f.values == nil && len(f.running) == 0:
	case f.values == nil || len(f.running) != 1:
		return fmt.Errorf("%d containers, %d values in the store", len(f.running), len(f.values))
	case !maps.Equal(f.running[0], f.values):
		return fmt.Errorf("the process has %v, the store %v", f.running[0], f.values)
	}
	return nil
}

// opens tells what is wrong with the logins to the database: the store's password is
// taken, and no other one that was there before.
func (w *world) opens(before, now facts) error {
	if w.database == nil {
		return nil
	}
	old, word := before.values["DBPW"], now.values["DBPW"]
	if takes := w.database.Opens(w.project, word); !takes || old != word && w.database.Opens(w.project, old) {
		return fmt.Errorf("the server takes the store's password: %v, and the one before", takes)
	}
	return nil
}

// record is what the journal says of a run.
type record struct{ ID, Playbook, State string }

// runs are the runs there are, the newest first.
func (w *world) runs() ([]record, error) {
	var doc struct{ Runs []record }
	code, said := w.run(nil, "runs", "--json")
	if err := json.Unmarshal([]byte(said), &doc); err != nil || code != 0 {
		return nil, fmt.Errorf("runs: exit %d: %s (%w)", code, said, err)
	}
	slices.SortStableFunc(doc.Runs, func(a, b record) int { return cmp.Compare(b.ID, a.ID) })
	return doc.Runs, nil
}

// locks are those that are held in the store.
func (w *world) locks(environment string) string {
	var doc struct {
		Data struct{ Data map[string]string }
	}
	_, body := w.vault.Try(http.MethodGet, "secret/data/"+w.project+"/"+environment+"/envctl-lock", nil)
	_ = json.Unmarshal(body, &doc)
	return strings.Join(slices.Sorted(maps.Keys(doc.Data.Data)), " ")
}

// unlock lets a lock run out that was taken while its answer was lost.
func (w *world) unlock(environment string) {
	w.vault.Try(http.MethodDelete, "secret/metadata/"+w.project+"/"+environment+"/envctl-lock", nil)
}
