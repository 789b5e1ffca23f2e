// Package readonly wraps a store so that nothing can be written: what plans
// are built on.
package readonly

import (
	"context"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// Wrap returns s with every write failing (fault.Internal: a plan that writes
// is a bug). The result has the optional abilities of s that providers names,
// reading as they do and refusing their writes; any other ability is hidden,
// since it might write.
func Wrap(s providers.Store) providers.Store {
	r := store{s}
	_, deletes := s.(providers.Lifecycle)
	m, describes := s.(providers.Metadata)
	f, prints := s.(providers.Fingerprinting)
	switch {
	case deletes && describes && prints:
		return struct {
			store
			lifecycle
			metadata
			providers.Fingerprinting
		}{r, lifecycle{}, metadata{m}, f}
	case deletes && describes:
		return struct {
			store
			lifecycle
			metadata
		}{r, lifecycle{}, metadata{m}}
	case deletes && prints:
		return struct {
			store
			lifecycle
			providers.Fingerprinting
		}{r, lifecycle{}, f}
	case describes && prints:
		return struct {
			store
			metadata
			providers.Fingerprinting
		}{r, metadata{m}, f}
	case deletes:
		return struct {
			store
			lifecycle
		}{r, lifecycle{}}
	case describes:
		return struct {
			store
			metadata
		}{r, metadata{m}}
	case prints:
		return struct {
			store
			providers.Fingerprinting
		}{r, f}
	}
	return r
}

func refuse(verb string, p naming.Path) error {
	return fault.New(fault.Internal, verb+" "+p.String(), "planning reads only", "this is a bug in envctl: please report it")
}

// store hides s but for reading.
type store struct{ s providers.Store }

// Read reads as the store does.
func (r store) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	return r.s.Read(ctx, p, v)
}

// History reads as the store does.
func (r store) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	return r.s.History(ctx, p)
}

// List reads as the store does.
func (r store) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	return r.s.List(ctx, prefix)
}

// Write is refused.
func (r store) Write(_ context.Context, p naming.Path, _ providers.Version, _ providers.Patch) (providers.Version, error) {
	return 0, refuse("write", p)
}

// Describe names the store.
func (r store) Describe() string { return r.s.Describe() }

type lifecycle struct{}

// Delete is refused.
func (lifecycle) Delete(_ context.Context, p naming.Path, _ ...providers.Version) error {
	return refuse("delete", p)
}

// Undelete is refused.
func (lifecycle) Undelete(_ context.Context, p naming.Path, _ ...providers.Version) error {
	return refuse("restore", p)
}

// Destroy is refused.
func (lifecycle) Destroy(_ context.Context, p naming.Path, _ ...providers.Version) error {
	return refuse("destroy", p)
}

// Purge is refused.
func (lifecycle) Purge(_ context.Context, p naming.Path) error { return refuse("purge", p) }

type metadata struct{ m providers.Metadata }

// Meta reads as the store does.
func (r metadata) Meta(ctx context.Context, p naming.Path) (providers.Meta, error) {
	return r.m.Meta(ctx, p)
}

// PatchMeta is refused.
func (metadata) PatchMeta(_ context.Context, p naming.Path, _ map[string]string) error {
	return refuse("change metadata of", p)
}

// SetMaxVersions is refused.
func (metadata) SetMaxVersions(_ context.Context, p naming.Path, _ int) error {
	return refuse("change metadata of", p)
}
