package playbooks

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/formats"
)

// ImportRow is what an import or an edit would do to one key.
type ImportRow struct {
	Key   string `json:"key"`
	State string `json:"state"` // added, changed, removed, unchanged, skipped (empty), refused
	Why   string `json:"why,omitempty"`
	Line  int    `json:"line,omitempty"`
	Old   string `json:"old,omitempty"` // fingerprints
	New   string `json:"new,omitempty"`
}

// Comparison is what an import or an edit would do to a path: the version it
// was compared with, a row per key, and the patch that does it.
type Comparison struct {
	Target Target
	Path   string
	Rows   []ImportRow
	Patch  providers.Patch

	current providers.Bundle
	store   providers.Store
	key     secret.Key
}

// Version is the version that was compared; 0 for a new path.
func (c *Comparison) Version() int { return int(c.current.Version) }

// Refused returns the rows that cannot be written.
func (c *Comparison) Refused() []ImportRow {
	var out []ImportRow
	for _, r := range c.Rows {
		if r.State == "refused" {
			out = append(out, r)
		}
	}
	return out
}

// comparing reads a target's path for a comparison.
func (w *World) comparing(ctx context.Context, t Target) (*Comparison, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, t)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Target: t, Path: w.Path(t).String(), Patch: providers.Patch{}, current: cur, store: store}
	if cur.Version > 0 { // an embedded store that does not exist yet has no key
		c.key, err = w.Fingerprints(ctx, store)
	}
	return c, err
}

// Importing compares a file's variables with a target's path: what each key
// would become, and the patch that does it. A file that has nothing to give is
// Usage.
func (w *World) Importing(ctx context.Context, t Target, file string, items []formats.Item, allowEmpty bool) (*Comparison, error) {
	c, err := w.comparing(ctx, t)
	if err != nil {
		return nil, err
	}
	last := lastItems(items)
	if len(last) == 0 {
		return nil, fault.New(fault.Usage, "import "+file, "it assigns nothing", "")
	}
	for _, k := range sortedKeys(last) {
		e := last[k]
		row := ImportRow{Key: k, Line: e.Line}
		switch {
		case e.Why != "":
			row.State, row.Why = "refused", e.Why
		case !IsVariable(k):
			row.State, row.Why = "refused", "not UPPER_SNAKE"
		case e.Value.Len() == 0 && !allowEmpty:
			row.State, row.Why = "skipped", "empty; --allow-empty takes it"
		default:
			row.State, row.Why = unfit(k, e.Value)
		}
		c.add(row, e.Value)
	}
	return c, nil
}

// lastItems returns the items by key. Of several the last one counts, as it does for
// every reader; where an earlier one has another value, nobody knows which is meant.
func lastItems(items []formats.Item) map[string]formats.Item {
	out := make(map[string]formats.Item, len(items))
	for _, e := range items {
		if earlier, twice := out[e.Key]; twice && e.Why == "" && !earlier.Value.Equal(e.Value) {
			e.Why = fmt.Sprintf("another value stands on line %d; keep one of them", earlier.Line)
		}
		out[e.Key] = e
	}
	return out
}

// unfit says why a value must not be written, with the state refused.
func unfit(key string, v secret.Value) (state, why string) {
	if v.Equal(secret.New(v.String())) {
		return "refused", "the mask of a value, not a value"
	}
	if err := CheckValue(key, v); err != nil {
		var f *fault.Error
		if errors.As(err, &f) {
			return "refused", f.Message
		}
		return "refused", "not a value that an environment can carry"
	}
	return "", ""
}

// add settles a row's state and takes its value into the patch.
func (c *Comparison) add(row ImportRow, v secret.Value) {
	old := c.current.Values[row.Key]
	if row.State == "" {
		switch {
		case old.IsSet() && old.Equal(v):
			row.State = "unchanged"
		case old.IsSet():
			row.State = "changed"
		default:
			row.State = "added"
		}
	}
	switch row.State {
	case "added", "changed":
		c.Patch[row.Key] = v
		row.Old, row.New = c.key.Fingerprint(old), c.key.Fingerprint(v)
	case "removed":
		c.Patch[row.Key] = secret.Value{}
		row.Old = c.key.Fingerprint(old)
	}
	c.Rows = append(c.Rows, row)
}

// Editable returns a target's values for an editor, NotFound's kin as they are; a
// path that was never written is empty.
func (w *World) Editable(ctx context.Context, t Target) (*Comparison, map[string]secret.Value, error) {
	c, err := w.comparing(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	return c, c.current.Values, nil
}

// Edited compares what came back from the editor with what went in: shown are
// the keys that were in the text, of which those missing now are removed.
func (c *Comparison) Edited(items []formats.Item, shown []string) *Comparison {
	out := &Comparison{Target: c.Target, Path: c.Path, Patch: providers.Patch{}, current: c.current, store: c.store, key: c.key}
	last := lastItems(items)
	for _, k := range shown {
		if _, still := last[k]; !still {
			out.add(ImportRow{Key: k, State: "removed"}, secret.Value{})
		}
	}
	for _, k := range sortedKeys(last) {
		e := last[k]
		row := ImportRow{Key: k, Line: e.Line}
		switch old := c.current.Values[k]; {
		case e.Why != "":
			row.State, row.Why = "refused", e.Why
		case old.IsSet() && old.Equal(e.Value): // as it was, whatever it is
		case !e.Value.IsSet():
			row.State, row.Why = "refused", "no value; write KEY= for an empty one"
		case !IsVariable(k) && !old.IsSet():
			row.State, row.Why = "refused", "not UPPER_SNAKE"
		default:
			row.State, row.Why = unfit(k, e.Value)
		}
		out.add(row, e.Value)
	}
	return out
}

// Apply plans the comparison's patch as one write on the version that was
// compared: whoever wrote in between is not overwritten, which is a Conflict. A
// value that a shell would run on its way is Refused.
func (w *World) Apply(ctx context.Context, c *Comparison, playbook, again string, deploy bool) (*plan.Plan, error) {
	warnings, err := w.transports(ctx, c.Target, c.Patch)
	if err != nil {
		return nil, err
	}
	keys := sortedKeys(c.Patch)
	change := Change{
		Target: c.Target, Playbook: playbook, Again: again, Keys: keys, Deploy: deploy, Make: Values(c.Patch),
		Args: map[string]string{"deploy": strconv.FormatBool(deploy)},
	}
	noteKeys(change.Args, keys)
	p, err := change.planOn(ctx, w, c.store, c.current)
	if err != nil {
		return nil, err
	}
	for _, r := range c.Rows {
		p.Facts = append(p.Facts, plan.Fact{Label: r.State, Text: r.Key})
	}
	p.Facts = append(p.Facts, warnings...)
	return p, nil
}
