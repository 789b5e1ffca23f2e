//go:build unix

package commands_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/internal/realtest"
)

// TestDatabases runs the scripts of testdata/database, each with a real PostgreSQL
// role of its own, a Redis of its own, and real containers.
func TestDatabases(t *testing.T) {
	t.Parallel()
	engine := realtest.Dockerd(t)
	postgres := realtest.Postgres(t)
	runScripts(t, "testdata/database", func(e *testscript.Env) error {
		project := "d" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")), "_", "-")
		engine.Cleanup(t, "envctl.project="+project)
		for _, kv := range engine.Env() {
			k, v, _ := strings.Cut(kv, "=")
			e.Setenv(k, v)
		}
		redis := realtest.Redis(t, "user default off", "user admin on >admin-password ~* &* +@all", "user cache on >"+canary+" ~* &* +@all")
		for k, v := range map[string]string{
			"PROJECT": project, "STORE": "local", "IMAGE": realtest.Image,
			"PGPORT": postgres.Port, "PGHOST": "127.0.0.1", "PGDATABASE": "postgres", "PGUSER": postgres.Admin, "PGPASSWORD": postgres.Password,
			"REDISPORT": redis.Port,
		} {
			e.Setenv(k, v)
		}
		e.Defer(func() {
			if strings.Contains(postgres.Log(), canary) {
				t.Error("the server's log holds a password")
			}
		})
		return nil
	})
}

// opens ROLE FILE logs in to PostgreSQL as ROLE with the password in FILE, with
// psql; opens-cache does the same on Redis, with redis-cli.
func opens(ts *testscript.TestScript, neg bool, args []string) {
	password := strings.TrimSpace(ts.ReadFile(args[1]))
	ts.Setenv("PGPASSWORD", password)
	err := ts.Exec("psql", "-XAtqw", "-U", args[0], "-c", "SELECT 1")
	ts.Setenv("PGPASSWORD", "admin-password")
	if (err == nil) == neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

func opensCache(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("REDISCLI_AUTH", strings.TrimSpace(ts.ReadFile(args[1])))
	err := ts.Exec("redis-cli", "-p", ts.Getenv("REDISPORT"), "--user", args[0], "PING")
	if (err == nil && strings.HasPrefix(ts.ReadFile("stdout"), "PONG")) == neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}
