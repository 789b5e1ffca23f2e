package commands_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// troubled is an operator whose way to a real Vault breaks at a write, and stays
// broken until it is mended.
type troubled struct {
	operator
	vault   *realtest.VaultServer
	project string

	mu     sync.Mutex
	n, at  int // writes so far; the first that meets the trouble; 0: none does
	strike func(w http.ResponseWriter, r *http.Request, forward http.Handler)
}

func newTroubled(t *testing.T, v *realtest.VaultServer, project string) *troubled {
	t.Helper()
	dir := t.TempDir()
	o := &troubled{operator: operator{t: t, dir: dir, env: map[string]string{
		"HOME": dir, "XDG_STATE_HOME": dir, "XDG_CONFIG_HOME": dir, "XDG_CACHE_HOME": dir, "USER": "op", "NO_COLOR": "1",
		"VAULT_TOKEN": v.RootToken, "DOCKER_HOST": "unix://" + dir + "/none.sock",
	}}, vault: v, project: project}
	to, err := url.Parse(v.Addr)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(to)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		if r.Method != http.MethodGet {
			o.n++
		}
		strike := o.strike
		if o.at == 0 || o.n < o.at {
			strike = nil
		}
		o.mu.Unlock()
		if strike == nil {
			forward.ServeHTTP(w, r)
			return
		}
		strike(w, r, forward)
	}))
	t.Cleanup(proxy.Close)
	o.env["VAULT_ADDR"] = proxy.URL
	for name, text := range map[string]string{
		"envctl.yaml": strings.ReplaceAll(troubledFile, "PROJECT", project),
		"app.ctmpl":   "{{ with secret \"secret/data/" + project + "/staging/app\" }}SECRET_KEY={{ .Data.data.SECRET_KEY }}\n{{ end }}",
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

const troubledFile = `version: 1
project: PROJECT
store: vault
environments: {staging: {}, bare: {}}
components:
  app:
    template: app.ctmpl
    generate: {SECRET_KEY: jwt}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h}
  postgres:
    generate: {POSTGRES_PASSWORD: password}
`

// breaks makes the write number at, and all that follows, meet the trouble.
func (o *troubled) breaks(at int, strike func(http.ResponseWriter, *http.Request, http.Handler)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n, o.at, o.strike = 0, at, strike
}

// must is run where nothing may fail.
func (o *troubled) must(args ...string) string {
	o.t.Helper()
	code, said := o.run("", args...)
	if code != 0 {
		o.t.Fatalf("%s: exit %d\n%s", strings.Join(args, " "), code, said)
	}
	return said
}

// version is a path's newest version at the server, 0 where there is none.
func (o *troubled) version(component string) int {
	status, body := o.vault.Try(http.MethodGet, "secret/metadata/"+o.project+"/staging/"+component, nil)
	var doc struct {
		Data struct {
			Current int `json:"current_version"`
		} `json:"data"`
	}
	if status == http.StatusNotFound {
		return 0
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		o.t.Fatal(err)
	}
	return doc.Data.Current
}

// value is a variable of the app, "" where there is none.
func (o *troubled) value(key string) string {
	status, body := o.vault.Try(http.MethodGet, "secret/data/"+o.project+"/staging/app", nil)
	var doc struct {
		Data struct {
			Data map[string]string `json:"data"`
		} `json:"data"`
	}
	if status == http.StatusNotFound {
		return ""
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		o.t.Fatal(err)
	}
	return doc.Data.Data[key]
}

// answers is a trouble that is an answer of the server, or of a proxy before it.
func answers(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func reset(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// Whole playbooks on a real Vault, whose way breaks at one of their writes and
// stays broken: the exit code is the cause's, or part-way; once it is mended the
// run is finished or taken back by its id, and nothing was done twice.
func TestPlaybooksInTrouble(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	sealable := realtest.SealableVault(t)
	type strike = func(http.ResponseWriter, *http.Request, http.Handler)
	for i, tc := range []struct {
		name   string
		codes  []int
		vault  *realtest.VaultServer
		strike func(o *troubled) strike
		mend   func(o *troubled)
	}{
		{name: "429", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(429, `{"errors":["rate limit quota exceeded"]}`) }},
		{name: "472", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(472, `{"errors":[]}`) }},
		{name: "473", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(473, `{"errors":[]}`) }},
		{name: "500", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(500, `{"errors":["failed to audit"]}`) }},
		{name: "502", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(502, "<html>") }},
		{name: "503", codes: []int{7, 8}, strike: func(*troubled) strike { return answers(503, `{"errors":["Vault is sealed"]}`) }},
		{name: "reset before", codes: []int{7, 8}, strike: func(*troubled) strike {
			return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }
		}},
		{name: "reset after", codes: []int{7, 8}, strike: func(*troubled) strike {
			return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
				forward.ServeHTTP(httptest.NewRecorder(), r)
				reset(w)
			}
		}},
		{
			name: "sealed", codes: []int{7, 8}, vault: sealable,
			strike: func(o *troubled) strike {
				var once sync.Once
				return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
					once.Do(o.vault.Seal)
					forward.ServeHTTP(w, r)
				}
			},
			mend: func(o *troubled) { o.vault.Unseal() },
		},
		{
			name: "a token of 2 s", codes: []int{4, 8},
			strike: func(o *troubled) strike {
				token := o.vault.Token(`path "secret/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "auth/token/lookup-self" { capabilities = ["read"] }`, "2s")
				o.env["VAULT_TOKEN"] = token
				return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
					for range 600 { // until it has ended
						req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, o.vault.Addr+"/v1/auth/token/lookup-self", nil)
						if err != nil {
							break
						}
						req.Header.Set("X-Vault-Token", token)
						resp, err := http.DefaultClient.Do(req)
						if err != nil {
							break
						}
						_ = resp.Body.Close()
						if resp.StatusCode == http.StatusForbidden {
							break
						}
						time.Sleep(50 * time.Millisecond)
					}
					forward.ServeHTTP(w, r)
				}
			},
			mend: func(o *troubled) { o.env["VAULT_TOKEN"] = o.vault.RootToken },
		},
	} {
		vault := tc.vault
		if vault == nil {
			vault = server
		}
		// struck runs a command whose write number at meets the trouble, mends that,
		// and goes the way that was printed; it returns the state of the run.
		struck := func(o *troubled, at int, args ...string) string {
			o.breaks(at, tc.strike(o))
			code, said := o.run("", args...)
			o.mu.Lock()
			met := o.n >= at
			o.mu.Unlock()
			o.breaks(0, nil)
			if tc.mend != nil {
				tc.mend(o)
			}
			met = met || code == 4 // a slow machine's token ends before
			if !met || !slices.Contains(tc.codes, code) || !strings.Contains(said, `"hint":"`) {
				o.t.Fatalf("%v, write %d (met: %v): exit %d, want one of %v and a hint\n%s", args, at, met, code, tc.codes, said)
			}
			way := wayOn.FindStringSubmatch(said)
			if way == nil {
				return "undone" // before the run began
			}
			o.t.Logf("%v, write %d: exit %d, %s", args, at, code, way[1])
			o.must(way[1], way[2])
			var doc struct{ Runs []struct{ State string } }
			if err := json.Unmarshal([]byte(o.must("runs", "--json")), &doc); err != nil || len(doc.Runs) == 0 {
				o.t.Fatal(err, doc)
			}
			return doc.Runs[0].State
		}
		t.Run(tc.name, func(t *testing.T) {
			if tc.vault == nil { // the other is sealed for all
				t.Parallel()
			}
			for _, at := range []int{1, 2 + i%2} { // the lock, and a path
				o := newTroubled(t, vault, fmt.Sprintf("trouble-%d-%d", i, at))
				if state := struck(o, at, "env", "create", "staging", "--json"); (state == "done") != (o.value("SECRET_KEY") != "") {
					t.Fatalf("env create is %s, and the key is there: %v", state, state != "done")
				}
				if code, said := o.run("", "env", "create", "staging"); code == 6 && at == 1 && strings.Contains(said, "its lock ends in") {
					// The lock was taken, and the answer lost with all others: it runs out.
					o.vault.Do(http.MethodDelete, "secret/metadata/"+o.project+"/staging/envctl-lock", nil)
					o.must("env", "create", "staging")
				} else if code != 0 {
					t.Fatalf("env create again: exit %d\n%s", code, said)
				}
				if v := o.version("app"); v > 3 || o.value("SECRET_KEY") == "" { // made, taken back, and made again
					t.Errorf("the path is at version %d", v)
				}
				before, was := o.version("app"), o.value("SECRET_KEY")
				state := struck(o, 1, "rotate", "jwt", "--env", "staging", "--json")
				v, now, previous := o.version("app"), o.value("SECRET_KEY"), o.value("SECRET_KEY_PREVIOUS")
				if state == "done" && (v != before+1 || now == was || previous != was) || state != "done" && (now != was || previous != "" || v != before && v != before+2) {
					t.Errorf("the rotation is %s: version %d after %d, changed %v, kept %v", state, v, before, now != was, previous == was)
				}
				o.must("rotate", "jwt", "--env", "staging")
				if now := o.value("SECRET_KEY"); now == "" || now == was {
					t.Error("it is not rotated afterwards")
				}
			}
		})
	}
}

// wayOn is what a run that stopped part-way says to do.
var wayOn = regexp.MustCompile(`"hint":"envctl (resume|undo) ([a-z0-9]+)`)
