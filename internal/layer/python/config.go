package python

import "strings"

// config is the part of a class's configuration that names variables.
type config struct {
	prefix        string
	target        string // what the prefix applies to: variable, alias, all
	delimiter     string
	maxSplit      int
	caseSensitive bool
	ignoreEmpty   bool
	byName        bool // a field with an alias may also be named by its own name
	notByAlias    bool
	docstrings    bool
	decoding      bool
	enumNames     bool
	extra         string
	envFiles      []string
	generator     func(string) string
	fields        *dict // generation 1: Config.fields
}

func defaults() config { return config{target: "variable", extra: "forbid", decoding: true} }

// config merges the configuration of c's bases with its own, as Pydantic
// does: in generation 2 a later base wins, in generation 1 an earlier one,
// and BaseSettings itself brings every default along.
func (r *reader) config(c *class, gen, depth int) config {
	if c.conf != nil {
		return *c.conf
	}
	conf := defaults()
	if depth > maxDepth {
		return conf
	}
	order := c.bases
	if gen == 1 {
		order = make([]base, len(c.bases))
		for i, b := range c.bases {
			order[len(c.bases)-1-i] = b
		}
	}
	for _, b := range order {
		switch {
		case b.class != nil && b.class != c && r.generation(b.class) != 0:
			conf = r.config(b.class, gen, depth+1)
		case b.class != nil && b.class != c && r.isModel(b.class):
			r.inherit(&conf, b.class, depth+1)
		case b.class == nil && b.name == "BaseSettings" && gen == 2:
			conf = defaults()
		}
	}
	r.ownConfig(c, &conf)
	c.conf = &conf
	return conf
}

// inherit applies what a plain model sets, without the defaults of settings.
func (r *reader) inherit(conf *config, c *class, depth int) {
	if depth > maxDepth {
		return
	}
	for _, b := range c.bases {
		if b.class != nil && b.class != c {
			r.inherit(conf, b.class, depth+1)
		}
	}
	r.ownConfig(c, conf)
}

func (r *reader) ownConfig(c *class, conf *config) {
	for i := range c.items {
		it := &c.items[i]
		switch {
		case it.name == "model_config" && (it.kind == stmtAssign || it.kind == stmtAnnotated) && it.value != nil:
			e, problem := parseExpr(it.value, it.at)
			if problem != nil {
				problem.Class = c.name
				r.report(*problem)
				continue
			}
			r.configExpr(c, conf, e, c.scope, 0)
		case it.name == "Config" && it.kind == stmtClass:
			inner := c.scope.names["Config"]
			if inner == nil || inner.kind != bindClass {
				continue
			}
			r.configClass(c, conf, inner.class)
		}
	}
	for key, e := range c.kwargs {
		if key == "**" {
			r.configExpr(c, conf, e, c.scope.outer, 0)
			continue
		}
		r.configKey(c, conf, key, e, c.scope.outer)
	}
}

func (r *reader) configClass(c *class, conf *config, inner *class) {
	mro := r.linear(inner)
	for i := len(mro) - 1; i >= 0; i-- {
		for _, it := range mro[i].items {
			if it.kind == stmtDef && it.name == "parse_env_var" {
				conf.decoding = false // it decodes the text in its own way
			}
			if it.kind != stmtAssign && it.kind != stmtAnnotated || it.value == nil {
				continue
			}
			if e, problem := parseExpr(it.value, it.at); problem == nil {
				r.configKey(c, conf, it.name, e, mro[i].scope)
			} else {
				problem.Class = c.name
				r.report(*problem)
			}
		}
	}
}

// configExpr reads SettingsConfigDict(…), ConfigDict(…), a dict, or a name
// for one of these.
func (r *reader) configExpr(c *class, conf *config, e *expr, s *scope, depth int) {
	if depth > maxDepth {
		return
	}
	unread := func() {
		r.problem(Unread, c, "", e.line, e.col, "the configuration is computed: prefix, delimiter and case of the variables are not known")
	}
	switch e.kind {
	case exprCall:
		switch r.known(e.args[0], s) {
		case "ConfigDict", "SettingsConfigDict", "dict":
		default:
			unread()
			return
		}
		for i, arg := range e.args[1:] {
			switch name := e.names[i+1]; name {
			case "", "**":
				r.configExpr(c, conf, arg, s, depth+1)
			case "*":
				unread()
			default:
				r.configKey(c, conf, name, arg, s)
			}
		}
	case exprDict:
		for i := 0; i+1 < len(e.args); i += 2 {
			if e.args[i] == nil {
				r.configExpr(c, conf, e.args[i+1], s, depth+1)
				continue
			}
			key, ok := r.eval(e.args[i], s, 0)
			name, isText := key.(string)
			if !ok || !isText {
				unread()
				continue
			}
			r.configKey(c, conf, name, e.args[i+1], s)
		}
	case exprBinary:
		if e.text != "|" {
			unread()
			return
		}
		r.configExpr(c, conf, e.args[0], s, depth+1)
		r.configExpr(c, conf, e.args[1], s, depth+1)
	case exprName:
		b := s.lookup(e.text)
		if b == nil || b.kind != bindValue || b.ambiguous {
			unread()
			return
		}
		r.configExpr(c, conf, r.value(b), b.scope, depth+1)
	case exprAttr:
		of := r.classOf(e.args[0], s)
		if of == nil || e.text != "model_config" {
			unread()
			return
		}
		*conf = r.config(of, 2, depth+1)
	default:
		unread()
	}
}

// configKey applies one setting; what does not bear on variables is passed
// over.
func (r *reader) configKey(c *class, conf *config, key string, e *expr, s *scope) {
	switch key {
	case "alias_generator":
		conf.generator = r.generator(c, e, s)
		return
	case "case_sensitive", "enable_decoding", "env_file", "env_ignore_empty", "env_nested_delimiter", "env_nested_max_split", "env_parse_enums", "env_prefix",
		"env_prefix_target", "extra", "fields", "populate_by_name", "allow_population_by_field_name", "use_attribute_docstrings",
		"validate_by_alias", "validate_by_name":
	default:
		return
	}
	if key == "extra" { // Extra.forbid, or the text
		if e.kind == exprAttr {
			conf.extra = e.text
			return
		}
	}
	v, ok := r.eval(e, s, 0)
	if !ok {
		if key == "env_file" || key == "extra" {
			return // names no variable
		}
		r.problem(Unread, c, "", e.line, e.col, key+" is computed: the variables' names are not known")
		return
	}
	text, _ := v.(string)
	flag, _ := v.(bool)
	switch key {
	case "case_sensitive":
		conf.caseSensitive = flag
	case "enable_decoding":
		conf.decoding = flag
	case "env_file":
		conf.envFiles = nil
		if list, isList := v.([]any); isList {
			for _, item := range list {
				if name, isText := item.(string); isText {
					conf.envFiles = append(conf.envFiles, name)
				}
			}
		} else if text != "" {
			conf.envFiles = []string{text}
		}
	case "env_ignore_empty":
		conf.ignoreEmpty = flag
	case "env_nested_delimiter":
		conf.delimiter = text
	case "env_nested_max_split":
		n, _ := v.(int64)
		conf.maxSplit = int(min(max(n, 0), maxDepth))
	case "env_parse_enums":
		conf.enumNames = flag
	case "env_prefix":
		conf.prefix = text
	case "env_prefix_target":
		conf.target = text
	case "extra":
		conf.extra = text
	case "fields":
		conf.fields, _ = v.(*dict)
	case "populate_by_name", "allow_population_by_field_name", "validate_by_name":
		conf.byName = flag
	case "use_attribute_docstrings":
		conf.docstrings = flag
	case "validate_by_alias":
		conf.notByAlias = !flag
	}
}

// generator returns the alias generators that can be known: Pydantic's own
// and str's; another one is reported.
func (r *reader) generator(c *class, e *expr, s *scope) func(string) string {
	switch name := r.dotted(e, s); last(name) {
	case "to_camel", "to_lower_camel":
		return toCamel
	case "to_pascal":
		return toPascal
	case "to_snake":
		return toSnake
	case "upper", "lower":
		if strings.HasPrefix(name, "str.") {
			if last(name) == "upper" {
				return strings.ToUpper
			}
			return strings.ToLower
		}
	}
	if e.kind == exprConst && e.value == nil {
		return nil
	}
	if e.kind == exprLambda { // lambda s: s.upper()
		if body := e.args[0]; body.kind == exprCall && len(body.args) == 1 && body.args[0].kind == exprAttr && body.args[0].args[0].kind == exprName {
			switch body.args[0].text {
			case "upper":
				return strings.ToUpper
			case "lower":
				return strings.ToLower
			}
		}
	}
	r.problem(Unread, c, "", e.line, e.col, "alias_generator is not one this reader knows: the variables' names are not known")
	return nil
}
