// Package rolestest is the contract of providers.Roles as tests, and a server in
// memory that keeps it.
package rolestest

import (
	"context"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Fixture is a server with two roles, App and Other, each with the password First.
type Fixture struct {
	Roles providers.Roles // administered
	Self  providers.Roles // the same server without an administrator
	// Opens asks the server with a client that is not ours.
	Opens func(role, password string) bool
	// Deaf makes Roles that reach a place where nothing listens; nil: left out.
	Deaf providers.Roles
}

// The roles of a fixture.
const (
	App   = "app"
	Other = "app_b"
	First = "first-password"
)

// Hard are passwords that no generator of ours makes, and people do.
func Hard() []string {
	return []string{
		`'"\;--`, ` lead and trail `, "tab\tnewline\n", `$1$$ ${X} %s {{.}}`, "pässwörd ünïcode", "пароль", "密码", "🔑 emoji", "a", strings.Repeat("x", 200), `E'\x41'`, `SCRAM-SHA-256$4096:x`, "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	}
}

func login(role, password string) providers.Login {
	return providers.Login{Role: role, Password: secret.New(password)}
}

func want(t *testing.T, what string, err error, kinds ...fault.Kind) {
	t.Helper()
	switch {
	case len(kinds) == 0 && err != nil:
		t.Fatalf("%s: %v", what, err)
	case len(kinds) > 0 && !fault.Is(err, kinds...):
		t.Fatalf("%s: %v, want %v", what, err, kinds)
	}
}

// Run runs the contract on fresh servers.
func Run(t *testing.T, fresh func(t *testing.T) Fixture) {
	ctx := context.Background()
	none := providers.Login{}
	t.Run("login", func(t *testing.T) {
		f := fresh(t)
		want(t, "the right password", f.Roles.Login(ctx, login(App, First)))
		want(t, "a wrong one", f.Roles.Login(ctx, login(App, First+"x")), fault.Denied)
		want(t, "no such role", f.Roles.Login(ctx, login("nosuch", First)), fault.Denied)
		if f.Deaf != nil {
			want(t, "nothing listens", f.Deaf.Login(ctx, login(App, First)), fault.Unavailable)
		}
	})
	t.Run("role", func(t *testing.T) {
		f := fresh(t)
		_, err := f.Roles.Role(ctx, none, App)
		want(t, "a role", err)
		_, err = f.Self.Role(ctx, login(App, First), App)
		want(t, "itself", err)
		_, err = f.Roles.Role(ctx, none, "nosuch")
		want(t, "no such role", err, fault.NotFound)
		_, err = f.Self.Role(ctx, none, App)
		want(t, "no administrator", err, fault.Refused)
		_, err = f.Self.Role(ctx, login(App, "wrong"), App)
		want(t, "as nobody", err, fault.Denied)
	})
	for name, as := range map[string]providers.Login{"by the administrator": none, "by itself": login(App, First)} {
		t.Run("change "+name, func(t *testing.T) {
			f := fresh(t)
			r := f.Roles
			if as.Role != "" {
				r = f.Self
			}
			want(t, "allow", r.Allow(ctx, as, login(App, "second-password")))
			want(t, "the new one", r.Login(ctx, login(App, "second-password")))
			switch err := r.Login(ctx, login(App, First)); {
			case r.Several():
				want(t, "the old one stays", err)
			default:
				want(t, "the old one is replaced", err, fault.Denied)
			}
			if f.Opens(App, First) != r.Several() || !f.Opens(App, "second-password") {
				t.Fatal("another client sees something else")
			}
			want(t, "the other role", r.Login(ctx, login(Other, First)))
			second := as
			if as.Role != "" {
				second = login(App, "second-password")
			}
			want(t, "allow again", r.Allow(ctx, second, login(App, "second-password")))
			if r.Several() {
				want(t, "forbid the old one", r.Forbid(ctx, second, login(App, First)))
				want(t, "the old one ended", r.Login(ctx, login(App, First)), fault.Denied)
				want(t, "the new one stays", r.Login(ctx, login(App, "second-password")))
				want(t, "forbid again", r.Forbid(ctx, second, login(App, First)))
				return
			}
			want(t, "forbid", r.Forbid(ctx, second, login(App, "second-password")))
			want(t, "none is left", r.Login(ctx, login(App, "second-password")), fault.Denied)
			if f.Opens(App, "second-password") {
				t.Fatal("another client still gets in")
			}
			if as.Role == "" {
				want(t, "forbid again", r.Forbid(ctx, as, login(App, "second-password")))
				want(t, "allow after none", r.Allow(ctx, as, login(App, First)))
				want(t, "it works again", r.Login(ctx, login(App, First)))
			}
		})
	}
	t.Run("refused changes", func(t *testing.T) {
		f := fresh(t)
		want(t, "no password", f.Roles.Allow(ctx, none, login(App, "")), fault.Refused)
		want(t, "no administrator", f.Self.Allow(ctx, none, login(App, "x")), fault.Refused)
		want(t, "a wrong login", f.Self.Allow(ctx, login(App, "wrong"), login(App, "x")), fault.Denied)
		want(t, "it stays", f.Roles.Login(ctx, login(App, First)))
	})
	t.Run("hard passwords", func(t *testing.T) {
		f := fresh(t)
		for _, p := range Hard() {
			want(t, "allow", f.Roles.Allow(ctx, none, login(App, p)))
			want(t, "log in", f.Roles.Login(ctx, login(App, p)))
			if !f.Opens(App, p) {
				t.Errorf("another client does not get in with %q", p)
			}
			want(t, "log in with a part", f.Roles.Login(ctx, login(App, p+"x")), fault.Denied)
		}
	})
	t.Run("the end of ctx", func(t *testing.T) {
		f := fresh(t)
		if f.Deaf == nil {
			t.Skip("it waits for nothing")
		}
		over, cancel := context.WithCancel(ctx)
		cancel()
		want(t, "login", f.Roles.Login(over, login(App, First)), fault.Interrupted)
		want(t, "allow", f.Roles.Allow(over, none, login(App, "x")), fault.Interrupted)
		want(t, "it stays", f.Roles.Login(ctx, login(App, First)))
	})
}
