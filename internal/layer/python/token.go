package python

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota // the end of the file, also what a parser sees past its tokens
	tokNewline
	tokIndent
	tokDedent
	tokName
	tokNumber
	tokString // str or bytes with its prefix and quotes
	tokFormat // f-string or t-string, whole
	tokOp
)

// token is one lexical element; text is cut from the source, so that a string
// keeps its prefix and quotes. Columns count bytes from 1.
type token struct {
	kind    tokenKind
	line    int32
	col     int32
	endLine int32
	text    string
}

func (t token) is(op string) bool      { return t.kind == tokOp && t.text == op }
func (t token) named(name string) bool { return t.kind == tokName && t.text == name }

// Limits of this reader; CPython has the same kinds with larger numbers.
const (
	maxSource  = 1 << 20
	maxDepth   = 20   // recursion: brackets in expressions, blocks, format strings
	maxBracket = 200  // open brackets, as in CPython
	maxIndent  = 100  // indentation levels, as in CPython
	maxChain   = 1000 // operators or postfixes in a row
)

type bracket struct {
	open      byte
	line, col int32
}

// scanner cuts source into tokens by CPython's rules, 3.14 included. Sources
// reach it with \n as the only line end.
type scanner struct {
	src      string
	pos      int
	line     int32
	start    int // where the line begins
	toks     []token
	brackets []bracket
	indents  []indent
	problem  *Problem
}

// indent is a depth measured twice, with tabs of 8 and of 1: CPython refuses
// blocks whose order depends on the size of a tab.
type indent struct{ wide, narrow int }

// scan returns the tokens of src up to its end or its first lexical error,
// closed by Newline, Dedents and End in either case.
func scan(src string) ([]token, *Problem) {
	s := scanner{src: src, line: 1, toks: make([]token, 0, len(src)/4+16), indents: []indent{{}}}
	s.pos = len(src) - len(strings.TrimPrefix(src, "\ufeff"))
	s.start = s.pos
	for s.problem == nil && s.logicalLine() {
	}
	if s.problem == nil && len(s.brackets) > 0 {
		b := s.brackets[len(s.brackets)-1]
		s.problem = &Problem{Kind: Refused, Line: int(b.line), Column: int(b.col), Message: "bracket " + string(b.open) + " is never closed"}
	}
	if n := len(s.toks); n > 0 && s.toks[n-1].kind != tokNewline && s.toks[n-1].kind != tokDedent {
		s.emit(tokNewline, s.pos)
	}
	for range s.indents[1:] {
		s.emit(tokDedent, s.pos)
	}
	s.emit(tokEnd, s.pos)
	return s.toks, s.problem
}

func (s *scanner) emit(kind tokenKind, from int) {
	s.toks = append(s.toks, token{kind, s.line, int32(from - s.start + 1), s.line, s.src[from:s.pos]})
}

func (s *scanner) fail(at int, message string) {
	if s.problem == nil {
		s.problem = &Problem{Kind: Refused, Line: int(s.line), Column: max(1, at-s.start+1), Message: message}
	}
}

func (s *scanner) newline() {
	s.pos++
	s.line++
	s.start = s.pos
}

func (s *scanner) peek(ahead int) byte {
	if s.pos+ahead < len(s.src) {
		return s.src[s.pos+ahead]
	}
	return 0
}

// logicalLine reads one line with its indentation and reports whether there
// may be more.
func (s *scanner) logicalLine() bool {
	if !s.indentation() {
		return false
	}
	for s.problem == nil {
		if s.pos >= len(s.src) {
			return false
		}
		c := s.src[s.pos]
		switch c {
		case ' ', '\t', '\f':
			s.pos++
		case '#':
			s.comment()
		case '\n':
			if len(s.brackets) > 0 {
				s.newline()
				continue
			}
			s.emit(tokNewline, s.pos)
			s.newline()
			return true
		case '\\':
			if s.peek(1) != '\n' {
				s.fail(s.pos, "unexpected character after a line continuation")
				return false
			}
			s.pos++
			s.newline()
			if s.pos >= len(s.src) {
				s.fail(s.pos, "the file ends in a line continuation")
			}
		default:
			s.element(c)
		}
	}
	return false
}

func (s *scanner) comment() {
	if i := strings.IndexByte(s.src[s.pos:], '\n'); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
}

// indentation skips empty lines, emits Indent and Dedents, and reports
// whether a line follows.
func (s *scanner) indentation() bool {
	var in indent
	split := 0 // the width before a continuation inside the indentation counts
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ':
			in.wide, in.narrow = in.wide+1, in.narrow+1
			s.pos++
			continue
		case '\t':
			in.wide, in.narrow = (in.wide/8+1)*8, in.narrow+1
			s.pos++
			continue
		case '\f':
			in = indent{}
			s.pos++
			continue
		case '\\':
			if s.peek(1) == '\n' {
				if split == 0 {
					split = in.wide
				}
				s.pos++
				s.newline()
				continue
			}
		case '#':
			s.comment()
			continue
		case '\n':
			s.newline()
			in, split = indent{}, 0
			continue
		}
		if split > 0 {
			in = indent{split, split}
		}
		return s.block(in)
	}
	return false
}

func (s *scanner) block(in indent) bool {
	top := s.indents[len(s.indents)-1]
	switch {
	case in.wide == top.wide:
	case in.wide > top.wide:
		if len(s.indents) >= maxIndent {
			s.fail(s.pos, "too many levels of indentation")
			return false
		}
		if in.narrow <= top.narrow {
			s.fail(s.pos, "tabs and spaces are mixed in the indentation")
			return false
		}
		s.indents = append(s.indents, in)
		s.emit(tokIndent, s.pos)
		return true
	default:
		for in.wide < top.wide {
			s.indents = s.indents[:len(s.indents)-1]
			s.emit(tokDedent, s.pos)
			top = s.indents[len(s.indents)-1]
		}
		if in.wide != top.wide {
			s.fail(s.pos, "the indentation matches no outer block")
			return false
		}
	}
	if in.narrow != top.narrow {
		s.fail(s.pos, "tabs and spaces are mixed in the indentation")
		return false
	}
	return true
}

func (s *scanner) element(c byte) {
	from := s.pos
	switch {
	case isDigit(c) || c == '.' && isDigit(s.peek(1)):
		s.number()
		s.emit(tokNumber, from)
	case c == '"' || c == '\'':
		s.stringToken(from)
	case isWord(c):
		if !s.word() {
			return
		}
		if q := s.peek(0); (q == '"' || q == '\'') && isPrefix(s.src[from:s.pos]) {
			s.stringToken(from)
			return
		}
		s.emit(tokName, from)
	default:
		s.operator(c)
	}
}

// word skips an identifier.
func (s *scanner) word() bool {
	from := s.pos
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		if c < utf8.RuneSelf {
			if !isWord(c) && !isDigit(c) {
				return true
			}
			s.pos++
			continue
		}
		r, size := utf8.DecodeRuneInString(s.src[s.pos:])
		if !unicode.IsLetter(r) && !(s.pos > from && (unicode.IsDigit(r) || unicode.IsMark(r))) && !unicode.Is(unicode.Nl, r) {
			s.fail(s.pos, "a character that Python does not allow here")
			return false
		}
		s.pos += size
	}
	return true
}

func (s *scanner) number() {
	digits := func(ok func(byte) bool) {
		for s.pos < len(s.src) && (ok(s.src[s.pos]) || s.src[s.pos] == '_' && ok(s.peek(1))) {
			s.pos++
		}
	}
	if s.src[s.pos] == '0' {
		switch s.peek(1) | 0x20 {
		case 'x', 'o', 'b':
			s.pos += 2
			digits(isHex)
			return
		}
	}
	digits(isDigit)
	if s.peek(0) == '.' {
		s.pos++
		digits(isDigit)
	}
	if s.peek(0)|0x20 == 'e' && (isDigit(s.peek(1)) || (s.peek(1) == '+' || s.peek(1) == '-') && isDigit(s.peek(2))) {
		s.pos += 2
		digits(isDigit)
	}
	if s.peek(0)|0x20 == 'j' {
		s.pos++
	}
}

// Operators by length, longest first.
const (
	threeOps = "**= ... //= <<= >>="
	twoOps   = "!= %= &= ** *= += -= -> // /= := << <= == >= >> @= ^= |="
)

func (s *scanner) operator(c byte) {
	from := s.pos
	size := 1
	longer := strings.IndexByte("*./<=>", s.peek(1)) >= 0 // the second byte of all that have one
	switch {
	case longer && from+3 <= len(s.src) && strings.Contains(threeOps, s.src[from:from+3]) && c != ' ' && s.src[from+2] != ' ':
		size = 3
	case longer && strings.Contains(twoOps, s.src[from:from+2]):
		size = 2
	case strings.IndexByte("%&()*+,-./:;<=>@[]^{|}~", c) < 0:
		s.fail(from, "a character that Python does not allow here")
		return
	}
	switch c {
	case '(', '[', '{':
		if len(s.brackets) >= maxBracket {
			s.fail(from, "too many open brackets")
			return
		}
		s.brackets = append(s.brackets, bracket{c, s.line, int32(from - s.start + 1)})
	case ')', ']', '}':
		n := len(s.brackets)
		if n == 0 || !pairs(s.brackets[n-1].open, c) {
			s.fail(from, "bracket "+string(c)+" closes nothing")
			return
		}
		s.brackets = s.brackets[:n-1]
	}
	s.pos += size
	s.emit(tokOp, from)
}

// stringToken reads the string whose prefix began at from; the scanner stands
// at its quote.
func (s *scanner) stringToken(from int) {
	kind, line, start := tokString, s.line, s.start
	if strings.ContainsAny(s.src[from:s.pos], "fFtT") {
		kind = tokFormat
	}
	if !s.quoted(s.src[from:s.pos], 0) {
		return
	}
	s.toks = append(s.toks, token{kind, line, int32(from - start + 1), s.line, s.src[from:s.pos]})
}

// quoted skips a string from its quote on.
func (s *scanner) quoted(prefix string, depth int) bool {
	q := s.src[s.pos]
	closing := string(q)
	from, line, lineStart := s.pos, s.line, s.start
	if s.peek(1) == q && s.peek(2) == q {
		closing = s.src[s.pos : s.pos+3]
	}
	s.pos += len(closing)
	raw := strings.ContainsAny(prefix, "rR")
	format := strings.ContainsAny(prefix, "fFtT")
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch {
		case c == q && strings.HasPrefix(s.src[s.pos:], closing):
			s.pos += len(closing)
			return true
		case c == '\\':
			s.escape(raw, format)
		case c == '\n':
			if len(closing) == 1 {
				s.fail(s.pos, "a string is not closed on its line")
				return false
			}
			s.newline()
		case format && c == '{' && s.peek(1) == '{':
			s.pos += 2
		case format && c == '{':
			s.pos++
			if !s.field(q, len(closing) == 3, depth+1) {
				return false
			}
		default:
			s.pos++
		}
	}
	s.line, s.start = line, lineStart
	s.fail(from, "a string is never closed")
	return false
}

func (s *scanner) escape(raw, format bool) {
	next := s.peek(1)
	switch {
	case format && !raw && next == 'N' && s.peek(2) == '{':
		s.pos += 3
		for c := s.peek(0); s.pos < len(s.src) && c != '}' && c != '\n' && c != '"' && c != '\''; c = s.peek(0) {
			s.pos++
		}
		if s.peek(0) == '}' {
			s.pos++
		}
	case format && (next == '{' || next == '}'):
		s.pos++
	case next == '\n':
		s.pos++
		s.newline()
	default:
		s.pos = min(s.pos+2, len(s.src))
	}
}

// field skips a replacement field after its brace, by the rules of 3.12: any
// quotes, comments and line ends may stand in it.
func (s *scanner) field(quote byte, triple bool, depth int) bool {
	if depth > maxDepth {
		s.fail(s.pos, "format strings are nested too deeply")
		return false
	}
	open := 0
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch {
		case c == '"' || c == '\'':
			if !s.quoted("", depth) {
				return false
			}
		case isWord(c):
			from := s.pos
			if !s.word() {
				return false
			}
			if q := s.peek(0); (q == '"' || q == '\'') && isPrefix(s.src[from:s.pos]) {
				if !s.quoted(s.src[from:s.pos], depth) {
					return false
				}
			}
		case c == '\n':
			s.newline()
		case c == '#':
			s.comment()
		case c == '(' || c == '[' || c == '{':
			open++
			s.pos++
		case c == '}' && open == 0:
			s.pos++
			return true
		case c == ')' || c == ']' || c == '}':
			open--
			s.pos++
		case c == '!' && s.peek(1) == '=':
			s.pos += 2
		case c == ':' && open == 0:
			s.pos++
			return s.spec(quote, triple, depth)
		default:
			s.pos++
		}
	}
	s.fail(s.pos, "a format string is never closed")
	return false
}

// spec skips a format specification up to the end of its field.
func (s *scanner) spec(quote byte, triple bool, depth int) bool {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '}':
			s.pos++
			return true
		case c == '{':
			s.pos++
			if !s.field(quote, triple, depth+1) {
				return false
			}
		case c == '\n' && triple:
			s.newline()
		case c == '\n', c == quote && !triple:
			s.fail(s.pos, "a field of a format string is not closed")
			return false
		default:
			s.pos++
		}
	}
	s.fail(s.pos, "a format string is never closed")
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
func isWord(c byte) bool {
	return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= utf8.RuneSelf
}

func pairs(open, closing byte) bool {
	return open == '(' && closing == ')' || open == '[' && closing == ']' || open == '{' && closing == '}'
}

// isPrefix tells whether a word before a quote belongs to the string.
func isPrefix(word string) bool {
	if len(word) > 2 {
		return false
	}
	switch strings.ToLower(word) {
	case "b", "br", "f", "fr", "r", "rb", "rf", "rt", "t", "tr", "u":
		return true
	}
	return false
}
