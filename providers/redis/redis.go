// Package redis changes the passwords of a Redis server's users and proves them
// by logging in. Users have several passwords, so a new one works before the old
// one ends; commands that change them carry digests, never a password.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/internal/dial"
)

// Config says where a server is and who administers it.
type Config = dial.Config

// Server is a Redis server's users.
type Server struct {
	server dial.Server
	tls    bool
}

// Open reads the configuration; it connects when first used.
func Open(c Config) (*Server, error) {
	const op = "connect to redis"
	d, err := dial.Parse(op, c, []string{"redis", "rediss"}, "6379")
	if err != nil {
		return nil, err
	}
	s := &Server{server: d, tls: d.URL.Scheme == "rediss"}
	switch {
	case !s.tls && !d.Loopback():
		return nil, fault.New(fault.Refused, op, d.Address+": plain connections are for loopback addresses only", "write rediss:// in your config.yaml; ca_cert names the authority")
	case d.URL.RawQuery != "" || strings.Trim(d.URL.Path, "/0123456789") != "":
		return nil, fault.New(fault.Usage, op, "the server's address has more than host and port", "write redis://ADMIN@HOST:PORT in your config.yaml")
	}
	return s, nil
}

// Describe names the server.
func (s *Server) Describe() string {
	if s.Administrator() != "" {
		return "redis " + s.server.Address + ", administered by " + s.server.Admin
	}
	return "redis " + s.server.Address + ", each user for itself"
}

// Administrator names the administrator, "" for none.
func (s *Server) Administrator() string { return s.server.Admin }

// Several is true: a user of Redis has any number of passwords.
func (s *Server) Several() bool { return true }

// Login logs in and out.
func (s *Server) Login(ctx context.Context, l providers.Login) error {
	c, err := s.login(ctx, "log in to "+s.server.Address+" as "+l.Role, l)
	if err != nil {
		return err
	}
	c.end()
	return nil
}

// login connects and logs in. The first try is with a password made up for it: a
// server that takes that one takes any, and logging in would prove nothing.
func (s *Server) login(ctx context.Context, op string, l providers.Login) (_ *conn, err error) {
	if l.Password.Len() == 0 {
		return nil, fault.New(fault.Refused, op, "the password is empty", "")
	}
	c, err := s.open(ctx, op)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	switch _, err := c.ask("AUTH", l.Role, "x"+rand.Text()); {
	case err == nil:
		return nil, fault.New(fault.Refused, op, "the server lets "+l.Role+" in with any password", "give the user a password (requirepass, or ACL SETUSER "+l.Role+" resetpass), then the store the same")
	case !wrongPassword(err):
		return nil, s.explain(ctx, op, err)
	}
	switch _, err := c.ask("AUTH", l.Role, l.Password.Reveal()); {
	case wrongPassword(err):
		return nil, fault.New(fault.Denied, op, "the server refuses the password of "+l.Role, "")
	case err != nil:
		return nil, s.explain(ctx, op, err)
	}
	return c, nil
}

// wrongPassword tells whether the server refused a login. It answers so too for a
// user that is off, and for one that there is not.
func wrongPassword(err error) bool {
	var no refusal
	return errors.As(err, &no) && no.code() == "WRONGPASS"
}

// explain turns an error of the server, or of the way to it, into a kind.
func (s *Server) explain(ctx context.Context, op string, err error) error {
	var no refusal
	if !errors.As(err, &no) {
		return s.server.Unreachable(ctx, op, err)
	}
	switch {
	case no.says("unknown command"), no.says("unknown subcommand"), no.says("wrong number of arguments"):
		return fault.New(fault.Refused, op, "the server knows no users with passwords of their own: they came with Redis 6", "upgrade it; until then change requirepass and the store by hand, in one go")
	case no.code() == "NOPERM":
		return fault.New(fault.Denied, op, "not permitted", adminHint)
	case no.code() == "LOADING", no.code() == "BUSY", no.code() == "MASTERDOWN":
		return fault.New(fault.Unavailable, op, no.Error(), "run the command again")
	}
	return fault.New(fault.Refused, op, no.Error(), "look at the server's log")
}

// as logs in as someone who may change roles.
func (s *Server) as(ctx context.Context, op string, as providers.Login) (*conn, error) {
	return dial.As(ctx, s.server, op, as, adminHint, s.login)
}

const adminHint = "name an administrator in your config.yaml: databases: {PROJECT/ENVIRONMENT/COMPONENT: {url: \"redis://ADMIN@HOST:6379\", password: \"op://…\"}}"

// Role looks a user up. What users may do is not compared: they never take turns.
func (s *Server) Role(ctx context.Context, as providers.Login, role string) (providers.Role, error) {
	op := "look up the user " + role + " on " + s.server.Address
	c, err := s.as(ctx, op, as)
	if err != nil {
		return providers.Role{}, err
	}
	defer c.end()
	answer, err := c.ask("ACL", "GETUSER", role)
	if err != nil {
		return providers.Role{}, s.explain(ctx, op, err)
	}
	fields, ok := answer.([]any)
	if !ok || len(fields) < 2 || fields[0] != "flags" {
		return providers.Role{}, fault.New(fault.NotFound, op, "the server has no such user", "create it on the server, or correct role in the recipe")
	}
	flags, _ := fields[1].([]any)
	switch {
	case slices.Contains(flags, any("off")):
		return providers.Role{}, fault.New(fault.Refused, op, "it is off", "ACL SETUSER "+role+" on, on the server, if it is the right one")
	case slices.Contains(flags, any("nopass")):
		return providers.Role{}, fault.New(fault.Refused, op, "it needs no password", "give it the store's password on the server first")
	}
	home, err := c.home()
	if err != nil {
		return providers.Role{Forgets: "it does not tell where it keeps its users"}, nil // said in words
	}
	if home == nowhere {
		return providers.Role{Forgets: "it has neither an aclfile nor a configuration file"}, nil
	}
	return providers.Role{}, nil
}

// home is where a server keeps its users.
type home int

const (
	nowhere home = iota
	inConfig
	inFile // of its own: aclfile
)

func (c *conn) home() (home, error) {
	answer, err := c.ask("CONFIG", "GET", "aclfile")
	if err != nil {
		return nowhere, err
	}
	if pair, ok := answer.([]any); ok && len(pair) == 2 && pair[1] != "" {
		return inFile, nil
	}
	info, err := c.ask("INFO", "server")
	if err != nil {
		return nowhere, err
	}
	text, _ := info.(string)
	for line := range strings.Lines(text) {
		if file, ok := strings.CutPrefix(strings.TrimSpace(line), "config_file:"); ok && file != "" {
			return inConfig, nil
		}
	}
	return nowhere, nil
}

// Allow gives a user one more password.
func (s *Server) Allow(ctx context.Context, as, l providers.Login) error {
	return s.change(ctx, as, l, "#")
}

// Forbid takes a password from a user.
func (s *Server) Forbid(ctx context.Context, as, l providers.Login) error {
	return s.change(ctx, as, l, "!")
}

// change adds or removes a digest, and has the server keep it.
func (s *Server) change(ctx context.Context, as, l providers.Login, sign string) error {
	op := "change the passwords of the user " + l.Role + " on " + s.server.Address
	if l.Password.Len() == 0 {
		return fault.New(fault.Refused, op, "the password is empty", "")
	}
	c, err := s.as(ctx, op, as)
	if err != nil {
		return err
	}
	defer c.end()
	digest := sha256.Sum256([]byte(l.Password.Reveal()))
	_, err = c.ask("ACL", "SETUSER", l.Role, sign+hex.EncodeToString(digest[:]))
	var no refusal
	if errors.As(err, &no) && no.says("does not exist") {
		err = nil // it had no such password
	}
	if err != nil {
		return s.explain(ctx, op, err)
	}
	home, err := c.home()
	if err != nil {
		return nil // it may not be asked: Role says that a restart forgets
	}
	switch home {
	case inFile:
		_, err = c.ask("ACL", "SAVE")
	case inConfig:
		_, err = c.ask("CONFIG", "REWRITE")
	case nowhere:
	}
	if err != nil {
		return fault.Wrap(s.explain(ctx, op, err), fault.Unavailable, "the server changed its users and cannot write them down", "make its aclfile or configuration file writable for it")
	}
	return nil
}
