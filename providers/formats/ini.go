package formats

import (
	"slices"
	"strings"
	"unicode"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// The INI files of the web framework are read by Python's configparser with
// its own interpolation (%(name)s, %% for %), and a value that begins with $
// names an environment variable.

// option is one key of a section, its value as it stands in the file.
type option struct {
	name, raw string
	line      int
}

type section struct {
	name    string
	options []option
}

func (s *section) find(name string) *option {
	for i := range s.options {
		if s.options[i].name == name {
			return &s.options[i]
		}
	}
	return nil
}

// plainSections hold keys that are variables by themselves: the name of the
// section does not stand before them.
func plainSections() []string { return []string{"DEFAULT", "main"} }

// readINI reads an INI file as Python's configparser does by default:
// facebook.consumer_key, which is consumer_key of [facebook], becomes
// FACEBOOK_CONSUMER_KEY.
func readINI(file string, src []byte, only string) ([]Item, error) {
	sections, err := parseINI(file, strings.TrimPrefix(string(src), "\ufeff"))
	if err != nil {
		return nil, err
	}
	var defaults *section
	var names []string
	for _, s := range sections {
		if s.name == "DEFAULT" {
			defaults = s
		}
		names = append(names, s.name)
	}
	var items []Item
	if only != "" && !slices.Contains(names, only) {
		return nil, fault.Newf(fault.Usage, "read "+file, "its sections: "+strings.Join(names, ", "), "it has no section [%s]", only)
	}
	for _, s := range sections {
		if only != "" && s.name != only {
			continue
		}
		prefix := ""
		if !slices.Contains(plainSections(), s.name) {
			prefix = variableName(s.name) + "_"
		}
		for _, o := range s.options {
			i := Item{Key: prefix + variableName(o.name), Line: o.line}
			text, why := interpolate(o.raw, s, defaults, 1)
			switch {
			case why != "":
				i.Why = why
			case strings.HasPrefix(text, "$"):
				i.Why = "begins with $: the framework takes it from the environment"
			default:
				i.Value = secret.New(text)
			}
			if j := slices.IndexFunc(items, func(x Item) bool { return x.Key == i.Key }); j >= 0 {
				items[j].Value, items[j].Why = secret.Value{}, "two sections make this name"
				continue
			}
			items = append(items, i)
		}
	}
	return items, nil
}

// variableName is the variable that a section's or an option's name makes.
func variableName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, s)
}

// parseINI follows configparser's reader: sections, key = value or key: value,
// keys in lower case, values that go on in deeper lines, whole-line comments.
func parseINI(file, src string) ([]*section, error) {
	var sections []*section
	var cur *section
	var open *option // the option whose value may go on
	var values []string
	indent := 0
	finish := func() {
		if open != nil {
			for len(values) > 0 && values[len(values)-1] == "" {
				values = values[:len(values)-1]
			}
			open.raw = strings.Join(values, "\n")
		}
		open, values = nil, nil
	}
	// Python opens the file with universal newlines.
	src = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(src)
	for n, line := range strings.Split(src, "\n") {
		n++
		text := pythonStrip(line)
		if strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") {
			continue
		}
		if text == "" {
			if open != nil {
				values = append(values, "")
			}
			continue
		}
		depth := len([]rune(line)) - len([]rune(strings.TrimLeftFunc(line, pythonSpace)))
		if open != nil && depth > indent {
			values = append(values, text)
			continue
		}
		indent = depth
		finish()
		if text[0] == '[' {
			end := strings.LastIndexByte(text, ']')
			if end < 2 {
				return nil, invalid(file, n, "write [name]", "a section without a name")
			}
			name := text[1:end]
			for _, s := range sections {
				if s.name == name && name != "DEFAULT" {
					return nil, invalid(file, n, "put them together", "the section stands twice")
				}
			}
			cur = &section{name: name}
			if i := slices.IndexFunc(sections, func(s *section) bool { return s.name == name }); i >= 0 {
				cur = sections[i]
			} else {
				sections = append(sections, cur)
			}
			continue
		}
		if cur == nil {
			return nil, invalid(file, n, "begin with [main]", "a line before the first section")
		}
		at := strings.IndexAny(text, "=:")
		if at <= 0 {
			return nil, invalid(file, n, "write key = value", "neither a section nor a key = value")
		}
		name := strings.ToLower(strings.TrimRightFunc(text[:at], pythonSpace))
		if cur.find(name) != nil {
			return nil, invalid(file, n, "keep one of them", "the key stands twice in its section")
		}
		cur.options = append(cur.options, option{name: name, line: n})
		open = &cur.options[len(cur.options)-1]
		values = []string{pythonStrip(text[at+1:])}
	}
	finish()
	return sections, nil
}

// pythonSpace is what Python's str.strip takes away.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func pythonStrip(s string) string { return strings.TrimFunc(s, pythonSpace) }

// interpolate follows configparser's BasicInterpolation.
func interpolate(raw string, s, defaults *section, depth int) (text, why string) {
	if depth > 10 { // configparser's own bound
		return "", "a %(…)s that leads in circles"
	}
	var b strings.Builder
	for rest := raw; rest != ""; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "%%"):
			b.WriteByte('%')
			rest = rest[2:]
		case strings.HasPrefix(rest, "%("):
			end := strings.Index(rest, ")s")
			if end < 0 || strings.IndexByte(rest[:end], ')') >= 0 {
				return "", "a %( that is not closed by )s"
			}
			name := strings.ToLower(rest[2:end])
			o := s.find(name)
			if o == nil && defaults != nil {
				o = defaults.find(name)
			}
			if o == nil {
				return "", "a %(…)s that names no key"
			}
			inner, why := interpolate(o.raw, s, defaults, depth+1)
			if why != "" {
				return "", why
			}
			if b.Len()+len(inner) > MaxSize {
				return "", "it grows beyond every bound"
			}
			b.WriteString(inner)
			rest = rest[end+2:]
		default:
			return "", "a % that is neither %% nor %(…)s; write %% for a %"
		}
	}
	return b.String(), ""
}

// writeINI writes lower-case keys; what the framework would not read back is
// refused by name.
func writeINI(values map[string]secret.Value, sections []string) (string, error) {
	in := map[string][]string{} // section → variables
	for k := range values {
		if !isName(k) || k != strings.ToUpper(k) {
			return "", refused(INI, k, "not an UPPER_SNAKE name, which its lower-case key would not give back")
		}
		best := "main"
		for _, s := range sections {
			p := variableName(s) + "_"
			if strings.HasPrefix(k, p) && len(k) > len(p) && (best == "main" || len(s) > len(best)) {
				best = s
			}
		}
		in[best] = append(in[best], k)
	}
	var b strings.Builder
	for _, s := range sorted(in) {
		if strings.ContainsAny(s, "]\n\r") || s == "DEFAULT" {
			return "", fault.New(fault.Usage, "write ini", "a section cannot have this name", "use letters, digits and _")
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		b.WriteString("[" + s + "]\n")
		keys := in[s]
		slices.Sort(keys)
		for _, k := range keys {
			v := values[k].Reveal()
			if why := unfitINI(v); why != "" {
				return "", refused(INI, k, why)
			}
			name := k
			if s != "main" {
				name = strings.TrimPrefix(k, variableName(s)+"_")
			}
			text := strings.ReplaceAll(strings.ReplaceAll(v, "%", "%%"), "\n", "\n\t")
			b.WriteString(strings.TrimRight(strings.ToLower(name)+" = "+text, " ") + "\n")
		}
	}
	return b.String(), nil
}

// unfitINI says why configparser would not give a value back.
func unfitINI(v string) string {
	if strings.HasPrefix(v, "$") {
		return "it begins with $, which the framework takes for the name of an environment variable"
	}
	if strings.ContainsRune(v, '\r') {
		return "it holds a carriage return, which Python reads as a line end"
	}
	for i, line := range strings.Split(v, "\n") {
		switch {
		case pythonStrip(line) != line:
			return "a line of it begins or ends with blanks, which Python takes away"
		case i > 0 && (line == "" || line[0] == '#' || line[0] == ';'):
			return "it holds an empty line, or one that Python takes for a comment"
		}
	}
	return ""
}
