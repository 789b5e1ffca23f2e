package python

// class records a class statement with its bases and the classes inside it.
func (r *reader) class(st *stmt, s *scope, depth int) {
	name := st.name()
	c := &class{
		name: name.text, stmt: st, line: int(st.first().line), items: make([]item, 0, len(st.body)),
		scope: &scope{outer: s, names: make(map[string]*binding, len(st.body)), class: true},
	}
	if call := r.classCall(st); call != nil {
		for i, arg := range call.args[1:] {
			kw := call.names[i+1]
			switch {
			case kw == "":
				b := base{line: int(arg.line), col: int(arg.col)}
				if arg.kind == exprIndex { // Base[T]
					arg = arg.args[0]
				}
				if b.class = r.classOf(arg, s); b.class != nil {
					b.name = b.class.name
					b.class.heirs++
				} else {
					b.full = r.dotted(arg, s)
					b.name = last(b.full)
				}
				c.bases = append(c.bases, b)
			case kw != "*":
				if c.kwargs == nil {
					c.kwargs = map[string]*expr{}
				}
				c.kwargs[kw] = arg
			default:
				c.bases = append(c.bases, base{line: int(arg.line), col: int(arg.col)})
			}
		}
	}
	r.collect(st.body, c.scope, depth+1)
	r.body(c, st.body, false)
	r.classes = append(r.classes, c)
	s.bind(name.text, &binding{kind: bindClass, class: c, scope: s})
}

// classCall parses Name(bases, keywords) out of a class header; nil without
// bases.
func (r *reader) classCall(st *stmt) *expr {
	toks := st.toks[1:]
	if len(toks) > 1 && toks[1].is("[") { // type parameters
		open, i := 0, 1
		for ; i < len(toks); i++ {
			if toks[i].is("[") {
				open++
			} else if toks[i].is("]") {
				if open--; open == 0 {
					break
				}
			}
		}
		toks = append([]token{toks[0]}, toks[min(i+1, len(toks)):]...)
	}
	if len(toks) < 2 {
		return nil
	}
	e, problem := parseExpr(toks, st.first())
	if problem != nil {
		r.report(*problem)
		return nil
	}
	if e.kind != exprCall {
		return nil
	}
	return e
}

// body lists what a class body declares; blocks are entered as Python would,
// and where only the run decides which, all of them are.
func (r *reader) body(c *class, body []stmt, unsure bool) {
	taken := false // a branch of the current if chain is certain
	for i := range body {
		st := &body[i]
		switch st.kind {
		case stmtAnnotated:
			ann, value := cutAssign(st.toks[2:])
			c.items = append(c.items, item{stmt: st, name: st.first().text, at: st.first(), ann: ann, value: value, kind: stmtAnnotated, unsure: unsure, doc: docAfter(body, i)})
		case stmtAssign:
			targets, value := assignment(st.toks)
			for _, t := range targets {
				if len(t) > 0 {
					c.items = append(c.items, item{stmt: st, name: plainName(t), at: t[0], value: value, kind: stmtAssign, unsure: unsure})
				}
			}
		case stmtAugmented, stmtDelete, stmtExpr:
			c.items = append(c.items, item{stmt: st, at: st.first(), kind: st.kind, unsure: unsure})
		case stmtClass, stmtDef:
			c.items = append(c.items, item{stmt: st, name: st.name().text, at: st.first(), kind: st.kind, unsure: unsure})
		case stmtIf, stmtElif:
			if st.kind == stmtIf {
				taken = false
			}
			known, truth := r.condition(st.toks[1:], c.scope)
			if taken || known && !truth {
				continue
			}
			taken = known && truth
			r.body(c, st.body, unsure || !known)
		case stmtElse:
			if taken {
				continue
			}
			after := i > 0 && (body[i-1].kind == stmtIf || body[i-1].kind == stmtElif)
			sure := after && r.decided(body[:i], c.scope)
			r.body(c, st.body, unsure || !sure)
		case stmtTry, stmtWith, stmtFinally:
			r.body(c, st.body, unsure)
		case stmtExcept, stmtLoop, stmtMatch, stmtCase:
			r.body(c, st.body, true)
		}
		if st.kind != stmtIf && st.kind != stmtElif {
			taken = false
		}
	}
}

// decided tells whether every condition of the if chain that ends body is
// known, so that its else is as certain as what surrounds it.
func (r *reader) decided(body []stmt, s *scope) bool {
	for i := len(body) - 1; i >= 0 && (body[i].kind == stmtIf || body[i].kind == stmtElif); i-- {
		if known, _ := r.condition(body[i].toks[1:], s); !known {
			return false
		}
		if body[i].kind == stmtIf {
			break
		}
	}
	return true
}

// condition evaluates what needs no run: constants and TYPE_CHECKING, which
// is false when a program runs.
func (r *reader) condition(toks []token, s *scope) (known, truth bool) {
	e, problem := parseExpr(toks, token{})
	if problem != nil {
		return false, false
	}
	negate := false
	for e.kind == exprUnary && e.text == "not" {
		negate, e = !negate, e.args[0]
	}
	if r.known(e, s) == "TYPE_CHECKING" {
		return true, negate
	}
	v, ok := r.eval(e, s, 0)
	if !ok {
		return false, false
	}
	truth, ok = truthy(v)
	return ok, truth != negate
}

// docAfter returns the string literal that follows statement i.
func docAfter(body []stmt, i int) string {
	if i+1 >= len(body) || body[i+1].kind != stmtExpr || body[i+1].first().kind != tokString {
		return ""
	}
	e, problem := parseExpr(body[i+1].toks, token{})
	if problem != nil {
		return ""
	}
	text, _ := e.value.(string)
	return text
}

func plainName(target []token) string {
	if len(target) == 1 && target[0].kind == tokName {
		return target[0].text
	}
	return ""
}
