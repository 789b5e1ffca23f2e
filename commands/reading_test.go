package commands_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"envctl/commands"
)

// A read that takes its time listens for interrupts like every other command.
func TestReadingListens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	const project = "version: 1\nproject: ledger\nstore: vault\nenvironments: {staging: {}}\ncomponents: {app: {}}\n"
	if err := os.WriteFile(filepath.Join(dir, "envctl.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	p := process([]string{"get", "KEY", "--env", "staging", "--component", "app", "--no-input"})
	p.WorkDir = dir
	p.Getenv = func(name string) string {
		return map[string]string{"HOME": dir, "VAULT_ADDR": server.URL, "VAULT_TOKEN": "t"}[name]
	}
	p.Listen = interrupt // and hears one at once
	if code := commands.Main(ctx, p); code != 130 {
		t.Errorf("exit %d", code)
	}
}
