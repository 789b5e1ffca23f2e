package commands

import (
	"errors"

	"envctl/internal/fault"
)

// silentError ends the process with a code when the answer already said why.
type silentError struct{ code int }

func (silentError) Error() string { return "" }

// exitCode returns the process's exit code for err: the one place where kinds
// become codes.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var s silentError
	if errors.As(err, &s) {
		return s.code
	}
	switch fault.KindOf(err) {
	case fault.No, fault.Internal:
		return 1
	case fault.Usage, fault.Refused:
		return 2
	case fault.Invalid, fault.RolledBack:
		return 3
	case fault.Denied, fault.Expired, fault.WrongIdentity:
		return 4
	case fault.NotFound, fault.Deleted, fault.Destroyed:
		return 5
	case fault.Conflict:
		return 6
	case fault.Unavailable, fault.Sealed, fault.Unknown:
		return 7
	case fault.Partial:
		return 8
	case fault.Interrupted:
		return 130
	}
	return 1
}
