package plan

import (
	"bytes"
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

// Stopped returns the runs of p's target that wait for resume or undo, the newest
// first, as far as they are among the newest runs.
func (e *Engine) Stopped(p *Plan) []Record {
	const far = 16 // every write looks, and the folder only grows
	names, err := e.fs().Names(e.runs())
	if err != nil {
		return nil // no journal yet; Run says what is wrong with the folder
	}
	of := Header{Project: p.Project, Environment: p.Environment, Component: p.Component, Root: e.Root}
	var out []Record
	for i := len(names) - 1; i >= max(0, len(names)-far); i-- {
		id, _ := strings.CutSuffix(names[i], suffix)
		if !isRunID(id) || e.over(id) {
			continue
		}
		if r, err := e.Load(id); err == nil && r.Next() != "" && overlap(r.Header, of) {
			out = append(out, r)
		}
	}
	return out
}

// over tells by a journal's last line alone that its run waits for nothing: most
// do not, and to read them whole would cost a write more than the write itself.
func (e *Engine) over(id string) bool {
	f, err := e.fs().Open(e.path(id), ReadWhole)
	if err != nil {
		return false
	}
	defer f.Close()
	data, err := f.ReadAll(maxJournal)
	if err != nil {
		return false
	}
	last, whole := bytes.CutSuffix(data, []byte("\n"))
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	return whole && bytes.HasPrefix(last, []byte(`{"type":"`+recEnd+`",`)) &&
		(bytes.Contains(last, []byte(`"state":"`+string(Done)+`"`)) || bytes.Contains(last, []byte(`"state":"`+string(Undone)+`"`)) || bytes.Contains(last, []byte(`"closed":true`)))
}

// Close journals that a run which stopped part-way, or could be taken back only in
// part, is left as it stands; nothing else is touched, and resume and undo still
// work. A run that waits for nothing is Already. Error kinds: NotFound, Conflict
// (it is running), Invalid (damaged journal), Unavailable.
func (e *Engine) Close(ctx context.Context, id string) (Result, error) {
	op := "close run " + clean(id)
	if ctx.Err() != nil {
		return Result{}, interrupted(ctx, op, nil)
	}
	j, st, err := e.open(ctx, id)
	if errors.Is(err, errBusy) {
		return Result{}, e.stillRunning(id, op)
	}
	if err != nil {
		return Result{}, err
	}
	defer j.file.Close()
	if st.header.ID == "" {
		return Result{}, notFound(id)
	}
	now := st.record()
	if now.Next() == "" {
		return Result{Record: now, Already: true}, nil
	}
	if c := now.survivor(); c != nil {
		return Result{Record: now}, stillAtWork(op, c, fault.Conflict)
	}
	end := record{Type: recEnd, At: e.Now().UTC(), State: now.State, Closed: true}
	if err := j.append(end); err != nil {
		return Result{Record: now}, err
	}
	err = st.apply(end)
	return Result{Record: st.record()}, err
}
