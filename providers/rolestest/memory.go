package rolestest

import (
	"context"
	"slices"
	"sync"

	"envctl/internal/fault"
	"envctl/providers"
)

// Server is a database server in memory: the contract in the fewest words.
type Server struct {
	// Plural lets a role have several passwords, as Redis does.
	Plural bool
	// Admin is the administrator, "" for none.
	Admin string
	// Point is called around each change, to be killed there.
	Point func(string)
	// Fault answers a call in the server's stead where it returns an error: login,
	// role, allow, forbid.
	Fault func(call, role string) error
	// Ignore takes a change and does nothing.
	Ignore bool

	mu    sync.Mutex
	roles map[string]*Account
}

// Account is a role.
type Account struct {
	Passwords []string
	Role      providers.Role
	Open      int  // sessions
	Off       bool // may not log in
	NoAsking  bool // gets in with any password
}

// New returns a server with one role for each name, whose password is given.
func New(roles map[string]string) *Server {
	s := &Server{Admin: "admin", Point: func(string) {}, roles: map[string]*Account{}}
	for name, password := range roles {
		s.roles[name] = &Account{Role: providers.Role{Grants: []string{"member of owners"}}}
		if password != "" {
			s.roles[name].Passwords = []string{password}
		}
	}
	return s
}

// Account changes a role past the contract.
func (s *Server) Account(role string, change func(*Account)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roles[role] == nil {
		s.roles[role] = &Account{}
	}
	change(s.roles[role])
}

// Opens tells whether a password works.
func (s *Server) Opens(role, password string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.roles[role]
	return a != nil && !a.Off && (a.NoAsking || slices.Contains(a.Passwords, password))
}

// Passwords returns a role's passwords, sorted.
func (s *Server) Passwords(role string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.roles[role].Passwords))
}

// Describe names the server.
func (s *Server) Describe() string { return "memory" }

// Administrator names the administrator, "" for none.
func (s *Server) Administrator() string { return s.Admin }

// Several tells whether a role can have several passwords.
func (s *Server) Several() bool { return s.Plural }

// Login logs in and out.
func (s *Server) Login(_ context.Context, l providers.Login) error {
	const op = "log in"
	if s.Fault != nil {
		if err := s.Fault("login", l.Role); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.roles[l.Role]
	switch {
	case a != nil && a.NoAsking:
		return fault.New(fault.Refused, op, "it lets in without a password", "")
	case a == nil, !slices.Contains(a.Passwords, l.Password.Reveal()):
		return fault.New(fault.Denied, op, "the server refuses the password of "+l.Role, "")
	case a.Off:
		return fault.New(fault.Refused, op, "it may not log in", "")
	}
	return nil
}

// may logs in as someone who may change a role.
func (s *Server) may(ctx context.Context, as providers.Login, role string) error {
	switch {
	case as.Role == "" && s.Admin == "":
		return fault.New(fault.Refused, "log in", "no administrator is configured", "")
	case as.Role == "":
		return nil
	case as.Role != role && role != "":
		return fault.New(fault.Denied, "change "+role, "not permitted", "")
	}
	return s.Login(ctx, as)
}

// Role looks a role up.
func (s *Server) Role(ctx context.Context, as providers.Login, role string) (providers.Role, error) {
	if s.Fault != nil {
		if err := s.Fault("role", role); err != nil {
			return providers.Role{}, err
		}
	}
	if err := s.may(ctx, as, ""); err != nil {
		return providers.Role{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.roles[role]
	switch {
	case a == nil:
		return providers.Role{}, fault.New(fault.NotFound, "look up "+role, "the server has no such role", "")
	case a.Off:
		return a.Role, fault.New(fault.Refused, "look up "+role, "it may not log in", "")
	}
	return a.Role, nil
}

// Allow makes a password work.
func (s *Server) Allow(ctx context.Context, as, l providers.Login) error {
	return s.change(ctx, "allow", as, l, func(a *Account) {
		if !s.Plural {
			a.Passwords = nil
		}
		if !slices.Contains(a.Passwords, l.Password.Reveal()) {
			a.Passwords = append(a.Passwords, l.Password.Reveal())
		}
	})
}

// Forbid makes a password stop working.
func (s *Server) Forbid(ctx context.Context, as, l providers.Login) error {
	return s.change(ctx, "forbid", as, l, func(a *Account) {
		if !s.Plural {
			a.Passwords = nil
		}
		a.Passwords = slices.DeleteFunc(a.Passwords, func(p string) bool { return p == l.Password.Reveal() })
	})
}

func (s *Server) change(ctx context.Context, call string, as, l providers.Login, do func(*Account)) error {
	if err := s.may(ctx, as, l.Role); err != nil {
		return err
	}
	s.Point("before " + call)
	if s.Fault != nil {
		if err := s.Fault(call, l.Role); err != nil {
			return err
		}
	}
	if l.Password.Len() == 0 {
		return fault.New(fault.Refused, call, "the password is empty", "")
	}
	s.mu.Lock()
	a := s.roles[l.Role]
	if a != nil && !s.Ignore {
		do(a)
	}
	s.mu.Unlock()
	s.Point("after " + call)
	if a == nil {
		return fault.New(fault.NotFound, call, "the server has no such role", "")
	}
	return nil
}

// Sessions counts a role's sessions.
func (s *Server) Sessions(_ context.Context, _ providers.Login, role string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roles[role].Open, nil
}
