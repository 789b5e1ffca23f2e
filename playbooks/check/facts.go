package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/naming"
	"envctl/providers/dotenv"
)

// project is everything that the rules look at, each file read once.
type project struct {
	*config.Project
	components []*component
	all        []*component // also those that are not asked about: they share files
	envs       []string     // named environments, and one stand-in for each pattern
	readers    func() *readers
	places     func() config.Places // of the project file
	found      []Finding
	notes      []string

	templates map[string]*file[*layer.Template]
	codes     map[string]*file[*code]
	examples  map[string]*file[*layer.Example]
	dotenvs   map[string]*file[*dotenv.File]
	policies  map[string]*file[*policy]
	composes  map[string]*file[*composeFile]
}

// file is one file of the project; parsed is nil where err is not.
type file[T any] struct {
	rel    string
	src    []byte
	parsed T
	err    error
	unread bool // err is of the reading: the file has no lines to point at
}

// component is one component with its layers; nil is a layer that is not
// configured or not readable.
type component struct {
	*project
	name   string
	config config.Component
	found  []Finding

	template *layer.Template
	code     *code
	example  *layer.Example
	compose  *composeFile
	policy   *policy
	sourced  bool            // a shell sources what the template renders
	emits    map[string]bool // the names that the template can render, also in capitals
	byEnv    bool            // the template decides by env
}

// code is a settings file and the fields by the names they accept.
type code struct {
	*python.Settings
	src    []byte
	fields map[string]*python.Field
	open   []*python.Field // those that accept any name with a prefix
	class  map[string]*python.Class
	// complete is false when fields or names may be missing.
	complete bool
}

func newCode(rel string, src []byte) (*code, error) {
	s, err := python.Read(rel, src)
	if err != nil {
		return nil, err
	}
	c := &code{Settings: s, src: src, fields: make(map[string]*python.Field, 2*len(s.Fields)), class: map[string]*python.Class{}, complete: true}
	for i := range s.Classes {
		c.class[s.Classes[i].Name] = &s.Classes[i]
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		for _, n := range f.Accepted {
			if c.fields[n] == nil {
				c.fields[n] = f
			}
		}
		if len(f.Prefixes) > 0 || f.CaseSensitive {
			c.open = append(c.open, f)
		}
	}
	for _, p := range s.Problems {
		c.complete = c.complete && p.Kind == python.Ignored
	}
	return c, nil
}

// field returns the field that accepts a variable, nil for none.
func (c *code) field(name string) *python.Field {
	if f := c.fields[name]; f != nil {
		return f
	}
	if f := c.fields[strings.ToUpper(name)]; f != nil && !f.CaseSensitive {
		return f
	}
	for _, f := range c.open {
		if f.Accepts(name) {
			return f
		}
	}
	return nil
}

// canonical returns the variable of a field of Python's name, "" where that is
// not known.
func (c *code) canonical(field string, line int) string {
	found := ""
	for i := range c.Fields {
		if f := &c.Fields[i]; f.Name == field && (found == "" || f.Line <= line && line <= f.EndLine) {
			found = f.Canonical
		}
	}
	return found
}

func (c *code) ignoresEmpty(f *python.Field) bool {
	k := c.class[f.Class]
	return k != nil && k.IgnoreEmpty
}

func newProject(in Input) *project {
	p := &project{Project: in.Project}
	for _, e := range p.Environments {
		// 1 where a pattern wants more: pr-* stands for pr-1.
		p.envs = append(p.envs, strings.ReplaceAll(e.Key, "*", "1"))
	}
	var templates, codes, examples, dotenvs, policies, composes []string
	for _, c := range p.Components {
		v := c.Value
		templates, codes, examples = append(templates, v.Template), append(codes, v.Code), append(examples, v.Example)
		policies, composes, dotenvs = append(policies, v.Policy), append(composes, v.Compose), append(dotenvs, v.Dotenv...)
	}
	p.places = sync.OnceValue(p.Places)
	p.readers = sync.OnceValue(func() *readers { return newReaders(p.all) })
	p.templates = load(p, templates, layer.ParseTemplate)
	p.codes = load(p, codes, newCode)
	p.examples = load(p, examples, layer.ParseExample)
	p.dotenvs = load(p, dotenvs, dotenv.Parse)
	p.policies = load(p, policies, parsePolicy)
	p.composes = load(p, composes, parseCompose)
	for _, e := range p.Components {
		c := &component{project: p, name: e.Key, config: cleaned(e.Value)}
		c.template, c.code, c.example = parsed(p.templates, c.config.Template), parsed(p.codes, c.config.Code), parsed(p.examples, c.config.Example)
		c.compose, c.policy = parsed(p.composes, c.config.Compose), parsed(p.policies, c.config.Policy)
		c.sourced = c.compose != nil && c.compose.sources
		if c.template != nil {
			c.byEnv = c.decidesByEnv()
			c.emits = make(map[string]bool, len(c.template.Variables))
			for i := range c.template.Variables {
				name := c.template.Variables[i].Name
				c.emits[name], c.emits[strings.ToUpper(name)] = true, true
			}
		}
		p.all = append(p.all, c)
		if len(in.Components) == 0 || slices.Contains(in.Components, e.Key) {
			p.components = append(p.components, c)
		}
	}
	return p
}

// unmerged is Invalid, with its line, for a file that git left in conflict: a
// template would render the marks, and one of the sides is not meant.
func unmerged(rel string, src []byte) error {
	if line := config.Unmerged(src); line > 0 {
		return fault.Wrap(config.ErrUnmerged, fault.Invalid, fmt.Sprintf("read %s:%d", rel, line), config.UnmergedHint(rel))
	}
	return nil
}

// cleaned returns a component whose layers have the names that the files are
// kept under.
func cleaned(c config.Component) config.Component {
	c.Template, c.Code, c.Example, c.Policy, c.Compose = clean(c.Template), clean(c.Code), clean(c.Example), clean(c.Policy), clean(c.Compose)
	c.Dotenv = slices.Clone(c.Dotenv)
	for i, d := range c.Dotenv {
		c.Dotenv[i] = clean(d)
	}
	return c
}

// parsed returns a layer by its clean name; nil is one that is not configured or
// not readable.
func parsed[T any](files map[string]*file[T], rel string) T {
	if f := files[rel]; f != nil {
		return f.parsed
	}
	var none T
	return none
}

func clean(rel string) string {
	if rel == "" {
		return ""
	}
	return path.Clean(filepath.ToSlash(rel))
}

// load reads and parses files, each once, as many at a time as there are
// processors.
func load[T any](p *project, names []string, parse func(string, []byte) (T, error)) map[string]*file[T] {
	out := map[string]*file[T]{}
	for _, n := range names {
		if n != "" {
			out[clean(n)] = &file[T]{rel: clean(n)}
		}
	}
	parallel(slices.Collect(maps.Values(out)), func(f *file[T]) {
		if f.src, f.err = p.read(f.rel); f.err == nil {
			f.err = unmerged(f.rel, f.src)
		} else {
			f.unread = true
		}
		if f.err == nil {
			f.parsed, f.err = parse(f.rel, f.src)
		}
	})
	return out
}

func parallel[T any](all []T, do func(T)) {
	if len(all) < 8 { // starting workers costs more than they bring
		for _, x := range all {
			do(x)
		}
		return
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, x := range all {
		g.Go(func() error { do(x); return nil })
	}
	_ = g.Wait() // the functions return nil
}

func (p *project) parallel(all []*component, do func(*component)) { parallel(all, do) }

// read returns a file of the project, at most 1 MiB. Kinds: NotFound, Denied,
// Invalid.
func (p *project) read(rel string) ([]byte, error) {
	abs, err := p.Path(rel)
	if err != nil {
		return nil, err
	}
	src, err := dotenv.ReadSource(abs)
	var f *fault.Error
	if errors.As(err, &f) { // its words name the absolute path
		return nil, fault.New(f.Kind, "read "+rel, f.Message, "")
	}
	return src, err
}

// add notes a finding of a component.
func (c *component) add(f Finding, related ...string) {
	f.Component, f.related = c.name, related
	c.found = append(c.found, f)
}

func (p *project) add(f Finding, related ...string) {
	f.related = related
	p.found = append(p.found, f)
}

// inFile is a place of the project file.
func (p *project) inFile(keys ...string) Finding {
	line, column := p.places().At(keys...)
	return Finding{File: filepath.Base(p.File), Line: line, Column: column}
}

// check applies every rule that one component's files can answer.
func (c *component) check(ctx context.Context) {
	c.checkReadable()
	c.checkNames()
	c.checkTypes()
	c.checkTemplate(ctx)
	c.checkPolicy()
	c.checkReaders()
	c.checkDefaults()
}

func (c *component) checkReadable() {
	unreadableFile(c, "template", c.templates[c.config.Template])
	unreadableFile(c, "code", c.codes[c.config.Code])
	unreadableFile(c, "example", c.examples[c.config.Example])
	unreadableFile(c, "policy", c.policies[c.config.Policy])
	unreadableFile(c, "compose", c.composes[c.config.Compose])
	for _, d := range c.config.Dotenv {
		// A .env that is not there is the normal state of a fresh clone.
		if f := c.dotenvs[d]; f != nil && !fault.Is(f.err, fault.NotFound) {
			unreadableFile(c, "dotenv", f, d)
		}
	}
	if c.code != nil {
		for _, p := range c.code.Problems {
			rule, fix := unreadable, "write it in a form that can be read without running it, or set the variable's name as a literal"
			switch p.Kind {
			case python.Ignored:
				rule, fix = codeIgnored, "write the field as Pydantic reads it"
			case python.Refused:
				fix = "correct the line: Python or Pydantic refuses it"
			case python.Unread:
			}
			message, variable := p.Message, ""
			if p.Field != "" {
				message = p.Field + ": " + message
				variable = c.code.canonical(p.Field, p.Line)
			}
			c.add(Finding{Rule: rule, Variable: variable, File: c.code.File, Line: p.Line, Column: p.Column, Message: message, Fix: fix})
		}
	}
	if c.example != nil {
		for _, p := range c.example.Problems {
			c.add(Finding{Rule: p.Rule, Variable: p.Variable, File: c.example.File, Line: p.Line, Column: p.Column, Message: p.Message, Fix: "write the line as KEY=value"})
		}
	}
}

// unreadableFile reports a layer that could not be read: at the line of the
// project file that names it, or at its own line where it has one.
func unreadableFile[T any](c *component, key string, f *file[T], entry ...string) {
	if f == nil || f.err == nil {
		return
	}
	named := c.inFile(append([]string{"components", c.name, key}, entry...)...)
	at := Finding{Rule: unreadable, File: f.rel, Line: 1, Message: f.err.Error(), Fix: fault.HintOf(f.err)}
	var e *fault.Error
	if errors.As(f.err, &e) {
		at.Message = e.Message
		at.Line = max(1, lineOf(e.Op))
	}
	switch {
	case errors.Is(f.err, config.ErrUnmerged):
		at.Message = config.ErrUnmerged.Error()
	case f.unread:
		at.File, at.Line, at.Column = named.File, named.Line, named.Column
		at.Message = fmt.Sprintf("%s: %s", f.rel, at.Message)
		if fault.Is(f.err, fault.NotFound) {
			at.Fix = fmt.Sprintf("correct %s: %s of the component %s in %s, or restore the file", key, f.rel, c.name, named.File)
		}
	case key == "template" && e != nil && lineOf(e.Op) > 0:
		at.Rule = templateRule
	}
	if at.Fix == "" {
		at.Fix = "correct the file; envctl check says when it can be read"
	}
	at.blind = true
	c.add(at, f.rel, named.File)
}

// lineOf takes the line off an operation such as "read template FILE:LINE".
func lineOf(op string) int {
	n, err := strconv.Atoi(op[strings.LastIndexByte(op, ':')+1:])
	if err != nil {
		return 0
	}
	return n
}

func (c *component) count(n *Counts) {
	if c.template != nil {
		n.Template += len(c.template.Names())
	}
	if c.code != nil {
		fields := make(map[string]bool, len(c.code.Fields))
		for i := range c.code.Fields {
			if name := c.code.Fields[i].Canonical; name != "" {
				fields[name] = true
			}
		}
		n.Code += len(fields)
		n.Accepted += len(c.code.fields)
	}
	if c.example != nil {
		names := make(map[string]bool, len(c.example.Entries))
		for i := range c.example.Entries {
			if e := &c.example.Entries[i]; !e.Commented {
				names[e.Name] = true
			}
		}
		n.Example += len(names)
	}
}

// environmentKeys are the variables that name the environment itself.
func environmentKeys() []string { return []string{"APP_ENV", "DEPLOY_ENV", "ENV", "ENVIRONMENT"} }

// templateEnv is what env answers in a template rendered for an environment;
// names that only the agent's own environment knows get a stand-in.
func (c *component) templateEnv(env string) map[string]string {
	out := map[string]string{}
	for _, n := range c.template.Envs {
		out[n] = placeholder
	}
	maps.Copy(out, c.ownEnvs(env))
	return out
}

// ownEnvs are the variables that envctl itself tells a template, see ownEnv.
func (p *project) ownEnvs(env string) map[string]string {
	suffix := ""
	if !naming.IsLocal(env) {
		suffix = naming.Rules{}.Suffix(env, "", "")
	}
	return map[string]string{"ENV": env, "ENVIRONMENT": env, "ENV_SUFFIX": suffix, "PROJECT": p.Name}
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// files returns the layer files by name, sorted.
func (p *project) files() []string {
	all := map[string]bool{}
	for _, c := range p.components {
		v := c.config
		for _, rel := range append([]string{v.Template, v.Code, v.Example, v.Policy, v.Compose}, v.Dotenv...) {
			all[rel] = rel != ""
		}
	}
	delete(all, "")
	return sortedKeys(all)
}
