package layer

import (
	"slices"
	"strings"

	"envctl/internal/secret"
)

// masked returns the output with a placeholder for what its expressions wrote.
// The template's own text stands in the repository and is shown.
func (r *renderer) masked(out string) string {
	var b strings.Builder
	b.Grow(len(out))
	for i, s := range r.segments {
		end := len(out)
		if i+1 < len(r.segments) {
			end = r.segments[i+1].offset
		}
		switch part := out[s.offset:end]; {
		case part == "":
		case s.text || r.public(s, part):
			b.WriteString(part)
		default:
			b.WriteString(secret.Value{}.String())
		}
	}
	return b.String()
}

// public tells whether an expression wrote a name of the environment, and stands
// on the line of a variable that is made of nothing in the store.
func (r *renderer) public(s segment, part string) bool {
	name := strings.Trim(part, `"'`)
	known := false
	for _, v := range r.in.Env {
		known = known || v == name
	}
	line, _ := r.t.lines.at(s.pos)
	here := func(v TemplateVariable) bool { return v.Line == line }
	if !known || !slices.ContainsFunc(r.t.Variables, here) {
		return false
	}
	return !slices.ContainsFunc(r.t.Variables, func(v TemplateVariable) bool { return here(v) && (len(v.Inputs) > 0 || v.Opaque) })
}
