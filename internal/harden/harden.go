// Package harden keeps what is in this process's memory out of core files and
// away from other processes of the same user, before a secret gets there.
package harden
