package layer

import (
	"fmt"
	"slices"
	"strings"
)

// emit puts an expression's text into the output; pos is where it stands.
func (a *analysis) emit(v value, pos int) {
	before := a.states
	var after []state
	for i, x := range v {
		a.states = before
		if i < len(v)-1 {
			a.states = fork(before)
		}
		if x.kind == altRangeKey {
			for j, s := range a.states {
				if s.phase == lineStart && strings.TrimSpace(s.head) == "" {
					a.states[j].keyed = x.path
				}
			}
		} else {
			parts := x.texts()
			for j := range a.states {
				if s := &a.states[j]; s.phase == inValue {
					s.parts = slices.Grow(s.parts, len(parts))
				}
			}
			for _, p := range parts {
				a.part(p, pos)
			}
		}
		if i == 0 {
			after = a.states
		} else {
			after = append(after, a.states...)
		}
	}
	a.states = nil
	a.merge(after)
}

// part puts a piece of an expression's text into the output.
func (a *analysis) part(p part, pos int) {
	if p.kind == partText {
		a.text(p.text, pos, false)
		return
	}
	a.reached()
	for i := range a.states {
		switch s := &a.states[i]; s.phase {
		case inValue:
			s.parts = append(s.parts, p)
		case lineStart:
			s.phase = inRest // a name or a line that only rendering can tell
		default:
		}
	}
}

// text puts text into the output: the template's own at offset pos, or what an
// expression there is known to write.
func (a *analysis) text(s string, pos int, own bool) {
	for s != "" {
		a.reached()
		line, rest, newline := strings.Cut(s, "\n")
		for i := range a.states {
			a.states[i] = a.piece(a.states[i], line, pos, own)
			if newline && !(a.states[i].phase == inValue && continues(a.states[i].quote, rest)) {
				a.endValue(&a.states[i])
				a.states[i] = state{}
			} else if newline {
				a.states[i].parts = append(a.states[i].parts, part{text: "\n"})
			}
		}
		states := a.states
		a.states = nil
		a.merge(states)
		if !newline {
			return
		}
		s, pos = rest, pos+len(line)+1
	}
}

// continues tells whether a value whose quote is open goes on in rest: the
// quote is closed there before another assignment begins.
func continues(quote byte, rest string) bool {
	if quote == 0 {
		return false
	}
	end := strings.IndexByte(rest, quote)
	if end < 0 {
		return false
	}
	for _, line := range strings.Split(rest[:end], "\n") {
		if name, _, ok := strings.Cut(line, "="); ok && isName(name) && name == strings.ToUpper(name) {
			return false
		}
	}
	return true
}

// piece puts a part of one line into a state.
func (a *analysis) piece(s state, line string, pos int, own bool) state {
	if s.phase == lineStart {
		if s.head == "" {
			s.at = pos
		}
		eq := strings.IndexByte(line, '=')
		if strings.HasPrefix(trimBlanks(s.head+line), "#") {
			s.phase = inRest
			return s
		}
		if eq < 0 {
			s.head += line
			return s
		}
		head := s.head + line[:eq]
		name := trimBlanks(head)
		if after, ok := strings.CutPrefix(name, "export"); ok && trimBlanks(after) != after {
			name = trimBlanks(after)
		}
		if s.keyed != "" && strings.TrimSpace(head) == "" {
			at, column := a.t.lines.at(pos)
			if !slices.ContainsFunc(a.t.Spreads, func(x Spread) bool { return x.Line == at && x.Path == s.keyed }) {
				a.t.Spreads = append(a.t.Spreads, Spread{Path: s.keyed, Needs: append(slices.Clone(a.needs), s.keyed), Line: at, Column: column})
			}
			s.phase = inRest
			return s
		}
		if !isName(name) {
			s.phase = inRest
			return s
		}
		// The name ends right before the =; a name put together from several
		// texts is placed by its end.
		offset := pos + eq - len(name)
		if len(name) > eq {
			offset = s.at + len(s.head) + eq - len(name)
		}
		s = state{phase: inValue, v: a.variable(name, max(0, offset))}
		line, pos = line[eq+1:], pos+eq+1
	}
	if s.phase == inValue && line != "" {
		if own {
			a.merged(s, line, pos)
		}
		for i := range len(line) {
			s.quote = nextQuote(s.quote, line, i)
		}
		s.parts = append(s.parts, part{text: line})
	}
	return s
}

func nextQuote(open byte, s string, i int) byte {
	c := s[i]
	switch {
	case c != '"' && c != '\'' || i > 0 && s[i-1] == '\\' && open != '\'':
		return open
	case open == c:
		return 0
	case open == 0:
		return c
	}
	return open
}

// merged reports an assignment that begins a line of the template but, because a
// trim marker took the newline away, continues one of the output.
func (a *analysis) merged(s state, line string, pos int) {
	name, _, ok := strings.Cut(trimBlanks(line), "=")
	if !ok || !isName(name) || !startsLine(a.t.src, pos) {
		return
	}
	at, column := a.t.lines.at(pos)
	p := Problem{
		Rule: RuleMergedLines, Variable: name, Line: at, Column: column,
		Message: fmt.Sprintf("a trim marker joins %s to the line of %s", name, s.v.Name),
	}
	if !slices.Contains(a.t.Problems, p) {
		a.t.Problems = append(a.t.Problems, p)
	}
}

// startsLine tells whether only blanks stand before pos in its line.
func startsLine(src string, pos int) bool {
	for pos > 0 && isBlank(src[pos-1]) {
		pos--
	}
	return pos == 0 || src[pos-1] == '\n'
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func trimBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	return s
}
