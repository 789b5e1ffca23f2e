package playbooks

import (
	"path"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/naming"
)

// emitted returns what a template says of a variable, its branches put
// together; nil when it does not emit it. spread: it would be emitted only as
// one of all keys of a path, if the path has it.
func emitted(tmpl *layer.Template, name string) (v *layer.TemplateVariable, spread bool) {
	if tmpl == nil {
		return nil, false
	}
	var out *layer.TemplateVariable
	for i := range tmpl.Variables {
		v := &tmpl.Variables[i]
		switch {
		case v.Name != name:
		case out == nil:
			first := *v
			first.Inputs = slices.Clip(first.Inputs)
			out = &first
		default:
			out.HasDefault = out.HasDefault || v.HasDefault || v.Static
			out.Needs = slices.Concat(out.Needs, v.Needs)
			for _, in := range v.Inputs {
				if !slices.ContainsFunc(out.Inputs, func(o layer.Input) bool { return o.Path == in.Path && o.Key == in.Key }) {
					out.Inputs = append(out.Inputs, in)
				}
			}
		}
	}
	if out == nil && len(tmpl.Spreads) > 0 {
		s := tmpl.Spreads[0]
		return &layer.TemplateVariable{Name: name, Line: s.Line, Column: s.Column, Inputs: []layer.Input{{Path: s.Path, Key: name}}, Needs: s.Needs, Conditional: layer.ByStore}, true
	}
	return out, false
}

// dispensable tells whether a template does without a variable's inputs.
func dispensable(v *layer.TemplateVariable) bool {
	return v.HasDefault || v.Static || v.Conditional != layer.Always
}

// patternComponent returns the component that a symbolic path names, "" when
// only rendering can tell.
func patternComponent(pattern string) string {
	c := path.Base(strings.TrimSuffix(pattern, "/"))
	if strings.ContainsAny(c, "{}") {
		return ""
	}
	return c
}

// resolvePath turns a template's symbolic path into a store path of a target.
func (w *World) resolvePath(tmpl *layer.Template, pattern string, t Target) (naming.Path, error) {
	for _, p := range tmpl.Paths {
		if p.Pattern != pattern {
			continue
		}
		where := place(tmpl.File, p.Line)
		text, ok := p.Resolve(w.templateEnv(t))
		if !ok {
			return naming.Path{}, fault.New(fault.Invalid, where, "the path is computed while rendering", "write it as a literal, or with printf and env")
		}
		np, err := naming.ParsePath(w.Project.Vault.Mount, text)
		return np, fault.Wrap(err, fault.Invalid, where, "")
	}
	return naming.Path{}, fault.Newf(fault.Invalid, tmpl.File, "", "reads no path %s", pattern)
}
