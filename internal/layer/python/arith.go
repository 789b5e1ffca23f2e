package python

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
		var ok bool
		for ; b > 0; b-- {
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
	var ok bool
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
