package playbooks

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// What the metadata of an ephemeral environment's paths says.
const (
	metaCreated = "created" // RFC 3339
	metaTTL     = "ttl"     // as 72h or 3d
	metaCreator = "creator"
)

// lifetime returns how long an environment that is created lives, as text; "" for
// one that is not ephemeral or has no end.
func (c Creation) lifetime(e config.Environment) (string, error) {
	op := "env create " + e.Name
	if c.TTL == "" {
		if !e.Ephemeral || e.TTL == 0 {
			return "", nil
		}
		return Span(e.TTL), nil
	}
	if d, err := config.ParseDuration(c.TTL); err != nil || d == 0 {
		return "", fault.Newf(fault.Usage, op, "give --ttl 72h, 3d or 30m", "%q is no lifetime", c.TTL)
	}
	if !e.Ephemeral {
		return "", fault.Newf(fault.Usage, op, "add ephemeral: true to "+e.Pattern+" in "+config.FileName+" first", "%s is not ephemeral, so it has no lifetime", e.Name)
	}
	return c.TTL, nil
}

// Span is a duration as people write it: 72h, not 72h0m0s.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// marks returns the steps that follow the write of a component's path: what its
// metadata says of its lifetime, and its policy.
func (w *World) marks(ctx context.Context, store providers.Store, t Target, c Creation, f filling) ([]plan.Step, []plan.Fact, error) {
	var steps []plan.Step
	var facts []plan.Fact
	ttl, err := c.lifetime(t.Environment)
	if err != nil {
		return nil, nil, err
	}
	meta, ok := store.(providers.Metadata)
	if c.TTL != "" && !ok {
		return nil, nil, fault.Newf(fault.Refused, "env create "+c.Name, "leave out --ttl", "%s keeps no metadata", store.Describe())
	}
	if needed, err := c.unmarked(ctx, meta, w.Path(t), ttl, f); err != nil {
		return nil, nil, err
	} else if c.wants("mark."+t.Component, needed) {
		steps = append(steps, w.markStep(meta, t, ttl, c.Creator))
		facts = append(facts, plan.Fact{Label: "lifetime", Text: fmt.Sprintf("%s  %s from now", w.Path(t), ttl)})
	}
	if !c.WithPolicy {
		return steps, facts, nil
	}
	name, err := w.PolicyName(t)
	if err != nil {
		return nil, nil, err
	}
	want, err := w.PolicyText(t)
	if err != nil {
		return nil, nil, err
	}
	needed := false
	if c.rebuilt == nil {
		s, err := w.policies(t.Environment)
		if err != nil {
			return nil, nil, err
		}
		now, err := readPolicy(ctx, s, name)
		if err != nil {
			return nil, nil, err
		}
		needed = now != want
	}
	if c.wants("policy."+t.Component, needed) {
		steps = append(steps, w.policyStep(t, "policy", name, want))
		facts = append(facts, plan.Fact{Label: "policy", Text: name + "  reads " + w.Path(t).String() + " and what its template reads, nothing else"})
	}
	return steps, facts, nil
}

// unmarked tells whether a path's metadata has to say something new.
func (c Creation) unmarked(ctx context.Context, meta providers.Metadata, p naming.Path, ttl string, f filling) (bool, error) {
	switch {
	case ttl == "" || meta == nil || c.rebuilt != nil:
		return false, nil
	case f.current.Version == providers.Absent || f.was != "":
		return len(f.keys) > 0, nil
	}
	m, err := meta.Meta(ctx, p)
	return m.Custom[metaCreated] == "" || c.TTL != "" && m.Custom[metaTTL] != ttl, err
}

// markStep writes a path's creation, lifetime and creator into its metadata.
func (w *World) markStep(meta providers.Metadata, t Target, ttl, creator string) plan.Step {
	p := w.Path(t)
	fields := []string{metaCreated, metaTTL, metaCreator}
	return plan.Step{
		ID: "mark." + t.Component, Title: "note the lifetime of " + p.String(), Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			r, cut := page.Prior()
			if !cut {
				m, err := meta.Meta(ctx, p)
				if err != nil {
					return nil, err
				}
				r = plan.Receipt{metaCreated: w.Now().UTC().Format(time.RFC3339), metaTTL: ttl, metaCreator: clip(creator)}
				for _, k := range fields {
					if was := m.Custom[k]; was != "" {
						r["was."+k] = clip(was)
					}
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			custom := map[string]string{}
			for _, k := range fields {
				custom[k] = r[k]
			}
			return r, meta.PatchMeta(ctx, p, custom)
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r[metaCreated] == "" {
				return nil
			}
			m, err := meta.Meta(ctx, p)
			if fault.Is(err, fault.NotFound) {
				return nil // with the path
			}
			if err != nil || m.Custom[metaCreated] != r[metaCreated] {
				return err // not ours, or changed since
			}
			custom := map[string]string{}
			for _, k := range fields {
				custom[k] = r["was."+k]
			}
			return meta.PatchMeta(ctx, p, custom)
		},
	}
}

// Lifetime is how long an ephemeral environment has to live.
type Lifetime struct {
	Name    string
	Entry   string // of the project file
	Created time.Time
	TTL     time.Duration // 0: no end
	Creator string
	Expires time.Time // zero: never
	Paths   int       // that are live
}

// Lifetimes returns the ephemeral environments that have a live path in a store,
// by name: one request for each path, beside those that list them. An
// environment ends when the last of its paths does.
func (w *World) Lifetimes(ctx context.Context) ([]Lifetime, error) {
	found := map[string]Lifetime{}
	for _, entry := range w.Project.Environments {
		if !entry.Value.Ephemeral {
			continue
		}
		store, paths, err := w.under(ctx, entry.Key, entry.Key)
		if err != nil {
			return nil, err
		}
		meta, ok := store.(providers.Metadata)
		if !ok {
			return nil, fault.Newf(fault.Refused, "list lifetimes", "run envctl env list", "%s keeps no metadata", store.Describe())
		}
		for _, p := range paths {
			m, err := meta.Meta(ctx, p)
			if fault.Is(err, fault.NotFound) {
				continue // gone since the list was made
			}
			if err != nil {
				return nil, err
			}
			if m.Gone || m.Current == providers.Absent {
				continue
			}
			l, seen := found[p.Environment]
			one := Lifetime{Name: p.Environment, Entry: entry.Key, Created: m.Created.UTC(), TTL: entry.Value.TTL.Duration, Creator: m.Custom[metaCreator]}
			if t, err := time.Parse(time.RFC3339, m.Custom[metaCreated]); err == nil {
				one.Created = t.UTC()
			}
			if d, err := config.ParseDuration(m.Custom[metaTTL]); err == nil && d > 0 {
				one.TTL = d
			}
			if one.TTL > 0 {
				one.Expires = one.Created.Add(one.TTL)
			}
			one.Paths = l.Paths + 1
			if seen && (l.Expires.IsZero() || !one.Expires.IsZero() && l.Expires.After(one.Expires)) {
				l.Paths = one.Paths
				one = l
			}
			found[p.Environment] = one
		}
	}
	out := make([]Lifetime, 0, len(found))
	for _, name := range sortedKeys(found) {
		out = append(out, found[name])
	}
	return out, nil
}

// under lists the paths of the environments that fall under an entry of the file,
// in the store that one called like would have.
func (w *World) under(ctx context.Context, entry, like string) (providers.Store, []naming.Path, error) {
	e, err := w.Project.Environment(strings.ReplaceAll(like, "*", "0"))
	if err != nil {
		return nil, nil, err
	}
	store, err := w.Store(e)
	if err != nil {
		return nil, nil, err
	}
	prefix := naming.Path{Project: w.Project.Name}
	if !naming.IsPattern(entry) {
		prefix.Environment = entry
	}
	paths, err := store.List(ctx, prefix)
	return store, slices.DeleteFunc(paths, func(p naming.Path) bool {
		e, err := w.Project.Environment(p.Environment)
		return err != nil || e.Pattern != entry
	}), err
}

// Preview is one pull request's environment that is there.
type Preview struct {
	Environment config.Environment
	Number      string
	Paths       int  // in the store, deleted ones too
	Containers  bool // some carry its labels
}

// Previews returns the environments called pr-N that the store holds a path of or
// the engine a container, by number.
func (w *World) Previews(ctx context.Context) ([]Preview, error) {
	found := map[string]Preview{}
	add := func(name string) (Preview, bool) {
		p, ok := found[name]
		if ok || !naming.IsPreview(name) {
			return p, ok
		}
		e, err := w.Project.Environment(name)
		if err != nil {
			return p, false // no entry is about it
		}
		return Preview{Environment: e, Number: strings.TrimPrefix(name, "pr-")}, true
	}
	for _, entry := range w.Project.Environments {
		like := entry.Key
		if ok, err := path.Match(entry.Key, "pr-0"); err == nil && ok {
			like = "pr-0"
		} else if !naming.IsPreview(entry.Key) {
			continue
		}
		_, paths, err := w.under(ctx, entry.Key, like)
		if err != nil {
			return nil, err
		}
		for _, at := range paths {
			if p, ok := add(at.Environment); ok {
				p.Paths++
				found[at.Environment] = p
			}
		}
		names, err := w.surveyed(ctx, like)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if p, ok := add(name); ok {
				p.Containers = true
				found[name] = p
			}
		}
	}
	out := make([]Preview, 0, len(found))
	for _, name := range sortedKeys(found) {
		out = append(out, found[name])
	}
	slices.SortStableFunc(out, func(a, b Preview) int { return len(a.Number) - len(b.Number) })
	return out, nil
}

// surveyed returns the environments that have containers on the engine that one
// called like would have; none where nothing is deployed.
func (w *World) surveyed(ctx context.Context, like string) ([]string, error) {
	e, err := w.Project.Environment(like)
	if err != nil || e.Deploy.Kind == config.DeployNone {
		return nil, err
	}
	for _, c := range w.Project.ComponentNames() {
		d, err := w.Deployer(e, c)
		if err != nil {
			return nil, err
		}
		if s, ok := d.(providers.Surveyor); ok { // it knows better than the engine of this machine
			return s.Environments(ctx, w.Project.Name)
		}
	}
	rt, err := w.Runtime(e)
	if err != nil {
		return nil, err
	}
	s, ok := rt.(providers.Surveyor)
	if !ok {
		return nil, nil
	}
	return s.Environments(ctx, w.Project.Name)
}
