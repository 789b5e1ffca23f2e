package commands

import "runtime/debug"

// roomy lets the heap of a command that works on many components, and ends, grow:
// most of what collecting its garbage at every doubling costs is for nothing. The
// limit is soft. What it returns brings back what was.
func roomy(components int) (back func()) {
	if components <= 10 {
		return func() {}
	}
	percent, limit := debug.SetGCPercent(400), debug.SetMemoryLimit(96<<20)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}
