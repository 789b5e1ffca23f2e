package playbooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
)

// LayerEdit is what a change of a variable makes of one file.
type LayerEdit struct {
	Layer    string // template, code, example
	File     string
	Old, New []byte
}

// Diff returns the edit as a unified diff.
func (e LayerEdit) Diff() string { return unified(e.File, e.Old, e.New) }

// VarChange is a variable added, renamed or removed across a component's
// layers. Each new file has been read back: it says all that it said before, but
// for this variable.
type VarChange struct {
	Action, Component, Variable, To string
	Edits                           []LayerEdit
	Next                            []string // commands to type afterwards
	Notes                           []string // what stays to be done by hand
}

// varEditor makes a change of one component's layers.
type varEditor struct {
	w      *World
	name   string
	comp   config.Component
	layers Layers
	change *VarChange
}

// editing reads a component's layers for a change; Invalid when one of them
// cannot be read.
func (w *World) editing(component, action, variable string) (*varEditor, error) {
	c, err := w.Project.Component(component)
	if err != nil {
		return nil, err
	}
	e := &varEditor{w: w, name: component, comp: c, layers: w.Layers(c), change: &VarChange{Action: action, Component: component, Variable: variable}}
	if err := e.layers.Err(); err != nil {
		return nil, err
	}
	if e.layers.Template == nil && e.layers.Code == nil && e.layers.Example == nil {
		return nil, fault.Newf(fault.Usage, "var "+action+" "+variable, "name its template, code or example in "+config.FileName, "the component %s has no layers", component)
	}
	return e, nil
}

// DeclaringComponent returns the component whose layers are meant: the one
// named, the only one, or the only one that declares the variable.
func (w *World) DeclaringComponent(named, variable string) (string, error) {
	if named != "" {
		_, err := w.Project.Component(named)
		return named, err
	}
	names := w.Project.ComponentNames()
	if len(names) == 1 {
		return names[0], nil
	}
	var found []string
	for _, c := range w.Project.Components {
		l := w.Layers(c.Value)
		e := &varEditor{w: w, name: c.Key, comp: c.Value, layers: l}
		if variable == "" && (l.Template != nil || l.Code != nil || l.Example != nil) || variable != "" && e.declares(variable) {
			found = append(found, c.Key)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if variable != "" {
			return "", fault.New(fault.NotFound, "var "+variable, "no layer declares it", "run envctl vars")
		}
		found = names
	}
	return "", fault.New(fault.Usage, "choose a component", "several are meant", "name one with --component: "+list(found))
}

// in tells which layers declare a variable.
func (e *varEditor) in(variable string) (template, code, example bool) {
	if t := e.layers.Template; t != nil {
		template = slices.Contains(t.Names(), variable)
	}
	if e.layers.Code != nil {
		code = e.field(variable) != nil
	}
	if x := e.layers.Example; x != nil {
		_, example = x.Lookup(variable)
	}
	return template, code, example
}

func (e *varEditor) declares(variable string) bool {
	t, c, x := e.in(variable)
	return t || c || x
}

// field returns the field that a variable fills; not one that takes any name of
// a prefix.
func (e *varEditor) field(variable string) *python.Field {
	for i, f := range e.layers.Code.Fields {
		if slices.ContainsFunc(f.Accepted, func(a string) bool { return a == variable || !f.CaseSensitive && strings.EqualFold(a, variable) }) {
			return &e.layers.Code.Fields[i]
		}
	}
	return nil
}

func (e *varEditor) op() string { return "var " + e.change.Action + " " + e.change.Variable }

// byHand refuses with what a person has to do.
func (e *varEditor) byHand(file, hint, format string, args ...any) error {
	return fault.Newf(fault.Refused, e.op()+" in "+file, hint, format, args...)
}

// source reads a layer's file.
func (e *varEditor) source(rel string) (string, error) {
	src, err := e.w.readLayer(rel)
	return string(src), err
}

func (e *varEditor) edit(layerName, file, old, fresh string) {
	for i, x := range e.change.Edits {
		if x.File == file {
			e.change.Edits[i].New = []byte(fresh)
			return
		}
	}
	e.change.Edits = append(e.change.Edits, LayerEdit{layerName, file, []byte(old), []byte(fresh)})
}

// templateShape is what a template says, without its lines: one text a
// variable, and what follows from all of them.
func templateShape(t *layer.Template, except func(layer.TemplateVariable) bool, rename func(string) string) []string {
	var out []string
	for _, v := range t.Variables {
		if except != nil && except(v) {
			continue
		}
		var in []string
		for _, i := range v.Inputs {
			in = append(in, i.Path+"#"+rename(i.Key))
		}
		out = append(out, fmt.Sprintf("%s %q %q %q %v %q %v %v %q %v", rename(v.Name), in, v.Envs, v.Default, v.HasDefault, v.Literals, v.Static, v.Conditional, v.Quotings, v.Opaque))
	}
	for _, p := range t.Paths {
		out = append(out, "path "+p.Pattern)
	}
	for _, s := range t.Spreads {
		out = append(out, "spread "+s.Path)
	}
	return append(out, fmt.Sprint(len(t.Problems), len(t.Duplicates())))
}

func same(s string) string { return s }

// rendered gives the variables of a template with made-up values for every
// key (or for none), in each environment; what a reader would see.
func (e *varEditor) rendered(t *layer.Template, bare bool, except func(string) bool, rename func(string) string) ([]string, []secret.Value, error) {
	var names []string
	var values []secret.Value
	for _, env := range e.w.Project.EnvironmentNames() {
		cfg, err := e.w.Project.Environment(env)
		if err != nil {
			return nil, nil, err
		}
		r, err := layer.Render(context.Background(), t, layer.RenderInput{
			Env: e.w.templateEnv(Target{Environment: cfg, Component: e.name}),
			Secret: func(context.Context, string) (layer.SecretData, error) {
				d := layer.SecretData{Values: map[string]secret.Value{}, Version: 1}
				for _, in := range t.Inputs {
					if !bare {
						d.Values[in.Key] = secret.New("x")
					}
				}
				return d, nil
			},
		})
		if err != nil {
			return nil, nil, err
		}
		problems := map[string]int{}
		for _, p := range r.Problems {
			if !except(p.Variable) {
				problems[rename(p.Variable)+" "+p.Rule]++
			}
		}
		for _, v := range r.Variables {
			if !except(v.Name) {
				names, values = append(names, env+" "+rename(v.Name)), append(values, v.Value)
			}
		}
		for _, k := range sortedKeys(problems) {
			names, values = append(names, fmt.Sprint(env, k, problems[k])), append(values, secret.New(""))
		}
	}
	return names, values, nil
}

// sameTemplate tells whether a new template says and renders what the old one
// does, the variable in question aside.
func (e *varEditor) sameTemplate(old, fresh *layer.Template, except func(layer.TemplateVariable) bool, rename func(string) string) bool {
	if !slices.Equal(templateShape(old, except, rename), templateShape(fresh, except, same)) {
		return false
	}
	gone := func(name string) bool {
		return except != nil && name != "" && except(layer.TemplateVariable{Name: name})
	}
	for _, bare := range []bool{false, true} {
		n1, v1, err1 := e.rendered(old, bare, gone, rename)
		n2, v2, err2 := e.rendered(fresh, bare, gone, same)
		if (err1 != nil) != (err2 != nil) || !slices.Equal(n1, n2) || !slices.EqualFunc(v1, v2, secret.Value.Equal) {
			return false
		}
	}
	return true
}

// codeShape is what a settings file says, without its lines.
func codeShape(s *python.Settings, except func(*python.Field) bool) []string {
	var out []string
	for i := range s.Fields {
		f := s.Fields[i]
		if except != nil && except(&f) {
			continue
		}
		def := "-"
		if f.Default != nil {
			def = *f.Default
		}
		out = append(out, fmt.Sprintf("%s.%s %q %q %q %q %v %s %v %v %v %v %q %v %q %+v %q %v", f.Class, f.Name, f.Canonical, f.Accepted, f.Prefixes, f.Aliases,
			f.CaseSensitive, f.Type, f.Optional, f.Required, f.Secret, f.Custom, def, f.DefaultKnown, f.Choices, f.Constraints, f.Description, f.Extra))
	}
	for _, c := range s.Classes {
		c.Line = 0
		out = append(out, fmt.Sprintf("%+v", c))
	}
	problems := make([]string, 0, len(s.Problems))
	for _, p := range s.Problems {
		problems = append(problems, fmt.Sprint(p.Kind, p.Class, p.Field, p.Message))
	}
	return append(out, problems...)
}

// exampleShape is what an example says, without its lines.
func exampleShape(x *layer.Example, except string, rename func(string) string) []string {
	var out []string
	for _, e := range x.Entries {
		if e.Name != except {
			out = append(out, fmt.Sprintf("%s %q %v %q %q %v %v %v", rename(e.Name), e.Value, e.Commented, e.Group, e.Description, e.Vault, e.Optional, e.Placeholder))
		}
	}
	return append(out, fmt.Sprint(x.Groups, len(x.Problems)))
}

// finish reads the changed layers once more and refuses when they do not agree
// on the variable although they did before.
func (e *varEditor) finish(name string, before bool) (*VarChange, error) {
	if len(e.change.Edits) == 0 {
		return nil, fault.New(fault.Usage, e.op(), "there is nothing to change", "run envctl vars")
	}
	now := &varEditor{w: e.w, name: e.name, comp: e.comp, layers: e.layers, change: e.change}
	for _, x := range e.change.Edits {
		var err error
		switch x.File {
		case e.comp.Template:
			now.layers.Template, err = layer.ParseTemplate(x.File, x.New)
		case e.comp.Code:
			now.layers.Code, err = python.Read(x.File, x.New)
		case e.comp.Example:
			now.layers.Example, err = layer.ParseExample(x.File, x.New)
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Refused, e.op(), "make the change by hand")
		}
	}
	if before && !now.agree(name) {
		return nil, fault.Newf(fault.Refused, e.op(), "make the change by hand, then run envctl check", "the layers would not agree on %s afterwards", name)
	}
	return e.change, nil
}

// agree tells whether template ⊆ code ⊆ example holds for a variable.
func (e *varEditor) agree(name string) bool {
	template, code, example := e.in(name)
	if e.layers.Code != nil && template && !code {
		return false
	}
	return e.layers.Example == nil || !code || example || e.documented(name)
}

// documented tells whether the example names the field's canonical name.
func (e *varEditor) documented(name string) bool {
	f := e.field(name)
	if f == nil {
		return false
	}
	_, ok := e.layers.Example.Lookup(f.Canonical)
	return ok
}

// mentions notes the places outside the layers that name a variable.
func (e *varEditor) mentions(variable, verb string) {
	word := regexp.MustCompile(`\b` + regexp.QuoteMeta(variable) + `\b`)
	for _, file := range []string{config.FileName, e.comp.Compose} {
		if file == "" {
			continue
		}
		src, err := e.w.readLayer(file)
		if err != nil {
			continue
		}
		for i, line := range strings.Split(string(src), "\n") {
			if code, _, _ := strings.Cut(line, "#"); word.MatchString(code) {
				e.change.Notes = append(e.change.Notes, fmt.Sprintf("%s:%d names %s: %s it there too", file, i+1, variable, verb))
			}
		}
	}
}

// ApplyVarChange writes the files, each whole and only if it still is what was
// read; when one cannot be written those before it are put back.
func (w *World) ApplyVarChange(c *VarChange) error {
	op := "var " + c.Action + " " + c.Variable
	type target struct {
		path string
		mode os.FileMode
	}
	var done []int
	targets := make([]target, len(c.Edits))
	for i, e := range c.Edits {
		abs, err := w.Project.Path(e.File)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return fault.Wrap(err, fault.Invalid, op, "")
		}
		st, err := os.Stat(abs)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, op, "")
		}
		targets[i] = target{abs, st.Mode().Perm()}
	}
	for i, e := range c.Edits {
		now, err := atomicfile.Read(targets[i].path, layerLimit)
		if err == nil && !bytes.Equal(now, e.Old) {
			err = fault.New(fault.Conflict, op, e.File+" was changed in the meantime, and was left as it is", "run the command again")
		}
		if err == nil {
			err = atomicfile.Write(targets[i].path, e.New, targets[i].mode)
		}
		if err == nil {
			done = append(done, i)
			continue
		}
		for _, d := range done {
			if back := atomicfile.Write(targets[d].path, c.Edits[d].Old, targets[d].mode); back != nil {
				err = errors.Join(fault.Wrap(err, fault.Partial, "", c.Edits[d].File+" is changed and could not be put back"), back)
			}
		}
		return err
	}
	return nil
}

// lineAt returns the offsets of a line of s (from 1), its end without and with
// its newline.
func lineAt(s string, line int) (start, end, next int) {
	for ; line > 1; line-- {
		i := strings.IndexByte(s[start:], '\n')
		if i < 0 {
			return len(s), len(s), len(s)
		}
		start += i + 1
	}
	end, next = len(s), len(s)
	if i := strings.IndexByte(s[start:], '\n'); i >= 0 {
		end, next = start+i, start+i+1
	}
	if end > start && s[end-1] == '\r' {
		end--
	}
	return start, end, next
}

// newline is a file's line end.
func newline(s string) string {
	if i := strings.IndexByte(s, '\n'); i > 0 && s[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// insertLines puts text (lines with "\n") below a line of s; line 0 is the top.
func insertLines(s string, line int, text string) string {
	at := 0
	if line > 0 {
		_, _, at = lineAt(s, line)
	}
	eol := newline(s)
	text = strings.ReplaceAll(text, "\n", eol)
	if at == len(s) && s != "" && !strings.HasSuffix(s, "\n") {
		return s + eol + strings.TrimSuffix(text, eol)
	}
	return s[:at] + text + s[at:]
}

// removeLines takes the lines from first to last out of s.
func removeLines(s string, first, last int) string {
	start, _, _ := lineAt(s, first)
	_, _, next := lineAt(s, last)
	if next == len(s) && !strings.HasSuffix(s, "\n") {
		return strings.TrimSuffix(strings.TrimSuffix(s[:start], "\n"), "\r") // the last line had no end
	}
	return s[:start] + s[next:]
}
