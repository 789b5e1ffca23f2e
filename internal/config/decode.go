package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/naming"
)

const (
	maxFile  = 1 << 20
	maxDepth = 20
)

// Entry is one pair of a Map.
type Entry[T any] struct {
	Key   string
	Value T
}

// Map is a mapping that keeps the file's order.
type Map[T any] []Entry[T]

// Get returns the value of key.
func (m Map[T]) Get(key string) (T, bool) {
	for _, e := range m {
		if e.Key == key {
			return e.Value, true
		}
	}
	var zero T
	return zero, false
}

// Duration is a length of time as people write it: Go's units and d for days of
// 24 hours.
type Duration struct{ time.Duration }

// ParseDuration reads 72h, 90d, 30m.
func ParseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("duration %q: want a number of days such as 90d", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("duration %q: want 90d, 72h or 30m", s)
	}
	return d, nil
}

// lines maps the dotted path of a key to its line.
type lines map[string]int

// of returns the line of the nearest known parent of where, 0 for none.
func (l lines) of(where string) int {
	for {
		if n, ok := l[where]; ok || where == "" {
			return n
		}
		where = where[:max(0, strings.LastIndexByte(where, '.'))]
	}
}

func invalid(file string, line int, format string, args ...any) error {
	where := file
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	return fault.Newf(fault.Invalid, where, "", format, args...)
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Wrap(unwrapPath(err), fault.Invalid, "read "+file, "")
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fault.Wrap(unwrapPath(err), fault.Invalid, "read "+file, "")
	}
	if len(data) > maxFile {
		return nil, fault.Newf(fault.Invalid, "read "+file, "", "larger than 1 MiB")
	}
	return data, nil
}

// unwrapPath drops the operation and path that the message names already.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// decode reads YAML into the struct that out points to: unknown and repeated
// keys, wrong types, values outside an enum, aliases and second documents are
// errors with their line.
func decode(file string, data []byte, out any) (lines, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, unparsable(file, data, err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, invalid(file, second.Line, "a second document")
	}
	d := decoder{file: file, lines: lines{}}
	if len(doc.Content) == 0 {
		return d.lines, nil
	}
	return d.lines, d.value(doc.Content[0], reflect.ValueOf(out).Elem(), "", 0)
}

type decoder struct {
	file  string
	lines lines
}

func (d decoder) bad(n *yaml.Node, format string, args ...any) error {
	return invalid(d.file, n.Line, format, args...)
}

func (d decoder) value(n *yaml.Node, v reflect.Value, where string, depth int) error {
	if depth > maxDepth {
		return d.bad(n, "nested more than %d deep", maxDepth)
	}
	if _, seen := d.lines[where]; !seen {
		d.lines[where] = n.Line
	}
	if n.Kind == yaml.AliasNode {
		return d.bad(n, "%s: aliases are not read", where)
	}
	if n.Tag == "!!null" {
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if dur, ok := v.Addr().Interface().(*Duration); ok {
		var err error
		if dur.Duration, err = ParseDuration(n.Value); err != nil || n.Kind != yaml.ScalarNode {
			return d.bad(n, "%s: want a duration such as 24h or 90d", where)
		}
		return nil
	}
	if claim, ok := v.Addr().Interface().(*Claim); ok {
		if err := claim.decode(n, false); err != nil {
			return d.bad(n, "%s: %v", where, err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.mapping(n, where, func(k, val *yaml.Node, path string) error {
			f, ok := field(v, k.Value)
			if !ok {
				msg := ""
				if near := naming.Nearest(k.Value, Keys(v.Type())); near != "" {
					msg = "; did you mean " + near + "?"
				}
				return d.bad(k, "%s is not a key of %s%s (known: %s)", strconv.Quote(k.Value), orTop(where), msg, strings.Join(Keys(v.Type()), ", "))
			}
			if err := d.value(val, v.FieldByIndex(f.Index), path, depth+1); err != nil {
				return err
			}
			if enum := f.Tag.Get("enum"); enum != "" && val.Tag != "!!null" && !slices.Contains(strings.Split(enum, ","), val.Value) {
				return d.bad(val, "%s %q: want %s", path, val.Value, strings.ReplaceAll(enum, ",", ", "))
			}
			return nil
		})
	case reflect.Map: // map[string]string
		v.Set(reflect.MakeMap(v.Type()))
		return d.mapping(n, where, func(k, val *yaml.Node, path string) error {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := d.value(val, e, path, depth+1); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(k.Value), e)
			return nil
		})
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct { // Map[T]
			return d.mapping(n, where, func(k, val *yaml.Node, path string) error {
				e := reflect.New(v.Type().Elem()).Elem()
				e.FieldByName("Key").SetString(k.Value)
				if err := d.value(val, e.FieldByName("Value"), path, depth+1); err != nil {
					return err
				}
				v.Set(reflect.Append(v, e))
				return nil
			})
		}
		if n.Kind != yaml.SequenceNode {
			return d.bad(n, "%s: want a list", where)
		}
		for i, c := range n.Content {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := d.value(c, e, fmt.Sprintf("%s.%d", where, i), depth+1); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
		}
		return nil
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			return d.bad(n, "%s: want text", where)
		}
		v.SetString(n.Value)
		return nil
	default:
		if n.Kind != yaml.ScalarNode || n.Decode(v.Addr().Interface()) != nil {
			return d.bad(n, "%s: want a %s", where, map[reflect.Kind]string{reflect.Bool: "true or false", reflect.Int: "number"}[v.Kind()])
		}
		return nil
	}
}

func (d decoder) mapping(n *yaml.Node, where string, each func(k, v *yaml.Node, path string) error) error {
	if n.Kind != yaml.MappingNode {
		return d.bad(n, "%s: want a mapping (key: value)", orTop(where))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Value == "<<" {
			return d.bad(k, "%s: want a plain key", orTop(where))
		}
		if at, dup := seen[k.Value]; dup {
			return d.bad(k, "%s stands here and on line %d", strconv.Quote(k.Value), at)
		}
		seen[k.Value] = k.Line
		path := strings.TrimPrefix(where+"."+k.Value, ".")
		d.lines[path] = k.Line
		if err := each(k, v, path); err != nil {
			return err
		}
	}
	return nil
}

func orTop(where string) string {
	if where == "" {
		return "the file"
	}
	return where
}

func field(v reflect.Value, key string) (reflect.StructField, bool) {
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("yaml") == key && key != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// Keys returns the keys that a section of type t knows, in the file's order.
func Keys(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("yaml"); k != "" && k != "-" {
			keys = append(keys, k)
		}
	}
	return keys
}
