package storetest

import (
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

var lifecycleTests = []test{
	{"delete the newest", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 3)
		r.ok("Delete", l.Delete(r.Context(), r.app()))
		_, err := r.s.Read(r.Context(), r.app(), providers.Latest)
		r.fails("Read of a deleted path", err, fault.Deleted)
		if err != nil && !strings.Contains(err.Error(), "3") {
			r.Errorf("the error does not name version 3: %v", err)
		}
		_, err = r.s.Read(r.Context(), r.app(), 3)
		r.fails("Read of the deleted version", err, fault.Deleted)
		r.holds(r.app(), 2, values("K", "value-2", "KEEP", "kept"))
		r.states("..d")
		r.lists(r.prefix(), []naming.Path{r.app()})
	})},
	{"delete named versions", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 4)
		r.ok("Delete", l.Delete(r.Context(), r.app(), 1, 3))
		r.states("d.d.")
		_, err := r.s.Read(r.Context(), r.app(), 1)
		r.fails("Read of a deleted version", err, fault.Deleted)
		r.holds(r.app(), providers.Latest, values("K", "value-4", "KEEP", "kept"))
		r.write(r.app(), 4, values("K", "value-5"))
		r.states("d.d..")
	})},
	{"undelete", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		before := r.snapshot(r.app())
		r.ok("Delete", l.Delete(r.Context(), r.app()))
		r.ok("Delete again", l.Delete(r.Context(), r.app(), 2))
		r.ok("Undelete", l.Undelete(r.Context(), r.app(), 2))
		if after := r.snapshot(r.app()); after != before {
			r.Errorf("delete and undelete changed the path\nfrom %s\nto   %s", before, after)
		}
		r.ok("Undelete again", l.Undelete(r.Context(), r.app(), 2))
		r.write(r.app(), 2, values("K", "value-3"))
		r.holds(r.app(), providers.Latest, values("K", "value-3", "KEEP", "kept"))
	})},
	{"write on deleted", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		r.ok("Delete", l.Delete(r.Context(), r.app()))
		r.unchanged(r.app(), func() {
			_, err := r.s.Write(r.Context(), r.app(), providers.Absent, values("K", "lost"))
			r.fails("Write on Absent of a deleted path", err, fault.Deleted)
			_, err = r.s.Write(r.Context(), r.app(), providers.Any, values("K", "lost"))
			r.fails("Write on Any of a deleted path", err, fault.Deleted)
			_, err = r.s.Write(r.Context(), r.app(), 1, values("K", "lost"))
			r.fails("Write on a stale base of a deleted path", err, fault.Conflict)
		})
	})},
	{"write on a deleted base begins anew", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		r.ok("Delete", l.Delete(r.Context(), r.app()))
		if v := r.write(r.app(), 2, values("NEW", "n")); v != 3 {
			r.Errorf("Write on deleted version 2 returned %d", v)
		}
		r.holds(r.app(), providers.Latest, values("NEW", "n"))
		r.states(".d.")
	})},
	{"destroy", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 3)
		r.ok("Destroy", l.Destroy(r.Context(), r.app(), 2))
		r.states(".x.")
		_, err := r.s.Read(r.Context(), r.app(), 2)
		r.fails("Read of a destroyed version", err, fault.Destroyed)
		r.ok("Destroy again", l.Destroy(r.Context(), r.app(), 2))
		_ = l.Undelete(r.Context(), r.app(), 2) // an error is welcome, an effect is not
		_ = l.Delete(r.Context(), r.app(), 2)
		_, err = r.s.Read(r.Context(), r.app(), 2)
		r.fails("Read of a destroyed version after Undelete", err, fault.Destroyed)
		r.holds(r.app(), 1, values("K", "value-1", "KEEP", "kept"))
		r.holds(r.app(), providers.Latest, values("K", "value-3", "KEEP", "kept"))
	})},
	{"destroy what is deleted", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		r.ok("Delete", l.Delete(r.Context(), r.app(), 1))
		r.ok("Destroy", l.Destroy(r.Context(), r.app(), 1))
		_, err := r.s.Read(r.Context(), r.app(), 1)
		r.fails("Read of a version deleted, then destroyed", err, fault.Destroyed)
	})},
	{"destroy the newest", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		r.ok("Destroy", l.Destroy(r.Context(), r.app(), 2))
		_, err := r.s.Read(r.Context(), r.app(), providers.Latest)
		r.fails("Read of a path whose newest version is destroyed", err, fault.Destroyed)
		r.unchanged(r.app(), func() {
			_, err := r.s.Write(r.Context(), r.app(), providers.Absent, values("K", "lost"))
			r.fails("Write on Absent of it", err, fault.Destroyed, fault.Conflict)
			_, err = r.s.Write(r.Context(), r.app(), providers.Any, values("K", "lost"))
			r.fails("Write on Any of it", err, fault.Destroyed)
		})
		r.write(r.app(), 2, values("NEW", "n"))
		r.holds(r.app(), providers.Latest, values("NEW", "n"))
		r.holds(r.app(), 1, values("K", "value-1", "KEEP", "kept"))
	})},
	{"purge and create again", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 3)
		r.create(r.path("staging", "other"), 1)
		first := r.read(r.app(), 1).Created
		time.Sleep(5 * time.Millisecond)
		r.ok("Purge", l.Purge(r.Context(), r.app()))
		for v := range providers.Version(4) {
			_, err := r.s.Read(r.Context(), r.app(), v)
			r.fails("Read of a purged path", err, fault.NotFound)
		}
		_, err := r.s.History(r.Context(), r.app())
		r.fails("History of a purged path", err, fault.NotFound)
		r.lists(r.prefix(), []naming.Path{r.path("staging", "other")})
		_, err = r.s.Write(r.Context(), r.app(), 3, values("K", "lost"))
		r.fails("Write on the base of a purged path", err, fault.Conflict)
		_, err = r.s.Write(r.Context(), r.app(), providers.Any, values("K", "lost"))
		r.fails("Write on Any of a purged path", err, fault.NotFound)
		if v := r.write(r.app(), providers.Absent, values("K", "again")); v != 1 {
			r.Errorf("the first version after a purge is %d", v)
		}
		b := r.read(r.app(), 1)
		r.same(b, values("K", "again"))
		if !b.Created.After(first) {
			r.Errorf("created %v before the purge, %v after: they cannot be told apart", first, b.Created)
		}
	})},
	{"of absent paths", lifecycle(func(r *room, l providers.Lifecycle) {
		// Whether these fail is the store's matter; that they make nothing is not.
		_ = l.Delete(r.Context(), r.app(), 1)
		_ = l.Delete(r.Context(), r.app())
		_ = l.Undelete(r.Context(), r.app(), 1)
		_ = l.Destroy(r.Context(), r.app(), 1)
		_ = l.Purge(r.Context(), r.app())
		_, err := r.s.History(r.Context(), r.app())
		r.fails("History", err, fault.NotFound)
		r.lists(r.prefix(), nil)
		if v := r.write(r.app(), providers.Absent, values("K", "v")); v != 1 {
			r.Errorf("the first version is %d", v)
		}
	})},
	{"of absent versions", lifecycle(func(r *room, l providers.Lifecycle) {
		r.create(r.app(), 2)
		r.unchanged(r.app(), func() {
			_ = l.Delete(r.Context(), r.app(), 7)
			_ = l.Undelete(r.Context(), r.app(), 7)
			_ = l.Destroy(r.Context(), r.app(), 7)
		})
	})},
	{"neighbours", lifecycle(func(r *room, l providers.Lifecycle) {
		other := r.path("staging", "app-2")
		r.create(other, 2)
		r.create(r.app(), 2)
		r.unchanged(other, func() {
			r.ok("Delete", l.Delete(r.Context(), r.app()))
			r.ok("Undelete", l.Undelete(r.Context(), r.app(), 2))
			r.ok("Destroy", l.Destroy(r.Context(), r.app(), 1))
			r.ok("Purge", l.Purge(r.Context(), r.app()))
		})
	})},
}

// lifecycle runs test where the store has the ability; where the harness says
// it lacks it, there is nothing more to ask than that.
func lifecycle(run func(*room, providers.Lifecycle)) func(*room) {
	return func(r *room) {
		if l := r.lifecycle(); l != nil {
			run(r, l)
		}
	}
}

func (r *room) ok(what string, err error) {
	r.Helper()
	if err != nil {
		r.Fatalf("%s: %v", what, err)
	}
}

// states checks app's history: one letter a version, oldest first: '.' live,
// 'd' deleted, 'x' destroyed.
func (r *room) states(want string) {
	r.Helper()
	h := r.history(r.app())
	var got strings.Builder
	for _, rev := range h {
		switch {
		case rev.Destroyed:
			got.WriteByte('x')
		case rev.Deleted:
			got.WriteByte('d')
		default:
			got.WriteByte('.')
		}
	}
	if got.String() != want {
		r.Errorf("the versions are %q, want %q (. live, d deleted, x destroyed)", got.String(), want)
	}
	if !slices.IsSortedFunc(h, func(a, b providers.Revision) int { return int(a.Version - b.Version) }) {
		r.Errorf("history is not oldest first")
	}
}
