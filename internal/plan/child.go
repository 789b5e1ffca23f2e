package plan

import (
	"context"
	"fmt"
	"os"
	"time"

	"envctl/internal/fault"
)

// child is a program that a step started: it can outlive a process that is killed.
type child struct {
	pid         int
	began, host string // when, as the system counts; on which machine
}

// Started journals that the step whose context this is has started a program,
// which is to be given its work only then: whoever goes on with the run, should
// this process die, first waits until the program has ended. An error means that
// the program must be ended. Without a step it does nothing.
func Started(ctx context.Context, pid int) error {
	here, ok := ctx.Value(atKey{}).(at)
	if !ok {
		return nil
	}
	// It need not outlast a power cut, which no child does either.
	host, _ := os.Hostname() // without one it is taken to be this machine's
	return here.run.jot(record{Type: recChild, Step: here.step, PID: pid, Text: began(pid), Host: host})
}

// alive tells whether the program runs still, and not another one with its number.
func (c child) alive() bool {
	host, _ := os.Hostname()
	if c.pid <= 0 || c.host != host {
		return false
	}
	return exists(c.pid) && (c.began == "" || began(c.pid) == c.began)
}

// survivor returns a program of the run that is still at work; nil for none.
func (r Record) survivor() *child {
	if r.State == Running {
		return nil // its own process waits for it
	}
	for i := range r.children {
		if r.children[i].alive() {
			return &r.children[i]
		}
	}
	return nil
}

// childLimit is how long Run, Resume and Undo wait for the programs of a process
// that died: as long as a deploy script may take.
const childLimit = 10 * time.Minute

// outlived waits until nothing that run r started is at work any more, so that no
// second one works beside it. op is what waits.
func (e *Engine) outlived(ctx context.Context, op string, r Record) error {
	c := r.survivor()
	if c == nil {
		return nil
	}
	e.warn(fmt.Sprintf("process %d, which run %s started, is still at work: this waits until it ends", c.pid, r.ID))
	limit := time.NewTimer(childLimit)
	defer limit.Stop()
	for ; c != nil; c = r.survivor() {
		select {
		case <-ctx.Done():
			out := stillAtWork(op, c, fault.Interrupted)
			if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // it is that very value
				out = stillAtWork(op, c, fault.Unavailable)
			}
			return out
		case <-e.Force:
			return stillAtWork(op, c, fault.Interrupted)
		case <-limit.C:
			return stillAtWork(op, c, fault.Conflict)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func stillAtWork(op string, c *child, k fault.Kind) error {
	return fault.Newf(k, op, fmt.Sprintf("let it end, or end it with kill -- -%d, then run the command again", c.pid), "process %d, which the run started, is still at work", c.pid)
}

func (e *Engine) warn(text string) {
	if e.Observer != nil {
		e.Observer(Event{At: e.Now().UTC(), Kind: EventWarning, Text: text})
	}
}
