//go:build unix

package postgres_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/postgres"
	"envctl/providers/rolestest"
)

func open(t *testing.T, url, password string) *postgres.Server {
	t.Helper()
	s, err := postgres.Open(postgres.Config{URL: url, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func admin(t *testing.T, p *realtest.PostgresServer) *postgres.Server {
	return open(t, "postgres://"+p.Admin+"@127.0.0.1:"+p.Port+"/postgres", p.Password)
}

func login(role, password string) providers.Login {
	return providers.Login{Role: role, Password: secret.New(password)}
}

func TestReal(t *testing.T) {
	t.Parallel()
	p := realtest.Postgres(t)
	ctx := context.Background()
	t.Run("contract", func(t *testing.T) {
		rolestest.Run(t, func(t *testing.T) rolestest.Fixture {
			p.SQL("DROP ROLE IF EXISTS app; DROP ROLE IF EXISTS app_b;" +
				"CREATE ROLE app LOGIN PASSWORD '" + rolestest.First + "'; CREATE ROLE app_b LOGIN PASSWORD '" + rolestest.First + "'")
			return rolestest.Fixture{
				Roles: admin(t, p), Self: open(t, "postgres://127.0.0.1:"+p.Port+"/postgres", ""), Opens: p.Opens,
				Deaf: open(t, "postgres://127.0.0.1:1/postgres", ""),
			}
		})
		if log := p.Log(); strings.Contains(log, "second-password") || !strings.Contains(log, "PASSWORD 'SCRAM-SHA-256$4096:") {
			t.Fatal("the server's log holds a password, or no statement")
		}
	})
	t.Run("what a role is", func(t *testing.T) {
		p.SQL(`CREATE ROLE owners; CREATE ROLE one LOGIN IN ROLE owners; CREATE ROLE two LOGIN IN ROLE owners;
			CREATE ROLE boss LOGIN SUPERUSER; CREATE ROLE shut NOLOGIN; CREATE TABLE things (id int); GRANT SELECT ON things TO one`)
		s := admin(t, p)
		one, err := s.Role(ctx, providers.Login{}, "one")
		if err != nil || one.Superuser || len(one.Grants) != 2 || !strings.HasPrefix(one.Grants[0], "has privileges on 1 objects of postgres") || one.Grants[1] != "member of owners" {
			t.Fatal(one, err)
		}
		two, err := s.Role(ctx, providers.Login{}, "two")
		if err != nil || len(two.Grants) != 1 {
			t.Fatal(two, err)
		}
		if boss, err := s.Role(ctx, providers.Login{}, "boss"); err != nil || !boss.Superuser {
			t.Fatal(boss, err)
		}
		if _, err := s.Role(ctx, providers.Login{}, "shut"); !fault.Is(err, fault.Refused) {
			t.Fatal(err)
		}
	})
	t.Run("sessions", func(t *testing.T) {
		p.SQL("CREATE ROLE busy LOGIN PASSWORD 'p'")
		s := admin(t, p)
		end := p.Session("busy", "p")
		if n, err := s.Sessions(ctx, providers.Login{}, "busy"); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		end()
		// Nor is a login counted that has been tried, however late the server hears its end.
		if err := open(t, "postgres://127.0.0.1:"+lingering(t, p.Port), "").Login(ctx, login("busy", "p")); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Sessions(ctx, providers.Login{}, "busy"); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	})
	t.Run("an administrator who may not", func(t *testing.T) {
		p.SQL("CREATE ROLE small LOGIN PASSWORD 'p'; CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'p'; CREATE ROLE target LOGIN PASSWORD 'p'")
		at := "@127.0.0.1:" + p.Port + "/postgres"
		if err := open(t, "postgres://small"+at, "p").Allow(ctx, providers.Login{}, login("target", "q")); !fault.Is(err, fault.Denied) {
			t.Fatal(err)
		}
		if err := open(t, "postgres://small"+at, "wrong").Allow(ctx, providers.Login{}, login("target", "q")); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "administrator") {
			t.Fatal(err)
		}
		if err := open(t, "postgres://maker"+at, "p").Allow(ctx, providers.Login{}, login("target", "q")); err != nil || !p.Opens("target", "q") {
			t.Fatal(err)
		}
		if err := open(t, "postgres://maker"+at, "p").Allow(ctx, providers.Login{}, login("gone", "q")); !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
		if _, err := open(t, "postgres://small@127.0.0.1:"+p.Port+"/nosuch", "p").Role(ctx, providers.Login{}, "target"); !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
	})
	// Where the server does not ask for a password by SCRAM, a login proves nothing.
	t.Run("rules of who gets in", func(t *testing.T) {
		p.SQL(`CREATE ROLE open LOGIN PASSWORD 'p'; CREATE ROLE kept_out LOGIN PASSWORD 'p'; CREATE ROLE clear LOGIN PASSWORD 'p';
			SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'p'`)
		p.Rules("host all open 127.0.0.1/32 trust", "host all kept_out 127.0.0.1/32 reject", "host all clear 127.0.0.1/32 password",
			"host all old 127.0.0.1/32 md5", "host all all 127.0.0.1/32 scram-sha-256")
		s := admin(t, p)
		for role, word := range map[string]string{"open": "without a password", "kept_out": "rules", "clear": "in clear", "old": "md5"} {
			if err := s.Login(ctx, login(role, "p")); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v", role, err)
			}
		}
	})
	t.Run("stopped and started", func(t *testing.T) {
		p.SQL("CREATE ROLE steady LOGIN PASSWORD 'p'")
		p.Stop()
		s := admin(t, p)
		if err := s.Login(ctx, login("steady", "p")); !fault.Is(err, fault.Unavailable) {
			t.Fatal(err)
		}
		p.Start()
		if err := admin(t, p).Login(ctx, login("steady", "p")); err != nil {
			t.Fatal(err)
		}
	})
}

// lingering is the port of a way to a server on which the end of a session takes
// some time.
func lingering(t *testing.T, port string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			_, _ = io.Copy(conn, server)
			_ = conn.Close()
		}()
		buf := make([]byte, 4096)
		for n := 1; n > 0; {
			if n, _ = conn.Read(buf); n == 0 || buf[0] == 'X' {
				time.Sleep(200 * time.Millisecond)
			}
			_, _ = server.Write(buf[:n])
		}
		_ = server.Close()
	}()
	_, at, _ := net.SplitHostPort(l.Addr().String())
	return at
}
