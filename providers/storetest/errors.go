package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

var errorTests = []test{
	{"cancelled", func(r *room) {
		r.create(r.app(), 2)
		r.unchanged(r.app(), func() {
			r.each(r.cancelled(), r.app(), func(what string, err error) {
				r.fails(what+" with a cancelled context", err, fault.Interrupted)
			})
		})
		r.lists(r.prefix(), []naming.Path{r.app()})
	}},
	{"past its deadline", func(r *room) {
		r.create(r.app(), 2)
		ctx, cancel := context.WithDeadline(r.Context(), time.Now().Add(-time.Second))
		defer cancel()
		r.unchanged(r.app(), func() {
			r.each(ctx, r.app(), func(what string, err error) {
				r.fails(what+" past its deadline", err, fault.Unavailable)
			})
		})
	}},
	{"hostile paths", func(r *room) {
		r.create(r.app(), 1)
		for _, bad := range []string{
			"", "..", ".", "a/b", "../../sys/policies", "%2e%2e", "a%2fb", "UPPER", "-lead", "nul\x00", "new\nline", " ", "é",
			strings.Repeat("a", 64), "a?version=1", "a#b",
		} {
			for _, p := range []naming.Path{
				{Project: bad, Environment: "staging", Component: "app"},
				{Project: r.project, Environment: bad, Component: "app"},
				{Project: r.project, Environment: "staging", Component: bad},
			} {
				r.each(r.Context(), p, func(what string, err error) {
					if what != "List" || bad != "" {
						r.fails(fmt.Sprintf("%s %+q", what, p), err, fault.Usage, fault.Refused)
					}
				})
			}
		}
		r.lists(r.prefix(), []naming.Path{r.app()})
	}},
	{"prefix with a gap", func(r *room) {
		_, err := r.s.List(r.Context(), naming.Path{Project: r.project, Component: "app"})
		r.fails("List of a prefix with a gap", err, fault.Usage, fault.Refused)
	}},
	{"never hold a value", func(r *room) {
		const canary = "canary-9f8e7d6c5b4a"
		p, patch := r.app(), func() providers.Patch {
			return providers.Patch{"K": secret.New(canary), "BYTES": secret.New("\xff" + canary)}
		}
		var all []error
		add := func(err error) { all = append(all, err) }
		write := func(ctx context.Context, p naming.Path, base providers.Version) {
			_, err := r.s.Write(ctx, p, base, patch())
			add(err)
		}
		r.write(p, providers.Absent, values("K", canary+"-old"))
		write(r.Context(), p, providers.Absent)
		write(r.Context(), p, 7)
		write(r.Context(), r.path("staging", "absent"), providers.Any)
		write(r.Context(), r.path("..", "app"), providers.Absent)
		write(r.cancelled(), p, 1)
		if l, ok := r.s.(providers.Lifecycle); ok {
			r.ok("Delete", l.Delete(r.Context(), p))
			write(r.Context(), p, providers.Any)
			_, err := r.s.Read(r.Context(), p, providers.Latest)
			add(err)
			r.ok("Destroy", l.Destroy(r.Context(), p, 1))
			_, err = r.s.Read(r.Context(), p, providers.Latest)
			add(err)
		}
		for i, err := range all {
			if err == nil {
				r.Errorf("case %d succeeded, want an error to look at", i)
				continue
			}
			text := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, err, fault.HintOf(err))
			for e := err; e != nil; e = errors.Unwrap(e) {
				text += fmt.Sprintf(" %v %+v", e, e)
			}
			if strings.Contains(text, canary) {
				r.Errorf("case %d: an error holds the value", i)
			}
		}
	}},
}

// each calls every method of the store on p and hands over its error.
func (r *room) each(ctx context.Context, p naming.Path, got func(what string, err error)) {
	_, err := r.s.Read(ctx, p, providers.Latest)
	got("Read", err)
	_, err = r.s.History(ctx, p)
	got("History", err)
	_, err = r.s.List(ctx, p)
	got("List", err)
	for _, base := range []providers.Version{providers.Absent, 2, providers.Any} {
		_, err = r.s.Write(ctx, p, base, values("K", "lost"))
		got(fmt.Sprintf("Write on %d", base), err)
	}
	if l, ok := r.s.(providers.Lifecycle); ok {
		got("Delete", l.Delete(ctx, p, 1))
		got("Undelete", l.Undelete(ctx, p, 1))
		got("Destroy", l.Destroy(ctx, p, 1))
		got("Purge", l.Purge(ctx, p))
	}
	if m, ok := r.s.(providers.Metadata); ok {
		_, err = m.Meta(ctx, p)
		got("Meta", err)
		got("PatchMeta", m.PatchMeta(ctx, p, map[string]string{"a": "1"}))
		got("SetMaxVersions", m.SetMaxVersions(ctx, p, 1))
	}
}
