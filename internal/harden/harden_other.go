//go:build !linux

package harden

// Limit is the limit on core files as it was before Process.
type Limit struct{}

// Process does nothing: what it does on Linux has no equal here.
func Process() (Limit, error) { return Limit{}, nil }

// Restore does nothing.
func (Limit) Restore(int) error { return nil }
