package plan

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// Whoever comes during a sync shares the next one, and each gets the outcome of the
// sync that began after he came.
func TestCommitIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			c     commit
			group sync.WaitGroup
			free  = make(chan error)
			syncs int
		)
		slow := func() error { syncs++; return <-free }
		errs := make([]error, 5)
		join := func(i int) {
			group.Go(func() { errs[i] = c.do(slow) })
			synctest.Wait()
		}
		join(0) // its sync is under way
		for i := 1; i < 4; i++ {
			join(i)
		}
		if syncs != 1 {
			t.Fatalf("%d syncs at the same time", syncs)
		}
		free <- nil
		synctest.Wait()
		if syncs != 2 {
			t.Fatalf("%d syncs: who came during the first was not waited for", syncs)
		}
		join(4)
		torn := errors.New("torn")
		free <- torn
		free <- nil
		group.Wait()
		if errs[0] != nil || errs[4] != nil || syncs != 3 {
			t.Error(errs, syncs)
		}
		for _, err := range errs[1:4] {
			if !errors.Is(err, torn) {
				t.Errorf("of a sync that failed: %v", err)
			}
		}
	})
}
