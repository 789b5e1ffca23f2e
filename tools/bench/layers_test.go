//go:build figures

package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"envctl/internal/realtest"
)

// layers writes a project of n components with vars variables each, declared
// alike in three files.
func (b *bench) layers(n, vars int) string {
	dir := b.t.TempDir()
	var y strings.Builder
	y.WriteString("version: 1\nproject: ledger\nenvironments: {local: {}, staging: {}, production: {}}\ncomponents:\n")
	for i := range n {
		at := fmt.Sprintf("c%d", i)
		fmt.Fprintf(&y, "  %s: {template: %s/secrets.ctmpl, code: %s/config.py, example: %s/.env.example}\n", at, at, at, at)
		var template, code, example strings.Builder
		fmt.Fprintf(&template, "{{ with secret (printf \"secret/data/ledger/%%s/%s\" (env \"ENV\")) }}\n", at)
		code.WriteString("from pydantic import AliasChoices, Field\nfrom pydantic_settings import BaseSettings\n\n\nclass Settings(BaseSettings):\n")
		for j := range vars {
			name := fmt.Sprintf("VAR_%d_%d", i, j)
			fmt.Fprintf(&template, "%s={{ with .Data.data.%s }}{{ printf \"%%q\" . }}{{ else }}\"value %d\"{{ end }}\n", name, name, j)
			fmt.Fprintf(&code, "    %s: str = Field(\n        default=\"value %d\",\n        validation_alias=AliasChoices(\n            \"%s\",\n            \"OLD_%s\",\n        ),\n"+
				"        description=\"what it is for\",\n    )\n", strings.ToLower(name), j, name, name)
			fmt.Fprintf(&example, "# what it is for\n%s=\"value %d\"\n", name, j)
		}
		template.WriteString("{{ end }}\n")
		if err := os.Mkdir(filepath.Join(dir, at), 0o700); err != nil {
			b.t.Fatal(err)
		}
		for file, text := range map[string]string{"secrets.ctmpl": template.String(), "config.py": code.String(), ".env.example": example.String()} {
			b.write(filepath.Join(dir, at, file), text)
		}
	}
	b.write(filepath.Join(dir, "envctl.yaml"), y.String())
	return dir
}

// check: a small project against the script that teams write for themselves,
// and a very large one.
func (b *bench) check() {
	small, large := b.layers(1, 60), b.layers(100, 100)
	script, err := filepath.Abs("testdata/check_env.py")
	if err != nil {
		b.t.Fatal(err)
	}
	// Debian's own: a shim in front of an interpreter costs more than the script.
	const python = "/usr/bin/python3"
	theirs := []string{python, script, "c0/secrets.ctmpl", "c0/config.py", "c0/.env.example"}
	work := Figure{Work: "check 60 variables", Measure: "CPU", Peer: "regular expressions", Goal: 0.15}
	err = b.gives("60 template, 60 code, 120 accepted, 60 example", small, b.env(), theirs[0], theirs[1:]...)
	if err == nil {
		err = b.gives("", small, b.env(), b.envctl, "check")
	}
	var stats []Stat
	if err == nil {
		stats, err = b.compare(
			Command{Name: "envctl check", Args: []string{b.envctl, "check"}, Dir: small, Env: b.env()},
			Command{Name: "check_env.py", Args: theirs, Dir: small, Env: b.env()})
	}
	if err != nil {
		b.miss(err, work)
	} else {
		b.figures = append(b.figures, Ratio(work.Work, work.Measure, work.Peer, stats[0].CPU, stats[1].CPU, work.Goal))
	}

	seconds := Figure{Work: "check 10,000 variables", Measure: "CPU, s", Goal: 1}
	memory := Figure{Work: "check 10,000 variables", Measure: "memory, MiB", Goal: 150}
	if err = b.gives("", large, b.env(), b.envctl, "check"); err == nil {
		stats, err = Compare(b.t.Context(), b.launch, min(*rounds, 10), Command{Name: "envctl check", Args: []string{b.envctl, "check"}, Dir: large, Env: b.env()})
	}
	if err != nil {
		b.miss(err, seconds, memory)
		return
	}
	seconds.Got, memory.Got = stats[0].CPU.Seconds(), float64(stats[0].RSS)/1024
	b.figures = append(b.figures, seconds, memory)
}

// together is a proxy that holds requests until so many are there, or for a
// while: requests that wait for each other's answers never meet.
type together struct {
	*httptest.Server
	requests, met atomic.Int64
}

func (b *bench) together(target string, n int) *together {
	u, err := url.Parse(target)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &together{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	var mu sync.Mutex
	here, all := 0, make(chan struct{})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		mu.Lock()
		if here++; here == n {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
			p.met.Add(1)
		case <-time.After(30 * time.Second):
		}
		proxy.ServeHTTP(w, r)
	}))
	b.t.Cleanup(p.Close)
	return p
}

// render: forty keys of three paths, against consul-template, whose engine Vault
// Agent has.
func (b *bench) render() {
	server, peer := realtest.Vault(b.t), installed(b.t, realtest.Tool(b.t, "consul-template"))
	dir := b.t.TempDir()
	b.write(filepath.Join(dir, "envctl.yaml"), "version: 1\nproject: bench\nstore: vault\nenvironments: {staging: {}}\ncomponents:\n"+
		"  app: {template: secrets.ctmpl}\n  postgres: {}\n  redis: {}\n")
	var template strings.Builder
	key := 0
	for i, component := range []string{"app", "postgres", "redis"} {
		values := map[string]any{}
		fmt.Fprintf(&template, "{{ with secret (printf \"secret/data/bench/%%s/%s\" (env \"ENV\")) }}\n", component)
		for range []int{14, 13, 13}[i] {
			name := fmt.Sprintf("KEY_%02d", key)
			values[name] = fmt.Sprintf("value-%d of %s", key, component)
			switch key % 4 {
			case 0:
				fmt.Fprintf(&template, "%s={{ .Data.data.%s }}\n", name, name)
			case 1: // not in the store: its default
				delete(values, name)
				fallthrough
			default:
				fmt.Fprintf(&template, "%s={{ with .Data.data.%s }}{{ printf \"%%q\" . }}{{ else }}\"default %d\"{{ end }}\n", name, name, key)
			}
			key++
		}
		template.WriteString("{{ end }}\n")
		server.Do(http.MethodPost, "secret/data/bench/staging/"+component, map[string]any{"data": values})
	}
	source, ours, theirs := filepath.Join(dir, "secrets.ctmpl"), filepath.Join(dir, "ours.env"), filepath.Join(dir, "theirs.env")
	b.write(source, strings.ReplaceAll(template.String(), "={{ .Data.data.", "={{ printf \"%q\" .Data.data."))
	env := b.env("VAULT_ADDR="+server.Addr, "VAULT_TOKEN="+server.RootToken, "ENV=staging")
	render := []string{"render", "app", "--env", "staging", "--out", ours}
	once := []string{"-once", "-vault-renew-token=false", "-template", source + ":" + theirs}

	same := Figure{Work: "render 40 keys, 3 paths", Measure: "bytes that differ", Peer: "consul-template", Exact: true}
	cpu := Figure{Work: same.Work, Measure: "CPU", Peer: "consul-template", Goal: 0.7}
	parallel := Figure{Work: same.Work, Measure: "parallel requests", Goal: 3, Exact: true}
	err := b.do(dir, "", env, render...)
	if err == nil {
		_, err = b.output(dir, "", env, peer, once...)
	}
	if err != nil {
		b.miss(err, same, cpu, parallel)
		return
	}
	same.Got = float64(differing(b.read(ours), b.read(theirs)))
	b.figures = append(b.figures, same)
	if stats, err := b.compare(
		Command{Name: "envctl render", Args: append([]string{b.envctl}, render...), Dir: dir, Env: env},
		Command{Name: "consul-template", Args: append([]string{peer}, once...), Dir: dir, Env: env},
	); err != nil {
		b.miss(err, cpu)
	} else {
		b.figures = append(b.figures, Ratio(cpu.Work, cpu.Measure, cpu.Peer, stats[0].CPU, stats[1].CPU, cpu.Goal))
	}
	proxy := b.together(server.Addr, 3)
	if err := b.do(dir, "", b.env("VAULT_ADDR="+proxy.URL, "VAULT_TOKEN="+server.RootToken), render...); err != nil {
		b.miss(err, parallel)
		return
	}
	if parallel.Got = float64(proxy.met.Load()); proxy.requests.Load() != proxy.met.Load() {
		parallel.Got = float64(-proxy.requests.Load()) // others came along, or they did not meet
	}
	b.figures = append(b.figures, parallel)
}

func (b *bench) read(file string) []byte {
	b.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte("KEY_39=")) {
		b.t.Fatalf("%s: %v, or no text with the last key", file, err)
	}
	return text
}

func differing(a, b []byte) int {
	n := max(len(a), len(b)) - min(len(a), len(b))
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
