package embedded_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/embedded"
)

// branches is one store in two places, grown from one base, each with its
// own operator.
type branches struct {
	*testing.T
	ours, theirs *embedded.Store
	base         []byte
}

func branch(t *testing.T, prepare func(*embedded.Store)) branches {
	t.Helper()
	alice := desk(t, newFile(t), "alice")
	bob := desk(t, newFile(t), "bob")
	ours := created(t, alice, recipientOf(t, bob))
	prepare(ours)
	base := slurp(t, alice.File)
	must(t, os.WriteFile(bob.File, base, 0o600))
	theirs := embedded.Open(bob)
	if _, err := theirs.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return branches{t, ours, theirs, base}
}

func (b branches) file(s *embedded.Store) []byte { return slurp(b, s.Config().File) }

// merge merges theirs into ours and puts the result in both places; both
// operators must take it without a word of roll-back.
func (b branches) merge(prefer embedded.Side) error {
	b.Helper()
	merged, err := b.ours.Merge(b.Context(), b.base, b.file(b.ours), b.file(b.theirs), prefer)
	if err != nil {
		return err
	}
	for _, s := range []*embedded.Store{b.ours, b.theirs} {
		must(b, os.WriteFile(s.Config().File, merged, 0o600))
		if _, err := embedded.Open(s.Config()).Verify(b.Context()); err != nil {
			b.Errorf("%s does not take the merged file: %v", s.Config().Author, err)
		}
	}
	return nil
}

func (b branches) write(s *embedded.Store, p naming.Path, base providers.Version, kv ...string) {
	b.Helper()
	patch := providers.Patch{}
	for i := 0; i < len(kv); i += 2 {
		patch[kv[i]] = secret.New(kv[i+1])
		if kv[i+1] == "-" {
			patch[kv[i]] = secret.Value{}
		}
	}
	if _, err := s.Write(b.Context(), p, base, patch); err != nil {
		b.Fatal(err)
	}
}

func (b branches) holds(p naming.Path, v providers.Version, kv ...string) {
	b.Helper()
	bundle, err := b.ours.Read(b.Context(), p, v)
	if err != nil {
		b.Errorf("read %s version %d: %v", p, v, err)
		return
	}
	want := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		want[kv[i]] = kv[i+1]
	}
	got := map[string]string{}
	for k, v := range bundle.Values {
		got[k] = v.Reveal()
	}
	if !maps.Equal(got, want) {
		b.Errorf("%s version %d holds %v, want %v", p, bundle.Version, got, want)
	}
}

// versions renders app's history, "3d" for a deleted version 3, "3x" for a destroyed one.
func (b branches) versions(want string) {
	b.Helper()
	h, err := b.ours.History(b.Context(), app)
	must(b, err)
	var got []string
	for _, r := range h {
		s := fmt.Sprint(r.Version)
		if r.Deleted {
			s += "d"
		}
		if r.Destroyed {
			s += "x"
		}
		got = append(got, s)
	}
	if strings.Join(got, " ") != want {
		b.Errorf("versions %v, want %s", got, want)
	}
}

func prepared(t *testing.T) func(*embedded.Store) {
	return func(s *embedded.Store) {
		if _, err := s.Write(t.Context(), app, providers.Absent, providers.Patch{"A": secret.New("a"), "B": secret.New("b"), "C": secret.New("c")}); err != nil {
			t.Fatal(err)
		}
	}
}

var other = naming.Path{Project: "ledger", Environment: "staging", Component: "postgres"}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		do       func(b branches)
		conflict string // what the error names, "" for none
		prefer   embedded.Side
		check    func(b branches)
	}{
		{name: "different keys", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours")
			b.write(b.theirs, app, 1, "B", "theirs")
			b.write(b.theirs, app, 2, "D", "new")
		}, check: func(b branches) {
			b.holds(app, 0, "A", "ours", "B", "theirs", "C", "c", "D", "new")
			b.versions("1 2 3 4 5")
			b.holds(app, 2, "A", "ours", "B", "b", "C", "c")               // ours keeps its number
			b.holds(app, 4, "A", "a", "B", "theirs", "C", "c", "D", "new") // theirs is not lost
		}},
		{name: "different paths", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours")
			b.write(b.theirs, other, providers.Absent, "P", "p")
		}, check: func(b branches) {
			b.holds(app, 0, "A", "ours", "B", "b", "C", "c")
			b.holds(other, 0, "P", "p")
			b.versions("1 2")
		}},
		{name: "one side only", do: func(b branches) {
			for i := range 14 {
				b.write(b.theirs, app, providers.Any, "A", fmt.Sprint(i))
			}
			b.write(b.ours, other, providers.Absent, "P", "p")
		}, check: func(b branches) {
			b.holds(app, 0, "A", "13", "B", "b", "C", "c")
			b.versions("6 7 8 9 10 11 12 13 14 15")
		}},
		{name: "pruned on both", do: func(b branches) {
			for i := range 12 {
				b.write(b.ours, app, providers.Any, "A", fmt.Sprint(i))
				b.write(b.theirs, app, providers.Any, "B", fmt.Sprint(i))
			}
		}, check: func(b branches) {
			b.holds(app, 0, "A", "11", "B", "11", "C", "c")
			b.versions("17 18 19 20 21 22 23 24 25 26")
		}},
		{name: "the same change", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "new", "B", "-")
			b.write(b.theirs, app, 1, "A", "new", "B", "-")
		}, check: func(b branches) {
			b.holds(app, 0, "A", "new", "C", "c")
			b.versions("1 2 3")
		}},
		{name: "conflict of a key", conflict: "ledger/staging/app#A", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours", "B", "ours")
			b.write(b.theirs, app, 1, "A", "theirs", "C", "theirs")
		}},
		{name: "removed and changed", conflict: "ledger/staging/app#A", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "-")
			b.write(b.theirs, app, 1, "A", "theirs")
		}},
		{name: "prefer ours", prefer: embedded.Ours, do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours", "B", "ours")
			b.write(b.theirs, app, 1, "A", "theirs", "C", "theirs")
		}, check: func(b branches) { b.holds(app, 0, "A", "ours", "B", "ours", "C", "theirs") }},
		{name: "prefer theirs", prefer: embedded.Theirs, do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours", "B", "ours")
			b.write(b.theirs, app, 1, "A", "-", "C", "theirs")
		}, check: func(b branches) { b.holds(app, 0, "B", "ours", "C", "theirs") }},
		{name: "created on both", conflict: "ledger/staging/postgres#P", do: func(b branches) {
			b.write(b.ours, other, providers.Absent, "P", "ours", "Q", "q")
			b.write(b.theirs, other, providers.Absent, "P", "theirs")
		}},
		{name: "created on both with other keys", do: func(b branches) {
			b.write(b.ours, other, providers.Absent, "P", "ours", "Q", "q")
			b.write(b.theirs, other, providers.Absent, "R", "theirs", "Q", "q")
		}, check: func(b branches) { b.holds(other, 0, "P", "ours", "Q", "q", "R", "theirs") }},
		{name: "deleted and unchanged", do: func(b branches) {
			must(b, b.theirs.Delete(b.Context(), app))
			b.write(b.ours, other, providers.Absent, "P", "p")
		}, check: func(b branches) { b.versions("1d") }},
		{name: "deleted and changed", conflict: "ledger/staging/app", do: func(b branches) {
			must(b, b.ours.Delete(b.Context(), app))
			b.write(b.theirs, app, 1, "A", "theirs")
		}},
		{name: "deleted and changed, prefer ours", prefer: embedded.Ours, do: func(b branches) {
			must(b, b.ours.Delete(b.Context(), app))
			b.write(b.theirs, app, 1, "A", "theirs")
		}, check: func(b branches) { b.versions("1d 2d") }},
		{name: "deleted and changed, prefer theirs", prefer: embedded.Theirs, do: func(b branches) {
			must(b, b.ours.Delete(b.Context(), app))
			b.write(b.theirs, app, 1, "A", "theirs")
		}, check: func(b branches) {
			b.versions("1d 2")
			b.holds(app, 0, "A", "theirs", "B", "b", "C", "c")
		}},
		{name: "destroyed on one side stays so", do: func(b branches) {
			b.write(b.ours, app, 1, "A", "ours")
			b.write(b.theirs, app, 1, "B", "theirs")
			must(b, b.theirs.Destroy(b.Context(), app, 1))
		}, check: func(b branches) {
			b.versions("1x 2 3 4")
			b.holds(app, 0, "A", "ours", "B", "theirs", "C", "c")
		}},
		{name: "purged and unchanged", do: func(b branches) {
			must(b, b.theirs.Purge(b.Context(), app))
			b.write(b.ours, other, providers.Absent, "P", "p")
		}, check: func(b branches) {
			fails(b, "read", read(b.ours), fault.NotFound)
			b.holds(other, 0, "P", "p")
		}},
		{name: "purged and changed", conflict: "ledger/staging/app", do: func(b branches) {
			must(b, b.theirs.Purge(b.Context(), app))
			b.write(b.ours, app, 1, "A", "ours")
		}},
		{name: "purged and made again", conflict: "ledger/staging/app#A", do: func(b branches) {
			must(b, b.theirs.Purge(b.Context(), app))
			b.write(b.theirs, app, 0, "A", "anew")
			b.write(b.ours, app, 1, "A", "ours")
		}},
		{name: "metadata", do: func(b branches) {
			must(b, b.ours.PatchMeta(b.Context(), app, map[string]string{"owner": "ops"}))
			must(b, b.theirs.PatchMeta(b.Context(), app, map[string]string{"rotate_every": "90d"}))
			must(b, b.theirs.SetMaxVersions(b.Context(), app, 4))
		}, check: func(b branches) {
			m, err := b.ours.Meta(b.Context(), app)
			must(b, err)
			if m.MaxVersions != 4 || !maps.Equal(m.Custom, map[string]string{"owner": "ops", "rotate_every": "90d"}) {
				b.Errorf("metadata is %+v", m)
			}
			b.versions("1")
		}},
		{name: "conflict of metadata", conflict: "ledger/staging/app metadata owner", do: func(b branches) {
			must(b, b.ours.PatchMeta(b.Context(), app, map[string]string{"owner": "ops"}))
			must(b, b.theirs.PatchMeta(b.Context(), app, map[string]string{"owner": "dev"}))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := branch(t, prepared(t))
			tc.do(b)
			before := b.file(b.ours)
			err := b.merge(tc.prefer)
			if tc.conflict != "" {
				fails(t, "merge", err, fault.Conflict)
				if err != nil && !strings.Contains(err.Error(), tc.conflict) {
					t.Errorf("the error does not name %s: %v", tc.conflict, err)
				}
				if err != nil && (strings.Contains(err.Error(), "theirs") || strings.Contains(err.Error(), "anew")) {
					t.Errorf("the error holds a value: %v", err)
				}
				if !bytes.Equal(b.file(b.ours), before) {
					t.Error("a refused merge changed our file")
				}
				return
			}
			must(t, err)
			tc.check(b)
			// And on from there.
			b.write(b.theirs, naming.Path{Project: "ledger", Environment: "qa", Component: "app"}, providers.Absent, "Z", "z")
		})
	}
}

func TestMergeRecipients(t *testing.T) {
	t.Parallel()
	b := branch(t, prepared(t))
	carol, dave := desk(t, newFile(t), "carol"), desk(t, newFile(t), "dave")
	must(t, b.ours.AddRecipient(t.Context(), "carol", recipientOf(t, carol).Key))
	must(t, b.theirs.AddRecipient(t.Context(), "dave", recipientOf(t, dave).Key))
	must(t, b.merge(embedded.Neither))
	for _, c := range []embedded.Config{carol, dave} {
		c.File = b.ours.Config().File
		must(t, read(embedded.Open(c)))
	}
	// One side removes one, and so re-keys: the other's changes come along, the
	// one removed does not come back.
	b.base = b.file(b.ours)
	must(t, b.ours.RemoveRecipient(t.Context(), "carol"))
	b.write(b.theirs, app, 1, "A", "theirs")
	var heard []string
	c := b.ours.Config()
	c.Notice = func(n string) { heard = append(heard, n) }
	b.ours = embedded.Open(c)
	must(t, b.merge(embedded.Neither))
	if len(heard) == 0 || !strings.Contains(heard[0], "before a re-keying") {
		t.Errorf("heard %q", heard)
	}
	b.holds(app, 0, "A", "theirs", "B", "b", "C", "c")
	carol.File = b.ours.Config().File
	fails(t, "read by carol", read(embedded.Open(carol)), fault.WrongIdentity)
	// The other way round.
	b.base = b.file(b.ours)
	b.write(b.ours, app, 2, "A", "ours")
	must(t, b.theirs.RemoveRecipient(t.Context(), "dave"))
	must(t, b.merge(embedded.Neither))
	b.holds(app, 0, "A", "ours", "B", "b", "C", "c")
	dave.File = b.ours.Config().File
	fails(t, "read by dave", read(embedded.Open(dave)), fault.WrongIdentity)
	// Both re-key.
	b.base = b.file(b.ours)
	must(t, b.ours.Rekey(t.Context()))
	must(t, b.theirs.Rekey(t.Context()))
	fails(t, "merge of two re-keyed sides", b.merge(embedded.Ours), fault.Conflict)
}

func TestMergeRefusesForgeries(t *testing.T) {
	t.Parallel()
	b := branch(t, prepared(t))
	early := b.base
	b.write(b.ours, app, 1, "A", "newer")
	now := b.file(b.ours)
	ctx := t.Context()

	foreign := desk(t, newFile(t), "mallory")
	to := recipientOf(t, b.ours.Config())
	created(t, foreign, to)
	_, err := b.ours.Merge(ctx, b.base, now, slurp(t, foreign.File), embedded.Neither)
	fails(t, "another store", err, fault.Invalid)

	forged, err := embedded.Forge(now, b.ours.Config().Identity, recipientOf(t, foreign), to)
	must(t, err)
	for _, sides := range [][3][]byte{{b.base, now, forged}, {b.base, forged, now}, {nil, now, forged}, {forged, now, early}} {
		_, err := b.ours.Merge(ctx, sides[0], sides[1], sides[2], embedded.Neither)
		fails(t, "a forged side", err, fault.Invalid)
		_, err = desk2(b.ours.Config()).Merge(ctx, sides[0], sides[1], sides[2], embedded.Neither)
		fails(t, "a forged side, nothing remembered", err, fault.Invalid)
	}
	// What stands on our side already, offered as base, would make an old copy
	// look like a newer change.
	_, err = b.ours.Merge(ctx, now, now, early, embedded.Neither)
	fails(t, "a base that is no ancestor", err, fault.Invalid)
	_, err = b.ours.Merge(ctx, b.base, now, []byte("<<<<<<< ours"), embedded.Neither)
	fails(t, "no store", err, fault.Invalid)
}
