package playbooks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// Deletion is what env delete was asked for.
type Deletion struct {
	Name           string
	Destroy        bool // volumes and all versions too, for good
	KeepContainers bool // what runs stays as it is
	WithPolicy     bool // the policies too, with the administrator's token
}

// Arguments of a deletion's journal: which steps it has, and what they need.
const (
	argDestroy  = "destroy"
	argEntry    = "entry"    // the text taken out of the project file
	argEntryAt  = "entry_at" // and where it stood
	argPorts    = "ports"
	argRaze     = "raze."     // followed by a component: what becomes of its service
	argRazed    = "razed"     // the component through which the deployer's environment is reached
	argRemove   = "remove."   // followed by a component
	argDelete   = "delete."   // followed by a component: the version that is deleted
	argPurge    = "purge."    // followed by a component: its newest version
	argUnpolicy = "unpolicy." // followed by a component
	argRevoke   = "revoke."   // followed by a component
)

// DeleteEnv plans the end of an environment: its containers and their network,
// the newest version of each of its paths (softly), the ports it holds and its
// entry in the project file; with Destroy its volumes and all versions too, for
// good. A plan without steps: nothing of it is left. Kinds: Refused for a
// protected environment, whatever is asked; Usage for an unknown one; and what
// looking at the store and the containers meets.
func (w *World) DeleteEnv(ctx context.Context, d Deletion) (*plan.Plan, error) {
	op := "env delete " + d.Name
	e, err := w.Project.Environment(d.Name)
	switch {
	case err != nil:
		return nil, err
	case naming.IsProduction(d.Name):
		return nil, fault.New(fault.Refused, op, "production is never deleted by envctl", "envctl env show production")
	case e.Protected:
		return nil, fault.Newf(fault.Refused, op, "remove protected: true from "+e.Pattern+" in "+config.FileName+" first", "%s is protected", d.Name)
	}
	args := map[string]string{argDestroy: strconv.FormatBool(d.Destroy)}
	var facts []plan.Fact
	fact := func(label, format string, a ...any) {
		facts = append(facts, plan.Fact{Label: label, Text: fmt.Sprintf(format, a...)})
	}
	if !d.KeepContainers {
		if err := w.planRemovals(ctx, e, d, args, fact); err != nil {
			return nil, err
		}
	}
	if err := w.planPaths(ctx, e, d, args, fact); err != nil {
		return nil, err
	}
	if d.WithPolicy {
		if err := w.planRevokes(ctx, e, args, fact); err != nil {
			return nil, err
		}
		if err := w.planPolicies(ctx, e, args, fact); err != nil {
			return nil, err
		}
	}
	held, err := w.held(e)
	if err != nil {
		return nil, err
	}
	if len(held) > 0 {
		args[argPorts] = "true"
		for _, h := range held {
			fact("release", "port %d of %s", h.Port, h.Service)
		}
	}
	if e.Pattern == d.Name {
		_, text, at, err := config.RemoveEnvironment(w.Project.Data, d.Name)
		if err != nil {
			return nil, err
		}
		enclose(args, argEntry, text)
		args[argEntryAt] = strconv.Itoa(at)
		fact("undeclare", "%s in %s", d.Name, config.FileName)
	}
	p, err := w.deletion(e, args)
	if err == nil {
		p.Facts = append(facts, p.Facts...)
	}
	return p, err
}

// planRemovals finds the containers, and what can remove them.
func (w *World) planRemovals(ctx context.Context, e config.Environment, d Deletion, args map[string]string, fact func(string, string, ...any)) error {
	removers := map[string]providers.Remover{}
	open := map[string]providers.Deployer{}
	for _, name := range w.Project.ComponentNames() {
		deployer, err := w.Deployer(e, name)
		if err != nil {
			return err
		}
		if deployer == nil {
			continue
		}
		if _, ok := deployer.(providers.Builder); ok {
			if err := w.razing(ctx, Target{e, name}, deployer, d.Destroy, args, fact); err != nil {
				return err
			}
			continue
		}
		open[name] = deployer
		if r, ok := deployer.(providers.Remover); ok {
			removers[name] = r
		}
	}
	if len(open) == 0 {
		return nil
	}
	rt, err := w.Runtime(e)
	if err != nil {
		return err
	}
	found, err := rt.Containers(ctx, providers.ContainerQuery{Project: w.Project.Name, Environment: e.Name})
	if err != nil {
		return fault.Wrap(err, fault.KindOf(err), "look for the containers of "+e.Name, "run envctl doctor; to leave them as they are, add --keep-containers")
	}
	running := map[string][]string{}
	for _, c := range found {
		running[c.Component] = append(running[c.Component], c.Name)
	}
	for _, name := range sortedKeys(open) {
		containers := running[name]
		delete(running, name)
		if len(containers) == 0 && !d.Destroy {
			continue
		}
		if removers[name] == nil {
			if len(containers) == 0 {
				continue
			}
			return fault.Newf(fault.Refused, "env delete "+e.Name, "remove them there, then run it again; to leave them as they are, add --keep-containers",
				"%s cannot remove what it made: %s", open[name].Describe(), list(containers))
		}
		args[argRemove+name] = "true"
		if len(containers) > 0 {
			fact("remove", "%s, and their network, from %s", list(containers), open[name].Describe())
		}
		if d.Destroy {
			fact("destroy", "the volumes of %s in %s: cannot be undone", name, e.Name)
		}
	}
	for _, name := range sortedKeys(running) {
		fact("stays", "%s of %s, which is no component of %s", list(running[name]), name, config.FileName)
	}
	return nil
}

// planPaths finds the paths, also of components that the file has no more.
func (w *World) planPaths(ctx context.Context, e config.Environment, d Deletion, args map[string]string, fact func(string, string, ...any)) error {
	store, err := w.Store(e)
	if err != nil {
		return err
	}
	paths, err := store.List(ctx, naming.Path{Project: w.Project.Name, Environment: e.Name})
	if err != nil {
		return err
	}
	if before := w.kept(Target{Environment: e}); len(paths) > 0 {
		switch _, err := newestRevision(ctx, store, before); { // no listing has it
		case err == nil:
			paths = append(paths, before)
		case !fault.Is(err, fault.NotFound, fault.Denied):
			return err
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if _, ok := store.(providers.Lifecycle); !ok {
		return fault.Newf(fault.Refused, "env delete "+e.Name, "delete them in the store itself", "%s cannot delete paths", store.Describe())
	}
	fact("store", "%s", store.Describe())
	for _, p := range paths {
		last, err := newestRevision(ctx, store, p)
		if fault.Is(err, fault.NotFound) && d.Destroy { // metadata alone
			args[argPurge+p.Component] = "0"
			continue
		}
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		v := strconv.Itoa(int(last.Version))
		if !last.Deleted && !last.Destroyed {
			args[argDelete+p.Component] = v
			if !d.Destroy {
				fact("delete", "%s  version %s, softly: envctl undo brings it back", p, v)
			}
		}
		if d.Destroy {
			args[argPurge+p.Component] = v
			fact("destroy", "%s  all versions up to %s: cannot be undone", p, v)
		}
	}
	return nil
}

func (w *World) planPolicies(ctx context.Context, e config.Environment, args map[string]string, fact func(string, string, ...any)) error {
	s, err := w.policies(e)
	if err != nil {
		return err
	}
	for _, name := range w.Project.ComponentNames() {
		policy, err := w.PolicyName(Target{e, name})
		if err != nil {
			return err
		}
		text, err := readPolicy(ctx, s, policy)
		if err != nil {
			return err
		}
		if text != "" {
			args[argUnpolicy+name] = "true"
			fact("remove", "the policy %s", policy)
		}
	}
	return nil
}

// deletion builds the plan from its arguments alone, so that it is the same when
// it is made again.
func (w *World) deletion(e config.Environment, args map[string]string) (*plan.Plan, error) {
	p := &plan.Plan{Playbook: "env delete", Project: w.Project.Name, Environment: e.Name, Args: args}
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	life, _ := store.(providers.Lifecycle)
	destroy := args[argDestroy] == "true"
	var removals, deletes, purges []plan.Step
	for _, name := range sortedKeys(cutKeys(args, argRemove)) {
		s, err := w.removeStep(Target{e, name}, destroy)
		if err != nil {
			return nil, err
		}
		removals = append(removals, s)
	}
	for _, name := range sortedKeys(cutKeys(args, argRaze)) {
		s, err := w.razeStep(Target{e, name}, args[argRaze+name])
		if err != nil {
			return nil, err
		}
		removals = append(removals, s)
	}
	for _, name := range sortedKeys(cutKeys(args, argDelete)) {
		deletes = append(deletes, w.deleteStep(store, life, Target{e, name}, versionOf(args, argDelete+name)))
	}
	for _, name := range sortedKeys(cutKeys(args, argPurge)) {
		purges = append(purges, w.purgeStep(store, life, Target{e, name}, versionOf(args, argPurge+name)))
	}
	if destroy {
		// First what can be undone: it finds out whether anybody still writes here.
		p.Steps = slices.Concat(deletes, removals, purges)
	} else {
		p.Steps = slices.Concat(removals, deletes)
	}
	if name := args[argRazed]; name != "" {
		s, err := w.razedStep(Target{e, name})
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, s)
	}
	for _, name := range sortedKeys(cutKeys(args, argRevoke)) {
		policy, err := w.PolicyName(Target{e, name})
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, w.revokeStep(Target{e, name}, policy))
	}
	for _, name := range sortedKeys(cutKeys(args, argUnpolicy)) {
		policy, err := w.PolicyName(Target{e, name})
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, w.policyStep(Target{e, name}, "unpolicy", policy, ""))
	}
	if args[argPorts] != "" {
		p.Steps = append(p.Steps, w.portsStep(e))
	}
	if args[argEntryAt] != "" {
		text, err := disclose(args, argEntry)
		if err != nil {
			return nil, err
		}
		at, err := strconv.Atoi(args[argEntryAt])
		if err != nil || at < 0 {
			return nil, fault.New(fault.Invalid, "rebuild env delete", "the journal does not say where the entry stood", "")
		}
		p.Steps = append(p.Steps, w.undeclareStep(e.Name, text, at))
	}
	return p, w.guard(p, e)
}

// rebuildDelete makes the plan of a journaled env delete again; the environment's
// entry may be out of the file by now.
func (w *World) rebuildDelete(h plan.Header) (*plan.Plan, error) {
	project := w.Project
	if h.Args[argEntryAt] != "" && !declares(w.Project.Data, h.Environment) {
		text, err := disclose(h.Args, argEntry)
		if err != nil {
			return nil, err
		}
		data, err := config.RestoreEnvironment(w.Project.Data, h.Environment, text, int(versionOf(h.Args, argEntryAt)))
		if err != nil {
			return nil, err
		}
		if project, err = config.Parse(config.FileName, data); err != nil {
			return nil, err
		}
	}
	e, err := project.Environment(h.Environment)
	if err != nil {
		return nil, err
	}
	return w.deletion(e, maps.Clone(h.Args))
}

// rebuildEnvironment makes the plan of a journaled env command again.
func (w *World) rebuildEnvironment(ctx context.Context, h plan.Header) (*plan.Plan, error) {
	switch h.Playbook {
	case "env create":
		return w.rebuildEnv(ctx, h)
	case "env delete":
		return w.rebuildDelete(h)
	case "env promote":
		return w.rebuildPromote(ctx, h)
	}
	return nil, fault.Newf(fault.Invalid, "rebuild "+h.Playbook, "use the envctl version that made the run: "+h.Version, "this version knows no such playbook")
}
