package playbooks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
)

// RemoveVariable plans a variable's end in every layer that has it. The store's
// key stays: what to type for it is among the next commands.
func (w *World) RemoveVariable(component, name string) (*VarChange, error) {
	e, err := w.editing(component, "remove", name)
	if err != nil {
		return nil, err
	}
	template, code, example := e.in(name)
	if !template && !code && !example {
		return nil, fault.Newf(fault.NotFound, e.op(), "run envctl vars", "no layer of %s declares it", component)
	}
	if template {
		if err := e.removeFromTemplate(name); err != nil {
			return nil, err
		}
	}
	if code {
		if err := e.removeFromCode(name); err != nil {
			return nil, err
		}
	}
	if example {
		if err := e.removeFromExample(name); err != nil {
			return nil, err
		}
	}
	if e.keyed(name) && !e.readElsewhere(name) {
		for _, env := range w.Project.EnvironmentNames() {
			e.change.Next = append(e.change.Next, fmt.Sprintf("envctl unset %s --env %s --component %s   # after the deployment", name, env, component))
		}
	}
	e.mentions(name, "remove")
	return e.finish(name, true)
}

// keyed tells whether the component's path has a key for the variable.
func (e *varEditor) keyed(name string) bool {
	if e.layers.Template == nil {
		return true
	}
	for _, v := range e.layers.Template.Variables {
		for _, in := range v.Inputs {
			if v.Name == name && in.Key == name && patternComponent(in.Path) == e.name {
				return true
			}
		}
	}
	return false
}

// readElsewhere tells whether a template still reads the key of that name from
// the component's path once the variable is gone.
func (e *varEditor) readElsewhere(name string) bool {
	for _, c := range e.w.Project.Components {
		t, err := e.w.Template(c.Key)
		if err != nil || t == nil {
			continue
		}
		for _, v := range t.Variables {
			if c.Key == e.name && v.Name == name {
				continue
			}
			for _, in := range v.Inputs {
				if in.Key == name && patternComponent(in.Path) == e.name {
					return true
				}
			}
		}
	}
	return false
}

// removeFromTemplate takes out, from the last line up, the lines of the
// variable: alone, or with the {{ with }} and {{ end }} around it.
func (e *varEditor) removeFromTemplate(name string) error {
	file := e.comp.Template
	src, err := e.source(file)
	if err != nil {
		return err
	}
	mine := func(v layer.TemplateVariable) bool { return v.Name == name }
	text, t := src, e.layers.Template
	for left := 1; left > 0; {
		i := lastIndex(t.Variables, mine)
		if i < 0 {
			break
		}
		next, parsed := e.withoutLine(file, text, t, t.Variables[i].Line, name)
		if parsed == nil {
			return e.byHand(fmt.Sprintf("%s:%d", file, t.Variables[i].Line), "remove it by hand, then run the command again for the other layers", "no lines were found whose end changes nothing else")
		}
		text, t = next, parsed
	}
	e.edit("template", file, src, text)
	return nil
}

func lastIndex[T any](all []T, is func(T) bool) int {
	for i := len(all) - 1; i >= 0; i-- {
		if is(all[i]) {
			return i
		}
	}
	return -1
}

// withoutLine tries the ranges of lines around an assignment, the shortest
// first; nil when none of them leaves the rest as it is.
func (e *varEditor) withoutLine(file, src string, t *layer.Template, line int, name string) (string, *layer.Template) {
	ranges := [][2]int{{0, 0}, {0, 1}, {-1, 0}, {-1, 1}, {0, 2}, {-1, 2}, {-2, 2}}
	if lineIs(src, line-1, `(?:with|if)\b[^{}]*`) && lineIs(src, line+1, `end`) {
		ranges = append([][2]int{{-1, 1}}, ranges...) // a block that would be left empty
	}
	for _, r := range ranges {
		first, last := line+r[0], line+r[1]
		if first < 1 {
			continue
		}
		if !onlyActions(src, first, line-1) || !onlyActions(src, line+1, last) {
			continue
		}
		text := removeLines(src, first, last)
		parsed, err := layer.ParseTemplate(file, []byte(text))
		if err != nil || len(parsed.Variables) == len(t.Variables) {
			continue
		}
		gone := func(v layer.TemplateVariable) bool { return v.Name == name }
		if e.sameTemplate(t, parsed, gone, same) {
			return text, parsed
		}
	}
	return "", nil
}

// lineIs tells whether a line is one action that matches.
func lineIs(src string, n int, pattern string) bool {
	if n < 1 {
		return false
	}
	start, end, _ := lineAt(src, n)
	return regexp.MustCompile(`^\s*\{\{-?\s*` + pattern + `\s*-?\}\}\s*$`).MatchString(src[start:end])
}

// onlyActions tells whether the lines hold nothing but actions of the template.
func onlyActions(src string, first, last int) bool {
	for n := first; n <= last; n++ {
		start, end, _ := lineAt(src, n)
		if line := strings.TrimSpace(src[start:end]); !strings.HasPrefix(line, "{{") || !strings.HasSuffix(line, "}}") {
			return false
		}
	}
	return true
}

func (e *varEditor) removeFromCode(name string) error {
	file := e.comp.Code
	src, err := e.source(file)
	if err != nil {
		return err
	}
	f := e.field(name)
	if f.Declared != f.Class || strings.Contains(f.Name, ".") {
		return e.byHand(fmt.Sprintf("%s:%d", file, f.Line), "remove it by hand", "the field is %s's, not a settings class's own", f.Declared)
	}
	if f.Canonical != "" && name != f.Canonical {
		return e.removeAlias(src, f, name)
	}
	last := f.EndLine
	start, _, _ := lineAt(src, last+1)
	if below := strings.TrimLeft(src[start:], " \t"); strings.HasPrefix(below, `"""`) || strings.HasPrefix(below, `'''`) {
		quote := below[:3]
		if i := strings.Index(below[3:], quote); i >= 0 {
			last += 1 + strings.Count(below[:3+i], "\n") // the field's own description
		}
	}
	mine := func(x *python.Field) bool { return x.Class == f.Class && x.Line == f.Line }
	text := removeLines(src, f.Line, last)
	from, _, _ := lineAt(src, f.Line)
	_, to, _ := lineAt(src, last)
	text = dropImports(text, src[from:to])
	parsed, err := python.Read(file, []byte(text))
	if err != nil || !slices.Equal(codeShape(e.layers.Code, mine), codeShape(parsed, nil)) {
		return e.byHand(fmt.Sprintf("%s:%d", file, f.Line), "remove it by hand", "the file would say something else without it")
	}
	e.change.Notes = append(e.change.Notes, fmt.Sprintf("the code that reads the attribute %s has to do without it", f.Name))
	e.edit("code", file, src, text)
	return nil
}

// dropImports takes out the names that only removed text used of what a plain
// line imports from pydantic; a name that nothing used before stays.
func dropImports(src, removed string) string {
	line := regexp.MustCompile(`(?m)^from pydantic import ([A-Za-z_][A-Za-z_0-9, ]*)\r?\n`)
	m := line.FindStringSubmatchIndex(src)
	if m == nil {
		return src
	}
	names := strings.Split(src[m[2]:m[3]], ",")
	kept := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		used := word(strings.TrimSpace(n))
		return len(strings.Fields(n)) == 1 && used.MatchString(removed) && len(used.FindAllString(src, 2)) == 1
	})
	switch len(kept) {
	case len(names):
		return src
	case 0:
		return src[:m[0]] + src[m[1]:]
	}
	return src[:m[2]] + strings.TrimLeft(strings.Join(kept, ","), " ") + src[m[3]:]
}

// removeAlias takes a further name away from a field, which stays.
func (e *varEditor) removeAlias(src string, f *python.Field, name string) error {
	file := e.comp.Code
	start, _, _ := lineAt(src, f.Line)
	_, end, _ := lineAt(src, f.EndLine)
	literal := `["'](?i:` + regexp.QuoteMeta(name) + `)["']`
	mine := func(x *python.Field) bool { return x.Class == f.Class && x.Name == f.Name }
	for _, pattern := range []string{`,\s*` + literal, literal + `\s*,\s*`} {
		at := regexp.MustCompile(pattern).FindAllStringIndex(src[start:end], -1)
		if len(at) != 1 {
			continue
		}
		text := src[:start+at[0][0]] + src[start+at[0][1]:]
		parsed, err := python.Read(file, []byte(text))
		if err != nil || !slices.Equal(codeShape(e.layers.Code, mine), codeShape(parsed, mine)) {
			continue
		}
		i := slices.IndexFunc(parsed.Fields, func(x python.Field) bool { return mine(&x) })
		if i < 0 || !sameField(f, &parsed.Fields[i], false) || parsed.Fields[i].Canonical != f.Canonical ||
			!slices.Equal(parsed.Fields[i].Accepted, slices.DeleteFunc(slices.Clone(f.Accepted), func(a string) bool { return a == name })) {
			continue
		}
		e.edit("code", file, src, text)
		return nil
	}
	return e.byHand(fmt.Sprintf("%s:%d", file, f.Line), "take the alias out by hand", "%s is a further name of %s, whose field stays", name, f.Canonical)
}

// removeFromExample takes out the entries, with the comment above one where it
// describes nothing else.
func (e *varEditor) removeFromExample(name string) error {
	file := e.comp.Example
	src, err := e.source(file)
	if err != nil {
		return err
	}
	text, x := src, e.layers.Example
	for {
		i := lastIndex(x.Entries, func(n layer.ExampleEntry) bool { return n.Name == name })
		if i < 0 {
			break
		}
		n := x.Entries[i]
		var parsed *layer.Example
		for _, first := range []int{commentAbove(text, n.Line), n.Line} {
			for _, last := range []int{n.Line, n.Line + 1} {
				if start, end, _ := lineAt(text, last); last > n.Line && (strings.TrimSpace(text[start:end]) != "" || first == n.Line) {
					continue // only an empty line goes too, and only with a comment
				}
				fresh := removeLines(text, first, last)
				p, err := layer.ParseExample(file, []byte(fresh))
				if err != nil || len(p.Entries) != len(x.Entries)-1 || !slices.Equal(exampleShape(x, name, same), exampleShape(p, name, same)) {
					continue
				}
				text, parsed = fresh, p
				break
			}
			if parsed != nil {
				break
			}
		}
		if parsed == nil {
			return e.byHand(fmt.Sprintf("%s:%d", file, n.Line), "remove it by hand, then run the command again for the other layers", "the example would say something else without it")
		}
		x = parsed
	}
	e.edit("example", file, src, text)
	return nil
}

// commentAbove returns the first line of the comment that stands right above a
// line and right below an empty one, a heading, or another assignment; the line
// itself where the comment may be about what follows too.
func commentAbove(src string, line int) int {
	start, end, _ := lineAt(src, line+1)
	if below := strings.TrimSpace(src[start:end]); below != "" && !strings.HasPrefix(below, "#") {
		return line // the next assignment stands under the same comment
	}
	first := line
	for first > 1 {
		start, end, _ := lineAt(src, first-1)
		above := strings.TrimSpace(src[start:end])
		if !strings.HasPrefix(above, "#") || strings.HasPrefix(above, "# ==") || strings.HasPrefix(above, "# --") || strings.HasPrefix(above, "##") {
			break
		}
		if body := strings.TrimLeft(above, "# "); strings.Contains(body, "=") && IsVariable(body[:strings.IndexByte(body, '=')]) {
			break // a commented assignment is one of its own
		}
		first--
	}
	return first
}
