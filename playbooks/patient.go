package playbooks

import (
	"context"
	"sync"
	"time"
)

// lasting is a context whose deadline moves on with every sign of life.
type lasting struct {
	context.Context
	limit time.Duration
	over  chan struct{}
	timer *time.Timer

	mu  sync.Mutex
	err error
}

// patient returns a context that ends when ctx does, or when alive was not called
// for that long. cancel releases it.
func patient(ctx context.Context, limit time.Duration) (out context.Context, alive, cancel func()) {
	p := &lasting{Context: ctx, limit: limit, over: make(chan struct{})}
	p.timer = time.AfterFunc(limit, func() { p.end(context.DeadlineExceeded) })
	stop := context.AfterFunc(ctx, func() { p.end(ctx.Err()) })
	return p, func() { p.timer.Reset(limit) }, func() { stop(); p.timer.Stop(); p.end(context.Canceled) }
}

func (p *lasting) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		close(p.over)
	}
}

// Done and Err are those of a context.
func (p *lasting) Done() <-chan struct{} { return p.over }

func (p *lasting) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
