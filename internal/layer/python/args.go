package python

import (
	"slices"
	"strings"
)

// fieldArgs is what the Field(…) calls of one declaration say together.
type fieldArgs struct {
	value        *expr // the default, nil without one
	valueScope   *scope
	factory      *expr
	makes        string   // the class that the default calls
	alias        string   // alias=
	validation   []string // names that validate: alias, validation_alias, choices
	paths        []string // the first elements of AliasPath
	order        []string // all of them in their order
	unknownAlias bool
	env          []string // generation 1
	nested       bool     // the declaration is a model's, not a settings class's
	limits       Constraints
	description  string
	extra        map[string]any
}

// fieldCall returns the Field(…) call that e is, by itself or through a name,
// and the scope of its arguments; nil for anything else.
func (r *reader) fieldCall(e *expr, s *scope) (*expr, *scope) {
	for range maxDepth {
		switch e.kind {
		case exprCall:
			if name := r.known(e.args[0], s); name == "Field" || name == "field" {
				return e, s
			}
			return nil, nil
		case exprName:
			b := s.lookup(e.text)
			if b == nil || b.kind != bindValue || b.ambiguous {
				return nil, nil
			}
			next := r.value(b)
			if next == nil || b.scope == s && next.kind == exprName && next.text == e.text {
				return nil, nil
			}
			e, s = next, b.scope
		default:
			return nil, nil
		}
	}
	return nil, nil
}

// makesField tells whether a call that this reader does not know may return a
// Field.
func (r *reader) makesField(e *expr, s *scope) bool {
	if e.kind != exprCall {
		return false
	}
	if f := e.args[0]; f.kind == exprName {
		if b := s.lookup(f.text); b != nil {
			switch b.kind {
			case bindDef:
				return mentions(b.stmt.body, "Field") || mentions(b.stmt.body, "FieldInfo")
			case bindValue:
				for _, t := range b.toks {
					if t.named("Field") {
						return true
					}
				}
				return false
			case bindClass:
				return false
			}
		}
	}
	return strings.HasSuffix(strings.ToLower(r.known(e.args[0], s)), "field")
}

// describe reads all of a declaration but the names of its variables.
func (r *reader) describe(c *class, conf config, gen int, d *decl, nested bool) (Field, typ, fieldArgs) {
	s := d.class.scope
	f := Field{
		Name: d.name, Class: c.name, Declared: d.class.name, CaseSensitive: conf.caseSensitive,
		Line: int(d.item.at.line), Column: int(d.item.at.col), EndLine: d.endLine,
	}
	var t typ
	if d.ann != nil {
		t = r.typeOf(d.ann, s, 0)
	}
	args := fieldArgs{nested: nested}
	for _, m := range t.metas {
		r.apply(gen, d, &args, m)
	}
	if d.value != nil {
		if call, at := r.fieldCall(d.value, s); call != nil {
			r.apply(gen, d, &args, meta{call: call, scope: at})
		} else {
			if r.makesField(d.value, s) {
				r.problem(Unread, d.class, d.name, d.value.line, d.value.col, "the default is a call that may return a Field: aliases and defaults are not known")
			}
			args.value, args.valueScope, args.factory = d.value, s, nil
		}
	}
	if gen == 1 {
		r.configFields(conf, d, &args)
	}
	f.Type, f.Kind, f.Optional, f.Secret = t.text, t.kind, t.optional, t.secret
	f.Choices, f.NoText = t.choices, t.numbers
	f.Items = r.items(gen, d, t.item)
	complexType := t.kind == List || t.kind == Dict || t.kind == Nested
	f.Custom = t.custom || !conf.decoding && complexType
	// Where None or another type is an alternative Pydantic keeps the text that
	// is no JSON, and the validator sees it.
	f.Decoded = complexType && conf.decoding && !nested && !t.raw && !t.union && !t.optional
	if conf.enumNames && t.kind == Enum {
		if k := r.enumOf(d, s); k != nil {
			for _, m := range r.members(k) {
				if !slices.Contains(f.Choices, m.name) {
					f.Choices = append(f.Choices, m.name)
				}
			}
		}
	}
	f.Constraints, f.Description, f.Extra = args.limits, args.description, args.extra
	if f.Description == "" && conf.docstrings {
		f.Description = strings.TrimSpace(d.item.doc)
	}
	r.setDefault(&f, &args, gen, d)
	if f.Kind == "" {
		f.Kind = Unknown
	}
	return f, t, args
}

// items describes the entries of a list.
func (r *reader) items(gen int, d *decl, t *typ) *Field {
	if t == nil {
		return nil
	}
	f := &Field{Type: t.text, Kind: t.kind, Optional: t.optional, Secret: t.secret, Custom: t.custom, Choices: t.choices, NoText: t.numbers}
	var args fieldArgs
	for _, m := range t.metas {
		m.limits = true
		r.apply(gen, d, &args, m)
	}
	f.Constraints, f.Items = args.limits, r.items(gen, d, t.item)
	return f
}

// enumOf returns the enumeration that a declaration names directly or beside
// None.
func (r *reader) enumOf(d *decl, s *scope) *class {
	sides := []*expr{d.ann}
	switch d.ann.kind {
	case exprBinary:
		sides = flatten(d.ann)
	case exprIndex:
		sides = append(sides, d.ann.args[1])
	}
	for _, e := range sides {
		if c := r.classOf(e, s); c != nil && r.isEnum(c) {
			return c
		}
	}
	return nil
}

func (r *reader) setDefault(f *Field, args *fieldArgs, gen int, d *decl) {
	e, s := args.value, args.valueScope
	if e != nil && e.kind == exprConst {
		if _, dots := e.value.(ellipsis); dots {
			e = nil
			if args.factory == nil {
				f.Required = true
				return
			}
		}
	}
	switch {
	case e == nil && args.factory != nil:
		e = args.factory
		switch e.kind {
		case exprLambda:
			e = e.args[0]
		case exprName, exprAttr:
			args.makes = r.typeText(e, s)
			e = &expr{kind: exprCall, args: []*expr{e}, names: []string{""}}
		default:
			return
		}
	case e == nil:
		f.Required = gen == 2 || !f.Optional
		f.DefaultKnown = !f.Required
		return
	}
	if e.kind == exprCall && args.makes == "" {
		args.makes = r.typeText(e.args[0], s)
	}
	v, ok := r.eval(e, s, 0)
	if !ok {
		return
	}
	if d.ann == nil {
		f.Kind, f.Type = kindOf(v)
	}
	if v == nil {
		f.DefaultKnown, f.Optional = true, f.Optional || gen == 1
		return
	}
	if text, ok := envText(v); ok {
		f.Default, f.DefaultKnown = &text, true
	}
}

func (r *reader) typeText(e *expr, s *scope) string {
	if c := r.classOf(e, s); c != nil {
		return c.name
	}
	return r.known(e, s)
}

// kindOf is the type that Pydantic 1 infers from a default.
func kindOf(v any) (Kind, string) {
	switch v.(type) {
	case bool:
		return Bool, "bool"
	case int64:
		return Int, "int"
	case float64:
		return Float, "float"
	case string:
		return Str, "str"
	case byteText:
		return Bytes, "bytes"
	case []any:
		return List, "list"
	case *dict:
		return Dict, "dict"
	}
	return Unknown, ""
}

// apply merges one Field call into args; what it does not say stays.
func (r *reader) apply(gen int, d *decl, args *fieldArgs, m meta) {
	var validation, aliasArg *expr
	unread := func(e *expr, what string) {
		r.problem(Unread, d.class, d.name, e.line, e.col, what)
	}
	if !m.limits && len(m.call.args) > 1 && m.call.names[1] == "" {
		args.value, args.valueScope, args.factory = m.call.args[1], m.scope, nil
	}
	var loose *dict // keywords that Field does not know
	set := func(name string, e *expr) {
		if m.limits {
			r.limit(&args.limits, name, e, m.scope)
			return
		}
		switch name {
		case "default":
			args.value, args.valueScope, args.factory = e, m.scope, nil
		case "default_factory":
			args.factory, args.valueScope, args.value = e, m.scope, nil
		case "alias":
			aliasArg = e
		case "validation_alias":
			validation = e
		case "env":
			if gen == 2 {
				r.problem(Ignored, d.class, d.name, e.line, e.col, "Pydantic 2 ignores env=: name the variable with validation_alias")
				return
			}
			args.env = r.names(e, m.scope)
			if args.env == nil {
				unread(e, "env is computed: the variable's name is not known")
			}
		case "description":
			if v, ok := r.eval(e, m.scope, 0); ok {
				args.description, _ = v.(string)
			}
		case "json_schema_extra":
			v, ok := r.eval(e, m.scope, 0)
			if more, isDict := tree(v).(map[string]any); ok && isDict {
				args.merge(more)
			} else if v != nil || !ok {
				unread(e, "json_schema_extra is not a literal: its marks are not known")
			}
		case "ge", "gt", "le", "lt", "min_length", "max_length", "min_items", "max_items", "multiple_of", "pattern", "regex":
			r.limit(&args.limits, name, e, m.scope)
		case "alias_priority", "allow_inf_nan", "allow_mutation", "coerce_numbers_to_str", "const", "decimal_places", "deprecated",
			"discriminator", "examples", "exclude", "exclude_if", "fail_fast", "field_title_generator", "frozen", "include", "init", "init_var",
			"kw_only", "max_digits", "repr", "serialization_alias", "strict", "title", "union_mode", "unique_items", "validate_default":
		default:
			if v, ok := r.eval(e, m.scope, 0); ok {
				if loose == nil {
					loose = &dict{}
				}
				loose.set(name, v)
			}
		}
	}
	for i, e := range m.call.args[1:] {
		switch name := m.call.names[i+1]; name {
		case "", "*":
		case "**":
			v, ok := r.eval(e, m.scope, 0)
			more, isDict := v.(*dict)
			if !ok || !isDict {
				if !m.limits {
					unread(e, "arguments given by ** are not known")
				}
				continue
			}
			for j := range more.keys {
				if key, isText := more.keys[j].(string); isText {
					set(key, &expr{kind: exprConst, value: more.values[j], line: e.line, col: e.col})
				}
			}
		default:
			set(name, e)
		}
	}
	if loose != nil && args.extra == nil {
		args.merge(tree(loose).(map[string]any))
	}
	r.aliases(gen, d, args, aliasArg, validation, m.scope)
}

func (a *fieldArgs) merge(more map[string]any) {
	if a.extra == nil {
		a.extra = map[string]any{}
	}
	for k, v := range more {
		a.extra[k] = v
	}
}

// limit records one constraint.
func (r *reader) limit(c *Constraints, name string, e *expr, s *scope) {
	v, ok := r.eval(e, s, 0)
	if !ok {
		return
	}
	text, ok := envText(v)
	if !ok {
		return
	}
	switch name {
	case "ge":
		c.Ge = text
	case "gt":
		c.Gt = text
	case "le":
		c.Le = text
	case "lt":
		c.Lt = text
	case "min_length", "min_items":
		c.MinLength = text
	case "max_length", "max_items":
		c.MaxLength = text
	case "multiple_of":
		c.MultipleOf = text
	case "pattern", "regex":
		c.Pattern = text
	}
}

// aliases applies alias= and validation_alias= of one Field call.
func (r *reader) aliases(gen int, d *decl, args *fieldArgs, alias, validation *expr, s *scope) {
	if alias != nil {
		v, ok := r.eval(alias, s, 0)
		text, isText := v.(string)
		switch {
		case ok && isText:
			args.alias = text
			if gen == 1 {
				break
			}
		case ok && v == nil:
			args.alias = ""
		default:
			if gen == 2 {
				args.unknownAlias = true
				r.problem(Unread, d.class, d.name, alias.line, alias.col, "alias is computed: the variable's name is not known")
			}
		}
	}
	if gen == 1 {
		if args.nested {
			return
		}
		if validation != nil {
			r.problem(Ignored, d.class, d.name, validation.line, validation.col, "Pydantic 1 ignores validation_alias: name the variable with env=")
		} else if alias != nil && args.env == nil {
			r.problem(Ignored, d.class, d.name, alias.line, alias.col, "Pydantic 1 reads no variable by alias=: name it with env=")
		}
		return
	}
	if validation == nil && alias == nil {
		return
	}
	if validation == nil || validation.kind == exprConst && validation.value == nil {
		args.validation, args.paths, args.order = nil, nil, nil
		if args.alias != "" {
			args.validation = []string{args.alias}
		}
		return
	}
	args.validation, args.paths, args.order = nil, nil, nil
	if !r.choice(args, validation, s, 0) {
		args.unknownAlias = true
		r.problem(Unread, d.class, d.name, validation.line, validation.col, "validation_alias is computed: not all variables that fill the field are known")
	}
}

// choice takes an alias: a text, AliasPath(…) or AliasChoices(…).
func (r *reader) choice(args *fieldArgs, e *expr, s *scope, depth int) bool {
	if depth > 3 {
		return false
	}
	if v, ok := r.eval(e, s, 0); ok {
		text, isText := v.(string)
		if isText {
			args.validation, args.order = append(args.validation, text), append(args.order, text)
		}
		return isText
	}
	if e.kind == exprName {
		if b := s.lookup(e.text); b != nil && b.kind == bindValue && !b.ambiguous {
			return r.choice(args, r.value(b), b.scope, depth+1)
		}
	}
	if e.kind != exprCall {
		return false
	}
	switch r.known(e.args[0], s) {
	case "AliasPath":
		if len(e.args) < 2 {
			return false
		}
		v, ok := r.eval(e.args[1], s, 0)
		text, isText := v.(string)
		if !ok || !isText {
			return false
		}
		args.paths, args.order = append(args.paths, text), append(args.order, text)
		return true
	case "AliasChoices":
		all, n := true, len(e.args)-1
		args.validation, args.order = slices.Grow(args.validation, n), slices.Grow(args.order, n)
		for i, a := range e.args[1:] {
			if e.names[i+1] == "*" {
				v, ok := r.eval(a, s, 0)
				list, isList := v.([]any)
				all = all && ok && isList
				for _, item := range list {
					text, isText := item.(string)
					if all = all && isText; isText {
						args.validation, args.order = append(args.validation, text), append(args.order, text)
					}
				}
				continue
			}
			if !r.choice(args, a, s, depth+1) {
				all = false
			}
		}
		return all
	}
	return false
}

// names evaluates a text or a list of texts; sets are put in order.
func (r *reader) names(e *expr, s *scope) []string {
	v, ok := r.eval(e, s, 0)
	if !ok {
		return nil
	}
	return texts(v, e.kind == exprSet)
}

func texts(v any, isSet bool) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil
			}
			out = append(out, text)
		}
		if isSet {
			slices.Sort(out)
		}
		return out
	}
	return nil
}

// configFields applies generation 1's Config.fields to a declaration.
func (r *reader) configFields(conf config, d *decl, args *fieldArgs) {
	if conf.fields == nil {
		return
	}
	i, ok := conf.fields.index[d.name]
	if !ok {
		return
	}
	switch v := conf.fields.values[i].(type) {
	case string:
		args.alias = v
	case *dict:
		for j, key := range v.keys {
			switch key {
			case "env":
				if env := texts(v.values[j], false); env != nil {
					args.env = env
				}
			case "alias":
				args.alias, _ = v.values[j].(string)
			case "description":
				if args.description == "" {
					args.description, _ = v.values[j].(string)
				}
			}
		}
	}
}
