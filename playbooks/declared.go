package playbooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Layers is what a component's files declare. A layer that is not configured
// is nil; one that cannot be read has an error.
type Layers struct {
	Template *layer.Template
	Code     *python.Settings
	Example  *layer.Example

	TemplateErr, CodeErr, ExampleErr error
}

// Layers reads the three layers of a component.
func (w *World) Layers(c config.Component) Layers {
	var l Layers
	if c.Template != "" {
		src, err := w.readLayer(c.Template)
		if err == nil {
			l.Template, err = layer.ParseTemplate(c.Template, src)
		}
		l.TemplateErr = err
	}
	if c.Code != "" {
		src, err := w.readLayer(c.Code)
		if err == nil {
			l.Code, err = python.Read(c.Code, src)
		}
		l.CodeErr = err
	}
	if c.Example != "" {
		src, err := w.readLayer(c.Example)
		if err == nil {
			l.Example, err = layer.ParseExample(c.Example, src)
		}
		l.ExampleErr = err
	}
	return l
}

// Err returns what could not be read, nil when all could.
func (l Layers) Err() error { return errors.Join(l.TemplateErr, l.CodeErr, l.ExampleErr) }

// Declares tells whether a layer, a generator or a recipe of the component names
// the variable, or the template reads it as a key of the component's own path.
func (w *World) Declares(name string, l Layers, variable string) bool {
	return slices.Contains(w.Declared(name, l), variable)
}

// Declared returns, sorted and without repetition, every variable that the
// component's layers, generators and recipes name, and the keys its template
// reads from the component's own path.
func (w *World) Declared(component string, l Layers) []string {
	set := map[string]bool{}
	if l.Template != nil {
		for _, v := range l.Template.Variables {
			set[v.Name] = true
			for _, in := range v.Inputs {
				if patternComponent(in.Path) == component {
					set[in.Key] = true
				}
			}
		}
	}
	if l.Code != nil {
		for _, f := range l.Code.Fields {
			for _, n := range f.Accepted {
				set[n] = true
			}
		}
	}
	if l.Example != nil {
		for _, e := range l.Example.Entries {
			set[e.Name] = true
		}
	}
	c, _ := w.Project.Components.Get(component)
	for k := range c.Generate {
		set[k] = true
	}
	for _, r := range c.Rotate {
		set[r.Value.Variable] = true
		if r.Value.Previous != "" {
			set[r.Value.Previous] = true
		}
	}
	return sortedKeys(set)
}

// ComponentOf returns the component that is meant: the one named, else the only
// one of the project, else the only one that declares or holds the variable.
// Usage with the list where several do or none does.
func (w *World) ComponentOf(ctx context.Context, e config.Environment, named, variable string) (string, error) {
	if named != "" {
		_, err := w.Project.Component(named)
		return named, err
	}
	names := w.Project.ComponentNames()
	if len(names) == 1 {
		return names[0], nil
	}
	if len(names) == 0 {
		return "", fault.New(fault.Usage, config.FileName, "names no components", "add components: {app: {}} to it")
	}
	if variable == "" {
		return "", fault.Newf(fault.Usage, "choose a component", "name one with --component", "the project has several: %s", list(names))
	}
	found, err := w.owners(ctx, e, variable)
	if err == nil && len(found) == 0 {
		err = fault.Newf(fault.Usage, "choose a component for "+variable, "name one with --component: "+list(names), "none declares or holds it")
	}
	return onlyOwner(variable, found, err)
}

// ComponentKnowing is ComponentOf for what asks after a variable that must exist:
// one that is known nowhere is NotFound. ever: a component whose path held it once
// counts where none does now.
func (w *World) ComponentKnowing(ctx context.Context, e config.Environment, named, variable string, ever bool) (string, error) {
	names := w.Project.ComponentNames()
	if named != "" || len(names) < 2 {
		return w.ComponentOf(ctx, e, named, variable)
	}
	found, err := w.owners(ctx, e, variable)
	if ever && err == nil && len(found) == 0 {
		for _, name := range names {
			events, err := w.History(ctx, Target{e, name}, variable)
			if err == nil && slices.ContainsFunc(events, func(v Event) bool { return v.State == "set" || v.State == "empty" }) {
				found = append(found, name)
			}
		}
	}
	if err == nil && len(found) == 0 {
		err = w.unknownVariable(variable, e)
	}
	return onlyOwner(variable, found, err)
}

// unknownVariable is the error for a variable that no component declares or holds.
func (w *World) unknownVariable(variable string, e config.Environment) error {
	var all []string
	for _, c := range w.Project.Components {
		all = append(all, w.Declared(c.Key, w.Layers(c.Value))...)
	}
	hint := "run envctl list --env " + e.Name
	if near := naming.Nearest(variable, all); near != "" {
		hint = "did you mean " + near + "?"
	}
	return fault.Newf(fault.NotFound, "variable "+variable, hint, "no component declares it or holds it in %s", e.Name)
}

// owners returns the components that declare or hold a variable. The error, of
// paths that cannot be read, counts only where there is none.
func (w *World) owners(ctx context.Context, e config.Environment, variable string) ([]string, error) {
	holds, err := w.holders(ctx, e, variable)
	var found []string
	for _, c := range w.Project.Components {
		if holds[c.Key] || w.Declares(c.Key, w.Layers(c.Value), variable) {
			found = append(found, c.Key)
		}
	}
	return found, err
}

// onlyOwner is the one component of found; err says why there is none.
func onlyOwner(variable string, found []string, err error) (string, error) {
	switch len(found) {
	case 0:
		return "", err
	case 1:
		return found[0], nil
	}
	return "", fault.Newf(fault.Usage, "choose a component for "+variable, "name one with --component", "several declare or hold it: %s", list(found))
}

// ComponentOfAll is ComponentOf for variables that are written together, to one
// path. Those that no component knows go where the others do.
func (w *World) ComponentOfAll(ctx context.Context, e config.Environment, named string, variables []string) (string, error) {
	if named != "" || len(variables) == 1 || len(w.Project.Components) < 2 {
		return w.ComponentOf(ctx, e, named, variables[0])
	}
	owner, of := "", ""
	for _, v := range variables {
		found, err := w.owners(ctx, e, v)
		if err == nil && len(found) == 0 {
			continue
		}
		one, err := onlyOwner(v, found, err)
		if err != nil {
			return "", err
		}
		if owner != "" && one != owner {
			return "", fault.Newf(fault.Usage, "choose a component", "write them one after the other, or name one with --component",
				"%s is %s's and %s is %s's", of, owner, v, one)
		}
		owner, of = one, v
	}
	if owner == "" {
		return w.ComponentOf(ctx, e, named, variables[0])
	}
	return owner, nil
}

// ComponentTraced is ComponentOf for a variable that may be known nowhere, which
// is NotFound, and where a component that emits or reads the variable goes before
// those that merely hold a key of that name.
func (w *World) ComponentTraced(ctx context.Context, e config.Environment, named, variable string) (string, error) {
	var declaring []string
	for _, c := range w.Project.Components {
		if named == "" && w.Declares(c.Key, w.Layers(c.Value), variable) {
			declaring = append(declaring, c.Key)
		}
	}
	if len(declaring) == 1 {
		return declaring[0], nil
	}
	return w.ComponentKnowing(ctx, e, named, variable, false)
}

// holders tells which components' paths hold a key in an environment. What
// cannot be read does not count, and is returned as an error beside the rest.
func (w *World) holders(ctx context.Context, e config.Environment, key string) (map[string]bool, error) {
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]bool{}
	var failed error
	for _, name := range w.Project.ComponentNames() {
		wg.Go(func() {
			b, err := store.Read(ctx, w.Path(Target{e, name}), providers.Latest)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				out[name] = b.Values[key].IsSet()
			} else if !fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
				failed = err
			}
		})
	}
	wg.Wait()
	return out, failed
}

// Need is one key that an environment's path must hold.
type Need struct {
	Key      string
	Default  string // from code, for a variable that is not secret
	Optional bool   // the template or the code does without
	Spare    bool   // the template does without, so that no code default is needed
	Secret   bool
	From     string // what declares it, e.g. deploy/app/secrets.ctmpl:11
}

// AllLayers reads the layers of every component.
func (w *World) AllLayers() map[string]Layers {
	out := map[string]Layers{}
	for _, c := range w.Project.Components {
		out[c.Key] = w.Layers(c.Value)
	}
	return out
}

// Needs returns the keys that a component's path should hold, sorted: those that
// any template reads from it; where the component has no template, the variables
// its code reads; and what the project file generates or rotates.
func (w *World) Needs(component string, all map[string]Layers) []Need {
	c, _ := w.Project.Components.Get(component)
	needs := map[string]Need{}
	add := func(n Need, fields map[string]python.Field, variable string) {
		f, known := fields[variable]
		n.Secret = w.secretKey(c, n.Key) || (known && f.Secret)
		if known && !n.Secret {
			if f.Default != nil {
				n.Default = *f.Default
			}
			n.Optional = n.Optional || !f.Required
		}
		if old, seen := needs[n.Key]; seen {
			n.Spare = n.Spare && old.Spare
			n.Optional = n.Optional && old.Optional
			n.Secret = n.Secret || old.Secret
		}
		needs[n.Key] = n
	}
	for owner, l := range all {
		if l.Template == nil {
			continue
		}
		fields := codeFields(l)
		for _, v := range l.Template.Variables {
			for _, in := range v.Inputs {
				if patternComponent(in.Path) == component {
					add(Need{Key: in.Key, From: fmt.Sprintf("%s:%d", l.Template.File, v.Line), Optional: dispensable(&v), Spare: dispensable(&v)}, fields, onlyFor(owner, component, v.Name))
				}
			}
		}
	}
	if l := all[component]; l.Template == nil && l.Code != nil {
		for _, f := range l.Code.Fields {
			add(Need{Key: f.Canonical, From: fmt.Sprintf("%s:%d", c.Code, f.Line), Optional: !f.Required}, codeFields(l), f.Canonical)
		}
	}
	made := sortedKeys(c.Generate)
	for _, r := range c.Rotate {
		made = append(made, r.Value.Variable)
	}
	for _, k := range made {
		n := needs[k]
		n.Key, n.Secret = k, true
		if n.From == "" {
			n.From = config.FileName
		}
		needs[k] = n
	}
	out := make([]Need, 0, len(needs))
	for _, k := range sortedKeys(needs) {
		out = append(out, needs[k])
	}
	return out
}

// onlyFor returns the variable whose field describes a key: a key of another
// component's path is only a part of the variable it goes into.
func onlyFor(owner, component, variable string) string {
	if owner != component {
		return ""
	}
	return variable
}

// codeFields indexes the fields of a settings file by every name they accept.
func codeFields(l Layers) map[string]python.Field {
	fields := map[string]python.Field{}
	if l.Code != nil {
		for _, f := range l.Code.Fields {
			for _, n := range f.Accepted {
				fields[n] = f
			}
		}
	}
	return fields
}

// secretKey tells whether a key is one whose value must not be copied between
// environments: it is generated or rotated, or its name says so.
func (w *World) secretKey(c config.Component, key string) bool {
	if _, ok := c.Generate[key]; ok {
		return true
	}
	for _, r := range c.Rotate {
		if key == r.Value.Variable || key == r.Value.Previous {
			return true
		}
	}
	return secret.Sensitive(key)
}
