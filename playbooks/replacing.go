package playbooks

import (
	"context"
	"maps"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
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

// taking says which lines that somebody typed a release would overwrite, as far as
// it can be told before the values to be released are written.
func (w *World) taking(ctx context.Context, t Target, d providers.Deployer) []string {
	o, ok := d.(providers.Overwriter)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	_, rel, err := w.prepare(ctx, t, nil)
	if err != nil {
		return nil // the deployment says it, and overwrites nothing
	}
	foreign, _, err := o.Foreign(ctx, rel)
	if fault.Is(err, fault.NotFound) {
		return nil // the plan makes the service
	}
	if err != nil {
		return []string{"cannot be told now: " + clip(err.Error())}
	}
	maps.DeleteFunc(foreign, func(_ string, typed secret.Value) bool { return !typed.IsSet() })
	if len(foreign) == 0 {
		return nil
	}
	return []string{list(sortedKeys(foreign)) + ", typed by somebody; what was typed is kept at " + w.kept(t).String()}
}
