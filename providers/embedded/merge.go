package embedded

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Side says whose change stands where both sides changed the same thing.
type Side int

// The sides. Neither makes such a change a conflict.
const (
	Neither Side = iota
	Ours
	Theirs
)

// Merge joins two branches of the store, ours and theirs, whose last common
// state is base (empty: none), as git hands them to a merge driver, and
// returns the new file's bytes. Keys, custom metadata and recipients merge one
// by one; where both sides changed the same one differently it is a Conflict
// that names path and key, unless prefer settles it. Version numbers: a path
// changed on one side is taken as it is; changed on both it keeps ours, then
// theirs renumbered after them, then the merged one, so that no version's
// values are lost and every number stays below the newest. The revision is
// newer than both sides', so that nobody who saw either calls it rolled back.
// Invalid: a side is damaged, forged, or of another store. Conflict, whatever
// prefer says: both sides re-keyed the store.
func (s *Store) Merge(ctx context.Context, base, ours, theirs []byte, prefer Side) ([]byte, error) {
	op := "merge store " + s.c.File
	ids, err := s.identity(ctx, op)
	if err != nil {
		return nil, err
	}
	var docs [3]*document
	for i, sealed := range [][]byte{base, ours, theirs} {
		side := [...]string{"the common base", "our side", "their side"}[i]
		if i == 0 && len(sealed) == 0 {
			continue
		}
		if docs[i], err = unseal(op+": "+side, sealed, ids); err != nil {
			return nil, err
		}
	}
	b, o, t := docs[0], docs[1], docs[2]
	if b == nil {
		b = &document{Store: o.Store}
	}
	if b.Store != o.Store || t.Store != o.Store {
		return nil, fault.New(fault.Invalid, op, "the sides are not branches of one store", "git log shows where they come from")
	}
	if err := s.genuine(op, o, t); err != nil {
		return nil, err
	}
	// A base that is not what both sides grew from decides who changed what:
	// with a forged one, an old copy would pass for a newer change.
	if docs[0] != nil && !(o.knows(b.Integrity.id()) && o.descends(b.Revision.Number, b.Revision.ID) && t.descends(b.Revision.Number, b.Revision.ID)) {
		return nil, fault.Newf(fault.Invalid, op, "merge branches that share one last common commit",
			"the common base (revision %d) is not an ancestor of both sides", b.Revision.Number)
	}
	now := s.c.Now().UTC()
	m := merger{prefer: prefer, author: s.c.Author, now: now}
	merged := m.documents(b, o, t)
	if len(m.conflicts) > 0 {
		slices.Sort(m.conflicts)
		shown := m.conflicts[:min(len(m.conflicts), 10)]
		return nil, fault.Newf(fault.Conflict, op, "settle it on one branch and merge again, or say whose change stands: envctl store merge --ours, or --theirs",
			"both sides changed %s (%d in all)", strings.Join(shown, ", "), len(m.conflicts))
	}
	id, err := s.id()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, op, "")
	}
	merged.succeed(id, s.c.Author, now, t)
	return merged.seal(op)
}

// genuine checks that one side knows the other's key, and the pinned one: who
// knows a key was a recipient while it was the store's. Where both sides
// re-keyed, neither can vouch for the other, and that is a Conflict.
func (s *Store) genuine(op string, o, t *document) error {
	forged := fault.New(fault.Invalid, op, "one side is forged, or written with a key that was never the store's", "git log shows where it comes from")
	newer, older := o, t
	switch {
	case o.knows(t.Integrity.id()):
	case t.knows(o.Integrity.id()):
		newer, older = t, o
	case slices.ContainsFunc(o.Former, func(k key) bool { return t.knows(k.id()) }):
		return fault.New(fault.Conflict, op, "both sides re-keyed the store, so neither can vouch for the other",
			"take one side, for example git checkout --ours "+s.c.File+", and repeat on it what the other did")
	default:
		return forged
	}
	var known *pin
	if s.c.PinDir != "" {
		var err error
		if known, err = readJSON[pin](op, s.pinFile(o.Store)); err != nil {
			return err
		}
	}
	switch {
	case known == nil:
		s.c.Notice(s.c.File + ": first use of this store here: nothing to compare the two sides with but each other")
	case !newer.knows(known.Key):
		return forged
	}
	if !newer.Integrity.Equal(older.Integrity.Value) {
		s.c.Notice(fmt.Sprintf("%s: one side (revision %d by %s) was written with a key from before a re-keying: whoever was removed then knows that key, so look at what it changed",
			s.c.File, older.Revision.Number, orUnknown(older.Revision.Author)))
	}
	return nil
}

// knows tells whether d holds the key of that name, present or former.
func (d *document) knows(id string) bool {
	return d.Integrity.id() == id || slices.ContainsFunc(d.Former, func(k key) bool { return k.id() == id })
}

type merger struct {
	prefer    Side
	author    string
	now       time.Time
	conflicts []string
}

// pick settles one thing that has a state on each side.
func pick[T any](m *merger, what string, b, o, t T, equal func(a, b T) bool) T {
	switch {
	case equal(o, t), equal(b, t):
		return o
	case equal(b, o):
		return t
	case m.prefer == Ours:
		return o
	case m.prefer == Theirs:
		return t
	}
	m.conflicts = append(m.conflicts, what)
	return o
}

// pickMap settles two maps key by key; absent is a state like any other.
func pickMap[T any](m *merger, what string, b, o, t map[string]T, equal func(a, b T) bool) map[string]T {
	type state struct {
		has   bool
		value T
	}
	at := func(from map[string]T, k string) state {
		v, ok := from[k]
		return state{ok, v}
	}
	same := func(a, b state) bool { return a.has == b.has && (!a.has || equal(a.value, b.value)) }
	merged := map[string]T{}
	for k := range union(o, t) {
		if got := pick(m, what+k, at(b, k), at(o, k), at(t, k), same); got.has {
			merged[k] = got.value
		}
	}
	return merged
}

func union[T any](a, b map[string]T) map[string]struct{} {
	all := make(map[string]struct{}, len(a))
	for k := range a {
		all[k] = struct{}{}
	}
	for k := range b {
		all[k] = struct{}{}
	}
	return all
}

func (m *merger) documents(b, o, t *document) *document {
	merged := o.clone()
	if !o.knows(t.Integrity.id()) { // theirs re-keyed
		merged.Integrity, merged.Fingerprint, merged.Former = t.Integrity, t.Fingerprint, slices.Clone(t.Former)
	}
	m.recipients(merged, b, o, t)
	merged.Paths = map[string]*entry{}
	for name := range union(o.Paths, t.Paths) {
		if e := m.entry(name, b.Paths[name], o.Paths[name], t.Paths[name]); e != nil {
			merged.Paths[name] = e
		}
	}
	return merged
}

func (m *merger) recipients(merged, b, o, t *document) {
	byKey := func(d *document) map[string]Recipient {
		all := make(map[string]Recipient, len(d.Recipients))
		for _, r := range d.Recipients {
			all[r.Key] = r
		}
		return all
	}
	left := pickMap(m, "recipient ", byKey(b), byKey(o), byKey(t), func(a, b Recipient) bool { return a.Name == b.Name })
	merged.Recipients = slices.SortedFunc(maps.Values(left), func(a, b Recipient) int {
		if c := a.Added.Compare(b.Added); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	named := map[string]bool{}
	for i, r := range merged.Recipients {
		for n := 2; named[merged.Recipients[i].Name]; n++ { // two people, one name
			merged.Recipients[i].Name = fmt.Sprintf("%s-%d", r.Name, n)
		}
		named[merged.Recipients[i].Name] = true
	}
}

// entry merges one path; nil: it is gone.
func (m *merger) entry(name string, b, o, t *entry) *entry {
	switch {
	case o.same(t), b.same(t):
		return o
	case b.same(o):
		return t
	case o == nil || t == nil: // purged on one side, changed on the other
		return pick(m, name, b, o, t, (*entry).same)
	}
	if b == nil || !b.Created.Equal(o.Created) || !b.Created.Equal(t.Created) {
		b = &entry{} // made anew on a side: nothing in common
	}
	merged := o.clone()
	merged.MaxVersions = pick(m, name+" max_versions", b.MaxVersions, o.MaxVersions, t.MaxVersions, func(a, b int) bool { return a == b })
	merged.Custom = pickMap(m, name+" metadata ", b.Custom, o.Custom, t.Custom, func(a, b string) bool { return a == b })
	common := merged.marks(b, t)
	for _, v := range t.Versions {
		if v.Version > common {
			moved := *v
			moved.Version += o.Current - common
			merged.Versions = append(merged.Versions, &moved)
		}
	}
	merged.Current = merged.find(providers.Latest).Version
	m.settle(name, merged, b.state(), o.state(), t.state())
	merged.prune()
	return merged
}

// marks merges the marks of the versions that both sides have into e, which
// begins as ours, and returns the number of the newest of those.
func (e *entry) marks(b, t *entry) providers.Version {
	common := b.Current
	for _, v := range e.Versions {
		theirs := t.find(v.Version)
		if theirs == nil || !theirs.Created.Equal(v.Created) || theirs.Author != v.Author {
			continue
		}
		common = max(common, v.Version)
		was := b.find(v.Version)
		switch {
		case theirs.Destroyed || v.Destroyed:
			v.Deleted, v.Destroyed, v.Values = false, true, nil
		case theirs.Deleted != (was != nil && was.Deleted):
			v.Deleted = theirs.Deleted
		}
	}
	return common
}

// state is what a path holds for readers: nothing, where its newest version
// is deleted or destroyed or was never made.
type state struct {
	live   bool
	values values
}

func (a state) same(b state) bool {
	return a.live == b.live && maps.EqualFunc(a.values, b.values, secret.Value.Equal)
}

func (e *entry) state() state {
	if len(e.Versions) == 0 {
		return state{}
	}
	if v := e.find(providers.Latest); !v.Deleted && !v.Destroyed {
		return state{true, v.Values}
	}
	return state{}
}

// settle makes merged's newest version hold what the sides agree on.
func (m *merger) settle(name string, merged *entry, b, o, t state) {
	want := state{live: true}
	if o.live && t.live {
		want.values = pickMap(m, name+"#", b.values, o.values, t.values, secret.Value.Equal)
	} else {
		want = pick(m, name, b, o, t, state.same)
	}
	switch newest := merged.find(providers.Latest); {
	case merged.state().same(want):
	case want.live:
		merged.Current++
		merged.Versions = append(merged.Versions, &version{Version: merged.Current, Created: m.now, Author: text(m.author), Values: want.values})
	default:
		newest.Deleted = true
	}
}

// same tells whether two entries are alike in everything; nil: no entry.
func (e *entry) same(o *entry) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.Created.Equal(o.Created) && e.Current == o.Current && e.MaxVersions == o.MaxVersions && maps.Equal(e.Custom, o.Custom) &&
		slices.EqualFunc(e.Versions, o.Versions, (*version).same)
}

func (v *version) same(o *version) bool {
	return v.Version == o.Version && v.Created.Equal(o.Created) && v.Author == o.Author &&
		v.Deleted == o.Deleted && v.Destroyed == o.Destroyed && maps.EqualFunc(v.Values, o.Values, secret.Value.Equal)
}
