package storetest

import (
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

var writeTests = []test{
	{"create", func(r *room) {
		if v := r.write(r.app(), providers.Absent, values("A", "1", "B", "2")); v != 1 {
			r.Errorf("the first version is %d", v)
		}
		r.holds(r.app(), providers.Latest, values("A", "1", "B", "2"))
	}},
	{"create on existing", func(r *room) {
		r.create(r.app(), 2)
		r.unchanged(r.app(), func() {
			_, err := r.s.Write(r.Context(), r.app(), providers.Absent, values("K", "lost"))
			r.fails("Write on Absent of an existing path", err, fault.Conflict)
		})
	}},
	{"check and set", func(r *room) {
		r.create(r.app(), 2)
		if v := r.write(r.app(), 2, values("K", "new")); v != 3 {
			r.Errorf("Write on 2 returned %d", v)
		}
		r.holds(r.app(), providers.Latest, values("K", "new", "KEEP", "kept"))
	}},
	{"stale base", func(r *room) {
		r.create(r.app(), 3)
		for _, base := range []providers.Version{1, 2, 4, 99, -2} {
			r.unchanged(r.app(), func() {
				_, err := r.s.Write(r.Context(), r.app(), base, values("K", "lost", "KEEP", "lost"))
				if base == -2 {
					r.fails("Write on a base that means nothing", err, fault.Conflict, fault.Usage, fault.Refused)
				} else {
					r.fails("Write on a stale base", err, fault.Conflict)
				}
			})
		}
	}},
	{"base of absent path", func(r *room) {
		_, err := r.s.Write(r.Context(), r.app(), 1, values("K", "lost"))
		r.fails("Write on 1 of a path that never was", err, fault.Conflict)
		_, err = r.s.Read(r.Context(), r.app(), providers.Latest)
		r.fails("Read after a refused write", err, fault.NotFound)
		r.lists(r.prefix(), nil)
	}},
	{"any", func(r *room) {
		r.create(r.app(), 2)
		if v := r.write(r.app(), providers.Any, values("K", "new")); v != 3 {
			r.Errorf("Write on Any returned %d, want 3", v)
		}
		r.holds(r.app(), providers.Latest, values("K", "new", "KEEP", "kept"))
		if v := r.write(r.app(), providers.Any, values("ADDED", "x")); v != 4 {
			r.Errorf("Write on Any returned %d, want 4", v)
		}
		r.holds(r.app(), providers.Latest, values("K", "new", "KEEP", "kept", "ADDED", "x"))
	}},
	{"any of absent path", func(r *room) {
		_, err := r.s.Write(r.Context(), r.app(), providers.Any, values("K", "lost"))
		r.fails("Write on Any of a path that never was", err, fault.NotFound)
		_, err = r.s.Read(r.Context(), r.app(), providers.Latest)
		r.fails("Read after a refused write", err, fault.NotFound)
		r.lists(r.prefix(), nil)
	}},
	{"remove a key with any", func(r *room) {
		r.create(r.app(), 1)
		r.write(r.app(), providers.Any, map[string]secret.Value{"K": {}})
		r.holds(r.app(), providers.Latest, values("KEEP", "kept"))
		r.holds(r.app(), 1, values("K", "value-1", "KEEP", "kept"))
	}},
	{"remove, add and change with a base", func(r *room) {
		r.write(r.app(), providers.Absent, values("A", "1", "B", "2", "C", "3"))
		r.write(r.app(), 1, map[string]secret.Value{"A": {}, "B": secret.New("two"), "D": secret.New("4")})
		r.holds(r.app(), providers.Latest, values("B", "two", "C", "3", "D", "4"))
	}},
	{"remove what is not there", func(r *room) {
		r.create(r.app(), 1)
		r.write(r.app(), 1, map[string]secret.Value{"NOT_THERE": {}})
		r.holds(r.app(), providers.Latest, values("K", "value-1", "KEEP", "kept"))
		r.write(r.app(), providers.Any, map[string]secret.Value{"NOT_THERE": {}})
		r.holds(r.app(), providers.Latest, values("K", "value-1", "KEEP", "kept"))
	}},
	{"remove the last key", func(r *room) {
		r.write(r.app(), providers.Absent, values("A", "1"))
		r.write(r.app(), providers.Any, map[string]secret.Value{"A": {}})
		r.holds(r.app(), providers.Latest, values())
		r.write(r.app(), 2, values("B", "2"))
		r.holds(r.app(), providers.Latest, values("B", "2"))
		r.write(r.app(), 3, map[string]secret.Value{"B": {}})
		r.holds(r.app(), providers.Latest, values())
	}},
	{"remove on create", func(r *room) {
		r.write(r.app(), providers.Absent, map[string]secret.Value{"A": secret.New("1"), "B": {}})
		r.holds(r.app(), providers.Latest, values("A", "1"))
	}},
	{"the same again", func(r *room) {
		r.create(r.app(), 1)
		if v := r.write(r.app(), 1, values("K", "value-1")); v != 2 {
			r.Errorf("Write of the same value returned version %d, want 2", v)
		}
		r.holds(r.app(), providers.Latest, values("K", "value-1", "KEEP", "kept"))
	}},
	{"neighbours", func(r *room) {
		others := r.path("production", "app")
		r.create(others, 2)
		r.create(r.path("staging", "app-2"), 1)
		r.create(r.app(), 1)
		r.unchanged(others, func() {
			r.unchanged(r.path("staging", "app-2"), func() {
				r.write(r.app(), 1, values("K", "new"))
				r.write(r.app(), providers.Any, map[string]secret.Value{"KEEP": {}})
			})
		})
	}},
	{"patch is the caller's", func(r *room) {
		patch := providers.Patch{"A": secret.New("1"), "GONE": {}}
		if _, err := r.s.Write(r.Context(), r.app(), providers.Absent, patch); err != nil {
			r.Fatal(err)
		}
		if gone, ok := patch["GONE"]; len(patch) != 2 || !ok || gone.IsSet() || patch["A"].Reveal() != "1" {
			r.Error("Write changed the caller's patch")
		}
		patch["A"] = secret.New("changed afterwards")
		r.holds(r.app(), providers.Latest, values("A", "1"))
	}},
}
