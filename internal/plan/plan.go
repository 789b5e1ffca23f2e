// Package plan runs a playbook's steps so that the run can be stopped
// anywhere and then be finished or taken back.
package plan

import "context"

// Risk says what a step can do to what is running.
type Risk int

// The risks, from none to the one that asks for consent by name.
const (
	Reads        Risk = iota // changes nothing
	Writes                   // changes something that Undo restores
	Restarts                 // restarts processes
	Irreversible             // cannot be undone
)

// Receipt is what a step leaves behind: versions, ids, times and fingerprints
// under short names, never a value.
type Receipt map[string]string

// Fact is one line of what a plan will do, for people: "write", "ledger/production/app 12 → 13".
type Fact struct{ Label, Text string }

// Step is one repeatable piece of work.
type Step struct {
	ID, Title string
	Risk      Risk
	// Do does the work and returns its receipt. When an earlier attempt was cut
	// off, page.Prior is what that attempt intended, and Do finds out first
	// whether it already happened.
	Do func(ctx context.Context, page *Page) (Receipt, error)
	// Undo takes back what the receipt (or, after a crash between intent and
	// receipt, the intent) says was done; it is repeatable, and returns nil when
	// nothing had happened. Nil: the plan says "cannot be undone".
	Undo func(ctx context.Context, r Receipt) error
	// Verify reads back what Do claims; nil where Do itself read it back.
	Verify func(ctx context.Context, r Receipt) error
}

// Plan is what a playbook is about to do, built by reading only.
type Plan struct {
	Playbook, Environment, Component string
	// Args rebuilds this plan for resume and undo: names and numbers, never values.
	Args    map[string]string
	Confirm string // the name to type before it runs, "" for none
	Facts   []Fact
	Steps   []Step
}

// Page is a step's place in the journal.
type Page struct{}
