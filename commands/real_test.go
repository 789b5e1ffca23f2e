package commands_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/internal/realtest"
	"envctl/internal/realtest/sampleapp"
)

// tests ends what the real parts share when the last test is done.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	defer func() {
		for _, dir := range builds {
			_ = os.RemoveAll(dir) // a temporary folder: its system will
		}
	}()
	return realtest.Main(t.m)
}

// TestReal runs the scripts of testdata/real on both stores, the embedded one and
// a real Vault, with real containers. Files there may use ${PROJECT}, ${STORE}
// and ${IMAGE}: see expand.
func TestReal(t *testing.T) {
	t.Parallel()
	engine := realtest.Dockerd(t)
	server := realtest.Vault(t)
	for _, store := range []string{"local", "vault"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			runScripts(t, "testdata/real", func(e *testscript.Env) error {
				project := "t" + store[:1] + strings.ReplaceAll(strings.ToLower(filepath.Base(e.WorkDir)), "_", "-")
				project = strings.ReplaceAll(project, "script-", "")
				engine.Cleanup(t, "envctl.project="+project)
				for _, kv := range engine.Env() {
					k, v, _ := strings.Cut(kv, "=")
					e.Setenv(k, v)
				}
				e.Setenv("PROJECT", project)
				e.Setenv("STORE", store)
				e.Setenv("IMAGE", realtest.Image)
				if store == "vault" {
					e.Setenv("VAULT_ADDR", server.Addr)
					e.Setenv("VAULT_TOKEN", server.RootToken)
				}
				return nil
			})
		})
	}
}

// startApp DIR gives the sample application of DIR an address, $APP: what runs on
// DIR/app.sock answers there. What a script deployed is ended with it.
func startApp(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o777))
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "app"}) },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "app.sock"))
		}},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(proxy)
	ts.Setenv("APP", server.URL)
	ts.Defer(func() {
		server.Close()
		_ = sampleapp.Main([]string{"stop", dir})
	})
}

// readable DIR KEY ENV fails unless the store's value of KEY reads all the data
// that it has encrypted; readable DIR KEY FILE unless the keys in FILE do.
func readable(ts *testscript.TestScript, neg bool, args []string) {
	keys := ""
	if strings.Contains(args[2], ".") {
		keys = ts.ReadFile(args[2])
	} else {
		ts.Check(ts.Exec("envctl", "get", args[1], "--raw", "--env", args[2], "--component", "app"))
		keys = ts.ReadFile("stdout")
	}
	if code := sampleapp.Main([]string{"read", ts.MkAbs(args[0]), args[1], strings.TrimSpace(keys)}); (code == 0) == neg {
		ts.Fatalf("readable: %t", code == 0)
	}
}

// expand FILE… replaces ${NAME} in files by the script's variables.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		file := ts.MkAbs(name)
		data, err := os.ReadFile(file)
		ts.Check(err)
		text := string(data)
		for _, n := range []string{"APP", "IMAGE", "PGPORT", "PROJECT", "REDISPORT", "STORE", "WORK"} {
			text = strings.ReplaceAll(text, "${"+n+"}", ts.Getenv(n))
		}
		ts.Check(os.WriteFile(file, []byte(text), 0o644))
	}
}

// jsonEnv NAME PATH sets a variable to a field of the document on standard output.
func jsonEnv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], field(ts, "stdout", args[1]))
}
