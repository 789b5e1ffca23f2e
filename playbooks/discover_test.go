package playbooks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"envctl/internal/config"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func propose(t *testing.T, files map[string]string) (Found, *config.Project, string) {
	t.Helper()
	root := tree(t, files)
	f, err := Discover(root)
	if err != nil {
		t.Fatal(err)
	}
	text, p, err := Propose(root, f, "ledger", config.StoreLocal)
	if err != nil {
		t.Fatal(err)
	}
	return f, p, string(text)
}

const settings = "from pydantic_settings import BaseSettings\n\n\nclass Settings(BaseSettings):\n"

func template(component string, keys ...string) string {
	var b strings.Builder
	b.WriteString(`{{ with secret (printf "kv/data/shop/%s/` + component + `" (env "ENV")) }}` + "\n")
	for _, k := range keys {
		b.WriteString(k + "={{ .Data.data." + k + " }}\n")
	}
	b.WriteString("{{ end }}\n")
	return b.String()
}

// TestDiscoverSeveral gives each file to the component whose template emits its
// variables, and takes project and mount from the templates.
func TestDiscoverSeveral(t *testing.T) {
	t.Parallel()
	f, p, text := propose(t, map[string]string{
		"platform/01.web/secrets.ctmpl":       template("web", "SECRET_KEY", "SECRET_KEY_PREVIOUS", "API_URL"),
		"platform/02.worker/secrets.ctmpl":    template("worker", "DATA_ENCRYPTION_KEYS", "FERNET_KEY"),
		"platform/02.worker/vault-policy.hcl": "",
		"platform/02.worker/compose.yml":      "services: {worker: {build: .}, cache: {image: docker.io/library/redis:7@sha256:00}}\n",
		"worker/app/config.py":                settings + "    data_encryption_keys: str\n    fernet_key: str\n",
		"web/settings.py":                     settings + "    secret_key: str\n    api_url: str\n",
		"web/.env.example":                    "SECRET_KEY=\nAPI_URL=\n",
		".env.production":                     "",
		"docker-compose.staging.yml":          "",
		"node_modules/x/secrets.ctmpl":        template("evil", "X"),
		".hidden/secrets.ctmpl":               template("evil", "X"),
	})
	if f.Project != "shop" || f.Mount != "kv" {
		t.Errorf("project %q, mount %q", f.Project, f.Mount)
	}
	if want := []string{"local", "production", "staging"}; !slices.Equal(f.Environments, want) {
		t.Errorf("environments %v", f.Environments)
	}
	if got := p.ComponentNames(); !slices.Equal(got, []string{"web", "worker"}) {
		t.Fatalf("components %v\n%s", got, text)
	}
	web, _ := p.Components.Get("web")
	worker, _ := p.Components.Get("worker")
	if web.Code != "web/settings.py" || web.Example != "web/.env.example" || worker.Code != "worker/app/config.py" ||
		worker.Policy != "platform/02.worker/vault-policy.hcl" || worker.Compose != "platform/02.worker/compose.yml" || !slices.Equal(worker.Services, []string{"worker"}) {
		t.Errorf("files went to the wrong component\n%s", text)
	}
	if r, ok := web.Rotate.Get("jwt"); !ok || r.Variable != "SECRET_KEY" || r.Previous != "SECRET_KEY_PREVIOUS" {
		t.Errorf("jwt recipe %+v", r)
	}
	if r, ok := worker.Rotate.Get("fernet"); !ok || r.Variable != "DATA_ENCRYPTION_KEYS" || !r.Ring || worker.Generate["FERNET_KEY"] != "fernet" {
		t.Errorf("fernet recipe %+v, generate %v", r, worker.Generate)
	}
}

// TestDiscoverLittle proposes a file that loads for an empty folder, unreadable
// layers and names that YAML would misread.
func TestDiscoverLittle(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"nothing":     {},
		"broken":      {"deploy/secrets.ctmpl": "{{ if }}", "config.py": "class S(BaseSettings:\n", "compose.yaml": "services: [", ".env.example": "\x00\xff"},
		"names":       {"a b #c: d/secrets.ctmpl": template("app", "SECRET_KEY"), "no/.env.example": "SECRET_KEY=\n", "1/compose.yaml": "services: {'Bad Name': {build: .}, on: {build: .}}\n"},
		"bomb":        {"compose.yaml": "a: &a [x]\nb: &b [*a,*a]\nservices: *b\n"},
		"two of one":  {"x/app/secrets.ctmpl": template("app", "A_KEY"), "y/app/secrets.ctmpl": template("app", "B_KEY")},
		"large layer": {"secrets.ctmpl": strings.Repeat("#", 2<<20)},
	} {
		f, p, text := propose(t, files)
		if len(p.Components) == 0 {
			t.Errorf("%s: no component\n%s", name, text)
		}
		if name == "broken" && len(f.Unread) != 3 {
			t.Errorf("broken: %d unread, want 3: %v", len(f.Unread), f.Unread)
		}
		if !strings.HasPrefix(text, config.SchemaLine+"\n") {
			t.Errorf("%s: no schema line", name)
		}
	}
}

// TestDiscoverStaysInside reads nothing through a link that leaves the folder.
func TestDiscoverStaysInside(t *testing.T) {
	t.Parallel()
	outside := tree(t, map[string]string{"secrets.ctmpl": template("stolen", "SECRET_KEY")})
	root := tree(t, map[string]string{"deploy/README": ""})
	for _, l := range []string{"deploy/secrets.ctmpl", "secrets.ctmpl"} {
		if err := os.Symlink(filepath.Join(outside, "secrets.ctmpl"), filepath.Join(root, l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(root, "linked")); err != nil {
		t.Fatal(err)
	}
	f, err := Discover(root)
	if err != nil {
		t.Fatal(err)
	}
	if f.Project != "" || slices.ContainsFunc(f.Components, func(c FoundComponent) bool { return c.Name == "stolen" }) {
		t.Errorf("read through a link: %+v", f)
	}
}

func TestLegal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Ledger App": "ledger-app", "finance_report": "finance_report", "--x--": "x", "日本": "", "10.app": "10-app", strings.Repeat("a", 80): strings.Repeat("a", 63),
	} {
		if got := Legal(in); got != want {
			t.Errorf("Legal(%q) = %q, want %q", in, got, want)
		}
	}
}
