package python

import (
	"slices"
	"strings"
)

// maxFields bounds what nested models can multiply into.
const (
	maxFields   = 10000
	maxAccepted = 64
)

// read fills the answer from a module's statements.
func (r *reader) read(module []stmt, toks []token) {
	top := &scope{names: map[string]*binding{}}
	r.collect(module, top, 0)
	slices.SortStableFunc(r.classes, func(a, b *class) int { return a.line - b.line })
	uses := r.scanNames(toks)
	for _, c := range r.classes {
		gen := r.generation(c)
		if gen == 0 {
			continue
		}
		conf := r.config(c, gen, 0)
		r.foreignBases(c)
		if r.sources(c) {
			conf.decoding = false // a source may decode the text in its own way
		}
		r.out.Classes = append(r.out.Classes, Class{
			Name: c.name, Line: c.line, Pydantic: gen, EnvPrefix: conf.prefix, NestedDelimiter: conf.delimiter,
			CaseSensitive: conf.caseSensitive, IgnoreEmpty: conf.ignoreEmpty, EnvFiles: conf.envFiles, Extra: conf.extra,
			Base: c.heirs > 0 && uses[c.name] <= 1+c.heirs,
		})
		if r.out.Classes[len(r.out.Classes)-1].Base {
			r.fields(c, gen, 0) // for its problems
			continue
		}
		custom := r.validators(c)
		decls := r.fields(c, gen, 0)
		r.out.Fields = slices.Grow(r.out.Fields, len(decls))
		for _, d := range decls {
			r.field(c, conf, gen, d, custom)
		}
	}
}

// scanNames counts how often each class is named, and reports calls that
// settings are changed by where this reader does not look.
func (r *reader) scanNames(toks []token) map[string]int {
	uses := make(map[string]int, len(r.classes))
	for _, c := range r.classes {
		uses[c.name] = 0
	}
	for i, t := range toks {
		if t.kind != tokName {
			continue
		}
		if n, ok := uses[t.text]; ok {
			uses[t.text] = n + 1
		}
		switch t.text {
		case "_env_prefix", "_case_sensitive", "_env_nested_delimiter":
			if toks[i+1].is("=") {
				r.report(Problem{Kind: Unread, Line: int(t.line), Column: int(t.col), Message: t.text + " changes the variables' names when the settings are made"})
			}
		case "create_model":
			if toks[i+1].is("(") {
				r.report(Problem{Kind: Unread, Line: int(t.line), Column: int(t.col), Message: "create_model makes a class at run time: its fields are not read"})
			}
		}
	}
	return uses
}

// foreignBases reports bases whose fields are declared elsewhere.
func (r *reader) foreignBases(c *class) {
	for _, k := range r.linear(c) {
		for _, b := range k.bases {
			if b.class != nil || ordinaryBases[b.name] {
				continue
			}
			name := b.name
			if name == "" {
				name = "a computed base"
			}
			r.report(Problem{Kind: Unread, Line: b.line, Column: b.col, Class: k.name, Message: "base " + name + " is not in this file: fields it declares are not counted"})
		}
	}
}

// sources tells whether a class chooses its sources, and reports one that leaves
// the environment out of them.
func (r *reader) sources(c *class) (own bool) {
	for _, k := range r.linear(c) {
		for _, it := range k.items {
			if it.kind != stmtDef || it.name != "settings_customise_sources" {
				continue
			}
			own = true
			environment := mentions(it.stmt.body, "env_settings") || mentions(it.stmt.body, "EnvSettingsSource") ||
				slices.ContainsFunc(r.classes, func(s *class) bool { return r.hasBase(s, "EnvSettingsSource") && mentions(it.stmt.body, s.name) })
			if !environment {
				r.problem(Unread, k, "", it.at.line, it.at.col, "settings_customise_sources does not name env_settings: whether the environment is read is not known")
			}
		}
	}
	return own
}

func mentions(body []stmt, name string) bool {
	for i := range body {
		for _, t := range body[i].toks {
			if t.named(name) {
				return true
			}
		}
		if mentions(body[i].body, name) {
			return true
		}
	}
	return false
}

// validators returns the fields whose text a validator sees before the type
// does; "*" stands for all.
func (r *reader) validators(c *class) map[string]bool {
	custom := map[string]bool{}
	take := func(e *expr, s *scope) {
		if e.kind != exprCall {
			return
		}
		before := map[string]string{"field_validator": "mode", "model_validator": "mode", "root_validator": "pre", "validator": "pre"}
		name := r.known(e.args[0], s)
		kw, ok := before[name]
		if !ok {
			return
		}
		early, fields := false, []string{}
		for i, a := range e.args[1:] {
			v, known := r.eval(a, s, 0)
			switch text, _ := v.(string); e.names[i+1] {
			case kw:
				early = !known || v == true || text == "before" || text == "plain" || text == "wrap"
			case "":
				fields = append(fields, text)
			}
		}
		if !early {
			return
		}
		if strings.HasPrefix(name, "model_") || strings.HasPrefix(name, "root_") {
			fields = []string{"*"}
		}
		for _, f := range fields {
			custom[f] = true
		}
	}
	for _, k := range r.linear(c) {
		for i := range k.items {
			it := &k.items[i]
			switch {
			case it.kind == stmtDef:
				for _, d := range it.stmt.decorators {
					if e, problem := parseExpr(d, it.at); problem == nil {
						take(e, k.scope)
					}
				}
			case it.kind == stmtAssign && len(it.value) > 1 && it.value[1].is("("):
				if e, problem := parseExpr(it.value, it.at); problem == nil && e.kind == exprCall {
					take(e.args[0], k.scope)
				}
			}
		}
	}
	return custom
}

// field adds a field of settings class c, with the fields of models nested in
// it.
func (r *reader) field(c *class, conf config, gen int, d *decl, custom map[string]bool) {
	f, t, args := r.describe(c, conf, gen, d, false)
	f.Custom = f.Custom || custom["*"] || custom[d.name]
	f.Accepted, f.Aliases = r.accepted(conf, gen, d, args)
	if len(f.Accepted) == 0 {
		if !args.unknownAlias { // else that is reported
			r.problem(Unread, c, d.name, int32(f.Line), int32(f.Column), "no variable is known that fills this field")
		}
		return
	}
	same := declaration{f.Line, f.Column, strings.Join(f.Accepted, " ")}
	if r.fieldsSeen[same] { // the same declaration, seen through another class
		return
	}
	r.fieldsSeen[same] = true
	at := len(r.out.Fields)
	f.Canonical = f.Accepted[0]
	if !r.add(f) {
		return
	}
	if r.standsAlone(t, args) {
		r.out.Fields[at].Kind, r.out.Fields[at].Canonical = Nested, ""
	}
	if conf.delimiter == "" {
		return
	}
	if !conf.caseSensitive && conf.delimiter != strings.ToLower(conf.delimiter) {
		if len(t.classes) > 0 || t.open {
			r.problem(Ignored, c, d.name, int32(f.Line), int32(f.Column), "Pydantic compares names in lower case and never finds the delimiter "+conf.delimiter)
		}
		return
	}
	n := nesting{owner: c, conf: conf, gen: gen, accepted: f.Accepted, at: at, mapped: !t.union, required: f.Required, custom: f.Custom}
	if t.open || t.foreign {
		r.open(n)
	}
	if r.parts(n, f.Name, t) {
		r.out.Fields[at].Canonical = ""
	}
}

// declaration tells fields apart that two classes share.
type declaration struct {
	line, column int
	accepted     string
}

// standsAlone tells whether a field is an object with variables of its own: a
// settings class, or a class of another file that the default makes.
func (r *reader) standsAlone(t typ, args fieldArgs) bool {
	for _, k := range t.classes {
		if r.generation(k) != 0 {
			return true
		}
	}
	return t.foreign && args.makes != "" && args.makes == strings.TrimSuffix(t.text, " | None")
}

func (r *reader) add(f Field) bool {
	if len(r.out.Fields) >= maxFields {
		r.report(Problem{Kind: Unread, Line: f.Line, Column: f.Column, Class: f.Class, Message: "more fields than this reader counts"})
		return false
	}
	r.out.Fields = append(r.out.Fields, f)
	return true
}

// nesting is where a nested model stands.
type nesting struct {
	owner    *class
	conf     config // of the owner: delimiter and case
	gen      int
	accepted []string // of the outermost field
	paths    [][]string
	at       int // the outermost field
	mapped   bool
	required bool
	custom   bool
	within   []*class
}

// parts adds the fields of the models that t holds and reports whether there
// are any.
func (r *reader) parts(n nesting, name string, t typ) bool {
	found := false
	for _, k := range t.classes {
		if slices.Contains(n.within, k) || len(n.within) >= maxDepth {
			r.open(n)
			continue
		}
		inner := r.generation(k)
		conf := defaults()
		if inner != 0 {
			conf = r.config(k, inner, 0)
		} else {
			r.inherit(&conf, k, 0)
		}
		deeper := n
		deeper.within = append(slices.Clone(n.within), k)
		custom := r.validators(k)
		for _, d := range r.fields(k, n.gen, 0) {
			if r.part(deeper, name, k, conf, d, len(t.classes) == 1, custom) {
				found = true
			}
		}
	}
	return found
}

func (r *reader) part(n nesting, parent string, k *class, conf config, d *decl, only bool, custom map[string]bool) bool {
	f, t, args := r.describe(n.owner, conf, n.gen, d, true)
	f.Name, f.Declared = parent+"."+d.name, d.class.name
	f.CaseSensitive = n.conf.caseSensitive
	f.Required = f.Required && n.required && only
	f.Custom = f.Custom || n.custom || custom["*"] || custom[d.name]
	keys := r.keys(n, conf, d, args, k)
	var paths [][]string
	outer := n.paths
	if outer == nil {
		outer = [][]string{nil}
	}
	for _, path := range outer {
		for _, key := range keys {
			paths = append(paths, append(slices.Clone(path), key))
		}
	}
	delimiter := foldCase(n.conf, n.conf.delimiter)
	for _, name := range n.accepted {
		for _, path := range paths {
			rest := strings.Join(path, delimiter)
			if n.splits(name, path) && len(f.Accepted) < maxAccepted {
				f.Accepted = append(f.Accepted, name+delimiter+rest)
			}
		}
	}
	if len(f.Accepted) == 0 {
		return false
	}
	f.Canonical = f.Accepted[0]
	at := len(r.out.Fields)
	if !r.add(f) {
		return true
	}
	if t.open || t.foreign {
		for _, name := range f.Accepted {
			r.out.Fields[at].Prefixes = append(r.out.Fields[at].Prefixes, name+delimiter)
		}
	}
	n.paths, n.mapped, n.required, n.custom = paths, n.mapped && !t.union && !t.optional, f.Required, f.Custom
	if r.parts(n, f.Name, t) {
		r.out.Fields[at].Canonical = ""
	}
	return true
}

// splits tells whether Pydantic takes the variable of name and path apart into
// path again: the delimiter may stand in a name as well, and generation 1 cuts
// as much off the front as the prefix is long, prefix or not.
func (n nesting) splits(name string, path []string) bool {
	delimiter := foldCase(n.conf, n.conf.delimiter)
	rest := strings.Join(path, delimiter)
	if n.gen == 1 {
		full := name + delimiter + rest
		parts := strings.Split(full[min(len(n.conf.prefix), len(full)):], delimiter)
		return slices.Equal(parts[1:], path)
	}
	limit := -1
	if n.conf.maxSplit > 0 {
		limit = n.conf.maxSplit
	}
	return slices.Equal(strings.SplitN(rest, delimiter, limit), path)
}

// open marks the outermost field as one whose parts cannot be listed: a dict,
// a type of another file, a model that contains itself.
func (r *reader) open(n nesting) {
	f := &r.out.Fields[n.at]
	for _, name := range n.accepted {
		if prefix := name + foldCase(n.conf, n.conf.delimiter); n.splits(name, []string{"K"}) && !slices.Contains(f.Prefixes, prefix) {
			f.Prefixes = append(f.Prefixes, prefix)
		}
	}
}

// keys returns what may stand for a model's field between delimiters.
func (r *reader) keys(n nesting, conf config, d *decl, args fieldArgs, k *class) []string {
	var keys []string
	alias := args.validation
	if n.gen == 1 {
		alias = nil
		if args.alias != "" {
			alias = []string{args.alias}
		}
	}
	if len(alias) == 0 && conf.generator != nil && !args.unknownAlias {
		alias = []string{conf.generator(d.name)}
	}
	mapped := n.mapped && n.gen == 2 && r.hasBase(k, "BaseModel", "BaseSettings", "GenericModel")
	for _, a := range alias {
		if n.conf.caseSensitive || mapped || a == strings.ToLower(a) {
			keys = append(keys, foldCase(n.conf, a))
		}
	}
	if len(alias) == 0 {
		if n.conf.caseSensitive || mapped || d.name == strings.ToLower(d.name) {
			keys = append(keys, foldCase(n.conf, d.name))
		}
	} else if conf.byName && (n.conf.caseSensitive || d.name == strings.ToLower(d.name)) {
		keys = append(keys, foldCase(n.conf, d.name))
	}
	return slices.Compact(keys)
}

// foldCase writes a name as this reader keeps it: in capitals where Pydantic
// ignores case.
func foldCase(conf config, name string) string {
	if conf.caseSensitive {
		return name
	}
	return strings.ToUpper(name)
}

// accepted returns the variables Pydantic reads for a field, in its order.
func (r *reader) accepted(conf config, gen int, d *decl, args fieldArgs) (accepted, aliases []string) {
	add := func(name string) {
		if name = foldCase(conf, name); name != "" && !slices.Contains(accepted, name) && len(accepted) < maxAccepted {
			accepted = append(accepted, name)
		}
	}
	if gen == 1 {
		aliases = args.env
		if len(aliases) == 0 {
			add(conf.prefix + d.name)
		}
		for _, name := range aliases {
			add(name)
		}
		return accepted, aliases
	}
	aliases = args.validation
	if len(aliases) == 0 && args.paths == nil && conf.generator != nil {
		aliases = []string{conf.generator(d.name)}
	}
	if args.order != nil {
		aliases = args.order
	} else if len(args.paths) > 0 {
		aliases = slices.Concat(aliases, args.paths)
	}
	accepted = make([]string, 0, len(aliases)+1)
	prefix := ""
	if conf.target == "alias" || conf.target == "all" {
		prefix = conf.prefix
	}
	if !conf.notByAlias {
		for _, name := range aliases {
			add(prefix + name)
		}
	}
	if len(aliases) == 0 && !args.unknownAlias || conf.byName || conf.notByAlias {
		prefix = conf.prefix
		if conf.target == "alias" {
			prefix = ""
		}
		add(prefix + d.name)
	}
	return accepted, aliases
}
