// Package lease keeps the runs of several machines apart: one document of a
// store they share says who works on what, written by check-and-set and dated by
// nothing but the store's own clock.
package lease

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

const (
	// DefaultTTL is how long a lock stands after its last renewal.
	DefaultTTL = time.Minute
	// longest bounds what another envctl may claim for its own locks.
	longest = 10 * time.Minute
	// kept is how many versions of the document are worth keeping.
	kept = 16
	// tries bounds how often one operation begins anew after another writer.
	tries = 16
	// whole is the key of a lock on all components; no component can be called so.
	whole = "*"
)

// Holder says who holds a lock, for people, and for a run that finds its own.
type Holder struct{ Run, Playbook, Who string }

// Locks are the locks of one environment.
type Locks struct {
	Store providers.Store // one that is providers.Shared
	// Path is the document's: the component is naming.LockComponent.
	Path naming.Path
	Rand io.Reader
	TTL  time.Duration // 0: DefaultTTL
	// Leave nothing behind: the environment ends, and its document with it.
	Purge bool
}

// entry is a lock as the document holds it, under its component.
type entry struct {
	Run      string `json:"run"`
	Playbook string `json:"playbook"`
	Who      string `json:"who"`
	Nonce    string `json:"nonce"` // another one each time that a lock is taken
	// At is the version of the document in which the holder last wrote this: the
	// time of that version is the time of the renewal.
	At    providers.Version `json:"at"`
	TTL   int               `json:"ttl"`            // seconds
	Taken time.Time         `json:"taken,omitzero"` // known from the first renewal on
	// Renewed is the time of At, noted by somebody who wants the lock.
	Renewed time.Time `json:"renewed,omitzero"`
}

func (e entry) ttl() time.Duration {
	return min(max(time.Duration(e.TTL)*time.Second, time.Second), longest)
}

func (e entry) encode() (secret.Value, error) {
	text, err := json.Marshal(e)
	return secret.New(string(text)), fault.Wrap(err, fault.Internal, "write a lock", "")
}

// document is what a version of the path says.
type document struct {
	version providers.Version // 0: there is none
	created time.Time
	held    map[string]entry
}

func (l *Locks) read(ctx context.Context) (document, error) {
	b, err := l.Store.Read(ctx, l.Path, providers.Latest)
	switch {
	case fault.Is(err, fault.NotFound):
		return document{}, nil
	case fault.Is(err, fault.Deleted, fault.Destroyed): // by hand: nobody holds anything
		all, err := l.Store.History(ctx, l.Path)
		if err != nil || len(all) == 0 {
			return document{}, err
		}
		return document{version: all[len(all)-1].Version}, nil
	case err != nil:
		return document{}, err
	}
	d := document{version: b.Version, created: b.Created, held: map[string]entry{}}
	for k, v := range b.Values {
		var e entry
		if json.Unmarshal([]byte(v.Reveal()), &e) == nil && e.Nonce != "" {
			d.held[k] = e
		} // anything else is no lock
	}
	return d, nil
}

func (l *Locks) ttl() time.Duration { return cmp.Or(l.TTL, DefaultTTL) }

func (l *Locks) op(key string) string {
	p := naming.Path{Project: l.Path.Project, Environment: l.Path.Environment}
	if key != whole {
		p.Component = key
	}
	return "lock " + p.String()
}

// Lock takes a component, or the whole environment where component is "". A lock
// that stands in the way gives way when the store's clock says that it was not
// renewed for its time, when it is this very run's, or when dead, which may be
// nil, says that its holder is. Kinds: Conflict (held, with the holder in its
// words), Denied (the document may not be read or written), and what the store
// meets.
func (l *Locks) Lock(ctx context.Context, component string, h Holder, dead func(Holder) bool) (*Lease, error) {
	key := cmp.Or(component, whole)
	var nonce [16]byte
	if _, err := io.ReadFull(l.Rand, nonce[:]); err != nil {
		return nil, fault.Wrap(err, fault.Internal, l.op(key), "")
	}
	mine := entry{Run: h.Run, Playbook: h.Playbook, Who: h.Who, Nonce: hex.EncodeToString(nonce[:]), TTL: int(l.ttl().Seconds())}
	for try := range tries {
		d, err := l.read(ctx)
		if err != nil {
			return nil, l.denied(err)
		}
		if got := d.held[key]; got.Nonce == mine.Nonce { // the answer to its write was lost
			return l.begin(ctx, key, got, d.version), nil
		}
		patch := providers.Patch{}
		for _, k := range slices.Sorted(maps.Keys(d.held)) {
			e := d.held[k]
			if k != key && k != whole && key != whole {
				continue
			}
			who := Holder{e.Run, e.Playbook, e.Who}
			if own := e.Run == h.Run && e.Who == h.Who; !own && (dead == nil || !dead(who)) {
				if err = l.expired(ctx, &d, k); err != nil {
					break
				}
			}
			patch[k] = secret.Value{}
		}
		if err == nil {
			mine.At = d.version + 1
			if patch[key], err = mine.encode(); err == nil {
				err = l.write(ctx, d.version, patch)
			}
		}
		switch {
		case err == nil:
			if m, ok := l.Store.(providers.Metadata); ok && d.version == 0 && !l.Purge {
				_ = m.SetMaxVersions(ctx, l.Path, kept) // for tidiness: the store's own limit does too
			}
			return l.begin(ctx, key, mine, mine.At), nil
		case !moved(err):
			return nil, l.denied(err)
		case !pause(ctx, try):
			return nil, fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), l.op(key), "run the command again")
		}
	}
	return nil, l.busy(key)
}

// denied says what a token lacks.
func (l *Locks) denied(err error) error {
	if !fault.Is(err, fault.Denied) {
		return err
	}
	return fault.Wrap(err, fault.Denied, "", "let the token create, read, update and patch "+l.Path.String())
}

// write is bounded: what a lease counts from its answer is right only then.
func (l *Locks) write(ctx context.Context, base providers.Version, patch providers.Patch) error {
	ctx, cancel := context.WithTimeout(ctx, l.ttl()/thirds)
	defer cancel()
	_, err := l.Store.Write(ctx, l.Path, base, patch)
	return err
}

// heldError is the Conflict of a lock that stands, which no further try changes.
type heldError struct{ error }

func (e heldError) Unwrap() error { return e.error }

// moved tells that somebody else wrote the document meanwhile, or that nobody
// knows: reading it again shows.
func moved(err error) bool {
	_, held := err.(heldError) //nolint:errorlint // made here, never wrapped
	return !held && fault.Is(err, fault.Conflict, fault.Deleted, fault.Destroyed, fault.Unknown)
}

func (l *Locks) busy(key string) error {
	return fault.Newf(fault.Conflict, l.op(key), "run the command again", "others wrote %s each time, %d times", l.Path, tries)
}

// expired returns nil when the lock under k was not renewed for its time. To
// learn the store's time it writes: the new version, which d becomes, is dated by
// the store as the renewal was.
func (l *Locks) expired(ctx context.Context, d *document, k string) error {
	e := d.held[k]
	if e.Renewed.IsZero() {
		if e.At == d.version {
			e.Renewed = d.created
		} else {
			all, err := l.Store.History(ctx, l.Path)
			if err != nil || len(all) == 0 {
				return err
			}
			// A version that is not kept any more is older than the oldest that is.
			e.Renewed = all[0].Created
			for _, r := range all {
				if r.Version == e.At {
					e.Renewed = r.Created
				}
			}
		}
	}
	text, err := e.encode()
	if err != nil {
		return err
	}
	v, err := l.Store.Write(ctx, l.Path, d.version, providers.Patch{k: text})
	if fault.Is(err, fault.Denied) {
		return fault.Wrap(err, fault.Denied, "run "+e.Run+" ("+e.Playbook+") of "+e.Who+" holds it, or did", "")
	}
	if err != nil {
		return err
	}
	now, err := l.Store.Read(ctx, l.Path, v)
	if fault.Is(err, fault.NotFound) {
		return l.busy(k) // so many wrote meanwhile that it is not kept any more
	}
	if err != nil {
		return err
	}
	d.version, d.created, d.held[k] = v, now.Created, e
	since := now.Created.Sub(e.Renewed)
	if since > e.ttl() {
		return nil
	}
	on := ""
	if k == whole {
		on = " on the whole environment"
	}
	return heldError{fault.Newf(fault.Conflict, l.op(k), "wait for it; if it died, its lock ends in "+(e.ttl()-since).Round(time.Second).String(),
		"run %s (%s) of %s is working%s, as of %s ago", e.Run, e.Playbook, e.Who, on, max(since, 0).Round(time.Second))}
}

// pause lets others finish; false: ctx ended first.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(time.Duration(5<<min(try, 5)) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
