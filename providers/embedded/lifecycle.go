package embedded

import (
	"context"
	"maps"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

func (s *Store) change(ctx context.Context, verb string, p naming.Path, versions []providers.Version, do func(*version)) error {
	op, err := begin(verb, p)
	if err != nil {
		return err
	}
	return s.update(ctx, op, func(d *document, _ time.Time) error { return d.change(op, p, versions, do) })
}

// Delete marks versions deleted.
func (s *Store) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "delete", p, v, func(v *version) { v.Deleted = !v.Destroyed })
}

// Undelete brings deleted versions back; destroyed ones stay destroyed.
func (s *Store) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "restore", p, v, func(v *version) { v.Deleted = false })
}

// Destroy forgets the values of versions. Older copies of the file, and git's
// history, still hold them.
func (s *Store) Destroy(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.change(ctx, "destroy", p, v, func(v *version) { v.Deleted, v.Destroyed, v.Values = false, true, nil })
}

// Purge forgets p; a path that never was is gone already.
func (s *Store) Purge(ctx context.Context, p naming.Path) error {
	op, err := begin("purge", p)
	if err != nil {
		return err
	}
	return s.update(ctx, op, func(d *document, _ time.Time) error {
		if _, ok := d.Paths[p.String()]; !ok {
			return errUnchanged
		}
		delete(d.Paths, p.String())
		return nil
	})
}

// Meta returns p's metadata.
func (s *Store) Meta(ctx context.Context, p naming.Path) (providers.Meta, error) {
	op, err := begin("read metadata of", p)
	if err != nil {
		return providers.Meta{}, err
	}
	d, err := s.view(ctx, op)
	if err != nil {
		return providers.Meta{}, err
	}
	e, err := d.find(op, p)
	if err != nil {
		return providers.Meta{}, err
	}
	m := providers.Meta{Current: e.Current, Created: e.Created, MaxVersions: e.MaxVersions, Custom: maps.Clone(e.Custom)}
	for _, v := range e.Versions {
		m.Gone = m.Gone || v.Version == e.Current && (v.Deleted || v.Destroyed)
	}
	return m, nil
}

// PatchMeta changes custom keys; "" removes one.
func (s *Store) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	op, err := begin("change metadata of", p)
	if err != nil {
		return err
	}
	for k, v := range custom {
		if k == "" || text(k) != k || text(v) != v {
			return fault.New(fault.Refused, op, "a custom key or its value is empty or not text", "")
		}
	}
	return s.update(ctx, op, func(d *document, _ time.Time) error {
		e, err := d.find(op, p)
		if err != nil {
			return err
		}
		if e.Custom == nil {
			e.Custom = map[string]string{}
		}
		for k, v := range custom {
			if v == "" {
				delete(e.Custom, k)
			} else {
				e.Custom[k] = v
			}
		}
		return nil
	})
}

// SetMaxVersions sets how many versions p keeps from its next write on; 0:
// DefaultMaxVersions.
func (s *Store) SetMaxVersions(ctx context.Context, p naming.Path, n int) error {
	op, err := begin("change metadata of", p)
	if err != nil {
		return err
	}
	if n < 0 {
		return fault.Newf(fault.Usage, op, "", "cannot keep %d versions", n)
	}
	return s.update(ctx, op, func(d *document, _ time.Time) error {
		e, err := d.find(op, p)
		if err != nil {
			return err
		}
		e.MaxVersions = n
		return nil
	})
}
