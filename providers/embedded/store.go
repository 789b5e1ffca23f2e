// Package embedded keeps a store in one age-encrypted file that can be
// committed to git: versions as in KV v2, authenticated, safe from roll-back,
// and written so that whatever dies in between leaves the old file or the new.
package embedded

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// Config says where a store is and who works on it.
type Config struct {
	File     string // the store; its folder also holds a hidden lock file while writing
	Identity string // the operator's age identity file, 0600
	// PinDir is the folder, in the operator's own configuration, that remembers
	// each store's key and newest revision; "": nothing is remembered, and
	// neither forgery nor roll-back is noticed.
	PinDir string
	Author string           // who stands in new versions, e.g. "alice@laptop"
	Now    func() time.Time // required
	Rand   io.Reader        // of identifiers and keys; nil: crypto/rand
	// Passphrase asks for the identity's passphrase; nil: there is no one to ask.
	Passphrase Ask
	// Notice takes what the operator should hear though nothing failed: first use
	// of a store, recipients that others added. Nil: unheard.
	Notice func(string)
}

// Store is one encrypted file. It has all optional abilities. Its errors,
// beyond the contract's: Invalid (damaged, forged, another store), RolledBack,
// WrongIdentity, Denied (modes, passphrase), Refused (values over
// MaxValue), Unavailable (disk full, lock held past the
// deadline), NotFound (no file yet: see Exists). A method is one read of the file; a write is one
// read and one replacement under a lock between processes.
type Store struct {
	c Config

	mu         sync.Mutex
	identities []age.Identity
	seen       *document // the last document read; never changed
	seenSum    [sha256.Size]byte
}

var (
	_ providers.Store          = (*Store)(nil)
	_ providers.Lifecycle      = (*Store)(nil)
	_ providers.Metadata       = (*Store)(nil)
	_ providers.Fingerprinting = (*Store)(nil)
)

// errUnchanged ends an update that found nothing to do.
var errUnchanged = errors.New("unchanged")

// Open returns the store of c without touching anything.
func Open(c Config) *Store {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Notice == nil {
		c.Notice = func(string) {}
	}
	return &Store{c: c}
}

// Create writes a new, empty store readable by the identity's owner and the
// recipients. Conflict where the file exists.
func Create(ctx context.Context, c Config, recipients ...Recipient) (s *Store, err error) {
	s = Open(c)
	op := "create store " + c.File
	ids, err := s.identity(ctx, op)
	if err != nil {
		return nil, err
	}
	own := publicKey(ids)
	if own == "" {
		return nil, fault.New(fault.Refused, op, "the identity "+c.Identity+" is not of the X25519 kind", identityHint)
	}
	now := c.Now().UTC()
	d := &document{Format: format, Revision: Revision{Number: 1, Author: text(c.Author), Time: now}}
	if !slices.ContainsFunc(recipients, func(r Recipient) bool { return r.Key == own }) {
		name := c.Author
		if !validName(name) {
			name = "owner"
		}
		recipients = append([]Recipient{{Name: name, Key: own}}, recipients...)
	}
	for _, r := range recipients {
		if err := d.addRecipient(op, r.Name, r.Key, now); err != nil {
			return nil, err
		}
	}
	if d.Store, err = s.id(); err == nil {
		d.Revision.ID, err = s.id()
	}
	if err == nil {
		err = s.newKeys(d)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, op, "")
	}
	unlock, err := atomicfile.Lock(ctx, lockFile(c.File))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if exists, err := s.Exists(); err != nil {
		return nil, err
	} else if exists {
		return nil, fault.New(fault.Conflict, op, "it exists already", "use it, or move it away first")
	}
	known := pins{}
	if known.place, err = s.placeNow(op); err != nil {
		return nil, err
	}
	if known.place != nil {
		s.c.Notice(c.File + ": another store was seen here before; if it was not meant to go, take it back from git")
	}
	return s, s.replace(ctx, op, d, known)
}

// placeNow reads what is remembered of the file, whatever store it was.
func (s *Store) placeNow(op string) (*place, error) {
	if s.c.PinDir == "" {
		return nil, nil
	}
	file, err := s.realPath()
	if err != nil {
		return nil, classify(err, op, "")
	}
	return readJSON[place](op, s.placeFile(file))
}

// Config returns what the store was opened with.
func (s *Store) Config() Config { return s.c }

// Describe names the file and the identity.
func (s *Store) Describe() string {
	return fmt.Sprintf("embedded %s (identity %s)", s.c.File, s.c.Identity)
}

// Exists tells whether there is something in the file's place, readable or not.
func (s *Store) Exists() (bool, error) {
	_, err := os.Lstat(s.c.File)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, classify(err, "open store "+s.c.File, "")
}

// Self returns the operator's own public key, for others to add.
func (s *Store) Self(ctx context.Context) (string, error) {
	ids, err := s.identity(ctx, "read identity")
	return publicKey(ids), err
}

func (s *Store) identity(ctx context.Context, op string) ([]age.Identity, error) {
	if err := ended(ctx, op); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identities == nil {
		ids, err := readIdentities(s.c.Identity, s.c.Passphrase)
		if fault.Is(err, fault.NotFound) {
			// Nothing was not found but the key to it.
			return nil, fault.New(fault.WrongIdentity, op, "there is no identity at "+s.c.Identity,
				"bring it back from where you keep it, name it in ENVCTL_IDENTITY_FILE, or run envctl init for a new one and have a recipient add its public key")
		}
		if err != nil {
			return nil, err
		}
		s.identities = ids
	}
	return s.identities, nil
}

func ended(ctx context.Context, op string) error {
	return fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), op, "")
}

// load reads the file and judges it. The document is shared: do not change it.
func (s *Store) load(ctx context.Context, op string) (*document, pins, error) {
	ids, err := s.identity(ctx, op)
	if err != nil {
		return nil, pins{}, err
	}
	var known pins
	for again := false; ; again = true {
		d, err := s.open(op, ids)
		if err != nil {
			return nil, pins{}, err
		}
		if !again {
			if known, err = s.readPins(op, d.Store); err != nil {
				return nil, pins{}, err
			}
		}
		news, err := judge(op, d, known)
		if fault.Is(err, fault.RolledBack) && !again {
			continue // a writer may have replaced the file and pinned it in between
		}
		if err != nil {
			return nil, pins{}, err
		}
		for _, n := range news {
			s.c.Notice(s.c.File + ": " + n)
		}
		return d, known, nil
	}
}

// open reads and decrypts the file, or returns the last document where the
// file's bytes are the same.
func (s *Store) open(op string, ids []age.Identity) (*document, error) {
	sealed, err := atomicfile.Read(s.c.File, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, absent(op, s.c.File)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(sealed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil && s.seenSum == sum {
		return s.seen, nil
	}
	where := op
	if !strings.Contains(op, s.c.File) {
		where += " in " + s.c.File
	}
	d, err := unseal(where, sealed, ids)
	if err != nil {
		return nil, err
	}
	s.seen, s.seenSum = d, sum
	return d, nil
}

func absent(op, file string) error {
	return fault.New(fault.NotFound, op, "there is no store "+file, "envctl init makes it")
}

// view loads the document for reading and remembers it.
func (s *Store) view(ctx context.Context, op string) (*document, error) {
	d, known, err := s.load(ctx, op)
	if err != nil {
		return nil, err
	}
	// What was read is good; that it could not be noted is worth a word, no more.
	if err := s.remember(ctx, op, d, known, false); err != nil {
		s.c.Notice("the newest revision of " + s.c.File + " could not be remembered: " + err.Error())
	}
	return d, nil
}

// update changes the document under the lock.
func (s *Store) update(ctx context.Context, op string, do func(d *document, now time.Time) error) (err error) {
	if err := ended(ctx, op); err != nil {
		return err
	}
	if exists, err := s.Exists(); err != nil {
		return err
	} else if !exists { // said before a lock file is left beside nothing
		return absent(op, s.c.File)
	}
	if _, err := s.identity(ctx, op); err != nil { // asks for a passphrase before the lock, not under it
		return err
	}
	unlock, err := atomicfile.Lock(ctx, lockFile(s.c.File))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(s.c.File); err != nil {
		s.c.Notice(err.Error())
	}
	d, known, err := s.load(ctx, op)
	if err != nil {
		return err
	}
	d = d.clone()
	now := s.c.Now().UTC()
	if err := do(d, now); err != nil {
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	}
	id, err := s.id()
	if err != nil {
		return fault.Wrap(err, fault.Internal, op, "")
	}
	d.succeed(id, s.c.Author, now)
	if err := ended(ctx, op); err != nil { // the last moment to turn back
		return err
	}
	return s.replace(ctx, op, d, known)
}

// replace writes d over the file, then remembers it: in that order, or a crash
// in between would make the good file look rolled back.
func (s *Store) replace(ctx context.Context, op string, d *document, known pins) error {
	sealed, err := d.seal(op)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.c.File, sealed, 0o600); err != nil {
		return err
	}
	// It is written, so the answer is yes even where it could not be noted.
	if err := s.remember(context.WithoutCancel(ctx), op, d, known, false); err != nil {
		s.c.Notice("the newest revision of " + s.c.File + " could not be remembered: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.seenSum = d, sha256.Sum256(sealed)
	return nil
}

func (s *Store) id() (string, error) {
	b := make([]byte, idSize)
	_, err := io.ReadFull(s.c.Rand, b)
	return hex.EncodeToString(b), err
}

// newKeys gives d a fresh integrity and fingerprint key.
func (s *Store) newKeys(d *document) error {
	b := make([]byte, 2*keySize)
	if _, err := io.ReadFull(s.c.Rand, b); err != nil {
		return err
	}
	d.Integrity = key{secret.New(string(b[:keySize]))}
	d.Fingerprint = key{secret.New(string(b[keySize:]))}
	return nil
}

// begin checks a path and names the operation.
func begin(verb string, p naming.Path) (op string, err error) {
	if err := p.Check(); err != nil {
		return "", fault.Wrap(err, fault.Usage, verb, "")
	}
	return verb + " " + p.String(), nil
}

// Read returns a version of p.
func (s *Store) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	op, err := begin("read", p)
	if err != nil {
		return providers.Bundle{}, err
	}
	d, err := s.view(ctx, op)
	if err != nil {
		return providers.Bundle{}, err
	}
	e, err := d.find(op, p)
	if err != nil {
		return providers.Bundle{}, err
	}
	found := e.find(v)
	if found == nil {
		return providers.Bundle{}, fault.Newf(fault.NotFound, op, "envctl history KEY lists the versions there are", "there is no version %d", v)
	}
	if err := found.live(op, p); err != nil {
		return providers.Bundle{}, err
	}
	b := providers.Bundle{
		Path: p, Version: found.Version, Created: found.Created, Values: make(map[string]secret.Value, len(found.Values)),
		Custom: maps.Clone(e.Custom), AsOf: s.c.Now().UTC(),
	}
	if t := d.Revision.Time; b.AsOf.Before(t) { // this machine's clock is behind the last writer's
		b.AsOf = t.UTC()
	}
	maps.Copy(b.Values, found.Values)
	return b, nil
}

// History returns p's versions, oldest first.
func (s *Store) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	op, err := begin("read history of", p)
	if err != nil {
		return nil, err
	}
	d, err := s.view(ctx, op)
	if err != nil {
		return nil, err
	}
	e, err := d.find(op, p)
	if err != nil {
		return nil, err
	}
	history := make([]providers.Revision, len(e.Versions))
	for i, v := range e.Versions {
		history[i] = providers.Revision{Version: v.Version, Created: v.Created, Author: v.Author, Deleted: v.Deleted, Destroyed: v.Destroyed}
	}
	return history, nil
}

// List returns the paths below prefix, sorted.
func (s *Store) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	parts := []string{prefix.Project, prefix.Environment, prefix.Component}
	for len(parts) > 0 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	for _, part := range parts {
		if err := naming.CheckSegment("prefix segment", part); err != nil {
			return nil, fault.Wrap(err, fault.Usage, "list", "")
		}
	}
	d, err := s.view(ctx, "list "+prefix.String())
	if err != nil {
		return nil, err
	}
	return d.list(prefix), nil
}

// Write applies patch to p if its newest version is base.
func (s *Store) Write(ctx context.Context, p naming.Path, base providers.Version, patch providers.Patch) (v providers.Version, err error) {
	op, err := begin("write", p)
	if err != nil {
		return 0, err
	}
	err = s.update(ctx, op, func(d *document, now time.Time) error {
		v, err = d.write(op, p, base, patch, s.c.Author, now)
		return err
	})
	if err != nil {
		return 0, err
	}
	return v, nil
}

// FingerprintKey returns the store's own key.
func (s *Store) FingerprintKey(ctx context.Context) (secret.Key, error) {
	d, err := s.view(ctx, "read fingerprint key")
	if err != nil {
		return secret.Key{}, err
	}
	return secret.NewKey([]byte(d.Fingerprint.Reveal())), nil
}
