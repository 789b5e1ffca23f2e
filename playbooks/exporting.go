package playbooks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// RenderFinding is a place of a template whose output is not what it should be.
type RenderFinding struct {
	Rule     string `json:"rule"`
	Variable string `json:"variable,omitempty"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
}

// Rendering is a component's template with an environment's values.
type Rendering struct {
	*Rendered
	Target   Target
	Findings []RenderFinding
}

// Rendering renders a target's template as Vault Agent would, and looks at the
// output as its reader will, and at the variables that the code requires. Usage
// where the component has no template.
func (w *World) Rendering(ctx context.Context, t Target, reader dotenv.Dialect) (*Rendering, error) {
	c, err := w.Project.Component(t.Component)
	if err != nil {
		return nil, err
	}
	if c.Template == "" {
		return nil, fault.Newf(fault.Usage, "render "+t.Component, "run envctl export"+t.on()+" for its variables", "the component has no template")
	}
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	r, err := w.RenderFor(ctx, store, t, nil, reader)
	if err != nil {
		return nil, err
	}
	out := &Rendering{Rendered: r, Target: t}
	problems := append(r.Problems, w.requiredEmpty(t, r)...)
	for _, p := range problems {
		if p.Rule == layer.RuleUnsafeShell && slices.ContainsFunc(problems, func(q layer.Problem) bool {
			return q.Rule == layer.RuleMissingValue && q.Variable == p.Variable && q.Line == p.Line
		}) {
			continue // the shell stumbles over <no value>: that is the finding
		}
		out.Findings = append(out.Findings, RenderFinding{
			Rule: p.Rule, Variable: p.Variable, File: r.Template.File, Line: p.Line, Message: p.Message, Fix: w.fixOf(t, r.Template, p),
		})
	}
	return out, nil
}

// requiredEmpty finds variables that the code cannot do without, that the
// template is there to render, and that have no value. A layer that cannot be read
// is check's to report.
func (w *World) requiredEmpty(t Target, r *Rendered) []layer.Problem {
	c, _ := w.Project.Components.Get(t.Component)
	if c.Code == "" {
		return nil
	}
	src, err := w.readLayer(c.Code)
	if err != nil {
		return nil
	}
	code, err := python.Read(c.Code, src)
	if err != nil {
		return nil
	}
	var out []layer.Problem
	for _, f := range code.Fields {
		if !f.Required {
			continue
		}
		name, line, has := "", 0, false
		for _, v := range r.Template.Variables {
			if f.Accepts(v.Name) {
				has = has || r.Variables[v.Name].Len() > 0
				name, line = v.Name, v.Line
			}
		}
		if name != "" && !has {
			out = append(out, layer.Problem{
				Rule: layer.RuleMissingValue, Variable: name, Line: line,
				Message: fmt.Sprintf("%s is empty, and %s:%d requires it", name, c.Code, f.Line),
			})
		}
	}
	return out
}

// fixOf says what to do about a problem of a rendering.
func (w *World) fixOf(t Target, tmpl *layer.Template, p layer.Problem) string {
	if p.Fix != "" {
		return p.Fix
	}
	switch p.Rule {
	case layer.RuleMissingValue:
		if strings.HasPrefix(p.Message, "%!:") {
			return `format it with %q, or print it as it is: the values of the store are text`
		}
		if v, _ := emitted(tmpl, p.Variable); v != nil && len(v.Inputs) > 0 {
			in := v.Inputs[0]
			return fmt.Sprintf("envctl set %s --env %s --component %s", in.Key, t.Environment.Name, patternComponent(in.Path))
		}
	case layer.RuleMergedLines:
		return "take the - out of {{- or -}} where the lines meet"
	case layer.RuleUnsafeShell:
		return safeQuoting
	}
	return ""
}

// safeQuoting is the way to write a value that a shell reads back whatever it
// is: the second form is known to Vault Agent too.
const safeQuoting = `write it as {{ … | shquote }}, or, for a real Vault Agent, as '{{ … | replaceAll "'" "'\\''" }}'`

// Exported is what an export writes.
type Exported struct {
	Values   map[string]secret.Value
	Key      secret.Key
	Findings []RenderFinding
	// FromStore is as of Rendered.
	FromStore func() []secret.Value
}

// Exporting returns a target's variables as its services see them, or with
// stored the keys of its own path as they are. NotFound where there are none. A
// rendering with findings is Refused: what it would write is not what the store
// holds.
func (w *World) Exporting(ctx context.Context, t Target, stored bool) (*Exported, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	out := &Exported{}
	c, err := w.Project.Component(t.Component)
	if err != nil {
		return nil, err
	}
	if stored || c.Template == "" {
		b, err := w.readWithBase(ctx, store, t, w.Path(t), providers.Latest)
		if err != nil {
			return nil, w.hintMissing(err, t)
		}
		out.Values = b.Values
		out.FromStore = (&Rendered{Variables: b.Values}).FromStore
	} else {
		r, err := w.Rendering(ctx, t, dotenv.Sh)
		if err != nil {
			return nil, err
		}
		out.Values, out.Findings, out.FromStore = r.Variables, r.Findings, r.FromStore
	}
	if len(out.Values) == 0 {
		return nil, fault.Newf(fault.NotFound, "export "+w.Path(t).String(), "run envctl set KEY"+t.on(), "it holds no variables")
	}
	out.Key, err = w.Fingerprints(ctx, store)
	return out, err
}
