package plan

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"envctl/internal/fault"
)

// List returns every run of the folder, the newest first. Runs that cannot be
// read are left out and named in the error (Invalid, Unavailable); the others
// are returned all the same.
func (e *Engine) List() ([]Record, error) {
	names, err := e.fs().Names(e.runs())
	if err != nil {
		return nil, diskError(err, "list "+e.runs())
	}
	var (
		all    []Record
		damage []error
	)
	for i := len(names) - 1; i >= 0; i-- {
		id, ok := strings.CutSuffix(names[i], suffix)
		if !ok || !isRunID(id) {
			continue
		}
		r, err := e.Load(id)
		switch {
		case err == nil:
			all = append(all, r)
		case !fault.Is(err, fault.NotFound): // removed meanwhile, or never started
			damage = append(damage, err)
		}
	}
	return all, errors.Join(damage...)
}

// Load returns one run. Errors: NotFound, Invalid (the journal is damaged),
// Unavailable.
func (e *Engine) Load(id string) (Record, error) {
	if !isRunID(id) {
		return Record{}, notFound(id)
	}
	f, err := e.fs().Open(e.path(id), ReadWhole)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, notFound(id)
	}
	if err != nil {
		return Record{}, diskError(err, "open the journal "+e.path(id))
	}
	defer f.Close()
	// The lock before the content: the other way round, a run that ends in
	// between would be shown as stopped.
	idle, err := f.Lock(true)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, notFound(id)
	}
	if err != nil {
		return Record{}, diskError(err, "lock the journal "+e.path(id))
	}
	p, err := e.read(f, id)
	if err != nil {
		return Record{}, err
	}
	if p.st.header.ID == "" {
		return Record{}, notFound(id) // died before its header was on disk: it did nothing
	}
	r := p.st.record()
	if !idle {
		r.State = Running
	}
	return r, nil
}

// Prune removes the oldest journals of runs that are done or undone, beyond
// the newest keep of those. Partial and failed runs stay until they are undone.
func (e *Engine) Prune(ctx context.Context, keep int) (removed int, err error) {
	all, err := e.List()
	ended := 0
	for _, r := range all {
		if r.State != Done && r.State != Undone {
			continue
		}
		if ended++; ended <= keep {
			continue
		}
		j, st, oerr := e.open(ctx, r.ID)
		if oerr != nil {
			err = errors.Join(err, oerr)
			continue
		}
		if st.end == Done || st.end == Undone { // still so, now that it is locked
			if derr := e.discard(j); derr != nil {
				err = errors.Join(err, derr)
				continue
			}
			removed++
			continue
		}
		_ = j.file.Close()
	}
	return removed, err
}
