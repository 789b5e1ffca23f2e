package python

import (
	"slices"
	"strings"
)

// typ is what an annotation says.
type typ struct {
	text     string
	kind     Kind
	optional bool
	secret   bool
	custom   bool
	numbers  bool // a Literal with choices that no text equals
	raw      bool // NoDecode: the text is not decoded as JSON
	foreign  bool // a class of another file
	open     bool // a dict: any key is legal
	union    bool
	choices  []string
	classes  []*class // the models it may hold
	metas    []meta   // Field(…) calls inside Annotated, in order
	item     *typ     // of a list whose entries are all of one type
}

// meta is metadata of an Annotated type; limits only where Pydantic takes no
// more from its place than constraints.
type meta struct {
	call   *expr
	scope  *scope
	limits bool
}

// simpleTypes are types by the last part of their name.
var simpleTypes = map[string]Kind{ //nolint:gochecknoglobals // a constant table
	"AbstractSet": List, "Any": Unknown, "AnyStr": Str, "AwareDatetime": Unknown, "Base64Bytes": Bytes,
	"Base64Str": Str, "ByteSize": Unknown, "Callable": Unknown, "Collection": List, "Counter": Dict, "Decimal": Float,
	"DefaultDict": Dict, "Deque": List, "Dict": Dict, "DirectoryPath": Str, "EmailStr": Str, "FilePath": Str,
	"FiniteFloat": Float, "FrozenSet": List, "FutureDate": Unknown, "IPv4Address": Unknown, "IPv6Address": Unknown,
	"IPvAnyAddress": Unknown, "IPvAnyNetwork": Unknown, "ImportString": Unknown, "Iterable": List, "Json": Unknown,
	"List": List, "LiteralString": Str, "Mapping": Dict, "MutableMapping": Dict, "MutableSequence": List,
	"MutableSet": List, "NaiveDatetime": Unknown, "NameEmail": Str, "NegativeFloat": Float, "NegativeInt": Int,
	"NewPath": Str, "NonNegativeFloat": Float, "NonNegativeInt": Int, "NonPositiveFloat": Float, "NonPositiveInt": Int,
	"OrderedDict": Dict, "PastDate": Unknown, "Path": Str, "Pattern": Unknown, "PositiveFloat": Float,
	"PositiveInt": Int, "PurePath": Str, "PyObject": Unknown, "SecretBytes": Secret, "SecretStr": Secret,
	"Sequence": List, "Set": List, "StrictBool": Bool, "StrictBytes": Bytes, "StrictFloat": Float, "StrictInt": Int,
	"StrictStr": Str, "Text": Str, "Tuple": List, "Type": Unknown, "UUID": Unknown, "UUID1": Unknown, "UUID3": Unknown,
	"UUID4": Unknown, "UUID5": Unknown, "bool": Bool, "bytes": Bytes, "condecimal": Float, "confloat": Float,
	"conint": Int, "conlist": List, "conset": List, "constr": Str, "date": Unknown, "datetime": Unknown,
	"defaultdict": Dict, "deque": List, "dict": Dict, "float": Float, "frozenset": List, "int": Int, "list": List,
	"object": Unknown, "set": List, "str": Str, "time": Unknown, "timedelta": Unknown, "tuple": List, "type": Unknown,
}

// typeLimits are the constraints that a type's name carries.
var typeLimits = map[string]Constraints{ //nolint:gochecknoglobals // a constant table
	"NegativeFloat": {Lt: "0"}, "NegativeInt": {Lt: "0"}, "NonNegativeFloat": {Ge: "0"}, "NonNegativeInt": {Ge: "0"},
	"NonPositiveFloat": {Le: "0"}, "NonPositiveInt": {Le: "0"}, "PositiveFloat": {Gt: "0"}, "PositiveInt": {Gt: "0"},
}

var urlTypes = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"AmqpDsn": true, "AnyHttpUrl": true, "AnyUrl": true, "AnyWebsocketUrl": true, "ClickHouseDsn": true, "CockroachDsn": true,
	"FileUrl": true, "FtpUrl": true, "HttpUrl": true, "KafkaDsn": true, "MariaDBDsn": true, "MongoDsn": true, "MySQLDsn": true,
	"NatsDsn": true, "PostgresDsn": true, "RedisDsn": true, "SnowflakeDsn": true, "WebsocketUrl": true,
}

// typeOf reads an annotation.
func (r *reader) typeOf(e *expr, s *scope, depth int) typ {
	if e == nil || depth > maxDepth || !r.step() {
		return typ{kind: Unknown, text: "?"}
	}
	depth++
	switch e.kind {
	case exprConst:
		switch v := e.value.(type) {
		case nil:
			return typ{text: "None", optional: true}
		case string:
			return r.typeOf(r.quotedType(v, e), s, depth)
		}
	case exprName, exprAttr:
		return r.typeName(e, s, depth)
	case exprBinary:
		if e.text == "|" {
			return r.union(flatten(e), s, depth)
		}
	case exprIndex:
		return r.typeIndex(e, s, depth)
	case exprCall:
		return r.typeCall(e, s, depth)
	}
	return typ{kind: Unknown, text: "?"}
}

// flatten returns the sides of a chain of |.
func flatten(e *expr) []*expr {
	var sides []*expr
	for e.kind == exprBinary && e.text == "|" {
		sides = append(sides, e.args[1])
		e = e.args[0]
	}
	sides = append(sides, e)
	for i, j := 0, len(sides)-1; i < j; i, j = i+1, j-1 {
		sides[i], sides[j] = sides[j], sides[i]
	}
	return sides
}

func (r *reader) typeName(e *expr, s *scope, depth int) typ {
	if c := r.classOf(e, s); c != nil {
		return r.typeClass(c)
	}
	if e.kind == exprName {
		if b := s.lookup(e.text); b != nil && (b.kind == bindValue || b.kind == bindAlias) {
			if b.ambiguous {
				return typ{kind: Unknown, text: e.text}
			}
			at := b.scope
			v := r.value(b)
			if v != nil && v.kind == exprName && v.text == e.text {
				if at = at.outer; at == nil {
					return typ{kind: Unknown, text: e.text}
				}
			}
			t := r.typeOf(v, at, depth)
			if b.kind == bindAlias {
				t.limitsOnly()
			}
			return t
		}
	}
	name := r.known(e, s)
	t := typ{text: name, kind: Unknown}
	if t.text == "" {
		t.text = e.text
	}
	if urlTypes[name] {
		t.kind = URL
		return t
	}
	kind, ok := simpleTypes[name]
	if !ok {
		t.foreign = true
		return t
	}
	t.kind, t.secret, t.open = kind, kind == Secret, kind == Dict
	if limits, ok := typeLimits[name]; ok {
		t.metas = []meta{{call: limitCall(limits), limits: true, scope: s}}
	}
	return t
}

// limitCall writes constraints as the Field call they stand for.
func limitCall(c Constraints) *expr {
	call := &expr{kind: exprCall, args: []*expr{{kind: exprName, text: "Field"}}, names: []string{""}}
	for _, each := range []struct{ name, text string }{{"ge", c.Ge}, {"gt", c.Gt}, {"le", c.Le}, {"lt", c.Lt}} {
		if each.text != "" {
			call.args = append(call.args, &expr{kind: exprConst, value: int64(0)})
			call.names = append(call.names, each.name)
		}
	}
	return call
}

func (t *typ) limitsOnly() {
	for i := range t.metas {
		t.metas[i].limits = true
	}
}

func (r *reader) typeClass(c *class) typ {
	t := typ{text: c.name, kind: Unknown}
	switch {
	case r.isEnum(c):
		t.kind = Enum
		for _, m := range r.members(c) {
			if text, ok := envText(m.value); ok && m.known {
				t.choices = append(t.choices, text)
			}
		}
	case r.isModel(c):
		t.kind, t.classes = Nested, []*class{c}
	case r.hasBase(c, "SecretStr", "SecretBytes"):
		t.kind, t.secret = Secret, true
	case r.hasBase(c, "str"):
		t.kind = Str
	case r.hasBase(c, "bool", "int", "float"):
		t.custom = true
	}
	return t
}

func (r *reader) typeIndex(e *expr, s *scope, depth int) typ {
	args := []*expr{e.args[1]}
	if e.args[1].kind == exprTuple {
		args = e.args[1].args
	}
	name := r.known(e.args[0], s)
	switch name {
	case "Optional":
		return r.union(append([]*expr{{kind: exprConst}}, args...), s, depth)
	case "Union":
		return r.union(args, s, depth)
	case "Literal":
		return r.typeLiteral(args, s, depth)
	case "Annotated":
		if len(args) == 0 {
			break
		}
		t := r.typeOf(args[0], s, depth)
		for _, m := range args[1:] {
			r.metadata(&t, m, s)
		}
		return t
	case "ClassVar", "Final", "InitVar", "NotRequired", "ReadOnly", "Required", "SerializeAsAny":
		return r.typeOf(args[0], s, depth)
	case "Secret":
		return typ{text: "Secret[" + r.typeOf(args[0], s, depth).text + "]", kind: Secret, secret: true}
	case "":
		if c := r.classOf(e.args[0], s); c != nil {
			return r.typeClass(c)
		}
		return typ{text: "?", kind: Unknown}
	}
	kind, ok := simpleTypes[name]
	t := typ{kind: kind, open: kind == Dict, foreign: !ok}
	if !ok {
		t.kind = Unknown
	}
	if c := name[0]; 'A' <= c && c <= 'Z' && (kind == List || kind == Dict) && (name == "List" || name == "Dict" || name == "Set" || name == "Tuple" || name == "FrozenSet") {
		name = strings.ToLower(name)
	}
	texts, inners := make([]string, len(args)), make([]typ, len(args))
	for i, a := range args {
		if _, dots := a.value.(ellipsis); dots && a.kind == exprConst {
			texts[i] = "..."
			continue
		}
		if a.kind == exprList || name == "Callable" {
			texts[i] = "..."
			continue
		}
		inner := r.typeOf(a, s, depth)
		texts[i], inners[i] = inner.text, inner
		t.secret = t.secret || inner.secret
		t.custom = t.custom || inner.custom
	}
	t.text = name + "[" + strings.Join(texts, ", ") + "]"
	r.entries(&t, name, args, inners, s)
	return t
}

// entries takes what a list's brackets say of its entries.
func (r *reader) entries(t *typ, name string, args []*expr, inners []typ, s *scope) {
	dots := func(i int) bool {
		_, is := args[i].value.(ellipsis)
		return is && args[i].kind == exprConst
	}
	switch {
	case slices.Contains([]string{"frozenset", "list", "set", "Sequence"}, name) && len(args) == 1, name == "tuple" && len(args) == 2 && dots(1):
		t.item = &inners[0]
	case name == "tuple" && len(args) > 0 && !slices.ContainsFunc(args, func(e *expr) bool {
		return e.kind == exprConst && e.value == ellipsis{} || e.kind == exprStar || e.kind == exprTuple
	}):
		n := &expr{kind: exprConst, value: int64(len(args))}
		t.metas = []meta{{limits: true, scope: s, call: &expr{kind: exprCall, args: []*expr{n, n, n}, names: []string{"", "min_length", "max_length"}}}}
	}
}

// metadata takes one argument of Annotated.
func (r *reader) metadata(t *typ, e *expr, s *scope) {
	call, at := r.fieldCall(e, s)
	if call != nil {
		t.metas = append(t.metas, meta{call: call, scope: at})
		return
	}
	target := e
	if e.kind == exprCall {
		target = e.args[0]
	}
	switch name := r.known(target, s); name {
	case "NoDecode", "Json":
		t.custom, t.raw = true, true
	case "BeforeValidator", "PlainValidator", "WrapValidator":
		t.custom = true
	case "Ge", "Gt", "Interval", "Le", "Len", "Lt", "MaxLen", "MinLen", "StringConstraints":
		if e.kind != exprCall {
			return
		}
		names := append([]string{}, e.names...)
		positional := map[string][]string{
			"Ge": {"ge"}, "Gt": {"gt"}, "Le": {"le"}, "Lt": {"lt"}, "MaxLen": {"max_length"}, "MinLen": {"min_length"},
			"Len": {"min_length", "max_length"},
		}[name]
		for i := 1; i < len(names) && i <= len(positional); i++ {
			if names[i] == "" {
				names[i] = positional[i-1]
			}
		}
		t.metas = append(t.metas, meta{call: &expr{kind: exprCall, args: e.args, names: names, line: e.line, col: e.col}, scope: s, limits: true})
	}
}

func (r *reader) typeLiteral(args []*expr, s *scope, depth int) typ {
	t := typ{kind: Literal}
	var texts []string
	for _, a := range args {
		if a.kind == exprConst && a.value == nil {
			t.optional = true
			continue
		}
		if v, ok := r.eval(a, s, 0); ok {
			if text, ok := envText(v); ok {
				if _, isText := v.(string); isText {
					t.choices = append(t.choices, text)
					text = "'" + text + "'"
				} else {
					t.numbers = true // Pydantic compares without converting: no text is 1
				}
				texts = append(texts, text)
			}
			continue
		}
		if inner := r.typeOf(a, s, depth); inner.kind == Literal { // Literal[Other, "x"]
			t.choices, t.numbers = append(t.choices, inner.choices...), t.numbers || inner.numbers
			texts = append(texts, inner.text)
			continue
		}
		t.custom = true // a choice that is not known: judge nothing
	}
	t.text = "Literal[" + strings.Join(texts, ", ") + "]"
	if t.optional {
		t.text += " | None"
	}
	return t
}

func (r *reader) typeCall(e *expr, s *scope, depth int) typ {
	name := r.known(e.args[0], s)
	switch name {
	case "NewType":
		if len(e.args) == 3 {
			return r.typeOf(e.args[2], s, depth)
		}
	case "TypeAliasType":
		if len(e.args) >= 3 {
			t := r.typeOf(e.args[2], s, depth)
			t.limitsOnly()
			return t
		}
	case "conbytes", "confloat", "conint", "conlist", "conset", "constr", "condecimal":
		t := typ{text: map[string]string{
			"conbytes": "bytes", "confloat": "float", "conint": "int", "conlist": "list", "conset": "set", "constr": "str",
			"condecimal": "Decimal",
		}[name], kind: simpleTypes[name]}
		if name == "conbytes" {
			t.kind = Bytes
		}
		t.metas = []meta{{call: e, scope: s, limits: true}}
		if name == "conlist" || name == "conset" {
			for i := 1; i < len(e.args); i++ {
				if e.names[i] == "item_type" || e.names[i] == "" && i == 1 {
					item := r.typeOf(e.args[i], s, depth)
					t.item = &item
				}
			}
		}
		return t
	}
	return typ{kind: Unknown, text: "?"}
}

// union joins alternatives; the text of one that takes any text makes any
// text legal.
func (r *reader) union(args []*expr, s *scope, depth int) typ {
	var t typ
	var texts []string
	members, kinds := 0, map[Kind]bool{}
	for _, a := range args {
		each := r.typeOf(a, s, depth)
		t.optional = t.optional || each.optional
		if each.kind == "" { // None
			continue
		}
		members++
		kinds[each.kind] = true
		texts = append(texts, strings.TrimSuffix(each.text, " | None"))
		each.limitsOnly()
		t.secret, t.custom, t.raw = t.secret || each.secret, t.custom || each.custom, t.raw || each.raw
		t.numbers = t.numbers || each.numbers
		t.foreign, t.open = t.foreign || each.foreign, t.open || each.open
		t.choices = append(t.choices, each.choices...)
		t.classes = append(t.classes, each.classes...)
		t.metas = append(t.metas, each.metas...)
		t.item = each.item
		t.union = t.union || each.union
		t.kind = each.kind
	}
	switch {
	case members == 0:
		t.kind = ""
	case len(kinds) == 1:
	case kinds[Str]:
		t.kind = Str
	case len(kinds) == 2 && kinds[Int] && kinds[Float]:
		t.kind = Float
	case len(kinds) == 2 && kinds[Literal] && kinds[Enum]:
		t.kind = Literal
	default:
		t.kind = Unknown
	}
	if members > 1 {
		t.union = true
		t.metas, t.item = nil, nil // limits of one alternative do not bind the others
		if t.kind != Literal && t.kind != Enum {
			t.choices = nil
		}
	}
	t.text = strings.Join(texts, " | ")
	if t.optional {
		if t.text != "" {
			t.text += " | "
		}
		t.text += "None"
	}
	return t
}
