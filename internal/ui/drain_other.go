//go:build !unix

package ui

// drain takes nothing off other systems' terminals, which ReadPassword empties line by line.
func drain(int) string { return "" }
