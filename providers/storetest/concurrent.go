package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

var concurrentTests = []test{
	{"distinct keys", func(r *room) {
		r.write(r.app(), providers.Absent, values("KEEP", "kept"))
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			versions = map[providers.Version]string{}
			want     = values("KEEP", "kept")
		)
		for w := range r.h.Writers {
			s := r.another()
			wg.Go(func() {
				for n := range r.h.Rounds {
					k := fmt.Sprintf("W%d_%d", w, n)
					v, err := s.Write(r.Context(), r.app(), providers.Any, values(k, k))
					if err != nil {
						r.Errorf("Write of %s: %v", k, err)
						continue
					}
					mu.Lock()
					if other := versions[v]; other != "" {
						r.Errorf("version %d was given to both %s and %s", v, other, k)
					}
					versions[v], want[k] = k, secret.New(k)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		b := r.read(r.app(), providers.Latest)
		r.same(b, want)
		if wrote := 1 + r.h.Writers*r.h.Rounds; int(b.Version) != wrote {
			r.Errorf("%d writes led to version %d", wrote, b.Version)
		}
	}},
	{"one winner", func(r *room) {
		r.write(r.app(), providers.Absent, values("K", "start", "KEEP", "kept"))
		for round := 1; round <= r.h.Rounds; round++ {
			r.race(round, providers.Version(round))
		}
	}},
	{"one creator", func(r *room) {
		for round := range r.h.Rounds {
			p := r.path("staging", fmt.Sprintf("app-%d", round))
			var wins atomic.Int32
			var wg sync.WaitGroup
			for w := range r.h.Writers {
				s := r.another()
				wg.Go(func() {
					v, err := s.Write(r.Context(), p, providers.Absent, values("K", fmt.Sprint(w)))
					if err == nil {
						wins.Add(1)
						if v != 1 {
							r.Errorf("the creator got version %d", v)
						}
					} else if !fault.Is(err, fault.Conflict) {
						r.Errorf("a creator that lost: kind %v (%v), want conflict", fault.KindOf(err), err)
					}
				})
			}
			wg.Wait()
			if wins.Load() != 1 {
				r.Errorf("round %d: %d creators", round, wins.Load())
			}
		}
	}},
	{"readers see whole versions", func(r *room) {
		r.write(r.app(), providers.Absent, values("A", "0", "B", "0"))
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			s := r.another()
			wg.Go(func() {
				for last := providers.Version(0); ; {
					select {
					case <-done:
						return
					default:
					}
					b, err := s.Read(r.Context(), r.app(), providers.Latest)
					if err != nil {
						r.Errorf("Read beside a writer: %v", err)
						return
					}
					if !b.Values["A"].Equal(b.Values["B"]) {
						r.Errorf("version %d was read in halves", b.Version)
					}
					if b.Version < last {
						r.Errorf("Read went back from version %d to %d", last, b.Version)
					}
					last = b.Version
				}
			})
		}
		for n := 1; n <= 2*r.h.Rounds; n++ {
			s := fmt.Sprint(n)
			r.write(r.app(), providers.Version(n), values("A", s, "B", s))
		}
		close(done)
		wg.Wait()
	}},
}

// race lets every writer try one key on the same base: one wins, the others
// are told, and the store holds the winner's value.
func (r *room) race(round int, base providers.Version) {
	r.Helper()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		winner []string
	)
	for w := range r.h.Writers {
		s := r.another()
		wg.Go(func() {
			value := fmt.Sprintf("round %d writer %d", round, w)
			v, err := s.Write(r.Context(), r.app(), base, values("K", value))
			switch {
			case err == nil:
				mu.Lock()
				winner = append(winner, value)
				mu.Unlock()
				if v != base+1 {
					r.Errorf("the winner on %d got version %d", base, v)
				}
			case !fault.Is(err, fault.Conflict):
				r.Errorf("a writer that lost: kind %v (%v), want conflict", fault.KindOf(err), err)
			}
		})
	}
	wg.Wait()
	if len(winner) != 1 {
		r.Fatalf("round %d has %d winners", round, len(winner))
	}
	r.holds(r.app(), providers.Latest, values("K", winner[0], "KEEP", "kept"))
}
