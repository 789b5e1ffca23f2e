package layer

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"envctl/internal/secret"
)

// stand is what stands for a key's value where a template is only tried: a number,
// a text and a truth.
const stand = "1"

// Keys is a pair of keys of one path, of which one keeps the old value of the other.
type Keys struct {
	Current, Previous string
	// At tells whether a path, as a template writes it, is theirs.
	At func(path string) bool
	// Env is what env answers. Others are those of other environments: what is rendered in
	// one of them and not with Env depends on the environment.
	Env    map[string]string
	Others []map[string]string
}

// Receiver is a component that may be given values of a path.
type Receiver struct {
	Name     string
	Template *Template
	All      bool // it is given every key, or may be
}

// Split tells which components are given both values of a pair, or may be, and the
// templates that pass on the current one alone.
func (k Keys) Split(ctx context.Context, all []Receiver) (both []string, lone []Lone) {
	for _, r := range all {
		switch {
		case r.All:
			both = append(both, r.Name)
		case r.Template == nil, !k.passes(ctx, r.Template, k.Current):
		case k.passes(ctx, r.Template, k.Previous):
			both = append(both, r.Name)
		default:
			lone = append(lone, k.lone(r))
		}
	}
	return both, lone
}

// passes tells whether what a template renders may depend on a key: it reads the key
// by its name, or with all others that the path has. True also for what only the real
// store can tell.
func (k Keys) passes(ctx context.Context, t *Template, key string) bool {
	theirs := false
	for _, p := range t.Paths {
		own, known := k.own(p)
		if !known {
			return true // it may be theirs
		}
		theirs = theirs || own
	}
	if !theirs {
		return false
	}
	named := slices.ContainsFunc(t.Inputs, func(in Input) bool { return in.Key == key && k.reads(t, in) })
	here := k.differs(ctx, t, k.Env, key)
	if here || !named {
		return here
	}
	// A condition on values that a stand-in does not meet, or one on the environment.
	return !slices.ContainsFunc(k.Others, func(env map[string]string) bool { return k.differs(ctx, t, env, key) })
}

// own tells whether a path is that of the keys, where that is known.
func (k Keys) own(p TemplatePath) (own, known bool) {
	text, known := p.Resolve(k.Env)
	for _, name := range p.Envs {
		_, has := k.Env[name]
		known = known && has
	}
	return known && k.At(text), known
}

// reads tells whether an input is of the keys' path.
func (k Keys) reads(t *Template, in Input) bool {
	return slices.ContainsFunc(t.Paths, func(p TemplatePath) bool {
		own, _ := k.own(p)
		return own && p.Pattern == in.Path
	})
}

// differs tells whether a template renders something else where the path has a key; true
// where it cannot be tried.
func (k Keys) differs(ctx context.Context, t *Template, env map[string]string, key string) bool {
	vars := maps.Clone(env)
	for _, name := range t.Envs {
		if _, known := env[name]; !known {
			vars[name] = stand
		}
	}
	with, err := k.try(ctx, t, vars, key, true)
	if err != nil {
		return true
	}
	without, err := k.try(ctx, t, vars, key, false)
	return err != nil || !with.Equal(without)
}

// try renders with a store of stand-ins, in which the path has the key or not.
func (k Keys) try(ctx context.Context, t *Template, env map[string]string, key string, has bool) (secret.Value, error) {
	r, err := Render(ctx, t, RenderInput{
		Env: env, Local: true,
		Secret: func(_ context.Context, path string) (SecretData, error) {
			values := make(map[string]secret.Value, len(t.Inputs)+1)
			for _, in := range t.Inputs {
				values[in.Key] = secret.New(stand)
			}
			if k.At(path) {
				if delete(values, key); has {
					values[key] = secret.New(stand)
				}
			}
			return SecretData{Values: values, Version: 1}, nil
		},
	})
	return r.Text, err
}

// Lone is a template that renders the current value of a pair of keys and not the
// previous one.
type Lone struct {
	Component string
	File      string
	At        TemplateVariable // what it makes of the current key; no Name where that is no assignment
	Previous  string           // the key
	Misread   string           // the other key that a variable of the previous one's name is made of, "" for none
	Elsewhere bool             // another environment is given the previous value
	Line      string           // that would render the previous key, where the store has it
	Below     int              // the line that it goes below, 0 where no place says just that
}

func (k Keys) lone(r Receiver) Lone {
	t := r.Template
	l := Lone{Component: r.Name, File: t.File, Previous: k.Previous}
	l.Elsewhere = slices.ContainsFunc(t.Inputs, func(in Input) bool { return in.Key == k.Previous && k.reads(t, in) })
	for i := range t.Variables {
		v := &t.Variables[i]
		if v.Name == k.Previous && !l.Elsewhere && len(v.Inputs) > 0 && l.Misread == "" {
			l.Misread = v.Inputs[0].Key
		}
		n := slices.IndexFunc(v.Inputs, func(in Input) bool { return in.Key == k.Current && k.reads(t, in) })
		if n >= 0 && l.At.Name == "" {
			l.At = *v
			l.Below, l.Line = t.beside(v, v.Inputs[n], k.Previous)
		}
	}
	return l
}

// What says what is wrong with it.
func (l Lone) What() string {
	if l.Misread != "" {
		return fmt.Sprintf("makes %s of the key %s, and never reads the key %s", l.Previous, l.Misread, l.Previous)
	}
	if l.Elsewhere {
		return "renders " + l.Previous + ", but not in this environment"
	}
	return "renders " + cmp.Or(l.At.Name, "the current value") + " and never reads " + l.Previous
}

// ToDo says how it would render the previous key.
func (l Lone) ToDo() string {
	switch {
	case l.Elsewhere:
		return "let " + l.File + " render it in every environment that has " + cmp.Or(l.At.Name, "the current value")
	case l.Misread != "":
		return "let it read .Data.data." + l.Previous + " for " + l.Previous
	case l.Below > 0:
		return fmt.Sprintf("add below line %d of %s: %s", l.Below, l.File, l.Line)
	case l.Line != "":
		return fmt.Sprintf("add to %s: %s", l.File, l.Line)
	}
	return "let " + l.File + " render " + l.Previous + " too"
}

// beside returns the line that renders a second key of the path that a variable is
// made of, written as that variable's own, and the number of the line that it goes
// below: 0 where no place was found at which it says just that. Without the key it is
// no variable at all: an empty signing key would be one that everybody knows.
func (t *Template) beside(v *TemplateVariable, in Input, key string) (below int, line string) {
	all := strings.SplitAfter(t.src, "\n")
	like := strings.TrimSpace(all[v.Line-1])
	line = "{{ with " + accessOf(like, in.Key) + "." + key + " }}" + key + "=" + quotedLike(like, v) + "{{ end }}"
	if strings.HasPrefix(like, "export ") {
		line = strings.Replace(line, key+"=", "export "+key+"=", 1)
	}
	const near = 20
	for at := v.Line; at <= min(len(all), v.Line+near); at++ {
		if !strings.HasSuffix(all[at-1], "\n") {
			continue
		}
		after, err := ParseTemplate(t.File, []byte(strings.Join(all[:at], "")+line+"\n"+strings.Join(all[at:], "")))
		says := func(n TemplateVariable) bool {
			return n.Name == key && n.Line == at+1 && len(n.Inputs) == 1 && n.Inputs[0].Path == in.Path && n.Inputs[0].Key == key
		}
		if err == nil && len(after.Variables) == len(t.Variables)+1 && len(after.Problems) == len(t.Problems) && slices.ContainsFunc(after.Variables, says) {
			return at, line
		}
	}
	return 0, line
}

// accessOf is how a line gets at a key: .Data.data in .Data.data.KEY, $app.Data.data.
func accessOf(line, key string) string {
	end := strings.Index(line, "."+key)
	if end < 0 {
		return ".Data.data"
	}
	at := end
	for at > 0 && (line[at-1] == '.' || line[at-1] == '$' || isName("_"+line[at-1:at])) {
		at--
	}
	return line[at:end]
}

// quotedLike writes the value of a with as a variable's own is written.
func quotedLike(line string, v *TemplateVariable) string {
	switch {
	case slices.Contains(v.Quotings, "shquote"):
		return "{{ shquote . }}"
	case slices.Contains(v.Quotings, "%q"):
		return `{{ printf "%q" . }}`
	case slices.Contains(v.Quotings, "toJSON"):
		return "{{ toJSON . }}"
	}
	for _, q := range []string{`"`, "'"} {
		if strings.Contains(line, v.Name+"="+q) {
			return q + "{{ . }}" + q
		}
	}
	return "{{ . }}"
}
