package python

type exprKind uint8

const (
	exprOpaque exprKind = iota // valid, but nothing that can be known without running it
	exprName
	exprAttr   // args[0].text
	exprCall   // args[0](args[1:]), names gives each argument's keyword, "*" or "**"
	exprIndex  // args[0][args[1]]
	exprTuple  //
	exprList   //
	exprSet    //
	exprDict   // args: key, value, key, value; a nil key is **value
	exprConst  // value
	exprBinary // args[0] text args[1]
	exprUnary  // text args[0]
	exprCond   // args[0] if args[1] else args[2]
	exprLambda // args[0]: the body
	exprStar   // *args[0]
)

type expr struct {
	kind      exprKind
	text      string
	args      []*expr
	names     []string
	value     any
	line, col int32
}

// exprParser reads one expression from tokens; err is the first token it
// cannot place.
type exprParser struct {
	toks  []token
	pos   int
	depth int
	at    token
	err   *Problem
}

// parseExpr reads toks as one expression, or a tuple without brackets; at is
// where the blame goes for no tokens at all.
func parseExpr(toks []token, at token) (*expr, *Problem) {
	p := exprParser{toks: toks, at: at}
	e := p.list()
	if p.err == nil && p.pos < len(toks) {
		p.fail(Refused, "a syntax this reader does not know")
	}
	return e, p.err
}

func (p *exprParser) peek() token {
	if p.pos < len(p.toks) {
		return p.toks[p.pos]
	}
	if n := len(p.toks); n > 0 {
		return token{line: p.toks[n-1].endLine, col: p.toks[n-1].col}
	}
	return token{line: p.at.line, col: p.at.col}
}

func (p *exprParser) take(op string) bool {
	if p.peek().is(op) {
		p.pos++
		return true
	}
	return false
}

func (p *exprParser) takeName(name string) bool {
	if p.peek().named(name) {
		p.pos++
		return true
	}
	return false
}

func (p *exprParser) expect(op string) {
	if !p.take(op) {
		p.fail(Refused, "a syntax this reader does not know")
	}
}

// fail records the first error and ends the input.
func (p *exprParser) fail(kind ProblemKind, message string) {
	if p.err == nil {
		t := p.peek()
		p.err = &Problem{Kind: kind, Line: int(t.line), Column: int(t.col), Message: message}
	}
	p.pos = len(p.toks)
}

func (p *exprParser) enter() bool {
	p.depth++
	if p.depth > maxDepth {
		p.fail(Unread, "an expression is nested too deeply to be read")
		return false
	}
	return true
}

func (p *exprParser) node(kind exprKind, at token, args ...*expr) *expr {
	return &expr{kind: kind, args: args, line: at.line, col: at.col}
}

func (p *exprParser) opaque() *expr { return p.node(exprOpaque, p.peek()) }

// list reads expressions with commas, starred ones included.
func (p *exprParser) list() *expr {
	at := p.peek()
	first := p.starred()
	if !p.peek().is(",") {
		return first
	}
	tuple := p.node(exprTuple, at, first)
	for p.take(",") && p.starts() {
		tuple.args = append(tuple.args, p.starred())
	}
	return tuple
}

// starts tells whether an expression can begin at the next token.
func (p *exprParser) starts() bool {
	t := p.peek()
	switch t.kind {
	case tokNumber, tokString, tokFormat:
		return true
	case tokName:
		switch t.text {
		case "False", "None", "True", "await", "lambda", "not", "yield":
			return true
		}
		return !keyword(t.text)
	case tokOp:
		switch t.text {
		case "(", "[", "{", "-", "+", "~", "*", "...":
			return true
		}
	}
	return false
}

func (p *exprParser) starred() *expr {
	at := p.peek()
	if p.take("*") {
		return p.node(exprStar, at, p.binary(precBitOr))
	}
	return p.named()
}

func (p *exprParser) named() *expr {
	e := p.test()
	if p.take(":=") {
		at := p.peek()
		p.test()
		return p.node(exprOpaque, at)
	}
	return e
}

// test reads a conditional expression, a lambda, or what is below.
func (p *exprParser) test() *expr {
	at := p.peek()
	switch {
	case p.takeName("lambda"):
		return p.lambda(at)
	case p.takeName("yield"):
		if p.takeName("from") || p.starts() {
			p.list()
		}
		return p.node(exprOpaque, at)
	}
	then := p.binary(0)
	if !p.takeName("if") {
		return then
	}
	cond := p.binary(0)
	if !p.takeName("else") {
		p.fail(Refused, "a syntax this reader does not know")
		return then
	}
	if !p.enter() {
		return then
	}
	e := p.node(exprCond, at, then, cond, p.test())
	p.depth--
	return e
}

func (p *exprParser) lambda(at token) *expr {
	for open := 0; ; p.pos++ {
		t := p.peek()
		switch {
		case p.pos >= len(p.toks):
			p.fail(Refused, "a lambda without its colon")
			return p.node(exprOpaque, at)
		case t.is("("), t.is("["), t.is("{"):
			open++
		case t.is(")"), t.is("]"), t.is("}"):
			open--
		case t.named("lambda"): // a default of a parameter that is itself a lambda
			p.fail(Unread, "a syntax this reader does not know")
			return p.node(exprOpaque, at)
		}
		if open == 0 && p.take(":") {
			if !p.enter() {
				return p.opaque()
			}
			e := p.node(exprLambda, at, p.test())
			p.depth--
			return e
		}
	}
}

const (
	precOr = iota
	precAnd
	precNot
	precCompare
	precBitOr
	precBitXor
	precBitAnd
	precShift
	precSum
	precTerm
	precUnary
)

// infix returns the next binary operator with its precedence, or -1.
func (p *exprParser) infix() (op string, prec, size int) {
	t := p.peek()
	switch t.kind {
	case tokName:
		switch t.text {
		case "or":
			return "or", precOr, 1
		case "and":
			return "and", precAnd, 1
		case "in":
			return "in", precCompare, 1
		case "is":
			if p.pos+1 < len(p.toks) && p.toks[p.pos+1].named("not") {
				return "is not", precCompare, 2
			}
			return "is", precCompare, 1
		case "not":
			if p.pos+1 < len(p.toks) && p.toks[p.pos+1].named("in") {
				return "not in", precCompare, 2
			}
		}
	case tokOp:
		switch t.text {
		case "<", ">", "<=", ">=", "==", "!=":
			return t.text, precCompare, 1
		case "|":
			return "|", precBitOr, 1
		case "^":
			return "^", precBitXor, 1
		case "&":
			return "&", precBitAnd, 1
		case "<<", ">>":
			return t.text, precShift, 1
		case "+", "-":
			return t.text, precSum, 1
		case "*", "/", "//", "%", "@":
			return t.text, precTerm, 1
		}
	}
	return "", -1, 0
}

// binary reads operators of at least precedence lowest, all of them
// left-associative.
func (p *exprParser) binary(lowest int) *expr {
	at := p.peek()
	var left *expr
	if lowest <= precNot && at.named("not") {
		p.pos++
		if !p.enter() {
			return p.opaque()
		}
		left = p.node(exprUnary, at, p.binary(precNot))
		left.text = "not"
		p.depth--
	} else {
		left = p.unary()
	}
	for n := 0; ; n++ {
		op, prec, size := p.infix()
		if prec < lowest {
			return left
		}
		if n > maxChain {
			p.fail(Unread, "an expression is too long to be read")
			return left
		}
		p.pos += size
		right := p.binary(prec + 1)
		if prec == precCompare {
			left = p.node(exprOpaque, at)
			continue
		}
		left = p.node(exprBinary, at, left, right)
		left.text = op
	}
}

func (p *exprParser) unary() *expr {
	at := p.peek()
	if at.is("-") || at.is("+") || at.is("~") {
		p.pos++
		if !p.enter() {
			return p.opaque()
		}
		e := p.node(exprUnary, at, p.unary())
		e.text = at.text
		p.depth--
		return e
	}
	awaited := p.takeName("await")
	e := p.postfix(p.atom())
	if p.take("**") {
		if !p.enter() {
			return p.opaque()
		}
		e = p.node(exprBinary, at, e, p.unary())
		e.text = "**"
		p.depth--
	}
	if awaited {
		return p.node(exprOpaque, at)
	}
	return e
}
