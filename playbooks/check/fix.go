package check

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// Fixed is one line that a fix adds.
type Fixed struct {
	Rule     string `json:"rule"`
	Variable string `json:"variable"`
	File     string `json:"file"`
	Line     int    `json:"line"` // in the new file
}

// Fix is what would be changed in one file: lines are added, nothing else.
type Fix struct {
	File     string
	Old, New []byte
	Lines    []Fixed
}

// Fixes returns the safe changes that end findings of a report: lines missing
// in an example, lines missing in a template. Each new file is read back: it must
// say all it said before, and the added variable. What cannot be added so is left
// out and named in the notes.
func Fixes(in Input, r *Report) (fixes []Fix, notes []string) {
	p := newProject(in)
	byFile := map[string]*Fix{}
	edit := func(rel string, src []byte) *Fix {
		if byFile[rel] == nil {
			byFile[rel] = &Fix{File: rel, Old: src, New: src}
		}
		return byFile[rel]
	}
	for _, f := range r.Findings {
		i := slices.IndexFunc(p.components, func(c *component) bool { return c.name == f.Component })
		if i < 0 {
			continue
		}
		c := p.components[i]
		var added *Fixed
		var fix *Fix
		switch f.Rule {
		case codeNotInExample:
			fix = edit(c.example.File, p.examples[c.config.Example].src)
			added = c.addExample(fix, f)
		case vaultMarker:
			fix = edit(c.template.File, p.templates[c.config.Template].src)
			added = c.addTemplate(fix, f)
		case previousLost:
			fix = edit(c.template.File, p.templates[c.config.Template].src)
			added = c.addPrevious(fix, f)
		default:
			continue
		}
		if added == nil {
			notes = append(notes, fmt.Sprintf("%s: %s cannot be added safely; do it by hand: %s", fix.File, f.Variable, strings.TrimPrefix(f.Fix, "run envctl check --fix, or ")))
			continue
		}
		fix.Lines = append(fix.Lines, *added)
	}
	for _, rel := range sortedKeys(byFile) {
		if f := byFile[rel]; len(f.Lines) > 0 {
			fixes = append(fixes, *f)
		}
	}
	return fixes, notes
}

// Apply writes the changes, each file whole and only if it still is what was
// read. Conflict where it is not.
func Apply(p *config.Project, fixes []Fix) error {
	for _, f := range fixes {
		abs, err := p.Path(f.File)
		if err != nil {
			return err
		}
		st, err := os.Lstat(abs)
		if err != nil {
			return fault.New(fault.NotFound, "write "+f.File, "no such file", "")
		}
		now, err := atomicfile.Read(abs, layer.MaxSize)
		if err != nil {
			return err
		}
		if !bytes.Equal(now, f.Old) {
			return fault.New(fault.Conflict, "write "+f.File, "it was changed in the meantime; it was left as it is", "run envctl check --fix again")
		}
		if err := atomicfile.Write(abs, f.New, st.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// exampleLine returns the lines for a field in an example: KEY=value, and the
// comment above it.
func exampleLine(f *python.Field, vault bool) (line, comment string) {
	value := ""
	if f.Default != nil && !secret.Sensitive(f.Canonical) && !f.Secret {
		value = *f.Default
	}
	if e, ok := f.Extra["example"]; ok {
		value = textOf(e)
	}
	value, ok := exampleValue(value)
	line = f.Canonical + "=" + value
	if !ok || value == "" && !f.Required && slices.Contains([]python.Kind{python.Bool, python.Dict, python.Enum, python.Float, python.Int, python.List, python.Literal, python.Nested, python.URL}, f.Kind) {
		line = "# " + line // set but empty it would be no value of its type, or another than the default
	}
	comment = strings.Join(strings.Fields(f.Description), " ")
	if comment == "" {
		comment = f.Type
		if f.Required {
			comment += ", required"
		}
	}
	// A mark of the description's own would be taken for the variable's.
	comment = strings.NewReplacer("[VAULT]", "VAULT", "[OPTIONAL]", "OPTIONAL").Replace(comment)
	if vault {
		comment += " [VAULT]"
	} else if !f.Required && f.Optional {
		comment += " [OPTIONAL]"
	}
	return line, "# " + comment
}

// exampleValue writes a value as every reader reads it, else as those of a .env
// beside a compose file do; false where there is no such way.
func exampleValue(value string) (string, bool) {
	for _, readers := range [][]dotenv.Dialect{nil, {dotenv.Compose, dotenv.Python, dotenv.Sh}, {dotenv.Compose, dotenv.Python}} {
		if quoted, err := dotenv.Quote(secret.New(value), readers...); err == nil {
			return quoted.Reveal(), true //nolint:forbidigo // a default of the source code, no secret
		}
	}
	return "", false
}

func (c *component) addExample(fix *Fix, f Finding) *Fixed {
	field := c.code.field(f.Variable)
	before, err := layer.ParseExample(fix.File, fix.New)
	if err != nil || field == nil || len(before.Problems) > 0 {
		return nil // an open quote could take the new line into its value
	}
	if i := slices.IndexFunc(before.Entries, func(e layer.ExampleEntry) bool { return e.Name == field.Canonical }); i >= 0 {
		return nil // another finding brought it already
	}
	line, comment := exampleLine(field, c.marked(field))
	eol := "\n"
	if i := bytes.IndexByte(fix.New, '\n'); i > 0 && fix.New[i-1] == '\r' {
		eol = "\r\n"
	}
	next := slices.Clone(fix.New)
	if len(next) > 0 && next[len(next)-1] != '\n' {
		next = append(next, eol...)
	}
	if len(next) > 0 {
		next = append(next, eol...)
	}
	next = append(next, (comment + eol + line + eol)...)
	after, err := layer.ParseExample(fix.File, next)
	if err != nil || len(after.Entries) != len(before.Entries)+1 {
		return nil
	}
	for i, e := range before.Entries {
		if after.Entries[i] != e {
			return nil
		}
	}
	e := after.Entries[len(after.Entries)-1]
	if e.Name != field.Canonical {
		return nil
	}
	fix.New = next
	return &Fixed{Rule: f.Rule, Variable: field.Canonical, File: fix.File, Line: e.Line}
}

// templateLine is the line that renders a variable from a key of the same name,
// quoted as the template quotes.
func (c *component) templateLine(name string) string {
	how := map[string]int{}
	for _, v := range c.template.Variables {
		if len(v.Inputs) == 0 {
			continue
		}
		q := ""
		if len(v.Quotings) > 0 {
			q = v.Quotings[0]
		}
		how[q]++
	}
	value := `{{ printf "%q" . }}`
	switch {
	case how["shquote"] > how["%q"]:
		value = "{{ shquote . }}"
	case how[""] > how["%q"]+how["toJSON"]:
		value = "{{ . }}"
	case how["toJSON"] > how["%q"]:
		value = "{{ toJSON . }}"
	}
	if c.code != nil {
		if f := c.code.field(name); f != nil && !f.Required {
			return fmt.Sprintf("{{ with .Data.data.%s }}%s=%s{{ end }}", name, name, value)
		}
	}
	return fmt.Sprintf("%s={{ with .Data.data.%s }}%s{{ end }}", name, name, value)
}

// addTemplate adds a line after the last variable that is read from the
// component's own path, where the template still means the same afterwards.
func (c *component) addTemplate(fix *Fix, f Finding) *Fixed {
	before, err := layer.ParseTemplate(fix.File, fix.New)
	if err != nil {
		return nil
	}
	lines := bytes.Count(fix.New, []byte("\n"))
	mine := func(in layer.Input) bool { return baseOf(in.Path) == c.name }
	for i := len(before.Variables) - 1; i >= 0; i-- {
		v := before.Variables[i]
		if !slices.ContainsFunc(v.Inputs, mine) || v.Conditional == layer.ByEnv || v.Line > lines {
			continue
		}
		if next := c.inserted(before, fix.New, v.Line, c.templateLine(f.Variable), f.Variable, mine); next != nil {
			fix.New = next
			return &Fixed{Rule: f.Rule, Variable: f.Variable, File: fix.File, Line: v.Line + 1}
		}
	}
	return nil
}

// inserted returns a template with one more line, which renders a variable from a key
// of its name of own's path; nil where it would say something else beside.
func (c *component) inserted(before *layer.Template, src []byte, below int, line, name string, own func(layer.Input) bool) []byte {
	lines := bytes.SplitAfter(src, []byte("\n"))
	if !bytes.HasSuffix(lines[below-1], []byte("\n")) {
		return nil
	}
	eol := "\n"
	if bytes.HasSuffix(lines[below-1], []byte("\r\n")) {
		eol = "\r\n"
	}
	next := slices.Concat(bytes.Join(lines[:below], nil), []byte(line+eol), bytes.Join(lines[below:], nil))
	after, err := layer.ParseTemplate(before.File, next)
	if err != nil || !c.onlyAdds(before, after, name, own) {
		return nil
	}
	return next
}

// onlyAdds tells whether a template says all it said, and one variable more,
// read from own's path in every environment.
func (c *component) onlyAdds(before, after *layer.Template, name string, own func(layer.Input) bool) bool {
	if len(after.Variables) != len(before.Variables)+1 || len(after.Problems) != len(before.Problems) || len(after.Duplicates()) != len(before.Duplicates()) {
		return false
	}
	j := 0
	fresh := false
	for _, v := range after.Variables {
		if v.Name == name && !fresh && (j >= len(before.Variables) || before.Variables[j].Name != name) {
			fresh = len(v.Inputs) == 1 && v.Inputs[0].Key == name && own(v.Inputs[0]) && v.Conditional != layer.ByEnv
			if !fresh || !c.guardedByItself(after, v) {
				return false
			}
			continue
		}
		if j >= len(before.Variables) {
			return false
		}
		b := before.Variables[j]
		if b.Name != v.Name || !slices.EqualFunc(b.Inputs, v.Inputs, func(x, y layer.Input) bool { return x.Path == y.Path && x.Key == y.Key }) ||
			b.Conditional != v.Conditional || !slices.Equal(b.Literals, v.Literals) {
			return false
		}
		j++
	}
	return fresh && j == len(before.Variables)
}

// guardedByItself tells whether an added variable is rendered whenever the store
// has its own key and no other: it stands inside no other condition.
func (c *component) guardedByItself(t *layer.Template, v layer.TemplateVariable) bool {
	env := c.standInEnv()
	out, err := layer.Render(context.Background(), t, layer.RenderInput{
		Env: c.templateEnv(env), Reader: c.reader(),
		Secret: func(_ context.Context, path string) (layer.SecretData, error) {
			return layer.SecretData{Version: 1, Values: map[string]secret.Value{v.Name: secret.New(placeholder)}}, nil
		},
	})
	return err == nil && slices.ContainsFunc(out.Variables, func(r layer.RenderedVariable) bool {
		return r.Name == v.Name && r.Line == v.Line && r.Value.Equal(secret.New(placeholder))
	})
}
