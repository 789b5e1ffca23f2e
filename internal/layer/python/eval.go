package python

// The values of constant expressions: nil, bool, int64, float64, string,
// byteText, ellipsis, []any (lists, tuples, sets) and *dict.
type (
	ellipsis struct{}
	byteText string
	dict     struct {
		keys, values []any
		index        map[any]int
	}
)

// Bounds on what one expression like "x" * 1000000 may build, and on the work
// for all expressions of a file together.
const (
	maxText  = 1 << 16
	maxSteps = 1 << 20
)

// eval returns the value of a constant expression. ok is false for anything
// that only running the program would tell.
func (r *reader) eval(e *expr, s *scope, depth int) (v any, ok bool) {
	if e == nil || depth > 2*maxDepth || !r.step() {
		return nil, false
	}
	depth++
	switch e.kind {
	case exprConst:
		return e.value, true
	case exprName:
		b := s.lookup(e.text)
		if b == nil || b.kind != bindValue || b.ambiguous {
			return nil, false
		}
		return r.eval(r.value(b), b.scope, depth)
	case exprAttr:
		return r.evalAttr(e, s, depth)
	case exprTuple, exprList, exprSet:
		return r.evalItems(e, s, depth)
	case exprDict:
		return r.evalDict(e, s, depth)
	case exprUnary:
		x, ok := r.eval(e.args[0], s, depth)
		if !ok {
			return nil, false
		}
		return unary(e.text, x)
	case exprBinary:
		x, okX := r.evalLeft(e.args[0], s, depth)
		y, okY := r.eval(e.args[1], s, depth)
		if !okX || !okY {
			return nil, false
		}
		return binary(e.text, x, y)
	case exprCall:
		return r.evalCall(e, s, depth)
	}
	return nil, false
}

// evalLeft evaluates the left side of a chain of operators, which may be long,
// without descending once per operator.
func (r *reader) evalLeft(e *expr, s *scope, depth int) (any, bool) {
	var chain []*expr
	for e.kind == exprBinary {
		chain = append(chain, e)
		e = e.args[0]
	}
	v, ok := r.eval(e, s, depth)
	for i := len(chain) - 1; ok && i >= 0; i-- {
		var y any
		if y, ok = r.eval(chain[i].args[1], s, depth); ok {
			v, ok = binary(chain[i].text, v, y)
		}
	}
	return v, ok
}

// evalAttr knows members of enumerations and constants of classes.
func (r *reader) evalAttr(e *expr, s *scope, depth int) (any, bool) {
	if e.text == "value" && e.args[0].kind == exprAttr {
		if c := r.classOf(e.args[0].args[0], s); c != nil && r.isEnum(c) {
			return r.eval(e.args[0], s, depth)
		}
	}
	c := r.classOf(e.args[0], s)
	if c == nil {
		return nil, false
	}
	if r.isEnum(c) {
		for _, m := range r.members(c) {
			if m.name == e.text {
				return m.value, m.known
			}
		}
		return nil, false
	}
	b := c.scope.names[e.text]
	if b == nil || b.kind != bindValue || b.ambiguous {
		return nil, false
	}
	return r.eval(r.value(b), c.scope, depth)
}

func (r *reader) evalItems(e *expr, s *scope, depth int) (any, bool) {
	out := []any{}
	for _, item := range e.args {
		if item.kind == exprStar {
			v, ok := r.eval(item.args[0], s, depth)
			list, isList := v.([]any)
			if !ok || !isList || len(out)+len(list) > maxText {
				return nil, false
			}
			out = append(out, list...)
			continue
		}
		v, ok := r.eval(item, s, depth)
		if !ok {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func (r *reader) evalDict(e *expr, s *scope, depth int) (any, bool) {
	d := &dict{}
	for i := 0; i+1 < len(e.args); i += 2 {
		v, ok := r.eval(e.args[i+1], s, depth)
		if !ok {
			return nil, false
		}
		if e.args[i] == nil {
			more, isDict := v.(*dict)
			if !isDict || len(d.keys)+len(more.keys) > maxText {
				return nil, false
			}
			for j := range more.keys {
				d.set(more.keys[j], more.values[j])
			}
			continue
		}
		k, ok := r.eval(e.args[i], s, depth)
		if !ok {
			return nil, false
		}
		d.set(k, v)
	}
	return d, true
}

func (d *dict) set(key, value any) {
	switch key.(type) {
	case []any, *dict:
		return // not a key in Python either
	}
	if i, ok := d.index[key]; ok {
		d.values[i] = value
		return
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[key] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
}

// evalCall knows the constructors that keep the text they are given.
func (r *reader) evalCall(e *expr, s *scope, depth int) (any, bool) {
	name := r.known(e.args[0], s)
	if len(e.args) == 1 {
		switch name {
		case "str":
			return "", true
		case "list", "set", "frozenset", "tuple":
			return []any{}, true
		case "dict":
			return &dict{}, true
		case "int":
			return int64(0), true
		case "float":
			return 0.0, true
		case "bool":
			return false, true
		}
		return nil, false
	}
	if name == "dict" {
		d := &dict{}
		for i, kw := range e.names[1:] {
			v, ok := r.eval(e.args[i+1], s, depth)
			if !ok || kw == "" || kw[0] == '*' {
				return nil, false
			}
			d.set(kw, v)
		}
		return d, true
	}
	if len(e.args) != 2 || e.names[1] != "" {
		return nil, false
	}
	v, ok := r.eval(e.args[1], s, depth)
	if !ok {
		return nil, false
	}
	if c := r.classOf(e.args[0], s); c != nil && r.isEnum(c) {
		return v, true
	}
	_, isText := v.(string)
	_, isList := v.([]any)
	switch {
	case isText && (name == "str" || name == "Decimal" || name == "Path" || name == "PurePath" || name == "UUID" ||
		name == "SecretStr" || urlTypes[name] || name == "cast" || name == "IPv4Address" || name == "IPv6Address"):
		return v, true
	case name == "SecretBytes" || name == "SecretStr" || name == "Secret":
		return v, true
	case isList && (name == "list" || name == "tuple" || name == "set" || name == "frozenset"):
		return v, true
	}
	return nil, false
}

// step counts the work done and reports whether there may be more.
func (r *reader) step() bool {
	r.steps++
	if r.steps == maxSteps {
		r.report(Problem{Kind: Unread, Line: 1, Column: 1, Message: "too many expressions to be read: types and defaults may be missing"})
	}
	return r.steps < maxSteps
}
