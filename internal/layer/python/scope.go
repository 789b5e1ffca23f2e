package python

import "strings"

type bindKind uint8

const (
	bindImport bindKind = iota // dotted says of what
	bindClass
	bindValue // X = expression
	bindAlias // type X = expression
	bindDef
	bindOther // a name that is there, but not as any of these
)

// binding is what a name stands for in a scope.
type binding struct {
	kind      bindKind
	dotted    string
	class     *class
	stmt      *stmt
	toks      []token
	expr      *expr
	scope     *scope // where its expression is evaluated
	ambiguous bool   // bound more than once: its value depends on the run
}

type scope struct {
	outer *scope
	names map[string]*binding
	class bool
	stars bool // from x import *
}

// lookup finds name as Python does: here, then outwards past class bodies.
func (s *scope) lookup(name string) *binding {
	for first := true; s != nil; s, first = s.outer, false {
		if s.class && !first {
			continue
		}
		if b := s.names[name]; b != nil {
			return b
		}
	}
	return nil
}

// bind records a name; a second binding makes a value ambiguous, but an import
// tried twice (pydantic_settings, else pydantic) keeps the newer library.
func (s *scope) bind(name string, b *binding) {
	if old := s.names[name]; old != nil {
		if old.kind == bindImport && b.kind == bindImport && strings.HasPrefix(old.dotted, "pydantic_settings.") {
			return
		}
		b.ambiguous = b.kind != bindImport
	}
	s.names[name] = b
}

// value returns the expression of a binding, parsed once.
func (r *reader) value(b *binding) *expr {
	if b.expr == nil && b.toks != nil {
		e, problem := parseExpr(b.toks, token{})
		if problem != nil {
			e = &expr{kind: exprOpaque}
		}
		b.expr = e
	}
	return b.expr
}

// class is any class of the file; which of them are settings is asked later.
type class struct {
	name   string
	stmt   *stmt
	scope  *scope // its body
	line   int
	bases  []base
	kwargs map[string]*expr
	items  []item
	heirs  int // how often it is named as a base

	mro   []*class
	state visit
	gen   int     // 1 + generation, 0 before it is asked for
	decls []*decl // of its own body
	all   []*decl // with those of its bases
	conf  *config
	enum  []member
}

type visit uint8

const (
	visitNone visit = iota
	visitBusy
	visitDone
)

type base struct {
	class *class // of this file, else nil
	name  string // the last part of its imported name
	full  string
	line  int
	col   int
}

// item is what a class body declares, in order.
type item struct {
	stmt   *stmt
	name   string
	at     token
	ann    []token
	value  []token
	doc    string // the string that follows
	kind   stmtKind
	unsure bool // under a condition that only the run decides
}

// collect walks statements, binds their names in s and gathers classes;
// function bodies are walked for the classes in them.
func (r *reader) collect(body []stmt, s *scope, depth int) {
	for i := range body {
		st := &body[i]
		switch st.kind {
		case stmtImport, stmtFrom:
			imports(st, s)
		case stmtClass:
			r.class(st, s, depth)
			continue
		case stmtDef:
			s.bind(st.name().text, &binding{kind: bindDef, stmt: st, scope: s})
			inner := &scope{outer: s, names: map[string]*binding{}}
			r.collect(st.body, inner, depth+1)
			continue
		case stmtAnnotated:
			if _, value := cutAssign(st.toks[2:]); value != nil {
				s.bind(st.first().text, &binding{kind: bindValue, toks: value, scope: s})
			}
		case stmtAssign:
			targets, value := assignment(st.toks)
			for _, t := range targets {
				if len(t) == 1 && t[0].kind == tokName {
					s.bind(t[0].text, &binding{kind: bindValue, toks: value, scope: s})
					continue
				}
				for _, each := range t {
					if each.kind == tokName && (t[len(t)-1].is(")") || len(t) > 1 && t[1].is(",")) {
						s.bind(each.text, &binding{kind: bindOther, scope: s})
					}
				}
			}
		case stmtAugmented, stmtDelete:
			for _, t := range st.toks[:min(2, len(st.toks))] {
				if b := s.names[t.text]; b != nil {
					b.ambiguous = true
				}
			}
		case stmtType:
			if _, value := cutAssign(st.toks); value != nil {
				s.bind(st.name().text, &binding{kind: bindAlias, toks: value, scope: s})
			}
		}
		r.collect(st.body, s, depth)
	}
}

// imports binds the names of an import statement.
func imports(st *stmt, s *scope) {
	toks := st.toks[1:]
	module := ""
	if st.kind == stmtFrom {
		for len(toks) > 0 && !toks[0].named("import") {
			module += toks[0].text
			toks = toks[1:]
		}
		if len(toks) == 0 {
			return
		}
		toks = toks[1:]
		module += "."
	}
	for len(toks) > 0 {
		dotted := ""
		for len(toks) > 0 && (toks[0].is("(") || toks[0].is(")") || toks[0].is(",")) {
			toks = toks[1:]
		}
		for len(toks) > 0 && !toks[0].is(",") && !toks[0].is(")") && !toks[0].named("as") {
			dotted += toks[0].text
			toks = toks[1:]
		}
		if dotted == "*" {
			s.stars = true
			continue
		}
		if len(toks) == 1 && toks[0].named("as") {
			return // cut off, which is no statement of Python's
		}
		if len(toks) > 1 && toks[0].named("as") {
			s.bind(toks[1].text, &binding{kind: bindImport, dotted: module + dotted, scope: s})
			toks = toks[2:]
			continue
		}
		if st.kind == stmtImport { // import a.b binds a
			dotted, _, _ = strings.Cut(dotted, ".")
		}
		if dotted != "" {
			s.bind(dotted, &binding{kind: bindImport, dotted: module + dotted, scope: s})
		}
	}
}

// cutAssign splits at the first = outside brackets; value is nil without one.
func cutAssign(toks []token) (before, value []token) {
	open := 0
	for i, t := range toks {
		if t.kind != tokOp {
			continue
		}
		switch t.text {
		case "(", "[", "{":
			open++
		case ")", "]", "}":
			open--
		case "=":
			if open == 0 {
				return toks[:i], toks[i+1:]
			}
		}
	}
	return toks, nil
}

// assignment splits a = b = value; a lambda's parameters are not targets.
func assignment(toks []token) (targets [][]token, value []token) {
	for {
		before, rest := cutAssign(toks)
		if rest == nil {
			return targets, toks
		}
		for _, t := range before {
			if t.named("lambda") {
				return targets, toks
			}
		}
		targets = append(targets, before)
		toks = rest
	}
}

// dotted returns the full imported name of e ("pydantic.Field"), the name
// itself for one that nothing in the file binds, and "" for all else.
func (r *reader) dotted(e *expr, s *scope) string {
	for range maxDepth {
		switch e.kind {
		case exprName:
			b := s.lookup(e.text)
			switch {
			case b == nil:
				return e.text
			case b.kind == bindImport:
				return b.dotted
			case b.kind == bindValue && !b.ambiguous:
				next := r.value(b)
				if next == nil || next.kind != exprName && next.kind != exprAttr {
					return ""
				}
				if s = b.scope; next.kind == exprName && next.text == e.text {
					s = s.outer // X = X in a class means the X outside
				}
				e = next
				if s == nil {
					return ""
				}
				continue
			}
			return ""
		case exprAttr:
			parts := []string{e.text}
			for e = e.args[0]; e.kind == exprAttr; e = e.args[0] {
				parts = append(parts, e.text)
			}
			if e.kind != exprName {
				return ""
			}
			name := e.text
			if b := s.lookup(e.text); b != nil {
				if b.kind != bindImport {
					return ""
				}
				name = b.dotted
			}
			for i := len(parts) - 1; i >= 0; i-- {
				name += "." + parts[i]
			}
			return name
		default:
			return ""
		}
	}
	return ""
}

// known returns the last part of e's imported or builtin name.
func (r *reader) known(e *expr, s *scope) string { return last(r.dotted(e, s)) }

func last(dotted string) string { return dotted[strings.LastIndexByte(dotted, '.')+1:] }

// classOf returns the class of this file that e names, or nil.
func (r *reader) classOf(e *expr, s *scope) *class { return r.classWithin(e, s, maxDepth) }

// classWithin follows at most depth names: X = X.Y may lead to itself.
func (r *reader) classWithin(e *expr, s *scope, depth int) *class {
	for ; depth > 0; depth-- {
		switch e.kind {
		case exprName:
			b := s.lookup(e.text)
			switch {
			case b == nil:
				return nil
			case b.kind == bindClass:
				return b.class
			case b.kind == bindValue && !b.ambiguous:
				next := r.value(b)
				if next == nil || next.kind != exprName && next.kind != exprAttr {
					return nil
				}
				if s = b.scope; root(next).text == e.text {
					s = s.outer // X = X in a class means the X outside
				}
				if e = next; s == nil {
					return nil
				}
				continue
			}
			return nil
		case exprAttr: // Outer.Inner
			outer := r.classOfName(e.args[0], s, depth-1)
			if outer == nil {
				return nil
			}
			if b := outer.scope.names[e.text]; b != nil && b.kind == bindClass {
				return b.class
			}
			return nil
		default:
			return nil
		}
	}
	return nil
}

// root returns the leftmost name of a.b.c, or what stands in its place.
func root(e *expr) *expr {
	for e.kind == exprAttr {
		e = e.args[0]
	}
	return e
}

// classOfName is classOf for the left side of an attribute: names and one
// level of attributes are enough, and keep the search bounded.
func (r *reader) classOfName(e *expr, s *scope, depth int) *class {
	var path []string
	for e.kind == exprAttr {
		path = append(path, e.text)
		e = e.args[0]
	}
	if e.kind != exprName {
		return nil
	}
	c := r.classWithin(e, s, depth)
	for i := len(path) - 1; c != nil && i >= 0; i-- {
		b := c.scope.names[path[i]]
		if b == nil || b.kind != bindClass {
			return nil
		}
		c = b.class
	}
	return c
}
