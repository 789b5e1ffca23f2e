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

// VarRenameOptions say what follows a new name.
type VarRenameOptions struct {
	KeepKey     bool // the store's key keeps its name; the template maps it
	RenameField bool // the attribute in the code gets a new name too, instead of an alias
}

// RenameVariable plans another name for a variable in every layer that has it.
// The store is not touched: what to type for it is among the next commands.
func (w *World) RenameVariable(component, old, fresh string, o VarRenameOptions) (*VarChange, error) {
	e, err := w.editing(component, "rename", old)
	if err != nil {
		return nil, err
	}
	e.change.To = fresh
	template, code, example := e.in(old)
	switch {
	case old == fresh:
		return nil, fault.New(fault.Usage, e.op(), "that is its name already", "name another")
	case !template && !code && !example:
		return nil, fault.Newf(fault.NotFound, e.op(), "run envctl vars", "no layer of %s declares it", component)
	case e.declares(fresh):
		return nil, fault.Newf(fault.Refused, e.op(), "remove one of them, or choose another name", "%s is declared already", fresh)
	}
	agreed := e.agree(old)
	keyed := false
	if template {
		if keyed, err = e.renameInTemplate(old, fresh, o.KeepKey); err != nil {
			return nil, err
		}
	}
	if code {
		if err := e.renameInCode(old, fresh, o.RenameField); err != nil {
			return nil, err
		}
	}
	if example {
		if err := e.renameInExample(old, fresh); err != nil {
			return nil, err
		}
	}
	if keyed || !template && e.layers.Template == nil {
		e.moveKey(old, fresh)
	}
	e.mentions(old, "rename")
	return e.finish(fresh, agreed)
}

// moveKey says how a store's key gets its new name: the new one first, the old
// one gone only when nothing reads it any more.
func (e *varEditor) moveKey(old, fresh string) {
	for _, env := range e.w.Project.EnvironmentNames() {
		consent := ""
		if c, err := e.w.Project.Environment(env); err == nil && c.Protected {
			consent = " --confirm " + env // nobody can be asked behind a pipe
		}
		e.change.Next = append(e.change.Next, fmt.Sprintf("envctl get %s --raw --env %s --component %s | envctl set %s --stdin --env %s --component %s",
			old, env, e.name, fresh, env, e.name)+consent)
	}
	for _, env := range e.w.Project.EnvironmentNames() {
		e.change.Next = append(e.change.Next, fmt.Sprintf("envctl unset %s --env %s --component %s   # after the deployment", old, env, e.name))
	}
}

// renameInTemplate renames the assignments and, unless the key is kept, the key
// in every template that reads it from the component's path.
func (e *varEditor) renameInTemplate(old, fresh string, keepKey bool) (keyed bool, err error) {
	file := e.comp.Template
	src, err := e.source(file)
	if err != nil {
		return false, err
	}
	t := e.layers.Template
	text := src
	for _, v := range slices.Backward(t.Variables) {
		if v.Name != old {
			continue
		}
		start, end, _ := lineAt(text, v.Line)
		at := start + v.Column - 1
		if at+len(old) > end || text[at:min(end, at+len(old))] != old {
			return false, e.byHand(file, "rename it by hand", "line %d does not spell the name where it begins", v.Line)
		}
		text = text[:at] + fresh + text[at+len(old):]
		for _, in := range v.Inputs {
			keyed = keyed || in.Key == old && patternComponent(in.Path) == e.name
		}
	}
	keyed = keyed && !keepKey
	if keyed {
		text = renameKey(text, old, fresh)
	}
	rename := func(s string) string {
		if s == old {
			return fresh
		}
		return s
	}
	parsed, perr := layer.ParseTemplate(file, []byte(text))
	if perr != nil || !e.renamedTemplate(t, parsed, old, keyed, rename) {
		return false, e.byHand(file, "rename it by hand, or keep the store's key: --keep-key", "the template would say something else afterwards")
	}
	e.edit("template", file, src, text)
	if keyed {
		err = e.renameElsewhere(old, fresh)
	}
	return keyed, err
}

// renamedTemplate tells whether a template differs in the name (and the key) alone.
func (e *varEditor) renamedTemplate(t, parsed *layer.Template, old string, keyed bool, rename func(string) string) bool {
	if slices.Contains(parsed.Names(), old) {
		return false
	}
	shape := func(x *layer.Template, names, keys func(string) string) []string {
		c := *x
		c.Variables = slices.Clone(x.Variables)
		for i := range c.Variables {
			c.Variables[i].Name = names(c.Variables[i].Name)
			c.Variables[i].Inputs = slices.Clone(c.Variables[i].Inputs)
			for j := range c.Variables[i].Inputs {
				in := &c.Variables[i].Inputs[j]
				if patternComponent(in.Path) == e.name {
					in.Key = keys(in.Key)
				}
			}
		}
		return templateShape(&c, nil, same)
	}
	keys := same
	if keyed {
		keys = rename
	}
	if !slices.Equal(shape(t, rename, keys), shape(parsed, same, same)) {
		return false
	}
	none := func(string) bool { return false }
	for _, bare := range []bool{false, true} {
		n1, _, err1 := e.rendered(t, bare, none, rename)
		n2, _, err2 := e.rendered(parsed, bare, none, same)
		if (err1 != nil) != (err2 != nil) || !slices.Equal(n1, n2) {
			return false
		}
	}
	return true
}

// renameKey renames a key where actions read it; comments and text stay.
func renameKey(src, old, fresh string) string {
	action := regexp.MustCompile(`(?s)\{\{-?\s*/\*.*?\*/\s*-?\}\}|\{\{.*?\}\}`)
	field := regexp.MustCompile(`(\.Data\.data\.)` + regexp.QuoteMeta(old) + `\b`)
	index := regexp.MustCompile(`(\bindex\s[^{}|()]*\bdata\s+")` + regexp.QuoteMeta(old) + `"`)
	return action.ReplaceAllStringFunc(src, func(a string) string {
		if strings.HasPrefix(strings.TrimLeft(a, "{- \t\r\n"), "/*") {
			return a
		}
		a = field.ReplaceAllString(a, "${1}"+fresh)
		return index.ReplaceAllString(a, "${1}"+fresh+`"`)
	})
}

// renameElsewhere renames the key in other components' templates that read it
// from this component's path.
func (e *varEditor) renameElsewhere(old, fresh string) error {
	for _, c := range e.w.Project.Components {
		if c.Key == e.name || c.Value.Template == "" || c.Value.Template == e.comp.Template {
			continue
		}
		t, err := e.w.Template(c.Key)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(t.Inputs, func(in layer.Input) bool { return in.Key == old && patternComponent(in.Path) == e.name }) {
			continue
		}
		src, err := e.source(c.Value.Template)
		if err != nil {
			return err
		}
		text := renameKey(src, old, fresh)
		parsed, perr := layer.ParseTemplate(c.Value.Template, []byte(text))
		rename := func(s string) string {
			if s == old {
				return fresh
			}
			return s
		}
		if perr != nil || !e.renamedTemplateKeys(t, parsed, rename) {
			return e.byHand(c.Value.Template, "rename the key there by hand, or keep it: --keep-key", "it reads %s of %s too, and would say something else afterwards", old, e.name)
		}
		e.edit("template", c.Value.Template, src, text)
	}
	return nil
}

// renamedTemplateKeys tells whether only keys of this component's path differ.
func (e *varEditor) renamedTemplateKeys(t, parsed *layer.Template, rename func(string) string) bool {
	inputs := func(x *layer.Template, keys func(string) string) []string {
		var out []string
		for _, in := range x.Inputs {
			k := in.Key
			if patternComponent(in.Path) == e.name {
				k = keys(k)
			}
			out = append(out, in.Path+"#"+k)
		}
		return out
	}
	return slices.Equal(t.Names(), parsed.Names()) && slices.Equal(inputs(t, rename), inputs(parsed, same))
}

// renameInCode gives the field an alias of the new name, so that the rest of the
// code, which knows the attribute, stays right.
func (e *varEditor) renameInCode(old, fresh string, renameField bool) error {
	file := e.comp.Code
	src, err := e.source(file)
	if err != nil {
		return err
	}
	f := e.field(old)
	if strings.Contains(f.Name, ".") {
		return e.byHand(fmt.Sprintf("%s:%d", file, f.Line), "rename it by hand, then run the command again for the other layers", "the field is %s's, not a settings class's own", f.Declared)
	}
	class := python.Class{Pydantic: 2}
	for _, c := range e.layers.Code.Classes {
		if c.Name == f.Class {
			class = c
		}
	}
	start, _, _ := lineAt(src, f.Line)
	_, end, _ := lineAt(src, f.EndLine)
	var texts []string
	var hint string
	literal := regexp.MustCompile(`(["'])(?i:` + regexp.QuoteMeta(old) + `)(["'])`)
	aliased := len(f.Aliases) > 0
	switch {
	case aliased:
		hint = "rename the alias by hand"
		if len(literal.FindAllString(src[start:end], -1)) == 1 {
			texts = append(texts, src[:start]+literal.ReplaceAllString(src[start:end], "${1}"+fresh+"${2}")+src[end:])
		}
	case renameField:
		hint = "rename the attribute by hand"
		attribute := strings.ToLower(fresh)
		if p := class.EnvPrefix; p != "" && len(fresh) > len(p) && strings.EqualFold(fresh[:len(p)], p) {
			attribute = strings.ToLower(fresh[len(p):])
		}
		if at := start + f.Column - 1; strings.HasPrefix(src[at:], f.Name) {
			texts = append(texts, src[:at]+attribute+src[at+len(f.Name):])
		}
		e.change.Notes = append(e.change.Notes, fmt.Sprintf("%s:%d: the attribute %s is now %s: the code that reads it has to follow", file, f.Line, f.Name, attribute))
	default:
		hint = "give the field an alias by hand, or rename its attribute: --rename-field"
		alias := "validation_alias"
		if class.Pydantic == 1 {
			alias = "env"
		}
		for _, body := range aliasTexts(src[start:end], alias+"="+pythonString(fresh)) {
			text := src[:start] + body + src[end:]
			if !word("Field").MatchString(src) {
				text = importField(text)
			}
			texts = append(texts, text)
		}
	}
	other := func(x *python.Field) bool { return x.Class == f.Class && x.Line == f.Line || e.accepts(x, fresh) }
	before := codeShape(e.layers.Code, other)
	for _, text := range texts {
		parsed, err := python.Read(file, []byte(text))
		if err != nil || text == "" {
			continue
		}
		now := &varEditor{w: e.w, comp: e.comp, layers: Layers{Code: parsed}}
		got := now.field(fresh)
		if got == nil || now.field(old) != nil || len(parsed.Problems) != len(e.layers.Code.Problems) {
			continue
		}
		mine := func(x *python.Field) bool { return x.Class == got.Class && x.Line == got.Line }
		if !slices.Equal(before, codeShape(parsed, mine)) || !sameField(f, got, renameField && !aliased) {
			continue
		}
		e.edit("code", file, src, text)
		return nil
	}
	return e.byHand(fmt.Sprintf("%s:%d", file, f.Line), hint, "no way was found to rename it that changes nothing else")
}

// sameField tells whether a field is what it was, its variable's name aside.
func sameField(old, now *python.Field, renamed bool) bool {
	def := func(f *python.Field) string {
		if f.Default == nil {
			return "-"
		}
		return "+" + *f.Default
	}
	return (old.Name == now.Name || renamed) && old.Type == now.Type && old.Kind == now.Kind && old.Required == now.Required && old.Secret == now.Secret &&
		def(old) == def(now) && old.Description == now.Description && old.Constraints == now.Constraints
}

// aliasTexts are the ways to give a field's text an alias: inside its Field(…),
// before the first argument or behind the last one, or in a new Field.
func aliasTexts(field, alias string) []string {
	if i := strings.Index(field, "Field("); i >= 0 {
		at := i + len("Field(")
		var out []string
		rest := strings.TrimLeft(field[at:], " \t\r\n")
		switch {
		case strings.HasPrefix(rest, ")"):
			out = append(out, field[:at]+alias+field[at:])
		case regexp.MustCompile(`^[A-Za-z_]\w*\s*=[^=]`).MatchString(rest):
			sep := ", "
			if rest := field[at:]; strings.HasPrefix(rest, "\n") || strings.HasPrefix(rest, "\r\n") {
				sep = "," // no blank at the end of a line
			}
			out = append(out, field[:at]+alias+sep+field[at:])
		}
		if j := strings.LastIndexByte(field, ')'); j > i {
			out = append(out, strings.TrimRight(field[:j], " \t\r\n,")+", "+alias+field[j:])
		}
		return out
	}
	text, comment := field, ""
	if i := commentStart(field); i >= 0 {
		text, comment = field[:i], field[i:]
	}
	trimmed := strings.TrimRight(text, " \t")
	comment = text[len(trimmed):] + comment
	colon := strings.IndexByte(trimmed, ':')
	if colon < 0 {
		return nil
	}
	if eq := topLevelEquals(trimmed, colon); eq >= 0 {
		return []string{strings.TrimRight(trimmed[:eq], " \t") + " = Field(default=" + strings.TrimSpace(trimmed[eq+1:]) + ", " + alias + ")" + comment}
	}
	return []string{trimmed + " = Field(" + alias + ")" + comment}
}

// scanPython calls each for the bytes of Python text that stand outside of
// strings, with the depth of brackets, until it says stop.
func scanPython(s string, each func(i, depth int) bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"', '\'':
			q := s[i : i+1]
			if strings.HasPrefix(s[i:], strings.Repeat(q, 3)) {
				q = strings.Repeat(q, 3)
			}
			for i += len(q); i < len(s) && !strings.HasPrefix(s[i:], q); i++ {
				if s[i] == '\\' {
					i++
				}
			}
			i += len(q) - 1
			continue
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		}
		if each(i, depth) {
			return
		}
	}
}

func commentStart(s string) int {
	at := -1
	scanPython(s, func(i, _ int) bool {
		if s[i] == '#' {
			at = i
		}
		return at >= 0
	})
	return at
}

func topLevelEquals(s string, from int) int {
	at := -1
	scanPython(s, func(i, depth int) bool {
		if s[i] == '=' && depth == 0 && i > from {
			at = i
		}
		return at >= 0
	})
	return at
}

// importField adds Field to the imports: to a plain import from pydantic, or in
// a line of its own above the one from pydantic_settings; "" where neither stands.
func importField(src string) string {
	if m := regexp.MustCompile(`(?m)^from pydantic import [A-Za-z_][A-Za-z_, ]*`).FindStringIndex(src); m != nil {
		at := len(strings.TrimRight(src[:m[1]], " "))
		return src[:at] + ", Field" + src[at:]
	}
	if m := regexp.MustCompile(`(?m)^from pydantic_settings import `).FindStringIndex(src); m != nil {
		return src[:m[0]] + "from pydantic import Field" + newline(src) + src[m[0]:]
	}
	return ""
}

func (e *varEditor) renameInExample(old, fresh string) error {
	file := e.comp.Example
	src, err := e.source(file)
	if err != nil {
		return err
	}
	text := src
	x := e.layers.Example
	for _, n := range slices.Backward(x.Entries) {
		if n.Name != old {
			continue
		}
		start, end, _ := lineAt(text, n.Line)
		at := start + n.Column - 1
		if at+len(old) > end || !strings.HasPrefix(text[at:], old) {
			return e.byHand(file, "rename it by hand", "line %d does not spell the name where it begins", n.Line)
		}
		text = text[:at] + fresh + text[at+len(old):]
	}
	rename := func(s string) string {
		if s == old {
			return fresh
		}
		return s
	}
	parsed, err := layer.ParseExample(file, []byte(text))
	if err != nil || !slices.Equal(exampleShape(x, "", rename), exampleShape(parsed, "", same)) {
		return e.byHand(file, "rename it by hand", "the example would say something else afterwards")
	}
	e.edit("example", file, src, text)
	return nil
}
