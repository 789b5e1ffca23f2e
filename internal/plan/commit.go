package plan

import "sync"

// commit lets those who need the same thing on disk at the same time share one
// sync. Whoever comes while one is under way waits for the next: the one under way
// may have passed by what he wrote. A sync that fails fails for all who waited
// for it, and for nobody else.
type commit struct {
	mu   sync.Mutex
	last *batch
}

type batch struct {
	begun bool // its sync: too late to join
	done  chan struct{}
	err   error
}

// do returns when a sync that began after the call has ended.
func (c *commit) do(flush func() error) error {
	c.mu.Lock()
	before := c.last
	if before != nil && !before.begun {
		c.mu.Unlock()
		<-before.done
		return before.err
	}
	b := &batch{done: make(chan struct{})}
	defer close(b.done)
	c.last = b
	c.mu.Unlock()
	if before != nil {
		<-before.done
	}
	c.mu.Lock()
	b.begun = true
	c.mu.Unlock()
	b.err = flush()
	return b.err
}
