package playbooks

import (
	"context"
	"fmt"
	"maps"
	"sort"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Proof is what was read back from the running processes of a target.
type Proof struct {
	Kind     string // process, container-config; "" for unverified
	Services []string
	// Containers are those whose processes were read.
	Containers []string
	Why        string // why it is unverified, or weaker than process
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
	return w.evidence(ctx, t, want)
}

// evidence is Evidence for what was rendered already.
func (w *World) evidence(ctx context.Context, t Target, want *Rendered) (Proof, error) {
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
	watched, err := w.watched(ctx, t, found)
	if err != nil {
		return Proof{Why: err.Error()}, nil //nolint:nilerr // no evidence is an answer, not a failure
	}
	for _, s := range services {
		mine := ofService(w.own(t, found), s)
		if seen := ofService(watched, s); len(seen) > 0 {
			for _, c := range seen {
				if c.State != "running" || c.Health == "unhealthy" {
					return proof, stale(t, strings.TrimSpace(c.Name+" is "+c.State+" "+c.Health), fmt.Sprintf("envctl logs %s --env %s", c.Service, t.Environment.Name))
				}
			}
			proof.Kind, proof.Why = "", unseen
			continue
		}
		if len(mine) == 0 {
			return proof, stale(t, "no container of "+s.Name+" is evidence for "+t.Environment.Name, "envctl status --env "+t.Environment.Name)
		}
		for _, c := range mine {
			kind, why, err := w.judge(ctx, rt, t, c, want)
			if err != nil {
				return proof, halfRolled(t, halfway(mine, want.Marker), err)
			}
			if kind != "process" && proof.Kind != "" {
				proof.Kind, proof.Why = kind, why
			}
			proof.Containers = append(proof.Containers, c.Name)
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
	redeploy := redeploy(t)
	if c.State != "running" {
		return "", "", stale(t, fmt.Sprintf("%s is %s (exit code %d)", c.Name, c.State, c.ExitCode), fmt.Sprintf("envctl logs %s --env %s", c.Service, t.Environment.Name))
	}
	if c.Health == "unhealthy" {
		return "", "", stale(t, c.Name+" is unhealthy", fmt.Sprintf("envctl logs %s --env %s", c.Service, t.Environment.Name))
	}
	if w.looping(c) {
		return "", "", stale(t, loopingWords(c), fmt.Sprintf("envctl logs %s --env %s", c.Service, t.Environment.Name))
	}
	procs, err := rt.Processes(ctx, c)
	if err != nil {
		return configOnly(t, c, want, err.Error(), redeploy)
	}
	readable, blind, held := false, "no process was found", map[string]bool{}
	for _, p := range leaves(procs) {
		if p.Err != nil {
			blind = p.Err.Error() // forked children of a readable one, mostly
			continue
		}
		readable = true
		for name, v := range want.Variables {
			have, ok := p.Env[name]
			if !ok {
				continue
			}
			held[name] = true
			if !have.Equal(v) {
				return "", "", stale(t, fmt.Sprintf("%s: process %d (%s) holds another %s than the store renders", c.Name, p.PID, p.Exe, name), redeploy)
			}
		}
		if name := want.left(p.Env); name != "" {
			return "", "", stale(t, fmt.Sprintf("%s: process %d (%s) still holds %s, which was removed", c.Name, p.PID, p.Exe, name), redeploy)
		}
	}
	if !readable || hidden(procs) {
		return configOnly(t, c, want, blind, redeploy)
	}
	for _, name := range sortedKeys(want.Variables) {
		if held[name] {
			continue
		}
		// A program may drop a variable it was given; one that it was never given
		// shows that it was started before.
		if have, ok := c.Env[name]; !ok || !have.Equal(want.Variables[name]) {
			return "", "", stale(t, fmt.Sprintf("%s: no process holds %s", c.Name, name), redeploy)
		}
		why = "no process of " + c.Name + " kept " + name
	}
	if why != "" {
		if name := want.left(c.Env); name != "" {
			return "", "", stale(t, fmt.Sprintf("%s: the container's configuration still holds %s, which was removed", c.Name, name), redeploy)
		}
		return "container-config", why, nil
	}
	return "process", "", nil
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
	if name := want.left(c.Env); name != "" {
		return "", "", stale(t, fmt.Sprintf("%s: the container's configuration still holds %s, which was removed", c.Name, name), redeploy)
	}
	return "container-config", why, nil
}

// left returns a variable that is still held although it was removed, "" for none.
func (r *Rendered) left(env map[string]secret.Value) string {
	for _, name := range sortedKeys(r.Gone) {
		if have, ok := env[name]; ok && have.Equal(r.Gone[name]) {
			return name
		}
	}
	return ""
}

// hidden tells whether a process that cannot be read was not forked by one that
// can: what it holds is then anybody's guess, whatever the others show.
func hidden(procs []providers.Process) bool {
	readable := map[int]bool{}
	for _, p := range procs {
		readable[p.PID] = p.Err == nil
	}
	for _, p := range procs {
		if p.Err != nil && !readable[p.PPID] {
			return true
		}
	}
	return false
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

// own leaves out containers whose labels name another project or environment,
// whoever returned them.
func (w *World) own(t Target, all []providers.Container) []providers.Container {
	var out []providers.Container
	for _, c := range all {
		project, env := c.Labels[providers.LabelProject], c.Labels[providers.LabelEnvironment]
		if (project == "" || project == w.Project.Name) && (env == "" || env == t.Environment.Name) {
			out = append(out, c)
		}
	}
	return out
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

// proofs puts together what is proven of each write: the weakest of it.
func (w *World) proofs(ctx context.Context, t Target, wrote []*written) (Proof, error) {
	var all Proof
	for i, one := range wrote {
		p, err := w.proof(ctx, t, one)
		if err != nil {
			return p, err
		}
		if i == 0 || all.Kind != "" && p.Kind != "process" {
			all = p
		}
	}
	return all, nil
}

// proof is Evidence, and that what a run wrote is part of it: the keys are still
// as they were written, what they go into is held, and what they removed is gone.
func (w *World) proof(ctx context.Context, t Target, wrote *written) (Proof, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return Proof{}, err
	}
	want, err := w.Render(ctx, store, t, nil)
	if err != nil {
		return Proof{}, err
	}
	if wrote == nil || wrote.receipt == nil || Unchanged(wrote.receipt) {
		return w.evidence(ctx, t, want)
	}
	r := wrote.receipt
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return Proof{}, err
	}
	base := versionOf(r, fieldTo) - 1
	pinned := map[naming.Path]providers.Version{}
	var path naming.Path
	moved := false // the path is at a later version than this run's
	for _, in := range want.Inputs {
		if in.Path.String() != r[fieldPath] {
			continue
		}
		for _, k := range touchedKeys(r) {
			if key.Fingerprint(in.Values[k]) != r[fieldFP+k] {
				return Proof{}, stale(t, k+" changed again since this run wrote it: what runs is not what it wrote", "envctl history "+k+t.on())
			}
		}
		pinned[in.Path] = base
		path, moved = in.Path, in.Version > base+1
	}
	changed := len(pinned) > 0 // into other variables than before, or other values
	if changed && base > 0 && r[fieldWas] == "" {
		before, err := w.rendered(ctx, store, t, pinned)
		if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
			return Proof{Why: fmt.Sprintf("version %d of %s is gone, which would tell what changed", base, path)}, nil
		}
		if err != nil {
			return Proof{}, err
		}
		want.Gone = map[string]secret.Value{}
		for name, v := range before.Variables {
			if _, still := want.Variables[name]; !still {
				want.Gone[name] = v
			}
		}
		changed = !maps.EqualFunc(before.Variables, want.Variables, secret.Value.Equal)
	}
	p, err := w.evidence(ctx, t, want)
	if fault.Is(err, fault.No) && moved {
		// A neighbour changed since: what this run deployed is judged as it was written.
		then, rerr := w.rendered(ctx, store, t, map[naming.Path]providers.Version{path: base + 1})
		if rerr != nil {
			return p, err
		}
		then.Gone = want.Gone
		if old, oerr := w.evidence(ctx, t, then); oerr == nil {
			p, err = old, nil
		}
	}
	if err != nil {
		return p, err
	}
	if changed {
		wrote.read = true
	} else {
		wrote.unread = append(wrote.unread, t.Component)
	}
	if !wrote.read && len(wrote.unread) == wrote.components {
		return Proof{Services: p.Services, Why: fmt.Sprintf("no variable of %s is made from %s", list(wrote.unread), list(touchedKeys(r)))}, nil
	}
	return p, nil
}

// rendered is Render at pinned versions that must be there.
func (w *World) rendered(ctx context.Context, r providers.Reader, t Target, pinned map[naming.Path]providers.Version) (*Rendered, error) {
	for p, v := range pinned {
		if _, err := r.Read(ctx, p, v); err != nil {
			return nil, err
		}
	}
	return w.Render(ctx, r, t, pinned)
}
