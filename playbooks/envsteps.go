package playbooks

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/ports"
)

// removeStep takes away the containers of a component. Without volumes they are
// deployed again to undo it.
func (w *World) removeStep(t Target, volumes bool) (plan.Step, error) {
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return plan.Step{}, err
	}
	remover, ok := d.(providers.Remover)
	if !ok {
		return plan.Step{}, fault.Newf(fault.Refused, "env delete "+t.Environment.Name, "add --keep-containers", "the deployer of %s cannot remove what it made", t.Component)
	}
	step := plan.Step{
		ID: "remove." + t.Component, Title: "remove the containers of " + t.Component, Risk: plan.Restarts,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			r, cut := page.Prior()
			if !cut {
				rt, err := w.Runtime(t.Environment)
				if err != nil {
					return nil, err
				}
				found, err := rt.Containers(ctx, providers.ContainerQuery{Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component})
				if err != nil {
					return nil, err
				}
				r = plan.Receipt{"component": t.Component}
				var running []string
				for _, c := range found {
					if c.State == "running" {
						running = append(running, c.Name)
					}
				}
				if len(running) > 0 {
					r["ran"] = clip(strings.Join(running, ","))
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			gone, err := remover.Remove(ctx, w.bare(t), volumes)
			for name, all := range map[string][]string{"containers": gone.Containers, "networks": gone.Networks, "volumes": gone.Volumes, "left": gone.Left} {
				if len(all) > 0 {
					r[name] = clip(strings.Join(all, ","))
				}
			}
			return r, err
		},
	}
	if volumes {
		step.Title, step.Risk = "remove the containers and volumes of "+t.Component, plan.Irreversible
		return step, nil
	}
	step.Undo = func(ctx context.Context, r plan.Receipt) error {
		if r["ran"] == "" {
			return nil // nothing ran before
		}
		if _, err := w.release(ctx, t, d); err != nil {
			return err
		}
		_, err := w.Evidence(ctx, t)
		return err
	}
	return step, nil
}

// bare is a release of which only the names are read.
func (w *World) bare(t Target) providers.Release {
	return providers.Release{Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component}
}

// named is bare, with the services.
func (w *World) named(t Target) (providers.Release, error) {
	r := w.bare(t)
	var err error
	r.Services, err = w.services(t)
	return r, err
}

// newestRevision returns the newest version of a path; NotFound where it has none.
func newestRevision(ctx context.Context, store providers.Reader, p naming.Path) (providers.Revision, error) {
	all, err := store.History(ctx, p)
	if err != nil {
		return providers.Revision{}, err
	}
	if len(all) == 0 {
		return providers.Revision{}, fault.New(fault.NotFound, "read the history of "+p.String(), "it has no version", "")
	}
	return all[len(all)-1], nil
}

// unmoved returns the newest version of a path and refuses one that the plan did
// not see: somebody still writes there.
func unmoved(ctx context.Context, store providers.Reader, p naming.Path, v providers.Version) (providers.Revision, error) {
	last, err := newestRevision(ctx, store, p)
	if err == nil && last.Version != v {
		err = fault.Newf(fault.Conflict, "delete "+p.String(), "look with envctl list --env "+p.Environment+" --component "+p.Component+", then run it again",
			"somebody wrote version %d since the plan was made from %d", last.Version, v)
	}
	return last, err
}

// deleteStep deletes softly the version that was planned from, if it is still the
// newest.
func (w *World) deleteStep(store providers.Reader, life providers.Lifecycle, t Target, v providers.Version) plan.Step {
	p := w.Path(t)
	return plan.Step{
		ID: "delete." + t.Component, Title: "delete " + p.String(), Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			prior, _ := page.Prior()
			last, err := unmoved(ctx, store, p, v)
			switch {
			case fault.Is(err, fault.NotFound), err == nil && (last.Deleted || last.Destroyed):
				return prior, nil // by the interrupted attempt, or by somebody else
			case err != nil:
				return nil, err
			}
			r := plan.Receipt{fieldPath: p.String(), "version": strconv.Itoa(int(v))}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			return r, life.Delete(ctx, p, v)
		},
		Verify: func(ctx context.Context, _ plan.Receipt) error {
			b, err := store.Read(ctx, p, providers.Latest)
			switch {
			case fault.Is(err, fault.Deleted, fault.Destroyed, fault.NotFound):
				return nil
			case err != nil:
				return err
			}
			return fault.Newf(fault.Conflict, "delete "+p.String(), "look with envctl list"+t.on()+", then run it again", "somebody wrote version %d meanwhile", b.Version)
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r["version"] == "" {
				return nil
			}
			last, err := unmoved(ctx, store, p, v)
			switch {
			case fault.Is(err, fault.NotFound), err == nil && last.Destroyed:
				return fault.New(fault.Destroyed, "undelete "+p.String(), "its versions are gone for good", "envctl env create "+t.Environment.Name)
			case err != nil || !last.Deleted:
				return err
			}
			return life.Undelete(ctx, p, v)
		},
	}
}

// purgeStep removes all versions for good, if nobody wrote since the plan was made.
func (w *World) purgeStep(store providers.Reader, life providers.Lifecycle, t Target, v providers.Version) plan.Step {
	p := w.Path(t)
	return plan.Step{
		ID: "purge." + t.Component, Title: "destroy all versions of " + p.String(), Risk: plan.Irreversible,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			prior, cut := page.Prior()
			last, err := unmoved(ctx, store, p, v)
			switch {
			case fault.Is(err, fault.NotFound) && (cut || v > 0):
				return prior, nil
			case fault.Is(err, fault.NotFound): // metadata alone
			case err != nil:
				return nil, err
			case !last.Deleted && !last.Destroyed:
				return nil, fault.Newf(fault.Conflict, "destroy "+p.String(), "look with envctl list"+t.on()+", then run it again", "somebody brought version %d back", v)
			}
			r := plan.Receipt{fieldPath: p.String(), "version": strconv.Itoa(int(v))}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			err = life.Purge(ctx, p)
			if fault.Is(err, fault.NotFound) {
				err = nil
			}
			return r, err
		},
		Verify: func(ctx context.Context, _ plan.Receipt) error {
			_, err := store.History(ctx, p)
			switch {
			case fault.Is(err, fault.NotFound):
				return nil
			case err != nil:
				return err
			}
			return fault.New(fault.No, "destroy "+p.String(), "the store still has it", "look with envctl list"+t.on())
		},
	}
}

// registry is where this machine records who holds which port.
func (w *World) registry() *ports.Registry {
	r := ports.New(filepath.Join(w.Dirs.State, "ports.json"), w.Now)
	if w.PortBusy != nil {
		r.Asking(w.PortBusy)
	}
	return r
}

// holds tells whether a port is the environment's: for local and ci only this
// working copy's, as others have the same names.
func (w *World) holds(e config.Environment) func(ports.Entry) bool {
	return func(p ports.Entry) bool {
		return p.Project == w.Project.Name && p.Environment == e.Name && (!naming.IsLocal(e.Name) || p.Folder == w.Project.Root)
	}
}

func (w *World) held(e config.Environment) ([]ports.Entry, error) {
	all, err := w.registry().List()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p ports.Entry) bool { return !w.holds(e)(p) }), nil
}

// reserving returns the step that holds a port for each service of an environment
// that runs on this machine, as envctl port would; none where all are held.
func (w *World) reserving(e config.Environment, c Creation) ([]plan.Step, []plan.Fact, error) {
	if e.Deploy.Kind != config.DeployCompose || naming.IsLocal(e.Name) { // what is local is each working copy's own
		return nil, nil, nil
	}
	held, err := w.held(e)
	if err != nil {
		return nil, nil, err
	}
	missing := slices.DeleteFunc(w.Project.Services(), func(s string) bool {
		return slices.ContainsFunc(held, func(h ports.Entry) bool { return h.Service == s })
	})
	if !c.wants("reserve", len(missing) > 0) {
		return nil, nil, nil
	}
	return []plan.Step{w.reserveStep(e, missing)}, []plan.Fact{{Label: "reserve", Text: "a port of this machine for " + list(missing)}}, nil
}

func (w *World) reserveStep(e config.Environment, services []string) plan.Step {
	return plan.Step{
		ID: "reserve", Title: "reserve the ports of " + e.Name, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			r, cut := page.Prior()
			if !cut {
				r = plan.Receipt{}
				for _, s := range services {
					r["service."+s] = "reserved"
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			rules, err := w.Rules()
			if err != nil {
				return nil, err
			}
			for _, s := range sortedKeys(cutKeys(r, "service.")) {
				grant, err := w.registry().Acquire(ctx, ports.Request{
					Holder: ports.Holder{Project: w.Project.Name, Environment: e.Name, Service: s}, Folder: w.Project.Root,
					First: rules.Port(e.Name, "", "", s), Range: rules.PortRange(),
				})
				if err != nil {
					return nil, err
				}
				r["port."+s] = strconv.Itoa(grant.Port)
			}
			return r, nil
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			_, err := w.registry().Release(ctx, func(p ports.Entry) bool { return w.holds(e)(p) && r["service."+p.Service] != "" })
			return err
		},
	}
}

// portsStep gives up the ports that an environment holds on this machine.
func (w *World) portsStep(e config.Environment) plan.Step {
	return plan.Step{
		ID: "ports", Title: "release the ports of " + e.Name, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			held, err := w.held(e)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if len(held) == 0 {
				return r, nil
			}
			if !cut {
				r = plan.Receipt{}
			}
			for _, h := range held {
				n := strconv.Itoa(h.Port)
				r["port."+n] = h.Service
				for field, text := range map[string]string{"branch.": h.Branch, "workspace.": h.Workspace, "folder.": h.Folder} {
					if q := strconv.QuoteToASCII(text); len(q) <= 4*piece {
						r[field+n] = q
					}
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			_, err = w.registry().Release(ctx, w.holds(e))
			return r, err
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			for _, n := range sortedKeys(cutKeys(r, "port.")) {
				port, err := strconv.Atoi(n)
				if err != nil {
					return fault.New(fault.Invalid, "undo the release of ports", "the journal's record is not readable", "envctl port --list")
				}
				text := func(field string) string {
					s, err := strconv.Unquote(r[field+n])
					if err != nil {
						return ""
					}
					return s
				}
				holder := ports.Holder{Project: w.Project.Name, Environment: e.Name, Branch: text("branch."), Workspace: text("workspace."), Service: r["port."+n]}
				if _, err := w.registry().Acquire(ctx, ports.Request{Holder: holder, Folder: text("folder."), First: port, Range: naming.PortRange{Lo: port, Hi: port}}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// undeclareStep takes an environment's entry out of the project file, if it still
// is the one that was planned from.
func (w *World) undeclareStep(name, text string, at int) plan.Step {
	return plan.Step{
		ID: "undeclare", Title: "remove " + name + " from " + config.FileName, Risk: plan.Writes,
		Do: func(_ context.Context, page *plan.Page) (plan.Receipt, error) {
			now, err := w.projectNow()
			if err != nil {
				return nil, err
			}
			prior, _ := page.Prior()
			if !declares(now, name) {
				return prior, nil
			}
			edited, found, _, err := config.RemoveEnvironment(now, name)
			if err != nil {
				return nil, err
			}
			if found != text {
				return nil, fault.Newf(fault.Conflict, "write "+config.FileName, "run envctl env delete "+name+" again", "the entry of %s was changed since the plan was made", name)
			}
			r := plan.Receipt{fieldLine: clip(text), fieldBefore: digest(now), fieldAfter: digest(edited)}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			return r, atomicfile.Write(w.Project.File, edited, fileMode(w.Project.File))
		},
		Undo: func(_ context.Context, r plan.Receipt) error {
			now, err := w.projectNow()
			if err != nil || r[fieldBefore] == "" || declares(now, name) {
				return err
			}
			back, err := config.RestoreEnvironment(now, name, text, at)
			if err != nil {
				return err
			}
			return atomicfile.Write(w.Project.File, back, fileMode(w.Project.File))
		},
	}
}
