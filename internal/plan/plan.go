// Package plan runs a playbook's steps so that the run can be stopped
// anywhere and then be finished or taken back.
package plan

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"envctl/internal/fault"
)

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
// under short names, never a value. Names match [A-Za-z0-9_.:/-]{1,128}, texts
// are at most 512 bytes of printable UTF-8, and there are at most MaxEntries: the
// journal refuses all else.
type Receipt map[string]string

// Fact is one line of what a plan will do, for people: "write", "ledger/production/app 12 → 13".
type Fact struct {
	Label, Text string
	// Ask finds out the text, in one line or more, of a fact that costs a question
	// and is only asked for where the plan is shown.
	Ask func(ctx context.Context) []string
}

// Settle asks for the facts that nobody has asked for yet.
func (p *Plan) Settle(ctx context.Context) {
	var all []Fact
	for _, f := range p.Facts {
		if f.Ask == nil {
			all = append(all, f)
			continue
		}
		for _, text := range f.Ask(ctx) {
			all = append(all, Fact{Label: f.Label, Text: text})
		}
	}
	p.Facts = all
}

// Step is one repeatable piece of work.
type Step struct {
	ID, Title string
	Risk      Risk
	// Do does the work and returns its receipt. Before its first effect it calls
	// page.Intend: a Do that ends or is cut off without Intend has changed
	// nothing. One that found nothing to do returns a nil receipt; a receipt
	// without an intent, of a Risk above Reads, is a bug that the engine reports. When an earlier attempt was cut off or
	// failed, page.Prior is what that attempt intended, and Do finds out first
	// whether it already happened. On resume the plan is built anew and may have
	// read the run's own writes: what Do needs from before comes from the page.
	// ctx outlives the first interrupt and ends with the second.
	Do func(ctx context.Context, page *Page) (Receipt, error)
	// Undo takes back what r says was done: the intent, with the receipt laid over
	// it where there is one. It is repeatable, and returns nil when nothing had
	// happened. A step that only reads may have one too, to bring back at the end
	// what it had found at the start. Nil, above Reads: the plan says "cannot be
	// undone". The way back passes by such a step and reports it; past an Irreversible one without Undo a run only goes
	// forward, since the steps before it are what it now stands on.
	Undo func(ctx context.Context, r Receipt) error
	// Reach asks whether what Undo needs answers at all; nil where that is not asked.
	// A run that failed because something is away does not begin a way back that
	// cannot be gone either: it stops, and can be resumed too.
	Reach func(ctx context.Context) error
	// Verify reads back what Do claims; nil where Do itself read it back. What it
	// checks holds until the run ends: Resume asks it again of finished steps.
	Verify func(ctx context.Context, r Receipt) error
	// Until names a later step that changes what Verify checks: once that one may
	// have begun, Resume does not ask any more. "": none does.
	Until string
}

// Plan is what a playbook is about to do, built by reading only.
type Plan struct {
	// Playbook names the command ("rotate jwt"); the other three are the target.
	// One run at a time works on a target on this machine; a run without a
	// component works on all components of its environment, and several have their
	// names joined by commas.
	Playbook, Project, Environment, Component string
	// Args rebuilds this plan for resume and undo: names and numbers, never values.
	Args    map[string]string
	Confirm string // the name to type before it runs, "" for none
	Facts   []Fact
	Steps   []Step
	// Locks keeps the runs of other machines out while this one works; nil where
	// there is nothing that they could meet in. See Contended.
	Locks Locks
}

// Contended tells whether another run on the target could spoil this one, so
// that it takes a lock: it restarts something or takes several writes. One write
// alone is guarded by the store, which lets in only what was planned from its
// newest version.
func (p *Plan) Contended() bool {
	writes := 0
	for i := range p.Steps {
		switch r := p.Steps[i].Risk; {
		case r >= Restarts:
			return true
		case r == Writes:
			writes++
		}
	}
	return writes > 1
}

// final tells that a run that has touched s can only go forward.
func (s *Step) final() bool { return s.Risk == Irreversible && s.Undo == nil }

const (
	lowerOrDigit = "0123456789abcdefghijklmnopqrstuvwxyz"
	upper        = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	joints       = "_.:/-"

	maxName = 128
	maxText = 512

	// MaxEntries is how many entries a receipt holds at most.
	MaxEntries = 1 << 15
)

// validate refuses a plan that the engine could not journal.
func (p *Plan) validate() error {
	bad := func(format string, args ...any) error {
		return fault.Newf(fault.Internal, "run "+clean(p.Playbook), "", format, args...)
	}
	for _, text := range []string{p.Playbook, p.Project, p.Environment, p.Component} {
		if !printable(text) {
			return bad("a name in the plan is too long or not printable")
		}
	}
	if p.Playbook == "" {
		return bad("the plan has no playbook")
	}
	if err := checkReceipt(p.Args); err != nil {
		return bad("arguments: %s", err)
	}
	seen := map[string]bool{}
	for _, s := range p.Steps {
		switch {
		case !isStepID(s.ID) || seen[s.ID]:
			return bad("the step id %q is not allowed or not unique", clean(s.ID))
		case s.Do == nil:
			return bad("the step %s does nothing", s.ID)
		case !printable(s.Title):
			return bad("the title of the step %s is too long or not printable", s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}

// checkReceipt is the journal's door: no long, multi-line or binary text
// enters. The error names the key and never quotes the text.
func checkReceipt(r map[string]string) error {
	if len(r) > MaxEntries {
		return fault.Newf(fault.Internal, "", "", "%d entries are too many for the journal", len(r))
	}
	for k, v := range r {
		if !isKey(k) {
			return fault.New(fault.Internal, "", "a name is not allowed in the journal", "")
		}
		if !printable(v) {
			return fault.Newf(fault.Internal, "", "", "the text of %s is too long or not printable for the journal", k)
		}
	}
	return nil
}

// isStepID tells whether s is ^[a-z0-9][a-z0-9_.:/-]{0,127}$. A regular
// expression would be compiled at each start of the program, as for isKey.
func isStepID(s string) bool {
	return s != "" && len(s) <= maxName && !strings.Contains(joints, s[:1]) && strings.TrimLeft(s, lowerOrDigit+joints) == ""
}

// isKey tells whether s is ^[A-Za-z0-9_.:/-]{1,128}$.
func isKey(s string) bool {
	return s != "" && len(s) <= maxName && strings.TrimLeft(s, lowerOrDigit+upper+joints) == ""
}

func printable(s string) bool {
	if len(s) > maxText || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

// clean makes any text fit for the journal and for one line of a terminal.
func clean(s string) string {
	out := make([]byte, 0, min(len(s), maxText))
	for _, c := range s {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			c = ' '
		}
		if len(out)+utf8.RuneLen(c) > maxText {
			break
		}
		out = utf8.AppendRune(out, c)
	}
	return string(out)
}
