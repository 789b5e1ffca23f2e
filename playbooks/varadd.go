package playbooks

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// VarAddOptions describe a new variable.
type VarAddOptions struct {
	Type        string // bool, float, int, list, secret, str; "" is secret or str, by the name
	Default     string
	HasDefault  bool
	Optional    bool // it may be missing, without a default
	Description string
	Example     string // what the example shows
	Group       string // the example's heading it goes under
	Class       string // the settings class, where there are several
	From        string // COMPONENT#KEY of the store, COMPONENT or #KEY; "" is the component's own key of that name
	NoTemplate  bool   // it does not come from the store
}

// VarTypes are the types of a new variable, sorted.
func VarTypes() []string { return []string{"bool", "float", "int", "list", "secret", "str"} }

// AddVariable plans a variable in every layer of a component that lacks it.
func (w *World) AddVariable(component, name string, o VarAddOptions) (*VarChange, error) {
	e, err := w.editing(component, "add", name)
	if err != nil {
		return nil, err
	}
	if o.Type == "" {
		o.Type = "str"
		if secret.Sensitive(name) {
			o.Type = "secret"
		}
	}
	if err := o.check(e.op()); err != nil {
		return nil, err
	}
	template, code, example := e.in(name)
	if e.layers.Template != nil && !template && !o.NoTemplate {
		if err := e.addToTemplate(name, o); err != nil {
			return nil, err
		}
	}
	if e.layers.Code != nil && !code {
		if err := e.addToCode(name, o); err != nil {
			return nil, err
		}
	}
	if e.layers.Example != nil && !example {
		if err := e.addToExample(name, o); err != nil {
			return nil, err
		}
	}
	if len(e.change.Edits) == 0 {
		return nil, fault.Newf(fault.Usage, e.op(), "run envctl vars; rename it with envctl var rename", "every layer of %s declares it already", component)
	}
	if !o.NoTemplate && !o.HasDefault && !o.Optional {
		_, key := e.storeKey(name, o)
		for _, env := range w.Project.EnvironmentNames() {
			e.change.Next = append(e.change.Next, fmt.Sprintf("envctl set %s --env %s --component %s", key, env, e.owner(o)))
		}
	}
	return e.finish(name, true)
}

// check refuses descriptions that no layer could hold.
func (o VarAddOptions) check(op string) error {
	switch {
	case !slices.Contains(VarTypes(), o.Type):
		return fault.Newf(fault.Usage, op, "types: "+list(VarTypes()), "no type %q", o.Type)
	case o.HasDefault && o.Type == "secret":
		return fault.New(fault.Refused, op, "a default of a secret would stand in the repository", "leave --default out and set the value: envctl set; --type str says that it is no secret")
	case o.HasDefault && o.Optional:
		return fault.New(fault.Usage, op, "--default makes it optional already", "choose one of --default and --optional")
	case strings.ContainsAny(o.Description+o.Default+o.Example+o.Group, "\n\r\x00"):
		return fault.New(fault.Usage, op, "descriptions and defaults stand on one line", "leave line ends out")
	case strings.Contains(o.Default+o.Description, "{{"):
		return fault.New(fault.Usage, op, "{{ would be an action of the template", "write it by hand")
	}
	if o.HasDefault {
		if _, err := pythonLiteral(o.Type, o.Default); err != nil {
			return fault.Newf(fault.Usage, op, "e.g. --type int --default 60", "the default is no %s", o.Type)
		}
	}
	return nil
}

// owner is the component in whose path the key lies.
func (e *varEditor) owner(o VarAddOptions) string {
	if c, _, _ := strings.Cut(o.From, "#"); c != "" {
		return c
	}
	return e.name
}

// storeKey returns the template's pattern of the path, "" where it reads none,
// and the key.
func (e *varEditor) storeKey(name string, o VarAddOptions) (pattern, key string) {
	key = name
	if _, k, ok := strings.Cut(o.From, "#"); ok && k != "" {
		key = k
	}
	if e.layers.Template != nil {
		for _, p := range e.layers.Template.Paths {
			if patternComponent(p.Pattern) == e.owner(o) && pattern == "" {
				pattern = p.Pattern
			}
		}
	}
	return pattern, key
}

// addToTemplate tries the ways a line can be written at the places it can stand,
// and takes the first that reads back as meant and changes nothing else.
func (e *varEditor) addToTemplate(name string, o VarAddOptions) error {
	file := e.comp.Template
	src, err := e.source(file)
	if err != nil {
		return err
	}
	t := e.layers.Template
	pattern, key := e.storeKey(name, o)
	if pattern == "" {
		return e.byHand(file, fmt.Sprintf("add {{ with secret (printf \"%s/data/%s/%%s/%s\" (env \"ENV\")) }}…{{ end }} to it, or say --no-template", e.w.Project.Vault.Mount, e.w.Project.Name, e.owner(o)),
			"it reads nothing of %s", e.owner(o))
	}
	mine := func(v layer.TemplateVariable) bool { return v.Name == name }
	for _, line := range e.anchors(t, pattern) {
		for _, text := range e.templateLines(t, src, name, key, pattern, o) {
			fresh := insertLines(src, line, text)
			parsed, err := layer.ParseTemplate(file, []byte(fresh))
			if err != nil || !e.sameTemplate(t, parsed, mine, same) {
				continue
			}
			i := slices.IndexFunc(parsed.Variables, mine)
			if i < 0 {
				continue
			}
			v := parsed.Variables[i]
			dispensable := o.Optional || o.HasDefault
			if len(v.Inputs) != 1 || v.Inputs[0].Path != pattern || v.Inputs[0].Key != key || v.Opaque ||
				(v.HasDefault != o.HasDefault) || v.HasDefault && strings.TrimSuffix(v.Default, "\r") != o.Default || // of CRLF lines
				!dispensable && v.Conditional != layer.Always {
				continue
			}
			e.edit("template", file, src, fresh)
			return nil
		}
	}
	return e.byHand(file, fmt.Sprintf("add it by hand: %s={{ .Data.data.%s | printf \"%%q\" }}, then run envctl var add %s --no-template", name, key, name), "no place was found where a new line changes nothing else")
}

// anchors are the lines below which a variable of a path may stand, the best
// first: behind the last variable of the path, then behind the one before.
func (e *varEditor) anchors(t *layer.Template, pattern string) []int {
	var lines []int
	for _, v := range slices.Backward(t.Variables) {
		if slices.ContainsFunc(v.Inputs, func(in layer.Input) bool { return in.Path == pattern }) {
			lines = append(lines, v.Line, v.Line+1)
		}
	}
	for _, p := range t.Paths {
		if p.Pattern == pattern {
			lines = append(lines, p.Line)
		}
	}
	return lines
}

// templateLines are the ways to write the variable, as the template writes others.
func (e *varEditor) templateLines(t *layer.Template, src, name, key, pattern string, o VarAddOptions) []string {
	quoting := func(x string) string { return x + ` | printf "%q"` }
	inner := `printf "%q" .`
	if slices.ContainsFunc(t.Variables, func(v layer.TemplateVariable) bool { return slices.Contains(v.Quotings, "shquote") }) {
		quoting = func(x string) string { return x + " | shquote" }
		inner = "shquote ."
	}
	read := ".Data.data." + key
	switch {
	case o.HasDefault:
		def, err := dotenv.Quote(secret.New(o.Default), dotenv.Sh)
		if err != nil {
			return nil
		}
		text := fmt.Sprintf("%q", o.Default)
		if strings.Trim(o.Default, shellSafe) != "" {
			text = def.Reveal() //nolint:forbidigo // a default, which stands in the repository
		}
		return []string{fmt.Sprintf("%s={{ with %s }}{{ %s }}{{ else }}%s{{ end }}\n", name, read, inner, text)}
	case o.Optional:
		return []string{
			fmt.Sprintf("{{ with %s }}%s={{ %s }}\n{{ end -}}\n", read, name, inner),
			fmt.Sprintf("{{- with %s }}\n%s={{ %s }}\n{{- end }}\n", read, name, inner),
		}
	}
	out := []string{}
	for _, v := range slices.Backward(t.Variables) {
		if len(v.Inputs) == 1 && v.Inputs[0].Path == pattern && !v.HasDefault && v.Conditional == layer.Always {
			start, end, _ := lineAt(src, v.Line)
			line := src[start:end]
			if strings.HasPrefix(strings.TrimSpace(line), v.Name+"=") && strings.Contains(line, "}}") {
				out = append(out, word(v.Name).ReplaceAllLiteralString(word(v.Inputs[0].Key).ReplaceAllLiteralString(line, key), name)+"\n")
				break
			}
		}
	}
	return append(out, fmt.Sprintf("%s={{ %s }}\n", name, quoting(read)))
}

const shellSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+./:@%, "

func word(s string) *regexp.Regexp { return regexp.MustCompile(`\b` + regexp.QuoteMeta(s) + `\b`) }

// addToCode adds a field behind the last one of the settings class.
func (e *varEditor) addToCode(name string, o VarAddOptions) error {
	file := e.comp.Code
	src, err := e.source(file)
	if err != nil {
		return err
	}
	class, err := e.class(o.Class)
	if err != nil {
		return err
	}
	old := e.layers.Code
	for i := range old.Fields {
		// A field of its own would take what Pydantic reads as a part of another.
		whole, child, nested := strings.Cut(old.Fields[i].Name, ".")
		if d := class.NestedDelimiter; nested && d != "" && !strings.Contains(child, ".") && old.Fields[i].Class == class.Name &&
			strings.HasPrefix(strings.ToUpper(name), strings.ToUpper(class.EnvPrefix+whole+d)) {
			return e.byHand(file, "add the field to "+old.Fields[i].Declared+" by hand, then run the command again for the other layers", "%s is a part of the nested field %s", name, whole)
		}
	}
	mine := func(f *python.Field) bool { return e.accepts(f, name) }
	before := codeShape(old, nil)
	for _, line := range fieldEnds(old, src, class.Name) {
		for _, text := range fieldTexts(src, class, name, o) {
			start, _, _ := lineAt(src, line.first)
			indent := src[start : start+len(src[start:])-len(strings.TrimLeft(src[start:], " \t"))]
			fresh := insertLines(src, line.last, indent+text+"\n")
			parsed, err := python.Read(file, []byte(fresh))
			if err != nil || !slices.Equal(before, codeShape(parsed, mine)) {
				continue
			}
			i := slices.IndexFunc(parsed.Fields, func(f python.Field) bool { return mine(&f) })
			if i < 0 {
				continue
			}
			f := parsed.Fields[i]
			if f.Class != class.Name || f.Canonical != name || f.Required == (o.Optional || o.HasDefault) || o.HasDefault && o.Type != "list" && (f.Default == nil || !sameDefault(o, *f.Default)) {
				continue
			}
			e.edit("code", file, src, fresh)
			return nil
		}
	}
	return e.byHand(file, "add the field by hand, then run the command again for the other layers", "no way was found to add a field that accepts %s and changes nothing else", name)
}

func (e *varEditor) accepts(f *python.Field, name string) bool {
	return slices.ContainsFunc(f.Accepted, func(a string) bool { return a == name || !f.CaseSensitive && strings.EqualFold(a, name) })
}

func sameDefault(o VarAddOptions, got string) bool {
	return got == o.Default || o.Type == "bool" && strings.EqualFold(got, o.Default) || o.Type == "float"
}

// class chooses the settings class that gets the field.
func (e *varEditor) class(named string) (python.Class, error) {
	var found []python.Class
	var names []string
	for _, c := range e.layers.Code.Classes {
		if c.Name == named {
			return c, nil
		}
		names = append(names, c.Name)
		if !c.Base && slices.ContainsFunc(e.layers.Code.Fields, func(f python.Field) bool { return f.Class == c.Name && f.Declared == c.Name }) {
			found = append(found, c)
		}
	}
	if named != "" || len(found) != 1 {
		return python.Class{}, fault.Newf(fault.Usage, e.op(), "name one with --class: "+list(names), "%s has %d settings classes that a field could go to", e.comp.Code, len(found))
	}
	return found[0], nil
}

type lineRange struct{ first, last int }

// fieldEnds are the lines of a class's own fields, the last field first, but for
// those that a docstring follows.
func fieldEnds(s *python.Settings, src, class string) []lineRange {
	var out []lineRange
	for _, f := range s.Fields {
		if f.Class != class || f.Declared != class || strings.Contains(f.Name, ".") {
			continue
		}
		start, end, _ := lineAt(src, f.EndLine+1)
		if below := strings.TrimSpace(src[start:end]); strings.HasPrefix(below, `"`) || strings.HasPrefix(below, "'") {
			continue
		}
		out = append(out, lineRange{f.Line, f.EndLine})
	}
	slices.SortFunc(out, func(a, b lineRange) int { return b.last - a.last })
	return out
}

// fieldTexts are the ways to write the field, the plainest first.
func fieldTexts(src string, class python.Class, name string, o VarAddOptions) []string {
	typ := o.Type
	switch typ {
	case "secret":
		typ = "str"
		if word("SecretStr").MatchString(src) {
			typ = "SecretStr"
		}
	case "list":
		typ = "list[str]"
	}
	def := ""
	if o.HasDefault {
		def, _ = pythonLiteral(o.Type, o.Default) // checked before
	}
	if o.Optional {
		def = "None"
		if strings.Contains(src, "Optional[") {
			typ = "Optional[" + typ + "]"
		} else {
			typ += " | None"
		}
	}
	attribute := strings.ToLower(name)
	if p := class.EnvPrefix; p != "" && len(name) > len(p) && strings.EqualFold(name[:len(p)], p) {
		attribute = strings.ToLower(name[len(p):])
	}
	alias := "validation_alias"
	if class.Pydantic == 1 {
		alias = "env"
	}
	hasField := regexp.MustCompile(`\bField\(`).MatchString(src)
	write := func(args ...string) string {
		if def != "" {
			args = append([]string{"default=" + def}, args...)
		}
		if o.Description != "" {
			args = append(args, "description="+pythonString(o.Description))
		}
		return fmt.Sprintf("%s: %s = Field(%s)", attribute, typ, strings.Join(args, ", "))
	}
	var out []string
	if hasField && o.Description != "" {
		out = append(out, write())
	}
	plain := attribute + ": " + typ
	if def != "" {
		plain += " = " + def
	}
	out = append(out, plain)
	if hasField {
		out = append(out, write(fmt.Sprintf("%s=%s", alias, pythonString(name))))
	}
	return out
}

// pythonLiteral writes a default as Python.
func pythonLiteral(typ, s string) (string, error) {
	switch typ {
	case "int":
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != s {
			return "", strconv.ErrSyntax
		}
		return s, nil
	case "float":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || f != f || f > 1e300 || f < -1e300 || strings.Trim(s, "-0123456789.") != "" {
			return "", strconv.ErrSyntax
		}
		return s, nil
	case "bool":
		switch strings.ToLower(s) {
		case "true":
			return "True", nil
		case "false":
			return "False", nil
		}
		return "", strconv.ErrSyntax
	case "list":
		var items []string
		for _, x := range strings.Split(s, ",") {
			if x = strings.TrimSpace(x); x != "" {
				items = append(items, pythonString(x))
			}
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	}
	return pythonString(s), nil
}

// pythonString writes a text of one line as a Python string.
func pythonString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\t':
			b.WriteString(`\t`)
		case !strconv.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// addToExample adds the lines that tell people of the variable.
func (e *varEditor) addToExample(name string, o VarAddOptions) error {
	file := e.comp.Example
	src, err := e.source(file)
	if err != nil {
		return err
	}
	x := e.layers.Example
	stored := e.layers.Template != nil && !o.NoTemplate
	usesVault := slices.ContainsFunc(x.Entries, func(n layer.ExampleEntry) bool { return n.Vault })
	usesOptional := slices.ContainsFunc(x.Entries, func(n layer.ExampleEntry) bool { return n.Optional })
	vault, optional := stored && usesVault && o.Type == "secret", usesOptional && (o.Optional || o.HasDefault)
	assignment, err := e.exampleLine(name, o, x)
	if err != nil {
		return err
	}
	at, known := e.exampleAnchor(x, src, o.Group)
	if !known {
		return fault.Newf(fault.Usage, e.op(), "its groups: "+list(x.Groups), "%s has no group %q", file, o.Group)
	}
	marks := ""
	if vault {
		marks += " [VAULT]"
	}
	if optional {
		marks += " [OPTIONAL]"
	}
	var texts []string
	switch {
	case o.Description != "":
		texts = []string{"# " + o.Description + marks + "\n" + assignment}
	case marks != "":
		texts = []string{"#" + marks + "\n" + assignment, assignment + "  #" + marks}
	default:
		texts = []string{assignment}
	}
	texts = append(texts, "# "+name+marks+"\n"+assignment, "\n# "+name+marks+"\n"+assignment)
	if strings.HasPrefix(texts[0], "#") {
		texts = append([]string{texts[0], "\n" + texts[0]}, texts[1:]...)
	}
	for _, line := range at {
		for _, text := range texts {
			fresh := insertLines(src, line, text+"\n")
			parsed, err := layer.ParseExample(file, []byte(fresh))
			if err != nil || !slices.Equal(exampleShape(x, "", same), exampleShape(parsed, name, same)) {
				continue
			}
			n, ok := parsed.Lookup(name)
			if !ok || n.Vault != vault || n.Optional != optional || o.Group != "" && n.Group != o.Group {
				continue
			}
			e.edit("example", file, src, fresh)
			return nil
		}
	}
	return e.byHand(file, "add "+name+"= by hand, then run the command again for the other layers", "no place was found where a new line changes nothing else")
}

func (e *varEditor) exampleLine(name string, o VarAddOptions, x *layer.Example) (string, error) {
	value := o.Example
	if value == "" && o.HasDefault {
		value = o.Default
	}
	placeholders := slices.ContainsFunc(x.Entries, func(n layer.ExampleEntry) bool { return n.Placeholder && strings.HasPrefix(n.Value, "<") })
	if value == "" && o.Type == "secret" && !o.Optional && placeholders {
		return name + "=<" + name + ">", nil
	}
	q, err := dotenv.Quote(secret.New(value), dotenv.Compose, dotenv.Python, dotenv.Sh)
	if err != nil {
		return "", fault.Wrap(err, fault.Usage, e.op(), "choose another --example")
	}
	line := name + "=" + q.Reveal() //nolint:forbidigo // documentation, which stands in the repository
	if value == "" && o.Optional && o.Type != "str" && o.Type != "secret" {
		line = "# " + line // set but empty it would be no value of its type
	}
	return line, nil
}

// exampleAnchor returns the lines below which the entry may stand: behind the
// last of its group, else at the end.
func (e *varEditor) exampleAnchor(x *layer.Example, src, group string) ([]int, bool) {
	end := strings.Count(src, "\n")
	if src != "" && !strings.HasSuffix(src, "\n") {
		end++
	}
	if group == "" {
		return []int{end}, true
	}
	last := 0
	for _, n := range x.Entries {
		if n.Group == group {
			last = max(last, n.Line)
		}
	}
	if last == 0 {
		return nil, false
	}
	return []int{last, last + 1}, true
}
