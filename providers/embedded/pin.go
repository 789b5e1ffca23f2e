package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
)

// What an age file proves is that someone knew a public key. Who wrote it, and
// whether it is the newest, only memory can tell: the pins. Two small files in
// the operator's own folder hold it, one per store and one per place, so that
// neither an old copy nor another store can be slipped in under a known name.
// The first use of a store on a machine has nothing to compare with; it is
// trusted, and said.

// pin is what this operator last saw of a store.
type pin struct {
	Store      string   `json:"store"`
	Key        string   `json:"key"` // names the integrity key, does not tell it
	Revision   int      `json:"revision"`
	ID         string   `json:"id"`
	Recipients []string `json:"recipients"` // public keys, sorted
}

// place is which store was last seen in a file.
type place struct {
	File  string `json:"file"`
	Store string `json:"store"`
}

const maxPin = 1 << 20

func pinOf(d *document) pin {
	p := pin{Store: d.Store, Key: d.Integrity.id(), Revision: d.Revision.Number, ID: d.Revision.ID}
	for _, r := range d.Recipients {
		p.Recipients = append(p.Recipients, r.Key)
	}
	slices.Sort(p.Recipients)
	return p
}

func (a pin) equal(b pin) bool {
	return a.Store == b.Store && a.Key == b.Key && a.Revision == b.Revision && a.ID == b.ID && slices.Equal(a.Recipients, b.Recipients)
}

// pins is what is remembered of one file and of the store in it; nil: nothing.
type pins struct {
	place *place
	pin   *pin
}

func (s *Store) placeFile(file string) string {
	sum := sha256.Sum256([]byte(file))
	return filepath.Join(s.c.PinDir, "file-"+hex.EncodeToString(sum[:16])+".json")
}

func (s *Store) pinFile(store string) string { return filepath.Join(s.c.PinDir, store+".json") }

// realPath returns the file's one name: absolute, with links in its folder followed.
func (s *Store) realPath() (string, error) {
	file, err := filepath.Abs(s.c.File)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(file)), nil
}

func (s *Store) readPins(op, store string) (pins, error) {
	if s.c.PinDir == "" {
		return pins{}, nil
	}
	file, err := s.realPath()
	if err != nil {
		return pins{}, classify(err, op, "")
	}
	at, err := readJSON[place](op, s.placeFile(file))
	if err != nil {
		return pins{}, err
	}
	seen, err := readJSON[pin](op, s.pinFile(store))
	if err != nil {
		return pins{}, err
	}
	if at != nil && at.File != file || seen != nil && seen.Store != store {
		return pins{}, fault.Newf(fault.Invalid, op, "restore that folder from a copy, or move it away to begin trusting anew", "what %s remembers of it contradicts itself", s.c.PinDir)
	}
	return pins{at, seen}, nil
}

// readJSON returns nil where the file does not exist.
func readJSON[T any](op, path string) (*T, error) {
	data, err := atomicfile.Read(path, maxPin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return nil, fault.Newf(fault.Invalid, op, "restore "+path+" from a copy, or move it away to begin trusting anew", "what %s remembers of it is damaged", path)
	}
	return v, nil
}

// judge compares d with what is remembered, and returns what the operator
// should hear about it.
// Errors: Invalid (forged, or another store), RolledBack.
func judge(op string, d *document, known pins) (news []string, err error) {
	if at := known.place; at != nil && at.Store != d.Store {
		return nil, fault.Newf(fault.Invalid, op, "look at git log for who changed it; if it is meant: envctl store verify --accept",
			"another store's file: %s stands where %s was", d.Store, at.Store)
	}
	p := known.pin
	if p == nil {
		return []string{fmt.Sprintf("first use of this store here: nothing to compare it with; it says that %s can read it (revision %d by %s): ask one of them, then trust it",
			names(d.Recipients), d.Revision.Number, orUnknown(d.Revision.Author))}, nil
	}
	if p.Key != d.Integrity.id() {
		if !slices.ContainsFunc(d.Former, func(k key) bool { return k.id() == p.Key }) {
			return nil, fault.New(fault.Invalid, op, "forged, or written with a key that is no longer the store's",
				"restore the file from git or a copy, then run envctl store verify")
		}
		news = append(news, fmt.Sprintf("the store was re-keyed since you last saw it (revision %d by %s)", d.Revision.Number, orUnknown(d.Revision.Author)))
	}
	switch {
	case d.Revision.Number < p.Revision:
		return nil, fault.Newf(fault.RolledBack, op, "go back to the branch with the newer file, or work with this one: envctl store verify --accept",
			"rolled back: it is revision %d, and revision %d was seen here; git checkout of an older branch does this too", d.Revision.Number, p.Revision)
	case !d.descends(p.Revision, p.ID):
		return nil, fault.Newf(fault.RolledBack, op, "merge the branches with git or envctl store merge, or work with this one as it is: envctl store verify --accept",
			"rolled back: revision %d, which was seen here, is not part of it; git checkout of another branch does this too", p.Revision)
	}
	var added, gone []string
	for _, r := range d.Recipients {
		if !slices.Contains(p.Recipients, r.Key) {
			added = append(added, r.Name)
		}
	}
	for _, k := range p.Recipients {
		if !slices.ContainsFunc(d.Recipients, func(r Recipient) bool { return r.Key == k }) {
			gone = append(gone, k)
		}
	}
	if len(added) > 0 {
		news = append(news, fmt.Sprintf("new since you last saw the store: %s can read it (revision %d by %s)", strings.Join(added, ", "), d.Revision.Number, orUnknown(d.Revision.Author)))
	}
	if len(gone) > 0 {
		news = append(news, fmt.Sprintf("%d recipients were removed since you last saw the store", len(gone)))
	}
	return news, nil
}

func names(list []Recipient) string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = r.Name
	}
	return strings.Join(out, ", ")
}

func orUnknown(author string) string {
	if author == "" {
		return "someone who gave no name"
	}
	return author
}

// remember pins d. It never goes back to an older revision of the store
// unless forced, whatever other processes pinned meanwhile.
func (s *Store) remember(ctx context.Context, op string, d *document, known pins, force bool) error {
	want := pinOf(d)
	if s.c.PinDir == "" || known.place != nil && known.pin != nil && known.pin.equal(want) && known.place.Store == d.Store {
		return nil
	}
	if err := os.MkdirAll(s.c.PinDir, 0o700); err != nil {
		return classify(err, op, "")
	}
	file, err := s.realPath()
	if err != nil {
		return classify(err, op, "")
	}
	path := s.pinFile(d.Store)
	unlock, err := atomicfile.Lock(ctx, lockFile(path))
	if err != nil {
		return err
	}
	err = func() error {
		seen, err := readJSON[pin](op, path)
		if err != nil {
			return err
		}
		if force || seen == nil || seen.Revision < want.Revision {
			if err := writeJSON(path, want); err != nil {
				return err
			}
		}
		if known.place == nil || known.place.Store != d.Store {
			return writeJSON(s.placeFile(file), place{file, d.Store})
		}
		return nil
	}()
	return errors.Join(err, unlock())
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(b, '\n'), 0o600)
}
