package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

// fails checks the kind, and that there is something to type where one can.
func fails(t testing.TB, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: kind %v (%v), want %v", what, fault.KindOf(err), err, kind)
	} else if fault.HintOf(err) == "" {
		t.Errorf("%s: %v: no hint", what, err)
	}
}

func read(s *embedded.Store) error {
	_, err := s.Read(context.Background(), app, providers.Latest)
	return err
}

func recipientOf(t testing.TB, c embedded.Config) embedded.Recipient {
	t.Helper()
	k, err := embedded.Open(c).Self(context.Background())
	must(t, err)
	return embedded.Recipient{Name: c.Author, Key: k}
}

func TestNoFile(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := embedded.Open(c)
	fails(t, "read", read(s), fault.NotFound)
	_, err := s.Write(t.Context(), app, providers.Absent, providers.Patch{"K": secret.New("v")})
	fails(t, "write", err, fault.NotFound)
	if exists, err := s.Exists(); exists || err != nil {
		t.Errorf("Exists: %v, %v", exists, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(c.File)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	created(t, c)
	if exists, err := s.Exists(); !exists || err != nil {
		t.Errorf("Exists: %v, %v", exists, err)
	}
	_, err = embedded.Create(t.Context(), c)
	fails(t, "create again", err, fault.Conflict)
}

// C18: nothing but the bytes that were written opens, and never as something else.
func TestEveryBitAndEveryTruncation(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := created(t, c)
	set(t, s, providers.Absent, "K", "the value")
	good := slurp(t, c.File)
	open, err := embedded.Opener(c.Identity)
	must(t, err)
	must(t, open(good))
	spoilt := 0
	try := func(what string, at int, data []byte) {
		if err := open(data); !fault.Is(err, fault.Invalid, fault.WrongIdentity) {
			t.Fatalf("%s %d: %v", what, at, err)
		}
		spoilt++
	}
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			try("flipped in byte", i, bad)
		}
	}
	for n := range good {
		try("cut to", n, good[:n])
	}
	try("lengthened", 0, append(bytes.Clone(good), 0))
	try("doubled", 0, append(bytes.Clone(good), good...))
	if spoilt < 9*len(good) {
		t.Errorf("only %d of %d bytes tried", spoilt, len(good))
	}
	for n := 0; n < len(good); n += 97 { // the way through the file itself
		must(t, os.WriteFile(c.File, good[:n], 0o600))
		if err := read(embedded.Open(c)); !fault.Is(err, fault.Invalid, fault.WrongIdentity) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	must(t, os.WriteFile(c.File, good, 0o600))
	if got := get(t, embedded.Open(c), "K"); got != "the value" {
		t.Errorf("the good file reads %q", got)
	}
}

func TestWrongIdentity(t *testing.T) {
	t.Parallel()
	alice := desk(t, newFile(t), "alice")
	s := created(t, alice)
	set(t, s, providers.Absent, "K", "v")
	bob := desk(t, alice.File, "bob")
	err := read(embedded.Open(bob))
	fails(t, "read", err, fault.WrongIdentity)
	if own := recipientOf(t, bob).Key; !strings.Contains(fault.HintOf(err), own) {
		t.Errorf("the hint %q lacks the key to add", fault.HintOf(err))
	}
	must(t, s.AddRecipient(t.Context(), "bob", recipientOf(t, bob).Key))
	if got := get(t, embedded.Open(bob), "K"); got != "v" {
		t.Errorf("bob reads %q", got)
	}
}

func TestRolledBack(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := created(t, c)
	set(t, s, providers.Absent, "K", "old")
	old := slurp(t, c.File)
	set(t, s, 1, "K", "new")
	newest := slurp(t, c.File)
	must(t, os.WriteFile(c.File, old, 0o600))
	for range 2 {
		fails(t, "read", read(embedded.Open(c)), fault.RolledBack)
		_, err := embedded.Open(c).Write(t.Context(), app, providers.Any, providers.Patch{"K": secret.New("x")})
		fails(t, "write", err, fault.RolledBack)
	}
	if !bytes.Equal(slurp(t, c.File), old) {
		t.Error("a refused write changed the file")
	}
	report, err := embedded.Open(c).Verify(t.Context())
	fails(t, "verify", err, fault.RolledBack)
	if report.Revision.Number != 2 || report.Seen != 3 {
		t.Errorf("the report says revision %d, seen %d", report.Revision.Number, report.Seen)
	}
	must(t, os.WriteFile(c.File, newest, 0o600))
	must(t, read(embedded.Open(c)))

	must(t, os.WriteFile(c.File, old, 0o600))
	if _, err := embedded.Open(c).Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := get(t, embedded.Open(c), "K"); got != "old" {
		t.Errorf("after Accept: %q", got)
	}
	// The branch that was given up is now the one that is refused.
	must(t, os.WriteFile(c.File, newest, 0o600))
	set(t, desk2(c), providers.Any, "K", "newer") // someone goes on from it elsewhere
	set(t, desk2(c), providers.Any, "K", "newer still")
	must(t, read(embedded.Open(c))) // it descends from what was accepted
}

// desk2 is c without memory, as on another machine.
func desk2(c embedded.Config) *embedded.Store {
	c.PinDir = ""
	return embedded.Open(c)
}

// Two branches from one revision: whoever saw one is told when the other
// stands in its place, even where that one has grown longer.
func TestForks(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := created(t, c)
	set(t, s, providers.Absent, "K", "start")
	start := slurp(t, c.File)
	set(t, s, 1, "MINE", "acknowledged")
	must(t, os.WriteFile(c.File, start, 0o600))
	for i := range 3 {
		set(t, desk2(c), providers.Any, "K", "theirs")
		err := read(embedded.Open(c))
		fails(t, "read", err, fault.RolledBack)
		if i > 0 && !strings.Contains(err.Error(), "revision 3") {
			t.Errorf("the error does not name the lost revision: %v", err)
		}
	}
}

// Whoever knows only public keys can write an age file, and no store.
func TestForged(t *testing.T) {
	t.Parallel()
	alice := desk(t, newFile(t), "alice")
	set(t, created(t, alice), providers.Absent, "K", "v")
	mallory := desk(t, newFile(t), "mallory")
	to := recipientOf(t, alice)

	// A complete store, made by the tool itself, that alice can decrypt.
	fake := created(t, mallory, embedded.Recipient{Name: "alice", Key: to.Key})
	set(t, fake, providers.Absent, "K", "forged")
	good := slurp(t, alice.File)
	must(t, os.WriteFile(alice.File, slurp(t, mallory.File), 0o600))
	err := read(embedded.Open(alice))
	fails(t, "another store in its place", err, fault.Invalid)
	if err != nil && !strings.Contains(err.Error(), "another store") {
		t.Error(err)
	}
	_, err = embedded.Open(alice).Write(t.Context(), app, providers.Any, providers.Patch{"K": secret.New("for mallory's eyes")})
	fails(t, "write into it", err, fault.Invalid)

	// The same with the store's own id, which is no secret, and later revisions.
	forged, err := embedded.Forge(good, alice.Identity, recipientOf(t, mallory), to)
	must(t, err)
	must(t, os.WriteFile(alice.File, forged, 0o600))
	err = read(embedded.Open(alice))
	fails(t, "forged", err, fault.Invalid)
	if err != nil && !strings.Contains(err.Error(), "forged") {
		t.Error(err)
	}
	if _, err := embedded.Open(alice).Verify(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("verify: %v", err)
	}

	// Any plaintext at all.
	parsed, err := age.ParseX25519Recipient(to.Key)
	must(t, err)
	for _, plain := range []string{"", "{}", "envctl-store/1 00\n{}", "envctl-store/1 \n" + strings.Repeat("[", 100_000)} {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, parsed)
		must(t, err)
		_, err = w.Write([]byte(plain))
		must(t, errors.Join(err, w.Close()))
		must(t, os.WriteFile(alice.File, out.Bytes(), 0o600))
		fails(t, "plaintext of a stranger", read(embedded.Open(alice)), fault.Invalid)
	}
	must(t, os.WriteFile(alice.File, good, 0o600))
	must(t, read(embedded.Open(alice)))
}

func TestFirstUseIsSaid(t *testing.T) {
	t.Parallel()
	alice := desk(t, newFile(t), "alice")
	bob := desk(t, alice.File, "bob")
	s := created(t, alice, recipientOf(t, bob))
	set(t, s, providers.Absent, "K", "v")
	var mu sync.Mutex
	var heard []string
	bob.Notice = func(n string) { mu.Lock(); heard = append(heard, n); mu.Unlock() }
	must(t, read(embedded.Open(bob)))
	must(t, read(embedded.Open(bob)))
	if len(heard) != 1 || !strings.Contains(heard[0], "first use") || !strings.Contains(heard[0], "alice, bob") {
		t.Errorf("heard %q", heard)
	}
	heard = nil
	carol := desk(t, alice.File, "carol")
	must(t, s.AddRecipient(t.Context(), "carol", recipientOf(t, carol).Key))
	must(t, read(embedded.Open(bob)))
	must(t, read(embedded.Open(bob)))
	if len(heard) != 1 || !strings.Contains(heard[0], "carol can read it") {
		t.Errorf("heard %q", heard)
	}
	heard = nil
	must(t, s.RemoveRecipient(t.Context(), "carol"))
	must(t, read(embedded.Open(bob)))
	if len(heard) != 2 || !strings.Contains(heard[0], "re-keyed") {
		t.Errorf("heard %q", heard)
	}
	// Another copy of a store that is known is no first use, and no way around the pin.
	heard = nil
	copied := newFile(t)
	must(t, os.WriteFile(copied, slurp(t, alice.File), 0o600))
	bob.File = copied
	must(t, read(embedded.Open(bob)))
	if len(heard) != 0 {
		t.Errorf("heard %q", heard)
	}
}

func TestRemovedRecipient(t *testing.T) {
	t.Parallel()
	alice := desk(t, newFile(t), "alice")
	mallory := desk(t, alice.File, "mallory")
	bob := desk(t, alice.File, "bob")
	s := created(t, alice, recipientOf(t, mallory), recipientOf(t, bob))
	set(t, s, providers.Absent, "K", "before")
	must(t, read(embedded.Open(bob)))
	shared := slurp(t, alice.File)
	fingerprints, err := s.FingerprintKey(t.Context())
	must(t, err)
	print := fingerprints.Fingerprint(secret.New("x"))
	var heard []string
	alice.Notice = func(n string) { heard = append(heard, n) }
	must(t, embedded.Open(alice).RemoveRecipient(t.Context(), "mallory"))
	if len(heard) != 1 || !strings.Contains(heard[0], "rotate") {
		t.Errorf("heard %q", heard)
	}
	set(t, s, providers.Any, "K", "after")
	if k, err := s.FingerprintKey(t.Context()); err != nil || k.Fingerprint(secret.New("x")) == print {
		t.Errorf("the one removed still knows the fingerprint key: %v", err)
	}
	fails(t, "read by the one removed", read(embedded.Open(mallory)), fault.WrongIdentity)
	if got := get(t, embedded.Open(bob), "K"); got != "after" {
		t.Errorf("bob, who knew the old key, reads %q", got)
	}
	// With what she knows mallory can go on from the old revision, for longer.
	m := mallory
	m.File, m.PinDir = newFile(t), ""
	must(t, os.WriteFile(m.File, shared, 0o600))
	for range 5 {
		set(t, embedded.Open(m), providers.Any, "K", "mallory's")
	}
	must(t, os.WriteFile(alice.File, slurp(t, m.File), 0o600))
	fails(t, "alice", read(embedded.Open(alice)), fault.Invalid)
	fails(t, "bob", read(embedded.Open(bob)), fault.Invalid)
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	alice := desk(t, newFile(t), "alice")
	recovery, key, err := embedded.NewRecovery()
	must(t, err)
	s := created(t, alice, recovery)
	set(t, s, providers.Absent, "K", "v")
	ctx := t.Context()
	list, err := s.Recipients(ctx)
	must(t, err)
	if len(list) != 2 || list[0].Name != "alice" || list[1].Name != "recovery" {
		t.Errorf("recipients are %v", list)
	}
	// One lost laptop does not lose everything.
	lost := desk(t, alice.File, "alice-2")
	must(t, os.WriteFile(lost.Identity, []byte(key.Reveal()), 0o600))
	if got := get(t, embedded.Open(lost), "K"); got != "v" {
		t.Errorf("the recovery identity reads %q", got)
	}
	fails(t, "own key", s.RemoveRecipient(ctx, "alice"), fault.Refused)
	fails(t, "unknown", s.RemoveRecipient(ctx, "nobody"), fault.NotFound)
	fails(t, "same name", s.AddRecipient(ctx, "recovery", recipientOf(t, desk(t, "", "x")).Key), fault.Conflict)
	fails(t, "same key", s.AddRecipient(ctx, "again", recovery.Key), fault.Conflict)
	for _, bad := range []string{"", "age1", strings.ToUpper(recovery.Key), recovery.Key + " ", "ssh-ed25519 AAAA", key.Reveal()} {
		err := s.AddRecipient(ctx, "bad", bad)
		fails(t, "bad key", err, fault.Usage)
		if strings.Contains(err.Error(), key.Reveal()) {
			t.Error("the error tells a secret key")
		}
	}
	if err := s.AddRecipient(ctx, "new\nline", recipientOf(t, desk(t, "", "x")).Key); !fault.Is(err, fault.Usage) {
		t.Errorf("name with a newline: %v", err)
	}
}

func TestLinksAndOddFiles(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	set(t, created(t, c), providers.Absent, "K", "v")
	target := filepath.Join(t.TempDir(), "target.age")
	must(t, os.Rename(c.File, target))
	before := slurp(t, target)
	must(t, os.Symlink(target, c.File))
	fails(t, "read through a link", read(embedded.Open(c)), fault.Invalid)
	_, err := embedded.Open(c).Write(t.Context(), app, providers.Any, providers.Patch{"K": secret.New("x")})
	fails(t, "write through a link", err, fault.Invalid)
	_, err = embedded.Create(t.Context(), c)
	fails(t, "create over a link", err, fault.Conflict)
	if !bytes.Equal(slurp(t, target), before) {
		t.Error("the link's target was written")
	}
	must(t, os.Remove(c.File))
	must(t, os.Mkdir(c.File, 0o700))
	fails(t, "read of a folder", read(embedded.Open(c)), fault.Invalid)
	must(t, os.Remove(c.File))
	must(t, os.WriteFile(c.File, make([]byte, embedded.MaxFile+1), 0o600))
	if err := read(embedded.Open(c)); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file beyond the limit: %v", err)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := created(t, c)
	set(t, s, providers.Absent, "K", "v")
	entries, err := os.ReadDir(c.PinDir)
	must(t, err)
	stamps := map[string]time.Time{}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		stamps[e.Name()] = info.ModTime()
	}
	for range 3 {
		must(t, read(embedded.Open(c)))
	}
	for name, before := range stamps {
		info, err := os.Stat(filepath.Join(c.PinDir, name))
		must(t, err)
		if !info.ModTime().Equal(before) {
			t.Errorf("%s was written again though nothing changed", name)
		}
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		path := filepath.Join(c.PinDir, e.Name())
		good := slurp(t, path)
		for _, bad := range []string{"", "{", `{"unknown":1}`, `{}`} {
			must(t, os.WriteFile(path, []byte(bad), 0o600))
			fails(t, "a damaged "+e.Name(), read(embedded.Open(c)), fault.Invalid)
		}
		must(t, os.WriteFile(path, good, 0o600))
	}
	must(t, read(embedded.Open(c)))
	// A folder that cannot be written costs a word, not the work.
	var heard []string
	c.Notice = func(n string) { heard = append(heard, n) }
	report, err := s.Verify(t.Context())
	must(t, err)
	lock := filepath.Join(c.PinDir, "."+report.Store+".json.lock")
	must(t, os.Remove(lock))
	must(t, os.Mkdir(lock, 0o700))
	set(t, embedded.Open(c), providers.Any, "K", "w")
	if got := get(t, embedded.Open(c), "K"); got != "w" {
		t.Errorf("read %q", got)
	}
	if len(heard) == 0 {
		t.Error("nothing was said of pins that cannot be kept")
	}
}
