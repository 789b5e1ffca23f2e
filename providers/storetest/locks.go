package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/lease"
)

var lockTests = []test{
	{"hidden", func(r *room) {
		r.create(r.app(), 1)
		lock := r.path("staging", naming.LockComponent)
		r.write(lock, providers.Absent, values("K", "v"))
		r.holds(lock, 1, values("K", "v"))
		r.lists(r.prefix(), []naming.Path{r.app()})
		r.lists(naming.Path{Project: r.project, Environment: "staging", Component: naming.LockComponent}, nil)
	}},
	{"held", shared(func(r *room) {
		mine := r.lock(r.machine(), "app", "run1")
		r.refused("app", "run2", "run1 (rotate) of run1@there")
		r.refused("", "run2", "run1 (rotate) of run1@there")
		r.unlock(r.lock(r.machine(), "postgres", "run2"))
		r.ok("Check", mine.Check(r.Context()))
		r.unlock(mine)
		all := r.lock(r.machine(), "", "run3")
		r.refused("app", "run4", "the whole environment")
		r.unlock(all)
		r.unlock(r.lock(r.machine(), "app", "run4"))
	})},
	{"the run's own, and a dead one's", shared(func(r *room) {
		first := r.lock(r.machine(), "app", "run1")
		second := r.lock(r.machine(), "app", "run1") // resumed, after a kill
		r.fails("Check of a lock taken over", first.Check(r.Context()), fault.Conflict)
		r.unlock(first)
		r.ok("Check after the release of the one before", second.Check(r.Context()))
		third, err := r.machine().Lock(r.Context(), "", lease.Holder{Run: "run2", Who: "x"}, func(h lease.Holder) bool { return h.Run == "run1" })
		r.ok("Lock", err)
		r.fails("Check of a dead run's lock", second.Check(r.Context()), fault.Conflict)
		r.unlock(second)
		r.unlock(third)
	})},
	{"exactly one", shared(func(r *room) {
		var inside, got atomic.Int32
		var all sync.WaitGroup
		for i := range r.h.Writers {
			m := r.machine()
			all.Go(func() {
				for n := range r.h.Rounds {
					l, err := m.Lock(r.Context(), "app", lease.Holder{Run: fmt.Sprintf("run%d-%d", i, n), Who: "x"}, nil)
					if fault.Is(err, fault.Conflict) {
						continue
					}
					if err != nil {
						r.Errorf("Lock: %v", err)
						return
					}
					if inside.Add(1) != 1 {
						r.Error("two hold the lock")
					}
					got.Add(1)
					if err := l.Check(r.Context()); err != nil {
						r.Errorf("Check: %v", err)
					}
					inside.Add(-1)
					r.unlock(l)
				}
			})
		}
		all.Wait()
		if got.Load() == 0 {
			r.Error("nobody ever got the lock")
		}
	})},
	{"renewed", shared(func(r *room) {
		m := r.machine()
		m.TTL = time.Second
		l := r.lock(m, "app", "run1")
		for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
			if l.Check(r.Context()) != nil {
				return // a machine too slow to renew each second: nothing to be seen here
			}
			if other, err := r.machine().Lock(r.Context(), "app", lease.Holder{Run: "run2", Who: "x"}, nil); err == nil {
				r.unlock(other)
				r.fails("Check of a lock that ran out on a slow machine", l.Check(r.Context()), fault.Conflict)
				return
			}
		}
		r.unlock(l)
	})},
	{"a dead machine's", shared(func(r *room) {
		if r.h.Still {
			return
		}
		m := r.machine()
		m.TTL = time.Second
		gone := &cutOff{Store: m.Store}
		m.Store = gone
		l := r.lock(m, "app", "run1")
		gone.cut.Store(true)
		for {
			other, err := r.machine().Lock(r.Context(), "app", lease.Holder{Run: "run2", Who: "x"}, nil)
			if err == nil {
				gone.cut.Store(false) // it is back, and must not go on
				r.fails("Check", l.Check(r.Context()), fault.Conflict)
				r.unlock(l)
				r.ok("Check after the release of the dead one", other.Check(r.Context()))
				r.unlock(other)
				return
			}
			r.fails("Lock of what is held", err, fault.Conflict)
			time.Sleep(50 * time.Millisecond)
		}
	})},
	{"removed by hand", shared(func(r *room) {
		l := r.lock(r.machine(), "app", "run1")
		r.ok("Delete", r.lifecycle().Delete(r.Context(), r.path("staging", naming.LockComponent)))
		r.fails("Check", l.Check(r.Context()), fault.Conflict)
		r.unlock(l)
		l = r.lock(r.machine(), "app", "run2")
		r.ok("Purge", r.lifecycle().Purge(r.Context(), r.path("staging", naming.LockComponent)))
		r.fails("Check", l.Check(r.Context()), fault.Conflict)
		r.unlock(l)
		m := r.machine()
		m.Purge = true
		r.unlock(r.lock(m, "", "run3"))
		_, err := r.s.Read(r.Context(), m.Path, providers.Latest)
		r.fails("Read of the lock of an environment that ended", err, fault.NotFound)
	})},
}

// cutOff is a store that a machine loses.
type cutOff struct {
	providers.Store
	cut atomic.Bool
}

func (c *cutOff) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	if c.cut.Load() {
		return providers.Bundle{}, fault.New(fault.Unavailable, "read", "cut off", "")
	}
	return c.Store.Read(ctx, p, v)
}

func (c *cutOff) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	if c.cut.Load() {
		return 0, fault.New(fault.Unavailable, "write", "cut off", "")
	}
	return c.Store.Write(ctx, p, base, patch)
}

func shared(run func(*room)) func(*room) {
	return func(r *room) {
		if _, ok := r.s.(providers.Shared); ok {
			run(r)
		}
	}
}

// machine is another operator's.
func (r *room) machine() *lease.Locks {
	s := r.s
	if r.h.Another != nil {
		s = r.h.Another(r.T, s)
	}
	return &lease.Locks{Store: s, Path: r.path("staging", naming.LockComponent), Rand: rand.Reader}
}

func (r *room) lock(m *lease.Locks, component, run string) *lease.Lease {
	r.Helper()
	l, err := m.Lock(r.Context(), component, lease.Holder{Run: run, Playbook: "rotate", Who: run + "@there"}, nil)
	r.ok("Lock", err)
	return l
}

func (r *room) unlock(l *lease.Lease) {
	r.Helper()
	if err := l.Release(r.Context()); err != nil {
		r.Errorf("Release: %v", err)
	}
}

func (r *room) refused(component, run, words string) {
	r.Helper()
	_, err := r.machine().Lock(r.Context(), component, lease.Holder{Run: run, Who: "x"}, nil)
	r.fails("Lock of what is held", err, fault.Conflict)
	if !strings.Contains(fmt.Sprint(err), words) {
		r.Errorf("%v: want %q in it", err, words)
	}
}
