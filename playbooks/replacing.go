package playbooks

import (
	"context"
	"time"

	"envctl/providers"
)

// askLimit is how long a plan that is shown waits for what only an engine can tell.
const askLimit = 5 * time.Second

// replacing says how each service is replaced, as far as it can be told now.
func (w *World) replacing(ctx context.Context, t Target, d providers.Deployer) []string {
	replacer, ok := d.(providers.Replacer)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, rel, err := w.prepare(ctx, t, nil)
	var found []providers.Replacement
	if err == nil {
		found, err = replacer.Replaces(ctx, rel)
	}
	if err != nil {
		return []string{"cannot be told now: " + clip(err.Error())}
	}
	var out []string
	for _, r := range found {
		out = append(out, r.Service+": "+r.How)
	}
	return out
}
