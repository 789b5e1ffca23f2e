package dokploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/deploytest"
	"envctl/providers/dokploy"
	"envctl/providers/dokploy/dokploytest"
)

const composeSource = `# the ledger's
x-common: &common {restart: always}
services:
  web:
    <<: *common
    image: registry.example.com/app:1   # kept
    container_name: ledger-web
    labels: [a=b, envctl.environment=old]
  db: {image: postgres}
`

// builder is a deployer that can make places, on a server without any.
func builder(t *testing.T) (*dokploytest.Server, *dokploy.Deployer) {
	t.Helper()
	s := dokploytest.New(t)
	s.Engine().Behave("web", deploytest.Healthy)
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(composeSource), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, deployer(t, s, func(c *dokploy.Config) { c.File = file })
}

var kinds = []string{"project", "environment", "service"}

func build(t *testing.T, d *dokploy.Deployer, r providers.Release) []providers.Place {
	t.Helper()
	for _, kind := range kinds {
		p, err := d.Build(t.Context(), r, kind, "run-1")
		if err != nil || p.ID == "" || p.Mark != "run-1" && (kind != "environment" || r.Environment != "production") {
			t.Fatalf("%s: %+v %v", kind, p, err)
		}
	}
	all, err := d.Places(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func fails(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v (%v), want %v and %q", err, fault.KindOf(err), kind, words)
	}
}

// From nothing to a healthy service, and back to nothing.
func TestPlacesFromNothingAndBack(t *testing.T) {
	t.Parallel()
	for _, env := range []string{"qa", "production"} {
		s, d := builder(t)
		r := release(env)
		if env == "production" {
			r.Services[0].Container = "ledger-web"
		}
		all, err := d.Places(t.Context(), r)
		if err != nil || len(all) != 3 || all[0].ID+all[1].ID+all[2].ID != "" {
			t.Fatalf("%+v %v", all, err)
		}
		build(t, d, r)
		name := "ledger-app-qa"
		objects := []string{"ledger", "ledger/production", "ledger/qa", "ledger/qa/" + name}
		if env == "production" {
			name = "ledger-app"
			objects = []string{"ledger", "ledger/production", "ledger/production/" + name}
		}
		if got := s.Objects(); !slices.Equal(got, objects) {
			t.Fatalf("%v", got)
		}
		build(t, d, r) // again: nothing more
		if got := s.Objects(); !slices.Equal(got, objects) {
			t.Fatalf("%v", got)
		}
		dep, err := d.Deploy(t.Context(), r)
		if err == nil {
			err = d.Wait(t.Context(), r, dep)
		}
		if err != nil {
			t.Fatal(err)
		}
		text := s.Text(s.Find(name))
		if !strings.Contains(text, "ENV="+env+"\n") || !strings.Contains(text, "KEY="+canary+"\n") {
			t.Errorf("%q", text)
		}
		running := s.Engine().All()
		box := running[slices.IndexFunc(running, func(c providers.Container) bool { return c.Service == "web" })]
		if box.Name != r.Services[0].Container || box.Labels[providers.LabelEnvironment] != env || box.Labels[providers.LabelRelease] != "00ff" {
			t.Errorf("%+v", box)
		}
		if all, err = d.Places(t.Context(), r); err != nil || all[2].Kept != "" {
			t.Errorf("%+v %v", all, err)
		}
		for i := len(all) - 1; i >= 0; i-- {
			err := d.Raze(t.Context(), all[i], false)
			if env == "production" && i == 1 {
				fails(t, err, fault.Refused, "default environment")
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Raze(t.Context(), all[i], false); err != nil {
				t.Errorf("a second time: %v", err)
			}
		}
		if len(s.Objects()) != 0 || len(s.Engine().All()) != 0 || len(s.Emptied()) != 0 {
			t.Errorf("left: %v %v %v", s.Objects(), s.Engine().All(), s.Emptied())
		}
	}
}

// Whatever becomes of the call or its answer: one object, or none and an error.
func TestBuildSettlesLostAnswers(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		procedure := map[string]string{"project": "project.create", "environment": "environment.create", "service": "compose.create"}[kind]
		for fault1, made := range map[dokploytest.Fault]bool{
			dokploytest.Lost: false, dokploytest.Bad: false, dokploytest.Redirect: false, dokploytest.Forbidden: false,
			dokploytest.DoneLost: true, dokploytest.DoneBad: true, dokploytest.Garbage: true,
		} {
			s, d := builder(t)
			for _, before := range kinds[:slices.Index(kinds, kind)] {
				if _, err := d.Build(t.Context(), release("qa"), before, "run-1"); err != nil {
					t.Fatal(err)
				}
			}
			before := len(s.Objects())
			s.Break(procedure, fault1)
			p, err := d.Build(t.Context(), release("qa"), kind, "run-1")
			if (err == nil) != made || (p.ID != "") != made {
				t.Errorf("%s, fault %d: %+v %v", kind, fault1, p, err)
			}
			if more := len(s.Objects()) - before; (more > 0) != made {
				t.Errorf("%s, fault %d: %v", kind, fault1, s.Objects())
			}
			build(t, d, release("qa"))
			if got := s.Objects(); len(got) != 4 {
				t.Errorf("%s, fault %d: %v", kind, fault1, got)
			}
		}
	}
}

// Two at the same moment: Dokploy takes both, so ours goes and theirs stays.
func TestBuildBesideAnother(t *testing.T) {
	t.Parallel()
	s, d := builder(t)
	build(t, d, release("staging"))
	if _, err := d.Build(t.Context(), release("qa"), "environment", "run-1"); err != nil {
		t.Fatal(err)
	}
	theirs := ""
	s.After(func(procedure string) {
		if procedure == "compose.create" && theirs == "" {
			theirs = s.Compose("ledger", "qa", "ledger-app-qa", "services: {}")
		}
	})
	_, err := d.Build(t.Context(), release("qa"), "service", "run-2")
	fails(t, err, fault.Conflict, "theirs stays")
	s.After(nil)
	if got := s.Find("ledger-app-qa"); got != theirs || len(s.Objects()) != 6 {
		t.Errorf("left: %s, theirs is %s: %v", got, theirs, s.Objects())
	}
	p, err := d.Build(t.Context(), release("qa"), "service", "run-2")
	if err != nil || p.ID != theirs || p.Mark != "" || p.Kept == "" {
		t.Errorf("%+v %v", p, err)
	}
}

// What others put there is never removed with ours.
func TestRazeRefuses(t *testing.T) {
	t.Parallel()
	s, d := builder(t)
	all := build(t, d, release("qa"))
	fails(t, d.Raze(t.Context(), all[0], false), fault.Refused, "environment")
	fails(t, d.Raze(t.Context(), all[1], false), fault.Refused, "active services")
	s.SetText(all[2].ID, "THEIRS=1\nENV=qa\n")
	all, err := d.Places(t.Context(), release("qa"))
	if err != nil || !strings.Contains(all[2].Kept, "did not write") {
		t.Errorf("%+v %v", all, err)
	}
	s.Break("compose.delete", dokploytest.DoneLost)
	if err := d.Raze(t.Context(), all[2], true); err != nil || !slices.Equal(s.Emptied(), []string{"ledger-app-qa"}) {
		t.Errorf("%v %v", err, s.Emptied())
	}
	s.Break("environment.remove", dokploytest.Lost)
	fails(t, d.Raze(t.Context(), all[1], false), fault.Unavailable, "")
	if err := d.Raze(t.Context(), all[1], false); err != nil {
		t.Error(err)
	}
	s.Duplicate("ledger", "production", "x", "services: {}")
	_, err = d.Places(t.Context(), release("production"))
	fails(t, err, fault.Refused, "2 environments called production")
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	s, d := builder(t)
	build(t, d, release("qa"))
	got := s.File(s.Find("ledger-app-qa"))
	for _, want := range []string{
		"# the ledger's", "# kept", "db: {image: postgres}", "container_name: ledger-web-qa", "env_file: [.env]",
		"a=b", "envctl.environment=qa", "envctl.component=app", "envctl.service=web", "envctl.release=${ENVCTL_RELEASE}",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "environment=old") || yaml.Unmarshal([]byte(got), &map[string]any{}) != nil {
		t.Errorf("%s", got)
	}
	for source, words := range map[string]string{
		"services: {web: {build: .}}":                                        "built from a folder",
		"services: {web: {image: a, env_file: prod.env}}":                    "reads prod.env",
		"services: {web: {image: a, env_file: [{path: other}]}}":             "reads other",
		"services: {web: {image: a, volumes: ['./data:/data']}}":             "mounts ./data",
		"services: {web: {image: a, volumes: [{type: bind, source: ../x}]}}": "mounts ../x",
		"services: {other: {image: a}}":                                      "no service web",
		"a: [":                                                               "not readable",
		"":                                                                   "not readable",
	} {
		s, _ := builder(t)
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		d := deployer(t, s, func(c *dokploy.Config) { c.File = file })
		for _, kind := range kinds[:2] {
			if _, err := d.Build(t.Context(), release("qa"), kind, "m"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Build(t.Context(), release("qa"), "service", "m"); err == nil || !strings.Contains(err.Error(), words) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v, want %q", source, err, words)
		}
	}
	for _, source := range []string{
		"services: {web: {image: a, scale: 2, container_name: x}}",
		"services: {web: {image: a, labels: {x: y}, env_file: ./.env, deploy: {replicas: 1}}}",
		"services: {web: {image: a, env_file: [{path: local.env, required: false}], volumes: ['data:/data', '/etc/x:/x']}}",
	} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := builder(t)
		d := deployer(t, s, func(c *dokploy.Config) { c.File = file })
		build(t, d, release("qa"))
		got := s.File(s.Find("ledger-app-qa"))
		if strings.Contains(source, "scale") == strings.Contains(got, "container_name") || !strings.Contains(got, ".env") {
			t.Errorf("%s became\n%s", source, got)
		}
	}
}

// What is kept stays through releases, byte for byte beside others' lines, and is
// taken away by its own note alone.
func TestKeep(t *testing.T) {
	t.Parallel()
	s, d := builder(t)
	r := release("qa")
	if err := d.Keep(t.Context(), r, "run-1", nil); err != nil {
		t.Error(err)
	}
	fails(t, d.Keep(t.Context(), r, "run-1", map[string]secret.Value{"A": secret.New("1")}), fault.NotFound, "")
	id := build(t, d, r)[2].ID
	const theirs = "# theirs\nX=' 1 '\n"
	s.SetText(id, theirs)
	token := map[string]secret.Value{"VAULT_APP_TOKEN": secret.New(canary)}
	s.SetText(id, theirs+"VAULT_APP_TOKEN=typed\n")
	fails(t, d.Keep(t.Context(), r, "run-1", token), fault.Refused, "VAULT_APP_TOKEN")
	if s.Text(id) != theirs+"VAULT_APP_TOKEN=typed\n" {
		t.Errorf("a line of somebody's became %q", s.Text(id))
	}
	s.SetText(id, theirs)
	for note, want := range map[string]string{"run-1": "VAULT_APP_TOKEN=" + canary + "\nENVCTL_KEPT=run-1:VAULT_APP_TOKEN\n"} {
		if err := d.Keep(t.Context(), r, note, token); err != nil {
			t.Fatal(err)
		}
		text := s.Text(id)
		for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
			if !strings.HasPrefix(text, theirs) || !strings.Contains(text, line+"\n") {
				t.Errorf("%q lacks %q", text, line)
			}
		}
	}
	if _, err := d.Deploy(t.Context(), r); err != nil || !strings.Contains(s.Text(id), "VAULT_APP_TOKEN="+canary+"\n") {
		t.Errorf("%v %q", err, s.Text(id))
	}
	role := map[string]secret.Value{"VAULT_ROLE_ID": secret.New("r"), "VAULT_SECRET_ID": secret.New("s")}
	if err := d.Keep(t.Context(), r, "run-2", role); err != nil || strings.Contains(s.Text(id), canary+"\nE") || strings.Contains(s.Text(id), "VAULT_APP_TOKEN") || !strings.Contains(s.Text(id), "VAULT_SECRET_ID=s\n") {
		t.Errorf("%v %q", err, s.Text(id))
	}
	if err := d.Keep(t.Context(), r, "run-1", nil); err != nil || !strings.Contains(s.Text(id), "VAULT_SECRET_ID=s\n") {
		t.Errorf("an older note took it away: %v %q", err, s.Text(id))
	}
	if err := d.Keep(t.Context(), r, "run-2", nil); err != nil || strings.Contains(s.Text(id), "VAULT_") || strings.Contains(s.Text(id), "ENVCTL_KEPT") || !strings.HasPrefix(s.Text(id), theirs) {
		t.Errorf("%v %q", err, s.Text(id))
	}
}
