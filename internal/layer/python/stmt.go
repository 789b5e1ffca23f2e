package python

type stmtKind uint8

const (
	stmtOther     stmtKind = iota // keywords that declare nothing: pass, return, assert, …
	stmtExpr                      // an expression
	stmtAnnotated                 // name: type, name: type = value
	stmtAssign                    // target = value
	stmtAugmented                 // target += value
	stmtDelete
	stmtImport
	stmtFrom
	stmtType // type X = …
	stmtClass
	stmtDef
	stmtIf
	stmtElif
	stmtElse
	stmtTry
	stmtExcept
	stmtFinally
	stmtWith
	stmtLoop
	stmtMatch
	stmtCase
)

// stmt is a statement: the tokens of its header or of the whole simple
// statement, and its block. The parts of if and try are statements in a row.
type stmt struct {
	kind       stmtKind
	toks       []token
	decorators [][]token
	body       []stmt
}

func (s *stmt) first() token { return s.toks[0] }

func (s *stmt) endLine() int {
	if n := len(s.body); n > 0 {
		return s.body[n-1].endLine()
	}
	return int(s.toks[len(s.toks)-1].endLine)
}

// name returns what a class, a function, a type or an annotation declares.
func (s *stmt) name() token {
	for _, t := range s.toks {
		if t.kind != tokName {
			break
		}
		switch t.text {
		case "async", "class", "def":
			continue
		case "type":
			if s.kind == stmtType {
				s = &stmt{toks: s.toks} // only the first is the keyword
				continue
			}
		}
		return t
	}
	return token{}
}

// stmtParser builds the tree of statements from indentation, keywords and
// colons; the expressions inside stay tokens until somebody asks for them.
type stmtParser struct {
	toks     []token
	pos      int
	problems []Problem
}

func (p *stmtParser) peek() token {
	if p.pos < len(p.toks) {
		return p.toks[p.pos]
	}
	return token{}
}

func (p *stmtParser) report(kind ProblemKind, t token, message string) {
	p.problems = append(p.problems, Problem{Kind: kind, Line: int(t.line), Column: int(t.col), Message: message})
}

// block reads statements up to its Dedent or the end.
func (p *stmtParser) block(depth int) []stmt {
	var out []stmt
	for {
		switch t := p.peek(); t.kind {
		case tokEnd:
			return out
		case tokDedent:
			p.pos++
			if depth > 0 {
				return out
			}
		case tokNewline:
			p.pos++
		case tokIndent:
			p.pos++
			p.report(Refused, t, "unexpected indentation")
			out = append(out, p.nested(t, depth)...)
		default:
			out = p.statement(out, depth)
		}
	}
}

// nested reads the block after an Indent, or skips it where the nesting
// exceeds this reader's limit.
func (p *stmtParser) nested(at token, depth int) []stmt {
	if depth < maxDepth {
		return p.block(depth + 1)
	}
	p.report(Unread, at, "blocks are nested too deeply to be read")
	for open := 1; open > 0 && p.peek().kind != tokEnd; p.pos++ {
		switch p.peek().kind {
		case tokIndent:
			open++
		case tokDedent:
			open--
		}
	}
	return nil
}

func (p *stmtParser) statement(out []stmt, depth int) []stmt {
	var decorators [][]token
	for p.peek().is("@") {
		p.pos++
		decorators = append(decorators, p.line())
	}
	kind, ok := p.compound()
	if !ok {
		if decorators != nil {
			p.report(Refused, p.peek(), "a decorator without a class or a function")
		}
		return p.simple(out)
	}
	from := p.pos
	colon := p.headerColon()
	if colon < 0 {
		p.report(Refused, p.peek(), "a statement without its colon")
		p.line()
		return out
	}
	s := stmt{kind: kind, toks: p.toks[from:colon], decorators: decorators}
	p.pos = colon + 1
	if p.peek().kind != tokNewline {
		s.body = p.simple(nil)
		return append(out, s)
	}
	p.pos++
	if at := p.peek(); at.kind == tokIndent {
		p.pos++
		s.body = p.nested(at, depth)
	} else {
		p.report(Refused, s.first(), "an indented block is missing")
	}
	return append(out, s)
}

// compound tells which statement with a block begins here.
func (p *stmtParser) compound() (stmtKind, bool) {
	t := p.peek()
	if t.kind != tokName {
		return 0, false
	}
	switch t.text {
	case "class":
		return stmtClass, true
	case "def":
		return stmtDef, true
	case "if":
		return stmtIf, true
	case "elif":
		return stmtElif, true
	case "else":
		return stmtElse, true
	case "try":
		return stmtTry, true
	case "except":
		return stmtExcept, true
	case "finally":
		return stmtFinally, true
	case "with":
		return stmtWith, true
	case "for", "while":
		return stmtLoop, true
	case "async":
		if p.pos+1 < len(p.toks) {
			switch p.toks[p.pos+1].text {
			case "def":
				return stmtDef, true
			case "for":
				return stmtLoop, true
			case "with":
				return stmtWith, true
			}
		}
	case "match", "case":
		if !p.soft(t.text) {
			return 0, false
		}
		if t.text == "match" {
			return stmtMatch, true
		}
		return stmtCase, true
	}
	return 0, false
}

// soft tells whether match or case, which are also ordinary names, begin a
// statement here: a header has a subject before its colon.
func (p *stmtParser) soft(word string) bool {
	next := p.toks[p.pos+1]
	if next.kind == tokNewline || next.kind == tokOp && !next.is("(") && !next.is("[") && !next.is("{") &&
		!next.is("-") && !next.is("*") && !next.is("~") && !next.is("...") {
		return false
	}
	colon := p.headerColon()
	if colon < 0 || colon == p.pos+1 {
		return false
	}
	after := p.toks[colon+1].kind
	if word == "match" {
		// match takes its cases on lines of their own; match[x]: int does not.
		return after == tokNewline && colon+2 < len(p.toks) && p.toks[colon+2].kind == tokIndent
	}
	if after == tokNewline {
		return colon+2 < len(p.toks) && p.toks[colon+2].kind == tokIndent
	}
	return !next.is("[") && !next.is("(") // case[x]: int annotates a subscript
}

// headerColon returns the index of the colon that ends the header that begins
// at pos, or -1.
func (p *stmtParser) headerColon() int {
	open, lambdas := 0, 0
	for i := p.pos; i < len(p.toks); i++ {
		t := p.toks[i]
		switch t.kind {
		case tokNewline, tokEnd:
			return -1
		case tokName:
			if open == 0 && t.text == "lambda" {
				lambdas++
			}
		case tokOp:
			switch t.text {
			case "(", "[", "{":
				open++
			case ")", "]", "}":
				open--
			case ":":
				if open != 0 {
					continue
				}
				if lambdas == 0 {
					return i
				}
				lambdas--
			}
		}
	}
	return -1
}

// line returns the tokens up to the end of the logical line and passes it.
func (p *stmtParser) line() []token {
	from := p.pos
	for k := p.peek().kind; k != tokNewline && k != tokEnd; k = p.peek().kind {
		p.pos++
	}
	line := p.toks[from:p.pos]
	if p.peek().kind == tokNewline {
		p.pos++
	}
	return line
}

// simple appends the statements of one line.
func (p *stmtParser) simple(out []stmt) []stmt {
	line := p.line()
	from, open := 0, 0
	for i := 0; i <= len(line); i++ {
		if i < len(line) {
			if line[i].kind != tokOp {
				continue
			}
			switch line[i].text {
			case "(", "[", "{":
				open++
			case ")", "]", "}":
				open--
			}
			if open != 0 || line[i].text != ";" {
				continue
			}
		}
		if from < i {
			out = append(out, stmt{kind: classify(line[from:i]), toks: line[from:i]})
		}
		from = i + 1
	}
	return out
}

// classify names a simple statement.
func classify(toks []token) stmtKind {
	t := toks[0]
	if t.kind == tokName {
		switch t.text {
		case "import":
			return stmtImport
		case "from":
			return stmtFrom
		case "del":
			return stmtDelete
		case "assert", "break", "continue", "global", "nonlocal", "pass", "raise", "return":
			return stmtOther
		case "type":
			if len(toks) > 2 && toks[1].kind == tokName && (toks[2].is("=") || toks[2].is("[")) {
				return stmtType
			}
		}
		if len(toks) > 1 && toks[1].is(":") && !keyword(t.text) {
			return stmtAnnotated
		}
	}
	open, lambda := 0, false
	for _, t := range toks {
		switch {
		case t.named("lambda"):
			lambda = true
		case t.kind != tokOp:
		case t.text == "(" || t.text == "[" || t.text == "{":
			open++
		case t.text == ")" || t.text == "]" || t.text == "}":
			open--
		case open > 0 || lambda:
		case t.text == "=":
			return stmtAssign
		case t.text == ":":
			return stmtOther // an annotation of an attribute, a subscript or a bracketed name
		case len(t.text) > 1 && t.text[len(t.text)-1] == '=' && t.text != "==" && t.text != "!=" && t.text != "<=" && t.text != ">=" && t.text != ":=":
			return stmtAugmented
		}
	}
	return stmtExpr
}

// keyword tells whether word can never be a name.
func keyword(word string) bool {
	switch word {
	case "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
		"elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
		"not", "or", "pass", "raise", "return", "try", "while", "with", "yield":
		return true
	}
	return false
}
