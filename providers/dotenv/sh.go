package dotenv

import "strings"

// readSh reads src as a POSIX shell that sources it, without running anything:
// what it would run is a problem of kind Executes, and the assignment's value
// is then the text as it stands. Where dash and bash differ, that is a problem
// too. A quote that is never closed ends the shell's reading.
func readSh(src string, env func(string) (string, bool)) *lines {
	s := &shell{src: src, line: 1, env: env, lines: &lines{}}
	for s.pos < len(s.src) && s.refused == nil {
		s.command()
	}
	return s.lines
}

// ReadShell is ReadAs(Sh, …) for text that is about to be written: it goes on
// after a syntax error, taking the line as it stands.
func ReadShell(src []byte) Reading {
	s := &shell{src: string(src), line: 1, env: func(string) (string, bool) { return "", false }, lines: &lines{}}
	for s.pos < len(s.src) && s.errors < maxSyntaxErrors {
		s.command()
	}
	s.refused = nil
	r, _ := s.reading("sh", "") // only refused makes an error
	return r
}

// maxSyntaxErrors ends a reading that goes on after errors: finding that a $(
// is never closed takes a look at all the rest.
const maxSyntaxErrors = 64

type shell struct {
	*lines
	src       string
	pos, line int
	env       func(string) (string, bool)
	errors    int
}

// word is one word of a command after quote removal.
type word struct {
	text    strings.Builder
	start   int    // offset of its first byte
	line    int    // of its first byte
	plain   bool   // no quote, backslash or $ in it
	name    string // NAME of NAME=…
	kind    ProblemKind
	message string // the worst that happens in it, "" for nothing
}

func (w *word) note(kind ProblemKind, message string) {
	rank := func(k ProblemKind) int { return strings.Index("  expands changes refused executes", " "+string(k)) }
	if w.message == "" || rank(kind) > rank(w.kind) {
		w.kind, w.message = kind, message
	}
}

func (s *shell) at(i int) byte {
	if s.pos+i < len(s.src) {
		return s.src[s.pos+i]
	}
	return 0
}

func (s *shell) step() {
	if s.src[s.pos] == '\n' {
		s.line++
	}
	s.pos++
}

func (s *shell) skipTo(end int) {
	s.line += strings.Count(s.src[s.pos:end], "\n")
	s.pos = end
}

// lineEnd returns the offset of the newline that ends the line at i.
func (s *shell) lineEnd(i int) int {
	if j := strings.IndexByte(s.src[i:], '\n'); j >= 0 {
		return i + j
	}
	return len(s.src)
}

// command reads up to the end of one command: a newline or ;.
func (s *shell) command() {
	var words []*word
	operator := ""
	for operator == "" {
		for s.pos < len(s.src) && (s.at(0) == ' ' || s.at(0) == '\t' || s.at(0) == '\\' && s.at(1) == '\n') {
			if s.at(0) == '\\' {
				s.step()
			}
			s.step()
		}
		switch {
		case s.pos == len(s.src):
			operator = "\n"
		case s.at(0) == '#':
			s.pos = s.lineEnd(s.pos)
		case s.at(0) == '\n':
			operator = "\n"
			s.step()
		case strings.IndexByte(";&|<>()", s.at(0)) >= 0:
			operator = string(s.at(0))
			s.step()
		default:
			start, line := s.pos, s.line
			w, problem := s.word()
			if problem != "" {
				s.unclosed(append(words, w), start, line, problem)
				return
			}
			words = append(words, w)
		}
	}
	s.run(words, operator)
}

// unclosed takes the line at start as it stands and goes on with the next.
func (s *shell) unclosed(words []*word, start, line int, problem string) {
	s.pos, s.line = start, line
	s.errors++
	key := ""
	if w := words[0]; w.name != "" {
		key = w.name
		s.raw(w)
	}
	s.refuse(line, key, problem)
	s.skipTo(min(s.lineEnd(s.pos)+1, len(s.src)))
}

// raw assigns the text after the = up to the end of w's line.
func (s *shell) raw(w *word) {
	from := w.start + len(w.name) + 1
	s.set(w.name, strings.TrimRight(s.src[from:s.lineEnd(from)], " \t\r"), w.line)
}

// run notes what one command does.
func (s *shell) run(words []*word, operator string) {
	if len(words) == 0 {
		if operator != "\n" && operator != ";" {
			s.problem(s.line, "", Executes, "the shell reads "+operator+" as an operator")
			s.pos = s.lineEnd(s.pos)
		}
		return
	}
	first := words[0]
	assignments := words
	if exports := first.name == "" && first.plain && first.text.String() == "export"; exports {
		assignments = words[1:]
		if len(assignments) == 0 {
			s.problem(first.line, "", Executes, "the shell prints every exported variable")
			return
		}
	}
	for _, w := range assignments {
		if w.name == "" && !(len(assignments) < len(words) && w.plain && nameLength(w.text.String()) == w.text.Len()) {
			s.problem(first.line, first.name, Executes, "the shell runs a part of the line as a command")
			if first.name != "" {
				s.raw(first)
			}
			return
		}
	}
	if operator != "\n" && operator != ";" {
		s.problem(first.line, first.name, Executes, "the shell reads "+operator+" as an operator")
		s.pos = s.lineEnd(s.pos)
		if first.name != "" {
			s.raw(first)
			return
		}
	}
	for _, w := range assignments {
		if w.name == "" {
			continue // export NAME
		}
		if strings.Contains(shellReadOnly, " "+w.name+" ") {
			w.note(Changes, "bash does not let "+w.name+" be set")
		}
		if w.message != "" {
			s.problem(w.line, w.name, w.kind, w.message)
		}
		s.set(w.name, w.text.String(), w.line)
	}
}

const shellReadOnly = " BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID "

const noNUL = "a NUL byte, which no shell keeps"

const unclosedQuote = "the quote is never closed"

// word reads one word; the second result is a syntax error.
func (s *shell) word() (*word, string) {
	w := &word{start: s.pos, line: s.line, plain: true}
	if n := nameLength(s.src[s.pos:]); n > 0 && s.at(n) == '=' {
		w.name = s.src[s.pos : s.pos+n]
		s.pos += n + 1
	}
	tilde := w.name != ""
	for s.pos < len(s.src) {
		c := s.at(0)
		atTilde := tilde
		tilde = false
		switch {
		case strings.IndexByte(" \t\n;&|<>()", c) >= 0:
			return w, ""
		case c == '\'':
			w.plain = false
			end := strings.IndexByte(s.src[s.pos+1:], '\'')
			if end < 0 {
				return w, unclosedQuote
			}
			if inner := s.src[s.pos+1 : s.pos+1+end]; strings.IndexByte(inner, 0) >= 0 {
				w.note(Changes, noNUL)
			}
			w.text.WriteString(s.src[s.pos+1 : s.pos+1+end])
			s.skipTo(s.pos + end + 2)
		case c == '"':
			w.plain = false
			if problem := s.double(w); problem != "" {
				return w, problem
			}
		case c == '\\':
			w.plain = false
			s.pos++
			switch {
			case s.pos == len(s.src):
				w.text.WriteByte('\\')
			case s.at(0) == '\n':
				s.step()
				tilde = atTilde
			default:
				w.text.WriteByte(s.at(0))
				s.step()
			}
		case c == '$' && (s.at(1) == '\'' || s.at(1) == '"'):
			w.plain = false
			w.note(Changes, "dash and bash read a $ before a quote differently")
			w.text.WriteByte('$')
			s.pos++
		case c == '$' || c == '`':
			w.plain = false
			if problem := s.dollar(w); problem != "" {
				return w, problem
			}
		case c == '~' && atTilde:
			w.plain = false
			s.home(w)
		default:
			if c == 0 {
				w.note(Changes, noNUL)
			}
			if n := run(s.src[s.pos:], " \t\n;&|<>()'\"\\$`~:\x00"); n > 0 {
				w.text.WriteString(s.src[s.pos : s.pos+n])
				s.pos += n
				continue
			}
			tilde = w.name != "" && c == ':'
			w.text.WriteByte(c)
			s.pos++
		}
	}
	return w, ""
}

// double reads a "…" at pos into w.
func (s *shell) double(w *word) string {
	s.pos++
	for s.pos < len(s.src) {
		switch c := s.at(0); {
		case c == '"':
			s.pos++
			return ""
		case c == '\\' && s.at(1) == '\n':
			s.pos++
			s.step()
		case c == '\\' && s.pos+1 < len(s.src) && strings.IndexByte("$`\"\\", s.at(1)) >= 0:
			w.text.WriteByte(s.at(1))
			s.pos += 2
		case c == '$' || c == '`':
			if problem := s.dollar(w); problem != "" {
				return problem
			}
		default:
			if c == 0 {
				w.note(Changes, noNUL)
			}
			n := max(1, run(s.src[s.pos:], "\"\\$`\x00"))
			w.text.WriteString(s.src[s.pos : s.pos+n])
			s.skipTo(s.pos + n)
		}
	}
	return unclosedQuote
}

// run returns how many bytes of s come before one of stops.
func run(s, stops string) int {
	if i := strings.IndexAny(s, stops); i >= 0 {
		return i
	}
	return len(s)
}

// home expands the ~ at pos.
func (s *shell) home(w *word) {
	end := strings.IndexAny(s.src[s.pos:], "/: \t\n;&|<>()'\"\\$`")
	if end < 0 {
		end = len(s.src) - s.pos
	}
	prefix := s.src[s.pos : s.pos+end]
	s.pos += end
	if stop := s.at(0); prefix == "~" && (stop == 0 || strings.IndexByte("/: \t\n;&|<>()", stop) >= 0) {
		if home, ok := s.lookup("HOME"); ok {
			w.note(Expands, "the shell replaces ~ by the home folder")
			w.text.WriteString(home)
			return
		}
	}
	w.note(Changes, "only the shell knows what stands for this ~")
	w.text.WriteString(prefix)
}

func (s *shell) lookup(name string) (string, bool) {
	if v, ok := s.value(name); ok {
		return v, true
	}
	return s.env(name)
}

// dollar reads the $ or ` at pos: a variable is expanded, a command only noted.
func (s *shell) dollar(w *word) string {
	rest := s.src[s.pos:]
	switch n := nameLength(rest[1:]); {
	case rest[0] == '`' || strings.HasPrefix(rest, "$("):
		end := shellSubstitution(rest)
		if end < 0 {
			return "a command substitution is never closed"
		}
		w.note(Executes, "the shell runs a part of the value")
		w.text.WriteString(rest[:end])
		s.skipTo(s.pos + end)
	case n > 0:
		v, _ := s.lookup(rest[1 : 1+n])
		s.pos += 1 + n
		return s.expand(w, v)
	case strings.HasPrefix(rest, "${"):
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return "a ${ is never closed"
		}
		v, known := s.braced(rest[2:end])
		if !known {
			end = shellBraces(rest)
			if end < 0 {
				return "a ${ is never closed"
			}
			v = rest[:end+1]
			switch {
			case strings.Contains(v, "`") || strings.Contains(v, "$("):
				w.note(Executes, "the shell runs a part of the value")
			case nameLength(rest[2:]) == 0 && strings.IndexByte("#?$!@*-0123456789", rest[2]) < 0:
				return "a ${ that no shell can read"
			default:
				w.note(Changes, "only the shell knows what stands for this ${")
			}
		}
		s.skipTo(s.pos + end + 1)
		return s.expand(w, v)
	case len(rest) > 1 && strings.IndexByte("$?!#@*-0123456789", rest[1]) >= 0:
		w.note(Changes, "only the shell knows what stands for $"+rest[1:2])
		w.text.WriteString(rest[:2])
		s.pos += 2
	default:
		w.text.WriteByte('$')
		s.pos++
	}
	return ""
}

func (s *shell) expand(w *word, v string) string {
	w.note(Expands, "the shell replaces what follows the $")
	if !s.grow(len(v)) {
		return tooLarge
	}
	w.text.WriteString(v)
	return ""
}

// braced returns the value of ${inner} for a name with - or + and a word that
// needs no further reading.
func (s *shell) braced(inner string) (string, bool) {
	n := nameLength(inner)
	if n == 0 {
		return "", false
	}
	v, set := s.lookup(inner[:n])
	op, colon := inner[n:], false
	if op == "" {
		return v, true
	}
	if op[0] == ':' {
		op, colon = op[1:], true
	}
	if op == "" || op[0] != '-' && op[0] != '+' || strings.ContainsAny(op[1:], "$`'\"\\{ ~") {
		return "", false
	}
	missing := !set || colon && v == ""
	if missing == (op[0] == '-') {
		return op[1:], true
	}
	return v, true
}

// shellBraces returns the offset of the } that closes s's ${, -1 without one.
func shellBraces(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			j := strings.IndexByte(s[i+1:], '\'')
			if j < 0 {
				return -1
			}
			i += j + 1
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// shellSubstitution returns the length of the `…` or $(…) at the start of s,
// -1 when it is never closed.
func shellSubstitution(s string) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case s[0] == '`':
			if c == '`' {
				return i + 1
			}
		case c == '\'' || c == '"':
			j := strings.IndexByte(s[i+1:], c)
			if j < 0 {
				return -1
			}
			i += j + 1
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
