// Package all is the explicit list of providers: how each kind of store is
// opened for an environment.
package all

import (
	"context"
	"sync"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/embedded"
	"envctl/providers/vault"
)

// Vault returns the KV v2 store of c; it connects when first used.
func Vault(c vault.Config) (providers.Store, error) {
	s, err := vault.Open(c)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Embedded returns the embedded store of c. A file that does not exist is an
// empty store, which create makes before the first write.
func Embedded(c embedded.Config, create func(context.Context) error) providers.Store {
	return &firstWrite{Store: embedded.Open(c), create: create}
}

// firstWrite is an embedded store that may not exist yet.
type firstWrite struct {
	*embedded.Store
	create func(context.Context) error
	mu     sync.Mutex
}

// Read is NotFound for every path of a store that does not exist.
func (f *firstWrite) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	if err := f.missing("read " + p.String()); err != nil {
		return providers.Bundle{}, err
	}
	return f.Store.Read(ctx, p, v)
}

// History is NotFound for every path of a store that does not exist.
func (f *firstWrite) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	if err := f.missing("read " + p.String()); err != nil {
		return nil, err
	}
	return f.Store.History(ctx, p)
}

// List is empty for a store that does not exist.
func (f *firstWrite) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	if err := f.missing("list " + prefix.String()); fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return f.Store.List(ctx, prefix)
}

// Write creates the store first where it does not exist.
func (f *firstWrite) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	if err := f.Ensure(ctx); err != nil {
		return 0, err
	}
	return f.Store.Write(ctx, p, base, patch)
}

// Ensure creates the store where it does not exist, before the first write.
func (f *firstWrite) Ensure(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	exists, err := f.Exists()
	if err != nil || exists {
		return err
	}
	err = f.create(ctx)
	if fault.Is(err, fault.Conflict) { // another process was quicker
		err = nil
	}
	return err
}

func (f *firstWrite) missing(op string) error {
	exists, err := f.Exists()
	if err != nil || exists {
		return err
	}
	return fault.New(fault.NotFound, op, "there is no store yet", "envctl init makes it, and so does the first envctl set")
}
