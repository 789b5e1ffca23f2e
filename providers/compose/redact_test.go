package compose

import (
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"envctl/internal/secret"
	"envctl/providers"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	r := providers.Release{
		Project: "ledger", Environment: "staging", Component: "postgres",
		Services: []providers.Service{{Name: "postgres", Container: "ledger-postgres-staging"}},
		Values: map[string]secret.Value{
			"DATABASE_URL": secret.New("postgres://ledger:hunter2hunter2@db/ledger"), "PIN": secret.New("4711"),
			"ENVIRONMENT": secret.New("staging"), "EMPTY": secret.New(""), "A": secret.New("x"),
		},
	}
	for in, want := range map[string]string{
		"service postgres of ledger-postgres-staging has no DATABASE_URL": "service postgres of ledger-postgres-staging has no DATABASE_URL",
		"invalid port: hunter2hunter2@db":                                 "invalid port: [secret]",
		"invalid port: unter2":                                            "invalid port: [secret]",
		"pin 4711 in staging x":                                           "pin [secret] in staging x",
		"hunter2hunter2hunter2":                                           "[secret]",
		"":                                                                "",
	} {
		if got := redact(in, r); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := redact(strings.Repeat("é", 5000)+" end", r); len(got) > 700 || !strings.HasSuffix(got, " end") || !utf8.ValidString(got) {
		t.Errorf("long text: %d bytes", len(got))
	}
}

func TestObeyed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"DOCKER_HOST", "COMPOSE_FILE", "LD_PRELOAD", "PATH", "http_proxy", "HTTPS_PROXY", "SSH_AUTH_SOCK", "GODEBUG", "HOME", "TMPDIR"} {
		if !obeyed(name) {
			t.Error(name, "would reach docker itself")
		}
	}
	for _, name := range []string{"DATABASE_URL", "ENV", "SECRET_KEY", "GOOGLE_CLIENT_ID", "HOMEPAGE"} {
		if obeyed(name) {
			t.Error(name, "would be missing from the file's ${}")
		}
	}
}

// What is quoted is read back by a YAML reader byte for byte.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a", "\x00\x01\x1f\x7f", "\u0085\u2028\ufeff\ufffe\U0001f511", `"\`, "$x", "\n", "\r\n", "- a", "\u00a0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // refused before it is quoted
		}
		var got map[string]string
		if err := yaml.Unmarshal([]byte("a: "+quote(s)+"\n"), &got); err != nil || got["a"] != s {
			t.Errorf("%q became %q, %v", s, got["a"], err)
		}
	})
}
