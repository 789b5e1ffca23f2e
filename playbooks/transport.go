package playbooks

import (
	"context"
	"fmt"
	"slices"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Hop is a step on a value's way to its process that would change the value.
type Hop struct {
	Component string // whose template it is
	File      string
	Line      int
	Variable  string // what the template makes of the key
	Executes  bool   // a shell would run a part of it
	Message   string
}

// TransportProblem simulates the way of a value that is about to be written to a
// target's key: every template that reads it, as a shell reads that template's
// output. The first hop that would run a part of the value, else the first that
// would change it; nil when it arrives as it is. Without a template nothing
// stands between store and process. A template that cannot be read or rendered
// here is no problem of the value: check reports it.
func (w *World) TransportProblem(ctx context.Context, t Target, key string, v secret.Value) *Hop {
	var found *Hop
	for _, c := range w.Project.Components {
		tmpl, err := w.Template(c.Key)
		if err != nil || tmpl == nil || !w.reads(tmpl, t, key) {
			continue
		}
		hop := w.hop(ctx, c, tmpl, t, key, v)
		if hop != nil && (found == nil || hop.Executes && !found.Executes) {
			found = hop
		}
	}
	return found
}

// reads tells whether a template reads a key of a target's path.
func (w *World) reads(tmpl *layer.Template, t Target, key string) bool {
	own := func(pattern string) bool {
		p, err := w.resolvePath(tmpl, pattern, t)
		return err == nil && p == w.Path(t)
	}
	return slices.ContainsFunc(tmpl.Inputs, func(in layer.Input) bool { return in.Key == key && own(in.Path) }) ||
		slices.ContainsFunc(tmpl.Spreads, func(s layer.Spread) bool { return own(s.Path) })
}

// hop renders a template twice, with a harmless value and with v, everything
// else made up: what is wrong only the second time is the value's doing.
func (w *World) hop(ctx context.Context, c config.Entry[config.Component], tmpl *layer.Template, t Target, key string, v secret.Value) *Hop {
	before, err := w.pretend(ctx, tmpl, t, key, secret.New("x"))
	if err != nil {
		return nil
	}
	after, err := w.pretend(ctx, tmpl, t, key, v)
	if err != nil {
		return nil
	}
	var found *Hop
	for _, p := range after.Problems {
		if p.Rule != layer.RuleUnsafeShell || slices.Contains(before.Problems, p) {
			continue
		}
		if h := (&Hop{Component: c.Key, File: tmpl.File, Line: p.Line, Variable: p.Variable, Executes: p.Executes, Message: p.Message}); found == nil || h.Executes && !found.Executes {
			found = h
		}
	}
	for _, v := range after.Variables {
		lost := v.Value.Len() == 0 && slices.ContainsFunc(before.Variables, func(b layer.RenderedVariable) bool { return b.Name == v.Name && b.Value.Len() > 0 })
		if lost && found == nil {
			found = &Hop{Component: c.Key, File: tmpl.File, Line: v.Line, Variable: v.Name, Message: "the shell reads nothing of it"}
		}
	}
	return found
}

// pretend renders a template with made-up values, but for one key.
func (w *World) pretend(ctx context.Context, tmpl *layer.Template, t Target, key string, v secret.Value) (layer.Rendered, error) {
	return layer.Render(ctx, tmpl, layer.RenderInput{
		Env: w.templateEnv(t),
		Secret: func(_ context.Context, path string) (layer.SecretData, error) {
			p, err := naming.ParsePath(w.Project.Vault.Mount, path)
			if err != nil {
				return layer.SecretData{}, fault.Wrap(err, fault.Invalid, tmpl.File, "")
			}
			values := map[string]secret.Value{}
			for _, in := range tmpl.Inputs {
				values[in.Key] = secret.New("x")
			}
			if p == w.Path(t) {
				values[key] = v
			}
			return layer.SecretData{Values: values, Version: 1}, nil
		},
	})
}

// transports asks TransportProblem of every value of a patch: warnings for the
// plan, and Refused for a value that a shell would run.
func (w *World) transports(ctx context.Context, t Target, patch providers.Patch) ([]plan.Fact, error) {
	var warnings []plan.Fact
	for _, k := range sortedKeys(patch) {
		if !patch[k].IsSet() || patch[k].Len() == 0 {
			continue
		}
		h := w.TransportProblem(ctx, t, k, patch[k])
		if h == nil {
			continue
		}
		if h.Executes {
			return nil, fault.Newf(fault.Refused, "write "+k, fmt.Sprintf("%s in %s:%d, or choose a value of letters, digits, - and _ (--generate token)", safeQuoting, h.File, h.Line),
				"a shell that sources what %s:%d writes would run a part of the value: %s", h.File, h.Line, h.Message)
		}
		warnings = append(warnings, plan.Fact{Label: WarningFact, Text: fmt.Sprintf("%s changes on its way: %s:%d, read by a shell: %s; %s", k, h.File, h.Line, h.Message, safeQuoting)})
	}
	return warnings, nil
}

// WarningFact labels what a plan warns of.
const WarningFact = "warning"
