package lease

import (
	"context"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Lease is a lock that is held, and renewed until Release.
type Lease struct {
	l   *Locks
	key string

	mu      sync.Mutex
	mine    entry
	version providers.Version // of the document, the newest seen
	lost    error

	stop    context.CancelFunc
	renewer sync.WaitGroup
	// end is when the lock may be somebody else's, unless it is renewed. A timer
	// knows no time of day that could be changed under it.
	end *time.Timer
}

// A write takes up a third of the time at most, so that two thirds of it are left
// when it is answered. Renewals begin after the first of these.
const (
	thirds = 3
	again  = 12
)

func (l *Locks) begin(ctx context.Context, key string, mine entry, v providers.Version) *Lease {
	h := &Lease{l: l, key: key, mine: mine, version: v}
	h.end = time.AfterFunc(l.ttl()*2/thirds, func() {
		_ = h.lose(fault.Newf(fault.Conflict, l.op(key), "run envctl doctor", "the lock could not be renewed in time, and may be somebody else's now"))
	})
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	h.renewer.Go(func() {
		wait := time.NewTimer(l.ttl() / thirds)
		defer wait.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-wait.C:
			}
			if h.renew(ctx) == nil {
				wait.Reset(l.ttl() / thirds)
			} else {
				wait.Reset(l.ttl() / again)
			}
		}
	})
	return h
}

// lose notes the first reason.
func (h *Lease) lose(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil {
		h.lost = err
	}
	return h.lost
}

func (h *Lease) gone() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

// look reads the document, and returns that the lock is lost where it is not
// this lease's any more.
func (h *Lease) look(ctx context.Context) (document, error) {
	d, err := h.l.read(ctx)
	if err != nil {
		return d, err
	}
	now, there := d.held[h.key]
	h.mu.Lock()
	ours := there && now.Nonce == h.mine.Nonce
	if ours {
		h.version = d.version
		if h.mine.Taken.IsZero() && h.mine.At == d.version {
			h.mine.Taken = d.created
		}
	}
	h.mu.Unlock()
	switch {
	case ours:
		return d, nil
	case there:
		return d, h.lose(fault.Newf(fault.Conflict, h.l.op(h.key), "wait for it: this run's lock had run out", "run %s (%s) of %s has taken it over", now.Run, now.Playbook, now.Who))
	}
	return d, h.lose(fault.Newf(fault.Conflict, h.l.op(h.key), "see who changed "+h.l.Path.String(), "the lock was taken away"))
}

// Check returns nil while the lock is held, and Conflict once it is lost. A store
// that cannot be asked takes nothing away that was renewed in time.
func (h *Lease) Check(ctx context.Context) error {
	if err := h.gone(); err != nil {
		return err
	}
	if _, err := h.look(ctx); err != nil {
		return h.gone()
	}
	return nil
}

// renew writes the lock anew, on whatever others wrote beside it.
func (h *Lease) renew(ctx context.Context) error {
	var err error
	for try := range tries {
		var d document
		if d, err = h.look(ctx); err != nil {
			return err
		}
		h.mu.Lock()
		fresh := h.mine
		h.mu.Unlock()
		fresh.At = d.version + 1
		var text secret.Value
		if text, err = fresh.encode(); err != nil {
			return err
		}
		err = h.l.write(ctx, d.version, providers.Patch{h.key: text})
		if err == nil {
			h.end.Reset(h.l.ttl() * 2 / thirds)
			h.mu.Lock()
			h.mine, h.version = fresh, fresh.At
			h.mu.Unlock()
			return nil
		}
		if !moved(err) || !pause(ctx, try) {
			return err
		}
	}
	return err
}

// Release gives the lock back; one that was lost is left to whoever has it. An
// error leaves it to run out.
func (h *Lease) Release(ctx context.Context) error {
	h.stop()
	h.renewer.Wait()
	h.end.Stop()
	if h.gone() != nil {
		return nil //nolint:nilerr // whoever has it gives it back
	}
	var err error
	for try := range tries {
		err = h.l.write(ctx, h.version, providers.Patch{h.key: secret.Value{}})
		if err == nil || !moved(err) || !pause(ctx, try) {
			break
		}
		if _, err = h.look(ctx); err != nil {
			if h.gone() != nil {
				return nil //nolint:nilerr // as above
			}
			break
		}
	}
	if life, ok := h.l.Store.(providers.Lifecycle); ok && err == nil && h.l.Purge {
		if d, rerr := h.l.read(ctx); rerr == nil && len(d.held) == 0 {
			return life.Purge(ctx, h.l.Path)
		}
	}
	return err
}
