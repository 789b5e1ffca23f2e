// Package playbooks sequences: each operation reads, then returns a plan or an
// answer; nothing here writes outside a plan's steps.
package playbooks

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// World is everything an operation may look at. Stores, runtimes and deployers
// are opened on first use; none of the functions touches the network.
type World struct {
	Project *config.Project
	User    *config.User
	Dirs    config.Dirs
	Getenv  func(string) string
	WorkDir string
	Now     func() time.Time
	Rand    io.Reader
	Trusted bool // the project file is pinned as it is now

	Store    func(e config.Environment) (providers.Store, error)
	Runtime  func(e config.Environment) (providers.Runtime, error)
	Deployer func(e config.Environment, component string) (providers.Deployer, error)
	// Policies opens an environment's store with the administrator's token, for
	// policies alone; Refused where the store has none.
	Policies func(e config.Environment) (providers.Policies, error)
	// Roles opens the database server of a component in an environment, as the
	// operator's own file names it.
	Roles func(e config.Environment, component string, d config.Database) (providers.Roles, error)
	// OperatorKey is the operator's own fingerprint key.
	OperatorKey func() (secret.Key, error)
	// Ask makes one request and returns the status of its answer. Pause waits, or
	// less long where ctx ends.
	Ask   func(ctx context.Context, q providers.Question) (int, error)
	Pause func(ctx context.Context, d time.Duration)
	// PortBusy says why nothing can listen on a port, "" when something can; nil: the
	// kernel is asked.
	PortBusy func(ctx context.Context, port int) (why string, err error)
	// Jobs runs the programs that the project file names.
	Jobs Jobs
	// Resolve turns op:// references into values, all in one go.
	Resolve func(ctx context.Context, refs []string) (map[string]secret.Value, error)

	parsed       sync.Once
	allTemplates []parsedTemplate
}

// Jobs runs programs of the project; Check refuses one that could not be started.
type Jobs interface {
	Check(j providers.Job) error
	Run(ctx context.Context, j providers.Job) error
}

// Target is one component of one environment.
type Target struct {
	Environment config.Environment
	Component   string
}

// Path returns the target's place in the store.
func (w *World) Path(t Target) naming.Path {
	return naming.Path{Project: w.Project.Name, Environment: t.Environment.Name, Component: t.Component}
}

// Fingerprints returns the key that makes this store's fingerprints: the
// store's own, else the operator's.
func (w *World) Fingerprints(ctx context.Context, s providers.Reader) (secret.Key, error) {
	if f, ok := s.(providers.Fingerprinting); ok {
		return f.FingerprintKey(ctx)
	}
	return w.OperatorKey()
}

// Rules returns how this project's names are made.
func (w *World) Rules() (naming.Rules, error) {
	r := naming.Rules{Project: w.Project.Name, Underscore: naming.Underscore(w.Project.Naming.Underscore), PortBase: w.Project.Ports.Base}
	if w.Project.Ports.Range != "" {
		var err error
		if r.Ports, err = naming.ParsePortRange(w.Project.Ports.Range); err != nil {
			return r, fault.Wrap(err, fault.Invalid, config.FileName, "write ports: {range: 5400-5999}")
		}
	}
	return r, nil
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// list joins names for people.
func list(names []string) string { return strings.Join(names, ", ") }
