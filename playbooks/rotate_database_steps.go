package playbooks

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/providers"
)

// fieldKept of a receipt says why the old login still works.
const fieldKept = "kept"

// pair is the two versions of the path that a step stands between.
type pair struct{ from, to providers.Version }

func (s pair) receipt() plan.Receipt {
	return plan.Receipt{fieldFrom: strconv.Itoa(int(s.from)), fieldTo: strconv.Itoa(int(s.to))}
}

// pairOf reads one in a receipt; false where there is none.
func pairOf(r plan.Receipt) (pair, bool) {
	s := pair{versionOf(r, fieldFrom), versionOf(r, fieldTo)}
	return s, s.from > 0 && s.to > s.from
}

// written is the pair of this run's write.
func (d *roleChange) written(page *plan.Page) (pair, error) {
	r, _ := page.Receipt("write")
	if s, ok := pairOf(r); ok {
		return s, nil
	}
	return pair{}, fault.New(fault.Invalid, d.op(), "the journal's record of the write is not readable", "run envctl undo "+page.Run())
}

// logins reads the two logins of a pair.
func (d *roleChange) logins(ctx context.Context, s pair) (old, fresh providers.Login, err error) {
	if old, err = d.loginAt(ctx, s.from); err == nil {
		fresh, err = d.loginAt(ctx, s.to)
	}
	if err == nil && sameLogin(old, fresh) {
		err = d.unrotated(s.from, providers.Bundle{Path: d.w.Path(d.t), Version: s.to})
	}
	return old, fresh, err
}

// inForce refuses to touch the server where the store holds another login by now
// than those given.
func (d *roleChange) inForce(ctx context.Context, expected ...providers.Login) error {
	now, err := d.loginAt(ctx, providers.Latest)
	if err != nil {
		return err
	}
	for _, l := range expected {
		if sameLogin(now, l) {
			return nil
		}
	}
	return fault.Newf(fault.Conflict, d.op(), "look with envctl history "+d.r.Recipe.Variable+d.t.on(), "%s changed again since, and the server stays as it is", list(d.keys()))
}

// accessStep proves the login that is about to be replaced. Undone last, when what
// ran before runs again: only then does the new login end.
func (d *roleChange) accessStep() plan.Step {
	return plan.Step{
		ID: "access", Title: "log in as " + d.was + " with the store's password", Risk: plan.Reads,
		Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
			b, err := d.store.Read(ctx, d.w.Path(d.t), providers.Latest)
			if err != nil {
				return nil, err
			}
			old, err := d.loginOf(b)
			if err == nil && old.Role != d.was {
				err = fault.Newf(fault.Conflict, d.op(), "run envctl rotate "+d.r.Name+d.t.on()+" again to plan from it", "%s is in use now, it was %s", old.Role, d.was)
			}
			if err != nil {
				return nil, err
			}
			if err := d.roles.Login(ctx, old); err != nil {
				return nil, d.disagree(err, old)
			}
			return plan.Receipt{fieldFrom: strconv.Itoa(int(b.Version))}, nil
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if !d.overlaps() || versionOf(r, fieldFrom) == 0 {
				return nil
			}
			s := pair{versionOf(r, fieldFrom), versionOf(r, fieldFrom) + 1}
			old, fresh, err := d.logins(ctx, s)
			if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed, fault.No) {
				return nil // nothing was written, or nothing that logs in
			}
			if err == nil {
				err = d.inForce(ctx, old)
			}
			if fault.Is(err, fault.Conflict) {
				return nil // someone else's rotation: theirs to keep
			}
			if err != nil {
				return err
			}
			return d.end(ctx, old, fresh)
		},
	}
}

// ready returns the logins of a rotation that may go on: the new one is what the store
// holds, and the file that names the role is trusted.
func (d *roleChange) ready(ctx context.Context, s pair) (old, fresh providers.Login, err error) {
	old, fresh, err = d.logins(ctx, s)
	if err == nil {
		err = d.inForce(ctx, fresh)
	}
	if err == nil {
		err = d.trusted()
	}
	return old, fresh, err
}

// roleStep gives the role the password that the store holds.
func (d *roleChange) roleStep() plan.Step {
	return plan.Step{
		ID: "role", Title: "give " + d.role + " the store's new password", Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := d.written(page)
			if err != nil {
				return nil, err
			}
			old, fresh, err := d.ready(ctx, s)
			if err != nil {
				return nil, err
			}
			r := s.receipt()
			r["role"] = d.role
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			switch err := d.roles.Login(ctx, fresh); {
			case err == nil:
				return r, nil // an earlier attempt did it
			case !fault.Is(err, fault.Denied):
				return nil, err
			}
			if err := d.roles.Allow(ctx, d.as(old), fresh); err != nil {
				if d.roles.Login(ctx, fresh) == nil {
					return r, nil // only its answer was lost
				}
				return nil, err
			}
			if d.overlaps() {
				if err := d.roles.Login(ctx, old); err != nil {
					return nil, fault.Wrap(err, fault.No, "the old login of "+old.Role+" ended, which was to last", "")
				}
			}
			return r, nil
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			s, ok := pairOf(r)
			if !ok {
				return fault.New(fault.Invalid, d.op(), "the journal's record of the role is not readable", "")
			}
			_, err := d.prove(ctx, s)
			return err
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			s, ok := pairOf(r)
			if !ok {
				return nil // no intent: nothing happened
			}
			old, fresh, err := d.logins(ctx, s)
			if err == nil {
				err = d.inForce(ctx, old, fresh)
			}
			if err != nil {
				return err
			}
			return d.restore(ctx, old, fresh)
		},
	}
}

// restore makes the old login work again. Where a role has one password, that ends
// the new one, which must be seen.
func (d *roleChange) restore(ctx context.Context, old, fresh providers.Login) error {
	err := d.roles.Login(ctx, old)
	if err == nil && (d.overlaps() || d.refused(ctx, fresh) == nil) {
		return nil
	}
	if err != nil && !fault.Is(err, fault.Denied) {
		return err
	}
	failed := d.roles.Allow(ctx, d.as(fresh), old)
	if err := d.roles.Login(ctx, old); err != nil {
		return cmp.Or(failed, err)
	}
	if d.overlaps() {
		return nil
	}
	return d.refused(ctx, fresh)
}

// end makes a login stop working, by the one that stays, and sees it refused.
func (d *roleChange) end(ctx context.Context, stays, ends providers.Login) error {
	if err := d.login(ctx, stays); err != nil {
		return err
	}
	switch err := d.roles.Login(ctx, ends); {
	case fault.Is(err, fault.Denied):
		return nil
	case err != nil:
		return err
	}
	if err := d.roles.Forbid(ctx, d.as(stays), ends); err != nil && !fault.Is(d.roles.Login(ctx, ends), fault.Denied) {
		return err
	}
	return d.refused(ctx, ends)
}

// refused sees the server refuse a login.
func (d *roleChange) refused(ctx context.Context, l providers.Login) error {
	switch err := d.roles.Login(ctx, l); {
	case err == nil:
		return fault.Newf(fault.No, d.op(), "look at the role on the server", "%s still takes the password of %s that was to end", d.roles.Describe(), l.Role)
	case !fault.Is(err, fault.Denied):
		return err
	}
	return nil
}

// login logs in, and waits a while for a server that was restarted.
func (d *roleChange) login(ctx context.Context, l providers.Login) error {
	for n := 0; ; n++ {
		err := d.roles.Login(ctx, l)
		if !fault.Is(err, fault.Unavailable) || n == patience || wait(ctx) != nil {
			return err
		}
	}
}

// prove logs in with the password that the store holds now, and sees the one from
// before refused where the two do not overlap.
func (d *roleChange) prove(ctx context.Context, s pair) (string, error) {
	old, fresh, err := d.logins(ctx, s)
	if err == nil {
		err = d.inForce(ctx, fresh)
	}
	if err != nil {
		return "", err
	}
	if err := d.login(ctx, fresh); err != nil {
		if fault.Is(err, fault.Denied) {
			err = fault.Newf(fault.No, d.op(), "look at the role on the server", "%s refuses %s the password that the store holds", d.roles.Describe(), fresh.Role)
		}
		return "", err
	}
	if d.overlaps() {
		return fmt.Sprintf("%s logs in with the store's password", fresh.Role), nil
	}
	return fmt.Sprintf("%s logs in with the store's password, and the old one is refused", fresh.Role), d.refused(ctx, old)
}

// loginStep is the last word on the new login: after the deploy, by the store's
// value. A resumed run logs in again.
func (d *roleChange) loginStep() plan.Step {
	seen := false
	return plan.Step{
		ID: "login", Title: "log in as " + d.role + " with the store's new password", Risk: plan.Reads,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := d.written(page)
			if err != nil {
				return nil, err
			}
			r := s.receipt()
			if r[fieldProven], err = d.prove(ctx, s); err != nil {
				return nil, err
			}
			seen = true
			return r, nil
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			s, ok := pairOf(r)
			switch {
			case seen:
				return nil
			case !ok:
				return fault.New(fault.Invalid, d.op(), "the journal's record of the login is not readable", "")
			}
			_, err := d.prove(ctx, s)
			return err
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}

// endStep ends the old login, unless keep says why it stays.
func (d *roleChange) endStep(of func(*plan.Page) (pair, error), keep func(*plan.Page) string) plan.Step {
	return plan.Step{
		ID: "end", Title: "end the old login of " + d.was, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := of(page)
			if err != nil {
				return nil, err
			}
			old, fresh, err := d.ready(ctx, s)
			if err != nil {
				return nil, err
			}
			r := s.receipt()
			if why := keep(page); why != "" {
				r[fieldKept] = why
				return r, page.Intend(r)
			}
			if d.turns() {
				if err := d.unused(ctx, fresh, old.Role, patience); err != nil {
					return nil, err
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			r[fieldProven] = "the old login of " + old.Role + " is refused"
			return r, d.end(ctx, fresh, old)
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			s, ok := pairOf(r)
			if !ok || r[fieldKept] != "" {
				return nil
			}
			old, fresh, err := d.logins(ctx, s)
			if err == nil {
				err = d.login(ctx, fresh)
			}
			if err == nil {
				err = d.refused(ctx, old)
			}
			return err
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			s, ok := pairOf(r)
			if !ok || r[fieldKept] != "" {
				return nil
			}
			old, fresh, err := d.logins(ctx, s)
			if err == nil {
				err = d.inForce(ctx, old, fresh)
			}
			if err != nil {
				return err
			}
			return d.restore(ctx, old, fresh)
		},
	}
}
