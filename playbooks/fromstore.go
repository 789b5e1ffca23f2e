package playbooks

import (
	"slices"

	"envctl/internal/secret"
)

// FromStore returns what of a rendering came out of the store: the variables whose
// value the template does not spell out, and the stored values they are made of. A
// component without a template has nothing else.
func (r *Rendered) FromStore() []secret.Value {
	var out []secret.Value
	for _, name := range sortedKeys(r.Variables) {
		v := r.Variables[name]
		if r.Template == nil {
			out = append(out, v)
			continue
		}
		t, _ := emitted(r.Template, name)
		if t == nil || !t.Opaque && len(t.Inputs) == 0 || slices.ContainsFunc(t.Literals, func(text string) bool { return v.Equal(secret.New(text)) }) {
			continue
		}
		out = append(out, v)
		for _, in := range t.Inputs {
			for _, b := range r.Inputs {
				if of := patternComponent(in.Path); (of == "" || of == b.Path.Component) && b.Values[in.Key].IsSet() {
					out = append(out, b.Values[in.Key])
				}
			}
		}
	}
	return out
}
