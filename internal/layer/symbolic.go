package layer

import (
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

// Symbolic values: what an expression can be, without store or environment.

type partKind int

const (
	partText   partKind = iota // text
	partEnv                    // env "text"
	partKey                    // a store key
	partOpaque                 // computed from inputs and envs
)

// part is a piece of a text.
type part struct {
	kind   partKind
	text   string
	inputs []Input  // of partKey one, of partOpaque any
	envs   []string // of partOpaque
	quoted string   // how it is quoted: "%q", "shquote"
}

type altKind int

const (
	altText     altKind = iota
	altSecret           // what secret returns
	altData             // .Data
	altValues           // .Data.data
	altMetadata         // .Data.metadata
	altRangeKey         // a key of .Data.data in a range
)

// alt is one thing an expression can be.
type alt struct {
	kind  altKind
	parts []part // of a text
	path  string // of the others: the pattern
}

type value []alt

const maxAlts = 16

func text(s string) value { return value{{parts: []part{{text: s}}}} }

func opaque(args ...value) value {
	p := part{kind: partOpaque}
	for _, v := range args {
		in, envs := v.depends()
		p.inputs, p.envs = append(p.inputs, in...), append(p.envs, envs...)
	}
	return value{{parts: []part{p}}}
}

func (v value) depends() (inputs []Input, envs []string) {
	for _, a := range v {
		if a.kind != altText && a.kind != altSecret {
			inputs = append(inputs, Input{Path: a.path})
		}
		for _, p := range a.parts {
			inputs = append(inputs, p.inputs...)
			if p.kind == partEnv {
				envs = append(envs, p.text)
			}
			envs = append(envs, p.envs...)
		}
	}
	return inputs, envs
}

// anyPath stands for all paths in what something depends on.
const anyPath = ""

// paths appends the patterns of the paths that v depends on.
func (v value) paths(to []string) []string {
	for _, a := range v {
		if a.kind != altText {
			to = append(to, a.path)
		}
		for _, p := range a.parts {
			to = p.paths(to)
		}
	}
	return to
}

func (p part) paths(to []string) []string {
	if p.kind == partOpaque && len(p.inputs)+len(p.envs) == 0 {
		return append(to, anyPath)
	}
	for _, in := range p.inputs {
		to = append(to, in.Path)
	}
	return to
}

func (v value) isSecret() bool {
	return len(v) > 0 && !slices.ContainsFunc(v, func(a alt) bool { return a.kind != altSecret })
}

// condition says what a branch on v depends on.
func (v value) condition() Condition {
	if v.isSecret() {
		return Always
	}
	env, opaque := false, false
	for _, a := range v {
		if a.kind != altText && a.kind != altSecret {
			return ByStore
		}
		for _, p := range a.parts {
			if len(p.inputs) > 0 {
				return ByStore
			}
			env = env || p.kind == partEnv || len(p.envs) > 0
			opaque = opaque || p.kind == partOpaque
		}
	}
	switch {
	case env:
		return ByEnv
	case opaque:
		return ByStore
	}
	return Always
}

func (a alt) same(b alt) bool {
	return a.kind == b.kind && a.path == b.path && sameParts(a.parts, b.parts)
}

// sameParts tells whether two texts are put together alike, wherever that is
// written.
func sameParts(a, b []part) bool {
	return slices.EqualFunc(a, b, func(p, q part) bool {
		return p.kind == q.kind && p.text == q.text && p.quoted == q.quoted && slices.Equal(p.envs, q.envs) &&
			slices.EqualFunc(p.inputs, q.inputs, func(x, y Input) bool { return x.Path == y.Path && x.Key == y.Key })
	})
}

// is tells whether v and w are one list.
func (v value) is(w value) bool { return len(v) == len(w) && (len(v) == 0 || &v[0] == &w[0]) }

// union returns the alternatives of all, each once.
func union(vs ...value) value {
	if len(vs) == 1 {
		return vs[0]
	}
	var out value
	for _, v := range vs {
		for _, a := range v {
			if len(out) < maxAlts && !slices.ContainsFunc(out, a.same) {
				out = append(out, a)
			}
		}
	}
	return out
}

// literal returns the text that v always is.
func (v value) literal() (string, bool) {
	if len(v) != 1 || v[0].kind != altText {
		return "", false
	}
	return literalText(v[0].parts)
}

func literalText(ps []part) (string, bool) {
	if len(ps) == 1 {
		return ps[0].text, ps[0].kind == partText
	}
	var b strings.Builder
	for _, p := range ps {
		if p.kind != partText {
			return "", false
		}
		b.WriteString(p.text)
	}
	return b.String(), true
}

// binding is a template variable.
type binding struct {
	name  string
	value value
}

// pipe evaluates a pipeline; its declarations take effect.
func (a *analysis) pipe(p *parse.PipeNode, dot value) value {
	var v value
	for i, c := range p.Cmds {
		var last *value
		if i > 0 {
			last = &v
		}
		v = a.command(c, dot, last)
	}
	for _, d := range p.Decl {
		if p.IsAssign {
			a.assign(d.Ident[0], v)
		} else {
			a.vars = append(a.vars, binding{d.Ident[0], v})
		}
	}
	return v
}

func (a *analysis) assign(name string, v value) {
	a.always = append(a.always, a.needs...)
	for i := len(a.vars) - 1; i >= 0; i-- {
		if a.vars[i].name == name {
			a.set(i, v)
			return
		}
	}
}

// set gives a variable a value. Others may hold the list of them as it was.
func (a *analysis) set(i int, v value) {
	a.vars = slices.Clone(a.vars)
	a.vars[i].value = v
}

func (a *analysis) command(c *parse.CommandNode, dot value, last *value) value {
	id, isCall := c.Args[0].(*parse.IdentifierNode)
	if !isCall {
		return a.operand(c.Args[0], dot)
	}
	args := make([]value, 0, len(c.Args))
	for _, n := range c.Args[1:] {
		args = append(args, a.operand(n, dot))
	}
	if last != nil {
		args = append(args, *last)
	}
	return a.call(id, args)
}

func (a *analysis) operand(n parse.Node, dot value) value {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return a.fields(dot, n.Ident, n.Pos)
	case *parse.VariableNode:
		for i := len(a.vars) - 1; i >= 0; i-- {
			if a.vars[i].name == n.Ident[0] {
				return a.fields(a.vars[i].value, n.Ident[1:], n.Pos)
			}
		}
		return opaque()
	case *parse.ChainNode:
		return a.fields(a.operand(n.Node, dot), n.Field, n.Pos)
	case *parse.PipeNode:
		return a.pipe(n, dot)
	case *parse.IdentifierNode:
		return a.call(n, nil)
	case *parse.StringNode:
		return text(n.Text)
	case *parse.NumberNode:
		return text(n.Text)
	case *parse.BoolNode:
		return text(n.String())
	}
	return opaque()
}

// fields follows .Data.data.KEY.
func (a *analysis) fields(v value, names []string, pos parse.Pos) value {
	if len(names) == 0 {
		return v
	}
	v = slices.Clone(v)
	for _, name := range names {
		for i, x := range v {
			switch {
			case x.kind == altSecret && name == "Data":
				v[i] = alt{kind: altData, path: x.path}
			case x.kind == altData && name == "data":
				v[i] = alt{kind: altValues, path: x.path}
			case x.kind == altData && name == "metadata":
				v[i] = alt{kind: altMetadata, path: x.path}
			case x.kind == altValues:
				v[i] = a.key(x.path, name, pos)
			case x.kind == altMetadata || x.kind == altData:
				v[i] = opaque(value{{kind: altMetadata, path: x.path}})[0]
			default:
				v[i] = opaque(value{x})[0]
			}
		}
	}
	return v
}

// key reads a key of a path.
func (a *analysis) key(path, key string, pos parse.Pos) alt {
	line, column := a.t.lines.at(int(pos))
	in := Input{Path: path, Key: key, Line: line, Column: column}
	a.inputs = append(a.inputs, in)
	return alt{parts: []part{{kind: partKey, inputs: []Input{in}}}}
}

func (a *analysis) call(id *parse.IdentifierNode, args []value) value {
	arg := func(i int) value {
		if i < len(args) {
			return args[i]
		}
		return opaque()
	}
	switch id.Ident {
	case "secret":
		return a.secret(arg(0), id.Pos)
	case "env", "mustEnv":
		return a.env(arg(0))
	case "envOrDefault":
		return union(a.env(arg(0)), arg(1))
	case "or":
		return union(args...)
	case "and":
		if len(args) == 0 {
			return opaque()
		}
		return args[len(args)-1]
	case "index":
		return a.index(args, id.Pos)
	case "printf":
		return sprintf(args)
	case "print":
		return a.join(args)
	case "println":
		if len(args) == 1 {
			return concat(args[0], text("\n"))
		}
		return concat(opaque(args...), text("\n"))
	case "shquote", "toJSON", "toUnescapedJSON":
		return quoteAll(arg(0), id.Ident)
	}
	return opaque(args...)
}

func (a *analysis) env(name value) value {
	if s, ok := name.literal(); ok {
		a.envs = append(a.envs, s)
		return value{{parts: []part{{kind: partEnv, text: s}}}}
	}
	return opaque(name)
}

func (a *analysis) index(args []value, pos parse.Pos) value {
	if len(args) < 2 {
		return opaque(args...)
	}
	v := args[0]
	for _, k := range args[1:] {
		name, ok := k.literal()
		if !ok {
			return opaque(args...)
		}
		v = a.fields(v, []string{name}, pos)
	}
	return v
}

// join returns the texts of args one after the other.
func (a *analysis) join(args []value) value {
	out := value{{}}
	for _, v := range args {
		out = concat(out, v)
	}
	return out
}

// concat returns every text of v followed by every text of w.
func concat(v, w value) value {
	out := make(value, 0, min(maxAlts, len(v)*len(w)))
	for _, x := range v {
		for _, y := range w {
			if len(out) == maxAlts {
				return out
			}
			parts := y.texts()
			if len(x.parts) > 0 {
				parts = slices.Concat(x.parts, parts)
			}
			out = append(out, alt{parts: parts})
		}
	}
	return out
}

// texts returns the parts of an alternative when it is printed.
func (a alt) texts() []part {
	if a.kind == altText {
		return a.parts
	}
	return opaque(value{a})[0].parts
}

// sprintf understands formats of %s, %v, %d, %q and %%; anything else is opaque.
func sprintf(args []value) value {
	if len(args) == 0 {
		return opaque()
	}
	format, ok := args[0].literal()
	if !ok {
		return opaque(args...)
	}
	out, n := value{{}}, 1
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			if format == "" {
				return out
			}
			return concat(out, text(format))
		}
		if i > 0 {
			out = concat(out, text(format[:i]))
		}
		verb := byte(0)
		if i+1 < len(format) {
			verb = format[i+1]
		}
		switch {
		case verb == '%':
			out = concat(out, text("%"))
		case n >= len(args) || verb == 0 || strings.IndexByte("svdq", verb) < 0:
			return opaque(args...)
		case verb == 'q':
			out = concat(out, quoteAll(args[n], "%q"))
			n++
		default:
			out = concat(out, args[n])
			n++
		}
		format = format[i+2:]
	}
}

// quoteAll returns v's texts quoted: text alone as it will stand, the rest marked.
func quoteAll(v value, how string) value {
	out := make(value, 0, len(v))
	for _, x := range v {
		texts := x.texts()
		if s, ok := literalText(texts); ok {
			out = append(out, alt{parts: []part{{text: quoteLiteral(s, how)}}})
			continue
		}
		if how == "toJSON" && x.kind != altText {
			out = append(out, opaque(value{x})...)
			continue
		}
		q := `"`
		if how == "shquote" {
			q = "'"
		}
		parts := append(make([]part, 0, len(texts)+2), part{text: q})
		for _, p := range texts {
			p.quoted = how
			if p.kind == partText {
				quoted := quoteLiteral(p.text, how)
				p.text = quoted[1 : len(quoted)-1]
			}
			parts = append(parts, p)
		}
		out = append(out, alt{parts: append(parts, part{text: q})})
	}
	return out
}

func quoteLiteral(s, how string) string {
	switch how {
	case "shquote":
		return shquote(s)
	case "%q":
		return strconv.Quote(s)
	}
	quoted, _ := toUnescapedJSON(s) // a string always has a JSON form
	return quoted
}

// secret notes a path that is read, one for each text its argument can be.
func (a *analysis) secret(arg value, pos parse.Pos) value {
	var out value
	for _, x := range arg {
		p := TemplatePath{parts: x.texts(), Conditional: a.condition()}
		p.Line, p.Column = a.t.lines.at(int(pos))
		var b strings.Builder
		for _, part := range p.parts {
			switch part.kind {
			case partText:
				b.WriteString(part.text)
			case partEnv:
				b.WriteString("{" + part.text + "}")
				p.Envs = append(p.Envs, part.text)
			default:
				b.WriteString("{…}")
				p.Envs = append(p.Envs, part.envs...)
				p.Opaque = true
			}
		}
		slices.Sort(p.Envs)
		p.Envs = slices.Compact(p.Envs)
		p.Pattern = b.String()
		out = append(out, alt{kind: altSecret, path: p.Pattern})
		if i := slices.IndexFunc(a.t.Paths, func(q TemplatePath) bool { return q.Pattern == p.Pattern }); i < 0 {
			a.t.Paths = append(a.t.Paths, p)
		} else {
			a.t.Paths[i].Conditional = min(a.t.Paths[i].Conditional, p.Conditional)
		}
	}
	return out
}
