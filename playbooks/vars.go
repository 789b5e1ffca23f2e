package playbooks

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/formats"
)

// VarTable is every variable of a project.
type VarTable struct {
	Schema       string       `json:"schema"`
	Project      string       `json:"project"`
	Environments []VarEnv     `json:"environments"`
	Variables    []Variable   `json:"variables"`
	Findings     []VarFinding `json:"findings"`
	Unreadable   bool         `json:"-"` // a layer is: the table has gaps
}

// VarEnv is an environment of the table.
type VarEnv struct {
	Name  string `json:"name"`
	Store string `json:"store"`
	Base  string `json:"base,omitempty"` // whose values stand in where this one has none
}

// Pattern tells that it is many environments, such as pr-*, of which no store holds
// one by that name.
func (e VarEnv) Pattern() bool { return strings.Contains(e.Name, "*") }

// Variable is one variable of one component.
type Variable struct {
	Name        string     `json:"variable"`
	Component   string     `json:"component"`
	Aliases     []string   `json:"aliases,omitempty"` // other names the code accepts
	Type        string     `json:"type,omitempty"`
	Need        string     `json:"need"`              // required, optional, infrastructure: no code reads it
	Secret      bool       `json:"secret"`            //
	Default     *string    `json:"default,omitempty"` // [secret] where it is one
	Description string     `json:"description,omitempty"`
	Declared    []VarPlace `json:"declared"`
	// From says where its value comes from, in terms of {env}.
	From    string      `json:"from"`
	Sources []VarSource `json:"sources"` // by environment
}

// VarPlace is where a layer declares a variable.
type VarPlace struct {
	Layer string `json:"layer"` // template, code, example, project
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"`
}

// VarSource is where one environment's value comes from.
type VarSource struct {
	Environment string     `json:"environment"`
	Source      string     `json:"source"` // store, template, code, compose, none
	Inputs      []VarInput `json:"inputs,omitempty"`
	Else        string     `json:"else,omitempty"`  // what stands in for a missing input: template, code
	State       string     `json:"state,omitempty"` // with --live: set, empty, unset, default, denied, unreachable
}

// VarInput is a store key that a value is made of.
type VarInput struct {
	Path  string `json:"path"`
	Key   string `json:"key"`
	State string `json:"state,omitempty"` // with --live
}

// Only leaves in the table what names mean, in any of which a * stands for any part;
// none: all. NotFound for a name that is no variable's.
func (t *VarTable) Only(names []string) error {
	if len(names) == 0 {
		return nil
	}
	is := func(pattern, name string) bool {
		ok, err := path.Match(strings.ToUpper(pattern), strings.ToUpper(name))
		return ok && err == nil
	}
	for _, n := range names {
		if slices.ContainsFunc(t.Variables, func(v Variable) bool { return is(n, v.Name) }) {
			continue
		}
		known := make([]string, 0, len(t.Variables))
		for _, v := range t.Variables {
			known = append(known, v.Name)
		}
		hint := "run envctl vars"
		if near := naming.Nearest(n, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		return fault.New(fault.NotFound, "vars "+n, "no variable has that name", hint)
	}
	t.Variables = slices.DeleteFunc(t.Variables, func(v Variable) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return is(n, v.Name) })
	})
	return nil
}

// VarFinding is a name that is no variable's, or a layer that cannot be read.
type VarFinding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Variable string `json:"variable,omitempty"`
	Message  string `json:"message"`
}

// Vars lists the variables of some components, by component in the file's order
// and then by name. live asks the stores which of the keys they hold.
func (w *World) Vars(ctx context.Context, components []string, live bool) (*VarTable, error) {
	t := &VarTable{Schema: "envctl.vars/v1", Project: w.Project.Name, Environments: []VarEnv{}, Variables: []Variable{}, Findings: []VarFinding{}}
	var envs []config.Environment
	for _, n := range w.Project.EnvironmentNames() {
		e, err := w.Project.Environment(n)
		if err != nil {
			return nil, err
		}
		envs = append(envs, e)
		t.Environments = append(t.Environments, VarEnv{e.Name, e.Store, e.Base})
	}
	for _, e := range w.Project.Environments {
		if !strings.Contains(e.Key, "*") {
			continue
		}
		if one, err := w.Project.Environment(strings.ReplaceAll(e.Key, "*", "1")); err == nil {
			t.Environments = append(t.Environments, VarEnv{e.Key, one.Store, one.Base})
		}
	}
	all := w.AllLayers()
	for _, c := range w.Project.Components {
		if !slices.Contains(components, c.Key) {
			continue
		}
		v := &varReader{w: w, name: c.Key, comp: c.Value, layers: all[c.Key], all: all, envs: envs, table: t, byName: map[string]*Variable{}}
		v.read()
	}
	slices.SortStableFunc(t.Findings, func(a, b VarFinding) int { return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line) })
	t.Findings = slices.Compact(t.Findings) // components may share a file
	if live {
		w.askStores(ctx, t, envs)
	}
	return t, nil
}

// varReader collects one component's variables.
type varReader struct {
	w      *World
	name   string
	comp   config.Component
	layers Layers
	all    map[string]Layers
	envs   []config.Environment
	table  *VarTable
	byName map[string]*Variable
	fields map[string]python.Field
}

func (r *varReader) find(file string, line int, variable, format string, args ...any) {
	r.table.Findings = append(r.table.Findings, VarFinding{file, line, variable, fmt.Sprintf(format, args...)})
}

// row returns the variable that a name means: a field's canonical name where the
// code accepts it as an alias.
func (r *varReader) row(name string) *Variable {
	if f, ok := r.fields[name]; ok && f.Canonical != "" {
		name = f.Canonical
	}
	v := r.byName[name]
	if v == nil {
		v = &Variable{Name: name, Component: r.name, Need: "infrastructure", Declared: []VarPlace{}}
		r.byName[name] = v
	}
	return v
}

func (r *varReader) declare(name, layerName, file string, line int) *Variable {
	if !IsVariable(name) {
		r.find(file, line, name, "%q is no variable's name: capitals, digits and _", name)
	}
	v := r.row(name)
	p := VarPlace{layerName, file, line}
	if !slices.Contains(v.Declared, p) {
		v.Declared = append(v.Declared, p)
	}
	return v
}

func (r *varReader) read() {
	l := r.layers
	for _, x := range []struct {
		file string
		err  error
	}{{r.comp.Template, l.TemplateErr}, {r.comp.Code, l.CodeErr}, {r.comp.Example, l.ExampleErr}} {
		if x.err != nil {
			r.table.Unreadable = true
			r.find(x.file, 0, "", "cannot be read: %s", x.err)
		}
	}
	r.fields = codeFields(l)
	if l.Template != nil {
		for _, v := range l.Template.Variables {
			r.declare(v.Name, "template", l.Template.File, v.Line)
		}
	}
	if l.Code != nil {
		for _, f := range l.Code.Fields {
			if f.Canonical == "" {
				continue
			}
			r.describe(r.declare(f.Canonical, "code", l.Code.File, f.Line), &f)
		}
	}
	if l.Example != nil {
		for _, e := range l.Example.Entries {
			v := r.declare(e.Name, "example", l.Example.File, e.Line)
			if v.Description == "" {
				v.Description = e.Description
			}
		}
	}
	for _, n := range r.w.Needs(r.name, r.all) {
		v := r.row(n.Key)
		v.Secret = v.Secret || n.Secret
		if len(v.Declared) == 0 {
			file, line := n.From, 0
			if i := strings.LastIndexByte(n.From, ':'); i > 0 {
				_, _ = fmt.Sscanf(n.From[i+1:], "%d", &line)
				file = n.From[:i]
			}
			name := "template"
			if line == 0 {
				name = "project"
			}
			v.Declared = append(v.Declared, VarPlace{name, file, line})
		}
	}
	composed := r.composed()
	for _, n := range sortedKeys(r.byName) {
		v := r.byName[n]
		v.Secret = v.Secret || r.w.secretKey(r.comp, n) || v.Default != nil && secret.New(*v.Default).CarriesPassword()
		if v.Secret && v.Default != nil && *v.Default != "" && *v.Default != "None" {
			mask := secret.Value{}.String()
			v.Default = &mask
		}
		r.sources(v, composed)
		r.table.Variables = append(r.table.Variables, *v)
	}
}

// describe takes over what the code says of a variable.
func (r *varReader) describe(v *Variable, f *python.Field) {
	v.Type, v.Need, v.Secret = f.Type, "optional", v.Secret || f.Secret
	for _, n := range f.Accepted {
		if n != v.Name && !slices.Contains(v.Aliases, n) {
			v.Aliases = append(v.Aliases, n)
		}
	}
	none, computed := "None", "computed"
	switch {
	case f.Required:
		v.Need = "required"
	case f.Default != nil:
		v.Default = f.Default
	case f.DefaultKnown:
		v.Default = &none
	default:
		v.Default = &computed
	}
	if f.Description != "" {
		v.Description = f.Description
	}
}

// composed returns the variables that the component's compose file sets, with
// their lines.
func (r *varReader) composed() map[string]int {
	out := map[string]int{}
	if r.comp.Compose == "" {
		return out
	}
	src, err := r.w.readLayer(r.comp.Compose)
	if err != nil {
		return out
	}
	items, err := formats.Read(formats.Compose, r.comp.Compose, src, formats.ReadOptions{})
	if err != nil {
		return out // check reports it; this table is about the layers
	}
	for _, i := range items {
		out[i.Key] = i.Line
	}
	return out
}

// sources says where a variable's value comes from.
func (r *varReader) sources(v *Variable, composed map[string]int) {
	tmpl := r.layers.Template
	var tv *layer.TemplateVariable
	for _, n := range append([]string{v.Name}, v.Aliases...) {
		if found, _ := emitted(tmpl, n); found != nil && tv == nil {
			tv = found
		}
	}
	fallback := ""
	if v.Need == "optional" {
		fallback = "code"
	}
	s := VarSource{Source: "none"}
	pattern := ""
	switch {
	case tv != nil && len(tv.Inputs) > 0:
		s.Source = "store"
		switch {
		case tv.HasDefault || tv.Static:
			fallback = "template"
		case tv.Conditional == layer.Always:
			fallback = "" // it renders something in any case, which the code reads
		}
		var parts []string
		for _, in := range tv.Inputs {
			parts = append(parts, r.symbolic(in.Path)+"#"+in.Key)
		}
		pattern = strings.Join(parts, " + ")
	case tv != nil:
		s.Source, fallback, pattern = "template", "", "the template's own text"
		if v.Default == nil && len(tv.Literals) > 0 && !v.Secret {
			v.Default = &tv.Literals[0]
		}
	case composed[v.Name] > 0:
		s.Source, pattern = "compose", r.comp.Compose
	case tmpl == nil || r.isKey(v.Name):
		s.Source, pattern = "store", fmt.Sprintf("%s/{env}/%s#%s", r.w.Project.Name, r.name, v.Name)
	case fallback == "code":
		s.Source, fallback, pattern = "code", "", "the code's default"
	default:
		pattern = "nowhere"
	}
	s.Else, v.From = fallback, pattern
	if fallback != "" {
		v.From += ", else the " + fallback + "'s default"
	}
	for _, e := range r.envs {
		es := s
		es.Environment = e.Name
		t := Target{Environment: e, Component: r.name}
		switch {
		case s.Source != "store":
		case tv != nil && len(tv.Inputs) > 0:
			for _, in := range tv.Inputs {
				path := in.Path
				if p, err := r.w.resolvePath(tmpl, in.Path, t); err == nil {
					path = p.String()
				}
				es.Inputs = append(es.Inputs, VarInput{Path: path, Key: in.Key})
			}
		default:
			es.Inputs = []VarInput{{Path: r.w.Path(t).String(), Key: v.Name}}
		}
		v.Sources = append(v.Sources, es)
	}
}

// isKey tells whether some template reads a key of that name from the
// component's own path.
func (r *varReader) isKey(name string) bool {
	for _, l := range r.all {
		if l.Template == nil {
			continue
		}
		for _, in := range l.Template.Inputs {
			if in.Key == name && patternComponent(in.Path) == r.name {
				return true
			}
		}
	}
	return false
}

// symbolic writes a template's path as people do: without the mount, with {env}.
func (r *varReader) symbolic(pattern string) string {
	p := strings.TrimPrefix(strings.Trim(pattern, "/"), r.w.Project.Vault.Mount+"/data/")
	return strings.NewReplacer("{ENV}", "{env}", "{ENVIRONMENT}", "{env}", "{PROJECT}", r.w.Project.Name).Replace(p)
}

// askStores fills in the states: every path once, those of one environment at
// the same time. A store that does not answer is a state.
func (w *World) askStores(ctx context.Context, t *VarTable, envs []config.Environment) {
	for _, e := range envs {
		states := w.askPaths(ctx, t, e)
		for i := range t.Variables {
			for j := range t.Variables[i].Sources {
				s := &t.Variables[i].Sources[j]
				if s.Environment == e.Name {
					s.State = settleInputs(s, states)
				}
			}
		}
	}
}

// pathState is what a store said of a path.
type pathState struct {
	bundle providers.Bundle
	err    string // "", denied, unreachable
}

func (w *World) askPaths(ctx context.Context, t *VarTable, e config.Environment) map[string]pathState {
	wanted := map[string]naming.Path{}
	for _, v := range t.Variables {
		for _, s := range v.Sources {
			for _, in := range s.Inputs {
				if p, err := naming.ParsePath(w.Project.Vault.Mount, in.Path); err == nil && s.Environment == e.Name {
					wanted[in.Path] = p
				}
			}
		}
	}
	out := map[string]pathState{}
	store, err := w.Store(e)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for text, p := range wanted {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			s, rerr := pathState{}, err
			if rerr == nil {
				s.bundle, rerr = w.readWithBase(ctx, store, Target{Environment: e}, p, providers.Latest)
			}
			switch {
			case rerr == nil, fault.Is(rerr, fault.NotFound, fault.Deleted, fault.Destroyed):
			case fault.Is(rerr, fault.Denied, fault.Expired, fault.WrongIdentity):
				s.err = "denied"
			default:
				s.err = "unreachable"
			}
			mu.Lock()
			out[text] = s
			mu.Unlock()
		})
	}
	wg.Wait()
	return out
}

// settleInputs gives each input its state, and returns the variable's.
func settleInputs(s *VarSource, paths map[string]pathState) string {
	if s.Source != "store" {
		return ""
	}
	state := "set"
	for i := range s.Inputs {
		in := &s.Inputs[i]
		p := paths[in.Path]
		if in.State = p.err; p.err == "" {
			in.State = stateOf(p.bundle.Values[in.Key])
		}
		rank := []string{"set", "empty", "unset", "denied", "unreachable"}
		if slices.Index(rank, in.State) > slices.Index(rank, state) {
			state = in.State
		}
	}
	if state == "unset" && s.Else != "" {
		return "default"
	}
	return state
}
