// Package postgres changes the passwords of a PostgreSQL server's roles and
// proves them by logging in. A password never travels: logins are by SCRAM, and
// statements carry the verifier that the server keeps.
package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/internal/dial"
)

// Config says where a server is and who administers it.
type Config = dial.Config

// Server is a PostgreSQL server's roles.
type Server struct {
	server   dial.Server
	database string
	tls      bool
}

// Open reads the configuration; it connects when first used.
func Open(c Config) (*Server, error) {
	const op = "connect to postgres"
	d, err := dial.Parse(op, c, []string{"postgres", "postgresql"}, "5432")
	if err != nil {
		return nil, err
	}
	s := &Server{server: d, database: strings.Trim(d.URL.Path, "/"), tls: !d.Loopback()}
	if s.database == "" {
		s.database = "postgres"
	}
	query := d.URL.Query()
	for k := range query {
		if k != "sslmode" {
			return nil, fault.Newf(fault.Usage, op, "leave it out of the server's url in your config.yaml", "%q is not understood in the server's address", k)
		}
	}
	switch mode := query.Get("sslmode"); {
	case mode == "":
	case mode == "verify-full":
		s.tls = true
	case mode == "disable" && d.Loopback():
		s.tls = false
	default:
		return nil, fault.Newf(fault.Refused, op, "leave sslmode out, or write sslmode=verify-full; ca_cert names the authority",
			"sslmode=%s: a connection is plain to a loopback address, and elsewhere proves the server's name", mode)
	}
	return s, nil
}

// Describe names the server.
func (s *Server) Describe() string {
	who := ", each role for itself"
	if s.Administrator() != "" {
		who = ", administered by " + s.server.Admin
	}
	return "postgres " + s.server.Address + "/" + s.database + who
}

// Administrator names the administrator, "" for none.
func (s *Server) Administrator() string { return s.server.Admin }

// Several is false: a role of PostgreSQL has one password.
func (s *Server) Several() bool { return false }

// Login logs in and out.
func (s *Server) Login(ctx context.Context, l providers.Login) error {
	c, err := s.login(ctx, "log in to "+s.server.Address+" as "+l.Role, l)
	if err != nil {
		return err
	}
	c.close()
	return nil
}

// as logs in as someone who may change roles.
func (s *Server) as(ctx context.Context, op string, as providers.Login) (*session, error) {
	return dial.As(ctx, s.server, op, as, adminHint, s.login)
}

const adminHint = "name an administrator in your config.yaml: databases: {PROJECT/ENVIRONMENT/COMPONENT: {url: \"postgres://ADMIN@HOST:5432/DATABASE\", password: \"op://…\"}}"

// facts is everything that tells two roles apart: attributes, settings, memberships,
// and per database how many objects it owns or is named in the privileges of,
// with a digest of which.
const facts = `SELECT 'superuser' FROM r WHERE rolsuper
UNION ALL SELECT 'nologin' FROM r WHERE NOT rolcanlogin
UNION ALL SELECT 'createrole' FROM r WHERE rolcreaterole
UNION ALL SELECT 'createdb' FROM r WHERE rolcreatedb
UNION ALL SELECT 'replication' FROM r WHERE rolreplication
UNION ALL SELECT 'bypassrls' FROM r WHERE rolbypassrls
UNION ALL SELECT 'noinherit' FROM r WHERE NOT rolinherit
UNION ALL SELECT 'set ' || unnest(rolconfig) FROM r
UNION ALL SELECT 'member of ' || g.rolname FROM r JOIN pg_auth_members m ON m.member = r.oid JOIN pg_roles g ON g.oid = m.roleid
UNION ALL SELECT CASE s.deptype WHEN 'o' THEN 'owns ' ELSE 'has privileges on ' END || count(*) || ' objects of ' || coalesce(d.datname, 'the server')
  || ' (' || left(md5(string_agg(s.classid || '.' || s.objid || '.' || s.objsubid, ',' ORDER BY s.classid, s.objid, s.objsubid)), 6) || ')'
  FROM r JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid LEFT JOIN pg_database d ON d.oid = s.dbid
  WHERE s.deptype IN ('a', 'o') GROUP BY s.deptype, d.datname`

// Role looks a role up.
func (s *Server) Role(ctx context.Context, as providers.Login, role string) (providers.Role, error) {
	op := "look up the role " + role + " on " + s.server.Address
	c, err := s.as(ctx, op, as)
	if err != nil {
		return providers.Role{}, err
	}
	defer c.close()
	rows, err := c.query(op, "WITH r AS (SELECT * FROM pg_roles WHERE rolname = "+literal(role)+")\nSELECT 'is there' FROM r UNION ALL "+facts)
	if err != nil {
		return providers.Role{}, err
	}
	r := providers.Role{Grants: []string{}}
	there := false
	for _, row := range rows {
		switch fact := row[0]; fact {
		case "is there":
			there = true
		case "nologin":
			return r, fault.New(fault.Refused, op, "it may not log in", "ALTER ROLE "+identifier(role)+" LOGIN on the server, if it is the right one")
		case "superuser":
			r.Superuser = true
		default:
			r.Grants = append(r.Grants, fact)
		}
	}
	if !there {
		return r, fault.New(fault.NotFound, op, "the server has no such role", "create it on the server, or correct role in the recipe")
	}
	slices.Sort(r.Grants)
	return r, nil
}

// Allow gives a role its password, in the place of the one it had.
func (s *Server) Allow(ctx context.Context, as, l providers.Login) error {
	v, err := verifier(l.Password, rand.Reader)
	if err != nil {
		return err
	}
	return s.alter(ctx, as, l.Role, "'"+v+"'")
}

// Forbid leaves a role without a password.
func (s *Server) Forbid(ctx context.Context, as, l providers.Login) error {
	return s.alter(ctx, as, l.Role, "NULL")
}

func (s *Server) alter(ctx context.Context, as providers.Login, role, password string) error {
	op := "change the password of the role " + role + " on " + s.server.Address
	c, err := s.as(ctx, op, as)
	if err != nil {
		return err
	}
	defer c.close()
	name := identifier(role)
	if as.Role == role {
		name = "CURRENT_USER"
	}
	_, err = c.query(op, "ALTER ROLE "+name+" PASSWORD "+password)
	return err
}

// Sessions counts a role's sessions, not the one that asks.
func (s *Server) Sessions(ctx context.Context, as providers.Login, role string) (int, error) {
	op := "count the sessions of " + role + " on " + s.server.Address
	c, err := s.as(ctx, op, as)
	if err != nil {
		return 0, err
	}
	defer c.close()
	rows, err := c.query(op, "SELECT count(*) FROM pg_stat_activity WHERE usename = "+literal(role)+" AND pid <> pg_backend_pid()")
	if err != nil {
		return 0, err
	}
	if len(rows) != 1 {
		return 0, fault.New(fault.Unavailable, op, fmt.Sprintf("the server answered with %d rows", len(rows)), "")
	}
	n, err := strconv.Atoi(rows[0][0])
	return n, fault.Wrap(err, fault.Unavailable, op, "")
}

// literal quotes a text. A backslash is doubled nowhere: standard_conforming_strings
// has been on since 9.1, and names of roles have none.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier quotes a name.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
