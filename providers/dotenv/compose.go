package dotenv

import (
	"strconv"
	"strings"
	"unicode"
)

// readCompose follows compose-go's dotenv package, its oddities included: a
// name may hold any letter, [ and ]; what follows a closing quote is the next
// statement; a last line without = and newline becomes the value of "".
func readCompose(src string, env func(string) (string, bool)) *lines {
	l := &lines{}
	src = strings.TrimPrefix(src, bom)
	lookup := func(name string) (string, bool) {
		if v, ok := env(name); ok {
			return v, true
		}
		return l.value(name)
	}
	pos, line := 0, 1
	advance := func(to int) {
		line += strings.Count(src[pos:to], "\n")
		pos = to
	}
	for {
		rest := strings.TrimLeftFunc(src[pos:], unicode.IsSpace)
		advance(len(src) - len(rest))
		if rest == "" {
			return l
		}
		if rest[0] == '#' {
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				return l
			}
			advance(pos + end)
			continue
		}
		at := line
		if after, ok := strings.CutPrefix(rest, "export"); ok && after != "" && strings.IndexByte("\t\n\f\r ", after[0]) >= 0 {
			rest = strings.TrimLeftFunc(after, composeSpace)
			advance(len(src) - len(rest))
		}
		n, ok := composeKey(rest)
		if !ok {
			l.refuse(at, "", "a character that no variable name has")
			return l
		}
		key, valueAt, inherits := "", 0, false
		if n < len(rest) {
			key, valueAt, inherits = strings.TrimRightFunc(rest[:n], unicode.IsSpace), n+1, rest[n] == '\n'
		}
		if strings.Contains(key, " ") {
			l.refuse(at, "", "a blank inside the variable name")
			return l
		}
		advance(pos + valueAt)
		rest = strings.TrimLeftFunc(src[pos:], composeSpace)
		advance(len(src) - len(rest))
		if inherits {
			if v, ok := env(key); ok {
				l.set(key, v, at)
			}
			l.problem(at, key, Inherits, "no =: the value comes from the environment of compose")
			continue
		}
		if key == "" {
			l.problem(at, "", Changes, "no variable name")
		}
		value, end, problem := composeValue(rest)
		if problem != "" {
			l.refuse(at, key, problem)
			return l
		}
		advance(pos + end)
		if value.expand {
			out, err := composeExpand(l, value.text, lookup, 0)
			if err != "" {
				l.refuse(at, key, err)
				return l
			}
			if out != value.literal {
				l.problem(at, key, Expands, "compose replaces what follows the $")
			}
			value.text = out
		}
		if value.quoted && pos < len(src) {
			if left := strings.TrimLeftFunc(src[pos:], composeSpace); left != "" && left[0] != '\n' && left[0] != '#' {
				l.problem(at, key, Changes, "compose reads the text after the closing quote as another statement")
			}
		}
		l.set(key, value.text, at)
	}
}

// composeKey returns the length of the name at the start of s, up to its =, :
// or newline (len(s) without one), and whether every character is allowed.
func composeKey(s string) (int, bool) {
	for i, r := range s {
		switch {
		case r == '=' || r == ':' || r == '\n':
			return i, true
		case composeSpace(r), r == '_', r == '.', r == '-', r == '[', r == ']', unicode.IsLetter(r), unicode.IsNumber(r):
		default:
			return 0, false
		}
	}
	return len(s), true
}

type composeText struct {
	text    string // still to be expanded where expand is set
	literal string // what text would be if every $ in it stood for itself as written
	expand  bool
	quoted  bool
}

// composeValue reads the value at the start of s and returns it with its
// length, or what is wrong with it.
func composeValue(s string) (composeText, int, string) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		v, _, found := strings.Cut(s, "\n")
		end := len(v)
		if found {
			end++
		}
		v, _, _ = strings.Cut(v, " #")
		v = strings.TrimRightFunc(v, unicode.IsSpace)
		return composeText{text: v, literal: v, expand: strings.Contains(v, "$")}, end, ""
	}
	end := closingQuote(s, 0)
	if end < 0 {
		return composeText{}, 0, "the quote is never closed"
	}
	inner := s[1:end]
	if s[0] == '\'' {
		return composeText{text: strings.ReplaceAll(inner, `\'`, `'`), quoted: true}, end + 1, ""
	}
	text := string(unescapeDouble(nil, inner, true))
	return composeText{text: text, literal: string(unescapeDouble(nil, inner, false)), expand: strings.Contains(text, "$"), quoted: true}, end + 1, ""
}

// composeSpace is white space other than a newline.
func composeSpace(r rune) bool {
	return r == '\t' || r == '\v' || r == '\f' || r == '\r' || r == ' ' || r == 0x85 || r == 0xA0
}

// unescapeDouble appends the text between double quotes with compose's
// escapes resolved; \$ becomes $$ where it is to be expanded afterwards.
func unescapeDouble(dst []byte, s string, dollars bool) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'a', 'b', 'f', 'n', 'r', 't', 'v':
			dst = append(dst, "\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case '"', '\\':
			dst = append(dst, c)
		case '$':
			if dollars {
				dst = append(dst, '$')
			}
			dst = append(dst, '$')
		case '0':
			end := i + 1
			for end < len(s) && end < i+4 && s[end] >= '0' && s[end] <= '9' {
				end++
			}
			r, _, _, err := strconv.UnquoteChar(`\`+s[i+1:end], '"')
			if err != nil {
				dst = append(dst, s[i-1:end]...)
			} else {
				dst = append(dst, string(r)...)
			}
			i = end - 1
		default:
			dst = append(dst, '\\', c)
		}
	}
	return dst
}

// composeExpand replaces $$, $NAME and ${NAME…} as compose-go's template
// package does; the second result says why it refuses.
func composeExpand(l *lines, s string, lookup func(string) (string, bool), depth int) (string, string) {
	if depth > 100 {
		return "", "expansions nested too deep"
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			break
		}
		out.WriteString(s[:i])
		s = s[i:]
		switch n := nameLength(s[1:]); {
		case s[1] == '$':
			out.WriteByte('$')
			s = s[2:]
		case n > 0:
			v, _ := lookup(s[1 : 1+n])
			if !l.grow(len(v)) {
				return "", tooLarge
			}
			out.WriteString(v)
			s = s[1+n:]
		case s[1] == '{':
			v, end, err := composeBraced(l, s, lookup, depth)
			if err != "" {
				return "", err
			}
			if !l.grow(len(v)) {
				return "", tooLarge
			}
			out.WriteString(v)
			s = s[end:]
		default:
			out.WriteByte('$')
			s = s[1:]
		}
	}
	out.WriteString(s)
	return out.String(), ""
}

// nameLength is the length of the variable name at the start of s, 0 for none.
func nameLength(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// composeBraced expands the ${…} at the start of s and returns its value and
// length. With an operator it reaches to the last } of the line: what follows
// its own closing brace is expanded as part of it.
func composeBraced(l *lines, s string, lookup func(string) (string, bool), depth int) (string, int, string) {
	const invalid = "a ${ that compose cannot read"
	n := nameLength(s[2:])
	if n == 0 || 2+n == len(s) {
		return "", 0, invalid
	}
	name := s[2 : 2+n]
	v, set := lookup(name)
	if s[2+n] == '}' {
		return v, 3 + n, ""
	}
	op := 2 + n
	end := op
	if s[end] == ':' {
		end++
	}
	if end == len(s) || strings.IndexByte("-+?", s[end]) < 0 {
		return "", 0, invalid
	}
	end++
	lineEnd := len(s)
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		lineEnd = i
	}
	last := strings.LastIndexByte(s[:lineEnd], '}')
	if last < end {
		return "", 0, invalid
	}
	word, rest := s[end:last], ""
	if i := firstClosingBrace(s[:last+1]); i >= end {
		word, rest = s[end:i], s[i+1:last+1]
	}
	word, err := composeExpand(l, word, lookup, depth+1)
	if err != "" {
		return "", 0, err
	}
	missing := !set || s[op] == ':' && v == ""
	switch s[end-1] {
	case '-':
		if missing {
			v = word
		}
	case '+':
		if !missing {
			v = word
		}
	case '?':
		if missing {
			return "", 0, "compose requires " + name + ", which is not set"
		}
	}
	rest, err = composeExpand(l, rest, lookup, depth+1)
	return v + rest, last + 1, err
}

// firstClosingBrace returns the offset of the } that closes s's first {, as
// compose counts them: the character after a { is not looked at.
func firstClosingBrace(s string) int {
	open := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '}':
			if open--; open == 0 {
				return i
			}
		case '{':
			open++
			i++
		}
	}
	return -1
}
