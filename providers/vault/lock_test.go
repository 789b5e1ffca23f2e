package vault

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/naming"
	"envctl/providers/lease"
)

// Whatever becomes of the request that takes, or gives back, a lock, there is one
// holder or none, and each side knows which.
func TestLocksOverABadLine(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	for how := lose502; how <= dropStall; how++ {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, v.Addr)
			mine := open(t, p.URL, v.RootToken, func(c *Config) { c.Timeout = 3 * time.Second })
			theirs := open(t, v.Addr, v.RootToken)
			path := naming.Path{Project: slug("lock-" + how.String()), Environment: "staging", Component: naming.LockComponent}
			alice := &lease.Locks{Store: mine, Path: path, Rand: rand.Reader}
			bob := &lease.Locks{Store: theirs, Path: path, Rand: rand.Reader}
			lock := func(l *lease.Locks, run string) (*lease.Lease, error) {
				return l.Lock(t.Context(), "app", lease.Holder{Run: run, Playbook: "deploy", Who: run + "@there"}, nil)
			}
			isLock := func(r *http.Request) bool { return writes(r) && strings.Contains(r.URL.Path, naming.LockComponent) }
			p.failing(how, 1, isLock)
			held, err := lock(alice, "alice")
			if err != nil {
				if !fault.Is(err, fault.Unavailable, fault.Unknown) {
					t.Fatalf("%s: %v", fault.KindOf(err), err)
				}
				// Alice does not go on. Her own run may take it at once, a line later.
				if held, err = lock(alice, "alice"); err != nil {
					t.Fatal(err)
				}
			}
			if err := held.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := lock(bob, "bob"); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "alice@there") {
				t.Fatalf("bob, meanwhile: %v", err)
			}
			p.failing(how, 1, isLock)
			err = held.Release(t.Context())
			got, lerr := lock(bob, "bob")
			if err == nil && lerr != nil {
				t.Fatalf("given back, and still held: %v", lerr)
			}
			if lerr == nil {
				if err := got.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
