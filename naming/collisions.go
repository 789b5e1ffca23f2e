package naming

import (
	"cmp"
	"slices"
	"strings"
)

// Input is what a name was made from; Subject is the service or component, ""
// for the names that an environment has one of.
type Input struct{ Environment, Subject string }

// Collision is one name that two or more different inputs give, sorted.
type Collision struct {
	Kind   Kind
	Name   string
	Inputs []Input
}

// Collisions returns, sorted, every container, database, network and bucket
// name that is not one thing's alone: service b-staging in production and b
// in staging, a_b and a-b under Dash. Environments may be patterns (pr-*). A
// service has the same container name in local, ci and production, each on a
// machine of its own: that is not a collision.
func Collisions(r Rules, environments, services []string) []Collision {
	var all []named
	for _, env := range environments {
		for _, service := range services {
			all = append(all, r.named(KindContainer, Input{env, service}))
		}
		if IsLocal(env) {
			continue // per branch and workspace: the registry tells
		}
		for _, kind := range []Kind{KindBucket, KindDatabase, KindNetwork} {
			all = append(all, r.named(kind, Input{env, ""}))
		}
	}
	return collide(all)
}

// PolicyCollisions returns, sorted, every policy name that two components
// would share, and with it what they may read: component b-c in a, c in a-b.
func PolicyCollisions(r Rules, environments, components []string) []Collision {
	var all []named
	for _, env := range environments {
		for _, component := range components {
			all = append(all, r.named(KindPolicy, Input{env, component}))
		}
	}
	return collide(all)
}

type named struct {
	kind  Kind
	name  string
	input Input
}

// star stands for a pattern's * while the rules, which would replace a *, make
// the name: long enough not to meet a real name, short enough to fit one.
const star = "q0star0q"

func (r Rules) named(kind Kind, in Input) named {
	env := strings.ReplaceAll(in.Environment, "*", star)
	name, _ := r.Explain(Subject{Kind: kind, Environment: env, Service: in.Subject, Component: in.Subject})
	return named{kind, strings.ReplaceAll(name, star, "*"), in}
}

func collide(all []named) []Collision {
	var out []Collision
	seen := map[named]bool{}
	for _, a := range all {
		key := named{kind: a.kind, name: a.name}
		if seen[key] {
			continue
		}
		seen[key] = true
		c := Collision{Kind: a.kind, Name: a.name}
		things := map[Input]bool{}
		for _, b := range all {
			if !meets(a, b) {
				continue
			}
			c.Inputs = append(c.Inputs, b.input)
			things[thing(b)] = true
		}
		if len(things) > 1 {
			slices.SortFunc(c.Inputs, func(a, b Input) int {
				return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Subject, b.Subject))
			})
			c.Inputs = slices.Compact(c.Inputs)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Collision) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// meets tells whether a's name is one of b's: the same, or one that b's
// pattern gives, unless a's environment is the one that b's pattern leaves to it.
func meets(a, b named) bool {
	switch {
	case a.kind != b.kind:
		return false
	case a.name == b.name:
		return true
	case IsPattern(a.name) || !Match(b.name, a.name):
		return false
	}
	return a.input.Subject != b.input.Subject || !Match(b.input.Environment, a.input.Environment)
}

// thing folds the inputs that may share a container name into one.
func thing(n named) Input {
	if n.kind == KindContainer && IsLocal(n.input.Environment) {
		n.input.Environment = Production
	}
	return n.input
}
