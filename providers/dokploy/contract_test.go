package dokploy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/deploytest"
	"envctl/providers/dokploy"
	"envctl/providers/dokploy/dokploytest"
	"envctl/providers/dotenv"
)

const project = "ledger"

// file is a compose file as the package comment asks for it.
func file(suffix string, services ...string) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, name := range services {
		fmt.Fprintf(&b, "  %s:\n    image: registry.example.com/app:1\n    container_name: %s\n    env_file: [.env]\n", name, project+"-"+name+suffix)
		fmt.Fprintf(&b, "    labels:\n      %s: %s\n      %s: ${ENV}\n      %s: app\n      %s: %s\n      %s: ${%s}\n",
			providers.LabelProject, project, providers.LabelEnvironment, providers.LabelComponent, providers.LabelService, name, providers.LabelRelease, providers.MarkerVariable)
	}
	return b.String()
}

func TestContract(t *testing.T) {
	t.Parallel()
	harness := func(engine bool) deploytest.Harness {
		return func(t *testing.T, services map[string]deploytest.Behaviour) deploytest.World {
			s := dokploytest.New(t)
			names := slices.Sorted(maps.Keys(services))
			for name, b := range services {
				s.Engine().Behave(name, b)
			}
			s.Compose(project, "staging", "ledger-app-staging", file("-staging", names...))
			s.Compose(project, "qa", "ledger-app", file("-staging-qa", names...))
			d := deployer(t, s, func(c *dokploy.Config) {
				if !engine {
					c.Engine = nil
				}
			})
			w := deploytest.World{
				Deployer: d, Runtime: s.Engine(), Remove: s.Engine().Remove, Release: release("staging"),
				Carries: func(v secret.Value) bool {
					_, err := dotenv.Set(nil, "KEY", v, dotenv.Dokploy)
					return err == nil
				},
			}
			w.Release.Services = nil
			for _, name := range names {
				w.Release.Services = append(w.Release.Services, providers.Service{Name: name, Container: project + "-" + name + "-staging"})
			}
			return w
		}
	}
	t.Run("engine", func(t *testing.T) { t.Parallel(); deploytest.Run(t, harness(true)) })
	t.Run("dokploy's listing", func(t *testing.T) { t.Parallel(); deploytest.Run(t, harness(false)) })
}

func release(environment string) providers.Release {
	return providers.Release{
		Project: project, Environment: environment, Component: "app", Marker: "00ff",
		Services: []providers.Service{{Name: "web", Container: "ledger-web-" + environment}},
		Values:   map[string]secret.Value{"KEY": secret.New(canary), "URL": secret.New("postgres://u:p%40@h/d")},
	}
}

const canary = "canary-7be0d51f39aa"

func deployer(t *testing.T, s *dokploytest.Server, change func(*dokploy.Config)) *dokploy.Deployer {
	t.Helper()
	c := dokploy.Config{
		URL: s.URL(), Key: secret.New(dokploytest.Key), StateDir: t.TempDir(), Rules: naming.Rules{Project: project},
		Engine: s.Engine(), Now: time.Now,
	}
	if change != nil {
		change(&c)
	}
	d, err := dokploy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
