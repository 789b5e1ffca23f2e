//go:build figures

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"envctl/internal/realtest"
)

var (
	rounds = flag.Int("rounds", 40, "counted runs of each command")
	binary = flag.String("envctl", "", "the envctl to measure; built from this module when empty")
	tags   = flag.String("buildtags", releaseTag, "tags of the released build")
	table  = flag.String("table", "", "also write the table to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(realtest.Main(m))
}

// TestFigures measures everything and prints one table.
func TestFigures(t *testing.T) {
	b := newBench(t)
	for _, part := range []struct {
		name    string
		measure func()
	}{
		{"start", b.start}, {"vault", b.vault}, {"embedded", b.embedded}, {"trace", b.trace}, {"rotate", b.rotate}, {"check", b.check},
		{"render", b.render},
	} {
		t.Run(part.name, func(t *testing.T) {
			defer func(was testing.TB) { b.t = was }(b.t)
			b.t = t
			t.Cleanup(func() {
				if t.Skipped() || t.Failed() {
					b.figures = append(b.figures, Figure{Work: part.name, Missing: "not measured to its end, see above"})
				}
			})
			part.measure()
		})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Medians of %d paired runs, CPU and peak memory from wait4.\n\n", *rounds)
	if err := Print(&out, b.figures); err != nil {
		t.Fatal(err)
	}
	fmt.Print(out.String())
	if *table != "" {
		if err := os.WriteFile(*table, []byte(out.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	for _, f := range b.figures {
		if !f.Met() {
			t.Errorf("missed: %s, %s %s", f.Work, f.Measure, f.Missing)
		}
	}
}

type bench struct {
	t                     testing.TB // of the part that is being measured
	launch, envctl, hello string
	home                  string
	figures               []Figure
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, launch: build(t, "./launch"), hello: build(t, "./hello"), envctl: *binary, home: t.TempDir()}
	if b.envctl == "" {
		b.envctl = build(t, released(t), "-tags", *tags, "../..")
	}
	var err error
	if b.envctl, err = filepath.Abs(b.envctl); err != nil {
		t.Fatal(err)
	}
	b.envctl = installed(t, b.envctl)
	return b
}

// env is the whole environment of what is measured: a home of its own and
// nothing of the caller's.
func (b *bench) env(more ...string) []string {
	return append([]string{"HOME=" + b.home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "NO_COLOR=1", "ENVCTL_NO_INPUT=1"}, more...)
}

// miss records figures that could not be measured.
func (b *bench) miss(err error, figures ...Figure) {
	b.t.Log(err)
	why, _, _ := strings.Cut(err.Error(), "\n")
	for _, f := range figures {
		f.Missing = why
		b.figures = append(b.figures, f)
	}
}

func (b *bench) compare(commands ...Command) ([]Stat, error) {
	return Compare(b.t.Context(), b.launch, *rounds, commands...)
}

// do runs envctl once, unmeasured.
func (b *bench) do(dir, stdin string, env []string, args ...string) error {
	_, err := b.output(dir, stdin, env, b.envctl, args...)
	return err
}

// gives returns an error unless a program prints want: speed counts for
// nothing where the answer is wrong.
func (b *bench) gives(want, dir string, env []string, program string, args ...string) error {
	out, err := b.output(dir, "", env, program, args...)
	if err == nil && strings.TrimSpace(out) != want {
		err = fmt.Errorf("%s %s printed %q", filepath.Base(program), strings.Join(args, " "), out)
	}
	return err
}

func (b *bench) output(dir, stdin string, env []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, env, strings.NewReader(stdin)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %s", filepath.Base(program), strings.Join(args, " "), strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

// project writes a project folder with one component, app.
func (b *bench) project(environments string) string {
	dir := b.t.TempDir()
	b.write(filepath.Join(dir, "envctl.yaml"), "version: 1\nproject: bench\nenvironments: "+environments+`
default_environment: staging
components:
  app: {dotenv: [.env], services: [backend]}
  fresh: {services: [worker]}
deploy: {kind: none}
`)
	return dir
}

func (b *bench) write(path, text string) {
	b.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// start: what every command pays before it does anything.
func (b *bench) start() {
	vault := installed(b.t, realtest.Tool(b.t, "vault"))
	for _, what := range []struct{ name, args string }{
		{"start: --version", "--version"}, {"start: --help", "--help"}, {"start: completion", "__complete -- ge"},
	} {
		work := what.name
		stats, err := b.compare(
			Command{Name: "envctl " + what.args, Args: append([]string{b.envctl}, strings.Fields(what.args)...), Env: b.env()},
			Command{Name: "hello", Args: []string{b.hello}, Env: b.env()},
			Command{Name: "vault", Args: []string{vault, "--version"}, Env: b.env()},
		)
		if err != nil {
			b.miss(err, Figure{Work: work, Measure: "CPU", Peer: "hello", Goal: 4}, Figure{Work: work, Measure: "CPU", Peer: "vault", Goal: 0.1})
			continue
		}
		b.figures = append(b.figures,
			Ratio(work, "CPU", "hello", stats[0].CPU, stats[1].CPU, 4),
			Ratio(work, "CPU", "vault --version", stats[0].CPU, stats[2].CPU, 0.1))
	}
}

// counter is a proxy before Vault that counts what passes.
type counter struct {
	*httptest.Server
	requests, connections atomic.Int64
}

func (b *bench) counter(target string) *counter {
	u, err := url.Parse(target)
	if err != nil {
		b.t.Fatal(err)
	}
	c := &counter{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	c.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.connections.Add(1)
		}
	}
	c.Start()
	b.t.Cleanup(c.Close)
	return c
}

// count runs envctl once through the proxy and returns what passed.
func (b *bench) count(c *counter, dir, stdin, token string, args ...string) (requests, connections float64, err error) {
	c.requests.Store(0)
	c.connections.Store(0)
	err = b.do(dir, stdin, b.env("VAULT_ADDR="+c.URL, "VAULT_TOKEN="+token), args...)
	return float64(c.requests.Load()), float64(c.connections.Load()), err
}

func (b *bench) counted(work string, c *counter, dir, stdin, token string, requests float64, args ...string) {
	rq := Figure{Work: work, Measure: "requests", Goal: requests, Exact: true}
	cn := Figure{Work: work, Measure: "connections", Goal: 1, Exact: true}
	gotRequests, gotConnections, err := b.count(c, dir, stdin, token, args...)
	if err != nil {
		b.miss(err, rq, cn)
		return
	}
	rq.Got, cn.Got = gotRequests, gotConnections
	b.figures = append(b.figures, rq, cn)
}

// vault: one read, one set and run with ten keys, against Vault's own client.
func (b *bench) vault() {
	server, vault := realtest.Vault(b.t), installed(b.t, realtest.Tool(b.t, "vault"))
	env := b.env("VAULT_ADDR="+server.Addr, "VAULT_TOKEN="+server.RootToken)
	dir := b.project("{staging: {store: vault}}")
	values := map[string]any{}
	for i := range 10 {
		values[fmt.Sprintf("KEY_%d", i)] = fmt.Sprintf("value-%d", i)
	}
	const path = "secret/bench/staging/app"
	server.Do(http.MethodPost, "secret/data/bench/staging/app", map[string]any{"data": values})
	proxy := b.counter(server.Addr)

	get := []string{"get", "KEY_3", "--env", "staging", "--component", "app", "--raw"}
	if err := b.gives("value-3", dir, env, b.envctl, get...); err != nil {
		b.miss(err, Figure{Work: "read one", Measure: "CPU", Goal: 0.12})
	} else if stats, err := b.compare(
		Command{Name: "envctl get", Args: append([]string{b.envctl}, get...), Dir: dir, Env: env},
		Command{Name: "vault kv get", Args: []string{vault, "kv", "get", "-field=KEY_3", path}, Env: env},
	); err != nil {
		b.miss(err, Figure{Work: "read one", Measure: "CPU", Goal: 0.12})
	} else {
		b.figures = append(b.figures, Ratio("read one", "CPU", "vault kv get", stats[0].CPU, stats[1].CPU, 0.12),
			Figure{
				Work: "read one", Measure: "memory, MiB", Theirs: fmt.Sprintf("%.1f MiB", float64(stats[1].RSS)/1024), Peer: "vault kv get",
				Ours: fmt.Sprintf("%.1f MiB", float64(stats[0].RSS)/1024), Got: float64(stats[0].RSS) / 1024, Goal: 16,
			})
	}
	b.counted("read one", proxy, dir, "", server.RootToken, 1, get...)

	set := []string{"set", "KEY_3", "--env", "staging", "--component", "app", "--stdin"}
	written := 0
	another := func() string { // the same value again is no write
		written++
		return fmt.Sprintf("another-%d", written)
	}
	if stats, err := b.compare(
		Command{Name: "envctl set", Args: append([]string{b.envctl}, set...), Dir: dir, Env: env, Stdin: another},
		Command{Name: "vault kv patch", Args: []string{vault, "kv", "patch", path, "KEY_3=-"}, Env: env, Stdin: another},
	); err != nil {
		b.miss(err, Figure{Work: "set one", Measure: "CPU", Goal: 0.15})
	} else {
		b.figures = append(b.figures, Ratio("set one", "CPU", "vault kv patch", stats[0].CPU, stats[1].CPU, 0.15))
	}
	b.counted("set one, existing path", proxy, dir, another(), server.RootToken, 2, set...)
	b.counted("set one, new path", proxy, dir, "first", server.RootToken, 3, "set", "NEW", "--env", "staging", "--component", "fresh", "--stdin")

	run := []string{"run", "--env", "staging", "--component", "app", "--", "/bin/sh", "-c", `test "$KEY_9" = value-9`}
	b.counted("run with 10 keys", proxy, dir, "", server.RootToken, 1, run...)
}

// embedded: one of a hundred keys, against sops with an age key.
func (b *bench) embedded() {
	work := Figure{Work: "read one of 100, no server", Measure: "CPU", Peer: "sops", Goal: 0.5}
	sops, dir := installed(b.t, realtest.Tool(b.t, "sops")), b.project("{staging: {store: local}}")
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		b.t.Fatal(err)
	}
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "KEY_%03d=value-%d-of-a-hundred\n", i, i)
	}
	plain, keys := filepath.Join(dir, "plain.env"), filepath.Join(b.home, "age.txt")
	b.write(plain, text.String())
	b.write(keys, identity.String()+"\n")
	env := b.env("SOPS_AGE_KEY_FILE=" + keys)
	encrypted, err := b.output(dir, "", env, sops, "encrypt", "--age", identity.Recipient().String(), "--output-type", "json", plain)
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(filepath.Join(dir, "secrets.json"), encrypted)

	if err := b.do(dir, "", env, "import", plain, "--env", "staging", "--component", "app", "--yes"); err != nil {
		b.miss(err, work)
		return
	}
	get := []string{"get", "KEY_050", "--env", "staging", "--component", "app", "--raw"}
	theirs := []string{"decrypt", "--extract", `["KEY_050"]`, "secrets.json"}
	for program, args := range map[string][]string{b.envctl: get, sops: theirs} {
		if err := b.gives("value-50-of-a-hundred", dir, env, program, args...); err != nil {
			b.miss(err, work)
			return
		}
	}
	stats, err := b.compare(
		Command{Name: "envctl get", Args: append([]string{b.envctl}, get...), Dir: dir, Env: env},
		Command{Name: "sops decrypt", Args: append([]string{sops}, theirs...), Dir: dir, Env: env})
	if err != nil {
		b.miss(err, work)
		return
	}
	b.figures = append(b.figures, Ratio(work.Work, work.Measure, work.Peer, stats[0].CPU, stats[1].CPU, work.Goal))
}

// trace: one question against the four commands an operator would type, and
// against what the slowest of its sources takes alone.
func (b *bench) trace() {
	server, engine := realtest.Vault(b.t), realtest.Dockerd(b.t)
	vault, docker := installed(b.t, realtest.Tool(b.t, "vault")), installed(b.t, realtest.Tool(b.t, "docker"))
	dir, source := b.project("{staging: {store: vault}}"), build(b.t, "./source")
	server.Do(http.MethodPost, "secret/data/bench/staging/app", map[string]any{"data": map[string]any{"API_KEY": "the-value"}})
	b.write(filepath.Join(dir, ".env"), "OTHER=1\nAPI_KEY=the-value\n")
	const name = "bench-backend"
	engine.Cleanup(b.t, "envctl.project=bench")
	engine.Run(b.t, "run", "-d", "--network", "none", "--name", name, "--env", "API_KEY=the-value",
		"--label", "envctl.project=bench", "--label", "envctl.environment=staging", "--label", "envctl.component=app",
		"--label", "envctl.service=backend", realtest.Image, "serve")
	pid := engine.Run(b.t, "inspect", "--format", "{{.State.Pid}}", name)
	env := b.env(append(engine.Env(), "VAULT_ADDR="+server.Addr, "VAULT_TOKEN="+server.RootToken)...)

	trace := []string{"trace", "API_KEY", "--env", "staging", "--component", "app", "--json"}
	half, whole := Figure{Work: "trace", Measure: "wall", Peer: "four commands", Goal: 0.15},
		Figure{Work: "trace", Measure: "wall", Peer: "1.3 × slowest source + start", Goal: 1}
	out, err := b.output(dir, "", env, b.envctl, trace...)
	if err == nil {
		err = complete(out)
	}
	if err != nil {
		b.miss(err, half, whole)
		return
	}
	stats, err := b.compare(
		Command{Name: "envctl trace", Args: append([]string{b.envctl}, trace...), Dir: dir, Env: env},
		Command{Name: "envctl --version", Args: []string{b.envctl, "--version"}, Dir: dir, Env: env},
		Command{Name: "source vault", Args: []string{source, "vault", server.Addr, server.RootToken, "secret/data/bench/staging/app"}, Env: env},
		Command{Name: "source docker", Args: []string{source, "docker", engine.Socket, "envctl.project=bench", name}, Env: env},
		Command{Name: "grep", Args: []string{"/bin/grep", "^API_KEY=", ".env"}, Dir: dir, Env: env},
		Command{Name: "vault kv get", Args: []string{vault, "kv", "get", "-field=API_KEY", "secret/bench/staging/app"}, Env: env},
		Command{Name: "docker inspect", Args: []string{docker, "inspect", "--format", "{{.Config.Env}}", name}, Env: env},
		Command{Name: "environ", Args: []string{"/bin/sh", "-c", `tr '\0' '\n' </proc/` + pid + `/environ | grep ^API_KEY=`}, Env: env})
	if err != nil {
		b.miss(err, half, whole)
		return
	}
	var four time.Duration
	for _, s := range stats[4:] {
		four += s.Wall
	}
	// Its own start, and what the slowest source takes a program that asks it alone.
	bound := time.Duration(1.3*float64(max(stats[2].Wall, stats[3].Wall))) + stats[1].Wall
	b.figures = append(b.figures,
		Ratio(half.Work, half.Measure, half.Peer, stats[0].Wall, four, half.Goal),
		Ratio(whole.Work, whole.Measure, whole.Peer, stats[0].Wall, bound, whole.Goal))
}

// complete refuses an answer that was fast because it looked nowhere.
func complete(document string) error {
	var answer struct {
		Sources []struct{ Source, State string }
		Verdict struct{ Status string }
	}
	if err := json.Unmarshal([]byte(document), &answer); err != nil {
		return fmt.Errorf("trace --json: %w", err)
	}
	set := map[string]bool{}
	for _, s := range answer.Sources {
		set[s.Source] = set[s.Source] || s.State == "set"
	}
	for _, want := range []string{"dotenv", "store", "container-config", "process"} {
		if !set[want] {
			return fmt.Errorf("trace found no value in %s: %s", want, document)
		}
	}
	return nil
}
