package playbooks

import (
	"context"
	"fmt"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// deployer reads what the deployer keeps for the services, and would give them at
// its next deployment. One that keeps nothing itself is no source: no row.
func (tr *tracing) deployer(ctx context.Context) []SourceRow {
	if len(tr.comp.Services) == 0 || tr.t.Environment.Deploy.Kind == config.DeployNone {
		return nil
	}
	d, err := tr.w.Deployer(tr.t.Environment, tr.t.Component)
	if err != nil {
		if tr.t.Environment.Deploy.Kind != config.DeployDokploy {
			return nil // not one that would be asked
		}
		return []SourceRow{untold(config.DeployDokploy, err)}
	}
	teller, ok := d.(providers.Told)
	if !ok {
		return nil
	}
	values, err := teller.Env(ctx, tr.w.bare(tr.t))
	if err != nil {
		return []SourceRow{untold(d.Describe(), err)}
	}
	v := values[tr.variable]
	return []SourceRow{{Source: "deployer", Location: d.Describe(), State: stateOf(v), value: v}}
}

// untold is the row of a deployer that did not say; one that this machine does not
// know, or that has no such service, is not configured.
func untold(location string, err error) SourceRow {
	r := failed("deployer", location, err)
	if fault.Is(err, fault.NotFound, fault.Usage) {
		r.State, r.err = "not-configured", nil
	}
	return r
}

// told returns the deployer's row; nil where there is none.
func (t *Trace) told() *SourceRow {
	for i := range t.Sources {
		if t.Sources[i].Source == "deployer" {
			return &t.Sources[i]
		}
	}
	return nil
}

// toldVerdict is about a deployer that keeps another value than the store gives:
// whatever runs now, its next deployment brings that one.
func (tr *tracing) toldVerdict(t *Trace, want secret.Value) (TraceVerdict, bool) {
	r := t.told()
	if r == nil || !r.value.IsSet() || r.value.Equal(want) {
		return TraceVerdict{}, false
	}
	return tr.differs(r, r.Location), true
}

// untoldVerdict is the verdict where nothing shows what runs, and the deployer is
// all that can be asked.
func (tr *tracing) untoldVerdict(t *Trace) (TraceVerdict, bool) {
	r := t.told()
	switch {
	case r == nil:
		return TraceVerdict{}, false
	case r.err != nil:
		return TraceVerdict{Status: "unverified", Because: r.Location + ": " + r.Detail, Fix: "envctl doctor"}, true
	case r.State == "unset":
		return TraceVerdict{
			Status: "stale", Because: fmt.Sprintf("%s does not give it to %s: it was not deployed since", r.Location, tr.t.Component), Evidence: "deployer", Fix: tr.deployFix(),
		}, true
	}
	return TraceVerdict{}, false
}
