// Package ports records who holds which port of this machine, so that no two
// working copies are given the same one.
package ports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/naming"
)

// Holder is who a port is for. Two equal holders are one.
type Holder struct {
	Project     string `json:"project"`
	Environment string `json:"environment"`
	Branch      string `json:"branch,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Service     string `json:"service"`
}

// String returns the holder as people read it.
func (h Holder) String() string {
	s := h.Project + "/" + h.Environment + " " + h.Service
	if h.Branch != "" || h.Workspace != "" {
		s += fmt.Sprintf(" (branch %s, workspace %s)", h.Branch, h.Workspace)
	}
	return s
}

// Entry is one port that is held.
type Entry struct {
	Port int `json:"port"`
	Holder
	Folder string    `json:"folder,omitempty"` // the working copy
	Since  time.Time `json:"since"`            // UTC
	// Stale says that the folder is gone. The port stays held until released:
	// what ran there may still run.
	Stale bool `json:"-"`
}

// Request asks for a port of Range, if free First (see naming.Rules.Port).
type Request struct {
	Holder Holder
	Folder string // absolute, "" when there is no working copy
	First  int
	Range  naming.PortRange
}

// Probe is a port that was considered; Skipped says why it was not taken, ""
// for the last one, which was.
type Probe struct {
	Port    int    `json:"port"`
	Skipped string `json:"skipped,omitempty"`
}

// Grant is the answer: the port, and how it came to be chosen.
type Grant struct {
	Port   int     `json:"port"`
	First  int     `json:"first_choice"`
	Held   bool    `json:"held"` // already this holder's: nothing was probed
	Probes []Probe `json:"probes,omitempty"`
}

// Registry is the record of one user on one machine: a JSON file, and beside it
// a lock. Its methods are safe among goroutines and processes. Errors: Invalid
// (the file is not a registry), Unavailable (range exhausted, lock not had
// within ten seconds, disk), Denied.
type Registry struct {
	path string
	now  func() time.Time
	busy func(ctx context.Context, port int) (why string, err error)
}

// New returns the registry in the file path, which need not exist; it opens
// nothing.
func New(path string, now func() time.Time) *Registry {
	return &Registry{path: path, now: now, busy: busy}
}

// Asking replaces how a port that nobody holds is found to be free; why is "" for
// one that is.
func (r *Registry) Asking(busy func(ctx context.Context, port int) (why string, err error)) *Registry {
	r.busy = busy
	return r
}

const (
	fileVersion = 1
	maxFile     = 1 << 20
	lockWait    = 10 * time.Second
)

type document struct {
	Version int     `json:"version"`
	Ports   []Entry `json:"ports"`
}

// Acquire gives the holder its port: the one it holds, else the first from
// First onwards (round the range's end) that no one else holds and no program
// listens on. Stale entries are skipped, never taken over.
func (r *Registry) Acquire(ctx context.Context, q Request) (Grant, error) {
	var g Grant
	err := r.change(ctx, func(entries []Entry) ([]Entry, error) {
		var err error
		if g, err = r.choose(ctx, entries, q); err != nil || g.Held {
			return nil, err
		}
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Holder == q.Holder })
		return append(entries, Entry{Port: g.Port, Holder: q.Holder, Folder: q.Folder, Since: r.now().UTC()}), nil
	})
	return g, err
}

// Look returns what Acquire would, and changes nothing.
func (r *Registry) Look(ctx context.Context, q Request) (Grant, error) {
	entries, err := r.read()
	if err != nil {
		return Grant{}, err
	}
	return r.choose(ctx, entries, q)
}

// Release gives up every port whose entry match takes, and returns those
// entries; none is an empty list, not an error.
func (r *Registry) Release(ctx context.Context, match func(Entry) bool) ([]Entry, error) {
	var gone []Entry
	err := r.change(ctx, func(entries []Entry) ([]Entry, error) {
		gone = nil
		kept := []Entry{}
		for _, e := range entries {
			if match(e) {
				gone = append(gone, e)
			} else {
				kept = append(kept, e)
			}
		}
		if gone == nil {
			return nil, nil
		}
		return kept, nil
	})
	return gone, err
}

// List returns every port that is held, by number, the stale ones marked.
func (r *Registry) List() ([]Entry, error) { return r.read() }

// choose walks the range once.
func (r *Registry) choose(ctx context.Context, entries []Entry, q Request) (Grant, error) {
	op := "find a port for " + q.Holder.String()
	if q.Range.Lo < 1 || q.Range.Hi > 65535 || q.First < q.Range.Lo || q.First > q.Range.Hi {
		return Grant{}, fault.Newf(fault.Invalid, op, "write ports: {range: 5400-5999} in the project file", "port %d is not within the range %s", q.First, q.Range)
	}
	g := Grant{First: q.First}
	holders := map[int]Entry{}
	for _, e := range entries {
		if e.Holder == q.Holder && e.Port >= q.Range.Lo && e.Port <= q.Range.Hi {
			g.Port, g.Held = e.Port, true
			return g, nil
		}
		if e.Holder != q.Holder {
			holders[e.Port] = e
		}
	}
	held, stale := 0, 0
	for i := range q.Range.Size() {
		port := q.Range.At(q.First, i)
		if e, ok := holders[port]; ok {
			why := "held by " + e.Holder.String()
			held++
			if e.Stale {
				why += ", whose folder " + e.Folder + " is gone"
				stale++
			}
			g.Probes = append(g.Probes, Probe{port, why})
			continue
		}
		why, err := r.busy(ctx, port)
		if err != nil {
			kind := fault.Unavailable
			if ctx.Err() != nil {
				kind = fault.KindOf(ctx.Err())
			}
			return Grant{}, fault.Wrap(err, kind, op, "envctl doctor")
		}
		g.Probes = append(g.Probes, Probe{port, why})
		if why == "" {
			g.Port = port
			return g, nil
		}
	}
	return Grant{}, fault.Newf(fault.Unavailable, op, "envctl port --release, or a wider ports.range in the project file",
		"all %d ports of %s are taken: %d held (%d of them by working copies that are gone), %d used by other programs",
		q.Range.Size(), q.Range, held, stale, q.Range.Size()-held)
}

// change rewrites the file under the lock; a nil answer leaves it as it is.
func (r *Registry) change(ctx context.Context, edit func([]Entry) ([]Entry, error)) (err error) {
	if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
		return fault.Wrap(err, fault.Denied, "create the port registry's folder", "check who owns the folder above it and its mode")
	}
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := atomicfile.Lock(wait, r.path+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(r.path); err != nil {
		return err
	}
	entries, err := r.read()
	if err != nil {
		return err
	}
	if entries, err = edit(entries); err != nil || entries == nil {
		return err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return a.Port - b.Port })
	data, err := json.MarshalIndent(document{fileVersion, entries}, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "write "+r.path, "")
	}
	if len(data) >= maxFile {
		return fault.New(fault.Unavailable, "write "+r.path, "the port registry is full", "envctl port --release")
	}
	return atomicfile.Write(r.path, append(data, '\n'), 0o600)
}

// read returns the entries, sorted by port; a missing file holds none.
func (r *Registry) read() ([]Entry, error) {
	data, err := atomicfile.Read(r.path, maxFile)
	if fault.Is(err, fault.NotFound) {
		return []Entry{}, nil
	}
	if err != nil {
		return nil, err
	}
	op, hint := "read "+r.path, "move the file away: ports are then given out anew"
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, hint)
	}
	if d.Version != fileVersion {
		return nil, fault.Newf(fault.Invalid, op, "use the newer envctl that wrote it", "version %d, want %d", d.Version, fileVersion)
	}
	seen := map[int]bool{}
	for i, e := range d.Ports {
		if e.Port < 1 || e.Port > 65535 || seen[e.Port] {
			return nil, fault.Newf(fault.Invalid, op, hint, "port %d is out of range or there twice", e.Port)
		}
		seen[e.Port] = true
		d.Ports[i].Stale = gone(e.Folder)
	}
	slices.SortFunc(d.Ports, func(a, b Entry) int { return a.Port - b.Port })
	return d.Ports, nil
}

// gone tells whether a working copy is certainly no more: a folder that cannot
// be looked at may still be there.
func gone(folder string) bool {
	if folder == "" {
		return false
	}
	_, err := os.Stat(folder)
	return errors.Is(err, fs.ErrNotExist)
}
