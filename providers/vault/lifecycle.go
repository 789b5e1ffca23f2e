package vault

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// Delete deletes softly; none named: the version that is the newest when it
// begins, never one that somebody adds meanwhile.
func (s *Store) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.mark(ctx, "delete", p, v, func(d document, info versionInfo) bool { return info.Destroyed || d.deleted(info) })
}

// Undelete brings deleted versions back; a destroyed one is an error.
func (s *Store) Undelete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.mark(ctx, "undelete", p, v, func(_ document, info versionInfo) bool { return info.Deletion == "" && !info.Destroyed })
}

// Destroy removes versions for good.
func (s *Store) Destroy(ctx context.Context, p naming.Path, v ...providers.Version) error {
	return s.mark(ctx, "destroy", p, v, func(_ document, info versionInfo) bool { return info.Destroyed })
}

// mark asks for versions to be deleted, undeleted or destroyed, those that are
// not already: the numbers make it repeatable, so that a lost answer is settled
// by looking and asking once more.
func (s *Store) mark(ctx context.Context, verb string, p naming.Path, named []providers.Version, done func(document, versionInfo) bool) error {
	op := verb + " " + p.String()
	if err := check(op, p); err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	where := s.cfg.Mount + "/" + verb + "/" + p.String()
	var last reply
	for try := 0; ; try++ {
		d, err := s.document(ctx, op, p)
		if err != nil {
			if try > 0 {
				return s.unsettled(op, p)
			}
			return err
		}
		if len(named) == 0 {
			named = []providers.Version{d.Current}
		}
		var todo []providers.Version
		for _, v := range named {
			info, ok := d.Versions[v]
			switch {
			case !ok:
				return s.absent(ctx, op, p, max(v, 1))
			case verb == "undelete" && info.Destroyed:
				return providers.Gone(op, p, info.Version, info.Destroyed)
			case !done(d, info):
				todo = append(todo, v)
			}
		}
		switch {
		case len(todo) == 0:
			return nil
		case try > 0 && last.refused():
			return s.fail(ctx, op, last.err)
		case try == 2:
			return s.unsettled(op, p)
		}
		last = s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
			return l.WriteWithContext(ctx, where, map[string]any{"versions": todo})
		})
		if last.err == nil {
			return nil
		}
		if !last.lost() {
			return s.fail(ctx, op, last.err)
		}
		var stop context.CancelFunc
		ctx, stop = after(ctx)
		defer stop()
	}
}

// Purge removes all versions and the metadata, for good.
func (s *Store) Purge(ctx context.Context, p naming.Path) error {
	op := "purge " + p.String()
	if err := check(op, p); err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	before, err := s.document(ctx, op, p)
	if err != nil {
		return err
	}
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.DeleteWithContext(ctx, s.metadata(p))
	})
	if r.err == nil {
		s.see(p, 0)
		return nil
	}
	if !r.lost() {
		return s.fail(ctx, op, r.err)
	}
	// Not asked twice: somebody may have begun the path anew in between.
	ctx, cancel = after(ctx)
	defer cancel()
	switch now, err := s.document(ctx, op, p); {
	case fault.Is(err, fault.NotFound), err == nil && now.Created != before.Created:
		s.see(p, 0)
		return nil
	case err == nil && r.refused():
		return s.fail(ctx, op, r.err)
	}
	return s.unsettled(op, p)
}

// Meta takes one request.
func (s *Store) Meta(ctx context.Context, p naming.Path) (providers.Meta, error) {
	op := "read the metadata of " + p.String()
	if err := check(op, p); err != nil {
		return providers.Meta{}, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	d, err := s.document(ctx, op, p)
	if err != nil {
		return providers.Meta{}, err
	}
	created, err := parseTime(d.Created)
	if err != nil {
		return providers.Meta{}, s.fail(ctx, op, errNotVault)
	}
	newest := d.Versions[d.Current]
	return providers.Meta{Current: d.Current, Created: created, MaxVersions: d.Max, Gone: newest.Destroyed || d.deleted(newest), Custom: d.Custom}, nil
}

// PatchMeta needs the patch capability on the metadata: Vault keeps no version
// of it, so reading and writing it back could undo somebody else's change.
func (s *Store) PatchMeta(ctx context.Context, p naming.Path, custom map[string]string) error {
	change := make(map[string]any, len(custom))
	for k, v := range custom {
		change[k] = v
		if v == "" {
			change[k] = nil
		}
	}
	return s.patchDocument(ctx, p, map[string]any{"custom_metadata": change}, func(d document) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(custom)), func(k string) bool { return d.Custom[k] != custom[k] })
	})
}

// SetMaxVersions sets how many versions the path keeps; 0: the engine's default.
func (s *Store) SetMaxVersions(ctx context.Context, p naming.Path, n int) error {
	if n < 0 {
		return fault.Newf(fault.Usage, "set max versions of "+p.String(), "give 0 for the engine's default", "%d is below zero", n)
	}
	return s.patchDocument(ctx, p, map[string]any{"max_versions": n}, func(d document) bool { return d.Max == n })
}

func (s *Store) patchDocument(ctx context.Context, p naming.Path, change map[string]any, done func(document) bool) error {
	op := "change the metadata of " + p.String()
	if err := check(op, p); err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	for try := 0; ; try++ {
		r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
			return l.JSONMergePatch(ctx, s.metadata(p), change)
		})
		switch {
		case r.nothing():
			return s.absent(ctx, op, p, providers.Latest)
		case r.err == nil:
			return nil
		case r.status == http.StatusMethodNotAllowed:
			if err := s.prove(ctx, op); err != nil {
				return err
			}
			return s.fail(ctx, op, r.err)
		case !r.lost():
			return s.fail(ctx, op, r.err)
		}
		var cancel context.CancelFunc
		ctx, cancel = after(ctx)
		defer cancel()
		d, err := s.document(ctx, op, p)
		switch {
		case err == nil && done(d):
			return nil
		case err == nil && r.refused():
			return s.fail(ctx, op, r.err)
		case err != nil || try == 1:
			return s.unsettled(op, p)
		}
	}
}

// sendPart leaves time to find out what became of a request without an answer.
func (s *Store) sendPart(ctx context.Context, op string, do func(context.Context, *api.Logical) (*api.Secret, error)) reply {
	part, cancel := share(ctx)
	defer cancel()
	r := s.send(part, op, false, do)
	if r.err == nil && r.status < 300 && r.status != http.StatusNoContent && (r.secret == nil || r.secret.RequestID == "") {
		r.err = errNotVault // something in between said "fine"
	}
	return r
}

func (s *Store) unsettled(op string, p naming.Path) error {
	return fault.New(fault.Unknown, op, "the answer was lost, and reading did not settle whether it was carried out",
		"run envctl history KEY --env "+p.Environment+" --component "+p.Component)
}
