package readonly_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/memory"
	"envctl/providers/readonly"
)

var app = naming.Path{Project: "ledger", Environment: "staging", Component: "app"}

func TestWrap(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := memory.New("tester", time.Now)
	for i, v := range []string{"one", "two"} {
		if _, err := m.Write(ctx, app, providers.Version(i), providers.Patch{"K": secret.New(v)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.PatchMeta(ctx, app, map[string]string{"owner": "ops"}); err != nil {
		t.Fatal(err)
	}
	see := func(s providers.Store) string {
		b, err1 := s.Read(ctx, app, 1)
		h, err2 := s.History(ctx, app)
		l, err3 := s.List(ctx, naming.Path{Project: "ledger"})
		meta, err4 := s.(providers.Metadata).Meta(ctx, app)
		k, err5 := s.(providers.Fingerprinting).FingerprintKey(ctx)
		return fmt.Sprint(b.Version, b.Values["K"].Reveal(), h, l, meta, k.Fingerprint(secret.New("x")), err1, err2, err3, err4, err5, s.Describe())
	}
	before := see(m)
	r := readonly.Wrap(m)
	if got := see(r); got != before {
		t.Errorf("wrapped\n%s\nplain\n%s", got, before)
	}
	for _, base := range []providers.Version{providers.Absent, providers.Any, 2} {
		if _, err := r.Write(ctx, app, base, providers.Patch{"K": secret.New("three")}); !fault.Is(err, fault.Internal) {
			t.Errorf("Write on %d: %v", base, err)
		}
	}
	l, meta := r.(providers.Lifecycle), r.(providers.Metadata)
	for what, err := range map[string]error{
		"Delete": l.Delete(ctx, app), "Undelete": l.Undelete(ctx, app, 1), "Destroy": l.Destroy(ctx, app, 1), "Purge": l.Purge(ctx, app),
		"PatchMeta": meta.PatchMeta(ctx, app, map[string]string{"owner": ""}), "SetMaxVersions": meta.SetMaxVersions(ctx, app, 1),
	} {
		if !fault.Is(err, fault.Internal) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := see(m); after != before {
		t.Errorf("something was written\n%s\nbefore\n%s", after, before)
	}
}

// A wrapped store has the abilities of the one inside, and no more.
func TestAbilities(t *testing.T) {
	t.Parallel()
	m := memory.New("tester", time.Now)
	type (
		s = providers.Store
		l = providers.Lifecycle
		d = providers.Metadata
		f = providers.Fingerprinting
	)
	for _, inner := range []providers.Store{
		struct{ s }{m},
		struct {
			s
			l
		}{m, m},
		struct {
			s
			d
		}{m, m},
		struct {
			s
			f
		}{m, m},
		struct {
			s
			l
			d
		}{m, m, m},
		struct {
			s
			l
			f
		}{m, m, m},
		struct {
			s
			d
			f
		}{m, m, m},
		m,
	} {
		abilities := func(x any) [3]bool {
			_, a := x.(l)
			_, b := x.(d)
			_, c := x.(f)
			return [3]bool{a, b, c}
		}
		if got, want := abilities(readonly.Wrap(inner)), abilities(inner); got != want {
			t.Errorf("Lifecycle, Metadata, Fingerprinting: %v, want %v", got, want)
		}
	}
	// Nothing else leads back to what writes: the type has no other methods.
	wrapped := reflect.TypeOf(readonly.Wrap(m))
	known := map[string]bool{}
	for _, i := range []reflect.Type{reflect.TypeFor[s](), reflect.TypeFor[l](), reflect.TypeFor[d](), reflect.TypeFor[f]()} {
		for n := range i.NumMethod() {
			known[i.Method(n).Name] = true
		}
	}
	for n := range wrapped.NumMethod() {
		if name := wrapped.Method(n).Name; !known[name] {
			t.Errorf("the wrapped store also has %s", name)
		}
	}
}
