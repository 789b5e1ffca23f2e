package naming

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxName is the longest label a host name may have (RFC 1035).
const maxName = 63

// Underscore says what a `_` becomes in names: kept, or turned into a dash.
type Underscore string

// The choices of naming.underscore; "" is Keep.
const (
	Dash Underscore = "dash"
	Keep Underscore = "keep"
)

// Rules is what a project says about names. Its methods are total: whatever
// the arguments, a name is 1 to 63 of [a-z0-9-] (and `_`, unless Dash), and
// only the environment production has production's names.
type Rules struct {
	Project    string
	Underscore Underscore
	Ports      PortRange // zero: DefaultPorts
	PortBase   string    // the service that gets the suffix's own port; "": none does
}

// Kind is what a name is for.
type Kind string

// The kinds of names.
const (
	KindBucket    Kind = "bucket"
	KindContainer Kind = "container"
	KindDatabase  Kind = "database"
	KindNetwork   Kind = "network"
	KindPolicy    Kind = "policy"
	KindPort      Kind = "port"
	KindSuffix    Kind = "suffix"
)

// Subject is what Explain names: a service (container, port), a component
// (policy), or an environment as a whole (the rest). Branch and Workspace
// count only in local and ci.
type Subject struct {
	Kind               Kind
	Environment        string
	Service, Component string
	Branch, Workspace  string
}

// Step is one step on the way to a name: the rule and what it gave.
type Step struct{ Rule, Result string }

// Path returns the store path of an environment's component.
func (r Rules) Path(env, component string) Path { return Path{r.Project, env, component} }

// Suffix returns what sets one environment's databases, networks and buckets
// apart from another's: -<branch>-<workspace> in local and ci, nothing in
// production, -<environment> everywhere else.
func (r Rules) Suffix(env, branch, workspace string) string {
	s, _ := suffix(env, branch, workspace)
	return s
}

// Container returns a service's container name, which is also its host name.
func (r Rules) Container(env, service string) string {
	s, _ := r.Explain(Subject{Kind: KindContainer, Environment: env, Service: service})
	return s
}

// Database returns the environment's database name.
func (r Rules) Database(env, branch, workspace string) string {
	return r.shared(KindDatabase, env, branch, workspace)
}

// Network returns the environment's network name.
func (r Rules) Network(env, branch, workspace string) string {
	return r.shared(KindNetwork, env, branch, workspace)
}

// Bucket returns the environment's bucket name, which never has a `_`: no S3
// server takes one.
func (r Rules) Bucket(env, branch, workspace string) string {
	return r.shared(KindBucket, env, branch, workspace)
}

// Policy returns the name of the policy that reads one component's path:
// <project>-<environment>-<component>, of any length.
func (r Rules) Policy(env, component string) string {
	return r.Project + "-" + env + "-" + component
}

func (r Rules) shared(kind Kind, env, branch, workspace string) string {
	s, _ := r.Explain(Subject{Kind: kind, Environment: env, Branch: branch, Workspace: workspace})
	return s
}

// Explain returns a name and the steps that lead to it; the other methods
// return the same name. An unknown kind is "" and no steps.
func (r Rules) Explain(s Subject) (string, []Step) {
	tail, steps := suffix(s.Environment, s.Branch, s.Workspace)
	switch s.Kind {
	case KindSuffix:
		return tail, steps
	case KindPort:
		port, more := r.port(tail, s.Service)
		return fmt.Sprint(port), append(steps, more...)
	case KindPolicy:
		name := r.Policy(s.Environment, s.Component)
		return name, []Step{{"<project>-<environment>-<component>", name}}
	case KindContainer:
		rule := "<project>-<service><suffix>"
		if IsLocal(s.Environment) {
			rule, tail = "<project>-<service>", "" // a container is the machine's own
			steps = []Step{{"environment " + s.Environment + " adds nothing to container names", ""}}
		}
		return r.name(rule, r.Project+"-"+s.Service+tail, r.Underscore, steps)
	case KindDatabase:
		return r.name("<project>-db<suffix>", r.Project+"-db"+tail, r.Underscore, steps)
	case KindNetwork:
		return r.name("<project>-net<suffix>", r.Project+"-net"+tail, r.Underscore, steps)
	case KindBucket:
		return r.name("<project>-bucket<suffix>", r.Project+"-bucket"+tail, Dash, steps)
	}
	return "", nil
}

// name makes raw a legal name and adds the steps that were needed.
func (r Rules) name(rule, raw string, u Underscore, steps []Step) (string, []Step) {
	steps = append(steps, Step{rule, raw})
	clean := strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_' && u != Dash:
			return c
		}
		return '-'
	}, strings.ToLower(raw)), "-_")
	if clean == "" {
		clean = unnamed
	}
	if clean != raw {
		steps = append(steps, Step{"in a name only a-z 0-9 - (and _ where naming.underscore is keep)", clean})
	}
	if len(clean) > maxName {
		clean = shorten(clean, raw)
		steps = append(steps, Step{fmt.Sprintf("at most %d characters: the end becomes a digest of the whole", maxName), clean})
	}
	return clean, steps
}

// shorten keeps the head of a name and ends it in eight digits of raw's digest,
// so that two long names that begin alike stay two.
func shorten(clean, raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return strings.TrimRight(clean[:maxName-9], "-_") + "-" + hex.EncodeToString(sum[:4])
}

const unnamed = "unnamed"

func suffix(env, branch, workspace string) (string, []Step) {
	switch {
	case IsLocal(env):
		b, w := Branch(branch), Branch(workspace)
		s := "-" + b + "-" + w
		return s, []Step{
			{fmt.Sprintf("branch %q in small letters, all but a-z 0-9 . _ - replaced by -", branch), b},
			{"workspace", w},
			{"environment " + env + ": -<branch>-<workspace>", s},
		}
	case IsProduction(env):
		return "", []Step{{"environment production has no suffix", ""}}
	}
	s := "-" + Branch(env)
	return s, []Step{{"environment " + env + ": -<environment>", s}}
}

// Branch returns a branch's (or a workspace's) name as suffixes carry it: in
// small letters, each character outside [a-z0-9._-] a dash, dashes trimmed
// from both ends, "unnamed" when nothing is left.
func Branch(s string) string {
	s = strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '-'
	}, strings.ToLower(s)), "-")
	if s == "" {
		return unnamed
	}
	return s
}
