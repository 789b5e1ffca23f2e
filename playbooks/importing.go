package playbooks

import (
	"context"
	"fmt"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// ImportRow is what an import would do to one key.
type ImportRow struct {
	Key   string `json:"key"`
	State string `json:"state"` // added, changed, unchanged, refused
	Why   string `json:"why,omitempty"`
	Line  int    `json:"line"`
}

// Importing compares a dotenv file with a target's path: what each key would
// become, and the patch that does it. A file that has nothing to give is Usage,
// one with a line that cannot be read is Invalid: nothing is imported by half.
func (w *World) Importing(ctx context.Context, t Target, file *dotenv.File, allowEmpty bool) ([]ImportRow, providers.Patch, error) {
	for _, p := range file.Problems {
		if p.Kind != dotenv.Expands && p.Kind != dotenv.Inherits {
			return nil, nil, fault.Newf(fault.Invalid, fmt.Sprintf("%s:%d", file.Name, p.Line), "correct the line; nothing was imported", "%s", p.Message)
		}
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, nil, err
	}
	cur, err := w.current(ctx, store, t)
	if err != nil {
		return nil, nil, err
	}
	last := map[string]dotenv.Entry{}
	for _, e := range file.Entries {
		last[e.Key] = e
	}
	if len(last) == 0 {
		return nil, nil, fault.New(fault.Usage, "import "+file.Name, "it assigns nothing", "")
	}
	patch := providers.Patch{}
	var rows []ImportRow
	for _, k := range sortedKeys(last) {
		e := last[k]
		row := ImportRow{Key: k, State: "added", Line: e.Line}
		switch old := cur.Values[k]; {
		case !IsVariable(k):
			row.State, row.Why = "refused", "not UPPER_SNAKE"
		case !e.Value.IsSet():
			row.State, row.Why = "refused", "no value: the reader would take its own environment's"
		case e.Expands:
			row.State, row.Why = "refused", "holds a $ that readers expand; put it in single quotes if it is meant as it is"
		case e.Value.Len() == 0 && !allowEmpty:
			row.State, row.Why = "refused", "empty; --allow-empty accepts it"
		case CheckValue(k, e.Value) != nil:
			row.State, row.Why = "refused", "not a value that an environment can carry"
		case old.IsSet() && old.Equal(e.Value):
			row.State = "unchanged"
		case old.IsSet():
			row.State = "changed"
		}
		if row.State == "added" || row.State == "changed" {
			patch[k] = e.Value
		}
		rows = append(rows, row)
	}
	return rows, patch, nil
}
