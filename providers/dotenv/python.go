package dotenv

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// readPython follows python-dotenv (0.21 and later), reading from a file:
// every kind of line end is a newline first.
func readPython(src string, env func(string) (string, bool)) *lines {
	l := &lines{}
	if !utf8.ValidString(src) {
		l.refuse(1, "", "not UTF-8")
		return l
	}
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	p := &pythonParser{src: src, line: 1}
	for {
		rest := strings.TrimLeftFunc(p.src[p.pos:], pythonSpace)
		p.advance(len(p.src) - len(rest))
		if rest == "" {
			return l
		}
		line := p.line
		key, value, ok := p.binding()
		if !ok {
			p.skipLine()
			l.problem(line, key, Ignored, "python-dotenv skips the line with a warning")
			continue
		}
		switch {
		case key == "":
		case value == nil:
			l.problem(line, key, Ignored, "no =: python-dotenv sets nothing")
			if _, ok := l.value(key); ok {
				l.set(key, "", line)
				l.pairs[len(l.pairs)-1].unset = true
			}
		default:
			out, good := pythonExpand(l, *value, env)
			if !good {
				l.refuse(line, key, tooLarge)
				return l
			}
			if out != *value {
				l.problem(line, key, Expands, "python-dotenv replaces what stands in ${}")
			}
			l.set(key, out, line)
		}
	}
}

type pythonParser struct {
	src       string
	pos, line int
}

func (p *pythonParser) advance(to int) {
	p.line += strings.Count(p.src[p.pos:to], "\n")
	p.pos = to
}

func (p *pythonParser) skipLine() {
	if i := strings.IndexByte(p.src[p.pos:], '\n'); i >= 0 {
		p.advance(p.pos + i + 1)
		return
	}
	p.pos = len(p.src)
}

// pythonSpace is \s of a Python regular expression.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func pythonBlank(r rune) bool { return r != '\n' && pythonSpace(r) }

func (p *pythonParser) blanks() {
	p.pos = len(p.src) - len(strings.TrimLeftFunc(p.src[p.pos:], pythonBlank))
}

// binding reads one statement; a comment has no key, a bare KEY no value. After
// false the position is where python-dotenv gave up: it drops the rest of
// that line.
func (p *pythonParser) binding() (key string, value *string, ok bool) {
	if after, found := strings.CutPrefix(p.src[p.pos:], "export"); found {
		if rest := strings.TrimLeftFunc(after, pythonBlank); len(rest) < len(after) {
			p.pos = len(p.src) - len(rest)
		}
	}
	rest := p.src[p.pos:]
	switch {
	case rest != "" && rest[0] == '#':
		return "", nil, p.endOfLine()
	case rest != "" && rest[0] == '\'':
		end := strings.IndexByte(rest[1:], '\'')
		if end < 1 {
			return "", nil, false
		}
		key = rest[1 : 1+end]
		p.advance(p.pos + end + 2)
	default:
		end := strings.IndexFunc(rest, func(r rune) bool { return r == '=' || r == '#' || pythonSpace(r) })
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return "", nil, false
		}
		key = rest[:end]
		p.pos += end
	}
	p.blanks()
	if p.pos < len(p.src) && p.src[p.pos] == '=' {
		p.pos++
		p.blanks()
		v, ok := p.value()
		if !ok {
			return key, nil, false
		}
		value = &v
	}
	return key, value, p.endOfLine()
}

// endOfLine steps over blanks, a comment and the newline; false at any other text.
func (p *pythonParser) endOfLine() bool {
	p.blanks()
	if p.pos < len(p.src) && p.src[p.pos] == '#' {
		if i := strings.IndexByte(p.src[p.pos:], '\n'); i >= 0 {
			p.pos += i
		} else {
			p.pos = len(p.src)
		}
	}
	if p.pos == len(p.src) {
		return true
	}
	if p.src[p.pos] != '\n' {
		return false
	}
	p.advance(p.pos + 1)
	return true
}

func (p *pythonParser) value() (string, bool) {
	rest := p.src[p.pos:]
	if rest == "" || rest[0] == '\n' {
		return "", true
	}
	if q := rest[0]; q == '\'' || q == '"' {
		end := pythonClosing(rest, q)
		if end < 0 {
			return "", false
		}
		p.advance(p.pos + end + 1)
		return pythonUnescape(rest[1:end], q), true
	}
	line, _, _ := strings.Cut(rest, "\n")
	p.pos += len(line)
	// A comment begins at the first white space that a # follows.
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		if pythonSpace(r) {
			after := strings.TrimLeftFunc(line[i:], pythonSpace)
			if strings.HasPrefix(after, "#") {
				line = line[:i]
				break
			}
			n = len(line) - i - len(after)
		}
		i += n
	}
	return strings.TrimRightFunc(line, pythonSpace), true
}

// pythonClosing finds the closing quote as '((?:\\'|[^'])*)' does: the first
// quote without a backslash right before it, else the last one with.
func pythonClosing(s string, q byte) int {
	last := -1
	for i := 1; i < len(s); i++ {
		if s[i] != q {
			continue
		}
		if i > 1 && s[i-1] == '\\' {
			last = i
			continue
		}
		return i
	}
	return last
}

func pythonUnescape(s string, q byte) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			c := s[i+1]
			if c == '\\' || c == '\'' || q == '"' && c == '"' {
				out.WriteByte(c)
				i++
				continue
			}
			if j := strings.IndexByte("abfnrtv", c); q == '"' && j >= 0 {
				out.WriteByte("\a\b\f\n\r\t\v"[j])
				i++
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// pythonExpand replaces ${NAME} and ${NAME:-default}, also between single
// quotes: there is no way to write a literal ${NAME}.
func pythonExpand(l *lines, s string, env func(string) (string, bool)) (string, bool) {
	var out strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 || strings.IndexByte(s[i:], '}') < 0 {
			out.WriteString(s)
			return out.String(), true
		}
		name, fallback, n := pythonReference(s[i:])
		if n == 0 {
			out.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}
		out.WriteString(s[:i])
		s = s[i+n:]
		v, ok := l.value(name)
		if !ok {
			v, ok = env(name)
		}
		if !ok {
			v = fallback
		}
		if !l.grow(len(v)) {
			return "", false
		}
		out.WriteString(v)
	}
}

// pythonReference reads \$\{([^}:]*)(?::-([^}]*))?\} at the start of s; length
// 0 when that does not match.
func pythonReference(s string) (name, fallback string, length int) {
	end := strings.IndexAny(s[2:], "}:")
	if end < 0 {
		return "", "", 0
	}
	name, rest := s[2:2+end], s[2+end:]
	if rest[0] == '}' {
		return name, "", 3 + end
	}
	if !strings.HasPrefix(rest, ":-") {
		return "", "", 0
	}
	close := strings.IndexByte(rest, '}')
	if close < 0 {
		return "", "", 0
	}
	return name, rest[2:close], 2 + end + close + 1
}
