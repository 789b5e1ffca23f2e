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
	"envctl/providers/dotenv"
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

func (tr *tracing) environment() []SourceRow {
	r := SourceRow{Source: "environment", Location: "envctl's own", State: "unset", Context: !tr.linked()}
	if v := tr.w.Getenv(tr.variable); v != "" {
		r.State, r.value = "set", secret.New(v)
	}
	return []SourceRow{r}
}

func (tr *tracing) dotenv() []SourceRow {
	var rows []SourceRow
	for _, rel := range tr.comp.Dotenv {
		r := SourceRow{Source: "dotenv", Location: rel, State: "unset", Context: !tr.linked()}
		rows = append(rows, tr.readDotenv(rel, r))
	}
	return rows
}

func (tr *tracing) readDotenv(rel string, r SourceRow) SourceRow {
	abs, err := tr.w.Project.Path(rel)
	if err == nil {
		var f *dotenv.File
		if f, err = dotenv.Read(abs); err == nil {
			e, ok := f.Lookup(tr.variable)
			if !ok {
				return r
			}
			r.Line, r.value, r.State = e.Line, e.Value, stateOf(e.Value)
			var lines []string
			for _, d := range f.Duplicates() {
				if d.Key == tr.variable {
					lines = append(lines, fmt.Sprint(d.Line))
				}
			}
			if len(lines) > 0 {
				r.Detail = "also on line " + strings.Join(lines, ", ") + "; the last one wins"
			}
			return r
		}
	}
	switch fault.KindOf(err) {
	case fault.NotFound:
		r.State, r.Detail = "not-configured", "no such file"
	case fault.Denied:
		r.State, r.Detail, r.err = "denied", err.Error(), err
	default:
		r.State, r.Detail, r.err = "unreachable", err.Error(), err
	}
	return r
}

// failed is the row of a source that could not be asked.
func failed(source, location string, err error) SourceRow {
	state := "unreachable"
	if fault.Is(err, fault.Denied, fault.Expired, fault.WrongIdentity) {
		state = "denied"
	}
	return SourceRow{Source: source, Location: location, State: state, Detail: err.Error(), err: err}
}

// store reads the variable's inputs and what the template makes of them.
func (tr *tracing) store(ctx context.Context) []SourceRow {
	mount := tr.w.Project.Vault.Mount
	location := mount + "/" + tr.w.Path(tr.t).String()
	store, err := tr.w.Store(tr.t.Environment)
	if err == nil && tr.layers.TemplateErr != nil {
		err = nil // the store can still be asked; rendering cannot
	}
	if err != nil {
		tr.storeErr = err
		return []SourceRow{failed("store", location, err)}
	}
	tr.reader = &tolerant{Reader: store}
	rendered, err := tr.w.Render(ctx, tr.reader, tr.t, nil)
	if err == nil && tr.template == nil && !slices.ContainsFunc(rendered.Inputs, func(b providers.Bundle) bool { return b.Path == tr.w.Path(tr.t) }) {
		b, _ := tr.reader.Read(ctx, tr.w.Path(tr.t), providers.Latest) // what it comes to is asked next
		rendered.Inputs = append(rendered.Inputs, b)
	}
	if err == nil {
		var p naming.Path
		if p, err = tr.unread(); err != nil {
			location = mount + "/" + p.String()
		}
		if err != nil && tr.template == nil && tr.layers.Template != nil {
			tr.rendered = rendered // the template does without it, whatever the path holds
			return []SourceRow{failed("store", location, err)}
		}
	}
	if err != nil {
		tr.storeErr = err
		return []SourceRow{failed("store", location, err)}
	}
	tr.rendered, tr.revive = rendered, map[string]string{}
	for p := range tr.reader.gone {
		if p.Environment == tr.t.Environment.Name {
			at := Target{Environment: tr.t.Environment, Component: p.Component}
			fix, _, _ := strings.Cut(strings.TrimPrefix(reviving(ctx, store, p, at), "run "), " to bring ")
			tr.revive[p.Component] = strings.TrimSuffix(fix, " first")
		}
	}
	if tr.template == nil {
		return []SourceRow{tr.keyRow(tr.w.Path(tr.t), tr.variable, "")}
	}
	out, isOut := rendered.Variables[tr.variable]
	var rows []SourceRow
	for _, in := range tr.template.Inputs {
		p, err := tr.w.resolvePath(tr.layers.Template, in.Path, tr.t)
		if err != nil {
			rows = append(rows, failed("store", in.Path, err))
			continue
		}
		row := tr.keyRow(p, in.Key, tr.variable)
		if len(tr.template.Inputs) == 1 && isOut && (row.value.Equal(out) || !row.value.IsSet()) {
			row.PartOf = ""
		}
		rows = append(rows, row)
	}
	r := SourceRow{Source: "rendered", Location: tr.comp.Template, Line: tr.template.Line, State: "unset", value: out}
	if isOut {
		r.State = stateOf(out)
	}
	for _, p := range rendered.Problems {
		if p.Variable == tr.variable {
			r.Detail = p.Message
			if p.Rule == "template-missing-value" {
				r.State, r.value = "unset", secret.Value{}
			}
		}
	}
	return append(rows, r)
}

// keyRow is one key of one path that was read.
func (tr *tracing) keyRow(p naming.Path, key, partOf string) SourceRow {
	r := SourceRow{Source: "store", Location: tr.w.Project.Vault.Mount + "/" + p.String(), Key: key, PartOf: partOf, State: "unset"}
	for _, b := range tr.rendered.Inputs {
		if b.Path != p || b.Version == 0 && len(b.Values) == 0 {
			continue
		}
		r.value, r.State, r.Version = b.Values[key], stateOf(b.Values[key]), int(b.Version)
		if !b.Created.IsZero() {
			at := b.Created.UTC()
			r.ChangedAt = &at
		}
	}
	return r
}

// containers reads the configuration and the processes of every container that
// is evidence.
func (tr *tracing) containers(ctx context.Context) []SourceRow {
	services, err := tr.w.services(tr.t)
	if err != nil || len(services) == 0 {
		return nil
	}
	quiet := tr.t.Environment.Deploy.Kind == config.DeployNone
	rt, err := tr.w.Runtime(tr.t.Environment)
	var found []providers.Container
	if err == nil {
		found, err = rt.Containers(ctx, tr.w.query(tr.t, services))
	}
	if err != nil {
		r := failed("process", names(services), err)
		if quiet {
			r.State, r.Context, r.err = "not-configured", true, nil
		}
		return []SourceRow{r}
	}
	tr.found = found
	rows := make([][]SourceRow, len(found))
	var wg sync.WaitGroup
	for i, c := range found {
		wg.Go(func() { rows[i] = tr.container(ctx, rt, c) })
	}
	wg.Wait()
	var out []SourceRow
	for _, r := range rows {
		out = append(out, r...)
	}
	if len(out) == 0 && !quiet {
		out = append(out, SourceRow{Source: "process", Location: names(services), State: "not-configured", Detail: "no container is evidence for " + tr.t.Environment.Name})
	}
	return out
}

func names(services []providers.Service) string {
	var all []string
	for _, s := range services {
		all = append(all, s.Container)
	}
	return list(all)
}

func (tr *tracing) container(ctx context.Context, rt providers.Runtime, c providers.Container) []SourceRow {
	started := c.Started.UTC()
	conf := SourceRow{Source: "container-config", Location: c.Name, State: "unset", StartedAt: &started}
	if v, ok := c.Env[tr.variable]; ok {
		conf.State, conf.value = stateOf(v), v
	}
	rows := []SourceRow{conf}
	down := ""
	switch {
	case c.State != "running":
		down = "the container is " + c.State
	case c.Health == "unhealthy":
		down = "the container is unhealthy"
	case tr.w.looping(c):
		down = loopingWords(c)
	}
	if down != "" {
		return append(rows, SourceRow{
			Source: "process", Location: c.Name, State: "unreachable", Detail: down, down: true,
			err: fault.New(fault.No, c.Name, down, "envctl logs "+c.Service+" --env "+tr.t.Environment.Name),
		})
	}
	procs, err := rt.Processes(ctx, c)
	if err != nil {
		return append(rows, failed("process", c.Name, err))
	}
	deciding := map[int]bool{}
	for _, p := range leaves(procs) {
		deciding[p.PID] = true
	}
	for _, p := range procs {
		r := SourceRow{Source: "process", Location: c.Name, PID: p.PID, Exe: p.Exe, State: "unset", decides: deciding[p.PID]}
		if !p.Started.IsZero() {
			at := p.Started.UTC()
			r.StartedAt = &at
		}
		if p.Err != nil {
			f := failed("process", c.Name, p.Err)
			r.State, r.Detail, r.err = f.State, f.Detail, p.Err
		} else if v, ok := p.Env[tr.variable]; ok {
			r.State, r.value = stateOf(v), v
		}
		if !r.decides && r.Detail == "" {
			r.Detail = "started the process below; its own values do not count"
		}
		rows = append(rows, r)
	}
	return rows
}

// maxVersions bounds how far back a value is looked for.
const maxVersions = 20

// matchVersions says of every running value which store version it equals: the
// newest, or one that is looked for among the older ones.
func (tr *tracing) matchVersions(ctx context.Context, rows []SourceRow) {
	if tr.rendered == nil {
		return
	}
	now, ok := tr.rendered.Variables[tr.variable]
	path, version := tr.variablePath()
	var strangers []*SourceRow
	for i := range rows {
		r := &rows[i]
		if !slices.Contains([]string{"dotenv", "deployer", "container-config", "process"}, r.Source) || !r.value.IsSet() {
			continue
		}
		if ok && r.value.Equal(now) {
			r.MatchesVersion = int(version)
		} else {
			strangers = append(strangers, r)
		}
	}
	if len(strangers) == 0 {
		return
	}
	tr.partly = version > maxVersions || tr.inputsBeside(path)
	if version == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sourceLimit)
	defer cancel()
	for v := version - 1; v > 0 && v > version-maxVersions && len(strangers) > 0; v-- {
		old, err := tr.w.Render(ctx, tr.reader, tr.t, map[naming.Path]providers.Version{path: v})
		if err == nil {
			_, err = tr.unread()
		}
		if err != nil {
			tr.partly = true
			return // the rows simply do not say which version they match
		}
		then, ok := old.Variables[tr.variable]
		if !ok {
			continue
		}
		var rest []*SourceRow
		for _, r := range strangers {
			if r.value.Equal(then) {
				r.MatchesVersion = int(v)
			} else {
				rest = append(rest, r)
			}
		}
		strangers = rest
	}
}

// inputsBeside tells whether the variable is made of other paths than p too, or of
// an environment's base: their versions are not gone through.
func (tr *tracing) inputsBeside(p naming.Path) bool {
	if tr.t.Environment.Base != "" {
		return true
	}
	if tr.template == nil {
		return false
	}
	return slices.ContainsFunc(tr.template.Inputs, func(in layer.Input) bool {
		q, err := tr.w.resolvePath(tr.layers.Template, in.Path, tr.t)
		return err != nil || q != p
	})
}

// variablePath is the path whose versions tell a variable's values apart: its
// only input's, the first of several, or the component's own.
func (tr *tracing) variablePath() (naming.Path, providers.Version) {
	p := tr.w.Path(tr.t)
	if tr.template != nil {
		for _, in := range tr.template.Inputs {
			if q, err := tr.w.resolvePath(tr.layers.Template, in.Path, tr.t); err == nil {
				p = q
				break
			}
		}
	}
	return p, tr.rendered.Version(p)
}

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
