package config

import (
	"fmt"
	"strings"
)

// Database kinds.
const (
	DatabasePostgres = "postgres"
	DatabaseRedis    = "redis"
)

// Database names the role of a database server whose password a variable is. Where
// the server is and who administers it stands in the operator's own file.
type Database struct {
	Kind         string `yaml:"kind" doc:"the server" enum:"postgres,redis"`
	Role         string `yaml:"role" doc:"the role that logs in with the variable; default for a Redis without users"`
	Alternate    string `yaml:"alternate" doc:"a second role with the same grants: the two take turns, and no login ends while it is used"`
	RoleVariable string `yaml:"role_variable" doc:"the variable that holds the name of the role in use"`
}

// checkDatabase refuses a recipe whose database part does not hold together.
func (r Recipe) checkDatabase() error {
	d := r.Database
	switch {
	case d == nil:
		return nil
	case d.Kind == "":
		return fmt.Errorf("kind is missing: postgres or redis")
	case d.Role == "":
		return fmt.Errorf("role is missing: the role that logs in with %s", r.Variable)
	case !isRole(d.Role) || d.Alternate != "" && !isRole(d.Alternate):
		return fmt.Errorf("a role's name is made of letters, digits, _ . and -")
	case (d.Alternate == "") != (d.RoleVariable == ""):
		return fmt.Errorf("alternate and role_variable go together: the second role, and the variable that says which is in use")
	case d.Alternate == d.Role:
		return fmt.Errorf("alternate is the role itself")
	case d.RoleVariable == r.Variable:
		return fmt.Errorf("role_variable is the password's own variable")
	case d.Alternate != "" && d.Kind == DatabaseRedis:
		return fmt.Errorf("a user of Redis has several passwords, so it needs no alternate")
	case r.Overlap.Duration > 0 && d.Kind == DatabasePostgres && d.Alternate == "":
		return fmt.Errorf("a role of PostgreSQL has one password: an overlap needs an alternate")
	case r.Previous != "" || r.Ring || r.Keep != 0 || r.Reencrypt != "" || r.Probe != nil:
		return fmt.Errorf("previous, ring, keep, reencrypt and probe are for other recipes")
	}
	return nil
}

// isRole tells whether s is ^[A-Za-z_][A-Za-z0-9_.-]{0,62}$.
func isRole(s string) bool {
	const digits, letters = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
	return s != "" && len(s) <= 63 && !strings.Contains(digits+".-", s[:1]) && strings.Trim(s, letters+digits+".-") == ""
}

// DatabaseFor returns the server of a component's database.
func (u *User) DatabaseFor(project, environment, component string) (DatabaseServer, bool) {
	return u.Databases.Get(project + "/" + environment + "/" + component)
}
