package providers

import (
	"context"

	"envctl/internal/secret"
)

// Login is a role of a database server and a password of it.
type Login struct {
	Role     string
	Password secret.Value
}

// Role is what a database server says of a role.
type Role struct {
	// Superuser tells that it may do everything, to other roles too.
	Superuser bool
	// Grants says, sorted, what it may do beside logging in: two roles that take
	// turns have the same. Nil where the server has no such thing as two alike.
	Grants []string
	// Forgets says why a change of its passwords does not outlive a restart of the
	// server; "" where it does.
	Forgets string
}

// Roles is a database server whose roles log in with passwords. An as that is
// zero is the administrator; without one, a role acts for itself. No method
// lets a password reach the server, its log or an error in clear, but for Login
// where the server's protocol knows no other way.
type Roles interface {
	// Describe names the server and who administers it; it opens nothing.
	Describe() string
	// Administrator names the administrator, "" for none.
	Administrator() string
	// Several tells whether a role can have several passwords at the same time.
	Several() bool
	// Login logs in and out again. Nil is proof that the password works: the server
	// told it from a wrong one. Denied is proof that it does not. All else proves
	// nothing: Refused (it lets in without a password, or by a method that shows it;
	// its rules keep this machine or this role out), Unavailable.
	Login(ctx context.Context, l Login) error
	// Role looks a role up: NotFound, Refused (it may not log in, or without a
	// password), Denied (as may not look).
	Role(ctx context.Context, as Login, role string) (Role, error)
	// Allow makes a password work for its role: beside the others where a role can
	// have several, else in place of the other. Repeatable.
	Allow(ctx context.Context, as, l Login) error
	// Forbid makes a password stop working for its role, which may then have none.
	// Repeatable.
	Forbid(ctx context.Context, as, l Login) error
}

// Sessions is the optional ability of Roles to count a role's open sessions.
type Sessions interface {
	Sessions(ctx context.Context, as Login, role string) (int, error)
}
