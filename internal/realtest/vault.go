package realtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// VaultServer is a running Vault, unsealed, with KV version 2 at secret/. It
// listens on loopback and ends with the test that started it.
type VaultServer struct {
	Addr      string // http://127.0.0.1:port
	RootToken string

	t      testing.TB
	bin    string
	args   []string
	dir    string
	keys   []string // that unseal it; none for a dev server
	cmd    *exec.Cmd
	exited chan struct{}
	output *bytes.Buffer
}

// Vault starts a development server: in memory, up within about a second. Share
// one between subtests.
func Vault(t testing.TB) *VaultServer {
	t.Helper()
	v := newVault(t)
	v.RootToken = "root"
	for try := 1; ; try++ {
		addr := freeAddr(t)
		v.Addr = "http://" + addr
		v.args = []string{"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + v.RootToken, "-dev-listen-address=" + addr}
		err := v.start()
		if err == nil {
			return v
		}
		if try == 3 { // a port can be taken between being found and being used
			t.Fatal(err)
		}
	}
}

// SealableVault starts a server that keeps its data with raft in a folder of the
// test's own, initialised and unsealed: it can be sealed, unsealed and restarted.
func SealableVault(t testing.TB) *VaultServer {
	t.Helper()
	v := newVault(t)
	data := filepath.Join(v.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		addr := freeAddr(t)
		v.Addr = "http://" + addr
		config := filepath.Join(v.dir, "vault.hcl")
		text := fmt.Sprintf("storage \"raft\" {\n path = %q\n node_id = \"one\"\n performance_multiplier = 1\n}\n"+
			"listener \"tcp\" {\n address = %q\n tls_disable = true\n}\napi_addr = %q\ncluster_addr = \"http://%s\"\ndisable_mlock = true\n",
			data, addr, v.Addr, freeAddr(t))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v.args = []string{"server", "-config=" + config}
		err := v.start()
		if err == nil {
			break
		}
		if try == 3 {
			t.Fatal(err)
		}
	}
	var initial struct {
		Keys  []string `json:"keys"`
		Token string   `json:"root_token"`
	}
	v.must(http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}, &initial)
	v.keys, v.RootToken = initial.Keys, initial.Token
	v.Unseal()
	v.Do(http.MethodPost, "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	v.await("the engine at secret/", func() bool {
		// A new engine answers 400 until it has prepared itself.
		status, _ := v.Try(http.MethodGet, "secret/config", nil)
		return status == http.StatusOK
	})
	return v
}

// Seal seals the server.
func (v *VaultServer) Seal() {
	v.t.Helper()
	v.Do(http.MethodPut, "sys/seal", nil)
}

// Unseal unseals the server and waits until it serves.
func (v *VaultServer) Unseal() {
	v.t.Helper()
	for _, k := range v.keys {
		v.Do(http.MethodPut, "sys/unseal", map[string]any{"key": k})
	}
	v.await("the server to be active", func() bool {
		status, _ := v.Try(http.MethodGet, "sys/health", nil)
		return status == http.StatusOK
	})
}

// Restart ends the server and starts it again on the same address, unsealed.
// A development server forgets everything.
func (v *VaultServer) Restart() {
	v.t.Helper()
	v.Stop()
	if err := v.start(); err != nil {
		v.t.Fatal(err)
	}
	v.Unseal()
}

// Stop ends the server at once, as a crash would.
func (v *VaultServer) Stop() {
	v.t.Helper()
	if v.cmd == nil {
		return
	}
	_ = v.cmd.Process.Kill() // it may have ended by itself
	<-v.exited
	v.cmd = nil
}

// Do makes one API request as root (path without /v1/) and returns the
// answer's "data", or all of it where it has none; anything but 2xx ends the test.
func (v *VaultServer) Do(method, path string, body any) map[string]any {
	v.t.Helper()
	var answer map[string]any
	v.must(method, path, body, &answer)
	if data, ok := answer["data"].(map[string]any); ok {
		return data
	}
	return answer
}

// Try makes one API request as root and returns its status, 0 without an
// answer, and the body.
func (v *VaultServer) Try(method, path string, body any) (int, []byte) {
	v.t.Helper()
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			v.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, v.Addr+"/v1/"+path, bytes.NewReader(payload))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.RootToken)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, answer
}

// Token makes a token with the given policy (HCL) and time to live and without
// the default policy.
func (v *VaultServer) Token(policy, ttl string) string {
	v.t.Helper()
	name := fmt.Sprintf("test-%d", time.Now().UnixNano())
	v.Do(http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": policy})
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	v.must(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{name}, "ttl": ttl, "no_default_policy": true}, &answer)
	return answer.Auth.Token
}

func (v *VaultServer) must(method, path string, body, into any) {
	v.t.Helper()
	status, answer := v.Try(method, path, body)
	if status < 200 || status > 299 {
		v.t.Fatalf("vault: %s %s: %d %.300s", method, path, status, answer)
	}
	if len(answer) == 0 {
		return
	}
	if err := json.Unmarshal(answer, into); err != nil {
		v.t.Fatalf("vault: %s %s: %v", method, path, err)
	}
}

func newVault(t testing.TB) *VaultServer {
	t.Helper()
	v := &VaultServer{t: t, bin: Tool(t, "vault"), dir: t.TempDir()}
	t.Cleanup(v.Stop)
	return v
}

// start runs the server and waits until it answers at all.
func (v *VaultServer) start() error {
	v.output = &bytes.Buffer{}
	cmd := exec.Command(v.bin, v.args...)
	cmd.Env = []string{"HOME=" + v.dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = v.output, v.output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	v.cmd, v.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // its output says why
		close(exited)
	}()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		select {
		case <-exited:
			v.cmd = nil
			return fmt.Errorf("vault ended at once: %s", tail(v.output.String()))
		case <-time.After(30 * time.Millisecond):
		}
		path := "sys/health"
		if v.RootToken != "" && v.keys == nil {
			path = "secret/config" // a dev server mounts secret/ a moment after it answers
		}
		if status, _ := v.Try(http.MethodGet, path, nil); status == http.StatusOK || status == http.StatusNotImplemented || status == http.StatusServiceUnavailable {
			return nil
		}
	}
	v.Stop()
	return fmt.Errorf("vault did not answer at %s: %s", v.Addr, tail(v.output.String()))
}

func (v *VaultServer) await(what string, done func() bool) {
	v.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	v.t.Fatalf("waited in vain for %s", what)
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// freeAddr returns a loopback address on which nothing listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
