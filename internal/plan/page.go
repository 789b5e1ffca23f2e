package plan

import (
	"context"
	"maps"
	"sync"

	"envctl/internal/fault"
)

// Page is a step's place in the journal, open while its Do runs. Its methods
// may be called from several goroutines.
type Page struct {
	run   *run
	step  *Step
	prior Receipt
	cut   bool

	mu       sync.Mutex
	intended bool
	closed   bool
}

// Prior returns what an interrupted or failed earlier attempt of this step had
// intended, its receipt laid over it where it had one; false when no earlier
// attempt can have changed anything.
func (p *Page) Prior() (Receipt, bool) { return maps.Clone(p.prior), p.cut }

// Intend puts on disk what is about to happen (base version, fingerprint of
// the new value: enough to find out later whether it did), before it happens.
// The last intent counts. After an error the effect must not happen; return
// it. Errors: Unavailable (the journal cannot be written, disk full), Conflict
// (the run's lock is lost), Internal (r is not fit for the journal).
func (p *Page) Intend(r Receipt) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil || p.closed {
		return fault.New(fault.Internal, "journal an intent", "the step is not running", "")
	}
	if err := checkReceipt(r); err != nil {
		return fault.Wrap(err, fault.Internal, "journal the intent of "+p.step.ID, "")
	}
	if err := p.run.fence(); err != nil {
		return err
	}
	if err := p.run.append(record{Type: recIntent, Step: p.step.ID, Data: r}); err != nil {
		return err
	}
	p.intended = true
	return nil
}

// Receipt returns the receipt of an earlier step of this run, from the journal.
func (p *Page) Receipt(stepID string) (Receipt, bool) {
	if p.run == nil {
		return nil, false
	}
	return p.run.receipt(stepID)
}

// Run returns the run's id, "" on a page without a run.
func (p *Page) Run() string {
	if p.run == nil {
		return ""
	}
	return p.run.st.header.ID
}

// Note tells people how the step is getting on; it is not journaled.
func (p *Page) Note(text string) { p.tell(EventNote, text) }

// Warn tells people what they should know of the step whatever they asked to see; it
// is not journaled.
func (p *Page) Warn(text string) { p.tell(EventWarning, text) }

func (p *Page) tell(kind EventKind, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && !p.closed {
		p.run.tell(kind, p.step.ID, clean(text))
	}
}

// at is the step that a context belongs to.
type at struct {
	run  *run
	step string
}

type atKey struct{}

// within is the context of a step's work: what it calls can tell of itself there,
// also on the way back, where there is no page.
func (r *run) within(step string) context.Context {
	return context.WithValue(r.work, atKey{}, at{r, step})
}

// Note is Page.Note for the step whose context this is; without one it does nothing.
func Note(ctx context.Context, text string) {
	if here, ok := ctx.Value(atKey{}).(at); ok {
		here.run.tell(EventNote, here.step, clean(text))
	}
}

// close ends the page and tells whether Do intended.
func (p *Page) close() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.intended
}
