package playbooks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// written hands what a plan's write did on to the steps that verify it.
type written struct {
	receipt    plan.Receipt
	components int      // how many components are verified
	unread     []string // those of them whose variables the write did not change
	read       bool     // some component's variables did change
}

// versionOf reads a version in a receipt; 0 where there is none.
func versionOf(r plan.Receipt, field string) providers.Version {
	n, err := strconv.Atoi(r[field])
	if err != nil {
		return 0
	}
	return providers.Version(n)
}

// touchedKeys returns, sorted, the keys that a receipt is about.
func touchedKeys(r plan.Receipt) []string {
	var keys []string
	for _, f := range slices.Sorted(maps.Keys(r)) {
		if k, ok := strings.CutPrefix(f, fieldFP); ok {
			keys = append(keys, k)
		}
	}
	return keys
}

// holds tells whether a version's keys are as the receipt says they were written.
func holds(b providers.Bundle, r plan.Receipt, key secret.Key) bool {
	for _, k := range touchedKeys(r) {
		if key.Fingerprint(b.Values[k]) != r[fieldFP+k] {
			return false
		}
	}
	return true
}

// landed returns the version that a write made; 0 when it never happened. Where
// its answer was lost, that is the first version after the one it was planned
// from that holds what was intended.
func landed(ctx context.Context, store providers.Reader, p naming.Path, cur providers.Bundle, r plan.Receipt, key secret.Key) (providers.Version, error) {
	from := versionOf(r, fieldFrom)
	if to := versionOf(r, fieldTo); to > from {
		return to, nil
	}
	if cur.Version <= from || len(touchedKeys(r)) == 0 {
		return 0, nil
	}
	if cur.Version == from+1 {
		if holds(cur, r, key) {
			return cur.Version, nil
		}
		return 0, nil
	}
	revisions, err := store.History(ctx, p)
	if err != nil {
		return 0, err
	}
	for _, rev := range revisions {
		if rev.Version <= from || rev.Deleted || rev.Destroyed {
			continue
		}
		b, err := store.Read(ctx, p, rev.Version)
		if err != nil {
			return 0, err
		}
		if holds(b, r, key) {
			return rev.Version, nil
		}
	}
	return 0, nil
}

// settle finds out what became of an interrupted attempt: it happened, it did
// not and can be made again, or someone else wrote since.
func (c Change) settle(ctx context.Context, w *World, page *plan.Page, store providers.Store, cur providers.Bundle, prior plan.Receipt, key secret.Key) (plan.Receipt, error) {
	op := "resume the write of " + cur.Path.String()
	if prior[fieldFrom] == "" {
		return nil, fault.New(fault.Invalid, "resume", "the journal's record of the write is not readable", "run envctl undo "+page.Run())
	}
	from := versionOf(prior, fieldFrom)
	to, err := landed(ctx, store, cur.Path, cur, prior, key)
	if err != nil {
		return nil, err
	}
	if to > 0 && holds(cur, prior, key) {
		prior[fieldTo] = strconv.Itoa(int(to))
		if to != from+1 {
			prior[fieldBetween] = fmt.Sprintf("%d..%d", from+1, to-1)
		}
		return prior, nil
	}
	if !c.Anew && (to > 0 || c.Lost == "" && (cur.Version != from || stamp(cur.Created) != prior[fieldCreated])) {
		hint := "look with " + c.history()
		if c.Again != "" {
			hint = "run " + c.Again + " again to plan from the new version"
		}
		return nil, fault.Newf(fault.Conflict, op, hint, "planned from version %d, it is now at %d with other values", from, cur.Version)
	}
	return w.write(ctx, page, store, c, cur, key)
}

// readBack proves that the store holds what it answered to have written: the
// answer alone is no evidence for what is built on it. planned is the bundle that
// this process planned from.
func (w *World) readBack(ctx context.Context, store providers.Store, c Change, planned providers.Bundle, r plan.Receipt) error {
	path := w.Path(c.Target)
	no := func(format string, args ...any) error {
		return fault.Newf(fault.No, "read back "+path.String(), "look with "+c.history(), format, args...)
	}
	from, to := versionOf(r, fieldFrom), versionOf(r, fieldTo)
	if Unchanged(r) {
		if c.Check != nil {
			return no("nothing was written: it is still version %d", from)
		}
		return nil
	}
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return err
	}
	cur, err := store.Read(ctx, path, providers.Latest)
	switch {
	case fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed):
		return no("version %d is not there: %s", to, fault.KindOf(err))
	case err != nil:
		return err
	case to <= from || cur.Version < to:
		return no("the store answered with version %d, and its newest is %d", to, cur.Version)
	}
	for _, k := range touchedKeys(r) {
		if key.Fingerprint(cur.Values[k]) != r[fieldFP+k] {
			return no("%s is not what this run wrote: version %d holds another value", k, cur.Version)
		}
	}
	if c.Check == nil {
		return nil
	}
	after, before := cur, providers.Bundle{Path: path}
	if cur.Version != to {
		if after, err = store.Read(ctx, path, to); err != nil {
			return err
		}
	}
	if base := to - 1; base > 0 && r[fieldWas] == "" && planned.Version == base && stamp(planned.Created) == r[fieldCreated] {
		before = planned
	} else if base > 0 && r[fieldWas] == "" {
		if before, err = store.Read(ctx, path, base); err != nil {
			return err
		}
	}
	return c.Check(ctx, before, after)
}

// undoTries is how often an undo reads anew when someone writes in between.
const undoTries = 5

// undoWrite puts back, in one write, the keys that the receipt's write changed.
func (w *World) undoWrite(ctx context.Context, store providers.Store, c Change, r plan.Receipt) error {
	var err error
	for range undoTries {
		var raced bool
		if raced, err = w.undoWriteOnce(ctx, store, c, r); !raced {
			return err
		}
	}
	return err
}

// undoWriteOnce is one try; raced: another writer was faster, and nothing was written.
func (w *World) undoWriteOnce(ctx context.Context, store providers.Store, c Change, r plan.Receipt) (raced bool, err error) {
	t, path := c.Target, w.Path(c.Target)
	op := "undo the write of " + path.String()
	if r[fieldFrom] == "" {
		return false, nil // no intent: nothing happened
	}
	from, was := versionOf(r, fieldFrom), r[fieldWas]
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return false, err
	}
	cur, err := store.Read(ctx, path, providers.Latest)
	switch {
	case fault.Is(err, fault.NotFound):
		return false, nil
	case fault.Is(err, fault.Deleted, fault.Destroyed) && (from == 0 || was != ""):
		return false, nil // it was gone before, and is gone again
	case fault.Is(err, fault.Deleted, fault.Destroyed):
		return false, fault.Wrap(err, fault.KindOf(err), op, "envctl history "+firstKey(r)+t.on())
	case err != nil:
		return false, err
	}
	to, err := landed(ctx, store, path, cur, r, key)
	if err != nil || to == 0 {
		return false, err
	}
	base, old := to-1, providers.Bundle{}
	begun := base == 0 || base == from && was != "" // the write began the path, or began it anew
	if !begun {
		if old, err = store.Read(ctx, path, base); err != nil {
			return false, fault.Wrap(err, fault.KindOf(err), fmt.Sprintf("read version %d of %s to put it back", base, path), "envctl history "+firstKey(r)+t.on())
		}
		if base == from && stamp(old.Created) != r[fieldCreated] {
			return false, fault.Newf(fault.Conflict, op, "envctl history "+firstKey(r)+t.on(), "version %d is not the one that was there: the path was deleted and made again", base)
		}
	}
	if c.PutBackDone != nil && c.PutBackDone(old, cur) {
		return false, nil
	}
	patch, changedSince := providers.Patch{}, []string{}
	for _, k := range touchedKeys(r) {
		switch {
		case old.Values[k].Equal(cur.Values[k]):
		case key.Fingerprint(cur.Values[k]) != r[fieldFP+k]:
			changedSince = append(changedSince, k)
		default:
			patch[k] = old.Values[k]
		}
	}
	if len(changedSince) > 0 {
		return false, fault.Newf(fault.Conflict, op, "look with envctl history "+changedSince[0]+t.on(),
			"%s changed again since, and stays as it is", list(changedSince))
	}
	if len(patch) == 0 {
		return false, nil
	}
	if c.PutBack != nil {
		if err := c.PutBack(ctx, old, cur, patch); err != nil {
			return false, err
		}
	}
	if l, ok := store.(providers.Lifecycle); ok && begun && (base > 0 || c.Whole) && cur.Version == to {
		return ended(ctx, store, l, path, to) // it was deleted before, or not there at all
	}
	_, err = store.Write(ctx, path, cur.Version, patch)
	return fault.Is(err, fault.Conflict), err
}

// ended deletes the version that began a path; raced: somebody wrote on it meanwhile.
func ended(ctx context.Context, store providers.Store, l providers.Lifecycle, p naming.Path, v providers.Version) (raced bool, err error) {
	if err := l.Delete(ctx, p, v); err != nil {
		return false, err
	}
	now, err := store.Read(ctx, p, providers.Latest)
	if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
		return false, nil
	}
	return err == nil && now.Version != v, err
}

// firstKey names one key of a receipt, for a command.
func firstKey(r plan.Receipt) string {
	if keys := touchedKeys(r); len(keys) > 0 {
		return keys[0]
	}
	return "KEY"
}
