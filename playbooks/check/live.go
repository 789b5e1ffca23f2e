package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// held is one path of the store, read once. A path that is not there holds
// nothing.
type held struct {
	providers.Bundle
	there bool
}

// shelf reads paths of an environment, several at a time.
type shelf struct {
	p    *project
	live Live
	mu   sync.Mutex
	have map[naming.Path]held
}

func (s *shelf) store(env string) (providers.Store, error) {
	e, err := s.p.Environment(env)
	if err != nil {
		return nil, err
	}
	return s.live.Store(e)
}

// fetch reads paths that were not read yet; absent ones are no error.
func (s *shelf) fetch(ctx context.Context, paths []naming.Path) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, path := range paths {
		s.mu.Lock()
		_, done := s.have[path]
		if !done {
			s.have[path] = held{}
		}
		s.mu.Unlock()
		if done {
			continue
		}
		g.Go(func() error {
			store, err := s.store(path.Environment)
			if err != nil {
				return err
			}
			b, err := store.Read(ctx, path, providers.Latest)
			if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
				return nil
			}
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.have[path] = held{b, true}
			return nil
		})
	}
	return g.Wait()
}

// value returns a key of a path, the base's where the environment has one and
// lacks the key.
func (s *shelf) value(path naming.Path, key string) secret.Value {
	if v := s.have[path].Values[key]; v.IsSet() {
		return v
	}
	if base := s.base(path); base.Environment != "" && !slices.Contains(environmentKeys(), key) {
		return s.have[base].Values[key]
	}
	return secret.Value{}
}

func (s *shelf) base(path naming.Path) naming.Path {
	e := s.live.Environment
	if e.Base == "" || path.Environment != e.Name {
		return naming.Path{}
	}
	path.Environment = e.Base
	return path
}

// use is one place that reads a key of the store.
type use struct {
	c       *component
	v       *layer.TemplateVariable // nil: the code reads the variable itself
	field   *python.Field           // of such code
	file    string
	line    int
	column  int
	without bool // it does without the key
}

// checkLive compares the store of an environment with what the layers read, and
// returns what it holds.
func (p *project) checkLive(ctx context.Context, live Live) (*shelf, error) {
	s := &shelf{p: p, live: live, have: map[naming.Path]held{}}
	own := func(c *component) naming.Path {
		return naming.Path{Project: p.Name, Environment: live.Environment.Name, Component: c.name}
	}
	uses, spread := p.uses(ctx, live.Environment.Name, own)
	var paths []naming.Path
	add := func(path naming.Path) {
		paths = append(paths, path)
		if b := s.base(path); b.Environment != "" {
			paths = append(paths, b)
		}
	}
	for _, c := range p.components {
		add(own(c))
	}
	for k := range uses {
		add(k.path)
	}
	if err := s.fetch(ctx, paths); err != nil {
		return nil, err
	}
	p.storeKeys(s, uses)
	for _, c := range p.components {
		c.storeValues(s, own(c), uses, spread[own(c)])
	}
	p.shared(ctx, s, uses)
	return s, p.ghosts(ctx, s, own)
}

// storeKey is a key of a path.
type storeKey struct {
	path naming.Path
	key  string
}

// uses returns who reads which key in an environment, and the paths of which
// every key is read.
func (p *project) uses(ctx context.Context, env string, own func(*component) naming.Path) (map[storeKey][]use, map[naming.Path]bool) {
	out, spread := map[storeKey][]use{}, map[naming.Path]bool{}
	wanted := func(c *component) bool { return slices.Contains(p.components, c) }
	for _, c := range p.all {
		if c.template == nil {
			if c.code == nil || c.config.Template != "" {
				continue
			}
			for i := range c.code.Fields {
				f := &c.code.Fields[i]
				for j, n := range f.Accepted {
					// Any of its names will do: the canonical one is asked for.
					k := storeKey{own(c), n}
					out[k] = append(out[k], use{c: c, field: f, file: c.code.File, line: f.Line, column: f.Column, without: !f.Required || j > 0 || !wanted(c)})
				}
			}
			continue
		}
		resolved := map[string]naming.Path{}
		for _, t := range c.template.Paths {
			text, ok := t.Resolve(c.templateEnv(env))
			text, _, _ = strings.Cut(text, "?")
			path, err := naming.ParsePath(p.Vault.Mount, strings.Trim(text, "/"))
			known := ok && !slices.ContainsFunc(t.Envs, func(e string) bool { return !ownEnv(e) })
			if known && err == nil && path.Project == p.Name && p.isEnvironment(path.Environment) {
				resolved[t.Pattern] = path
			}
			if !known { // it may be anyone's
				for _, o := range p.all {
					spread[own(o)] = true
				}
			}
		}
		for _, sp := range c.template.Spreads {
			spread[resolved[sp.Path]] = true
		}
		for _, in := range c.template.Inputs {
			path, ok := resolved[in.Path]
			if !ok {
				continue
			}
			k, emitted := storeKey{path, in.Key}, false
			for i := range c.template.Variables {
				v := &c.template.Variables[i]
				if slices.ContainsFunc(v.Inputs, func(x layer.Input) bool { return x.Path == in.Path && x.Key == in.Key }) {
					emitted = true
					out[k] = append(out[k], use{c: c, v: v, file: c.template.File, line: v.Line, column: v.Column, without: c.without(ctx, v, in) || !wanted(c)})
				}
			}
			if !emitted { // it only decides
				out[k] = append(out[k], use{c: c, file: c.template.File, line: in.Line, column: in.Column, without: true})
			}
		}
	}
	return out, spread
}

// without tells whether a variable is sound when the store lacks a key: the
// template guards it, and the code does not need it.
func (c *component) without(ctx context.Context, v *layer.TemplateVariable, in layer.Input) bool {
	if v.HasDefault || v.Static || v.Conditional == layer.ByStore {
		return true
	}
	out, err := c.render(ctx, c.standInEnv(), []layer.Input{in}, false)
	if err != nil || problemPlaces(out)[place{v.Name, v.Line}] {
		return false
	}
	// It renders empty: that is sound where the code does without.
	var f *python.Field
	if c.code != nil {
		f = c.code.field(v.Name)
	}
	return f != nil && !c.needsKey(f)
}

func (c *component) standInEnv() string {
	if len(c.envs) > 0 {
		return c.envs[0]
	}
	return naming.Production
}

// storeKeys reports keys that are read and not there, or empty.
func (p *project) storeKeys(s *shelf, uses map[storeKey][]use) {
	env := s.live.Environment.Name
	for k, all := range uses {
		i := slices.IndexFunc(all, func(u use) bool { return !u.without })
		v := s.value(k.path, k.key)
		u := all[max(0, i)]
		if !slices.Contains(p.components, u.c) {
			continue
		}
		f := Finding{Environment: env, Variable: k.key, File: u.file, Line: u.line, Column: u.column}
		set := fmt.Sprintf("run envctl set %s --env %s --component %s", k.key, env, k.path.Component)
		switch {
		case !v.IsSet() && u.field != nil && slices.ContainsFunc(u.field.Accepted, func(n string) bool { return s.value(k.path, n).IsSet() }):
			continue // it is there under another name
		case !v.IsSet() && i >= 0:
			f.Rule, f.Fix = storeMissing, set
			f.Message = fmt.Sprintf("%s has no such key", k.path)
			if !s.have[k.path].there {
				f.Message = fmt.Sprintf("%s does not exist", k.path)
			}
			if u.v != nil && u.v.Name != k.key {
				f.Message += ", and " + u.v.Name + " is made of it"
			}
		case v.IsSet() && v.Len() == 0:
			f.Rule, f.Fix = storeEmpty, fmt.Sprintf("%s, or envctl unset %s --env %s --component %s", set, k.key, env, k.path.Component)
			f.Message = fmt.Sprintf("%s holds it, but empty", k.path)
		default:
			continue
		}
		u.c.add(f)
	}
}

// storeValues reports keys of a component's own path that nothing reads, that
// are no strings, and values that must not protect this environment.
func (c *component) storeValues(s *shelf, path naming.Path, uses map[storeKey][]use, all bool) {
	env := s.live.Environment.Name
	h := s.have[path]
	local := naming.IsLocal(env)
	judged := c.template != nil || c.code != nil && c.code.complete && c.config.Template == ""
	for _, key := range sortedKeys(h.Values) {
		v := h.Values[key]
		at := c.readsFrom(s, path)
		at.Environment, at.Variable = env, key
		name := key
		if us := uses[storeKey{path, key}]; len(us) > 0 {
			at.File, at.Line, at.Column = us[0].file, us[0].line, us[0].column
			if us[0].v != nil && len(us[0].v.Inputs) == 1 {
				name = us[0].v.Name
			}
		} else if judged && !all && !c.makes(key) {
			f := at
			f.Rule, f.Message = storeUnused, fmt.Sprintf("nothing reads %s of %s", key, path)
			f.Fix = fmt.Sprintf("run envctl unset %s --env %s --component %s, or render it in the template", key, env, c.name)
			c.add(f)
		}
		if slices.Contains(h.NonString, key) {
			f := at
			f.Rule, f.Message = storeNotString, fmt.Sprintf("%s holds it as something else than a string: large numbers come back rounded", path)
			f.Fix = fmt.Sprintf("run envctl set %s --env %s --component %s and type it again", key, env, c.name)
			c.add(f)
		}
		if local || v.Len() == 0 {
			continue
		}
		f := at
		f.Fix = fmt.Sprintf("run envctl set %s --generate token --env %s --component %s", key, env, c.name)
		if where, ok := secret.Published(v); ok {
			f.Rule, f.Message = publishedDefault, fmt.Sprintf("%s holds a value that %s publishes", path, where)
			c.add(f)
		} else if why := developmentValue(name, v.Reveal()); why != "" { //nolint:forbidigo // compared with a list of words, never shown
			f.Rule, f.Message = developmentDefault, fmt.Sprintf("%s holds %s", path, why)
			c.add(f)
		} else if fl := c.fieldOf(name); fl != nil {
			if why := c.code.judge(fl, v.Reveal()); why != "" { //nolint:forbidigo // judged by its type, never shown
				f.Rule, f.Message = typeMismatch, fmt.Sprintf("the value in %s is %s (%s:%d)", path, why, c.code.File, fl.Line)
				f.Fix = fmt.Sprintf("run envctl set %s --env %s --component %s", key, env, c.name)
				c.add(f)
			}
		}
	}
}

func (c *component) fieldOf(name string) *python.Field {
	if c.code == nil {
		return nil
	}
	if f := c.code.field(name); f != nil && slices.Contains(f.Accepted, name) {
		return f
	}
	return nil
}

// makes tells whether the project file generates or rotates a key.
func (c *component) makes(key string) bool {
	if _, ok := c.config.Generate[key]; ok {
		return true
	}
	for _, r := range c.config.Rotate {
		if r.Value.Variable == key || r.Value.Previous == key {
			return true
		}
	}
	return false
}

// shared reports values that two environments hold although they must not: a
// secret, a database, a bucket, a prefix. What a base lends is shared on purpose.
func (p *project) shared(ctx context.Context, s *shelf, uses map[storeKey][]use) {
	env := s.live.Environment
	for _, c := range p.components {
		path := naming.Path{Project: p.Name, Environment: env.Name, Component: c.name}
		mine := s.have[path]
		found := map[string][]string{}
		for _, other := range p.EnvironmentNames() {
			if other == env.Name || p.related(other, env.Name) {
				continue
			}
			there := naming.Path{Project: p.Name, Environment: other, Component: c.name}
			if err := s.fetch(ctx, []naming.Path{there}); err != nil {
				p.notes = append(p.notes, fmt.Sprintf("%s could not be read, so its values were not compared: %s", there, err))
				continue
			}
			for _, key := range sortedKeys(mine.Values) {
				v, w := mine.Values[key], s.have[there].Values[key]
				if v.Len() > 0 && w.IsSet() && v.Equal(w) && c.mustDiffer(key, v) {
					found[key] = append(found[key], other)
				}
			}
		}
		for _, key := range sortedKeys(found) {
			f := c.declared(env, uses[storeKey{path, key}], key)
			f.Rule, f.Environment, f.Variable = sharedAcross, env.Name, key
			f.Message = fmt.Sprintf("%s holds the same value as %s", path, strings.Join(found[key], ", "))
			f.Fix = fmt.Sprintf("give %s its own: envctl set %s --env %s --component %s", env.Name, key, env.Name, c.name)
			c.add(f)
		}
	}
}

// readsFrom is the place for what is said of a key that no layer declares: where
// the template reads the key's path, else where the project file has the
// component.
func (c *component) readsFrom(s *shelf, path naming.Path) Finding {
	if c.template != nil {
		for _, t := range c.template.Paths {
			text, _ := t.Resolve(c.templateEnv(s.live.Environment.Name))
			text, _, _ = strings.Cut(text, "?")
			if read, err := naming.ParsePath(c.Vault.Mount, strings.Trim(text, "/")); err == nil && read == path {
				return Finding{File: c.template.File, Line: t.Line, Column: t.Column}
			}
		}
	}
	return c.inFile("components", c.name)
}

// declared is where a key of the store is declared: in the layer that reads it,
// else in the example, else the environment that holds it.
func (c *component) declared(env config.Environment, uses []use, key string) Finding {
	if len(uses) > 0 {
		return Finding{File: uses[0].file, Line: uses[0].line, Column: uses[0].column}
	}
	if c.example != nil {
		for _, e := range c.example.Entries {
			if e.Name == key {
				return Finding{File: c.example.File, Line: e.Line, Column: e.Column}
			}
		}
	}
	return c.inFile("environments", cmp.Or(env.Pattern, env.Name))
}

// mustDiffer tells whether a variable isolates an environment.
func (c *component) mustDiffer(key string, v secret.Value) bool {
	if c.makes(key) || v.CarriesPassword() {
		return true
	}
	if secretName(key) && v.Len() >= 8 {
		return true
	}
	words := strings.Split(strings.ToUpper(key), "_")
	last := words[len(words)-1]
	has := func(w ...string) bool {
		return slices.ContainsFunc(w, func(x string) bool { return slices.Contains(words, x) })
	}
	switch last {
	case "BUCKET", "DATABASE", "DBNAME":
		return true
	case "DB", "PREFIX":
		return has("CACHE", "KEY", "POSTGRES", "MYSQL", "REDIS", "S3")
	case "NAME":
		return has("BUCKET", "DATABASE", "DB")
	}
	return false
}
