package playbooks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Creation is what env create was asked for.
type Creation struct {
	Name         string
	From         string                  // an environment whose non-secrets are copied
	Values       map[string]secret.Value // given by the operator, by key or component.key
	AllowMissing bool
	NoDeploy     bool
	TTL          string // how long it lives, e.g. 72h; "": what its entry says
	Creator      string // who asked, for its paths' metadata
	WithPolicy   bool   // write its policies, with the administrator's token
	// Credentials is the kind of credential that its services get, "" for none; it
	// takes policies along. CredentialsDir is where they go; "": to the deployer.
	Credentials, CredentialsDir string
	// Ask obtains a value that nothing else gives; nil where nobody can be asked.
	Ask func(ctx context.Context, key, from string) (secret.Value, error)

	// rebuilt is the journal that the plan is made for again: its steps are all
	// there even where they have nothing left to do.
	rebuilt *plan.Header
}

// has tells whether a plan made again must have a step.
func (c Creation) has(step string) bool {
	return c.rebuilt != nil && slices.ContainsFunc(c.rebuilt.Steps, func(s plan.StepName) bool { return s.ID == step })
}

// wants tells whether a plan has a step: for the first time when needed, made
// again when the journal has it.
func (c Creation) wants(step string, needed bool) bool {
	if c.rebuilt != nil {
		return c.has(step)
	}
	return needed
}

// CreateEnv plans a whole environment: its entry in the project file, a path
// for every component with every value it needs, deploy and verify. What is
// there already stays: a second run adds what is missing. Values come from the
// environment's name, a rotate recipe, a generator, what was given, a default,
// another environment's non-secrets, and the operator, in that order.
func (w *World) CreateEnv(ctx context.Context, c Creation) (*plan.Plan, error) {
	op := "env create " + c.Name
	switch c.Credentials {
	case "":
	case providers.CredentialToken, providers.CredentialAppRole:
		c.WithPolicy = true
	default:
		return nil, fault.Newf(fault.Usage, op, "give --with-credentials token or approle", "there is no kind of credential %q", c.Credentials)
	}
	if err := naming.CheckSegment("environment", c.Name); err != nil {
		return nil, fault.Wrap(err, fault.Usage, "env create", "choose a name such as qa or pr-47")
	}
	edited, line, err := w.withEnvironment(c)
	if err != nil {
		return nil, err
	}
	project := w.Project
	if edited != nil {
		if project, err = config.Parse(config.FileName, edited); err != nil {
			return nil, err
		}
	}
	e, err := project.Environment(c.Name)
	if err != nil {
		return nil, err
	}
	p := &plan.Plan{
		Playbook: "env create", Project: w.Project.Name, Environment: c.Name,
		Args: map[string]string{
			"name": c.Name, "from": c.From, "no_deploy": fmt.Sprint(c.NoDeploy), "allow_missing": fmt.Sprint(c.AllowMissing),
			"ttl": c.TTL, "creator": clip(c.Creator), "with_policy": fmt.Sprint(c.WithPolicy),
			"credentials": c.Credentials, "credentials_dir": clip(c.CredentialsDir),
		},
	}
	if e.Protected {
		p.Confirm = c.Name
	}
	if c.wants("declare", line != "") {
		p.Facts = append(p.Facts, plan.Fact{Label: "declare", Text: strings.TrimSpace(line) + " in " + config.FileName})
		p.Steps = append(p.Steps, w.declareStep(c.Name, line, edited))
	}
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	layers := w.AllLayers()
	var missing []string
	var writes, rollouts []plan.Step
	shared := map[string]bool{} // places that the plan makes
	for _, name := range w.Project.ComponentNames() {
		t := Target{Environment: e, Component: name}
		if err := layers[name].Err(); err != nil {
			return nil, err
		}
		filled, err := w.fill(ctx, store, t, c, layers)
		if err != nil {
			return nil, err
		}
		missing = append(missing, filled.missing...)
		p.Facts = append(p.Facts, filled.facts...)
		for _, k := range filled.given {
			p.Args["given."+name+"."+k] = "true"
		}
		if c.wants("write."+name, len(filled.keys) > 0) {
			change := Change{Target: t, Playbook: p.Playbook, Keys: filled.keys, Several: true, Make: filled.make, Again: "envctl " + op, Was: filled.was, Whole: w.beginsAnew(e, c)}
			writes = append(writes, w.writeStep(change, store, fixed(filled.current), nil))
		}
		marks, facts, err := w.marks(ctx, store, t, c, filled)
		if err != nil {
			return nil, err
		}
		writes, p.Facts = append(writes, marks...), append(p.Facts, facts...)
		d, err := w.Deployer(e, name)
		if err != nil {
			return nil, err
		}
		var issues []plan.Step
		if comp, _ := w.Project.Components.Get(name); c.Credentials != "" && len(comp.Services) > 0 {
			issues, facts, err = w.issuing(ctx, Credential{Target: t, Kind: c.Credentials, Dir: c.CredentialsDir}, c)
			if err != nil {
				return nil, err
			}
			p.Facts = append(p.Facts, facts...)
		}
		comp, _ := w.Project.Components.Get(name)
		if !c.wants("deploy."+name, d != nil && !c.NoDeploy && len(comp.Services) > 0) || d == nil {
			rollouts = append(rollouts, issues...)
			continue
		}
		places, facts, fresh, err := w.placing(ctx, t, d, c, shared)
		if err != nil {
			return nil, err
		}
		r, more, err := w.rollout(t, d, "."+name, nil)
		if err != nil {
			return nil, err
		}
		p.Facts = slices.Concat(p.Facts, facts, more)
		rollouts = slices.Concat(rollouts, places, issues, []plan.Step{r.deploy, r.verify})
		if !fresh { // else nothing ran before, and what runs goes with its service
			writes = append([]plan.Step{r.before}, writes...)
		}
	}
	if len(missing) > 0 && !c.AllowMissing {
		slices.Sort(missing)
		return nil, fault.Newf(fault.Usage, op, "write them to a file as KEY=value lines and run envctl "+op+" --values FILE, or add --allow-missing",
			"no value for %s; nothing was written", list(slices.Compact(missing)))
	}
	if len(missing) > 0 {
		p.Facts = append(p.Facts, plan.Fact{Label: "missing", Text: list(missing)})
	}
	reserve, facts, err := w.reserving(e, c)
	if err != nil {
		return nil, err
	}
	p.Facts = append(p.Facts, facts...)
	p.Steps = slices.Concat(p.Steps, writes, reserve, rollouts)
	return p, w.guard(p, e)
}

// beginsAnew tells whether what is deleted of an environment is of one that ended:
// the file did not know it before, or it is made and deleted again and again.
func (w *World) beginsAnew(e config.Environment, c Creation) bool {
	_, unknown := w.Project.Environment(e.Name)
	return unknown != nil || e.Ephemeral || c.has("declare")
}

// filling is what one component's path gets.
type filling struct {
	current providers.Bundle
	was     string // how the newest version was, when it was not live
	keys    []string
	make    func(providers.Bundle) (providers.Patch, error)
	given   []string // keys whose values are kept nowhere but here
	ignored []string // keys that were given, and are generated all the same
	missing []string
	facts   []plan.Fact
}

// fill decides where each key of a component's path comes from.
func (w *World) fill(ctx context.Context, store providers.Reader, t Target, c Creation, layers map[string]Layers) (filling, error) {
	var f filling
	cur, err := w.current(ctx, store, t)
	if fault.Is(err, fault.Deleted, fault.Destroyed) && (w.beginsAnew(t.Environment, c) || c.rebuilt != nil) {
		// Deleted with its environment, which begins anew.
		cur, f.was, err = w.newest(ctx, store, w.Path(t))
		f.facts = append(f.facts, plan.Fact{Label: "anew", Text: fmt.Sprintf("%s, whose version %d is %s", cur.Path, cur.Version, f.was)})
	}
	if err != nil {
		return f, err
	}
	f.current = cur
	comp, err := w.Project.Component(t.Component)
	if err != nil {
		return f, err
	}
	source, err := w.copySource(ctx, t, c.From)
	if err != nil {
		return f, err
	}
	base := t.Environment.Base
	under, err := w.copySource(ctx, t, base)
	if err != nil {
		return f, err
	}
	fixed, generators := providers.Patch{}, map[string]secret.Generator{}
	how := map[string][]string{}
	note := func(label, key string) { how[label] = append(how[label], key) }
	needs := w.Needs(t.Component, layers)
	for _, k := range sortedKeys(source) {
		if !slices.ContainsFunc(needs, func(n Need) bool { return n.Key == k }) {
			needs = append(needs, Need{Key: k, Optional: true, Secret: w.secretKey(comp, k), From: c.From})
		}
	}
	for _, k := range sortedKeys(under) {
		if !slices.ContainsFunc(needs, func(n Need) bool { return n.Key == k }) {
			needs = append(needs, Need{Key: k, Optional: true, Secret: w.secretKey(comp, k), From: base})
		}
	}
	isSecret := func(k string) bool {
		return slices.ContainsFunc(needs, func(n Need) bool { return n.Key == k && n.Secret })
	}
	secrets, baseSecrets := secretsOf(source, isSecret), secretsOf(under, isSecret)
	change, err := w.adapter(c.From, base, c.Name)
	if err != nil {
		return f, err
	}
	for _, n := range needs {
		if cur.Values[n.Key].IsSet() {
			note("kept", n.Key)
			continue
		}
		given, isGiven := c.Values[t.Component+"."+n.Key]
		if !isGiven {
			given, isGiven = c.Values[n.Key]
		}
		g, generated := w.generatorOf(comp, n.Key)
		copied, canCopy := source[n.Key]
		canCopy = canCopy && !n.Secret && mayCopy(copied, secrets)
		borrowed, canBorrow := under[n.Key]
		switch {
		case slices.Contains(environmentKeys, n.Key):
			fixed[n.Key] = secret.New(t.Environment.Name)
			note("named", n.Key)
		case previousOf(comp, n.Key):
			// the old value of a rotation: a new environment has none
		case canBorrow && !isGiven:
			// The base's value stands in, unless it has the base's own names in it.
			adapted := borrowed
			if !n.Secret && mayCopy(borrowed, baseSecrets) {
				adapted = change(borrowed, base)
			}
			switch {
			case !adapted.Equal(borrowed):
				fixed[n.Key] = adapted
				note("adapted from "+base, n.Key)
			case mentions(borrowed, base):
				note("borrowed from "+base+" as it is, though it names it", n.Key)
			default:
				note("borrowed from "+base, n.Key)
			}
		case generated && !canBorrow:
			generators[n.Key] = g
			note("generated", n.Key)
			if isGiven {
				f.ignored = append(f.ignored, n.Key)
			}
		case n.Spare && !n.Secret && !isGiven && !canCopy:
			note("left to its default", n.Key)
		case n.Default != "" && !n.Secret && !isGiven:
			fixed[n.Key] = secret.New(n.Default)
			note("default", n.Key)
		case isGiven:
			if err := CheckValue(n.Key, given); err != nil {
				return f, err
			}
			fixed[n.Key] = given
			f.given = append(f.given, n.Key)
			note("given", n.Key)
		case canCopy:
			fixed[n.Key] = change(copied, c.From)
			switch {
			case mentions(fixed[n.Key], c.From):
				note("copied from "+c.From+", and still names it", n.Key)
			case !fixed[n.Key].Equal(copied):
				note("adapted from "+c.From, n.Key)
			default:
				note("copied from "+c.From, n.Key)
			}
		case n.Optional:
			note("left out", n.Key)
		case c.Ask != nil:
			v, err := c.Ask(ctx, n.Key, n.From)
			if err != nil {
				return f, err
			}
			if v.Len() == 0 {
				f.missing = append(f.missing, n.Key)
				continue
			}
			fixed[n.Key] = v
			f.given = append(f.given, n.Key)
			note("typed", n.Key)
		default:
			f.missing = append(f.missing, n.Key)
		}
	}
	if base != "" && len(fixed)+len(generators) == 0 && cur.Version == providers.Absent && t.Component == w.Project.ComponentNames()[0] {
		// All is borrowed: one path says that the environment is there, and which.
		fixed["ENVIRONMENT"] = secret.New(t.Environment.Name)
		note("named", "ENVIRONMENT")
	}
	f.keys = sortedKeys(fixed)
	for k := range generators {
		f.keys = append(f.keys, k)
	}
	slices.Sort(f.keys)
	path := w.Path(t).String()
	for _, label := range sortedKeys(how) {
		f.facts = append(f.facts, plan.Fact{Label: label, Text: path + "  " + list(how[label])})
	}
	for _, k := range f.ignored {
		f.facts = append(f.facts, plan.Fact{Label: WarningFact, Text: "the value given for " + k + " is not used, a new one is generated; to give it: envctl set " + k + " --stdin" + t.on()})
	}
	f.make = func(now providers.Bundle) (providers.Patch, error) {
		if err := c.lost(t, now); err != nil {
			return nil, err
		}
		patch := providers.Patch{}
		for k, v := range fixed {
			patch[k] = v
		}
		for _, k := range sortedKeys(generators) {
			v, err := w.fresh(t, k, generators[k])
			if err != nil {
				return nil, err
			}
			patch[k] = v
		}
		return patch, nil
	}
	return f, nil
}

// lost refuses to go on with a run whose given values were never written: they
// are kept nowhere.
func (c Creation) lost(t Target, now providers.Bundle) error {
	if c.rebuilt == nil {
		return nil
	}
	for arg := range c.rebuilt.Args {
		key, ok := strings.CutPrefix(arg, "given."+t.Component+".")
		if ok && !now.Values[key].IsSet() {
			return fault.Newf(fault.Refused, "resume env create "+c.Name, "run envctl env create "+c.Name+" again",
				"the value given for %s was never written and is kept nowhere", key)
		}
	}
	return nil
}

// generatorOf returns what makes a key's value: its rotate recipe's generator,
// else the one of the generate section.
func (w *World) generatorOf(c config.Component, key string) (secret.Generator, bool) {
	r, ok := rotationOf(c, key)
	if !ok || r.Recipe.Variable != key || r.Generator.New == nil {
		return secret.Generator{}, false
	}
	return r.Generator, true
}

func previousOf(c config.Component, key string) bool {
	for _, r := range c.Rotate {
		if r.Value.Previous == key {
			return true
		}
	}
	return false
}

// copySource reads the path that non-secrets are copied from.
func (w *World) copySource(ctx context.Context, t Target, from string) (map[string]secret.Value, error) {
	if from == "" {
		return nil, nil
	}
	e, err := w.Project.Environment(from)
	if err != nil {
		return nil, err
	}
	store, err := w.Store(e)
	if err != nil {
		return nil, err
	}
	b, err := store.Read(ctx, w.Path(Target{e, t.Component}), providers.Latest)
	if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
		return nil, nil
	}
	return b.Values, err
}

// withEnvironment returns the project file with an entry for name, and the line
// that was added; nil where the file has one already or a pattern matches.
func (w *World) withEnvironment(c Creation) ([]byte, string, error) {
	name, from := c.Name, c.From
	if _, err := w.Project.Environment(name); err == nil {
		return nil, "", nil
	}
	var parts []string
	if c.TTL != "" {
		parts = append(parts, "ephemeral: true", "ttl: "+c.TTL)
	}
	if _, err := config.ParseDuration(c.TTL); c.TTL != "" && err != nil {
		return nil, "", fault.Wrap(err, fault.Usage, "env create "+name, "give --ttl 72h, 3d or 30m")
	}
	if from != "" {
		e, err := w.Project.Environment(from)
		if err != nil {
			return nil, "", err
		}
		if e.Store != w.Project.Store {
			parts = append(parts, "store: "+e.Store)
		}
		if w.Project.Deploy == nil || e.Deploy != *w.Project.Deploy {
			parts = append(parts, "deploy: {kind: "+e.Deploy.Kind+"}")
		}
	}
	edited, line, err := config.AddEnvironment(w.Project.Data, name, "{"+strings.Join(parts, ", ")+"}")
	return edited, line, err
}

// rebuildEnv makes the plan of a journaled env create again.
func (w *World) rebuildEnv(ctx context.Context, h plan.Header) (*plan.Plan, error) {
	return w.CreateEnv(ctx, Creation{
		Name: h.Args["name"], From: h.Args["from"], NoDeploy: h.Args["no_deploy"] == "true", AllowMissing: true,
		TTL: h.Args["ttl"], Creator: h.Args["creator"], WithPolicy: h.Args["with_policy"] == "true", rebuilt: &h,
		Credentials: h.Args["credentials"], CredentialsDir: h.Args["credentials_dir"],
	})
}
