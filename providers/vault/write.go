package vault

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// casTries bounds how often a set of one key is tried again after somebody
// else wrote in between, where the token lacks the patch capability.
const casTries = 64

// Write takes one PATCH on an existing path, and on a new one a PUT that
// demands that it is new. Where the token may not PATCH it reads, merges and
// PUTs with check-and-set. An answer that is lost is settled by reading.
func (s *Store) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (providers.Version, error) {
	op := "write " + p.String()
	if err := check(op, p); err != nil {
		return 0, err
	}
	if base < providers.Any {
		return 0, fault.Newf(fault.Usage, op, "run envctl history KEY to see the versions", "there is no version %d to write on", base)
	}
	for _, k := range slices.Sorted(maps.Keys(patch)) {
		if !utf8.ValidString(k) || !utf8.ValidString(patch[k].Reveal()) {
			return 0, fault.Newf(fault.Refused, op, "encode it first, for example with base64",
				"the value of %.80q is not UTF-8, and Vault keeps text only", k)
		}
	}
	w := write{s: s, op: op, p: p, base: base, patch: maps.Clone(patch)}
	ctx, cancel := s.within(ctx)
	defer cancel()
	v, err := w.run(ctx)
	if err != nil {
		return 0, err
	}
	s.proven.Store(true)
	s.see(p, v)
	return v, nil
}

// write is one Write under way.
type write struct {
	s     *Store
	op    string
	p     naming.Path
	base  providers.Version
	patch providers.Patch
}

func (w write) run(ctx context.Context) (providers.Version, error) {
	if w.base == providers.Absent {
		if err := w.s.prove(ctx, w.op); err != nil {
			return 0, err
		}
		return w.put(ctx, providers.Absent, providers.Bundle{})
	}
	before, known := w.s.lastSeen(w.p)
	r := w.sendPatch(ctx, w.base)
	switch v, gone, answered := version(r); {
	case answered && !gone:
		return v, nil
	case answered && w.base == providers.Any:
		return 0, w.gone(r, v)
	case answered: // deleted or destroyed, and still the newest: begin anew
		return w.put(ctx, w.base, providers.Bundle{})
	case r.nothing():
		return 0, w.absent(ctx)
	case mismatch(r.err):
		return 0, w.conflict(ctx)
	case casRequired(r.err):
		return w.rewrite(ctx)
	case r.status == http.StatusForbidden && !badToken(r.err):
		return w.rewrite(ctx) // perhaps only PATCH is forbidden
	case r.status == http.StatusMethodNotAllowed || r.status == http.StatusUnsupportedMediaType:
		// KV version 1, or a server from before 1.9, which lacks PATCH.
		if err := w.s.prove(ctx, w.op); err != nil {
			return 0, err
		}
		return w.rewrite(ctx)
	case !r.lost():
		return 0, w.fail(ctx, r)
	case w.base == providers.Any:
		return w.settleAny(ctx, r, before, known)
	}
	ctx, cancel := after(ctx)
	defer cancel()
	old, err := w.readForSettling(ctx, w.base)
	if err != nil {
		return 0, w.unknown(r)
	}
	return w.settle(ctx, r, w.base, apply(old, w.patch), func(ctx context.Context) reply { return w.sendPatch(ctx, w.base) })
}

// rewrite reads, merges and PUTs with check-and-set: for a base once, for Any
// again and again until nobody wrote in between.
func (w write) rewrite(ctx context.Context) (providers.Version, error) {
	for try := range casTries {
		old, err := w.s.read(ctx, w.op, w.p, providers.Latest)
		switch {
		case fault.Is(err, fault.NotFound) && w.base != providers.Any:
			return 0, w.absent(ctx)
		case fault.Is(err, fault.Deleted, fault.Destroyed) && w.base != providers.Any:
			if old.Version != w.base {
				return 0, w.conflict(ctx)
			}
			old = providers.Bundle{Version: old.Version}
		case err != nil:
			return 0, err
		}
		if w.base != providers.Any && old.Version != w.base {
			return 0, w.conflict(ctx)
		}
		v, err := w.put(ctx, old.Version, old)
		if w.base != providers.Any || !fault.Is(err, fault.Conflict) {
			return v, err
		}
		// Others are writing: wait longer each time, and each for another time.
		if !pause(ctx, min(time.Duration(5<<min(try, 6))*time.Millisecond, 200*time.Millisecond)) {
			return 0, w.s.fail(ctx, w.op, ctx.Err())
		}
	}
	return 0, fault.Newf(fault.Conflict, w.op, "run the command again", "others wrote each time, %d times: nothing was written", casTries)
}

// put writes old with the patch applied as the version after base.
func (w write) put(ctx context.Context, base providers.Version, old providers.Bundle) (providers.Version, error) {
	whole := apply(old, w.patch)
	send := func(ctx context.Context) reply {
		body := map[string]any{"data": encode(whole), "options": map[string]any{"cas": int(base)}}
		return w.send(ctx, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
			return l.WriteWithContext(ctx, w.s.data(w.p), body)
		})
	}
	r := send(ctx)
	switch v, gone, answered := version(r); {
	case answered && !gone:
		return v, nil
	case mismatch(r.err):
		return 0, w.conflict(ctx)
	case r.err == nil:
		return 0, w.s.fail(ctx, w.op, errNotVault)
	case !r.lost():
		return 0, w.fail(ctx, r)
	}
	return w.settle(ctx, r, base, whole, send)
}

func (w write) sendPatch(ctx context.Context, cas providers.Version) reply {
	data := make(map[string]any, len(w.patch))
	for k, v := range w.patch {
		data[k] = nil
		if v.IsSet() {
			data[k] = v.Reveal()
		}
	}
	body := map[string]any{"data": data}
	if cas != providers.Any {
		body["options"] = map[string]any{"cas": int(cas)}
	}
	return w.send(ctx, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.JSONMergePatch(ctx, w.s.data(w.p), body)
	})
}

// send gives the request half of the time that is left. A "success" without a
// version in it comes from something between: the write's fate is not known.
func (w write) send(ctx context.Context, do func(context.Context, *api.Logical) (*api.Secret, error)) reply {
	part, cancel := share(ctx)
	defer cancel()
	r := w.s.send(part, w.op, false, do)
	if _, _, answered := version(r); r.err == nil && r.status < 300 && !answered {
		r.err = errNotVault
	}
	return r
}

// version reads the version that an answer names, and whether it says that
// this version is deleted or destroyed.
func version(r reply) (v providers.Version, gone, answered bool) {
	if r.secret == nil {
		return 0, false, false
	}
	n, ok := r.secret.Data["version"].(json.Number)
	if !ok {
		return 0, false, false
	}
	i, err := strconv.Atoi(n.String())
	return providers.Version(i), r.status == http.StatusNotFound, err == nil && i > 0
}

// nothing knows the answer to a PATCH on a path that is not there: a 404 with
// an empty body, or with an empty list of errors.
func (r reply) nothing() bool {
	var answer *api.ResponseError
	return r.status == http.StatusNotFound && (r.err == nil && r.secret == nil || errors.As(r.err, &answer) && strings.Join(answer.Errors, "") == "")
}

// mismatch and casRequired know the two check-and-set answers by their text:
// both are a plain 400.
func mismatch(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest && says(answer, "did not match the current version")
}

func casRequired(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest && says(answer, "check-and-set parameter required")
}

// apply returns b's content with the patch applied.
func apply(b providers.Bundle, patch providers.Patch) providers.Bundle {
	values := make(map[string]secret.Value, len(b.Values)+len(patch))
	maps.Copy(values, b.Values)
	for k, v := range patch {
		if v.IsSet() {
			values[k] = v
		} else {
			delete(values, k)
		}
	}
	other := slices.DeleteFunc(slices.Clone(b.NonString), func(k string) bool { _, changed := patch[k]; return changed })
	return providers.Bundle{Values: values, NonString: other}
}

// encode gives what is no string back as it arrived.
func encode(b providers.Bundle) map[string]any {
	data := make(map[string]any, len(b.Values))
	for k, v := range b.Values {
		if slices.Contains(b.NonString, k) {
			data[k] = json.RawMessage(v.Reveal())
		} else {
			data[k] = v.Reveal()
		}
	}
	return data
}

// same compares what two versions hold.
func same(a, b providers.Bundle) bool {
	return slices.Equal(a.NonString, b.NonString) && maps.EqualFunc(a.Values, b.Values, secret.Value.Equal)
}

// absent is for a write on a path that has no version.
func (w write) absent(ctx context.Context) error {
	w.s.see(w.p, 0)
	if w.base == providers.Any {
		return w.s.absent(ctx, w.op, w.p, providers.Latest)
	}
	return fault.Newf(fault.Conflict, w.op, "run the command again to plan anew", "version %d is gone: the path was removed, nothing was written", w.base)
}

// gone is for a set on a path whose newest version is deleted or destroyed.
func (w write) gone(r reply, v providers.Version) error {
	destroyed, _ := r.secret.Data["destroyed"].(bool)
	return providers.Gone(w.op, w.p, v, destroyed)
}

// conflict is for a base that is not the newest version. It reads which one is,
// for its words; a path to be created may turn out to be deleted.
func (w write) conflict(ctx context.Context) error {
	b, err := w.s.read(ctx, w.op, w.p, providers.Latest)
	if w.base == providers.Absent && fault.Is(err, fault.Deleted, fault.Destroyed) {
		return err
	}
	now := ""
	if b.Version > 0 {
		now = " (now version " + strconv.Itoa(int(b.Version)) + ")"
	}
	if w.base == providers.Absent {
		return fault.New(fault.Conflict, w.op, "it exists already"+now+": nothing was written", "run the command again to plan from what is there")
	}
	return fault.New(fault.Conflict, w.op, "changed by someone else"+now+": nothing was written", "run the command again to plan from there")
}

func (w write) fail(ctx context.Context, r reply) error {
	hide := make([]secret.Value, 0, len(w.patch))
	for _, v := range w.patch {
		hide = append(hide, v)
	}
	return w.s.fail(ctx, w.op, r.err, hide...)
}
