package storetest

import (
	"slices"
	"sort"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

var readTests = []test{
	{"absent", func(r *room) {
		_, err := r.s.Read(r.Context(), r.app(), providers.Latest)
		r.fails("Read of a path that never was", err, fault.NotFound)
		_, err = r.s.Read(r.Context(), r.app(), 3)
		r.fails("Read of a version of a path that never was", err, fault.NotFound)
		_, err = r.s.History(r.Context(), r.app())
		r.fails("History of a path that never was", err, fault.NotFound)
		r.lists(r.prefix(), nil)
	}},
	{"absent version", func(r *room) {
		r.create(r.app(), 2)
		_, err := r.s.Read(r.Context(), r.app(), 3)
		r.fails("Read of a version to come", err, fault.NotFound)
		_, err = r.s.Read(r.Context(), r.app(), -7)
		r.fails("Read of a version below zero", err, fault.NotFound, fault.Usage, fault.Refused)
	}},
	{"versions", func(r *room) {
		r.create(r.app(), 3)
		r.holds(r.app(), 1, values("K", "value-1", "KEEP", "kept"))
		r.holds(r.app(), 2, values("K", "value-2", "KEEP", "kept"))
		r.holds(r.app(), 3, values("K", "value-3", "KEEP", "kept"))
		b := r.read(r.app(), providers.Latest)
		if b.Version != 3 || b.Path != r.app() {
			r.Errorf("Latest is %s version %d, want %s version 3", b.Path, b.Version, r.app())
		}
		if len(b.NonString) != 0 {
			r.Errorf("NonString is %q for string values", b.NonString)
		}
	}},
	{"bundle is the caller's", func(r *room) {
		r.create(r.app(), 1)
		b := r.read(r.app(), providers.Latest)
		delete(b.Values, "K")
		b.Values["INTRUDER"] = b.Values["KEEP"]
		r.holds(r.app(), providers.Latest, values("K", "value-1", "KEEP", "kept"))
	}},
	{"history", func(r *room) {
		start := time.Now().Add(-time.Hour)
		r.create(r.app(), 3)
		h := r.history(r.app())
		if len(h) != 3 {
			r.Fatalf("History has %d entries, want 3", len(h))
		}
		for i, rev := range h {
			if rev.Version != providers.Version(i+1) {
				r.Errorf("entry %d is version %d, want oldest first", i, rev.Version)
			}
			if rev.Deleted || rev.Destroyed {
				r.Errorf("version %d: deleted %v, destroyed %v, want neither", rev.Version, rev.Deleted, rev.Destroyed)
			}
			if rev.Created.Before(start) || rev.Created.After(time.Now().Add(time.Hour)) {
				r.Errorf("version %d was created at %v", rev.Version, rev.Created)
			}
			b := r.read(r.app(), rev.Version)
			if !b.Created.Equal(rev.Created) {
				r.Errorf("version %d: Read says %v, History says %v", rev.Version, b.Created, rev.Created)
			}
			if rev.Created.Location() != time.UTC || b.Created.Location() != time.UTC {
				r.Errorf("version %d: times are not UTC", rev.Version)
			}
		}
	}},
	{"list", func(r *room) {
		paths := []naming.Path{
			r.path("ci", "app"), r.path("staging", "app"), r.path("staging", "postgres"),
			r.path("staging-2", "app"), r.path("stag", "app"), r.path("staging", "app-2"), r.path("staging", "a_b"),
		}
		for _, p := range paths {
			r.create(p, 1)
		}
		r.lists(r.prefix(), paths)
		r.lists(r.path("staging", ""), []naming.Path{paths[1], paths[2], paths[5], paths[6]})
		r.lists(r.path("stag", ""), []naming.Path{paths[4]})
		r.lists(r.path("sta", ""), nil)
		r.lists(r.path("production", ""), nil)
		r.lists(naming.Path{Project: r.project + "-other"}, nil)
	}},
	{"list whole store", func(r *room) {
		r.create(r.app(), 1)
		all, err := r.s.List(r.Context(), naming.Path{})
		if err != nil {
			r.Fatalf("List of everything: %v", err)
		}
		if !slices.Contains(all, r.app()) {
			r.Errorf("List of everything lacks %s", r.app())
		}
		if !sort.SliceIsSorted(all, func(i, j int) bool { return all[i].String() < all[j].String() }) {
			r.Errorf("List of everything is not sorted")
		}
	}},
	{"another handle", func(r *room) {
		r.create(r.app(), 2)
		b, err := r.another().Read(r.Context(), r.app(), providers.Latest)
		if err != nil {
			r.Fatalf("Read through another handle: %v", err)
		}
		r.same(b, values("K", "value-2", "KEEP", "kept"))
		if v, err := r.another().Write(r.Context(), r.app(), providers.Any, values("OTHER", "o")); err != nil || v != 3 {
			r.Fatalf("Write through another handle: version %d, %v", v, err)
		}
		r.holds(r.app(), providers.Latest, values("K", "value-2", "KEEP", "kept", "OTHER", "o"))
	}},
	{"describe", func(r *room) {
		if r.s.Describe() == "" {
			r.Error("Describe says nothing")
		}
	}},
	{"fingerprint key", func(r *room) {
		f, ok := r.s.(providers.Fingerprinting)
		if !ok {
			return // an optional ability that nothing else here leans on
		}
		a, err := f.FingerprintKey(r.Context())
		if err != nil {
			r.Fatalf("FingerprintKey: %v", err)
		}
		again, ok := r.another().(providers.Fingerprinting)
		if !ok {
			r.Fatal("another handle has no FingerprintKey")
		}
		b, err := again.FingerprintKey(r.Context())
		if err != nil {
			r.Fatalf("FingerprintKey: %v", err)
		}
		v := values("K", "v")["K"]
		if a.Fingerprint(v) == "" || a.Fingerprint(v) != b.Fingerprint(v) {
			r.Errorf("fingerprints differ between handles: %q and %q", a.Fingerprint(v), b.Fingerprint(v))
		}
	}},
}

func (r *room) prefix() naming.Path { return naming.Path{Project: r.project} }

// lists checks List(prefix) against want, in any order of want.
func (r *room) lists(prefix naming.Path, want []naming.Path) {
	r.Helper()
	got, err := r.s.List(r.Context(), prefix)
	if err != nil {
		r.Errorf("List %s: %v", prefix, err)
		return
	}
	want = slices.Clone(want)
	sort.Slice(want, func(i, j int) bool { return want[i].String() < want[j].String() })
	if !slices.Equal(got, want) {
		r.Errorf("List %s\ngot  %v\nwant %v", prefix, got, want)
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
