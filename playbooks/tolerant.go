package playbooks

import (
	"context"
	"sync"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// tolerant reads a path that cannot be read as one that is not there, and keeps
// why: what a question about one variable does not need must not decide it.
type tolerant struct {
	providers.Reader

	mu     sync.Mutex
	failed map[naming.Path]error
	gone   map[naming.Path]bool // their newest version is deleted or destroyed
}

// Read is the store's, with no other errors than those of a path without values.
func (r *tolerant) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	b, err := r.Reader.Read(ctx, p, v)
	if v == providers.Latest && fault.Is(err, fault.Deleted, fault.Destroyed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.gone == nil {
			r.gone = map[naming.Path]bool{}
		}
		r.gone[p] = true
	}
	if err == nil || fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
		return b, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = map[naming.Path]error{}
	}
	r.failed[p] = err
	return providers.Bundle{}, fault.New(fault.NotFound, "read "+p.String(), "not readable", "")
}

// unread returns the first path that the variable needs and that could not be
// read, with why.
func (tr *tracing) unread() (naming.Path, error) {
	needs := []naming.Path{tr.w.Path(tr.t)}
	if tr.template != nil {
		needs = nil
		for _, pattern := range tr.template.Needs {
			if p, err := tr.w.resolvePath(tr.layers.Template, pattern, tr.t); err == nil { // else nothing was rendered
				needs = append(needs, p)
			}
		}
	}
	tr.reader.mu.Lock()
	defer tr.reader.mu.Unlock()
	for _, p := range needs {
		for _, read := range []naming.Path{p, {Project: p.Project, Environment: tr.t.Environment.Base, Component: p.Component}} {
			if err := tr.reader.failed[read]; err != nil {
				return read, err
			}
		}
	}
	return naming.Path{}, nil
}
