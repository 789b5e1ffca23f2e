package providers

import (
	"fmt"

	"envctl/internal/fault"
	"envctl/naming"
)

// Gone is every store's answer for a version of p that is there and cannot be
// read: Deleted, with the command that brings it back, or Destroyed.
func Gone(op string, p naming.Path, v Version, destroyed bool) error {
	where := "--env " + p.Environment + " --component " + p.Component
	if destroyed {
		return fault.Newf(fault.Destroyed, op, "run envctl history KEY "+where+" to see the versions that are left", "version %d is destroyed, for good", v)
	}
	return fault.Newf(fault.Deleted, op, fmt.Sprintf("run envctl restore --version %d %s", v, where), "version %d is deleted", v)
}
