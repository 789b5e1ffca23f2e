package check

import (
	"fmt"
	"slices"
	"strings"

	"envctl/internal/layer"
	"envctl/internal/layer/python"
)

// checkNames compares the names in the three layers, and the marks.
func (c *component) checkNames() {
	c.duplicates()
	if c.template != nil && c.code != nil && c.code.complete {
		c.templateNotInCode()
	}
	if c.example != nil && c.code != nil {
		c.codeNotInExample()
	}
	if c.example != nil && c.code != nil && c.code.complete {
		c.exampleNotInCode()
	}
	if c.template != nil {
		c.vaultMarkers()
	}
}

func (c *component) duplicates() {
	say := func(file, name string, line, column, first int) {
		c.add(Finding{
			Rule: duplicate, Variable: name, File: file, Line: line, Column: column,
			Message: fmt.Sprintf("set on line %d and again on line %d: the last one wins", first, line),
			Fix:     fmt.Sprintf("remove line %d or line %d", first, line),
		})
	}
	if c.template != nil {
		for _, v := range c.template.Duplicates() {
			first := slices.IndexFunc(c.template.Variables, func(w layer.TemplateVariable) bool { return w.Name == v.Name })
			say(c.template.File, v.Name, v.Line, v.Column, c.template.Variables[first].Line)
		}
	}
	if c.example != nil {
		again := c.example.Duplicates()
		first := make(map[string]int, len(again))
		for _, e := range again {
			first[e.Name] = 0
		}
		for i := range c.example.Entries {
			e := &c.example.Entries[i]
			if line, twice := first[e.Name]; twice && line == 0 && !e.Commented {
				first[e.Name] = e.Line
			}
		}
		for _, e := range again {
			say(c.example.File, e.Name, e.Line, e.Column, first[e.Name])
		}
	}
	for _, d := range c.config.Dotenv {
		f := parsed(c.dotenvs, d)
		if f == nil || d == c.config.Example {
			continue
		}
		first := map[string]int{}
		for _, e := range f.Entries {
			if at := first[e.Key]; at > 0 {
				say(f.Name, e.Key, e.Line, e.Column, at)
			} else {
				first[e.Key] = e.Line
			}
		}
	}
}

// isPublic tells whether a variable is baked into a bundle instead of read by code.
func isPublic(name string) bool { return strings.HasPrefix(name, "NEXT_PUBLIC_") }

func (c *component) templateNotInCode() {
	seen := map[string]bool{}
	for _, v := range c.template.Variables {
		if seen[v.Name] || isPublic(v.Name) || c.code.field(v.Name) != nil {
			continue
		}
		seen[v.Name] = true
		fix := fmt.Sprintf("add to %s: %s: str, or remove the line from the template", c.code.File, strings.ToLower(v.Name))
		if c.keeps(v.Name) {
			fix = c.previousField(v.Name) + ", and accept it beside the current one"
		} else if near := nearestField(c.code, v.Name); near != "" {
			fix = fmt.Sprintf("rename it to %s, or add to %s: %s: str", near, c.code.File, strings.ToLower(v.Name))
		}
		c.add(Finding{
			Rule: templateNotInCode, Variable: v.Name, File: c.template.File, Line: v.Line, Column: v.Column,
			Message: "no field of " + c.code.File + " accepts it", Fix: fix,
		}, c.code.File)
	}
}

func nearestField(c *code, name string) string {
	return nearest(name, sortedKeys(c.fields))
}

func (c *component) codeNotInExample() {
	done := make(map[string]bool, len(c.code.Fields))
	entries := make(map[string][]int, len(c.example.Entries))
	for i := range c.example.Entries {
		upper := strings.ToUpper(c.example.Entries[i].Name)
		entries[upper] = append(entries[upper], i)
	}
	find := func(f *python.Field, name string) (found *layer.ExampleEntry) {
		for _, i := range entries[strings.ToUpper(name)] {
			if e := &c.example.Entries[i]; (e.Name == name || !f.CaseSensitive) && (found == nil || found.Commented) {
				found = e
			}
		}
		return found
	}
	for i := range c.code.Fields {
		f := &c.code.Fields[i]
		if f.Canonical == "" || done[f.Canonical] {
			continue
		}
		done[f.Canonical] = true
		if e := find(f, f.Canonical); e != nil {
			if e.Commented && !c.mayStayComment(f, e) {
				c.add(Finding{
					Rule: onlyComment, Variable: f.Canonical, File: c.example.File, Line: e.Line, Column: e.Column,
					Message: "it stands only in a comment, and " + c.whyNeeded(f) + ": who copies the example does not get it",
					Fix:     "remove the # in front of " + e.Name + "=, or mark it [OPTIONAL]",
				}, c.code.File)
			}
			continue
		}
		message := "it does not stand in " + c.example.File
		for _, alias := range f.Accepted[1:] {
			if find(f, alias) != nil {
				message += fmt.Sprintf(": only its other name %s does", alias)
				break
			}
		}
		line, _ := exampleLine(f, c.marked(f))
		c.add(Finding{
			Rule: codeNotInExample, Variable: f.Canonical, File: c.code.File, Line: f.Line, Column: f.Column,
			Message: message, Fix: fmt.Sprintf("run envctl check --fix, or add to %s: %s", c.example.File, line),
		}, c.example.File)
	}
}

// mayStayComment tells whether leaving a commented line as it is changes
// nothing: it is optional, or says what the code does without it.
func (c *component) mayStayComment(f *python.Field, e *layer.ExampleEntry) bool {
	switch {
	case e.Optional || f.Optional && !f.Required:
		return true
	case f.Required:
		return false
	case !f.DefaultKnown:
		return true
	case f.Default == nil || *f.Default == "":
		return true
	}
	return e.Placeholder || sameValue(f, e.Value, *f.Default)
}

func (c *component) whyNeeded(f *python.Field) string {
	if f.Required {
		return "the code requires it"
	}
	return "the code's default is another"
}

// expectedExtras are the beginnings of names in an example that other programs
// read: bundles, Dokploy, docker compose, Vault's agent and envctl.
func expectedExtras() []string {
	return []string{"COMPOSE_", "DOKPLOY_", "ENVCTL_", "NEXT_PUBLIC_", "VAULT_"}
}

func (c *component) exampleNotInCode() {
	for _, e := range c.example.Entries {
		if e.Commented || c.known(e.Name) {
			continue
		}
		message := "nothing in the project reads it"
		for _, k := range c.code.Classes {
			if k.Pydantic == 2 && k.Extra == "forbid" && !k.Base && slices.ContainsFunc(k.EnvFiles, func(f string) bool { return baseOf(f) == ".env" }) {
				message += ", and " + k.Name + " refuses a .env that has it (extra is forbid)"
				break
			}
		}
		fix := "remove the line, or add the field to " + c.code.File
		if near := nearestField(c.code, e.Name); near != "" {
			fix = "rename it to " + near + ", or remove the line"
		}
		c.add(Finding{Rule: exampleNotInCode, Variable: e.Name, File: c.example.File, Line: e.Line, Column: e.Column, Message: message, Fix: fix}, c.code.File)
	}
}

// readers are all names that something in the project reads or makes.
type readers struct {
	names map[string]bool
	open  []*code // those with fields that take any name with a prefix
	any   bool    // a layer was not read in full, or reads every name there is
}

// newReaders collects names: of code, templates, generators, recipes and compose files.
func newReaders(all []*component) *readers {
	r := &readers{names: map[string]bool{}}
	for _, c := range all {
		if c.config.Code != "" && (c.code == nil || !c.code.complete) || c.config.Template != "" && c.template == nil {
			r.any = true // it may be one of the names that could not be read
		}
		if c.code != nil {
			for n := range c.code.fields {
				r.names[n] = true
			}
			for n := range c.code.extraKeys() {
				r.names[n] = true
			}
			if len(c.code.open) > 0 {
				r.open = append(r.open, c.code)
			}
		}
		if t := c.template; t != nil {
			r.any = r.any || len(t.Spreads) > 0
			for _, v := range t.Variables {
				r.names[v.Name] = true
			}
			for _, in := range t.Inputs {
				r.names[in.Key] = true
			}
			for _, e := range t.Envs {
				r.names[e] = true
			}
		}
		for n := range c.config.Generate {
			r.names[n] = true
		}
		for _, recipe := range c.config.Rotate {
			r.names[recipe.Value.Variable], r.names[recipe.Value.Previous] = true, true
		}
		if c.compose != nil {
			for n := range c.compose.names {
				r.names[n] = true
			}
		}
	}
	return r
}

// known tells whether anything in the project, or a program outside, reads a
// variable.
func (c *component) known(name string) bool {
	if c.code != nil && c.code.fields[name] != nil {
		return true
	}
	r := c.readers()
	if r.any || r.names[name] || slices.ContainsFunc(expectedExtras(), func(p string) bool { return strings.HasPrefix(name, p) }) {
		return true
	}
	if upper := strings.ToUpper(name); r.names[upper] {
		for _, o := range c.all {
			if o.code != nil && o.code.field(name) != nil {
				return true
			}
		}
	}
	return slices.ContainsFunc(r.open, func(k *code) bool { return k.field(name) != nil })
}

// extraKeys are the names that json_schema_extra lists beside a field's own.
func (c *code) extraKeys() map[string]bool {
	out := map[string]bool{}
	for _, f := range c.Fields {
		keys, _ := f.Extra["extra_keys"].([]any)
		for _, k := range keys {
			if s, ok := k.(string); ok {
				out[s] = true
			}
		}
	}
	return out
}

// marked tells whether the code says that a field's value is Vault's.
func (c *component) marked(f *python.Field) bool { return f.Extra["vault"] == true }

func (c *component) vaultMarkers() {
	if len(c.template.Spreads) > 0 {
		return // it renders every key there is
	}
	done := map[string]bool{}
	if c.example != nil {
		for _, e := range c.example.Entries {
			if !e.Vault || done[e.Name] || isPublic(e.Name) || c.rendered(c.namesOf(e.Name)) {
				continue
			}
			done[e.Name] = true
			c.markerFinding(e.Name, c.example.File, e.Line, e.Column, "marked [VAULT]")
		}
	}
	if c.code == nil {
		return
	}
	for i := range c.code.Fields {
		f := &c.code.Fields[i]
		if f.Canonical == "" || !c.marked(f) || c.rendered(f.Accepted) || slices.ContainsFunc(f.Accepted, func(n string) bool { return done[n] }) {
			continue
		}
		done[f.Canonical] = true
		c.markerFinding(f.Canonical, c.code.File, f.Line, f.Column, "marked as Vault's (json_schema_extra)")
	}
}

func (c *component) markerFinding(name, file string, line, column int, how string) {
	c.add(Finding{
		Rule: vaultMarker, Variable: name, File: file, Line: line, Column: column,
		Message: how + ", and " + c.template.File + " does not render it",
		Fix:     "run envctl check --fix, or add to " + c.template.File + ": " + c.templateLine(name),
	}, c.template.File)
}

// namesOf returns every name that the field of a variable accepts.
func (c *component) namesOf(name string) []string {
	if c.code != nil {
		if f := c.code.field(name); f != nil {
			return append([]string{name}, f.Accepted...)
		}
	}
	return []string{name}
}

// rendered tells whether a template that goes with the same example or code
// renders one of the names; for a name that the component's own code does not
// read, whether any template of the project renders it or is made of it.
func (c *component) rendered(names []string) bool {
	reads := c.code != nil && slices.ContainsFunc(names, func(n string) bool { return c.code.field(n) != nil })
	for _, o := range c.all {
		same := o == c || c.config.Example != "" && o.config.Example == c.config.Example || c.config.Code != "" && o.config.Code == c.config.Code
		switch {
		case !same && reads:
			continue
		case o.config.Template != "" && o.template == nil:
			return true // unknown, and reported
		case o.template == nil:
			continue
		case len(o.template.Spreads) > 0 && o != c:
			return true
		}
		if slices.ContainsFunc(names, func(n string) bool { return o.emits[n] }) {
			return true
		}
		if !reads && slices.ContainsFunc(o.template.Inputs, func(in layer.Input) bool { return slices.Contains(names, in.Key) }) {
			return true
		}
	}
	return false
}
