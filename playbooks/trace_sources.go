package playbooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/dotenv"
)

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
