package plan

import (
	"context"
	"errors"
	"strings"
	"time"

	"envctl/internal/fault"
)

// pruned is how many journals one Prune looks at: it is called after each run, and
// what is left to do is done after the next ones.
const pruned = 128

// Prune removes the journals of runs that are done, undone or closed, that are not
// among the newest keep and that began before the time given; then they cannot be
// undone any more. What waits for resume or undo stays, as does what cannot be read.
// It reads none of the journals that stay for their number or their age.
func (e *Engine) Prune(ctx context.Context, keep int, before time.Time) (removed int, err error) {
	names, err := e.fs().Names(e.runs())
	if err != nil {
		return 0, diskError(err, "list "+e.runs())
	}
	var ids []string
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, suffix); ok && isRunID(id) {
			ids = append(ids, id)
		}
	}
	looked := 0
	for _, id := range ids[:max(0, len(ids)-keep)] {
		if ctx.Err() != nil || looked == pruned || !idTime(id).Before(before) {
			break // ids sort by time
		}
		if looked++; !e.over(id) {
			continue
		}
		j, st, oerr := e.open(ctx, id)
		switch {
		case errors.Is(oerr, errBusy), fault.Is(oerr, fault.NotFound):
			continue // somebody undoes it, or removed it meanwhile
		case oerr != nil:
			err = errors.Join(err, oerr)
			continue
		}
		if st.end != Done && st.end != Undone && !st.closed { // it was over before it was locked
			_ = j.file.Close()
			continue
		}
		if derr := e.discard(j); derr != nil {
			err = errors.Join(err, derr)
			continue
		}
		removed++
	}
	return removed, err
}

// idTime is when a run's id was drawn.
func idTime(id string) time.Time {
	var ms int64
	for _, c := range id[:9] {
		ms = ms<<5 | int64(strings.IndexRune(digits, c))
	}
	return time.UnixMilli(ms)
}
