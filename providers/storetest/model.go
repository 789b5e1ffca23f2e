package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/memory"
)

// modelTests do the same at random to the store and to the memory store, and
// compare all that can be read of both. A failure names its seed.
var modelTests = []test{
	{"random operations", func(r *room) {
		for seed := range uint64(6) {
			model := &room{T: r.T, h: r.h, s: memory.New("model", time.Now), project: r.project}
			dice := rand.New(rand.NewPCG(seed, 0))
			paths := []naming.Path{r.path(fmt.Sprintf("model-%d", seed), "app"), r.path(fmt.Sprintf("model-%d", seed), "postgres")}
			var log []string
			for range 40 {
				p := paths[dice.IntN(len(paths))]
				op := r.anything(dice, p)
				got, want := op.do(r.s), op.do(model.s)
				log = append(log, fmt.Sprintf("%s %s: %v", p.Component, op.name, fault.KindOf(want)))
				if op.exact && (got == nil) != (want == nil) || op.exact && want != nil && !fault.Is(got, fault.KindOf(want)) {
					r.Fatalf("seed %d: %v, want %v\n%q", seed, got, want, log)
				}
				for _, p := range paths {
					if got, want := r.shape(p), model.shape(p); got != want {
						r.Fatalf("seed %d: %s is\n%s\nwant\n%s\n%q", seed, p, got, want, log)
					}
				}
			}
		}
	}},
}

type operation struct {
	name  string
	exact bool // the contract says which error it is
	do    func(s providers.Store) error
}

// anything picks an operation; the dice fall before it runs, so that it is
// the same for both stores.
func (r *room) anything(dice *rand.Rand, p naming.Path) operation {
	current := providers.Version(0)
	if h, err := r.s.History(r.Context(), p); err == nil {
		current = h[len(h)-1].Version
	}
	v := max(1, current-providers.Version(dice.IntN(4)))
	ctx, n := r.Context(), dice.IntN(20)
	_, hasLifecycle := r.s.(providers.Lifecycle)
	_, hasMetadata := r.s.(providers.Metadata)
	switch {
	case n < 6 && hasLifecycle:
		l := func(s providers.Store) providers.Lifecycle { return s.(providers.Lifecycle) }
		switch n {
		case 0:
			return operation{fmt.Sprintf("delete %d", v), false, func(s providers.Store) error { return l(s).Delete(ctx, p, v) }}
		case 1, 2:
			return operation{fmt.Sprintf("undelete %d", v), false, func(s providers.Store) error { return l(s).Undelete(ctx, p, v) }}
		case 3:
			return operation{fmt.Sprintf("destroy %d", v), false, func(s providers.Store) error { return l(s).Destroy(ctx, p, v) }}
		case 4:
			return operation{"delete", false, func(s providers.Store) error { return l(s).Delete(ctx, p) }}
		}
		if dice.IntN(3) == 0 {
			return operation{"purge", false, func(s providers.Store) error { return l(s).Purge(ctx, p) }}
		}
	case n == 6 && hasMetadata:
		keep := 1 + dice.IntN(5)
		return operation{fmt.Sprintf("keep %d", keep), true, func(s providers.Store) error {
			return s.(providers.Metadata).SetMaxVersions(ctx, p, keep)
		}}
	case n == 7 && hasMetadata:
		custom := map[string]string{fmt.Sprint("k", dice.IntN(3)): []string{"", "x", "y"}[dice.IntN(3)]}
		return operation{fmt.Sprint("metadata ", custom), true, func(s providers.Store) error {
			return s.(providers.Metadata).PatchMeta(ctx, p, custom)
		}}
	}
	base := []providers.Version{current, current, current, providers.Any, providers.Any, providers.Absent, v}[dice.IntN(7)]
	patch := providers.Patch{}
	for range 1 + dice.IntN(3) {
		k := fmt.Sprint("K", dice.IntN(5))
		patch[k] = secret.New([]string{"", "a", "b", "ü\n"}[dice.IntN(4)])
		if dice.IntN(4) == 0 {
			patch[k] = secret.Value{}
		}
		if base == providers.Any {
			break // of one key, as the contract has it
		}
	}
	return operation{fmt.Sprintf("write %v on %d", sorted(patch), base), true, func(s providers.Store) error {
		_, err := s.Write(ctx, p, base, maps.Clone(patch))
		return err
	}}
}

// shape is a snapshot without times and authors, with metadata.
func (r *room) shape(p naming.Path) string {
	h, err := r.s.History(r.Context(), p)
	if err != nil {
		return fault.KindOf(err).String()
	}
	var s string
	for _, rev := range h {
		s += fmt.Sprintf("%d deleted=%v destroyed=%v", rev.Version, rev.Deleted, rev.Destroyed)
		b, err := r.s.Read(r.Context(), p, rev.Version)
		if err != nil {
			s += fmt.Sprintf(" %v\n", fault.KindOf(err))
			continue
		}
		for _, k := range sorted(b.Values) {
			s += fmt.Sprintf(" %s=%q", k, b.Values[k].Reveal())
		}
		s += "\n"
	}
	if m, ok := r.s.(providers.Metadata); ok {
		meta, err := m.Meta(r.Context(), p)
		s += fmt.Sprintf("current=%d keep=%d %v %v", meta.Current, meta.MaxVersions, meta.Custom, err)
	}
	return s
}
