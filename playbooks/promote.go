package playbooks

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Promotion is what env promote was asked for.
type Promotion struct {
	From, To  config.Environment
	Component string
	Keys      []string // by name, secrets too
	NonSecret bool     // and every key that is not secret
	NoDeploy  bool
}

// command is what to type for the same again.
func (m Promotion) command() string {
	s := "envctl env promote " + m.From.Name + " " + m.To.Name
	if m.NonSecret {
		s += " --all-non-secret"
	}
	if len(m.Keys) > 0 {
		s += " --only"
		for _, k := range m.Keys {
			s += " " + k
		}
	}
	s += " --component " + m.Component
	if m.NoDeploy {
		s += " --no-deploy"
	}
	return s
}

// Promote plans copying keys of one environment's path into another's: the
// values of the version that is shown, written on the version that was read,
// deployed and verified. A plan without steps: they are the same already.
// Kinds: Usage, Refused (a secret of a protected environment into an
// unprotected one), NotFound (a key, or either path), and what reading meets.
func (w *World) Promote(ctx context.Context, m Promotion) (*plan.Plan, error) {
	op := "promote " + m.From.Name + " to " + m.To.Name
	if m.From.Name == m.To.Name {
		return nil, fault.New(fault.Usage, op, "it is the same environment", "name two: envctl env promote staging production --only KEY")
	}
	from, to := Target{m.From, m.Component}, Target{m.To, m.Component}
	source, err := w.Store(m.From)
	if err != nil {
		return nil, err
	}
	old, err := source.Read(ctx, w.Path(from), providers.Latest)
	if err != nil {
		return nil, w.hintMissing(err, from)
	}
	store, err := w.Store(m.To)
	if err != nil {
		return nil, err
	}
	cur, err := w.current(ctx, store, to)
	if err != nil {
		return nil, err
	}
	if cur.Version == providers.Absent {
		return nil, fault.Newf(fault.NotFound, op, "run envctl env create "+m.To.Name+" --from "+m.From.Name+" first", "%s was never written", cur.Path)
	}
	key, err := w.Fingerprints(ctx, store)
	if err != nil {
		return nil, err
	}
	keys, facts, err := w.promoted(m, old, cur, key)
	if err != nil {
		return nil, err
	}
	c := w.promotion(to, keys, m, old.Version, stamp(old.Created), func() (providers.Bundle, error) { return old, nil })
	c.Facts = append(facts, plan.Fact{Label: "from", Text: fmt.Sprintf("%s  version %d  %s", old.Path, old.Version, source.Describe())})
	if len(keys) == 0 {
		return &plan.Plan{Playbook: c.Playbook, Project: w.Project.Name, Environment: m.To.Name, Component: m.Component, Facts: facts}, nil
	}
	return c.planOn(ctx, w, store, cur)
}

// promoted returns, sorted, the keys whose values differ, and what to say of all.
func (w *World) promoted(m Promotion, from, to providers.Bundle, key secret.Key) ([]string, []plan.Fact, error) {
	op := "promote " + m.From.Name + " to " + m.To.Name
	comp, err := w.Project.Component(m.Component)
	if err != nil {
		return nil, nil, err
	}
	layers := w.AllLayers()
	if err := layers[m.Component].Err(); err != nil {
		return nil, nil, err
	}
	secrets := map[string]bool{}
	for k, v := range from.Values {
		secrets[k] = w.secretKey(comp, k) || v.CarriesPassword()
	}
	for _, n := range w.Needs(m.Component, layers) {
		secrets[n.Key] = secrets[n.Key] || n.Secret
	}
	wanted := slices.Clone(m.Keys)
	var facts, left []plan.Fact
	for _, k := range sortedKeys(from.Values) {
		switch named := slices.Contains(m.Keys, k); {
		case named || !m.NonSecret || slices.Contains(environmentKeys, k):
		case secrets[k]:
			left = append(left, plan.Fact{Label: "left", Text: k + "  a secret is promoted only by its name: --only " + k})
		case mentions(from.Values[k], m.From.Name):
			left = append(left, plan.Fact{Label: "left", Text: k + "  its value names " + m.From.Name + ": --only " + k})
		default:
			wanted = append(wanted, k)
		}
	}
	slices.Sort(wanted)
	var keys []string
	for _, k := range slices.Compact(wanted) {
		v := from.Values[k]
		switch {
		case slices.Contains(environmentKeys, k):
			return nil, nil, fault.Newf(fault.Usage, op, "leave it out of --only", "%s names the environment itself and is never copied", k)
		case !v.IsSet():
			hint := "run envctl list" + Target{m.From, m.Component}.on()
			if near := naming.Nearest(k, sortedKeys(from.Values)); near != "" {
				hint = "did you mean " + near + "? " + hint
			}
			return nil, nil, fault.Newf(fault.NotFound, op, hint, "%s has no %s (version %d)", from.Path, k, from.Version)
		case slices.Contains(from.NonString, k):
			return nil, nil, fault.Newf(fault.Refused, op, "leave it out of --only, and write it as a string first", "%s is no string in %s and would become one", k, from.Path)
		case secrets[k] && m.From.Protected && !m.To.Protected:
			return nil, nil, fault.Newf(fault.Refused, op, "make "+m.To.Name+" one of its own: envctl set "+k+Target{m.To, m.Component}.on()+" --generate TYPE",
				"%s is a secret of %s, which is protected, and %s is not", k, m.From.Name, m.To.Name)
		}
		was := to.Values[k]
		if v.Equal(was) {
			facts = append(facts, plan.Fact{Label: "same", Text: k + "  " + brief(key.Fingerprint(v))})
			continue
		}
		keys = append(keys, k)
		if was.IsSet() {
			facts = append(facts, plan.Fact{Label: "change", Text: k + "  " + brief(key.Fingerprint(was)) + " → " + brief(key.Fingerprint(v))})
		} else {
			facts = append(facts, plan.Fact{Label: "add", Text: k + "  " + brief(key.Fingerprint(v))})
		}
		if secrets[k] {
			facts = append(facts, plan.Fact{Label: WarningFact, Text: fmt.Sprintf("%s is a secret: %s and %s will share it", k, m.From.Name, m.To.Name)})
		}
		if mentions(v, m.From.Name) {
			facts = append(facts, plan.Fact{Label: WarningFact, Text: fmt.Sprintf("the value of %s names %s, and is copied as it is", k, m.From.Name)})
		}
	}
	return keys, append(facts, left...), nil
}

// promotion is the change that a promotion makes; read gives the version of the
// source that was shown.
func (w *World) promotion(to Target, keys []string, m Promotion, version providers.Version, created string, read func() (providers.Bundle, error)) Change {
	m.Keys, m.NonSecret = keys, false
	args := map[string]string{"from": m.From.Name, "version": strconv.Itoa(int(version)), "created": created, "deploy": strconv.FormatBool(!m.NoDeploy)}
	for _, k := range keys {
		args["key."+k] = "true"
	}
	return Change{
		Target: to, Playbook: "env promote", Args: args, Keys: keys, Deploy: !m.NoDeploy, ReadBack: true, Again: m.command(),
		Make: func(providers.Bundle) (providers.Patch, error) {
			b, err := read()
			if err != nil {
				return nil, err
			}
			patch := providers.Patch{}
			for _, k := range keys {
				if patch[k] = b.Values[k]; !patch[k].IsSet() {
					return nil, fault.Newf(fault.Conflict, "read "+b.Path.String(), "run "+m.command()+" again", "version %d has no %s", version, k)
				}
			}
			return patch, nil
		},
	}
}

// rebuildPromote makes the plan of a journaled env promote again.
func (w *World) rebuildPromote(ctx context.Context, h plan.Header) (*plan.Plan, error) {
	from, err := w.Project.Environment(h.Args["from"])
	if err != nil {
		return nil, err
	}
	to, err := w.Project.Environment(h.Environment)
	if err != nil {
		return nil, err
	}
	version, err := strconv.Atoi(h.Args["version"])
	if err != nil {
		return nil, fault.New(fault.Invalid, "rebuild "+h.Playbook, "the journal names no version", "")
	}
	m := Promotion{From: from, To: to, Component: h.Component, NoDeploy: h.Args["deploy"] != "true"}
	keys, created := sortedKeys(cutKeys(h.Args, "key.")), h.Args["created"]
	c := w.promotion(Target{to, h.Component}, keys, m, providers.Version(version), created, func() (providers.Bundle, error) {
		store, err := w.Store(from)
		if err != nil {
			return providers.Bundle{}, err
		}
		b, err := store.Read(ctx, w.Path(Target{from, h.Component}), providers.Version(version))
		if err == nil && stamp(b.Created) != created {
			err = fault.Newf(fault.Conflict, "read "+b.Path.String(), "run "+m.command()+" again", "version %d is not the one that was shown: the path was deleted and made again", version)
		}
		return b, err
	})
	return c.Plan(ctx, w)
}

// cutKeys returns the entries of m whose names begin with prefix, without it.
func cutKeys(m map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		if len(k) > len(prefix) && k[:len(prefix)] == prefix {
			out[k[len(prefix):]] = v
		}
	}
	return out
}

// mentions tells whether a value names an environment: db-staging.internal.
func mentions(v secret.Value, env string) bool {
	word := regexp.MustCompile(`(?i)(^|[^a-z0-9])` + regexp.QuoteMeta(env) + `($|[^a-z0-9])`)
	return word.MatchString(v.Reveal()) //nolint:forbidigo // looked at, not shown
}

// brief cuts a fingerprint for people.
func brief(fp string) string { return fp[:min(8, len(fp))] }
