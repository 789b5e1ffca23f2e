package commands_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// troubled is an operator whose way to a real Vault breaks at one of its calls.
type troubled struct {
	operator
	vault   *realtest.VaultServer
	project string

	mu      sync.Mutex
	n, at   int // calls so far; the first that meets the trouble, 0: none does
	once    bool
	strike  strike
	calls   []string
	process *os.Process // that is killed in the middle of a call
}

// strike answers a call in place of the server, or with its help.
type strike func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler)

func newTroubled(t *testing.T, v *realtest.VaultServer, project string, files map[string]string) *troubled {
	t.Helper()
	dir := t.TempDir()
	o := &troubled{operator: operator{t: t, dir: dir, env: map[string]string{
		"HOME": dir, "XDG_STATE_HOME": dir, "XDG_CONFIG_HOME": dir, "XDG_CACHE_HOME": dir, "USER": "op", "NO_COLOR": "1", "PATH": os.Getenv("PATH"),
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
		o.n++
		o.calls = append(o.calls, r.Method+" "+r.URL.Path)
		met := o.at > 0 && (o.n == o.at || o.n > o.at && !o.once)
		strike := o.strike
		o.mu.Unlock()
		if met {
			strike(o, w, r, forward)
		} else {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(proxy.Close)
	o.env["VAULT_ADDR"] = proxy.URL
	for name, text := range files {
		o.write(name, strings.ReplaceAll(text, "PROJECT", project))
	}
	return o
}

// breaks makes the call number at meet the trouble, and all that follow unless once.
func (o *troubled) breaks(at int, once bool, s strike) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n, o.at, o.once, o.strike, o.calls = 0, at, once, s, nil
}

// seen are the calls since the way broke, or was mended.
func (o *troubled) seen() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

// killed runs envctl as a process of its own, which a call may kill.
func (o *troubled) killed(stdin string, args ...string) (int, string, error) {
	env := make([]string, 0, len(o.env))
	for k, v := range o.env {
		env = append(env, k+"="+v)
	}
	cmd := command(o.t, o.dir, env, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	o.mu.Lock() // no call is answered before its process is known
	err := cmd.Start()
	o.process = cmd.Process
	o.mu.Unlock()
	if err != nil {
		return 0, "", err
	}
	_ = cmd.Wait() // the state says how it ended
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal()) + 128, said.String(), nil
	}
	return cmd.ProcessState.ExitCode(), said.String(), nil
}

// held is one path of the store: its newest version, and what that holds; nil
// where it is deleted.
type held struct {
	version int
	values  map[string]string
}

// holds is everything that the project has at the server, without its locks.
func (o *troubled) holds() (map[string]held, error) {
	all := map[string]held{}
	environments, err := o.list(o.project)
	if err != nil {
		return nil, err
	}
	for _, environment := range environments {
		components, err := o.list(o.project + "/" + environment)
		if err != nil {
			return nil, err
		}
		for _, component := range components {
			if strings.HasPrefix(component, "envctl-") {
				continue
			}
			var doc struct {
				Data struct {
					Data     map[string]string
					Metadata struct{ Version int }
				}
			}
			_, body := o.vault.Try(http.MethodGet, "secret/data/"+o.project+"/"+environment+component, nil)
			if err := unmarshal(body, &doc); err != nil {
				return nil, err
			}
			all[environment+component] = held{doc.Data.Metadata.Version, doc.Data.Data}
		}
	}
	return all, nil
}

// list are the names under a path: folders end with a slash.
func (o *troubled) list(of string) ([]string, error) {
	var doc struct{ Data struct{ Keys []string } }
	status, body := o.vault.Try("LIST", "secret/metadata/"+of, nil)
	if status == http.StatusNotFound {
		return nil, nil
	}
	return doc.Data.Keys, unmarshal(body, &doc)
}

// locked are the locks that somebody still has.
func (o *troubled) locked() ([]string, error) {
	var all []string
	environments, err := o.list(o.project)
	for _, environment := range environments {
		var doc struct {
			Data struct{ Data map[string]string }
		}
		status, body := o.vault.Try(http.MethodGet, "secret/data/"+o.project+"/"+environment+"envctl-lock", nil)
		if status == http.StatusOK && unmarshal(body, &doc) == nil {
			for key, text := range doc.Data.Data {
				all = append(all, environment+key+" "+text)
			}
		}
	}
	return all, err
}

// unlock lets the locks run out that were taken while every answer was lost.
func (o *troubled) unlock() {
	environments, _ := o.list(o.project)
	for _, environment := range environments {
		o.vault.Try(http.MethodDelete, "secret/metadata/"+o.project+"/"+environment+"envctl-lock", nil)
	}
}

func unmarshal(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	return nil
}

// seed writes a path past envctl.
func (o *troubled) seed(path string, kv ...string) {
	data := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		data[kv[i]] = kv[i+1]
	}
	o.vault.Do(http.MethodPost, "secret/data/"+o.project+"/"+path, map[string]any{"data": data})
}

// A trouble is what a call meets.
type trouble struct {
	name  string
	codes []int // besides 8; 0 where a later look settles it
	once  bool
	write bool // only a call that changes something can meet it
	meet  strike
	kills bool // envctl itself
	slow  bool // takes seconds: one call of each playbook meets it
	mend  func(o *troubled)
	begin func(o *troubled) // before the command
}

// answers is a trouble that is an answer of the server, or of a proxy before it.
func answers(status int, body string) strike {
	return func(_ *troubled, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// after carries the call out, loses the answer and does something else instead.
func after(s strike) strike {
	return func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
		forward.ServeHTTP(httptest.NewRecorder(), r)
		s(o, w, r, forward)
	}
}

func reset(_ *troubled, w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// stall says nothing until the caller gives up.
func stall(_ *troubled, _ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the caller is gone
	<-r.Context().Done()
}

// kill ends the process that calls, as kill -9 does.
func kill(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
	o.mu.Lock()
	p := o.process
	o.mu.Unlock()
	_ = p.Kill() // the one call that comes after it has died already
	reset(o, w, r, forward)
}

// troubles are all there are, but for those of sealableTroubles.
func troubles() []trouble {
	away := []int{7}
	all := []trouble{
		{name: "killed", meet: kill, kills: true, codes: []int{128 + int(syscall.SIGKILL)}},
		{name: "killed after it was carried out", meet: after(kill), kills: true, write: true, codes: []int{128 + int(syscall.SIGKILL)}},
		{name: "reset after it was carried out", meet: after(reset), write: true, codes: away},
		{name: "502 after it was carried out", meet: after(answers(502, "<html>")), write: true, codes: away},
		{name: "stalled after it was carried out", meet: after(stall), write: true, once: true, codes: away},
		{name: "stalled", meet: stall, once: true, write: true, codes: away},
		{
			name: "a token that has ended", codes: []int{4}, begin: token("1h"), mend: asRoot,
			meet: func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
				o.vault.Try(http.MethodPost, "auth/token/revoke", map[string]any{"token": o.env["VAULT_TOKEN"]})
				forward.ServeHTTP(w, r)
			},
		},
		{
			name: "a token of 2 s", codes: []int{4}, begin: token("2s"), mend: asRoot, slow: true,
			meet: func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
				for range 600 { // until it has ended
					if status, _ := o.vault.Try(http.MethodPost, "auth/token/lookup", map[string]any{"token": o.env["VAULT_TOKEN"]}); status != http.StatusOK {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				forward.ServeHTTP(w, r)
			},
		},
		{name: "reset", meet: reset, codes: away},
		{name: "a quorum that is lost", meet: answers(500, `{"errors":["failed to persist entry"]}`), codes: away},
	}
	for _, a := range []struct {
		status int
		body   string
		codes  []int
	}{
		{400, `{"errors":["no"]}`, []int{2}},
		{403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, []int{4}},
		{404, `{"errors":["no handler for route \"secret/\""]}`, []int{3}},
		{412, `{"errors":["required index state not present"]}`, away},
		{429, `{"errors":["rate limit quota exceeded"]}`, away},
		{472, `{"errors":[]}`, away},
		{473, `{"errors":[]}`, away},
		{500, `{"errors":["failed to audit"]}`, away},
		{501, `{"errors":["not initialized"]}`, away},
		{502, "<html>", away},
		{503, `{"errors":["Vault is sealed"]}`, away},
	} {
		all = append(all,
			trouble{name: fmt.Sprint(a.status), codes: a.codes, meet: answers(a.status, a.body)},
			trouble{name: fmt.Sprint(a.status, " once"), codes: a.codes, meet: answers(a.status, a.body), once: true})
	}
	return append(all, trouble{name: "reset once", meet: reset, codes: away, once: true})
}

// token gives the operator a token that lives so long.
func token(ttl string) func(*troubled) {
	return func(o *troubled) {
		var doc struct {
			Auth struct {
				Token string `json:"client_token"`
			}
		}
		_, body := o.vault.Try(http.MethodPost, "auth/token/create", map[string]any{"ttl": ttl})
		if err := unmarshal(body, &doc); err != nil {
			o.t.Error(err)
		}
		o.env["VAULT_TOKEN"] = doc.Auth.Token
	}
}

func asRoot(o *troubled) { o.env["VAULT_TOKEN"] = o.vault.RootToken }

// sealing is the trouble of a server that is sealed in the middle of a run.
func sealing() trouble {
	return trouble{
		name: "sealed", codes: []int{7},
		meet: func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
			o.vault.Try(http.MethodPut, "sys/seal", nil) // it may be already
			forward.ServeHTTP(w, r)
		},
		mend: func(o *troubled) { o.vault.Unseal() },
	}
}
