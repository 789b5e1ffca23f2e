package layer

import (
	"cmp"
	"slices"
	"strings"
	"text/template/parse"

	"envctl/providers/dotenv"
)

// analysis walks a template once over all its branches and keeps, at every
// point, the set of lines that the output can be in the middle of.
type analysis struct {
	t      *Template
	vars   []binding
	inputs []Input
	envs   []string
	arms   []arm
	conds  []Condition
	needs  []string // the paths on which it depends that this place is reached, or what it says
	always []string // the paths on which a variable's value may depend by an assignment in a branch
	calls  []string // the templates being walked, against recursion
	byPos  map[int]*TemplateVariable
	found  []*TemplateVariable
	states []state
	steps  int
	err    error
}

const (
	maxStates = 64
	// maxWalk bounds the nodes walked: templates that include each other twice
	// grow without it.
	maxWalk = 200_000
)

type phase int

const (
	lineStart phase = iota // nothing but blanks, or the beginning of a name
	inValue
	inRest // a comment, or text that is no assignment
)

// state is one way the current line of output can look.
type state struct {
	phase phase
	head  string // the line so far, of phase lineStart
	at    int    // offset of head's first byte in the source
	keyed string // a line that begins with a key of this path
	v     *TemplateVariable
	parts []part
	quote byte // open in the value
}

func (s *state) same(o *state) bool {
	return s.phase == o.phase && s.v == o.v && s.at == o.at && s.quote == o.quote && s.head == o.head && s.keyed == o.keyed && sameParts(s.parts, o.parts)
}

func (t *Template) analyse() error {
	a := &analysis{t: t, byPos: map[int]*TemplateVariable{}, states: []state{{}}, calls: []string{"template"}}
	a.vars = []binding{{"$", opaque()}}
	a.list(t.trees["template"].Root, opaque())
	if a.err != nil {
		return a.err
	}
	for i := range a.states {
		a.endValue(&a.states[i])
	}
	slices.SortFunc(a.found, func(x, y *TemplateVariable) int { return x.offset - y.offset })
	t.Variables = slices.Grow(t.Variables, len(a.found))
	for _, v := range a.found {
		v.finish()
		v.Needs = t.needed(append(v.Needs, a.always...))
		t.Variables = append(t.Variables, *v)
	}
	for i := range t.Spreads {
		t.Spreads[i].Needs = t.needed(append(t.Spreads[i].Needs, a.always...))
	}
	slices.SortStableFunc(t.Paths, func(p, q TemplatePath) int { return cmp.Or(p.Line-q.Line, p.Column-q.Column) })
	t.Inputs = uniqueInputs(a.inputs)
	sortInputs(t.Inputs)
	slices.Sort(a.envs)
	t.Envs = slices.Compact(a.envs)
	slices.SortStableFunc(t.Problems, func(p, q Problem) int { return p.Line - q.Line })
	return nil
}

func sortInputs(in []Input) {
	slices.SortStableFunc(in, func(x, y Input) int { return cmp.Or(x.Line-y.Line, x.Column-y.Column) })
}

func uniqueInputs(in []Input) []Input {
	if len(in) == 1 && in[0].Key != "" {
		return in
	}
	var out []Input
	seen := make(map[Input]bool, len(in))
	for _, x := range in {
		id := Input{Path: x.Path, Key: x.Key}
		if x.Key != "" && !seen[id] {
			seen[id] = true
			out = append(out, x)
		}
	}
	return out
}

func (a *analysis) condition() Condition {
	c := Always
	for _, x := range a.conds {
		c = max(c, x)
	}
	return c
}

func (a *analysis) list(l *parse.ListNode, dot value) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		if a.steps++; a.steps > maxWalk && a.err == nil {
			a.err = invalid("read template", a.t.File, 0, "", "templates include each other too often")
		}
		if a.err != nil {
			return
		}
		a.node(n, dot)
	}
}

func (a *analysis) node(n parse.Node, dot value) {
	switch n := n.(type) {
	case *parse.TextNode:
		a.text(a.t.src[n.Pos:int(n.Pos)+len(n.Text)], int(n.Pos), true)
	case *parse.ActionNode:
		v := a.pipe(n.Pipe, dot)
		if len(n.Pipe.Decl) == 0 {
			a.emit(v, int(n.Pos))
		}
	case *parse.IfNode:
		a.branch(&n.BranchNode, dot, func(value) value { return dot })
	case *parse.WithNode:
		a.branch(&n.BranchNode, dot, func(v value) value { return v })
	case *parse.RangeNode:
		a.repeat(&n.BranchNode, dot)
	case *parse.TemplateNode:
		arg := opaque()
		if n.Pipe != nil {
			arg = a.pipe(n.Pipe, dot)
		}
		a.include(n, arg)
	}
}

func (a *analysis) include(n *parse.TemplateNode, dot value) {
	line, _ := a.t.lines.at(int(n.Pos))
	tree := a.t.trees[n.Name]
	switch {
	case tree == nil:
		a.err = invalid("read template", a.t.File, line, "", "there is no template %q", n.Name)
	case slices.Contains(a.calls, n.Name) || len(a.calls) > MaxDepth:
		a.err = invalid("read template", a.t.File, line, "", "the template %q includes itself", n.Name)
	default:
		vars := a.vars
		a.vars, a.calls = []binding{{"$", dot}}, append(a.calls, n.Name)
		a.list(tree.Root, dot)
		a.vars, a.calls = vars, a.calls[:len(a.calls)-1]
	}
}

// branch walks both sides of an if or with and joins what they leave.
func (a *analysis) branch(b *parse.BranchNode, dot value, inner func(value) value) {
	mark, needs := len(a.vars), len(a.needs)
	cond := a.pipe(b.Pipe, dot)
	c := cond.condition()
	a.needs = cond.paths(a.needs)
	defer func() { a.needs = a.needs[:needs] }()
	if b.Type() == parse.NodeWith && cond.isSecret() || b.Type() == parse.NodeIf && cond.isSecret() {
		// Without the secret, Vault Agent renders nothing: there is no other side.
		a.list(b.List, inner(cond))
		a.vars = a.vars[:mark]
		return
	}
	before, saved := fork(a.states), a.vars
	a.arms, a.conds = append(a.arms, arm{b.Pos, 0}), append(a.conds, c)
	a.list(b.List, inner(cond))
	then, after := a.vars, a.states
	a.states, a.vars = before, saved
	a.arms[len(a.arms)-1].side = 1
	a.list(b.ElseList, dot)
	a.rejoin(then, after, mark)
}

// rejoin ends a branch: variables and states are what either side leaves.
func (a *analysis) rejoin(then []binding, after []state, mark int) {
	for i, b := range then[:mark] {
		if !b.value.is(a.vars[i].value) {
			a.set(i, union(b.value, a.vars[i].value))
		}
	}
	a.vars = a.vars[:mark]
	a.arms, a.conds = a.arms[:len(a.arms)-1], a.conds[:len(a.conds)-1]
	after, a.states = a.states, after
	a.merge(after)
}

// fork returns states to go on from in another way. Those and the given ones share
// the parts so far, and neither adds to them in place.
func fork(states []state) []state {
	for i := range states {
		states[i].parts = slices.Clip(states[i].parts)
	}
	return slices.Clone(states)
}

// repeat walks a range: its body may run or not, with anything as its dot.
func (a *analysis) repeat(b *parse.BranchNode, dot value) {
	mark := len(a.vars)
	decl := b.Pipe.Decl
	bare := *b.Pipe
	bare.Decl = nil
	over := a.pipe(&bare, dot)
	item := opaque(over)
	key := item
	if len(over) == 1 && over[0].kind == altValues {
		key = value{{kind: altRangeKey, path: over[0].path}}
	}
	set := func(i int, v value) {
		if b.Pipe.IsAssign {
			a.assign(decl[i].Ident[0], v)
		} else {
			a.vars = append(a.vars, binding{decl[i].Ident[0], v})
		}
	}
	switch len(decl) {
	case 1:
		set(0, item)
	case 2:
		set(0, key)
		set(1, item)
	}
	needs := len(a.needs)
	a.needs = over.paths(a.needs)
	defer func() { a.needs = a.needs[:needs] }()
	before, saved := fork(a.states), a.vars
	a.arms, a.conds = append(a.arms, arm{b.Pos, 0}), append(a.conds, ByStore)
	a.list(b.List, item)
	then, after := a.vars, a.states
	a.states, a.vars = before, saved
	a.arms[len(a.arms)-1].side = 1
	a.list(b.ElseList, dot)
	a.rejoin(then, after, mark)
}

// reached notes on what it depends that the values the output is in the middle
// of go on, or end, here.
func (a *analysis) reached() {
	if len(a.needs) == 0 {
		return
	}
	for i := range a.states {
		if s := &a.states[i]; s.phase == inValue {
			s.v.need(a.needs)
		}
	}
}

func (v *TemplateVariable) need(paths []string) {
	for _, p := range paths {
		if !slices.Contains(v.Needs, p) {
			v.Needs = append(v.Needs, p)
		}
	}
}

// merge adds states to the current ones, each once; more is not used afterwards.
func (a *analysis) merge(more []state) {
	if len(a.states) == 0 {
		a.states = more[:0] // what is kept never overtakes what is read
	}
	for _, s := range more {
		switch {
		case a.has(&s):
		case len(a.states) < maxStates:
			a.states = append(a.states, s)
		case s.v != nil:
			s.v.Opaque = true // what is lost is one more combination of branches within a value
		}
	}
}

func (a *analysis) has(s *state) bool {
	for i := range a.states {
		if a.states[i].same(s) {
			return true
		}
	}
	return false
}

func (a *analysis) variable(name string, offset int) *TemplateVariable {
	if v := a.byPos[offset]; v != nil {
		v.Conditional = min(v.Conditional, a.condition())
		v.need(a.needs)
		return v
	}
	v := &TemplateVariable{Name: name, offset: offset, arms: slices.Clone(a.arms), Conditional: a.condition(), Needs: slices.Clone(a.needs)}
	v.Line, v.Column = a.t.lines.at(offset)
	a.byPos[offset], a.found = v, append(a.found, v)
	return v
}

// endValue notes the value that a state has put together.
func (a *analysis) endValue(s *state) {
	if s.phase != inValue {
		return
	}
	for _, v := range s.v.values {
		if sameParts(v, s.parts) {
			return
		}
	}
	if s.v.values == nil {
		s.v.values = make([][]part, 0, 2) // most have a value and a default
	}
	s.v.values = append(s.v.values, s.parts)
}

// needed are the patterns among needs, sorted, each once.
func (t *Template) needed(needs []string) []string {
	if slices.Contains(needs, anyPath) {
		needs = nil
		for _, p := range t.Paths {
			needs = append(needs, p.Pattern)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}

// finish sums up what the variable's values are made of.
func (v *TemplateVariable) finish() {
	var inputs []Input
	var paths []string
	v.Static = true
	for _, parts := range v.values {
		if s, ok := literalText(parts); ok {
			if strings.TrimSpace(s) != "" {
				if lit := asShellReads(s); !slices.Contains(v.Literals, lit) {
					v.Literals = append(v.Literals, lit)
				}
			}
			continue
		}
		v.Static = false
		for _, p := range parts {
			if inputs == nil && len(p.inputs) == 1 {
				inputs = slices.Clip(p.inputs)
			} else {
				inputs = append(inputs, p.inputs...)
			}
			v.Envs = append(v.Envs, p.envs...)
			paths = p.paths(paths[:0])
			v.need(paths)
			switch p.kind {
			case partEnv:
				v.Envs = append(v.Envs, p.text)
			case partOpaque:
				v.Opaque = true
			default:
			}
			if p.quoted != "" && !slices.Contains(v.Quotings, p.quoted) {
				v.Quotings = append(v.Quotings, p.quoted)
			}
		}
	}
	v.Inputs = uniqueInputs(inputs)
	sortInputs(v.Inputs)
	slices.Sort(v.Envs)
	v.Envs = slices.Compact(v.Envs)
	slices.Sort(v.Quotings)
	if !v.Static && len(v.Literals) > 0 {
		v.HasDefault, v.Default = true, v.Literals[0]
	}
}

// plainWord returns what a shell reads in a word of letters, digits and harmless
// signs, alone or in one pair of quotes: nearly all that templates hold.
func plainWord(s string) (string, bool) {
	blanks := false
	if n := len(s); n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		s, blanks = s[1:n-1], true
	}
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("_-./:,+@%", c) >= 0 || c == ' ' && blanks {
			continue
		}
		return "", false
	}
	return s, true
}

// asShellReads returns a value written in the template as a shell reads it.
func asShellReads(s string) string {
	if plain, ok := plainWord(s); ok {
		return plain
	}
	r := dotenv.ReadShell([]byte("V=" + s + "\n"))
	if len(r.Problems) == 0 && len(r.Assignments) == 1 {
		return r.Assignments[0].Value.Reveal() // template text, no secret
	}
	return strings.TrimSpace(s)
}
