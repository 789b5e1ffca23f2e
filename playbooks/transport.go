package playbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// Hop is a step on a value's way to its process that would change the value.
type Hop struct {
	Component string // whose template it is
	File      string // "" where no template stands in between
	Line      int
	Variable  string // what the template makes of the key
	Executes  bool   // a shell would run a part of it
	Changes   bool   // the variable gets another value, by envctl's own reading
	Message   string
	Instead   string // what to do about it
}

// String says where the value changes, and how.
func (h *Hop) String() string {
	if h.File == "" {
		return h.Message
	}
	return fmt.Sprintf("%s:%d, read by a shell: %s", h.File, h.Line, h.Message)
}

// TransportProblem simulates the way of a value that is about to be written to a
// target's key: every template that reads it, as a shell reads that template's
// output. The first hop that would run a part of the value, else the first that
// would change it; nil when it arrives as it is. Without a template nothing
// stands between store and process but the deployer. A template that cannot be read or rendered
// here is no problem of the value: check reports it.
func (w *World) TransportProblem(ctx context.Context, t Target, key string, v secret.Value) *Hop {
	var found *Hop
	read := false
	for _, c := range w.Project.Components {
		tmpl, err := w.Template(c.Key)
		if err != nil || tmpl == nil || !w.reads(tmpl, t, key) {
			continue
		}
		read = true
		hop := w.hop(ctx, c, tmpl, t, key, v)
		if hop != nil && (found == nil || hop.Executes && !found.Executes) {
			found = hop
		}
	}
	if found == nil && !read {
		found = undeployable(t, "", key, v)
	}
	return found
}

// undeployable tells whether the target's deployer could not keep a value: Dokploy
// keeps a text, which has no way to write some.
func undeployable(t Target, component, key string, v secret.Value) *Hop {
	if t.Environment.Deploy.Kind != config.DeployDokploy {
		return nil
	}
	_, err := dotenv.Quote(v, dotenv.Dokploy)
	var f *fault.Error
	if !errors.As(err, &f) {
		return nil
	}
	return &Hop{Component: component, Variable: key, Message: "Dokploy refuses it: " + f.Message, Instead: "store it base64-encoded, and let the application decode it"}
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
		if h := (&Hop{Component: c.Key, File: tmpl.File, Line: p.Line, Variable: p.Variable, Executes: p.Executes, Changes: p.Changes, Message: p.Message}); found == nil || h.Executes && !found.Executes {
			found = h
		}
	}
	for _, v := range after.Variables {
		lost := v.Value.Len() == 0 && slices.ContainsFunc(before.Variables, func(b layer.RenderedVariable) bool { return b.Name == v.Name && b.Value.Len() > 0 })
		if lost && found == nil {
			found = &Hop{Component: c.Key, File: tmpl.File, Line: v.Line, Variable: v.Name, Changes: true, Message: "the shell reads nothing of it"}
		}
	}
	if found != nil {
		found.Instead = safeQuoting
		return found
	}
	for _, v := range after.Variables {
		as := func(b layer.RenderedVariable) bool { return b.Name == v.Name && b.Value.Equal(v.Value) }
		if slices.ContainsFunc(before.Variables, as) { // not this value's doing
			continue
		}
		if h := undeployable(t, c.Key, v.Name, v.Value); h != nil {
			return h
		}
	}
	return nil
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
// plan, and Refused for a value that a shell would run, or that a deployment
// would certainly hand on as another one.
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
		if h.Changes && t.Environment.Deploy.Kind != config.DeployNone {
			return nil, fault.Newf(fault.Refused, "write "+k, fmt.Sprintf("%s in %s:%d, or choose a value of letters, digits, - and _ (--generate token)", safeQuoting, h.File, h.Line),
				"the services would get another value than this one from %s:%d: %s", h.File, h.Line, h.Message)
		}
		what := "changes on its way"
		if h.File == "" {
			what = "will not arrive"
		}
		warnings = append(warnings, plan.Fact{Label: WarningFact, Text: fmt.Sprintf("%s %s: %s; %s", k, what, h, h.Instead)})
	}
	return warnings, nil
}

// fresh generates a value for a target's key. One that a hop would change is
// Refused: only a key in several lines (PEM) can be, and every one like it is.
//
//nolint:contextcheck,nolintlint // nothing outside of this process is asked
func (w *World) fresh(t Target, key string, g secret.Generator) (secret.Value, error) {
	v, err := g.New(w.Rand)
	if err != nil {
		return v, fault.Wrap(err, fault.Internal, "generate "+g.Name+" for "+key, "")
	}
	const unchanged = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-="
	if strings.Trim(v.Reveal(), unchanged) == "" { //nolint:forbidigo // looked at, not shown
		return v, nil
	}
	if h := w.TransportProblem(context.Background(), t, key, v); h != nil {
		return secret.Value{}, fault.Newf(fault.Refused, "generate "+g.Name+" for "+key, h.Instead, "it would not arrive as it is: %s", h)
	}
	return v, nil
}

// WarningFact labels what a plan warns of.
const WarningFact = "warning"
