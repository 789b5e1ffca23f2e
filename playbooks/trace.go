package playbooks

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Trace is one variable in every layer and source of an environment, and what
// follows from it.
type Trace struct {
	Schema      string       `json:"schema"`
	Variable    string       `json:"variable"`
	Environment string       `json:"environment"`
	Component   string       `json:"component"`
	Layers      []LayerRow   `json:"layers"`
	Sources     []SourceRow  `json:"sources"`
	Verdict     TraceVerdict `json:"verdict"`
}

// LayerRow is a place where the variable is, or should be, declared.
type LayerRow struct {
	Layer  string `json:"layer"` // template, code, example
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	State  string `json:"state"` // declared, absent, not-configured, unreachable
	Detail string `json:"detail,omitempty"`
}

// SourceRow is a place where the variable has, or could have, a value. Value is
// a letter: the same letter means the same value in one answer.
type SourceRow struct {
	Source         string     `json:"source"`
	Location       string     `json:"location"`
	State          string     `json:"state"` // set, empty, unset, denied, unreachable, not-configured
	PartOf         string     `json:"part_of,omitempty"`
	Key            string     `json:"key,omitempty"`
	Line           int        `json:"line,omitempty"`
	Value          string     `json:"value,omitempty"`
	Fingerprint    string     `json:"fingerprint,omitempty"`
	Version        int        `json:"version,omitempty"`
	MatchesVersion int        `json:"matches_version,omitempty"`
	ChangedAt      *time.Time `json:"changed_at,omitempty"`
	StartedAt      *time.Time `json:"started_at,omitempty"`
	PID            int        `json:"pid,omitempty"`
	Exe            string     `json:"exe,omitempty"`
	Context        bool       `json:"context,omitempty"` // shown, but no link of the chain
	Detail         string     `json:"detail,omitempty"`

	value   secret.Value
	down    bool // the container does not run as it should
	decides bool // a process that no other process of the container was started by
	err     error
}

// TraceVerdict is the answer.
type TraceVerdict struct {
	Status   string `json:"status"` // consistent, stale, half-rolled-out, drift, missing, undeclared, shadowed, unverified, unknown
	Because  string `json:"because"`
	Evidence string `json:"evidence,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

// sourceLimit is how long one source may take.
const sourceLimit = 10 * time.Second

// Letters names equal values by equal letters, in the order they are seen.
type Letters struct{ seen []secret.Value }

func (l *Letters) of(v secret.Value) string {
	if !v.IsSet() {
		return ""
	}
	i := 0
	for ; i < len(l.seen) && !l.seen[i].Equal(v); i++ {
	}
	if i == len(l.seen) {
		l.seen = append(l.seen, v)
	}
	name := ""
	for n := i; ; n = n/26 - 1 {
		name = string(rune('A'+n%26)) + name
		if n < 26 {
			return name
		}
	}
}

// tracing is a trace in the making.
type tracing struct {
	w        *World
	t        Target
	variable string
	layers   Layers
	comp     config.Component

	template *layer.TemplateVariable // nil: the template does not emit it, or there is none
	spread   bool                    // it is emitted only as one of all keys of a path
	rendered *Rendered
	reader   *tolerant // the store, as it is read here
	storeErr error
	found    []providers.Container
	revive   map[string]string // by component: what brings its deleted path back
	partly   bool              // not every version that a running value may be of was looked at
}

// Trace looks at every source at the same time, each under its own deadline; a
// source that fails is a row. NotFound: no layer and no source knows the variable.
func (w *World) Trace(ctx context.Context, t Target, variable string, letters *Letters) (*Trace, error) {
	comp, err := w.Project.Component(t.Component)
	if err != nil {
		return nil, err
	}
	tr := &tracing{w: w, t: t, variable: variable, comp: comp, layers: w.Layers(comp)}
	tr.template, tr.spread = emitted(tr.layers.Template, variable)
	var local, stored, told, running []SourceRow
	var wg sync.WaitGroup
	look := func(into *[]SourceRow, do func(context.Context) []SourceRow) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, sourceLimit)
			defer cancel()
			*into = do(ctx)
		})
	}
	look(&local, func(context.Context) []SourceRow { return append(tr.environment(), tr.dotenv()...) })
	look(&stored, tr.store)
	look(&told, tr.deployer)
	look(&running, tr.containers)
	wg.Wait()
	out := &Trace{
		Schema: "envctl.trace/v1", Variable: variable, Environment: t.Environment.Name, Component: t.Component,
		Layers: tr.layerRows(), Sources: slices.Concat(local, stored, told, running),
	}
	tr.matchVersions(ctx, out.Sources)
	key, keyErr := secret.Key{}, error(nil)
	if store, err := w.Store(t.Environment); err == nil && tr.storeErr == nil {
		key, keyErr = w.Fingerprints(ctx, store)
	}
	known := false
	for i := range out.Sources {
		r := &out.Sources[i]
		known = known || r.State == "set" || r.State == "empty" || r.State == "unreachable" || r.State == "denied"
		if r.PartOf == "" {
			r.Value = letters.of(r.value)
		}
		if keyErr == nil {
			r.Fingerprint = key.Fingerprint(r.value)
		}
	}
	for _, l := range out.Layers {
		known = known || l.State == "declared" || l.State == "unreachable"
	}
	if !known && !w.Declares(t.Component, tr.layers, variable) {
		return nil, fault.Newf(fault.NotFound, "trace "+variable, tr.hint(), "no layer declares it and no source in %s has it", t.Environment.Name)
	}
	out.Verdict = tr.verdict(out)
	return out, nil
}

func (tr *tracing) hint() string {
	if near := naming.Nearest(tr.variable, tr.w.Declared(tr.t.Component, tr.layers)); near != "" {
		return "did you mean " + near + "?"
	}
	if fix := tr.revive[tr.t.Component]; fix != "" {
		return "its path is deleted: " + fix
	}
	return "run envctl list --env " + tr.t.Environment.Name
}

func (tr *tracing) layerRows() []LayerRow {
	row := func(name, file string, err error) LayerRow {
		r := LayerRow{Layer: name, File: file, State: "absent"}
		switch {
		case file == "":
			r.State = "not-configured"
		case err != nil:
			r.State, r.Detail = "unreachable", err.Error()
		}
		return r
	}
	tmpl := row("template", tr.comp.Template, tr.layers.TemplateErr)
	if v := tr.template; v != nil && (!tr.spread || tr.emits()) {
		tmpl.State, tmpl.Line = "declared", v.Line
		var from []string
		for _, in := range v.Inputs {
			from = append(from, patternComponent(in.Path)+"#"+in.Key)
		}
		if len(from) > 0 {
			tmpl.Detail = "from " + strings.Join(from, ", ")
		}
		if v.HasDefault {
			tmpl.Detail = strings.TrimSpace(tmpl.Detail + " else a default")
		}
	}
	code := row("code", tr.comp.Code, tr.layers.CodeErr)
	if tr.layers.Code != nil {
		if f, ok := codeFields(tr.layers)[tr.variable]; ok {
			code.State, code.Line, code.Detail = "declared", f.Line, f.Name+": "+f.Type
			if !f.Required {
				code.Detail += ", optional"
			}
		}
	}
	example := row("example", tr.comp.Example, tr.layers.ExampleErr)
	if tr.layers.Example != nil {
		for _, e := range tr.layers.Example.Entries {
			if e.Name == tr.variable {
				example.State, example.Line = "declared", e.Line
				if e.Commented {
					example.Detail = "as a comment"
				}
			}
		}
	}
	return []LayerRow{tmpl, code, example}
}

// emits tells whether rendering gave the variable.
func (tr *tracing) emits() bool {
	if tr.rendered == nil {
		return false
	}
	_, ok := tr.rendered.Variables[tr.variable]
	return ok
}

// linked tells whether this machine's own files are links of the chain.
func (tr *tracing) linked() bool { return naming.IsLocal(tr.t.Environment.Name) }

// deployFix is what makes the running processes current.
func (tr *tracing) deployFix() string {
	if tr.t.Environment.Deploy.Kind == config.DeployNone {
		return "restart the service with the values of envctl run --env " + tr.t.Environment.Name
	}
	return fmt.Sprintf("envctl deploy %s --env %s", tr.t.Component, tr.t.Environment.Name)
}

func (tr *tracing) setFix() string {
	key, comp := tr.variable, tr.t.Component
	if tr.template != nil && len(tr.template.Inputs) > 0 {
		for _, in := range tr.template.Inputs {
			if c := patternComponent(in.Path); c != "" && !tr.inputSet(in) {
				key, comp = in.Key, c
				break
			}
		}
	}
	if fix := tr.revive[comp]; fix != "" {
		return fix // a write to it is refused
	}
	return fmt.Sprintf("envctl set %s --env %s --component %s", key, tr.t.Environment.Name, comp)
}

func (tr *tracing) inputSet(in layer.Input) bool {
	if tr.rendered == nil {
		return false
	}
	for _, b := range tr.rendered.Inputs {
		if b.Path.Component == patternComponent(in.Path) && b.Values[in.Key].IsSet() {
			return true
		}
	}
	return false
}

// place names a file as people find it from the project's folder.
func place(file string, line int) string {
	if line == 0 {
		return filepath.ToSlash(file)
	}
	return fmt.Sprintf("%s:%d", filepath.ToSlash(file), line)
}
