package python

import (
	"strings"
	"unicode/utf8"
)

func (p *exprParser) postfix(e *expr) *expr {
	for n := 0; ; n++ {
		at := p.peek()
		if n > maxChain {
			p.fail(Unread, "an expression is too long to be read")
			return e
		}
		switch {
		case at.kind != tokOp:
			return e
		case p.take("."):
			t := p.peek()
			if t.kind != tokName {
				p.fail(Refused, "a name must follow the dot")
				return e
			}
			p.pos++
			e = &expr{kind: exprAttr, text: t.text, args: []*expr{e}, line: e.line, col: e.col}
		case p.take("("):
			e = p.call(e)
		case p.take("["):
			e = &expr{kind: exprIndex, args: []*expr{e, p.subscript(at)}, line: e.line, col: e.col}
		default:
			return e
		}
	}
}

func (p *exprParser) call(f *expr) *expr {
	var room struct { // for the call and most lists of arguments at once
		expr  expr
		args  [6]*expr
		names [6]string
	}
	c := &room.expr
	*c = expr{kind: exprCall, args: append(room.args[:0], f), names: append(room.names[:0], ""), line: f.line, col: f.col}
	if !p.enter() {
		return c
	}
	defer func() { p.depth-- }()
	for p.err == nil && !p.take(")") {
		name := ""
		t := p.peek()
		switch {
		case p.take("*"):
			name = "*"
		case p.take("**"):
			name = "**"
		case t.kind == tokName && p.pos+1 < len(p.toks) && p.toks[p.pos+1].is("="):
			name = t.text
			p.pos += 2
		}
		arg := p.named()
		if next := p.peek(); next.named("for") || next.named("async") {
			p.skipTo()
			arg = p.node(exprOpaque, t)
		}
		c.args, c.names = append(c.args, arg), append(c.names, name)
		if !p.take(",") && !p.peek().is(")") {
			p.fail(Refused, "a syntax this reader does not know")
		}
	}
	return c
}

func (p *exprParser) subscript(at token) *expr {
	if !p.enter() {
		return p.opaque()
	}
	defer func() { p.depth-- }()
	from := p.pos
	if p.starts() {
		e := p.list()
		if p.take("]") {
			return e
		}
	}
	p.pos = from // a slice
	p.skipTo()
	p.expect("]")
	return p.node(exprOpaque, at)
}

// skipTo passes tokens up to the bracket that closes the innermost open one.
func (p *exprParser) skipTo() {
	for open := 0; p.pos < len(p.toks); p.pos++ {
		switch t := p.peek(); {
		case t.kind != tokOp:
		case t.text == "(" || t.text == "[" || t.text == "{":
			open++
		case t.text == ")" || t.text == "]" || t.text == "}":
			if open == 0 {
				return
			}
			open--
		}
	}
}

func (p *exprParser) atom() *expr {
	t := p.peek()
	switch t.kind {
	case tokNumber:
		p.pos++
		if v, ok := number(t.text); ok {
			return &expr{kind: exprConst, value: v, line: t.line, col: t.col}
		}
		return p.node(exprOpaque, t)
	case tokString, tokFormat:
		return p.strings(t)
	case tokName:
		switch t.text {
		case "None", "True", "False":
			p.pos++
			e := p.node(exprConst, t)
			if t.text != "None" {
				e.value = t.text == "True"
			}
			return e
		}
		if !keyword(t.text) {
			p.pos++
			return &expr{kind: exprName, text: t.text, line: t.line, col: t.col}
		}
	case tokOp:
		if p.take("...") {
			return &expr{kind: exprConst, value: ellipsis{}, line: t.line, col: t.col}
		}
		if t.text == "(" || t.text == "[" || t.text == "{" {
			if !p.enter() {
				return p.opaque()
			}
			p.pos++
			e := p.display(t)
			p.depth--
			return e
		}
	}
	p.fail(Refused, "a syntax this reader does not know")
	return p.opaque()
}

// display reads what stands in brackets: a group, a tuple, a list, a set, a
// dict, or a comprehension, which is opaque.
func (p *exprParser) display(open token) *expr {
	closing, kind := ")", exprTuple
	switch open.text {
	case "[":
		closing, kind = "]", exprList
	case "{":
		closing, kind = "}", exprDict
	}
	e := p.node(kind, open)
	if p.take(closing) {
		return e
	}
	for first := true; p.err == nil; first = false {
		comma := false
		switch {
		case open.text == "{" && p.take("**"):
			e.args = append(e.args, nil, p.binary(precBitOr))
		default:
			item := p.starred()
			if open.text == "{" && p.take(":") {
				e.args = append(e.args, item, p.test())
				break
			}
			if open.text == "{" {
				if first {
					e.kind = exprSet
				} else if e.kind == exprDict {
					p.fail(Refused, "a syntax this reader does not know")
				}
			}
			e.args = append(e.args, item)
		}
		if next := p.peek(); first && (next.named("for") || next.named("async")) {
			p.skipTo()
			p.expect(closing)
			return p.node(exprOpaque, open)
		}
		comma = p.take(",")
		if p.take(closing) {
			if open.text == "(" && first && !comma && e.args[0].kind != exprStar {
				return e.args[0]
			}
			return e
		}
		if !comma {
			p.fail(Refused, "a syntax this reader does not know")
		}
	}
	return e
}

// strings joins adjacent string tokens.
func (p *exprParser) strings(at token) *expr {
	e := p.node(exprConst, at)
	first, more := "", strings.Builder{}
	known, asBytes := true, false
	for n := 0; ; n++ {
		t := p.peek()
		if t.kind == tokFormat {
			if body := t.text; strings.ContainsAny(body, "{}") || strings.ContainsAny(body[:strings.IndexAny(body, `"'`)], "tT") {
				known = false
			}
		} else if t.kind != tokString {
			break
		}
		text, isBytes, ok := literal(t.text)
		if n > 0 && isBytes != asBytes {
			p.fail(Refused, "bytes and text cannot be joined")
			return e
		}
		asBytes = isBytes
		known = known && ok
		if n == 0 {
			first = text
		} else {
			more.WriteString(text)
		}
		p.pos++
	}
	joined := first
	if more.Len() > 0 {
		joined += more.String()
	}
	switch {
	case !known || asBytes && !utf8.ValidString(joined):
		e.kind = exprOpaque
	case asBytes:
		e.value = byteText(joined)
	default:
		e.value = joined
	}
	return e
}
