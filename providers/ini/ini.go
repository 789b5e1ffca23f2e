// Package ini reads the secrets files of a web framework the way Python's
// configparser does: sections, lower-case keys, % interpolation, and values that
// name an environment variable.
package ini

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// MaxSize is the largest file that is read, in bytes; maxDepth the deepest
// chain of interpolations, configparser's own.
const (
	MaxSize  = 1 << 20
	maxDepth = 10
	maxGrown = 16 * MaxSize
)

const defaultSection = "DEFAULT"

// Entry is one option as it stands in the file, before interpolation.
type Entry struct {
	Section, Key string
	Raw          secret.Value
	Line         int
}

// Name returns section.key.
func (e Entry) Name() string { return e.Section + "." + e.Key }

// Problem is something configparser refuses, or reads in a way that few mean. Its
// message never holds a value.
type Problem struct {
	Line    int
	Name    string // section.key, "" when it concerns none
	Message string
}

// File is a parsed file.
type File struct {
	Name     string
	Entries  []Entry // in the file's order; of duplicates the last one wins
	Sections []string
	Problems []Problem
}

// Value is one option after interpolation.
type Value struct {
	Section, Key string
	Value        secret.Value // unset where Problems says why
	Line         int
	Env          string // the variable that a value starting with $ names
}

// Parse reads src. What configparser refuses in its strict mode (a second
// section or option of one name, text before the first section, a line without
// = or :) is a Problem, and the rest is read. Kind Invalid for more than MaxSize
// bytes or text that is not UTF-8.
func Parse(file string, src []byte) (*File, error) {
	op := "read " + file
	if len(src) > MaxSize {
		return nil, fault.Newf(fault.Invalid, op, "", "larger than %d bytes", MaxSize)
	}
	if !utf8.Valid(src) {
		return nil, fault.New(fault.Invalid, op, "not UTF-8", "")
	}
	p := &parser{f: &File{Name: file}, indent: -1, option: -1, seen: map[string]int{}}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(src))
	for i, line := range strings.Split(text, "\n") {
		p.line(line, i+1)
	}
	p.end()
	return p.f, nil
}

type parser struct {
	f       *File
	section string
	opened  bool // a section has begun
	indent  int
	option  int      // index of the entry that may go on, -1 for none
	parts   []string // its lines
	seen    map[string]int
}

func (p *parser) problem(line int, name, format string, args ...any) {
	p.f.Problems = append(p.f.Problems, Problem{Line: line, Name: name, Message: fmt.Sprintf(format, args...)})
}

// end finishes the option that was open.
func (p *parser) end() {
	if p.option >= 0 {
		p.f.Entries[p.option].Raw = secret.New(strings.TrimRightFunc(strings.Join(p.parts, "\n"), isSpace))
	}
	p.option, p.parts = -1, nil
}

// isSpace is Python's str.isspace.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func (p *parser) line(line string, n int) {
	value := strings.TrimFunc(line, isSpace)
	if value == "" {
		if p.option >= 0 {
			p.parts = append(p.parts, "")
		}
		return
	}
	if value[0] == '#' || value[0] == ';' {
		return
	}
	indent := len(line) - len(strings.TrimLeftFunc(line, isSpace))
	if p.option >= 0 && indent > p.indent {
		p.parts = append(p.parts, value)
		return
	}
	p.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		p.end()
		p.section, p.opened = value[1:end], true
		if slices.Contains(p.f.Sections, p.section) {
			p.problem(n, "", "the section %q stands twice: Python's reader refuses the file", p.section)
		} else {
			p.f.Sections = append(p.f.Sections, p.section)
		}
		return
	}
	if !p.opened {
		p.problem(n, "", "text before the first section")
		return
	}
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		p.problem(n, "", "a line without = or :")
		return
	}
	key := strings.ToLower(strings.TrimFunc(value[:at], isSpace))
	if key == "" {
		p.problem(n, "", "no name before the %c", value[at])
		return
	}
	p.end()
	name := p.section + "." + key
	if first := p.seen[name]; first > 0 {
		p.problem(n, name, "set in line %d already: Python's reader refuses the file", first)
	} else {
		p.seen[name] = n
	}
	p.option = len(p.f.Entries)
	p.f.Entries = append(p.f.Entries, Entry{Section: p.section, Key: key, Line: n})
	p.parts = []string{strings.TrimFunc(value[at+1:], isSpace)}
}

// Resolve returns every option's value, those of [DEFAULT] in their own
// section only, in the file's order: %(name)s and %% replaced, a value $NAME
// replaced by env's. In strict mode (configparser's own) the first thing that cannot
// be replaced is an error of kind Invalid that names it: a % that begins
// neither, a name that is not there, a variable that is unset or empty. In lax
// mode a bad % stands for itself, a missing variable is a Problem and the
// value unset.
func (f *File) Resolve(env func(string) (string, bool), strict bool) ([]Value, []Problem, error) {
	r := &resolver{raw: map[string]string{}, strict: strict}
	last := map[string]int{}
	for i, e := range f.Entries {
		r.raw[e.Name()] = e.Raw.Reveal()
		last[e.Name()] = i
	}
	var out []Value
	var problems []Problem
	for i, e := range f.Entries {
		if last[e.Name()] != i {
			continue
		}
		v := Value{Section: e.Section, Key: e.Key, Line: e.Line}
		text, message := r.expand(e.Section, e.Raw.Reveal(), 0)
		if name, ok := strings.CutPrefix(text, "$"); message == "" && ok {
			v.Env = name
			value, _ := env(name)
			if text = value; text == "" {
				message = "the environment variable " + name + " is unset or empty"
			}
		}
		if message != "" {
			if strict {
				return nil, nil, fault.Newf(fault.Invalid, fmt.Sprintf("read %s:%d", f.Name, e.Line), "", "%s: %s", e.Name(), message)
			}
			problems = append(problems, Problem{Line: e.Line, Name: e.Name(), Message: message})
		} else {
			v.Value = secret.New(text)
		}
		out = append(out, v)
	}
	return out, problems, nil
}

type resolver struct {
	raw    map[string]string
	strict bool
	grown  int
}

// expand replaces %(name)s and %%; the second result says why it cannot.
func (r *resolver) expand(section, s string, depth int) (string, string) {
	if depth >= maxDepth {
		return "", "interpolations nested too deep, or in a circle"
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			out.WriteString(s)
			return out.String(), ""
		}
		out.WriteString(s[:i])
		s = s[i:]
		if strings.HasPrefix(s, "%%") {
			out.WriteByte('%')
			s = s[2:]
			continue
		}
		value, length, message := r.reference(section, s, depth)
		if message != "" {
			if r.strict || length < 0 {
				return "", message
			}
			value, length = "%", 1
		}
		if r.grown += 1 + len(value); r.grown > maxGrown { // 1: empty ones take time too
			return "", "the interpolated values grow beyond every bound"
		}
		out.WriteString(value)
		s = s[length:]
	}
}

// reference reads the %(name)s at the start of s; a negative length is a
// problem that lax mode does not forgive.
func (r *resolver) reference(section, s string, depth int) (string, int, string) {
	end := strings.Index(s, ")")
	switch {
	case !strings.HasPrefix(s, "%("):
		return "", 0, "a % that neither %% nor %( begins: write %% for a % sign"
	case end < 3 || !strings.HasPrefix(s[end:], ")s"):
		return "", 0, "a %( without its )s"
	}
	name := strings.ToLower(s[2:end])
	value, ok := r.raw[section+"."+name]
	if !ok {
		value, ok = r.raw[defaultSection+"."+name]
	}
	if !ok {
		return "", 0, "%(" + name + ")s names no option of the section"
	}
	value, message := r.expand(section, value, depth+1)
	if message != "" {
		return "", -1, message
	}
	return value, end + 2, ""
}
