package redis_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/redis"
	"envctl/providers/rolestest"
)

func open(t *testing.T, url, password string) *redis.Server {
	t.Helper()
	s, err := redis.Open(redis.Config{URL: url, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func login(role, password string) providers.Login {
	return providers.Login{Role: role, Password: secret.New(password)}
}

// users are those of the contract, and an administrator.
var users = []string{
	"user default off",
	"user admin on >admin-password ~* &* +@all",
	"user app on >" + rolestest.First + " ~* &* +@all",
	"user app_b on >" + rolestest.First + " ~* &* +@all",
}

func TestReal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, start := range map[string]func(t *testing.T) *realtest.RedisServer{
		"users in the configuration": func(t *testing.T) *realtest.RedisServer { return realtest.Redis(t, users...) },
		"users in a file": func(t *testing.T) *realtest.RedisServer {
			file := filepath.Join(t.TempDir(), "users.acl")
			if err := os.WriteFile(file, []byte(strings.Join(users, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return realtest.Redis(t, "aclfile "+file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rolestest.Run(t, func(t *testing.T) rolestest.Fixture {
				r := start(t)
				return rolestest.Fixture{
					Roles: open(t, "redis://admin@127.0.0.1:"+r.Port, "admin-password"), Self: open(t, "redis://127.0.0.1:"+r.Port, ""),
					Opens: r.Opens, Deaf: open(t, "redis://127.0.0.1:1", ""),
				}
			})
			r := start(t)
			s := open(t, "redis://admin@127.0.0.1:"+r.Port, "admin-password")
			role, err := s.Role(ctx, providers.Login{}, "app")
			if err != nil || role.Forgets != "" {
				t.Fatal(role, err)
			}
			if err := s.Allow(ctx, providers.Login{}, login("app", "second")); err != nil {
				t.Fatal(err)
			}
			if err := s.Forbid(ctx, providers.Login{}, login("app", rolestest.First)); err != nil {
				t.Fatal(err)
			}
			r.Restart()
			if r.Opens("app", rolestest.First) || !r.Opens("app", "second") {
				t.Fatal("a restart forgot it")
			}
		})
	}
	t.Run("requirepass", func(t *testing.T) {
		t.Parallel()
		for name, lines := range map[string][]string{"on the command line": {"--requirepass", "first"}, "in the configuration": {"requirepass first"}} {
			r := realtest.Redis(t, lines...)
			s := open(t, "redis://127.0.0.1:"+r.Port, "")
			role, err := s.Role(ctx, login("default", "first"), "default")
			if err != nil || (role.Forgets != "") != (name == "on the command line") {
				t.Fatal(name, role, err)
			}
			if err := s.Allow(ctx, login("default", "first"), login("default", "second")); err != nil {
				t.Fatal(err)
			}
			if !r.Opens("default", "first") || !r.Opens("default", "second") {
				t.Fatal(name, "not both work")
			}
			if err := s.Forbid(ctx, login("default", "second"), login("default", "first")); err != nil {
				t.Fatal(err)
			}
			if err := s.Login(ctx, login("default", "first")); !fault.Is(err, fault.Denied) {
				t.Fatal(name, err)
			}
			r.Restart()
			now := "second"
			if role.Forgets != "" {
				now = "first"
			}
			if !r.Opens("default", now) {
				t.Fatal(name, "after a restart", now, "does not work")
			}
		}
	})
	t.Run("users that prove nothing", func(t *testing.T) {
		t.Parallel()
		r := realtest.Redis(t, append([]string{"user open on nopass +@all", "user shut off >p +@all", "user small on >p ~* +get"}, users[1:]...)...)
		s := open(t, "redis://admin@127.0.0.1:"+r.Port, "admin-password")
		for _, role := range []string{"default", "open"} {
			if err := s.Login(ctx, login(role, "p")); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "any password") {
				t.Error(role, err)
			}
		}
		for _, role := range []string{"open", "shut"} {
			if _, err := s.Role(ctx, providers.Login{}, role); !fault.Is(err, fault.Refused) {
				t.Error(role, err)
			}
		}
		if err := s.Allow(ctx, login("small", "p"), login("small", "q")); !fault.Is(err, fault.Denied) {
			t.Error(err)
		}
		if log := fmt.Sprint(r.CLI("admin", "admin-password", "ACL", "LOG")); strings.Contains(log, "first-password") {
			t.Error(log)
		}
	})
}
