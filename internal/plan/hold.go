package plan

import (
	"context"
	"time"

	"envctl/internal/fault"
)

// Holder names a run to those who find its lock.
type Holder struct{ Run, Playbook, Who string }

// Locks keeps runs of several machines apart.
type Locks interface {
	// Lock takes a component, or all of the environment where component is "",
	// for h. A lock in its way gives way when it ran out, when it is h's own, or
	// when dead says that its holder is. Kinds: Conflict (somebody works on it),
	// Denied (this operator may not lock), and what the store meets.
	Lock(ctx context.Context, component string, h Holder, dead func(Holder) bool) (Lock, error)
}

// Lock is held until Release.
type Lock interface {
	Check(ctx context.Context) error // Conflict once it is lost
	Release(ctx context.Context) error
}

// releasing is what giving a lock back may take; it runs out by itself.
const releasing = 10 * time.Second

// hold takes the plan's lock, for as long as release is not called. An operator
// who may not take it is warned: the locks of this machine and the store's
// check-and-set still hold.
func (r *run) hold(ctx context.Context) (release func(), err error) {
	if r.plan.Locks == nil || !r.plan.Contended() {
		return func() {}, nil
	}
	h := r.st.header
	lock, err := r.plan.Locks.Lock(ctx, h.Component, Holder{Run: h.ID, Playbook: h.Playbook, Who: r.e.Who}, r.e.dead)
	if fault.Is(err, fault.Denied) {
		text := "runs on other machines are not kept out of " + target(h) + ": " + clean(err.Error())
		if hint := fault.HintOf(err); hint != "" {
			text += " (" + hint + ")"
		}
		r.tell(EventWarning, "", text)
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	r.lock = lock
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasing)
		defer cancel()
		if err := lock.Release(ctx); err != nil {
			r.tell(EventWarning, "", "the lock on "+target(h)+" stands until it runs out: "+clean(err.Error()))
		}
	}, nil
}

// dead tells whether a holder is a run of this operator on this machine that no
// process works on any more.
func (e *Engine) dead(h Holder) bool {
	if h.Who != e.Who {
		return false
	}
	r, err := e.Load(h.Run)
	return err == nil && r.State != Running
}

// fence returns nil while the run's lock is held.
func (r *run) fence() error {
	if r.lock == nil {
		return nil
	}
	if err := r.lost(); err != nil {
		return err
	}
	err := r.lock.Check(r.work)
	if err != nil {
		r.mu.Lock()
		r.taken = err
		r.mu.Unlock()
	}
	return err
}

// lost is why the run may do nothing more, nil while it may.
func (r *run) lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}
