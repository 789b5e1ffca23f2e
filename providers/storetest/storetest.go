// Package storetest tells whether a store keeps its contract: one suite, run
// against every store there is.
package storetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Harness says how to reach the store under test and what it cannot do. An
// ability that is missing without being named here fails the suite: a method
// whose signature drifted must not go untested unnoticed.
type Harness struct {
	// Open returns a store for one subtest. It may be shared with others (a real
	// server): every subtest keeps to a project name of its own.
	Open func(t *testing.T) providers.Store
	// Another returns a second handle on the same data, as another process would
	// have it; nil: the store lives in one handle only.
	Another func(t *testing.T, s providers.Store) providers.Store
	// TextOnly: values travel as JSON strings, so bytes that are not UTF-8 must
	// be refused (fault.Refused), never changed. Otherwise they are kept exactly.
	TextOnly bool
	// NoLifecycle and NoMetadata: the store lacks the optional ability.
	NoLifecycle, NoMetadata bool
	// Still: the store's clock stands, so that nothing ever runs out.
	Still bool
	// Writers and Rounds size the concurrency tests; 0: 8 writers, 8 rounds.
	Writers, Rounds int
}

// Run runs the whole suite with a harness that has only open.
func Run(t *testing.T, open func(t *testing.T) providers.Store) {
	t.Helper()
	Harness{Open: open}.Run(t)
}

// Run runs the whole suite, each test as a parallel subtest.
func (h Harness) Run(t *testing.T) {
	t.Helper()
	if h.Writers == 0 {
		h.Writers = 8
	}
	if h.Rounds == 0 {
		h.Rounds = 8
	}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"read", readTests},
		{"write", writeTests},
		{"values", valueTests},
		{"concurrent", concurrentTests},
		{"lifecycle", lifecycleTests},
		{"metadata", metadataTests},
		{"as of", asOfTests},
		{"errors", errorTests},
		{"model", modelTests},
		{"locks", lockTests},
	} {
		for _, tc := range group.tests {
			t.Run(group.name+"/"+tc.name, func(t *testing.T) {
				t.Parallel()
				tc.run(newRoom(t, h))
			})
		}
	}
}

type test struct {
	name string
	run  func(r *room)
}

// room is one subtest's own corner of the store.
type room struct {
	*testing.T
	h       Harness
	s       providers.Store
	project string
}

func newRoom(t *testing.T, h Harness) *room {
	t.Helper()
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return &room{T: t, h: h, s: h.Open(t), project: "contract-" + hex.EncodeToString(b[:])}
}

func (r *room) path(env, component string) naming.Path {
	return naming.Path{Project: r.project, Environment: env, Component: component}
}

func (r *room) app() naming.Path { return r.path("staging", "app") }

// lifecycle returns the ability, or ends the subtest where it is declared absent.
func (r *room) lifecycle() providers.Lifecycle {
	r.Helper()
	l, ok := r.s.(providers.Lifecycle)
	if ok == r.h.NoLifecycle {
		r.Fatalf("the store has Lifecycle: %v; the harness says NoLifecycle: %v", ok, r.h.NoLifecycle)
	}
	return l
}

func (r *room) metadata() providers.Metadata {
	r.Helper()
	m, ok := r.s.(providers.Metadata)
	if ok == r.h.NoMetadata {
		r.Fatalf("the store has Metadata: %v; the harness says NoMetadata: %v", ok, r.h.NoMetadata)
	}
	return m
}

// values builds a patch or an expectation from clear text.
func values(kv ...string) map[string]secret.Value {
	m := make(map[string]secret.Value, len(kv)/2)
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = secret.New(kv[i+1])
	}
	return m
}

func (r *room) write(p naming.Path, base providers.Version, patch map[string]secret.Value) providers.Version {
	r.Helper()
	v, err := r.s.Write(r.Context(), p, base, maps.Clone(patch))
	if err != nil {
		r.Fatalf("Write %s on %d: %v", p, base, err)
	}
	return v
}

// create makes p with versions 1..n; version i holds K=value-i and KEEP=kept.
func (r *room) create(p naming.Path, n int) {
	r.Helper()
	for i := 1; i <= n; i++ {
		patch := values("K", fmt.Sprintf("value-%d", i))
		if i == 1 {
			patch["KEEP"] = secret.New("kept")
		}
		if v := r.write(p, providers.Version(i-1), patch); v != providers.Version(i) {
			r.Fatalf("Write %s on %d returned version %d, want %d", p, i-1, v, i)
		}
	}
}

func (r *room) read(p naming.Path, v providers.Version) providers.Bundle {
	r.Helper()
	b, err := r.s.Read(r.Context(), p, v)
	if err != nil {
		r.Fatalf("Read %s version %d: %v", p, v, err)
	}
	return b
}

// holds checks that version v of p (Latest: the newest) has exactly these values.
func (r *room) holds(p naming.Path, v providers.Version, want map[string]secret.Value) {
	r.Helper()
	r.same(r.read(p, v), want)
}

func (r *room) same(b providers.Bundle, want map[string]secret.Value) {
	r.Helper()
	for k, w := range want {
		got, ok := b.Values[k]
		switch {
		case !ok || !got.IsSet():
			r.Errorf("%s version %d: key %q is missing", b.Path, b.Version, k)
		case !got.Equal(w):
			// Test values are no secrets, but long ones drown the rest.
			r.Errorf("%s version %d: key %q is %s, want %s", b.Path, b.Version, k, short(got), short(w))
		}
	}
	for k := range b.Values {
		if _, ok := want[k]; !ok {
			r.Errorf("%s version %d: key %q should not be there", b.Path, b.Version, k)
		}
	}
}

func short(v secret.Value) string {
	s := v.Reveal()
	if len(s) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", s[:40], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// fails checks that err is of one of the kinds.
func (r *room) fails(what string, err error, kinds ...fault.Kind) {
	r.Helper()
	if err == nil {
		r.Errorf("%s: succeeded, want an error of kind %v", what, kinds)
		return
	}
	if !fault.Is(err, kinds...) {
		r.Errorf("%s: kind %v (%v), want %v", what, fault.KindOf(err), err, kinds)
	}
}

// unchanged runs what must have no effect on p and checks that it had none.
func (r *room) unchanged(p naming.Path, do func()) {
	r.Helper()
	before := r.snapshot(p)
	do()
	if after := r.snapshot(p); after != before {
		r.Errorf("%s changed\nfrom %s\nto   %s", p, before, after)
	}
}

// snapshot renders all a reader can see of p.
func (r *room) snapshot(p naming.Path) string {
	r.Helper()
	var s strings.Builder
	h, err := r.s.History(r.Context(), p)
	if err != nil {
		return "history: " + fault.KindOf(err).String()
	}
	for _, rev := range h {
		fmt.Fprintf(&s, "%d deleted=%v destroyed=%v created=%s", rev.Version, rev.Deleted, rev.Destroyed, rev.Created.Format(time.RFC3339Nano))
		b, err := r.s.Read(r.Context(), p, rev.Version)
		if err != nil {
			fmt.Fprintf(&s, " %v;", fault.KindOf(err))
			continue
		}
		for _, k := range sorted(b.Values) {
			fmt.Fprintf(&s, " %q=%q", k, b.Values[k].Reveal())
		}
		s.WriteByte(';')
	}
	return s.String()
}

func (r *room) history(p naming.Path) []providers.Revision {
	r.Helper()
	h, err := r.s.History(r.Context(), p)
	if err != nil {
		r.Fatalf("History %s: %v", p, err)
	}
	return h
}

// another returns a second handle, or the first where there is only one.
func (r *room) another() providers.Store {
	r.Helper()
	if r.h.Another == nil {
		return r.s
	}
	return r.h.Another(r.T, r.s)
}

func (r *room) cancelled() context.Context {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	return ctx
}
