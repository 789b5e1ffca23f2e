package python

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

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

func unary(op string, x any) (any, bool) {
	if op == "not" {
		if b, ok := x.(bool); ok {
			return !b, true
		}
		return nil, false
	}
	if b, ok := x.(bool); ok {
		x = boolInt(b)
	}
	switch n := x.(type) {
	case int64:
		switch op {
		case "-":
			return -n, n != math.MinInt64
		case "~":
			return ^n, true
		}
		return n, true
	case float64:
		if op == "-" {
			return -n, true
		}
		return n, op == "+"
	}
	return nil, false
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func binary(op string, x, y any) (any, bool) {
	switch op {
	case "or", "and":
		truth, ok := truthy(x)
		if !ok {
			return nil, false
		}
		if truth == (op == "or") {
			return x, true
		}
		return y, true
	}
	if b, ok := x.(bool); ok {
		x = boolInt(b)
	}
	if b, ok := y.(bool); ok {
		y = boolInt(b)
	}
	switch a := x.(type) {
	case string:
		switch b := y.(type) {
		case string:
			return a + b, op == "+" && len(a)+len(b) <= maxText
		case int64:
			return repeat(op, a, b)
		}
	case byteText:
		b, ok := y.(byteText)
		return a + b, ok && op == "+" && len(a)+len(b) <= maxText
	case []any:
		b, ok := y.([]any)
		if !ok || op != "+" || len(a)+len(b) > maxText {
			return nil, false
		}
		return append(append([]any{}, a...), b...), true
	case *dict:
		b, ok := y.(*dict)
		if !ok || op != "|" || len(a.keys)+len(b.keys) > maxText {
			return nil, false
		}
		d := &dict{}
		for _, side := range []*dict{a, b} {
			for i := range side.keys {
				d.set(side.keys[i], side.values[i])
			}
		}
		return d, true
	case int64:
		switch b := y.(type) {
		case int64:
			return integers(op, a, b)
		case float64:
			return floats(op, float64(a), b)
		case string:
			return repeat(op, b, a)
		}
	case float64:
		switch b := y.(type) {
		case int64:
			return floats(op, a, float64(b))
		case float64:
			return floats(op, a, b)
		}
	}
	return nil, false
}

func truthy(x any) (truth, ok bool) {
	switch x := x.(type) {
	case nil:
		return false, true
	case bool:
		return x, true
	case int64:
		return x != 0, true
	case float64:
		return x != 0, true
	case string:
		return x != "", true
	case byteText:
		return x != "", true
	case []any:
		return len(x) > 0, true
	}
	return false, false
}

func repeat(op, text string, n int64) (any, bool) {
	if op != "*" || n > maxText || int64(len(text))*max(n, 0) > maxText {
		return nil, false
	}
	return strings.Repeat(text, int(max(n, 0))), true
}

// integers computes as Python does, and gives up where its numbers outgrow
// 64 bits.
func integers(op string, a, b int64) (any, bool) {
	switch op {
	case "+":
		c := a + b
		return c, (c > a) == (b > 0)
	case "-":
		c := a - b
		return c, (c < a) == (b > 0)
	case "*":
		if a == 0 || b == 0 {
			return int64(0), true
		}
		c := a * b
		return c, c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
	case "//", "%":
		if b == 0 || b == -1 && a == math.MinInt64 {
			return nil, false
		}
		q, m := a/b, a%b
		if m != 0 && (m < 0) != (b < 0) {
			q, m = q-1, m+b
		}
		if op == "//" {
			return q, true
		}
		return m, true
	case "/":
		if b == 0 {
			return nil, false
		}
		return float64(a) / float64(b), abs(a) < 1<<53 && abs(b) < 1<<53
	case "**":
		if b < 0 || b > 63 && abs(a) > 1 {
			return nil, false
		}
		if abs(a) <= 1 {
			b = min(b, 2+b%2)
		}
		var c any = int64(1)
		for ok := true; b > 0; b-- {
			if c, ok = integers("*", c.(int64), a); !ok {
				return nil, false
			}
		}
		return c, true
	case "<<":
		if b < 0 || b > 62 || abs(a) > math.MaxInt64>>b {
			return nil, false
		}
		return a << b, true
	case ">>":
		return a >> min(max(b, 0), 63), b >= 0
	case "|":
		return a | b, true
	case "&":
		return a & b, true
	case "^":
		return a ^ b, true
	}
	return nil, false
}

func abs(n int64) int64 {
	if n < 0 && n != math.MinInt64 {
		return -n
	}
	if n == math.MinInt64 {
		return math.MaxInt64
	}
	return n
}

func floats(op string, a, b float64) (any, bool) {
	var c float64
	switch op {
	case "+":
		c = a + b
	case "-":
		c = a - b
	case "*":
		c = a * b
	case "/":
		c = a / b
	default:
		return nil, false
	}
	return c, !math.IsNaN(c) && !math.IsInf(c, 0)
}

// envText writes a value as it would be written into the environment: JSON
// for what Pydantic reads as JSON. ok is false for None and for what has no
// such text.
func envText(v any) (string, bool) {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return floatText(v), true
	case string:
		return v, true
	case byteText:
		return string(v), true
	case []any, *dict:
		b, ok := appendJSON(nil, v, 0)
		return string(b), ok
	}
	return "", false
}

// floatText writes f as Python's repr does.
func floatText(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.ContainsAny(s, ".IN") {
		s += ".0"
	}
	return s
}

func appendJSON(b []byte, v any, depth int) ([]byte, bool) {
	if depth > maxDepth || len(b) > maxText {
		return b, false
	}
	ok := true
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), true
	case string:
		return appendQuoted(b, v), true
	case byteText:
		return appendQuoted(b, string(v)), true
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, ok = appendJSON(b, item, depth+1); !ok {
				return b, false
			}
		}
		return append(b, ']'), true
	case *dict:
		b = append(b, '{')
		for i := range v.keys {
			if i > 0 {
				b = append(b, ',')
			}
			key, ok := envText(v.keys[i])
			if !ok {
				return b, false
			}
			b = append(appendQuoted(b, key), ':')
			if b, ok = appendJSON(b, v.values[i], depth+1); !ok {
				return b, false
			}
		}
		return append(b, '}'), true
	}
	text, ok := envText(v)
	return append(b, text...), ok
}

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < ' ':
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// tree turns a value into plain Go values; what has no place there is left
// out.
func tree(v any) any {
	switch v := v.(type) {
	case byteText:
		return string(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = tree(v[i])
		}
		return out
	case *dict:
		out := make(map[string]any, len(v.keys))
		for i := range v.keys {
			if key, ok := envText(v.keys[i]); ok {
				out[key] = tree(v.values[i])
			}
		}
		return out
	case ellipsis:
		return nil
	}
	return v
}
