package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/layer/python"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers/dotenv"
)

// placeholder stands for every value of the store while a template is tried:
// it is a number, a text and a truth, and every reader takes it as it is.
const placeholder = "1"

// trial is what a template gives for an environment while the store has every
// key that it reads (full), and while it has none (bare).
type trial struct {
	env        string
	full, bare layer.Rendered
	fullErr    error
	bareErr    error
}

func (c *component) checkTemplate(ctx context.Context) {
	t := c.template
	if t == nil {
		return
	}
	for _, p := range t.Problems {
		c.add(c.templateFinding(p))
	}
	trials := c.tryTemplate(ctx)
	for _, x := range trials {
		c.failures(x)
		c.templateProblems(x)
		c.halfOptional(ctx, x)
		c.hosts(x)
	}
	texts := c.texts(trials)
	c.templateValues(texts)
	c.environmentName(texts)
	c.quoting()
}

// tryTemplate renders for one environment that is not local, or for each where
// the template decides by env.
func (c *component) tryTemplate(ctx context.Context) []trial {
	envs := c.envs
	if len(envs) == 0 {
		envs = []string{naming.Production}
	}
	if !c.byEnv {
		best := slices.IndexFunc(envs, func(e string) bool { return !naming.IsLocal(e) && !naming.IsProduction(e) })
		if best < 0 {
			best = max(0, slices.IndexFunc(envs, func(e string) bool { return !naming.IsLocal(e) }))
		}
		envs = envs[best : best+1]
	}
	var out []trial
	for _, e := range envs[:min(len(envs), 12)] {
		x := trial{env: e}
		x.full, x.fullErr = c.render(ctx, e, nil, false)
		x.bare, x.bareErr = c.render(ctx, e, nil, true)
		out = append(out, x)
	}
	return out
}

func (c *component) decidesByEnv() bool {
	t := c.template
	if len(t.Envs) == 0 {
		return false
	}
	src := c.templates[c.config.Template].src
	return slices.ContainsFunc([]string{"eq ", "ne ", "regexMatch", "contains"}, func(f string) bool { return bytes.Contains(src, []byte(f)) }) ||
		slices.ContainsFunc(t.Variables, func(v layer.TemplateVariable) bool { return v.Conditional == layer.ByEnv })
}

// render renders with a store of placeholders, without the keys left out; bare
// is a store without any.
func (c *component) render(ctx context.Context, env string, without []layer.Input, bare bool) (layer.Rendered, error) {
	t := c.template
	vars := c.templateEnv(env)
	keys, one := map[string]map[string]secret.Value{}, secret.New(placeholder)
	for _, p := range t.Paths {
		path, known := p.Resolve(vars)
		for _, in := range t.Inputs {
			if bare || known && in.Path != p.Pattern || slices.ContainsFunc(without, func(w layer.Input) bool { return w.Key == in.Key && w.Path == in.Path }) {
				continue
			}
			path = strings.Trim(strings.TrimSpace(path), "/")
			if keys[path] == nil {
				keys[path] = make(map[string]secret.Value, len(t.Inputs))
			}
			keys[path][in.Key] = one
		}
	}
	return layer.Render(ctx, t, layer.RenderInput{
		Env:    vars,
		Reader: c.reader(),
		Local:  true,
		Secret: func(_ context.Context, path string) (layer.SecretData, error) {
			return layer.SecretData{Values: keys[path], Version: 1}, nil
		},
	})
}

// reader is who reads what the template renders, as far as the project says.
func (c *component) reader() dotenv.Dialect {
	if c.sourced || c.compose == nil {
		return dotenv.Sh
	}
	return dotenv.Compose
}

// valueFunctions can fail on a stand-in and work on the real value.
func valueFunctions() []string {
	return []string{
		"base64Decode", "base64URLDecode", "explodeMap", "ge", "gt", "index", "le", "lt", "parseBool", "parseFloat", "parseInt", "parseJSON", "parseUint",
		"range", "slice", "split", "splitToMap",
	}
}

// failures reports that Vault Agent could not execute the template.
func (c *component) failures(x trial) {
	if x.fullErr == nil || !fault.Is(x.fullErr, fault.Invalid) {
		return
	}
	src := string(c.templates[c.config.Template].src)
	if slices.ContainsFunc(valueFunctions(), func(f string) bool { return strings.Contains(src, f) }) {
		return
	}
	f := Finding{Rule: templateRule, File: c.template.File, Line: 1, Message: x.fullErr.Error(), Fix: fault.HintOf(x.fullErr)}
	var e *fault.Error
	if errors.As(x.fullErr, &e) {
		f.Message, f.Line = e.Message, max(1, lineOf(e.Op))
		if e.Message == "" && e.Err != nil {
			f.Message = e.Err.Error()
		}
	}
	if f.Fix == "" {
		f.Fix = "correct the expression; envctl check renders it again"
	}
	c.add(f)
}

// templateProblems reports what is wrong even when the store has every key.
func (c *component) templateProblems(x trial) {
	if x.fullErr != nil {
		return
	}
	for _, p := range x.full.Problems {
		if p.Rule == unsafeShell && !c.sourced {
			continue // that a shell reads the file is not known
		}
		if p.Rule == missingValue && strings.HasPrefix(p.Message, "<no value>") {
			p.Message = "<no value>: it is read from where KV v2 keeps no keys; they are under .Data.data"
		}
		c.add(c.templateFinding(p))
	}
}

func (c *component) templateFinding(p layer.Problem) Finding {
	fix := map[string]string{
		mergedLines:  "remove the - of the trim marker ({{- or -}}) between the two lines",
		missingValue: fmt.Sprintf(`write {{ with .Data.data.KEY }}{{ printf "%%q" . }}{{ else }}"default"{{ end }} with the key's own name`),
		unsafeShell:  "quote the value: " + p.Variable + "='…'",
	}[p.Rule]
	if p.Fix != "" {
		fix = p.Fix
	} else if fix == "" {
		fix = "correct the line"
	}
	return Finding{Rule: p.Rule, Variable: p.Variable, File: c.template.File, Line: p.Line, Column: c.columnOf(p), Message: p.Message, Fix: fix}
}

func (c *component) columnOf(p layer.Problem) int {
	if p.Column > 0 {
		return p.Column
	}
	for _, v := range c.template.Variables {
		if v.Name == p.Variable && v.Line == p.Line {
			return v.Column
		}
	}
	return 0
}

// halfOptional reports keys that the template does without in one place and
// not in another: the second place renders <no value> as soon as the first is
// needed.
func (c *component) halfOptional(ctx context.Context, x trial) {
	if x.fullErr != nil || x.bareErr != nil {
		return
	}
	bad := problemPlaces(x.bare)
	if len(bad) == 0 {
		return
	}
	for _, in := range c.template.Inputs {
		good, suffers := false, false
		for _, v := range c.template.Variables {
			if !slices.ContainsFunc(v.Inputs, func(i layer.Input) bool { return i.Path == in.Path && i.Key == in.Key }) {
				continue
			}
			if bad[place{v.Name, v.Line}] {
				suffers = true
			} else {
				good = true
			}
		}
		if !good || !suffers {
			continue
		}
		out, err := c.render(ctx, x.env, []layer.Input{in}, false)
		if err != nil {
			continue
		}
		now, optional := problemPlaces(out), false
		for _, v := range c.template.Variables {
			reads := slices.ContainsFunc(v.Inputs, func(i layer.Input) bool { return i.Path == in.Path && i.Key == in.Key })
			optional = optional || reads && !now[place{v.Name, v.Line}]
		}
		if !optional {
			continue
		}
		for _, p := range out.Problems {
			if p.Rule == missingValue {
				p.Message = fmt.Sprintf("%s is optional elsewhere in the template, and without it this renders %s", in.Key, firstWord(p.Message))
				c.add(c.templateFinding(p))
			}
		}
	}
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, ":")
	return w
}

type place struct {
	name string
	line int
}

func problemPlaces(r layer.Rendered) map[place]bool {
	out := map[place]bool{}
	for _, p := range r.Problems {
		if p.Rule == missingValue {
			out[place{p.Variable, p.Line}] = true
		}
	}
	return out
}

// templateText is a value that the template itself makes: a default, or text.
type templateText struct {
	v    *layer.TemplateVariable
	text string
	env  string // the environment it was rendered for
}

// texts returns the values that need no store: what a rendering with an empty
// one gives, and variables of plain text behind a condition.
func (c *component) texts(trials []trial) []templateText {
	var out []templateText
	variables := make(map[place]*layer.TemplateVariable, len(c.template.Variables))
	for i := range c.template.Variables {
		v := &c.template.Variables[i]
		if p := (place{v.Name, v.Line}); variables[p] == nil {
			variables[p] = v
		}
	}
	seen := make(map[templateText]bool, len(c.template.Variables))
	add := func(r layer.Rendered, env string, onlyStatic bool) {
		bad := problemPlaces(r)
		for _, v := range r.Variables {
			if bad[place{v.Name, v.Line}] {
				continue
			}
			of := variables[place{v.Name, v.Line}]
			if of == nil || onlyStatic && !of.Static || slices.ContainsFunc(of.Envs, func(e string) bool { return !ownEnv(e) }) {
				continue
			}
			t := templateText{of, v.Value.Reveal(), env} //nolint:forbidigo // text of the template, no secret: the store was empty
			if !seen[t] {
				seen[t] = true
				out = append(out, t)
			}
		}
	}
	for _, x := range trials {
		if x.bareErr == nil {
			add(x.bare, x.env, false)
		}
		if x.fullErr == nil {
			add(x.full, x.env, true)
		}
	}
	return out
}

// ownEnv tells whether the value of a template's env is known here.
func ownEnv(name string) bool {
	return slices.Contains([]string{"ENV", "ENVIRONMENT", "ENV_SUFFIX", "PROJECT"}, name)
}

// templateValues judges the template's own values: by the field's type, by the
// code's default, and as secrets.
func (c *component) templateValues(texts []templateText) {
	type key struct {
		rule, name string
		line       int
	}
	said := map[key]bool{}
	say := func(f Finding, related ...string) {
		k := key{f.Rule, f.Variable, f.Line}
		if !said[k] {
			said[k] = true
			c.add(f, related...)
		}
	}
	for _, t := range texts {
		base := Finding{Variable: t.v.Name, File: c.template.File, Line: t.v.Line, Column: t.v.Column}
		local := naming.IsLocal(t.env)
		if where, ok := secret.Published(secret.New(t.text)); ok && !local && t.text != "" {
			f := base
			f.Rule, f.Message, f.Fix = publishedDefault, fmt.Sprintf("renders a value that %s publishes, in %s", where, t.env), c.secretFix(t.v.Name)
			say(f)
		} else if why := developmentValue(t.v.Name, t.text); why != "" && !local && (!debugName(t.v.Name) || naming.IsProduction(t.env) || !c.byEnv) {
			f := base
			f.Rule, f.Message, f.Fix = developmentDefault, fmt.Sprintf("renders %s in %s", why, t.env), c.secretFix(t.v.Name)
			say(f)
		}
		if c.code == nil {
			continue
		}
		field := c.code.field(t.v.Name)
		if field == nil || !slices.Contains(field.Accepted, t.v.Name) && !slices.Contains(field.Accepted, strings.ToUpper(t.v.Name)) {
			continue
		}
		if t.text == "" && (field.Required || c.code.ignoresEmpty(field) || c.needsKey(field)) {
			continue // without the key there is no sound value anyway
		}
		if why := c.code.judge(field, t.text); why != "" {
			f := base
			f.Rule, f.Message = typeMismatch, fmt.Sprintf("renders a default that is %s (%s:%d)", why, c.code.File, field.Line)
			f.Fix = "write a default of type " + field.Type
			if t.text == "" {
				f.Message = fmt.Sprintf("renders an empty text where the store has no key, and %s (%s:%d)", why, c.code.File, field.Line)
				f.Fix = wholeLine(t.v)
			}
			say(f, c.code.File)
			continue
		}
		c.templateDefault(field, t, base, say)
	}
}

// needsKey tells whether a field that has a default needs its key all the same: a
// secret's default is for a laptop.
func (c *component) needsKey(f *python.Field) bool {
	isText := f.Kind == python.Str || f.Kind == python.Secret || f.Kind == python.Bytes
	return f.Required || isText && f.Default != nil && *f.Default != "" && (f.Secret || c.marked(f) || secretName(f.Canonical))
}

func (c *component) templateDefault(f *python.Field, t templateText, base Finding, say func(Finding, ...string)) {
	if f.Default == nil || *f.Default == "" || len(t.v.Inputs) == 0 || len(t.v.Envs) > 0 || c.byEnv && t.v.Conditional != layer.Always ||
		slices.Contains(environmentKeys(), t.v.Name) || sameValue(f, t.text, *f.Default) {
		return
	}
	base.Rule = defaultMismatch
	switch {
	case t.text == "":
		base.Message = fmt.Sprintf("renders an empty text where the store has no key, which overrides the code's default (%s:%d)", c.code.File, f.Line)
		base.Fix = wholeLine(t.v)
	case secretName(t.v.Name) || f.Secret || ofPlace(t.text) || ofPlace(*f.Default):
		return // a place of this machine in the code, another in the template
	case showable(f, t.v.Name, t.text) && showable(f, t.v.Name, *f.Default):
		base.Message = fmt.Sprintf("the template's default is %s, the code's is %s (%s:%d)", t.text, *f.Default, c.code.File, f.Line)
		base.Fix = fmt.Sprintf("write %s in the template's {{ else }}, or change the code's default", *f.Default)
	default:
		base.Message = fmt.Sprintf("the template's default is not the code's (%s:%d)", c.code.File, f.Line)
		base.Fix = "give both the same default"
	}
	say(base, c.code.File)
}

// wholeLine is a line that is not there at all when the store has no key.
func wholeLine(v *layer.TemplateVariable) string {
	if len(v.Inputs) == 0 {
		return "remove the line, or give it a value"
	}
	return fmt.Sprintf(`{{ with .Data.data.%s }}%s={{ printf "%%q" . }}{{ end }}`, v.Inputs[0].Key, v.Name)
}

func (c *component) secretFix(name string) string {
	return fmt.Sprintf("remove the default from the template and run envctl set %s --generate token --env ENVIRONMENT --component %s", name, c.name)
}

// environmentName reports a variable that names the environment and, without
// the store, names another one than the one that is rendered.
func (c *component) environmentName(texts []templateText) {
	for _, t := range texts {
		if !slices.Contains(environmentKeys(), t.v.Name) || !slices.Contains(c.envs, t.text) || len(t.v.Envs) > 0 {
			continue
		}
		var wrong []string
		if c.byEnv {
			if t.text != t.env {
				wrong = []string{t.env}
			}
		} else {
			for _, e := range c.EnvironmentNames() {
				if e != t.text && !naming.IsLocal(e) {
					wrong = append(wrong, e)
				}
			}
		}
		if len(wrong) > 0 {
			c.add(Finding{
				Rule: defaultMismatch, Variable: t.v.Name, File: c.template.File, Line: t.v.Line, Column: t.v.Column,
				Message: fmt.Sprintf("renders %s in %s, unless the store has another value", t.text, strings.Join(wrong, ", ")),
				Fix:     fmt.Sprintf(`%s={{ env "ENV" | printf "%%q" }}`, t.v.Name),
			})
		}
	}
}

// quoting reports values that a shell would change: the quotes of %q are not a
// shell's, and none are none.
func (c *component) quoting() {
	if !c.sourced {
		return
	}
	for _, v := range c.template.Variables {
		if len(v.Inputs) == 0 || slices.Equal(v.Quotings, []string{"shquote"}) {
			continue
		}
		how := "unquoted"
		if len(v.Quotings) > 0 {
			how = "quoted with " + strings.Join(v.Quotings, ", ")
		}
		c.add(Finding{
			Rule: unsafeShell, Variable: v.Name, File: c.template.File, Line: v.Line, Column: v.Column,
			Message: fmt.Sprintf("%s, and %s sources the file: a shell expands $ and runs backticks and $(…) in the value", how, c.compose.sourcedAt),
			Fix:     fmt.Sprintf("keep the value to letters, digits, - and _ (envctl set %s --generate token), or give the file to compose as env_file", v.Inputs[0].Key),
		}, c.config.Compose)
	}
}
