//go:build !linux

package commands

import "io/fs"

// inMemory tells whether a folder lies in memory; nobody says so here.
func inMemory(string) bool { return false }

// ownedByUs is asked only where temporary folders are the operator's own.
func ownedByUs(fs.FileInfo) bool { return true }

// guard is Linux's: elsewhere the next edit sweeps.
func guard(string) (unguard func()) { return func() {} }

// family returns a process; those below it nobody tells here.
func family(pid int) []int { return []int{pid} }
