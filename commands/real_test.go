package commands_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/internal/realtest"
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

// expand FILE… replaces ${NAME} in files by the script's variables.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		file := ts.MkAbs(name)
		data, err := os.ReadFile(file)
		ts.Check(err)
		text := string(data)
		for _, n := range []string{"PROJECT", "STORE", "IMAGE", "PGPORT", "REDISPORT"} {
			text = strings.ReplaceAll(text, "${"+n+"}", ts.Getenv(n))
		}
		ts.Check(os.WriteFile(file, []byte(text), 0o644))
	}
}

// jsonEnv NAME PATH sets a variable to a field of the document on standard output.
func jsonEnv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], field(ts, "stdout", args[1]))
}
