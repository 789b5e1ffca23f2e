package vault

import (
	"context"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
)

// grace is what settling may take beyond the operation's own time.
const grace = 500 * time.Millisecond

// reach bounds how far back settleAny looks.
const reach = 16

// after returns a context for finding out what became of a write: the
// operation's own, or a moment of grace where that has ended. Not knowing is
// worse than ending a moment late.
func after(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if ctx.Err() == nil && (!ok || time.Until(deadline) > grace) {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), grace)
}

// settle finds out what became of a check-and-set write on base whose answer
// was lost. The version after base tells: it holds what was to be written, or
// somebody else's work, or does not exist. Then, and only then, the write is
// sent once more: check-and-set lets at most one of the two in.
func (w write) settle(ctx context.Context, r reply, base providers.Version, want providers.Bundle, again func(context.Context) reply) (providers.Version, error) {
	ctx, cancel := after(ctx)
	defer cancel()
	for sent := false; ; sent = true {
		now, err := w.readForSettling(ctx, base+1)
		switch {
		case err == nil && same(now, want):
			return base + 1, nil
		case err == nil:
			return 0, w.conflict(ctx)
		case !fault.Is(err, fault.NotFound) || sent:
			return 0, w.unknown(r)
		case r.refused():
			return 0, w.fail(ctx, r) // the server's own word, and nothing is there
		}
		r = again(ctx)
		switch v, gone, answered := version(r); {
		case answered && !gone:
			return v, nil
		case !r.lost() && !mismatch(r.err):
			return 0, w.fail(ctx, r)
		}
	}
}

// settleAny finds out what became of a PATCH without check-and-set: one of the
// versions after the last one known is the one before it with the patch
// applied. It is never sent again, as the first may still arrive.
func (w write) settleAny(ctx context.Context, r reply, before providers.Version, known bool) (providers.Version, error) {
	if !known {
		return 0, w.unknown(r)
	}
	ctx, cancel := after(ctx)
	defer cancel()
	newest, err := w.readForSettling(ctx, providers.Latest)
	if err != nil {
		return 0, w.unknown(r)
	}
	if newest.Version == before && r.refused() {
		return 0, w.fail(ctx, r)
	}
	from := max(before, newest.Version-reach)
	old, err := w.readForSettling(ctx, from)
	for v := from + 1; v <= newest.Version; v++ {
		now, errNow := w.readForSettling(ctx, v)
		if err == nil && errNow == nil && same(now, apply(old, w.patch)) {
			return v, nil
		}
		old, err = now, errNow
	}
	return 0, w.unknown(r)
}

func (w write) readForSettling(ctx context.Context, v providers.Version) (providers.Bundle, error) {
	part, cancel := share(ctx)
	defer cancel()
	return w.s.read(part, w.op, w.p, v)
}

func (w write) unknown(r reply) error {
	what := "the connection broke"
	if r.status != 0 {
		what = "something before the server failed"
	}
	return fault.Newf(fault.Unknown, w.op, "run envctl history KEY --env "+w.p.Environment+" --component "+w.p.Component+" to see whether it was written",
		"%s after the write was sent, and reading did not settle whether it was applied", what)
}
