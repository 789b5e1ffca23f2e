package playbooks

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// IsVariable tells whether s can be a variable's name, UPPER_SNAKE:
// ^[A-Z_][A-Z0-9_]{0,127}$.
func IsVariable(s string) bool {
	// A regular expression would be compiled at each start of the program.
	const digits, letters = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return s != "" && len(s) <= 128 && !strings.Contains(digits, s[:1]) && strings.TrimLeft(s, letters+digits) == ""
}

// WrittenKeys returns, sorted, the keys that a write's receipt says it changed.
func WrittenKeys(r plan.Receipt) []string {
	keys := map[string]bool{}
	for f := range r {
		if k, ok := strings.CutPrefix(f, fieldFP); ok {
			keys[k] = true
		}
	}
	return sortedKeys(keys)
}

// Set plans the write of given values in one write: one key without a version
// as precondition, several as check-and-set.
func (w *World) Set(ctx context.Context, t Target, playbook string, values providers.Patch, deploy bool) (*plan.Plan, error) {
	keys := sortedKeys(values)
	for _, k := range keys {
		if values[k].IsSet() {
			if err := CheckValue(k, values[k]); err != nil {
				return nil, err
			}
		}
	}
	var warnings []plan.Fact
	if playbook == "set" {
		var err error
		if warnings, err = w.transports(ctx, t, values); err != nil {
			return nil, err
		}
	}
	p, err := w.setPlan(ctx, t, playbook, keys, deploy, Values(values), "")
	if err != nil {
		return nil, err
	}
	p.Facts = append(p.Facts, warnings...)
	return p, nil
}

func (w *World) setPlan(ctx context.Context, t Target, playbook string, keys []string, deploy bool, make func(providers.Bundle) (providers.Patch, error), lost string) (*plan.Plan, error) {
	again := "envctl " + playbook + " " + strings.Join(keys, " ") + t.on() + deployFlag(deploy)
	switch playbook {
	case "edit":
		again = "envctl edit" + t.on()
	case "import":
		again = "envctl import FILE" + t.on()
	}
	c := Change{
		Target: t, Playbook: playbook, Again: again, Keys: keys, OneKey: len(keys) == 1 && playbook == "set", Deploy: deploy, Make: make, Lost: lost,
		Args: map[string]string{"deploy": strconv.FormatBool(deploy)},
	}
	noteKeys(c.Args, keys)
	return c.Plan(ctx, w)
}

// argVersion is the argument that names the version whose values are put back.
const argVersion = "version"

// argKeys is the argument that names a write's keys, in one text or in pieces.
const argKeys = "keys"

func noteKeys(args map[string]string, keys []string) {
	if text := strings.Join(keys, ","); text == clip(text) {
		args[argKeys] = text
	} else {
		enclose(args, argKeys, text)
	}
}

func keysOf(args map[string]string) ([]string, error) {
	text, err := disclose(args, argKeys)
	return strings.Split(args[argKeys]+text, ","), err
}

func deployFlag(on bool) string {
	if on {
		return " --deploy"
	}
	return ""
}

// Rollback plans making the newest version equal to an earlier one.
func (w *World) Rollback(ctx context.Context, t Target, to providers.Version) (*plan.Plan, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	p := w.Path(t)
	old, err := store.Read(ctx, p, to)
	if err != nil {
		hint := "" // the error's own
		if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
			hint = versions(ctx, store, p, t)
		}
		return nil, fault.Wrap(err, fault.KindOf(err), "roll back "+p.String(), hint)
	}
	cur, was, err := w.newest(ctx, store, p)
	if err != nil {
		return nil, err
	}
	if cur.Version == to {
		return nil, fault.Newf(fault.Usage, "roll back "+p.String(), versions(ctx, store, p, t), "version %d is the newest already", to)
	}
	patch, err := RollingBack(old)(cur)
	if err != nil {
		return nil, err
	}
	c := w.rollback(t, to, func() (providers.Bundle, error) { return old, nil })
	c.Keys, c.Was = sortedKeys(patch), was
	c.Args["created"] = stamp(old.Created)
	c.Facts = []plan.Fact{{Label: "roll back", Text: fmt.Sprintf("to version %d of %s, as a new version", to, old.Created.UTC().Format("2006-01-02 15:04:05Z"))}}
	return c.planOn(ctx, w, store, cur)
}

// rollback is the change that a rollback to a version makes; read gives that version.
func (w *World) rollback(t Target, to providers.Version, read func() (providers.Bundle, error)) Change {
	return Change{
		Target: t, Playbook: "rollback", ReadBack: true,
		Args:  map[string]string{"to": strconv.Itoa(int(to))},
		Again: fmt.Sprintf("envctl rollback --to %d%s", to, t.on()),
		Make: func(now providers.Bundle) (providers.Patch, error) {
			old, err := read()
			if err != nil {
				return nil, err
			}
			return RollingBack(old)(now)
		},
	}
}

// newest reads the newest version of a path that must have had one, also where it
// is not live: then its number and time, and was says what it is.
func (w *World) newest(ctx context.Context, store providers.Reader, p naming.Path) (b providers.Bundle, was string, err error) {
	b, err = store.Read(ctx, p, providers.Latest)
	if !fault.Is(err, fault.Deleted, fault.Destroyed) {
		return b, "", err
	}
	revisions, herr := store.History(ctx, p)
	if herr != nil || len(revisions) == 0 {
		return b, "", err
	}
	last := revisions[len(revisions)-1]
	return providers.Bundle{Path: p, Version: last.Version, Created: last.Created}, fault.KindOf(err).String(), nil
}

// Rebuild makes the plan of a journaled run again, for resume and undo.
func (w *World) Rebuild(ctx context.Context, h plan.Header) (*plan.Plan, error) {
	if strings.HasPrefix(h.Playbook, "env ") { // its environment may not be in the file
		return w.rebuildEnvironment(ctx, h)
	}
	e, err := w.Project.Environment(h.Environment)
	if err != nil {
		return nil, err
	}
	t := Target{Environment: e, Component: h.Component}
	word, rest, _ := strings.Cut(h.Playbook, " ")
	switch word {
	case "edit", "import", "restore", "set", "unset":
		if v := h.Args[argRevive]; v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil, fault.New(fault.Invalid, "rebuild "+h.Playbook, "the journal names no version", "")
			}
			return w.revival(t, providers.Version(n))
		}
		keys, err := keysOf(h.Args)
		if err != nil {
			return nil, err
		}
		gone := fmt.Sprintf("run envctl %s %s%s%s again", word, strings.Join(keys, " "), t.on(), deployFlag(h.Args["deploy"] == "true"))
		switch word {
		case "unset": // nothing is lost: it can be made again
			patch := providers.Patch{}
			for _, k := range keys {
				patch[k] = secret.Value{}
			}
			return w.setPlan(ctx, t, h.Playbook, sortedKeys(patch), h.Args["deploy"] == "true", Values(patch), "")
		case "restore":
			if n := h.Args[argVersion]; n != "" { // its value is in the store
				return w.setPlan(ctx, t, h.Playbook, keys, h.Args["deploy"] == "true", w.restored(ctx, t, keys, versionOf(h.Args, argVersion), h.Args[fieldCreated]), "")
			}
		case "import":
			gone = "run envctl import FILE" + t.on() + " again"
		case "edit":
			gone = "run envctl edit" + t.on() + " again"
		}
		return w.setPlan(ctx, t, h.Playbook, keys, h.Args["deploy"] == "true", Values(nil), gone)
	case "rollback":
		n, err := strconv.Atoi(h.Args["to"])
		if err != nil {
			return nil, fault.New(fault.Invalid, "rebuild "+h.Playbook, "the journal names no version", "")
		}
		return w.rebuildRollback(ctx, t, providers.Version(n), h.Args["created"])
	case "rotate":
		if h.Args["role"] != "" {
			return w.rebuildRole(ctx, t, rest, h)
		}
		if strings.HasPrefix(rest, "-") {
			return w.rebuildRotateAll(ctx, e, h)
		}
		return w.rebuildRotate(ctx, t, rest, h)
	case "deploy":
		return w.Deploy(ctx, t)
	}
	return nil, fault.Newf(fault.Invalid, "rebuild "+h.Playbook, "use the envctl version that made the run: "+h.Version, "this version knows no such playbook")
}

func (w *World) rebuildRollback(ctx context.Context, t Target, to providers.Version, created string) (*plan.Plan, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return nil, err
	}
	cur, was, err := w.newest(ctx, store, w.Path(t))
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	cur.Path = w.Path(t)
	// Version to is read only if the write has still to be made: it may be one that
	// the store dropped since, to make room for the write.
	c := w.rollback(t, to, func() (providers.Bundle, error) { return w.earlier(ctx, t, to, created) })
	c.Was = was
	return c.planOn(ctx, w, store, cur)
}

// earlier reads a version that is to be put back, and refuses another of its number.
func (w *World) earlier(ctx context.Context, t Target, v providers.Version, created string) (providers.Bundle, error) {
	store, err := w.Store(t.Environment)
	if err != nil {
		return providers.Bundle{}, err
	}
	b, err := store.Read(ctx, w.Path(t), v)
	if err == nil && created != "" && stamp(b.Created) != created {
		err = fault.Newf(fault.Conflict, "put back "+w.Path(t).String(), "envctl list"+t.on(), "version %d is another one now: the path was deleted and made again", v)
	}
	return b, err
}

// restored gives variables what they held in a version, which is read when it is written.
func (w *World) restored(ctx context.Context, t Target, keys []string, v providers.Version, created string) func(providers.Bundle) (providers.Patch, error) {
	return func(providers.Bundle) (providers.Patch, error) {
		b, err := w.earlier(ctx, t, v, created)
		patch := providers.Patch{}
		for _, k := range keys {
			patch[k] = b.Values[k]
		}
		return patch, err
	}
}

// Deploy plans making a component's values real in its processes, and proving it.
func (w *World) Deploy(_ context.Context, t Target) (*plan.Plan, error) {
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, fault.Newf(fault.Usage, "deploy "+t.Component+" in "+t.Environment.Name, "configure one in "+config.FileName+": deploy: {kind: compose}", "the environment has no deployer")
	}
	r, facts, err := w.rollout(t, d, "", nil)
	if err != nil {
		return nil, err
	}
	r = w.undoingDeploy(t, d, r)
	p := &plan.Plan{
		Playbook: "deploy", Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component,
		Facts: facts, Steps: []plan.Step{r.before, r.deploy, r.verify},
	}
	if t.Environment.Protected {
		p.Confirm = t.Environment.Name
	}
	return p, w.guard(p, t.Environment)
}
