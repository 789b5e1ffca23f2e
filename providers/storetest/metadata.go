package storetest

import (
	"fmt"
	"maps"

	"envctl/internal/fault"
	"envctl/providers"
)

var metadataTests = []test{
	{"absent", metadata(func(r *room, m providers.Metadata) {
		_, err := m.Meta(r.Context(), r.app())
		r.fails("Meta of a path that never was", err, fault.NotFound)
		r.fails("PatchMeta of a path that never was", m.PatchMeta(r.Context(), r.app(), map[string]string{"a": "1"}), fault.NotFound)
		r.fails("SetMaxVersions of a path that never was", m.SetMaxVersions(r.Context(), r.app(), 3), fault.NotFound)
		r.lists(r.prefix(), nil)
	})},
	{"current", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 3)
		got := r.meta(m)
		if got.Current != 3 {
			r.Errorf("Current is %d, want 3", got.Current)
		}
		if first := r.read(r.app(), 1).Created; got.Created.IsZero() || got.Created.After(first) {
			r.Errorf("the path was created at %v, its first version at %v", got.Created, first)
		}
		if len(got.Custom) != 0 {
			r.Errorf("Custom is %v before anything was set", got.Custom)
		}
	})},
	{"custom", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 1)
		r.unchanged(r.app(), func() {
			r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"owner": "ops", "rotate_every": "90d"}))
			r.custom(m, map[string]string{"owner": "ops", "rotate_every": "90d"})
			r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"rotate_every": "30d", "note": "ü \"q\""}))
			r.custom(m, map[string]string{"owner": "ops", "rotate_every": "30d", "note": "ü \"q\""})
			r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"owner": "", "never": ""}))
			r.custom(m, map[string]string{"rotate_every": "30d", "note": "ü \"q\""})
		})
	})},
	{"custom survives writes", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 1)
		r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"owner": "ops"}))
		r.write(r.app(), 1, values("K", "v"))
		r.ok("SetMaxVersions", m.SetMaxVersions(r.Context(), r.app(), 5))
		r.custom(m, map[string]string{"owner": "ops"})
		if l, ok := r.s.(providers.Lifecycle); ok {
			r.ok("Delete", l.Delete(r.Context(), r.app()))
			r.custom(m, map[string]string{"owner": "ops"})
			if got := r.meta(m); got.Current != 2 || !got.Gone {
				r.Errorf("Current is %d (gone: %v) after the newest version was deleted, want 2, gone", got.Current, got.Gone)
			}
			r.ok("Undelete", l.Undelete(r.Context(), r.app(), 2))
			if r.meta(m).Gone {
				r.Errorf("the newest version is restored, and said to be gone")
			}
			r.ok("Destroy", l.Destroy(r.Context(), r.app(), 2))
			if !r.meta(m).Gone {
				r.Errorf("the newest version is destroyed, and not said to be gone")
			}
			r.ok("Purge", l.Purge(r.Context(), r.app()))
			r.create(r.app(), 1)
			r.custom(m, nil)
		}
	})},
	{"max versions", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 5)
		r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"owner": "ops"}))
		r.ok("SetMaxVersions", m.SetMaxVersions(r.Context(), r.app(), 3))
		if got := r.meta(m).MaxVersions; got != 3 {
			r.Errorf("MaxVersions is %d, want 3", got)
		}
		r.custom(m, map[string]string{"owner": "ops"})
		for i := 5; i < 8; i++ {
			r.write(r.app(), providers.Version(i), values("K", fmt.Sprintf("value-%d", i+1)))
		}
		h := r.history(r.app())
		if len(h) != 3 || h[0].Version != 6 || h[2].Version != 8 {
			r.Errorf("history is %v, want versions 6 to 8", h)
		}
		for v := providers.Version(1); v <= 5; v++ {
			_, err := r.s.Read(r.Context(), r.app(), v)
			r.fails("Read of a pruned version", err, fault.NotFound)
		}
		r.holds(r.app(), 6, values("K", "value-6", "KEEP", "kept"))
		r.holds(r.app(), providers.Latest, values("K", "value-8", "KEEP", "kept"))
		if got := r.meta(m).Current; got != 8 {
			r.Errorf("Current is %d, want 8", got)
		}
	})},
	{"max versions of its own", metadata(func(r *room, m providers.Metadata) {
		other := r.path("staging", "other")
		r.create(r.app(), 2)
		r.create(other, 4)
		r.ok("SetMaxVersions", m.SetMaxVersions(r.Context(), r.app(), 1))
		r.unchanged(other, func() { r.write(r.app(), 2, values("K", "value-3")) })
		if got := r.history(r.app()); len(got) != 1 || got[0].Version != 3 {
			r.Errorf("history is %v, want version 3 alone", got)
		}
	})},
	{"max versions below zero", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 2)
		r.fails("SetMaxVersions of -1", m.SetMaxVersions(r.Context(), r.app(), -1), fault.Usage, fault.Refused, fault.Invalid)
		r.write(r.app(), 2, values("K", "value-3"))
		if got := r.history(r.app()); len(got) != 3 {
			r.Errorf("history has %d entries, want 3", len(got))
		}
	})},
}

func metadata(run func(*room, providers.Metadata)) func(*room) {
	return func(r *room) {
		if m := r.metadata(); m != nil {
			run(r, m)
		}
	}
}

func (r *room) meta(m providers.Metadata) providers.Meta {
	r.Helper()
	got, err := m.Meta(r.Context(), r.app())
	r.ok("Meta", err)
	return got
}

func (r *room) custom(m providers.Metadata, want map[string]string) {
	r.Helper()
	if got := r.meta(m).Custom; !maps.Equal(got, want) {
		r.Errorf("custom metadata is %v, want %v", got, want)
	}
}
