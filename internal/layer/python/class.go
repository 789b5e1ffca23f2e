package python

import (
	"slices"
	"strings"
)

// reader holds what is known of one file while it is read.
type reader struct {
	out        *Settings
	seen       map[Problem]bool
	fieldsSeen map[declaration]bool
	classes    []*class
	steps      int
	torn       int // the line of a lexical error: what follows from it is not reported as well
}

// maxProblems is how many problems are listed.
const maxProblems = 1000

func (r *reader) report(p Problem) {
	if len(r.out.Problems) > maxProblems {
		return
	}
	if len(r.out.Problems) == maxProblems {
		p = Problem{Kind: Unread, Line: p.Line, Column: p.Column, Message: "more problems than are listed"}
	}
	p.Line, p.Column = max(1, p.Line), max(1, p.Column)
	if !r.seen[p] && (p.Line != r.torn || p.Kind != Refused) {
		r.seen[p] = true
		r.out.Problems = append(r.out.Problems, p)
	}
}

// problem reports about class c, and about field name unless it is "".
func (r *reader) problem(kind ProblemKind, c *class, name string, line, col int32, message string) {
	r.report(Problem{Kind: kind, Line: int(line), Column: int(col), Class: c.name, Field: name, Message: message})
}

// generation tells which rules hold for c: 2, 1, or 0 where c is no settings
// class.
func (r *reader) generation(c *class) int {
	if c.gen == 0 {
		c.gen = 1 + r.findGeneration(c)
	}
	return c.gen - 1
}

func (r *reader) findGeneration(c *class) int {
	gen := 0
	for _, k := range r.linear(c) {
		for _, b := range k.bases {
			if b.class != nil || b.name != "BaseSettings" && !r.foreignSettings(c, b) {
				continue
			}
			if b.full == "pydantic.BaseSettings" || strings.HasPrefix(b.full, "pydantic.v1.") || strings.HasPrefix(b.full, "pydantic.env_settings.") {
				return 1
			}
			gen = 2
		}
	}
	return gen
}

// foreignSettings tells whether base b, of another file, must be a settings
// class: it says so, or c is configured as only settings are.
func (r *reader) foreignSettings(c *class, b base) bool {
	if b.name == "" || ordinaryBases[b.name] || strings.HasPrefix(b.full, "django.") {
		return false
	}
	if strings.HasSuffix(b.name, "Settings") {
		return true
	}
	for _, it := range c.items {
		if it.name == "model_config" && len(it.value) > 0 && it.value[0].kind == tokName &&
			r.known(&expr{kind: exprName, text: it.value[0].text}, c.scope) == "SettingsConfigDict" {
			return true
		}
	}
	return false
}

// Bases that add no fields of their own.
var ordinaryBases = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"ABC": true, "BaseModel": true, "BaseSettings": true, "Enum": true, "Flag": true, "Generic": true,
	"GenericModel": true, "IntEnum": true, "IntFlag": true, "NamedTuple": true, "Protocol": true, "StrEnum": true,
	"TypedDict": true, "bytes": true, "dict": true, "float": true, "int": true, "object": true, "str": true,
}

// maxBases bounds a resolution order.
const maxBases = 64

// linear returns c's method resolution order among the classes of the file,
// c first.
func (r *reader) linear(c *class) []*class {
	switch c.state {
	case visitDone:
		return c.mro
	case visitBusy:
		return []*class{c}
	}
	c.state = visitBusy
	var rows [][]*class
	var direct []*class
	for _, b := range c.bases {
		if b.class != nil && b.class != c {
			rows = append(rows, append([]*class{}, r.linear(b.class)...))
			direct = append(direct, b.class)
		}
	}
	rows = append(rows, direct)
	mro := []*class{c}
	for {
		if len(mro) > maxBases {
			r.problem(Unread, c, "", c.stmt.first().line, c.stmt.first().col, "more bases than this reader follows")
			break
		}
		next := (*class)(nil)
		left := false
		for _, row := range rows {
			if len(row) == 0 {
				continue
			}
			left = true
			if !inTail(rows, row[0]) {
				next = row[0]
				break
			}
		}
		if next == nil {
			if left {
				r.problem(Refused, c, "", c.stmt.first().line, c.stmt.first().col, "the order of the bases contradicts itself")
			}
			break
		}
		mro = append(mro, next)
		for i, row := range rows {
			if len(row) > 0 && row[0] == next {
				rows[i] = row[1:]
			}
		}
	}
	c.mro, c.state = mro, visitDone
	return mro
}

func inTail(rows [][]*class, c *class) bool {
	for _, row := range rows {
		for i := 1; i < len(row); i++ {
			if row[i] == c {
				return true
			}
		}
	}
	return false
}

// hasBase tells whether c descends from an imported class of that name.
func (r *reader) hasBase(c *class, names ...string) bool {
	for _, k := range r.linear(c) {
		for _, b := range k.bases {
			for _, name := range names {
				if b.class == nil && b.name == name {
					return true
				}
			}
		}
	}
	return false
}

func (r *reader) isEnum(c *class) bool {
	return r.hasBase(c, "Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "ReprEnum")
}

// isModel tells whether text for a field of type c is JSON, or the parts of
// its fields: models, settings, dataclasses, typed dictionaries.
func (r *reader) isModel(c *class) bool {
	if r.generation(c) != 0 || r.hasBase(c, "BaseModel", "GenericModel", "TypedDict", "RootModel") {
		return true
	}
	for _, d := range c.stmt.decorators {
		if len(d) > 0 && d[0].kind == tokName {
			for _, t := range d {
				if t.named("dataclass") {
					return true
				}
			}
		}
	}
	return false
}

// member is a member of an enumeration.
type member struct {
	name  string
	value any
	known bool
}

// members returns the members of an enumeration in the file.
func (r *reader) members(c *class) []member {
	if c.enum != nil {
		return c.enum
	}
	c.enum = []member{}
	count := int64(0)
	for _, it := range c.items {
		if it.kind != stmtAssign || it.name == "" || it.name[0] == '_' {
			continue
		}
		m := member{name: it.name}
		if e, problem := parseExpr(it.value, it.at); problem == nil {
			if e.kind == exprCall && r.known(e.args[0], c.scope) == "auto" {
				m.known = true
				if count++; r.hasBase(c, "StrEnum") {
					m.value = strings.ToLower(it.name)
				} else {
					m.value = count
				}
			} else {
				m.value, m.known = r.eval(e, c.scope, 0)
				if n, ok := m.value.(int64); ok {
					count = n
				}
			}
		}
		c.enum = append(c.enum, m)
	}
	return c.enum
}

// decl is a field's declaration in a class body.
type decl struct {
	name    string
	class   *class
	item    *item
	ann     *expr // nil in generation 1 without annotation
	value   *expr
	endLine int
}

// own returns the fields that c's body declares, by name in order; what is
// wrong with them is reported once.
func (r *reader) own(c *class, gen int) []*decl {
	if c.decls != nil {
		return c.decls
	}
	c.decls = []*decl{}
	byName := make(map[string]*decl, len(c.items))
	for i := range c.items {
		it := &c.items[i]
		switch it.kind {
		case stmtAnnotated:
			r.annotated(c, it, byName, gen)
		case stmtAssign:
			r.plain(c, it, byName, gen)
		case stmtDef:
			if d := byName[it.name]; d != nil {
				r.problem(Unread, c, it.name, it.at.line, it.at.col, "a method has the name of a field")
			}
		case stmtExpr, stmtDelete, stmtAugmented:
			r.dynamic(c, it, byName)
		}
	}
	return c.decls
}

// annotated takes name: type = value.
func (r *reader) annotated(c *class, it *item, byName map[string]*decl, gen int) {
	if it.name == "model_config" && gen != 1 || it.name[0] == '_' {
		return
	}
	ann, problem := parseExpr(it.ann, it.at)
	var value *expr
	if problem == nil && it.value != nil {
		value, problem = parseExpr(it.value, it.at)
	}
	if problem != nil {
		problem.Class, problem.Field = c.name, it.name
		problem.Message += ": the field is not read"
		r.report(*problem)
		return
	}
	if r.classVar(ann, c.scope, value != nil) {
		return
	}
	if it.unsure {
		r.problem(Unread, c, it.name, it.at.line, it.at.col, "only the run decides whether this field exists: it is counted")
	}
	d := byName[it.name]
	if d == nil {
		d = &decl{name: it.name, class: c}
		byName[it.name] = d
		c.decls = append(c.decls, d)
	} else if !it.unsure {
		r.problem(Ignored, c, it.name, it.at.line, it.at.col, "declared a second time: this declaration counts")
	}
	d.item, d.ann, d.endLine = it, ann, it.stmt.endLine()
	if value != nil {
		d.value = value
	}
}

// classVar tells whether an annotation keeps a name from being a field.
func (r *reader) classVar(ann *expr, s *scope, hasValue bool) bool {
	if text, ok := ann.value.(string); ok {
		if ann = r.quotedType(text, ann); ann == nil {
			return false
		}
	}
	if ann.kind == exprIndex {
		ann = ann.args[0]
	}
	switch r.known(ann, s) {
	case "ClassVar":
		return true
	case "Final":
		return hasValue
	}
	return false
}

// quotedType parses an annotation that stands in quotes.
func (r *reader) quotedType(text string, at *expr) *expr {
	toks, problem := scan("(" + text + ")")
	if problem != nil {
		return nil
	}
	for i := range toks {
		toks[i].line, toks[i].endLine, toks[i].col = at.line, at.line, at.col
	}
	e, problem := parseExpr(toks[:max(0, len(toks)-2)], token{}) // without Newline and End
	if problem != nil {
		return nil
	}
	return e
}

// plain takes name = value: configuration, a field without its type, or
// something that is no field.
func (r *reader) plain(c *class, it *item, byName map[string]*decl, gen int) {
	if it.name == "" || it.name == "model_config" || it.name[0] == '_' || it.name == "Config" {
		return
	}
	e, problem := parseExpr(it.value, it.at)
	if problem != nil {
		problem.Class, problem.Field = c.name, it.name
		r.report(*problem)
		return
	}
	if d := byName[it.name]; d != nil {
		d.value = e
		return
	}
	if e.kind == exprLambda || e.kind == exprCall && r.untouched(e, c.scope) || r.classOf(e, c.scope) != nil {
		return
	}
	if gen == 1 {
		d := &decl{name: it.name, class: c, item: it, value: e, endLine: it.stmt.endLine()}
		byName[it.name] = d
		c.decls = append(c.decls, d)
		return
	}
	if gen == 2 && !r.inherited(c, it.name) && (e.kind == exprConst || e.kind == exprList || e.kind == exprDict || e.kind == exprTuple || e.kind == exprSet ||
		e.kind == exprBinary || e.kind == exprUnary || e.kind == exprCall && r.known(e.args[0], c.scope) == "Field") {
		r.problem(Refused, c, it.name, it.at.line, it.at.col, "without a type it is no field: Pydantic 2 refuses the class")
	}
}

// inherited tells whether a base of c declares the field name.
func (r *reader) inherited(c *class, name string) bool {
	for _, k := range r.linear(c)[1:] {
		for _, it := range k.items {
			if it.kind == stmtAnnotated && it.name == name {
				return true
			}
		}
	}
	return false
}

// untouched tells whether a class attribute made by this call is no field in
// either generation.
func (r *reader) untouched(e *expr, s *scope) bool {
	switch r.known(e.args[0], s) {
	case "PrivateAttr", "cached_property", "classmethod", "computed_field", "field_serializer", "field_validator",
		"model_validator", "property", "root_validator", "staticmethod", "validator":
		return true
	}
	return e.args[0].kind == exprCall && r.untouched(e.args[0], s)
}

// dynamic reports statements that change the fields in ways that only a run
// shows.
func (r *reader) dynamic(c *class, it *item, byName map[string]*decl) {
	first := it.at.text
	switch {
	case it.kind == stmtExpr && first != "exec" && first != "locals" && first != "vars" && first != "__annotations__":
		return
	case it.kind != stmtExpr && first != "__annotations__":
		name := first
		if it.kind == stmtDelete && len(it.stmt.toks) > 1 {
			name = it.stmt.toks[1].text
		}
		d := byName[name]
		if d == nil {
			return
		}
		d.value = &expr{kind: exprOpaque}
	}
	r.problem(Unread, c, "", it.at.line, it.at.col, "the class changes its fields in a way that only a run shows")
}

// fields returns the fields of c with its bases, in Pydantic's order.
func (r *reader) fields(c *class, gen, depth int) []*decl {
	if depth > maxDepth {
		r.problem(Unread, c, "", c.stmt.first().line, c.stmt.first().col, "inheritance is too deep to be read")
		return nil
	}
	if c.all != nil {
		return c.all
	}
	if !slices.ContainsFunc(c.bases, func(b base) bool { return b.class != nil && b.class != c }) {
		c.all = r.own(c, gen)
		return c.all
	}
	byName := make(map[string]*decl, len(c.items))
	order := make([]string, 0, len(c.items))
	put := func(d *decl) {
		if byName[d.name] == nil {
			order = append(order, d.name)
		}
		byName[d.name] = d
	}
	if gen == 2 { // type hints come in the reverse of the resolution order
		mro := r.linear(c)
		for i := len(mro) - 1; i > 0; i-- {
			for _, d := range r.own(mro[i], gen) {
				put(d)
			}
		}
	}
	for i := len(c.bases) - 1; i >= 0; i-- {
		if b := c.bases[i].class; b != nil && b != c && r.isModel(b) {
			for _, d := range r.fields(b, gen, depth+1) {
				put(d)
			}
		}
	}
	own := r.own(c, gen)
	declared := map[string]bool{}
	for _, d := range own {
		declared[d.name] = true
		put(d)
	}
	for _, it := range c.items {
		if d := byName[it.name]; it.kind == stmtAssign && d != nil && !declared[it.name] && gen == 2 {
			r.problem(Refused, c, it.name, it.at.line, it.at.col, "overrides a field of "+d.class.name+" without its type: Pydantic 2 refuses the class")
		}
		if d := byName[it.name]; it.kind == stmtDef && d != nil && d.class != c {
			r.problem(Unread, c, it.name, it.at.line, it.at.col, "a method has the name of a field of "+d.class.name)
		}
	}
	out := make([]*decl, len(order))
	for i, name := range order {
		out[i] = byName[name]
	}
	c.all = out
	return out
}
