package playbooks_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/postgres"
	"envctl/providers/redis"
)

// perilous is a real server, around whose changes a run can die.
type perilous struct {
	providers.Roles
	lab   *lab
	mark  string // what the names of its roles end with, on the server alone
	point func(string)
}

// named is a login as the server knows it.
func (m *perilous) named(l providers.Login) providers.Login {
	if l.Role == "app" || l.Role == "app_b" {
		l.Role += m.mark
	}
	return l
}

func (m *perilous) Login(ctx context.Context, l providers.Login) error {
	return m.Roles.Login(ctx, m.named(l))
}

func (m *perilous) Role(ctx context.Context, as providers.Login, role string) (providers.Role, error) {
	return m.Roles.Role(ctx, m.named(as), m.named(providers.Login{Role: role}).Role)
}

func (m *perilous) Allow(ctx context.Context, as, l providers.Login) error {
	m.point("before allow")
	defer m.point("after allow")
	return m.Roles.Allow(ctx, m.named(as), m.named(l))
}

func (m *perilous) Forbid(ctx context.Context, as, l providers.Login) error {
	m.point("before forbid")
	defer m.point("after forbid")
	return m.Roles.Forbid(ctx, m.named(as), m.named(l))
}

func (m *perilous) Opens(role, password string) bool {
	return m.Login(context.Background(), providers.Login{Role: role, Password: secret.New(password)}) == nil
}

// Passwords are those of the store's versions that work for a role.
func (m *perilous) Passwords(role string) (work []string) {
	for _, env := range []string{"staging", "bare"} {
		for v := range m.lab.version(env) {
			b, err := m.lab.store.Store.Read(context.Background(), m.lab.path(env), providers.Version(v+1))
			password := b.Values["PW"].Reveal()
			if err == nil && b.Values["PWUSER"].Reveal() == role && !slices.Contains(work, password) && m.Opens(role, password) {
				work = append(work, password)
			}
		}
	}
	return work
}

// counting is one that can count sessions, as PostgreSQL can.
type counting struct {
	*perilous
	of providers.Sessions
}

func (c counting) Sessions(ctx context.Context, as providers.Login, role string) (int, error) {
	return c.of.Sessions(ctx, c.named(as), c.named(providers.Login{Role: role}).Role)
}

// realLab is a lab with a real server.
func realLab(p *config.Project, roles providers.Roles, mark string) *roleLab {
	m := &perilous{Roles: roles, lab: labOf(p), mark: mark, point: func(string) {}}
	l := &roleLab{lab: m.lab, truth: m, dies: func(point func(string)) { m.point = point }}
	l.World.Roles = func(config.Environment, string, config.Database) (providers.Roles, error) {
		if s, ok := roles.(providers.Sessions); ok {
			return counting{m, s}, nil
		}
		return m, nil
	}
	return l
}

// Killed before, in and after each write of its journal and each change of the
// server, a rotation on a real PostgreSQL and a real Redis is finished by resume
// and taken back by undo, and what the store holds logs in.
func TestEveryCrashOnARealDatabase(t *testing.T) {
	t.Parallel()
	project := databaseProject(t)
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server := realtest.Postgres(t)
		n := 0
		for name, c := range databaseScenes() {
			if strings.HasPrefix(c.recipe, "cache") {
				continue
			}
			n++
			mark := fmt.Sprint("_", n)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server.SQL("CREATE ROLE app" + mark + " LOGIN; CREATE ROLE app_b" + mark + " LOGIN")
				tr := c.trialOn(t, func() *roleLab {
					roles, err := postgres.Open(postgres.Config{URL: "postgres://" + server.Admin + "@127.0.0.1:" + server.Port, Password: secret.New(server.Password)})
					must(t, err)
					l := realLab(project, roles, mark)
					r, err := l.World.Roles(config.Environment{}, "", config.Database{})
					must(t, err)
					ctx, old := context.Background(), secret.New("old-password")
					must(t, r.Forbid(ctx, providers.Login{}, providers.Login{Role: "app_b", Password: old}))
					must(t, r.Allow(ctx, providers.Login{}, providers.Login{Role: "app", Password: old}))
					return l
				})
				report(t, everyNth(t, some(9), 1, tr.world, tr.look))
			})
		}
	})
	for name, c := range databaseScenes() {
		if !strings.HasPrefix(c.recipe, "cache") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const user = "app on >old-password ~* &* +@all"
			server := realtest.Redis(t, "user default off", "user admin on >admin-password ~* &* +@all", "user "+user)
			tr := c.trialOn(t, func() *roleLab {
				config := redis.Config{URL: "redis://admin@127.0.0.1:" + server.Port, Password: secret.New("admin-password")}
				if c.self {
					config = redis.Config{URL: "redis://127.0.0.1:" + server.Port}
				}
				roles, err := redis.Open(config)
				must(t, err)
				if said := server.CLI("admin", "admin-password", append([]string{"ACL", "SETUSER"}, strings.Fields("app reset "+strings.TrimPrefix(user, "app "))...)...); said != "OK" {
					t.Fatal(said)
				}
				return realLab(project, roles, "")
			})
			report(t, everyNth(t, some(4), 1, tr.world, tr.look))
		})
	}
}

// A real server shows what it is there to show: a change that was not made.
func TestRealCrashesFindPlantedFaults(t *testing.T) {
	t.Parallel()
	project := databaseProject(t)
	server := realtest.Redis(t, "user default off", "user admin on >admin-password ~* &* +@all", "user app on >old-password ~* &* +@all")
	tr := databaseScenes()["cache"].trialOn(t, func() *roleLab {
		server.CLI("admin", "admin-password", "ACL", "SETUSER", "app", "resetpass", ">old-password")
		roles, err := redis.Open(redis.Config{URL: "redis://admin@127.0.0.1:" + server.Port, Password: secret.New("admin-password")})
		must(t, err)
		return realLab(project, forgetful{roles}, "")
	})
	if len(everyNth(t, 5, 1, tr.world, tr.look)) == 0 {
		t.Fatal("nothing found")
	}
}

// forgetful never ends a login.
type forgetful struct{ providers.Roles }

func (forgetful) Forbid(context.Context, providers.Login, providers.Login) error { return nil }
