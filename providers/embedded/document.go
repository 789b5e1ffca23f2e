package embedded

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

const (
	// DefaultMaxVersions is how many versions a path keeps unless told otherwise.
	DefaultMaxVersions = 10
	// MaxValue is the largest value taken, in bytes.
	MaxValue = 1 << 20
	// logLength is how many ancestors a revision names: enough to tell a fork
	// from a successor after that many writes unseen.
	logLength = 128
	// maxValues bounds the values of all versions together.
	maxValues = 1 << 22
)

// document is all the store holds, as it stands inside the ciphertext.
type document struct {
	Format      int               `json:"format"`
	Store       string            `json:"store"`
	Integrity   key               `json:"integrity"`        // whoever knows it was a recipient
	Former      []key             `json:"former,omitempty"` // integrity keys before it, newest first
	Fingerprint key               `json:"fingerprint"`
	Recipients  []Recipient       `json:"recipients"`
	Revision    Revision          `json:"revision"`
	Log         []ancestor        `json:"log,omitempty"` // newest first
	Paths       map[string]*entry `json:"paths"`
}

// Revision identifies one state of the whole file.
type Revision struct {
	Number  int       `json:"number"` // 1 at creation, always growing
	ID      string    `json:"id"`     // random
	Parents []string  `json:"parents,omitempty"`
	Author  string    `json:"author,omitempty"`
	Time    time.Time `json:"time"`
}

type ancestor struct {
	Number int    `json:"n"`
	ID     string `json:"id"`
}

// Recipient is one who can read the file: a name for people and an age X25519
// public key ("age1…").
type Recipient struct {
	Name  string    `json:"name"`
	Key   string    `json:"key"`
	Added time.Time `json:"added"`
}

type entry struct {
	Created     time.Time         `json:"created"`
	Current     providers.Version `json:"current"`
	MaxVersions int               `json:"max_versions,omitempty"`
	Custom      map[string]string `json:"custom,omitempty"`
	Versions    []*version        `json:"versions"` // oldest first
}

type version struct {
	Version   providers.Version `json:"version"`
	Created   time.Time         `json:"created"`
	Author    string            `json:"author,omitempty"`
	Deleted   bool              `json:"deleted,omitempty"`
	Destroyed bool              `json:"destroyed,omitempty"`
	// In the file a version holds what differs from the one before it there: a
	// file of ten versions is hardly larger than one of one, and read as fast.
	Set    values   `json:"set,omitempty"`
	Unset  []string `json:"unset,omitempty"`
	Values values   `json:"-"`
}

// values stand in base64 in the document, whatever they hold: JSON has no
// bytes, and one encoding leaves nothing to guess.
type values map[string]secret.Value

// MarshalJSON writes the values in clear: it runs only on the way into the
// ciphertext.
func (v values) MarshalJSON() ([]byte, error) {
	m := make(map[string][]byte, len(v))
	for k, value := range v {
		m[k] = []byte(value.Reveal())
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *values) UnmarshalJSON(b []byte) error {
	var m map[string][]byte
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*v = make(values, len(m))
	for k, value := range m {
		(*v)[k] = secret.New(string(value))
	}
	return nil
}

// pack returns a copy of d as it stands in the file.
func (d *document) pack() *document {
	c := d.clone()
	for _, e := range c.Paths {
		var before values
		for _, v := range e.Versions {
			v.Set = values{}
			for k, value := range v.Values {
				if old, ok := before[k]; !ok || !old.Equal(value) {
					v.Set[k] = value
				}
			}
			for k := range before {
				if _, ok := v.Values[k]; !ok && !v.Destroyed {
					v.Unset = append(v.Unset, k)
				}
			}
			slices.Sort(v.Unset)
			before = v.Values
		}
	}
	return c
}

// unpack undoes pack in place and returns what is left of room, which counts
// values: a small file must not unpack into more than memory holds.
func (e *entry) unpack(room int) int {
	var before values
	for _, v := range e.Versions {
		switch {
		case v.Destroyed:
			before = v.Set // none, in a file that is well formed
		case len(v.Set)+len(v.Unset) > 0 || before == nil:
			if room -= len(before) + len(v.Set); room < 0 {
				return room
			}
			before = maps.Clone(before)
			if before == nil {
				before = values{}
			}
			maps.Copy(before, v.Set)
			for _, k := range v.Unset {
				delete(before, k)
			}
		}
		v.Values, v.Set, v.Unset = before, nil, nil
	}
	return room
}

// key is 32 random bytes that no verb prints.
type key struct{ secret.Value }

// MarshalJSON writes the key in clear, as values do.
func (k key) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(k.Reveal())) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (k *key) UnmarshalJSON(b []byte) error {
	var raw []byte
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if len(raw) != keySize {
		return fmt.Errorf("a key of %d bytes", len(raw))
	}
	k.Value = secret.New(string(raw))
	return nil
}

// check unpacks the document and tells whether it makes sense. Everything in it was written
// by a recipient, or by someone who would like to be taken for one.
func (d *document) check() error {
	switch {
	case d.Format > format:
		return fmt.Errorf("format %d is newer than this envctl knows", d.Format)
	case d.Format != format:
		return fmt.Errorf("format %d is not known", d.Format)
	case !isID(d.Store) || !isID(d.Revision.ID) || d.Revision.Number < 1:
		return fmt.Errorf("store or revision is malformed")
	case len(d.Recipients) == 0:
		return fmt.Errorf("it names no recipient")
	case !d.Integrity.IsSet() || !d.Fingerprint.IsSet():
		return fmt.Errorf("it lacks a key")
	}
	for _, a := range d.Log {
		if !isID(a.ID) || a.Number < 1 || a.Number >= d.Revision.Number {
			return fmt.Errorf("its log is malformed")
		}
	}
	if _, err := ageRecipients(d.Recipients); err != nil {
		return err
	}
	room := maxValues
	for name, e := range d.Paths {
		if p, err := parsePath(name); err != nil || p.String() != name {
			return fmt.Errorf("path %q is malformed", name)
		}
		if e == nil || len(e.Versions) == 0 || e.MaxVersions < 0 {
			return fmt.Errorf("path %q holds nothing", name)
		}
		if slices.Contains(e.Versions, nil) {
			return fmt.Errorf("the versions of path %q are malformed", name)
		}
		if room = e.unpack(room); room < 0 {
			return fmt.Errorf("it holds more than %d values", maxValues)
		}
		last := providers.Version(0)
		for _, v := range e.Versions {
			if v.Version <= last || v.Destroyed && (v.Deleted || len(v.Values) > 0) {
				return fmt.Errorf("the versions of path %q are malformed", name)
			}
			last = v.Version
		}
		if e.Current != last {
			return fmt.Errorf("the versions of path %q are malformed", name)
		}
	}
	return nil
}

func isID(s string) bool {
	return len(s) == 2*idSize && strings.Trim(s, "0123456789abcdef") == ""
}

func parsePath(s string) (naming.Path, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return naming.Path{}, fmt.Errorf("path %q has %d segments", s, len(parts))
	}
	p := naming.Path{Project: parts[0], Environment: parts[1], Component: parts[2]}
	return p, p.Check()
}

// succeed makes d the revision after itself and the others it was merged with.
func (d *document) succeed(id, author string, now time.Time, others ...*document) {
	next := Revision{ID: id, Author: text(author), Time: now.UTC()}
	for _, o := range append([]*document{d}, others...) {
		next.Number = max(next.Number, o.Revision.Number+1)
		next.Parents = append(next.Parents, o.Revision.ID)
	}
	log := d.Log
	for _, o := range others {
		log = append(slices.Clone(log), o.Log...)
		log = append(log, ancestor{o.Revision.Number, o.Revision.ID})
	}
	log = append(slices.Clone(log), ancestor{d.Revision.Number, d.Revision.ID})
	slices.SortFunc(log, func(a, b ancestor) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), strings.Compare(a.ID, b.ID))
	})
	log = slices.Compact(log)
	d.Log = log[:min(len(log), logLength)]
	d.Revision = next
}

// descends tells whether revision number/id is d's or, as far as d's log
// reaches, one of its ancestors.
func (d *document) descends(number int, id string) bool {
	if number >= d.Revision.Number {
		return number == d.Revision.Number && id == d.Revision.ID
	}
	if len(d.Log) == logLength && number < d.Log[logLength-1].Number {
		return true // too long ago to tell
	}
	return slices.Contains(d.Log, ancestor{number, id})
}

func (d *document) find(op string, p naming.Path) (*entry, error) {
	e, ok := d.Paths[p.String()]
	if !ok {
		return nil, fault.New(fault.NotFound, op, "nothing was ever written there", "envctl env create "+p.Environment)
	}
	return e, nil
}

// find returns version v, Latest for the newest, or nil.
func (e *entry) find(v providers.Version) *version {
	if v == providers.Latest {
		return e.Versions[len(e.Versions)-1]
	}
	i, ok := slices.BinarySearchFunc(e.Versions, v, func(have *version, want providers.Version) int { return int(have.Version - want) })
	if !ok {
		return nil
	}
	return e.Versions[i]
}

// live returns an error unless v can be read.
func (v *version) live(op string, p naming.Path) error {
	if v.Destroyed || v.Deleted {
		return providers.Gone(op, p, v.Version, v.Destroyed)
	}
	return nil
}

// write applies patch to p on base and returns the new version's number.
func (d *document) write(op string, p naming.Path, base providers.Version, patch providers.Patch, author string, now time.Time) (providers.Version, error) {
	for k, v := range patch {
		switch {
		case k == "" || !utf8.ValidString(k):
			return 0, fault.Newf(fault.Refused, op, "", "key %q is empty or not text", k)
		case v.Len() > MaxValue:
			return 0, fault.Newf(fault.Refused, op, "", "%s has %d bytes, more than the %d a value may have", k, v.Len(), MaxValue)
		}
	}
	e, exists := d.Paths[p.String()]
	next := values{}
	if exists {
		newest := e.find(providers.Latest)
		dead := newest.live(op, p)
		switch {
		case base == newest.Version: // dead or alive
		case base != providers.Any && base != providers.Absent:
			return 0, fault.Newf(fault.Conflict, op, "run the command again to start from what is there now", "changed by someone else (now version %d)", newest.Version)
		case dead != nil:
			return 0, dead
		case base == providers.Absent:
			return 0, fault.Newf(fault.Conflict, op, "run the command again to start from what is there now", "it exists already (now version %d)", newest.Version)
		}
		if dead == nil {
			maps.Copy(next, newest.Values)
		}
	} else {
		switch base {
		case providers.Absent:
			e = &entry{Created: now.UTC()}
		case providers.Any:
			_, err := d.find(op, p)
			return 0, err
		default:
			return 0, fault.Newf(fault.Conflict, op, "run the command again to start from what is there now", "there is no version %d any more", base)
		}
	}
	for k, v := range patch {
		if v.IsSet() {
			next[k] = v
		} else {
			delete(next, k)
		}
	}
	e.add(&version{Created: now.UTC(), Author: text(author), Values: next})
	if d.Paths == nil {
		d.Paths = map[string]*entry{}
	}
	d.Paths[p.String()] = e
	return e.Current, nil
}

// values counts as unpack does, or a little more.
func (d *document) values() int {
	n := 0
	for _, e := range d.Paths {
		for _, v := range e.Versions {
			n += 2 * len(v.Values)
		}
	}
	return n
}

// add appends v as the newest version and forgets those beyond max_versions.
func (e *entry) add(v *version) {
	e.Current++
	v.Version = e.Current
	e.Versions = append(e.Versions, v)
	e.prune()
}

func (e *entry) prune() {
	keep := e.MaxVersions
	if keep == 0 {
		keep = DefaultMaxVersions
	}
	e.Versions = e.Versions[max(0, len(e.Versions)-keep):]
}

// change runs do on each of p's versions that are named; none: the newest.
func (d *document) change(op string, p naming.Path, versions []providers.Version, do func(*version)) error {
	e, err := d.find(op, p)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		versions = []providers.Version{e.Current}
	}
	found := make([]*version, len(versions))
	for i, v := range versions {
		if found[i] = e.find(v); found[i] == nil || v == providers.Latest {
			return fault.Newf(fault.NotFound, op, "", "there is no version %d", v)
		}
	}
	for _, v := range found {
		do(v)
	}
	return nil
}

func (d *document) list(prefix naming.Path) []naming.Path {
	var paths []naming.Path
	for name := range d.Paths {
		p, err := parsePath(name)
		if err == nil && !naming.IsReserved(p.Component) && (prefix.Project == "" || p.Project == prefix.Project) &&
			(prefix.Environment == "" || p.Environment == prefix.Environment) &&
			(prefix.Component == "" || p.Component == prefix.Component) {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, func(a, b naming.Path) int { return strings.Compare(a.String(), b.String()) })
	return paths
}

// text keeps what JSON can carry unchanged.
func text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// clone returns a copy that shares nothing but values.
func (d *document) clone() *document {
	c := *d
	c.Former, c.Recipients, c.Log = slices.Clone(d.Former), slices.Clone(d.Recipients), slices.Clone(d.Log)
	c.Paths = make(map[string]*entry, len(d.Paths))
	for name, e := range d.Paths {
		c.Paths[name] = e.clone()
	}
	return &c
}

func (e *entry) clone() *entry {
	c := *e
	c.Custom = maps.Clone(e.Custom)
	c.Versions = make([]*version, len(e.Versions))
	for i, v := range e.Versions {
		copied := *v // its values are never changed in place
		c.Versions[i] = &copied
	}
	return &c
}
