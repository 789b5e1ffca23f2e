package embedded

import (
	"context"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"envctl/internal/fault"
)

// Report is what Verify found.
type Report struct {
	File       string
	Store      string // the store's random id
	Key        string // names the integrity key, does not tell it
	Revision   Revision
	Recipients []Recipient
	Paths      int
	Versions   int  // of all paths, deleted and destroyed ones too
	Values     int  // of all versions
	FirstUse   bool // nothing was remembered of this store to compare it with
	// Seen is the revision number remembered before this look, 0 for none.
	Seen int
}

// Verify decrypts and checks everything, and compares it with what is
// remembered. Where only that comparison fails (RolledBack, or Invalid for
// another store or another key) the report comes with the error.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	op := "verify store " + s.c.File
	d, known, err := s.peek(ctx, op)
	if err != nil {
		return Report{}, err
	}
	report := s.report(d, known)
	news, err := judge(op, d, known)
	if err != nil {
		return report, err
	}
	for _, n := range news {
		s.c.Notice(s.c.File + ": " + n)
	}
	return report, s.remember(ctx, op, d, known, false)
}

// Accept trusts the file as it is now, rolled back or replaced though it may
// be. It is the operator's decision: never take it for them.
func (s *Store) Accept(ctx context.Context) (Report, error) {
	op := "accept store " + s.c.File
	d, known, err := s.peek(ctx, op)
	if err != nil {
		return Report{}, err
	}
	return s.report(d, known), s.remember(ctx, op, d, known, true)
}

// peek opens the file without judging it.
func (s *Store) peek(ctx context.Context, op string) (*document, pins, error) {
	ids, err := s.identity(ctx, op)
	if err != nil {
		return nil, pins{}, err
	}
	d, err := s.open(op, ids)
	if err != nil {
		return nil, pins{}, err
	}
	known, err := s.readPins(op, d.Store)
	return d, known, err
}

func (s *Store) report(d *document, known pins) Report {
	r := Report{
		File: s.c.File, Store: d.Store, Key: d.Integrity.id(), Revision: d.Revision,
		Recipients: slices.Clone(d.Recipients), Paths: len(d.Paths), FirstUse: known.pin == nil,
	}
	if known.pin != nil {
		r.Seen = known.pin.Revision
	}
	for _, e := range d.Paths {
		r.Versions += len(e.Versions)
		for _, v := range e.Versions {
			r.Values += len(v.Values)
		}
	}
	return r
}

// Recipients returns who can read the store, in the order they were added.
func (s *Store) Recipients(ctx context.Context) ([]Recipient, error) {
	d, err := s.view(ctx, "list recipients of "+s.c.File)
	if err != nil {
		return nil, err
	}
	return slices.Clone(d.Recipients), nil
}

// AddRecipient lets one more read the store from its next revision on.
// Usage: not an age X25519 public key, or no name; Conflict: known already.
func (s *Store) AddRecipient(ctx context.Context, name, publicKey string) error {
	op := "add recipient " + name
	return s.update(ctx, op, func(d *document, now time.Time) error { return d.addRecipient(op, name, publicKey, now) })
}

// CheckRecipient tells whether AddRecipient would take one more beside those of
// list, with the same errors.
func CheckRecipient(list []Recipient, name, publicKey string) error {
	return checkRecipient("add recipient "+name, list, name, publicKey)
}

func (d *document) addRecipient(op, name, publicKey string, now time.Time) error {
	if err := checkRecipient(op, d.Recipients, name, publicKey); err != nil {
		return err
	}
	d.Recipients = append(d.Recipients, Recipient{Name: name, Key: publicKey, Added: now})
	return nil
}

func checkRecipient(op string, list []Recipient, name, publicKey string) error {
	if !validName(name) {
		return fault.New(fault.Usage, op, "a recipient needs a name of 1 to 100 printable bytes", "")
	}
	// Only the canonical spelling, or one key could stand there twice.
	if parsed, err := age.ParseX25519Recipient(publicKey); err != nil || parsed.String() != publicKey {
		hint := "they find it in the first line of their identity file, or with: age-keygen -y"
		if strings.HasPrefix(strings.ToUpper(publicKey), "AGE-SECRET-KEY-") {
			hint = "that was the secret half: make a new identity, and give out the line that begins with age1"
		}
		return fault.New(fault.Usage, op, "not an age X25519 public key (age1…)", hint)
	}
	for _, r := range list {
		if r.Name == name || r.Key == publicKey {
			return fault.Newf(fault.Conflict, op, "envctl store recipients list", "%s has that name or key already", r.Name)
		}
	}
	return nil
}

// RemoveRecipient ends the access of the one with that name or public key to
// revisions to come, and re-keys the store. What they could read so far stays
// readable to them in every copy and in git's history: a Notice says so.
// NotFound: no such recipient; Refused: the operator's own key, or the last one.
func (s *Store) RemoveRecipient(ctx context.Context, nameOrKey string) error {
	op := "remove recipient " + nameOrKey
	own, err := s.Self(ctx)
	if err != nil {
		return err
	}
	err = s.update(ctx, op, func(d *document, _ time.Time) error {
		i := slices.IndexFunc(d.Recipients, func(r Recipient) bool { return r.Name == nameOrKey || r.Key == nameOrKey })
		switch {
		case i < 0:
			return fault.New(fault.NotFound, op, "there is no such recipient", "envctl store recipients list")
		case d.Recipients[i].Key == own:
			return fault.New(fault.Refused, op, "it is your own key, and you could not read what you wrote", "let another recipient remove it")
		}
		d.Recipients = slices.Delete(d.Recipients, i, i+1)
		return s.rekey(d)
	})
	if err != nil {
		return err
	}
	s.c.Notice(nameOrKey + " can still read every copy made so far, in git's history too: rotate the values that matter")
	return nil
}

// Rekey gives the store new integrity and fingerprint keys. Whoever pinned the
// old one follows, since the new document proves to know it.
func (s *Store) Rekey(ctx context.Context) error {
	return s.update(ctx, "rekey store "+s.c.File, func(d *document, _ time.Time) error { return s.rekey(d) })
}

func (s *Store) rekey(d *document) error {
	d.Former = append([]key{d.Integrity}, d.Former...)
	d.Former = d.Former[:min(len(d.Former), logLength)]
	return fault.Wrap(s.newKeys(d), fault.Internal, "rekey", "")
}
