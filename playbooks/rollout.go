package playbooks

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// rollout is the three steps that make a store's values real in processes.
type rollout struct{ before, deploy, verify plan.Step }

// deployLimit is how long a deployment may take to become healthy, or the next of
// its containers where they are replaced one after the other.
const deployLimit = 5 * time.Minute

// rollout returns the steps for one component; of ends their ids, where the plan
// has several rollouts; wrote: what the plan's writes to what it reads did, nil
// where that is not followed up.
func (w *World) rollout(t Target, d providers.Deployer, of string, wrote ...*written) (rollout, []plan.Fact, error) {
	services, err := w.services(t)
	if err != nil {
		return rollout{}, nil, err
	}
	if len(services) == 0 {
		return rollout{}, nil, fault.Newf(fault.Invalid, "deploy "+t.Component, "list them in envctl.yaml: components: {"+t.Component+": {services: […]}}",
			"the component names no services")
	}
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.Container
	}
	facts := []plan.Fact{
		{Label: "deploy", Text: d.Describe()},
		{Label: "restarts", Text: list(names)},
		{Label: "replace", Ask: func(ctx context.Context) []string { return w.replacing(ctx, t, d) }},
		{Label: "takes over", Ask: func(ctx context.Context) []string { return w.taking(ctx, t, d) }},
		{Label: "verify", Text: "reads the new values back from the running processes"},
	}
	var did plan.Receipt // what this run's deployment noted, as far as this process undoes it
	return rollout{
		// Undone last, after the write: what ran before is deployed again.
		before: plan.Step{
			ID: "before" + of, Title: "note what is running", Risk: plan.Reads,
			Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
				running, err := w.markers(ctx, t)
				if err != nil && t.Environment.Deploy.Kind != config.DeployCompose {
					// This deployer works without the engine: what runs stays unknown.
					return plan.Receipt{fieldUnknown: clip(err.Error())}, nil
				}
				if err == nil && running == "" {
					// It may run on an engine that this one is not.
					if watched, err := w.watched(ctx, t, nil); err != nil || len(watched) > 0 {
						return plan.Receipt{fieldUnknown: unseen}, nil //nolint:nilerr // what runs stays unknown
					}
				}
				return plan.Receipt{fieldMarker: running}, err
			},
			Reach: func(ctx context.Context) error {
				if t.Environment.Deploy.Kind != config.DeployCompose {
					return nil // it may do without the engine
				}
				_, err := w.markers(ctx, t)
				return err
			},
			Undo: func(ctx context.Context, r plan.Receipt) error {
				deployed := did != nil
				if did[fieldTyped] != "" || did[fieldReleased] == "false" {
					restart, err := w.restarted(ctx, t, r)
					if err != nil {
						return err
					}
					ran := r[fieldMarker] != "" || r[fieldUnknown] != ""
					if err := w.putBack(ctx, t, d, did, restart && ran, nil); err != nil || ran || !restart {
						return err
					}
				}
				if r[fieldUnknown] != "" {
					if !deployed {
						return nil
					}
					_, err := w.release(ctx, t, d)
					return err
				}
				now, err := w.markers(ctx, t)
				if err != nil {
					return err
				}
				if now == r[fieldMarker] { // nothing was restarted
					return w.stage(ctx, t, d, deployed, nil)
				}
				if r[fieldMarker] == "" && !deployed {
					return nil // someone else's
				}
				if remover, ok := d.(providers.Remover); ok && r[fieldMarker] == "" {
					_, err := remover.Remove(ctx, w.bare(t), false)
					return err
				}
				if r[fieldMarker] == "" {
					return fault.Newf(fault.Refused, "undo the deploy of "+t.Component+" in "+t.Environment.Name,
						"stop and remove them, then undo again", "nothing of it ran before, and what runs now has to be stopped by hand: %s", list(names))
				}
				if _, err = w.release(ctx, t, d); err == nil {
					_, err = w.Evidence(ctx, t)
				}
				if fault.Is(err, fault.No) && w.bringBack(ctx, t, d, r[fieldMarker]) == nil {
					return nil // the store held something that was never deployed and does not run
				}
				return err
			},
		},
		deploy: plan.Step{
			ID: "deploy" + of, Title: "deploy " + t.Component, Risk: plan.Restarts,
			Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				r, rel, err := w.prepare(ctx, t, nil)
				if err != nil {
					return nil, err
				}
				if err := w.takeOver(ctx, t, d, page, &rel); err != nil {
					return nil, err
				}
				return ship(ctx, d, r, rel)
			},
			Undo: func(_ context.Context, r plan.Receipt) error { did = r; return nil }, // the step before redeploys
		},
		verify: w.verifyStep(t, "verify"+of, wrote...),
	}, facts, nil
}

// verifyStep reads the running processes. A resumed run reads them again: what an
// earlier process read, or a journal says it read, is not what runs now.
func (w *World) verifyStep(t Target, id string, wrote ...*written) plan.Step {
	read := false
	return plan.Step{
		ID: id, Title: "read the running processes", Risk: plan.Reads,
		Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
			p, err := w.proofs(ctx, t, wrote)
			if err != nil {
				return nil, err
			}
			read = true
			return plan.Receipt{"evidence": p.Kind, "services": clip(strings.Join(p.Services, ",")), "containers": clip(strings.Join(p.Containers, " ")), "why": clip(p.Why)}, nil
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			if read {
				return nil
			}
			p, err := w.proofs(ctx, t, wrote)
			if err == nil && r["evidence"] != "" && p.Kind != r["evidence"] {
				err = stale(t, "the journal says that it was verified by "+r["evidence"]+", which cannot be read now: "+p.Why, redeploy(t))
			}
			return err
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}

// restarted tells whether other processes run than those noted, or may.
func (w *World) restarted(ctx context.Context, t Target, noted plan.Receipt) (bool, error) {
	if noted[fieldUnknown] != "" {
		return true, nil
	}
	now, err := w.markers(ctx, t)
	return now != noted[fieldMarker], err
}

func redeploy(t Target) string {
	return fmt.Sprintf("envctl deploy %s --env %s", t.Component, t.Environment.Name)
}

// clip keeps a sentence short enough for a receipt.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

// release renders a target, hands it to the deployer and waits until it runs.
func (w *World) release(ctx context.Context, t Target, d providers.Deployer) (plan.Receipt, error) {
	return w.releaseAt(ctx, t, d, nil)
}

// releaseAt is release of pinned versions; nil: of the newest.
func (w *World) releaseAt(ctx context.Context, t Target, d providers.Deployer, pinned map[naming.Path]providers.Version) (plan.Receipt, error) {
	r, rel, err := w.prepare(ctx, t, pinned)
	if err != nil {
		return nil, err
	}
	return ship(ctx, d, r, rel)
}

// ship hands a release to the deployer and waits until it runs.
func ship(ctx context.Context, d providers.Deployer, r *Rendered, rel providers.Release) (plan.Receipt, error) {
	ctx, alive, cancel := patient(ctx, deployLimit)
	defer cancel()
	rel.Note = func(words string) {
		alive()
		plan.Note(ctx, words)
	}
	rel.Started = func(pid int) error { return plan.Started(ctx, pid) }
	dep, err := d.Deploy(ctx, rel)
	if err != nil {
		return nil, err
	}
	if err := d.Wait(ctx, rel, dep); err != nil {
		return nil, err
	}
	versions := make([]string, 0, len(r.Inputs))
	for _, in := range r.Inputs {
		versions = append(versions, fmt.Sprintf("%s@%d", in.Path, in.Version))
	}
	return plan.Receipt{
		"deployment": clip(dep.ID), "started": stamp(dep.Started), fieldMarker: r.Marker, "versions": clip(strings.Join(versions, " ")),
	}, nil
}

// prepare renders a target as its deployer is to release it.
func (w *World) prepare(ctx context.Context, t Target, pinned map[naming.Path]providers.Version) (*Rendered, providers.Release, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, providers.Release{}, err
	}
	r, err := w.Render(ctx, store, t, pinned)
	if err != nil {
		return nil, providers.Release{}, err
	}
	if err := problem(r); err != nil {
		return nil, providers.Release{}, err
	}
	rel, err := w.named(t)
	rel.Values, rel.Marker = r.Variables, r.Marker
	rel.Known, rel.Was = map[string]secret.Value{}, w.was(ctx, t) // nothing of somebody's, until it is kept
	return r, rel, err
}

// stage puts right what a deployer keeps for its next deployment where a deployment
// of this run was begun and restarted nothing: it may have told its deployer already.
func (w *World) stage(ctx context.Context, t Target, d providers.Deployer, begun bool, pinned map[naming.Path]providers.Version) error {
	s, ok := d.(providers.Stager)
	if !ok || !begun {
		return nil
	}
	_, rel, err := w.prepare(ctx, t, pinned)
	if err != nil {
		return err
	}
	return s.Stage(ctx, rel)
}

// problem refuses to deploy what rendering shows to be broken.
func problem(r *Rendered) error {
	for _, p := range r.Problems {
		if p.Rule != "template-missing-value" && p.Rule != "template-merged-lines" {
			continue
		}
		return fault.Newf(fault.Invalid, fmt.Sprintf("%s:%d", r.Template.File, p.Line), "envctl set "+p.Variable+", or give the template a default", "%s", p.Message)
	}
	return nil
}

// markers returns the release markers that a target's containers carry now,
// sorted and joined; "" when none runs.
func (w *World) markers(ctx context.Context, t Target) (string, error) {
	services, err := w.services(t)
	if err != nil {
		return "", err
	}
	rt, err := w.Runtime(t.Environment)
	if err != nil {
		return "", err
	}
	found, err := rt.Containers(ctx, w.query(t, services))
	if err != nil {
		return "", err
	}
	var marks []string
	for _, c := range w.own(t, found) {
		marks = append(marks, c.Name+"="+c.Labels[providers.LabelRelease]+"@"+stamp(c.Started))
	}
	sort.Strings(marks)
	return clip(strings.Join(marks, " ")), nil
}
