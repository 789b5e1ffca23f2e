package vault

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder answers every read and keeps the headers that came.
func recorder(t *testing.T) (addr string, last func() http.Header) {
	t.Helper()
	headers := make(chan http.Header, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		_, _ = io.WriteString(w, `{"data":{"data":{"K":"v"},"metadata":{"version":2,"created_time":"2026-01-01T00:00:00Z"}}}`)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() http.Header { return <-headers }
}

// The library reads the environment by itself: none of it may have an effect.
func TestEnvironmentHasNoEffect(t *testing.T) {
	evil := stranger(t)
	for k, v := range map[string]string{
		"VAULT_ADDR": evil.URL, "VAULT_AGENT_ADDR": evil.URL, "VAULT_TOKEN": "hvs.from-the-environment", "VAULT_NAMESPACE": "evil",
		"VAULT_SKIP_VERIFY": "true", "VAULT_HEADERS": `{"X-Evil":"1","Cookie":"a=b"}`, "VAULT_HTTP_PROXY": evil.URL, "VAULT_PROXY_ADDR": evil.URL,
		"VAULT_SRV_LOOKUP": "true", "VAULT_RATE_LIMIT": "0.0001:1", "VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_MAX_RETRIES": "9",
		"VAULT_TLS_SERVER_NAME": "evil", "VAULT_WRAP_TTL": "60", "VAULT_DISABLE_REDIRECTS": "false", "HTTP_PROXY": evil.URL, "HTTPS_PROXY": evil.URL,
	} {
		t.Setenv(k, v)
	}
	addr, last := recorder(t)
	s := open(t, addr, canary)
	for range 3 { // a rate limit would show in the second
		mustRead(t, s, app("env"))
		h := last()
		h.Del("User-Agent")
		names := slices.Sorted(func(yield func(string) bool) {
			for k := range h {
				if !yield(k) {
					return
				}
			}
		})
		if !slices.Equal(names, []string{"X-Vault-Request", "X-Vault-Token"}) || h.Get("X-Vault-Token") != canary {
			t.Errorf("sent the headers %v", h)
		}
	}
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	defer tlsServer.Close()
	if _, err := open(t, tlsServer.URL, canary).Read(t.Context(), app("env"), providers.Latest); !strings.Contains(fault.HintOf(err), "VAULT_CACERT") {
		t.Errorf("VAULT_SKIP_VERIFY was honoured: %v", err)
	}
	none, err := Open(Config{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Read(t.Context(), app("env"), providers.Latest); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "no token") {
		t.Errorf("without a credential: %v", err)
	}
}

// A variable that the library cannot parse is named, and costs nothing else.
func TestEnvironmentThatCannotBeParsed(t *testing.T) {
	t.Setenv("VAULT_SKIP_VERIFY", "perhaps")
	addr, _ := recorder(t)
	_, err := open(t, addr, canary).Read(t.Context(), app("env"), providers.Latest)
	if !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), "VAULT_SKIP_VERIFY") {
		t.Errorf("got %v", err)
	}
}

func TestConfigFromEnv(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	writeFile(t, filepath.Join(home, ".vault-token"), "hvs.file\n")
	helper := t.TempDir()
	writeFile(t, filepath.Join(helper, ".vault"), "# token_helper = \"/no\"\ntoken_helper = \"/opt/helper\"\n")
	broken := t.TempDir()
	writeFile(t, filepath.Join(broken, ".vault"), "token_helper = /opt/helper\n")
	for _, tc := range []struct {
		name  string
		env   string
		home  string
		admin bool
		want  string // Describe
		kind  fault.Kind
	}{
		{name: "token", env: "VAULT_ADDR=https://a VAULT_TOKEN=hvs.x VAULT_NAMESPACE=team", home: home, want: "vault https://a namespace team (token from VAULT_TOKEN)"},
		{name: "bao", env: "BAO_ADDR=https://b BAO_TOKEN=s.x", want: "vault https://b (token from BAO_TOKEN)"},
		{name: "both", env: "VAULT_ADDR=https://a BAO_ADDR=https://b VAULT_TOKEN=v BAO_TOKEN=b", want: "vault https://a (token from VAULT_TOKEN)"},
		{name: "bao's address goes with bao's token", env: "BAO_ADDR=https://b VAULT_TOKEN=v BAO_TOKEN=b", want: "vault https://b (token from BAO_TOKEN)"},
		{name: "bao with vault's token", env: "BAO_ADDR=https://b VAULT_TOKEN=v", want: "vault https://b (token from VAULT_TOKEN)"},
		{name: "file", env: "VAULT_ADDR=https://a", home: home, want: "vault https://a (token from " + home + "/.vault-token)"},
		{name: "helper", env: "VAULT_ADDR=https://a", home: helper, want: "vault https://a (token from the helper /opt/helper)"},
		{name: "broken helper", env: "VAULT_ADDR=https://a", home: broken, kind: fault.Invalid},
		{name: "role", env: "VAULT_ADDR=https://a VAULT_ROLE_ID=r VAULT_SECRET_ID=s", home: home, want: "vault https://a (AppRole at approle)"},
		{name: "root is not for everyone", env: "VAULT_ADDR=https://a VAULT_ROOT_TOKEN=root", want: "vault https://a (no token)"},
		{name: "admin", env: "VAULT_ADDR=https://a VAULT_ROOT_TOKEN=root VAULT_TOKEN=x", admin: true, want: "vault https://a (token from VAULT_ROOT_TOKEN)"},
		{name: "admin without it", env: "VAULT_ADDR=https://a VAULT_TOKEN=x", admin: true, kind: fault.Denied},
		{name: "configured address", env: "VAULT_TOKEN=x", want: "vault https://configured (token from VAULT_TOKEN)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := ConfigFromEnv(Environment{Lookup: lookup(tc.env), Home: tc.home, Admin: tc.admin, Address: "https://configured"})
			if tc.want == "" {
				if !fault.Is(err, tc.kind) {
					t.Errorf("got %v, want %v", err, tc.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Describe(); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	cfg, err := ConfigFromEnv(Environment{Lookup: lookup("VAULT_ADDR=https://a VAULT_SKIP_VERIFY=1 VAULT_CACERT=/ca HTTPS_PROXY=http://p:1 NO_PROXY=b")})
	if err != nil || cfg.SkipVerify || cfg.CACert != "/ca" || cfg.Proxy == nil {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

func lookup(env string) func(string) string {
	return func(name string) string {
		for _, f := range strings.Fields(env) {
			if v, ok := strings.CutPrefix(f, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTokenSources(t *testing.T) {
	t.Parallel()
	addr, last := recorder(t)
	dir := t.TempDir()
	script := func(name, text string) string {
		file := filepath.Join(dir, name)
		writeFile(t, file, "#!/bin/sh\n"+text)
		if err := os.Chmod(file, 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := filepath.Join(dir, "token")
	writeFile(t, file, "hvs.file\n")
	writeFile(t, filepath.Join(dir, "two"), "hvs.a\nhvs.b\n")
	asked := 0
	resolve := func(_ context.Context, ref string) (secret.Value, error) {
		asked++
		if ref != "op://team/id/Token" {
			t.Errorf("asked for %q", ref)
		}
		return secret.New("hvs.resolved\n"), nil
	}
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
		kind fault.Kind
	}{
		{name: "reference", cfg: Config{Token: secret.New("op://team/id/Token"), Resolve: resolve}, want: "hvs.resolved"},
		{name: "reference without a resolver", cfg: Config{Token: secret.New("op://team/id/Token")}, kind: fault.Usage},
		{name: "reference that fails", cfg: Config{Token: secret.New("op://x"), Resolve: func(context.Context, string) (secret.Value, error) {
			return secret.Value{}, fault.New(fault.NotFound, "resolve op://x", "no such item", "run op item list")
		}}, kind: fault.NotFound},
		{name: "helper", cfg: Config{TokenHelper: script("good", `[ "$1" = get ] && echo hvs.helped`)}, want: "hvs.helped"},
		{name: "helper that fails", cfg: Config{TokenHelper: script("bad", "echo hvs.leak >&2; exit 3")}, kind: fault.Denied},
		{name: "helper with nothing", cfg: Config{TokenHelper: script("none", "true")}, kind: fault.Denied},
		{name: "helper by name", cfg: Config{TokenHelper: "helper"}, kind: fault.Usage},
		{name: "file", cfg: Config{TokenFile: file}, want: "hvs.file"},
		{name: "no file", cfg: Config{TokenFile: filepath.Join(dir, "nothing")}, kind: fault.Denied},
		{name: "folder", cfg: Config{TokenFile: dir}, kind: fault.Denied},
		{name: "two lines", cfg: Config{TokenFile: filepath.Join(dir, "two")}, kind: fault.Denied},
		{name: "control characters", cfg: Config{Token: secret.New("hvs.a\r\nX-Evil: 1")}, kind: fault.Denied},
		{name: "not text", cfg: Config{Token: secret.New("\xff\xfe")}, kind: fault.Denied},
	} {
		tc.cfg.Address = addr
		s, err := Open(tc.cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		for range 2 {
			_, err = s.Read(t.Context(), app("tok"), providers.Latest)
			switch {
			case tc.want == "" && (!fault.Is(err, tc.kind) || strings.Contains(err.Error(), "hvs.")):
				t.Errorf("%s: %v, want %v", tc.name, err, tc.kind)
			case tc.want != "" && err != nil:
				t.Errorf("%s: %v", tc.name, err)
			case tc.want != "":
				if got := last().Get("X-Vault-Token"); got != tc.want {
					t.Errorf("%s: sent %q", tc.name, got)
				}
			}
		}
	}
	if asked != 1 {
		t.Errorf("the reference was resolved %d times, want once", asked)
	}
	refs := Config{Token: secret.New("hvs.x"), RoleID: secret.New("op://a"), SecretID: secret.New("op://b")}.References()
	if !slices.Equal(refs, []string{"op://a", "op://b"}) {
		t.Errorf("References: %q", refs)
	}
	if text, err := json.Marshal(Config{Token: secret.New(canary)}.Token); err != nil || strings.Contains(string(text), canary) {
		t.Error("a configured token shows")
	}
}
