package commands_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/internal/realtest"
)

// TestVault runs the scripts of testdata/vault on a real Vault behind a proxy that
// records paths. Each script has a project of its own, which is its name. They may
// use the commands of vaultCommands.
func TestVault(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	sealed := realtest.SealableVault(t)
	sealed.Seal()
	server.Try(http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"}) // another test may have
	server.Do(http.MethodPost, "sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	runScripts(t, "testdata/vault", func(e *testscript.Env) error {
		p := newRecorder(t, server.Addr)
		e.Values[recorderKey{}] = p
		e.Values[serverKey{}] = server
		e.Defer(p.server.Close)
		e.Setenv("VAULT_ADDR", p.server.URL)
		e.Setenv("VAULT_TOKEN", server.RootToken)
		e.Setenv("PROXY_ADDR", p.server.URL)
		e.Setenv("SEALED_ADDR", sealed.Addr)
		e.Setenv("SEALED_TOKEN", sealed.RootToken)
		return nil
	})
}

type (
	recorderKey struct{}
	serverKey   struct{}
)

// recorder is a proxy before a server; it keeps the path of every request.
type recorder struct {
	server *httptest.Server
	mu     sync.Mutex
	paths  []string
}

func newRecorder(t *testing.T, target string) *recorder {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.paths = append(r.paths, req.Method+" "+req.RequestURI)
		r.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	return r
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.paths
	r.paths = nil
	return taken
}

// vaultCommands are those of the scripts in testdata/vault.
func vaultCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"vaulttoken": vaultToken,
		"requests":   requests,
		"hostile":    hostile,
		"vaultput":   vaultPut,
		"secretof":   secretOf,
		"nowhere":    nowhere,
	}
}

func vaultOf(ts *testscript.TestScript) *realtest.VaultServer {
	v, ok := ts.Value(serverKey{}).(*realtest.VaultServer)
	if !ok {
		ts.Fatalf("only in testdata/vault")
	}
	return v
}

// vaultToken NAME POLICYFILE TTL sets a variable to a new token.
func vaultToken(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], vaultOf(ts).Token(ts.ReadFile(args[1]), args[2]))
}

// secretOf NAME FILE KEY sets a variable to a value of a dotenv file.
func secretOf(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if v, ok := strings.CutPrefix(line, args[2]+"="); ok && strings.TrimSpace(v) != "" {
			ts.Setenv(args[0], strings.TrimSpace(v))
			return
		}
	}
	ts.Fatalf("%s has no %s", args[1], args[2])
}

// nowhere VALUE fails when the last command's output or a file of envctl's own
// (journals, configuration, stores) holds it.
func nowhere(ts *testscript.TestScript, _ bool, args []string) {
	for _, stream := range []string{"stdout", "stderr"} {
		if strings.Contains(ts.ReadFile(stream), args[0]) {
			ts.Fatalf("%s holds the value", stream)
		}
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(".home"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), args[0]) {
			err = fmt.Errorf("%s holds the value", path)
		}
		return err
	}))
}

// vaultPut PATH FILE writes the JSON of FILE to PATH, as somebody else would.
func vaultPut(ts *testscript.TestScript, _ bool, args []string) {
	v := vaultOf(ts)
	req, err := http.NewRequest(http.MethodPost, v.Addr+"/v1/"+args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	req.Header.Set("X-Vault-Token", v.RootToken)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	_ = resp.Body.Close()
	if resp.StatusCode >= 300 {
		ts.Fatalf("%s: %s", args[0], resp.Status)
	}
}

func recorded(ts *testscript.TestScript) []string {
	r, ok := ts.Value(recorderKey{}).(*recorder)
	if !ok {
		ts.Fatalf("only in testdata/vault")
	}
	return r.take()
}

// requests N wants that many requests since the last look; requests within P Q…
// wants every path to begin with one of those under /v1/, and at least one request.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	got := recorded(ts)
	if len(args) == 1 {
		if want := args[0]; want != strconv.Itoa(len(got)) {
			ts.Fatalf("%d requests, want %s: %s", len(got), want, got)
		}
		return
	}
	if len(got) == 0 {
		ts.Fatalf("no request: the recorder is broken")
	}
	checkWithin(ts, got, args[1:])
}

func checkWithin(ts *testscript.TestScript, got, prefixes []string) {
	for _, g := range got {
		_, path, _ := strings.Cut(g, " ")
		ok := !strings.Contains(path, "..") && !strings.Contains(path, "%")
		within := false
		for _, p := range prefixes {
			within = within || strings.HasPrefix(path, "/v1/"+p)
		}
		if !ok || !within {
			ts.Fatalf("a request outside of %v: %s", prefixes, g)
		}
	}
}

// hostile PREFIX… gives hostile names to every place of every command that takes
// one, and wants no request outside of the prefixes and no success that names one.
func hostile(ts *testscript.TestScript, _ bool, prefixes []string) {
	recorded(ts)
	names := []string{
		"..", "../..", "../../sys/policies/acl/x", "..%2f..%2fsys", "%2e%2e", "%2e%2e%2fsys", "a/../b", "a//b", "/", "//", "/etc", "data", "data/data",
		"metadata/x", "sys", "staging/../production", "staging%00", "staging\n", "staging\r\nX-Vault-Token: x", "\x1b[31mstaging", "st\u202eaging", "\u200estaging",
		"stag ing", "staging?list=true", "staging#x", "staging;x", "$(id)", "`id`", "${HOME}", "-x", "--env", "*", "pr-*", "a:b", "a\\b", "\\\\host\\x",
		strings.Repeat("a", 64), strings.Repeat("a", 5000), "STAGING", "Staging", "stàging", "ﬁ", "\xff\xfe", ".", "...", "~", "@", "staging@7/../x", "=", "a=b", "",
	}
	lines := [][]string{
		{"list", "--env=%"},
		{"list", "-c", "%", "--env=staging"},
		{"get", "A_KEY", "--env=%", "-capp"},
		{"get", "A_KEY", "--env=staging", "-c%"},
		{"get", "--env=staging", "-capp", "--", "%"},
		{"set", "A_KEY", "--generate=token", "--env=%", "-capp"},
		{"set", "--generate=token", "--env=staging", "-capp", "--", "%"},
		{"unset", "--env=%", "-capp", "A_KEY"},
		{"trace", "A_KEY", "--env=%"},
		{"trace", "--env=staging", "--", "%"},
		{"history", "--env=staging", "-capp", "--", "%"},
		{"restore", "--env=staging", "-capp", "--", "%"},
		{"diff", "--", "%", "staging"},
		{"diff", "--", "staging", "%"},
		{"rollback", "--to=1", "--env=%", "-capp"},
		{"rotate", "--env=staging", "--", "%"},
		{"rotate", "jwt", "--env=%"},
		{"env", "show", "--", "%"},
		{"env", "create", "--dry-run", "--allow-missing", "--", "%"},
		{"env", "create", "--allow-missing", "--from=%", "new"},
		{"name", "--env=staging", "--", "%"},
		{"names", "--env=%"},
		{"port", "--env=local", "--branch=%", "backend"},
		{"port", "--", "%"},
		{"deploy", "--env=staging", "--", "%"},
		{"status", "--env=staging", "--", "%"},
		{"logs", "--env=staging", "--", "%"},
		{"run", "--env=%", "--", "true"},
		{"resume", "--", "%"},
		{"undo", "--", "%"},
		{"import", "--env=%", "empty"},
		{"env", "delete", "--dry-run", "--", "%"},
		{"env", "promote", "--only=A_KEY", "--", "%", "staging"},
		{"env", "promote", "--only=A_KEY", "--", "staging", "%"},
		{"env", "promote", "--only=%", "local", "staging"},
		{"env", "sweep", "--open=%"},
	}
	tried := 0
	for _, line := range lines {
		for _, name := range names {
			if strings.ContainsRune(name, 0) {
				continue
			}
			args := make([]string, len(line))
			for i, a := range line {
				args[i] = strings.ReplaceAll(a, "%", name)
				if a != "%" && !strings.HasSuffix(a, "%") {
					args[i] = a
				}
			}
			tried++
			_ = ts.Exec("envctl", args...) // most are refused; what counts is below
			for _, stream := range []string{"stdout", "stderr"} {
				if text := ts.ReadFile(stream); strings.ContainsAny(text, "\x1b\u202e\u200e") || strings.Contains(text, "panic") || strings.Contains(text, "\r") {
					ts.Fatalf("%q: %s is %q", args, stream, text)
				}
			}
		}
	}
	got := recorded(ts)
	if len(got) == 0 || tried < 500 {
		ts.Fatalf("%d lines made %d requests: the recorder is broken", tried, len(got))
	}
	checkWithin(ts, got, prefixes)
	if _, err := os.Stat(ts.MkAbs("envctl.yaml")); err != nil {
		ts.Fatalf("%v", err)
	}
}
