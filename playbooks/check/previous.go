package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/layer"
	"envctl/naming"
)

// checkPrevious reports the recipes whose old value reaches nobody: every template
// that renders the current one lacks the previous one.
//
//nolint:contextcheck,nolintlint // nothing outside of this process is asked
func (p *project) checkPrevious(ctx context.Context) {
	for _, c := range p.all {
		for _, e := range c.config.Rotate {
			r := e.Value
			if r.Previous == "" || r.Ring || r.Database != nil {
				continue
			}
			both, lone := c.pair(r).Split(ctx, p.receivers(c))
			if len(both) > 0 || len(lone) == 0 {
				continue
			}
			l := lone[max(0, slices.IndexFunc(lone, func(l layer.Lone) bool { return l.Component == c.name }))]
			if o := p.named(l.Component); o != nil && slices.Contains(p.components, o) {
				o.previousFinding(c, e, l)
			}
		}
	}
}

// pair is the keys of a recipe of the component.
func (c *component) pair(r config.Recipe) layer.Keys {
	env := c.ownEnvs(c.standInEnv())
	return layer.Keys{Current: r.Variable, Previous: r.Previous, Env: env, At: func(path string) bool {
		path, _, _ = strings.Cut(path, "?")
		at, err := naming.ParsePath(c.Vault.Mount, strings.Trim(path, "/ "))
		return err == nil && at.Project == c.Name && at.Component == c.name
	}}
}

// receivers are the components as far as what they are given of c's path.
func (p *project) receivers(c *component) []layer.Receiver {
	out := make([]layer.Receiver, 0, len(p.all))
	for _, o := range p.all {
		unread := o.template == nil && o.config.Template != ""
		out = append(out, layer.Receiver{Name: o.name, Template: o.template, All: unread || o == c && o.template == nil && o.config.Runs()})
	}
	return out
}

func (p *project) named(name string) *component {
	if i := slices.IndexFunc(p.all, func(c *component) bool { return c.name == name }); i >= 0 {
		return p.all[i]
	}
	return nil
}

// previousFinding says that a component's template drops the old value of a recipe of
// owner's.
func (c *component) previousFinding(owner *component, e config.Entry[config.Recipe], l layer.Lone) {
	at := owner.inFile("components", owner.name, "rotate", e.Key)
	ends := "a rotation ends every session"
	if e.Value.Reencrypt != "" || owner.config.Generate[e.Value.Variable] == "fernet" || e.Key == "fernet" {
		ends = "until all is re-encrypted, the application cannot read what the old key encrypted"
	}
	f := Finding{
		Rule: previousLost, Variable: l.Previous, File: c.template.File, Line: max(1, l.At.Line), Column: l.At.Column,
		Message: fmt.Sprintf("%s, where the recipe %s (%s) keeps the old value: %s", l.What(), e.Key, at.Place(), ends),
		Fix:     l.ToDo(),
	}
	if field := c.previousField(l.Previous); field != "" {
		f.Fix = field + ", and " + f.Fix
	} else if c.addPrevious(&Fix{File: c.template.File, New: c.templates[c.config.Template].src}, f) != nil {
		f.Fix = "run envctl check --fix, or " + f.Fix
	}
	c.add(f, at.File, c.config.Code)
}

// previousField says what the code lacks that would read a previous value, "" where it
// reads it, or that is not known. Until the first rotation there is none.
func (c *component) previousField(name string) string {
	if c.code == nil || !c.code.complete || c.code.field(name) != nil {
		return ""
	}
	return fmt.Sprintf("add to %s: %s: str | None = None", c.code.File, strings.ToLower(name))
}

// addPrevious adds the line of a recipe's previous variable below that of its current
// one.
func (c *component) addPrevious(fix *Fix, f Finding) *Fixed {
	if c.previousField(f.Variable) != "" {
		return nil // it would be a variable that the code does not accept
	}
	before, err := layer.ParseTemplate(fix.File, fix.New)
	if err != nil {
		return nil
	}
	for _, owner := range c.all {
		for _, e := range owner.config.Rotate {
			if e.Value.Previous != f.Variable {
				continue
			}
			_, lone := owner.pair(e.Value).Split(context.Background(), []layer.Receiver{{Name: c.name, Template: before}})
			if len(lone) == 0 || lone[0].Below == 0 || lone[0].Misread != "" {
				continue
			}
			own := func(in layer.Input) bool { return baseOf(in.Path) == owner.name }
			if next := c.inserted(before, fix.New, lone[0].Below, lone[0].Line, f.Variable, own); next != nil {
				fix.New = next
				return &Fixed{Rule: f.Rule, Variable: f.Variable, File: fix.File, Line: lone[0].Below + 1}
			}
		}
	}
	return nil
}

// keeps tells whether a recipe keeps an old value in a variable of that name.
func (p *project) keeps(name string) bool {
	return slices.ContainsFunc(p.all, func(c *component) bool {
		return slices.ContainsFunc(c.config.Rotate, func(e config.Entry[config.Recipe]) bool { return e.Value.Previous == name && !e.Value.Ring })
	})
}
