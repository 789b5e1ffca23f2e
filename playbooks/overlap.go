package playbooks

import (
	"context"
	"fmt"
	"strings"

	"envctl/internal/layer"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// overlap is which components are given a rotation's old value beside the new one, as
// far as their templates say.
type overlap struct {
	both []string
	lone []layer.Lone
}

// none tells whether nothing is given the old value, so that it ends with the
// deployment whatever the recipe says.
func (o overlap) none() bool { return len(o.both) == 0 && len(o.lone) > 0 }

// overlap asks every template. One that cannot be read, and a component that is given
// its path's keys as they are, may have both.
//
//nolint:contextcheck,nolintlint // nothing outside of this process is asked
func (w *World) overlap(t Target, r Rotation) overlap {
	keys := layer.Keys{
		Current: r.Recipe.Variable, Previous: r.Recipe.Previous, Env: w.templateEnv(t),
		At: func(path string) bool {
			path, _, _ = strings.Cut(path, "?")
			p, err := naming.ParsePath(w.Project.Vault.Mount, strings.Trim(path, "/ "))
			return err == nil && p.Project == w.Project.Name && p.Component == t.Component
		},
	}
	for _, name := range w.Project.EnvironmentNames() {
		other := t
		if other.Environment.Name = name; name != t.Environment.Name {
			keys.Others = append(keys.Others, w.templateEnv(other))
		}
	}
	var all []layer.Receiver
	for i, c := range w.Project.Components {
		read := w.templates()[i]
		all = append(all, layer.Receiver{
			Name: c.Key, Template: read.tmpl,
			All: read.err != nil || read.tmpl == nil && c.Key == t.Component && c.Value.Runs(),
		})
	}
	both, lone := keys.Split(context.Background(), all)
	return overlap{both, lone}
}

// overlapFacts says how long the old value is accepted, and where it is not.
func (w *World) overlapFacts(t Target, r Rotation, cur providers.Bundle) (facts []plan.Fact, accepted bool) {
	o, previous := w.overlap(t, r), r.Recipe.Previous
	if !o.none() {
		text := "the old value stays valid in " + previous
		if r.Recipe.Overlap.Duration > 0 {
			text += " for " + Span(r.Recipe.Overlap.Duration)
		}
		if len(o.lone) > 0 {
			var names []string
			for _, l := range o.lone {
				names = append(names, l.Component)
			}
			text += fmt.Sprintf(", in %s; %s is given %s alone", list(o.both), list(names), r.Recipe.Variable)
		}
		facts = append(facts, plan.Fact{Label: "overlap", Text: text})
		if cur.Values[previous].IsSet() {
			facts = append(facts, plan.Fact{Label: "ends", Text: "the value that " + previous + " holds now is accepted no longer"})
		}
		return facts, true
	}
	ends := "the old value, at once: no template passes " + previous + " on, so the application is given the new one alone"
	if r.Generator.Name == "jwt" {
		ends = "every session: no template passes " + previous + " on, so no token made so far stays valid"
	}
	facts = append(facts, plan.Fact{Label: "ends", Text: ends},
		plan.Fact{Label: "kept", Text: fmt.Sprintf("the old value, in %s of the store: once a template renders it and that is deployed, it is accepted again", previous)})
	for _, l := range o.lone {
		facts = append(facts, plan.Fact{Label: WarningFact, Text: fmt.Sprintf("%s %s, so the old value ends at once; %s", place(l.File, max(1, l.At.Line)), l.What(), l.ToDo())})
	}
	return facts, false
}

// parsedTemplate is a component's template, nil where it has none or it has an error.
type parsedTemplate struct {
	tmpl *layer.Template
	err  error
}

// templates reads the template of every component, once.
func (w *World) templates() []parsedTemplate {
	w.parsed.Do(func() {
		for _, c := range w.Project.Components {
			var p parsedTemplate
			p.tmpl, p.err = w.Template(c.Key)
			w.allTemplates = append(w.allTemplates, p)
		}
	})
	return w.allTemplates
}
