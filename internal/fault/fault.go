// Package fault says what went wrong, to what, and what to type next: a closed
// set of kinds that one function in commands turns into exit codes.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind is the class of a failure; code acts on a kind, never on a message.
type Kind int

// The kinds, in the order of the exit codes they lead to.
const (
	Internal      Kind = iota // a bug in envctl, or a failure nobody classified
	No                        // the question was answered with "no": drift, stale, unverified
	Usage                     // flags, arguments, environment not named
	Refused                   // a rule forbids it: protected, untrusted, value on the command line
	Invalid                   // a project, layer or store file is unreadable, corrupt or forged
	RolledBack                // the store file is older than one this operator has seen
	Denied                    // authenticated, not permitted; or not authenticated at all
	Expired                   // the credential was good once
	WrongIdentity             // the store file is not encrypted to this identity
	NotFound                  // absent: never written
	Deleted                   // soft-deleted: can be restored
	Destroyed                 // gone for good
	Conflict                  // someone else wrote; nothing was written
	Unavailable               // unreachable, timed out, disk full
	Sealed                    // the server is there and sealed
	Unknown                   // the outcome of a write could not be settled
	Partial                   // stopped part-way; a journal is left
	Interrupted               // Ctrl-C before anything was written
)

var kindNames = [...]string{ //nolint:gochecknoglobals // a constant list
	"internal", "no", "usage", "refused", "invalid", "rolled-back", "denied", "expired", "wrong-identity",
	"not-found", "deleted", "destroyed", "conflict", "unavailable", "sealed", "unknown", "partial", "interrupted",
}

// String returns the kind's stable name, as the error document carries it.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return kindNames[Internal]
	}
	return kindNames[k]
}

// Error is a failure with its three parts. Op names the operation and its
// object ("write ledger/production/app"), Message what happened, Hint the next
// command to type. None of them ever holds a value.
type Error struct {
	Kind    Kind
	Op      string
	Message string
	Hint    string
	Err     error // the cause; its text is part of the message
}

// Error returns "op: message: cause" on one line, lower case, no full stop.
func (e *Error) Error() string {
	s := e.Message
	if e.Op != "" && s != "" {
		s = e.Op + ": " + s
	} else if s == "" {
		s = e.Op
	}
	if e.Err != nil {
		if s == "" {
			return e.Err.Error()
		}
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns a failure of kind k; op is "verb object".
func New(k Kind, op, message, hint string) error {
	return &Error{Kind: k, Op: op, Message: message, Hint: hint}
}

// Newf is New with a formatted message.
func Newf(k Kind, op, hint, format string, args ...any) error {
	return &Error{Kind: k, Op: op, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Wrap gives err a kind, an operation and a hint; a nil err stays nil.
func Wrap(err error, k Kind, op, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Op: op, Hint: hint, Err: err}
}

// KindOf returns the kind of the outermost classified error in err's chain;
// a context that ended is Unavailable (deadline) or Interrupted (cancelled).
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Internal
}

// HintOf returns the first hint in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Is tells whether err is of one of the kinds.
func Is(err error, kinds ...Kind) bool {
	if err == nil {
		return false
	}
	k := KindOf(err)
	for _, want := range kinds {
		if k == want {
			return true
		}
	}
	return false
}
