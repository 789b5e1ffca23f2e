package playbooks

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/providers"
)

// rollout is the three steps that make a store's values real in processes.
type rollout struct{ before, deploy, verify plan.Step }

// deployLimit is how long a deployment may take to become healthy.
const deployLimit = 5 * time.Minute

// rollout returns the steps for one component; several: the plan deploys others too.
func (w *World) rollout(t Target, d providers.Deployer, several bool) (rollout, []plan.Fact, error) {
	of := ""
	if several {
		of = "." + t.Component
	}
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
		{Label: "verify", Text: "reads the new values back from the running processes"},
	}
	return rollout{
		// Undone last, after the write: what ran before is deployed again.
		before: plan.Step{
			ID: "before" + of, Title: "note what is running", Risk: plan.Reads,
			Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
				running, err := w.markers(ctx, t)
				return plan.Receipt{fieldMarker: running}, err
			},
			Undo: func(ctx context.Context, r plan.Receipt) error {
				now, err := w.markers(ctx, t)
				if err != nil || now == r[fieldMarker] || r[fieldMarker] == "" {
					return err // nothing was restarted, or nothing ran before
				}
				if _, err := w.release(ctx, t, d); err != nil {
					return err
				}
				_, err = w.Evidence(ctx, t)
				return err
			},
		},
		deploy: plan.Step{
			ID: "deploy" + of, Title: "deploy " + t.Component, Risk: plan.Restarts,
			Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
				if err := page.Intend(plan.Receipt{"component": t.Component}); err != nil {
					return nil, err
				}
				return w.release(ctx, t, d)
			},
			Undo: func(context.Context, plan.Receipt) error { return nil }, // the step before redeploys
		},
		verify: plan.Step{
			ID: "verify" + of, Title: "read the running processes", Risk: plan.Reads,
			Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
				e, err := w.Evidence(ctx, t)
				if err != nil {
					return nil, err
				}
				return plan.Receipt{"evidence": e.Kind, "services": strings.Join(e.Services, ","), "why": clip(e.Why)}, nil
			},
			Undo: func(context.Context, plan.Receipt) error { return nil },
		},
	}, facts, nil
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
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	r, err := w.Render(ctx, store, t, nil)
	if err != nil {
		return nil, err
	}
	if err := problem(r); err != nil {
		return nil, err
	}
	services, err := w.services(t)
	if err != nil {
		return nil, err
	}
	rel := providers.Release{
		Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component,
		Services: services, Values: r.Variables, Marker: r.Marker,
	}
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

// Proof is what was read back from the running processes of a target.
type Proof struct {
	Kind     string // process, container-config; "" for unverified
	Services []string
	Why      string // why it is unverified, or weaker than process
}

// Evidence reads the running processes of every service and compares them with
// what the store renders now. A stale, missing or foreign process is No with
// the cause; evidence that cannot be had is an empty Kind.
func (w *World) Evidence(ctx context.Context, t Target) (Proof, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return Proof{}, err
	}
	want, err := w.Render(ctx, store, t, nil)
	if err != nil {
		return Proof{}, err
	}
	services, err := w.services(t)
	if err != nil {
		return Proof{}, err
	}
	rt, err := w.Runtime(t.Environment)
	if err != nil {
		return Proof{Why: err.Error()}, nil //nolint:nilerr // no evidence is an answer, not a failure
	}
	found, err := rt.Containers(ctx, w.query(t, services))
	if err != nil {
		return Proof{Why: err.Error()}, nil //nolint:nilerr // no evidence is an answer, not a failure
	}
	proof := Proof{Kind: "process"}
	for _, s := range services {
		mine := ofService(found, s)
		if len(mine) == 0 {
			return proof, stale(t, "no container of "+s.Name+" is evidence for "+t.Environment.Name, "envctl status --env "+t.Environment.Name)
		}
		for _, c := range mine {
			kind, why, err := w.judge(ctx, rt, t, c, want)
			if err != nil {
				return proof, err
			}
			if kind != "process" {
				proof.Kind, proof.Why = kind, why
			}
		}
		proof.Services = append(proof.Services, s.Name)
	}
	return proof, nil
}

func stale(t Target, why, fix string) error {
	return fault.New(fault.No, "verify "+t.Component+" in "+t.Environment.Name, why, fix)
}

// judge compares one container with what it should hold.
func (w *World) judge(ctx context.Context, rt providers.Runtime, t Target, c providers.Container, want *Rendered) (kind, why string, err error) {
	redeploy := fmt.Sprintf("envctl deploy %s --env %s", t.Component, t.Environment.Name)
	if c.State != "running" {
		return "", "", stale(t, fmt.Sprintf("%s is %s (exit code %d)", c.Name, c.State, c.ExitCode), fmt.Sprintf("envctl logs %s --env %s", c.Service, t.Environment.Name))
	}
	procs, err := rt.Processes(ctx, c)
	if err != nil {
		return configOnly(t, c, want, err.Error(), redeploy)
	}
	readable := false
	for _, p := range leaves(procs) {
		if p.Err != nil {
			why = p.Err.Error()
			continue
		}
		held := 0
		for name, v := range want.Variables {
			have, ok := p.Env[name]
			if !ok {
				continue
			}
			held++
			if !have.Equal(v) {
				return "", "", stale(t, fmt.Sprintf("%s: process %d (%s) holds another %s than the store renders", c.Name, p.PID, p.Exe, name), redeploy)
			}
		}
		readable = readable || held == len(want.Variables)
	}
	if readable {
		return "process", "", nil
	}
	if why != "" {
		return configOnly(t, c, want, why, redeploy)
	}
	return "", "", stale(t, c.Name+": no process holds all of the component's variables", redeploy)
}

// configOnly falls back on what the engine was told, which says nothing of a
// process that was started before.
func configOnly(t Target, c providers.Container, want *Rendered, why, redeploy string) (string, string, error) {
	if len(c.Env) == 0 {
		return "", why, nil
	}
	names := make([]string, 0, len(want.Variables))
	for name := range want.Variables {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if have, ok := c.Env[name]; !ok || !have.Equal(want.Variables[name]) {
			return "", "", stale(t, fmt.Sprintf("%s: the container's configuration holds another %s than the store renders", c.Name, name), redeploy)
		}
	}
	return "container-config", why, nil
}

// leaves returns the processes that no other process of the container was
// started by: a wrapper may hold older values than the program it runs.
func leaves(procs []providers.Process) []providers.Process {
	parent := map[int]bool{}
	for _, p := range procs {
		if p.Err == nil && len(p.Env) > 0 {
			parent[p.PPID] = true
		}
	}
	var out []providers.Process
	for _, p := range procs {
		if !parent[p.PID] {
			out = append(out, p)
		}
	}
	return out
}

// query asks for the containers that are evidence for a target.
func (w *World) query(t Target, services []providers.Service) providers.ContainerQuery {
	_, bound := w.User.Runtimes.Get(w.Project.Name + "/" + t.Environment.Name)
	q := providers.ContainerQuery{Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component, Bound: bound}
	for _, s := range services {
		q.Names = append(q.Names, s.Container)
	}
	return q
}

// ofService returns the containers that run a service.
func ofService(all []providers.Container, s providers.Service) []providers.Container {
	var out []providers.Container
	for _, c := range all {
		if c.Service == s.Name || c.Name == s.Container {
			out = append(out, c)
		}
	}
	return out
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
	for _, c := range found {
		marks = append(marks, c.Name+"="+c.Labels[providers.LabelRelease]+"@"+stamp(c.Started))
	}
	sort.Strings(marks)
	return clip(strings.Join(marks, " ")), nil
}
