// Package memory is the store that tests and plans use, and the model the
// others are compared with: the contract in the fewest words, kept in memory.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// DefaultMaxVersions is how many versions a path keeps unless told otherwise.
const DefaultMaxVersions = 10

// Store keeps everything in memory. It has all optional abilities. Its
// fingerprint key is a constant, so that tests can write fingerprints down.
type Store struct {
	author string
	now    func() time.Time

	mu    sync.Mutex
	last  time.Time
	paths map[naming.Path]*entry
}

type entry struct {
	meta     providers.Meta
	versions []version // oldest first
}

type version struct {
	providers.Revision
	values map[string]secret.Value
}

// New returns an empty store whose versions carry author and the times of now,
// moved on a little where now stands still.
func New(author string, now func() time.Time) *Store {
	return &Store{author: author, now: now, paths: map[naming.Path]*entry{}}
}

// Describe names the store.
func (s *Store) Describe() string { return "memory" }

// Shared says that a test's machines share it.
func (s *Store) Shared() {}

// FingerprintKey returns a key that is the same in every memory store.
func (s *Store) FingerprintKey(ctx context.Context) (secret.Key, error) {
	if err := ctx.Err(); err != nil {
		return secret.Key{}, fault.Wrap(err, fault.KindOf(err), "read fingerprint key", "")
	}
	return secret.NewKey([]byte("memory store fingerprint key")), nil
}

// begin checks what every method checks first, and locks.
func (s *Store) begin(ctx context.Context, verb string, p naming.Path) (op string, err error) {
	op = verb + " " + p.String()
	if err := ctx.Err(); err != nil {
		return op, fault.Wrap(err, fault.KindOf(err), op, "")
	}
	if err := p.Check(); err != nil {
		return op, fault.Wrap(err, fault.Usage, verb, "")
	}
	s.mu.Lock()
	return op, nil
}

func (s *Store) find(op string, p naming.Path) (*entry, error) {
	e, ok := s.paths[p]
	if !ok {
		return nil, fault.New(fault.NotFound, op, "nothing was ever written there", "")
	}
	return e, nil
}

func (e *entry) find(v providers.Version) *version {
	if v == providers.Latest {
		v = e.meta.Current
	}
	for i := range e.versions {
		if e.versions[i].Version == v {
			return &e.versions[i]
		}
	}
	return nil
}

// live returns an error unless v can be read.
func (v *version) live(op string, p naming.Path) error {
	if v.Destroyed || v.Deleted {
		return providers.Gone(op, p, v.Version, v.Destroyed)
	}
	return nil
}

// Read returns a version of p.
func (s *Store) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	op, err := s.begin(ctx, "read", p)
	if err != nil {
		return providers.Bundle{}, err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return providers.Bundle{}, err
	}
	found := e.find(v)
	if found == nil {
		return providers.Bundle{}, fault.Newf(fault.NotFound, op, "", "there is no version %d", v)
	}
	if err := found.live(op, p); err != nil {
		return providers.Bundle{}, err
	}
	return providers.Bundle{
		Path: p, Version: found.Version, Created: found.Created, Values: maps.Clone(found.values),
		Custom: maps.Clone(e.meta.Custom), AsOf: s.now().UTC(),
	}, nil
}

// History returns p's versions, oldest first.
func (s *Store) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	op, err := s.begin(ctx, "read history of", p)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return nil, err
	}
	history := make([]providers.Revision, 0, len(e.versions))
	for _, v := range e.versions {
		history = append(history, v.Revision)
	}
	return history, nil
}

// List returns the paths below prefix, sorted.
func (s *Store) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "list "+prefix.String(), "")
	}
	if err := checkPrefix(prefix); err != nil {
		return nil, fault.Wrap(err, fault.Usage, "list", "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []naming.Path
	for p := range s.paths {
		if !naming.IsReserved(p.Component) && (prefix.Project == "" || p.Project == prefix.Project) &&
			(prefix.Environment == "" || p.Environment == prefix.Environment) &&
			(prefix.Component == "" || p.Component == prefix.Component) {
			paths = append(paths, p)
		}
	}
	sort.Slice(paths, func(i, j int) bool { return paths[i].String() < paths[j].String() })
	return paths, nil
}

// checkPrefix allows trailing parts to be empty, and nothing else.
func checkPrefix(p naming.Path) error {
	parts := []string{p.Project, p.Environment, p.Component}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		if err := naming.CheckSegment("prefix segment", part); err != nil {
			return err
		}
	}
	return nil
}

// Write applies patch to p if its newest version is base.
func (s *Store) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	op, err := s.begin(ctx, "write", p)
	if err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	e, exists := s.paths[p]
	if !exists {
		switch base {
		case providers.Any:
			_, err := s.find(op, p)
			return 0, err
		case providers.Absent:
			e = &entry{meta: providers.Meta{Created: s.stamp()}}
		default:
			return 0, fault.Newf(fault.Conflict, op, "", "there is no version %d", base)
		}
	}
	values := map[string]secret.Value{}
	if newest := e.find(providers.Latest); newest != nil {
		if base != providers.Any && base != providers.Absent && base != newest.Version {
			return 0, fault.Newf(fault.Conflict, op, "", "changed by someone else (now version %d)", newest.Version)
		}
		switch err := newest.live(op, p); {
		case err != nil && base != newest.Version:
			return 0, err
		case err == nil && base == providers.Absent:
			return 0, fault.Newf(fault.Conflict, op, "", "it exists already (now version %d)", newest.Version)
		}
		maps.Copy(values, newest.values) // nothing, where it is deleted
		if newest.Deleted || newest.Destroyed {
			clear(values)
		}
	}
	for k, v := range patch {
		if v.IsSet() {
			values[k] = v
		} else {
			delete(values, k)
		}
	}
	e.meta.Current++
	e.versions = append(e.versions, version{
		Revision: providers.Revision{Version: e.meta.Current, Created: s.stamp(), Author: s.author}, values: values,
	})
	keep := e.meta.MaxVersions
	if keep == 0 {
		keep = DefaultMaxVersions
	}
	if n := len(e.versions) - keep; n > 0 {
		e.versions = slices.Delete(e.versions, 0, n)
	}
	s.paths[p] = e
	return e.meta.Current, nil
}

func (s *Store) stamp() time.Time {
	t := s.now().UTC()
	if !t.After(s.last) {
		t = s.last.Add(time.Nanosecond)
	}
	s.last = t
	return t
}

// change runs do on each of p's versions that are named (none: the newest).
func (s *Store) change(ctx context.Context, verb string, p naming.Path, versions []providers.Version, do func(*version)) error {
	op, err := s.begin(ctx, verb, p)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		versions = []providers.Version{e.meta.Current}
	}
	found := make([]*version, len(versions))
	for i, v := range versions {
		if v == providers.Latest || e.find(v) == nil {
			return fault.Newf(fault.NotFound, op, "", "there is no version %d", v)
		}
		found[i] = e.find(v)
	}
	for _, v := range found {
		do(v)
	}
	return nil
}

// Delete marks versions deleted.
func (s *Store) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "delete", p, v, func(v *version) { v.Deleted = !v.Destroyed })
}

// Undelete brings deleted versions back; destroyed ones stay destroyed.
func (s *Store) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "restore", p, v, func(v *version) { v.Deleted = false })
}

// Destroy forgets the values of versions.
func (s *Store) Destroy(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "destroy", p, v, func(v *version) { v.Deleted, v.Destroyed, v.values = false, true, nil })
}

// Purge forgets p; a path that never was is gone already.
func (s *Store) Purge(ctx context.Context, p naming.Path) error {
	if _, err := s.begin(ctx, "purge", p); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.paths, p)
	return nil
}

// Meta returns p's metadata.
func (s *Store) Meta(ctx context.Context, p naming.Path) (providers.Meta, error) {
	op, err := s.begin(ctx, "read metadata of", p)
	if err != nil {
		return providers.Meta{}, err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return providers.Meta{}, err
	}
	m := e.meta
	m.Custom = maps.Clone(m.Custom)
	if v := e.find(providers.Latest); v != nil {
		m.Gone = v.Deleted || v.Destroyed
	}
	return m, nil
}

// PatchMeta changes custom keys; "" removes one.
func (s *Store) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	op, err := s.begin(ctx, "change metadata of", p)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return err
	}
	if e.meta.Custom == nil {
		e.meta.Custom = map[string]string{}
	}
	for k, v := range custom {
		if v == "" {
			delete(e.meta.Custom, k)
		} else {
			e.meta.Custom[k] = v
		}
	}
	return nil
}

// SetMaxVersions sets how many versions p keeps from its next write on; 0:
// DefaultMaxVersions.
func (s *Store) SetMaxVersions(ctx context.Context, p naming.Path, n int) error {
	op, err := s.begin(ctx, "change metadata of", p)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	e, err := s.find(op, p)
	if err != nil {
		return err
	}
	if n < 0 {
		return fault.New(fault.Usage, op, fmt.Sprintf("cannot keep %d versions", n), "")
	}
	e.meta.MaxVersions = n
	return nil
}

var (
	_ providers.Store          = (*Store)(nil)
	_ providers.Lifecycle      = (*Store)(nil)
	_ providers.Metadata       = (*Store)(nil)
	_ providers.Fingerprinting = (*Store)(nil)
	_ providers.Shared         = (*Store)(nil)
)
