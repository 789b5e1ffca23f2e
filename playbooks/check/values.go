package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/naming"
)

func nearest(name string, known []string) string { return naming.Nearest(name, known) }

func baseOf(file string) string { return path.Base(strings.ReplaceAll(file, `\`, "/")) }

// judge says why Pydantic would refuse text for a field, "" when it would not or
// nobody can tell. Where Pydantic's generations differ the milder one counts.
// The words never hold the text.
func (c *code) judge(f *python.Field, text string) string {
	if f.Custom && !f.Decoded {
		return ""
	}
	name := strings.TrimSuffix(f.Type, " | None")
	if text == "" {
		switch {
		case c.ignoresEmpty(f):
			return ""
		case slices.Contains([]string{"AwareDatetime", "ByteSize", "IPv4Address", "IPv6Address", "NaiveDatetime", "UUID", "UUID4", "date", "datetime"}, name),
			slices.Contains([]python.Kind{python.Bool, python.Dict, python.Enum, python.Float, python.Int, python.List, python.Literal, python.Nested, python.URL}, f.Kind):
			if slices.Contains(f.Choices, "") {
				return ""
			}
			return fmt.Sprintf("an empty text is no %s, and a variable that is set but empty overrides the default", f.Type)
		}
	}
	t := strings.TrimSpace(text)
	no := func() string { return "not a value of type " + f.Type }
	switch name {
	case "StrictBool", "StrictFloat", "StrictInt":
		return fmt.Sprintf("a %s takes no text, and a variable is always text: use %s", name, strings.ToLower(strings.TrimPrefix(name, "Strict")))
	}
	switch f.Kind {
	case python.Bool:
		switch strings.ToLower(text) {
		case "0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes":
			return ""
		}
		return no()
	case python.Int:
		if foreignDigits(text) {
			return ""
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(t, "+"), ".0"), "_", ""), 10, 64)
		if err != nil {
			if x, err := strconv.ParseFloat(strings.ReplaceAll(t, "_", ""), 64); err == nil && isDigits(t) { // larger than 64 bits is a number to Python
				return limits(f, x)
			}
			return no()
		}
		return limits(f, float64(n))
	case python.Float:
		if foreignDigits(text) {
			return ""
		}
		x, err := strconv.ParseFloat(strings.ReplaceAll(t, "_", ""), 64)
		if errors.Is(err, strconv.ErrRange) {
			return "" // infinite to Python, too
		}
		if err != nil && !isDigits(t) {
			return no()
		}
		if err != nil {
			return ""
		}
		return limits(f, x)
	case python.Literal, python.Enum:
		switch {
		case slices.Contains(f.Choices, text), f.Kind == python.Enum && slices.ContainsFunc(f.Choices, func(c string) bool { return sameNumber(c, t) }):
			return ""
		case f.NoText:
			return fmt.Sprintf("%s compares without converting, and a variable is always text: write its numbers and truth values as texts", f.Type)
		case len(f.Choices) == 0:
			return ""
		}
		return "none of " + strings.Join(f.Choices, ", ")
	case python.List, python.Dict, python.Nested:
		v, ok := decoded(text)
		if !ok {
			if strings.Contains(text, "NaN") || strings.Contains(text, "Infinity") {
				return "" // JSON to Python
			}
			want := `{"key": "value"}`
			if f.Kind == python.List {
				want = `["a", "b"]`
			}
			if f.Custom {
				return fmt.Sprintf("not JSON: Pydantic reads a %s as JSON before any validator sees it, such as %s; Annotated[%s, NoDecode] leaves the text to the validator", f.Type, want, f.Type)
			}
			return fmt.Sprintf("not JSON: Pydantic reads a %s as JSON, such as %s", f.Type, want)
		}
		if f.Custom {
			return ""
		}
		_, isList := v.([]any)
		_, isDict := v.(map[string]any)
		pairs := isList && c.generation(f) == 1 // Pydantic 1 makes a dict of them
		if v != nil && (f.Kind == python.List && !isList || f.Kind != python.List && !isDict && !pairs) {
			return no()
		}
		return c.entries(f, v)
	case python.URL:
		return scheme(name, t)
	case python.Str, python.Secret:
		n := utf8.RuneCountInString(text)
		if min, ok := whole(f.Constraints.MinLength); ok && n < min {
			return fmt.Sprintf("shorter than %d characters", min)
		}
		if max, ok := whole(f.Constraints.MaxLength); ok && n > max {
			return fmt.Sprintf("longer than %d characters", max)
		}
		return c.pattern(f, text)
	case python.Unknown:
		return calendar(name, t)
	case python.Bytes:
	}
	return ""
}

// whole is the number that a constraint is. Most fields have none, and an error
// for each would cost more than the judging.
func whole(constraint string) (int, bool) {
	if constraint == "" {
		return 0, false
	}
	n, err := strconv.Atoi(constraint)
	return n, err == nil
}

// sameNumber tells whether two texts are one whole number to Python.
func sameNumber(a, b string) bool {
	x, err := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(b, "+"), ".0"), "_", ""), 10, 64)
	return err == nil && err2 == nil && x == y
}

func isDigits(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return s != "" && strings.Trim(s, "0123456789_") == ""
}

// limits compares a number with the field's constraints.
func limits(f *python.Field, x float64) string {
	for _, l := range []struct {
		limit, words string
		ok           func(x, y float64) bool
	}{
		{f.Constraints.Ge, "less than", func(x, y float64) bool { return x >= y }},
		{f.Constraints.Gt, "not greater than", func(x, y float64) bool { return x > y }},
		{f.Constraints.Le, "greater than", func(x, y float64) bool { return x <= y }},
		{f.Constraints.Lt, "not less than", func(x, y float64) bool { return x < y }},
	} {
		if l.limit == "" {
			continue
		}
		if y, err := strconv.ParseFloat(l.limit, 64); err == nil && !l.ok(x, y) {
			return l.words + " " + l.limit
		}
	}
	return multiple(f, x)
}

// sameValue tells whether two texts are one value of a field's type.
func sameValue(f *python.Field, a, b string) bool {
	if a == b {
		return true
	}
	a, b = strings.TrimSpace(a), strings.TrimSpace(b)
	switch f.Kind {
	case python.Bool:
		return truth(a) != 0 && truth(a) == truth(b)
	case python.Int, python.Float:
		x, errX := strconv.ParseFloat(strings.ReplaceAll(a, "_", ""), 64)
		y, errY := strconv.ParseFloat(strings.ReplaceAll(b, "_", ""), 64)
		return errX == nil && errY == nil && x == y
	case python.List, python.Dict, python.Nested:
		var x, y any
		if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
			return false
		}
		p, _ := json.Marshal(x)
		q, _ := json.Marshal(y)
		return string(p) == string(q)
	case python.URL:
		return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/")
	default:
		return a == b
	}
}

// truth is 1 for what Pydantic takes for true, -1 for false, 0 for neither.
func truth(s string) int {
	switch strings.ToLower(s) {
	case "1", "on", "t", "true", "y", "yes":
		return 1
	case "0", "f", "false", "n", "no", "off":
		return -1
	}
	return 0
}

// showable tells whether a text of a file in the repository may stand in a
// message: it is short, and the variable's name does not call it a secret.
func showable(f *python.Field, name, text string) bool {
	return !secret.Sensitive(name) && !f.Secret && len(text) <= 60 && !strings.Contains(text, "@") && !strings.ContainsAny(text, "\n\r")
}

// checkTypes judges what the example says: its values against the field's type,
// and against the code's default.
func (c *component) checkTypes() {
	if c.example == nil || c.code == nil {
		return
	}
	for _, e := range c.example.Entries {
		f := c.code.field(e.Name)
		if f == nil || e.Placeholder || len(f.Accepted) > 0 && !slices.Contains(f.Accepted, strings.ToUpper(e.Name)) && !slices.Contains(f.Accepted, e.Name) {
			continue
		}
		if e.Value == "" && (e.Commented || f.Required || e.Vault) {
			continue // it waits to be filled in
		}
		if strings.Contains(e.Value, "$") && f.Kind != python.Str && f.Kind != python.Secret {
			continue // most readers put another variable's value here
		}
		if why := c.code.judge(f, e.Value); why != "" {
			if strings.Contains(e.Value, "$") || f.Required && (f.Kind == python.Str || f.Kind == python.Secret) {
				continue // a stand-in of the wrong length
			}
			fix := "write a value of type " + f.Type
			if f.Default != nil && *f.Default != "" && showable(f, e.Name, *f.Default) {
				fix = fmt.Sprintf("write %s=%s (the code's default), or another value of type %s", e.Name, *f.Default, f.Type)
			}
			switch {
			case f.NoText, strings.HasPrefix(f.Type, "Strict"):
				fix = fmt.Sprintf("change the type at %s:%d: it takes no text", c.code.File, f.Line)
			case f.Kind == python.List && e.Value != "" && !strings.HasPrefix(e.Value, "[") && showable(f, e.Name, e.Value):
				fix = fmt.Sprintf("write %s=%s", e.Name, textOf(strings.Split(e.Value, ",")))
			case e.Value == "":
				fix = fmt.Sprintf("write # %s= (a comment), or a value of type %s", e.Name, f.Type)
			}
			c.add(Finding{
				Rule: typeMismatch, Variable: e.Name, File: c.example.File, Line: e.Line, Column: e.Column,
				Message: fmt.Sprintf("%s (%s:%d)", why, c.code.File, f.Line), Fix: fix,
			}, c.code.File)
			continue
		}
		c.exampleDefault(f, e.Name, e.Value, e.Vault, e.Line, e.Column)
	}
}

// exampleDefault compares what the example sets with what the code does without
// it. Values that are made for one machine or that protect something differ by
// nature.
func (c *component) exampleDefault(f *python.Field, name, value string, vault bool, line, column int) {
	if f.Default == nil || *f.Default == "" || value == "" || value == *f.Default || vault || c.marked(f) || f.Secret || secretName(name) ||
		slices.Contains(environmentKeys(), name) || ofPlace(value) || ofPlace(*f.Default) || sameValue(f, value, *f.Default) {
		return
	}
	if example, ok := f.Extra["example"]; ok && sameValue(f, value, textOf(example)) {
		return
	}
	message := fmt.Sprintf("the code's default (%s:%d) is another", c.code.File, f.Line)
	fix := "give both the same value"
	if showable(f, name, value) && showable(f, name, *f.Default) {
		message = fmt.Sprintf("the example says %s, the code's default is %s (%s:%d)", value, *f.Default, c.code.File, f.Line)
		fix = fmt.Sprintf("write %s=%s in %s, or state the difference: json_schema_extra={\"example\": %q}", name, *f.Default, c.example.File, value)
	}
	c.add(Finding{Rule: defaultMismatch, Variable: name, File: c.example.File, Line: line, Column: column, Message: message, Fix: fix}, c.code.File)
}

func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// ofPlace tells whether a text names a place: a URL, a host, a folder. Such a
// value belongs to one machine.
func ofPlace(s string) bool {
	return strings.Contains(s, "://") || strings.Contains(s, "localhost") || strings.Contains(s, "127.0.0.1") || strings.Contains(s, "$") ||
		strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "~") || strings.Contains(s, "<")
}
