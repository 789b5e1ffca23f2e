package storetest

import (
	"time"

	"envctl/providers"
)

// asOfTests: what Read says beside the values. A store need not tell its time.
var asOfTests = []test{
	{"custom metadata comes with a version", metadata(func(r *room, m providers.Metadata) {
		r.create(r.app(), 2)
		if got := r.read(r.app(), providers.Latest).Custom; len(got) != 0 {
			r.Errorf("Custom is %v before anything was set", got)
		}
		r.ok("PatchMeta", m.PatchMeta(r.Context(), r.app(), map[string]string{"rotate_every": "90d"}))
		for _, v := range []providers.Version{providers.Latest, 1} {
			if got := r.read(r.app(), v).Custom; len(got) != 1 || got["rotate_every"] != "90d" {
				r.Errorf("Custom of version %d is %v", v, got)
			}
		}
	})},
	{"the store's time", func(r *room) {
		r.create(r.app(), 1)
		b := r.read(r.app(), providers.Latest)
		if !b.AsOf.IsZero() && b.AsOf.Before(b.Created.Truncate(time.Second)) {
			r.Errorf("read at %v, by the clock that wrote it at %v", b.AsOf, b.Created)
		}
	}},
}
