package config

import (
	"strings"
	"testing"

	"envctl/internal/fault"
)

func TestDatabaseRecipe(t *testing.T) {
	t.Parallel()
	const before = head + "environments: {qa: {}}\ncomponents:\n  db:\n    rotate:\n      pg: {variable: PW, "
	for text, words := range map[string]string{
		"database: {kind: postgres, role: app}":                                                       "",
		"database: {kind: postgres, role: app, alternate: app_b, role_variable: U}, overlap: 24h":     "",
		"database: {kind: redis, role: default}, overlap: 24h":                                        "",
		"database: {role: app}":                                                                       "kind is missing",
		"database: {kind: mysql, role: app}":                                                          "want postgres, redis",
		"database: {kind: postgres}":                                                                  "role is missing",
		"database: {kind: postgres, role: 'app\"; DROP'}":                                             "letters, digits",
		"database: {kind: postgres, role: app, alternate: app_b}":                                     "go together",
		"database: {kind: postgres, role: app, role_variable: U}":                                     "go together",
		"database: {kind: postgres, role: app, alternate: app, role_variable: U}":                     "the role itself",
		"database: {kind: postgres, role: app, alternate: app_b, role_variable: PW}":                  "own variable",
		"database: {kind: redis, role: app, alternate: app_b, role_variable: U}":                      "needs no alternate",
		"database: {kind: postgres, role: app}, overlap: 24h":                                         "an overlap needs an alternate",
		"database: {kind: postgres, role: app}, previous: OLD":                                        "other recipes",
		"database: {kind: postgres, role: app, url: 'postgres://admin:pw@elsewhere'}":                 "is not a key",
		"database: {kind: postgres, role: app, address: 'db.example.com'}":                            "is not a key",
		"database: {kind: postgres, role: app, alternate: app_b, role_variable: U, password: secret}": "is not a key",
	} {
		_, err := Parse("envctl.yaml", []byte(before+text+"}\n"))
		switch {
		case words == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case words != "" && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "envctl.yaml:7")):
			t.Errorf("%s: %v, want %q", text, err, words)
		}
	}
}
