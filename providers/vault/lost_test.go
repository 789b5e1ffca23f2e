package vault

import (
	"fmt"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/providers"
)

// A write whose answer is lost is reported as what it was, and applied once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	noPatch := v.Token(`path "secret/data/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/*" { capabilities = ["read"] }`, "1h")
	carriedOut := []trouble{lose502, lose504, lose500, loseReset, loseStall, loseHalf, loseGarbage, loseEmpty}
	dropped := []trouble{drop502, dropReset, dropStall, late}
	n := 0
	for _, base := range []providers.Version{providers.Absent, providers.Any, 2} {
		for _, how := range append(carriedOut, dropped...) {
			for _, token := range []string{v.RootToken, noPatch} {
				if token == noPatch && base == providers.Absent {
					continue // creating never uses PATCH
				}
				n++
				p := app(fmt.Sprintf("lost-%d", n))
				name := fmt.Sprintf("%v/base %d", how, base)
				if token == noPatch {
					name += "/by PUT"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					direct := open(t, v.Addr, v.RootToken)
					before := providers.Version(0)
					if base != providers.Absent {
						mustWrite(t, direct, p, providers.Absent, patch("KEEP", "kept", "K", "old"))
						before = mustWrite(t, direct, p, 1, patch("K", "older"))
					}
					prox := newProxy(t, v.Addr)
					s := open(t, prox.URL, token, func(c *Config) { c.Timeout = 2 * time.Second })
					if base != providers.Absent {
						mustRead(t, s, p)
					}
					skip := 0
					if token == noPatch {
						skip = 1 // the PATCH that is refused
					}
					prox.failing(how, 1+skip, writes)
					if skip == 1 {
						prox.failing(how, 1, isPut)
					}
					start := time.Now()
					got, err := s.Write(t.Context(), p, base, patch("K", "new"))
					if took := time.Since(start); took > 3*time.Second {
						t.Errorf("took %v", took)
					}
					if how == late {
						time.Sleep(1800*time.Millisecond - min(1800*time.Millisecond, time.Since(start)))
					}
					b, readErr := direct.Read(t.Context(), p, providers.Latest)
					applied := readErr == nil && b.Values["K"].Reveal() == "new"
					unsafe := base == providers.Any && token != noPatch && how >= drop502
					switch {
					case unsafe && !fault.Is(err, fault.Unknown):
						t.Errorf("got %d, %v, want unknown: a PATCH may still arrive", got, err)
					case unsafe && how != late && (applied || b.Version != before):
						t.Errorf("a PATCH that was dropped was sent again: version %d", b.Version)
					case unsafe && b.Version > before+1:
						t.Errorf("applied twice: version %d", b.Version)
					case unsafe:
					case err != nil:
						t.Errorf("%v (applied: %v)", err, applied)
					case !applied || got != before+1 || b.Version != before+1:
						t.Errorf("reported version %d, the store has %d (applied: %v), want %d", got, b.Version, applied, before+1)
					}
					if base != providers.Absent && b.Values["KEEP"].Reveal() != "kept" {
						t.Error("a sibling is gone")
					}
				})
			}
		}
	}
}

// Others write around the one whose answer is lost.
func TestLostAnswersAmongOthers(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	direct := open(t, v.Addr, v.RootToken)
	for _, tc := range []struct {
		name   string
		base   providers.Version
		before providers.Patch // somebody else's, just before ours arrives
		after  providers.Patch // just after
		want   providers.Version
		kind   fault.Kind
	}{
		{name: "any, others around it", base: providers.Any, before: patch("A", "1"), after: patch("B", "1"), want: 4},
		{name: "any, then overwritten", base: providers.Any, after: patch("K", "theirs"), want: 3},
		{name: "base, then others", base: 2, after: patch("B", "1"), want: 3},
		{name: "base, then overwritten", base: 2, after: patch("K", "theirs"), want: 3},
		{name: "base, others came first", base: 2, before: patch("A", "1"), kind: fault.Conflict},
		{name: "base, others came first with the same key", base: 2, before: patch("K", "theirs"), kind: fault.Conflict},
		{name: "absent, others came first", base: providers.Absent, before: patch("A", "1"), kind: fault.Conflict},
		{name: "absent, then others", base: providers.Absent, after: patch("A", "1"), want: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := app("others-" + slug(tc.name))
			base := providers.Absent
			if tc.base != providers.Absent {
				mustWrite(t, direct, p, providers.Absent, patch("KEEP", "kept"))
				base = mustWrite(t, direct, p, 1, patch("K", "old"))
			}
			prox := newProxy(t, v.Addr)
			s := open(t, prox.URL, v.RootToken, func(c *Config) { c.Timeout = 2 * time.Second })
			if base != providers.Absent {
				mustRead(t, s, p)
			}
			prox.around(t, lose502,
				func() {
					if tc.before != nil {
						mustWrite(t, direct, p, base, tc.before)
					}
				},
				func() {
					if tc.after != nil {
						mustWrite(t, direct, p, providers.Any, tc.after)
					}
				})
			got, err := s.Write(t.Context(), p, tc.base, patch("K", "new"))
			switch {
			case tc.want != 0 && (err != nil || got != tc.want):
				t.Errorf("got %d, %v, want version %d", got, err, tc.want)
			case tc.want == 0 && !fault.Is(err, tc.kind):
				t.Errorf("got %d, %v, want %v", got, err, tc.kind)
			}
			history, err := direct.History(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			ours := 0
			for _, r := range history {
				b, err := direct.Read(t.Context(), p, r.Version)
				if err != nil {
					t.Fatal(err)
				}
				prev := ""
				if r.Version > 1 {
					old, err := direct.Read(t.Context(), p, r.Version-1)
					if err != nil {
						t.Fatal(err)
					}
					prev = old.Values["K"].Reveal()
				}
				if b.Values["K"].Reveal() == "new" && prev != "new" {
					ours++
				}
			}
			if want := min(int(tc.want), 1); ours != want {
				t.Errorf("applied %d times, want %d", ours, want)
			}
		})
	}
}

func TestLostLifecycle(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	for i, how := range []trouble{lose502, lose500, loseReset, loseStall, loseGarbage, drop502, dropReset, dropStall} {
		for _, verb := range []string{"delete", "undelete", "destroy", "purge", "meta", "max"} {
			t.Run(fmt.Sprintf("%v/%s", how, verb), func(t *testing.T) {
				t.Parallel()
				p := app(fmt.Sprintf("life-%d-%s", i, verb))
				direct := open(t, v.Addr, v.RootToken)
				mustWrite(t, direct, p, providers.Absent, patch("K", "1"))
				if verb == "undelete" {
					if err := direct.Delete(t.Context(), p); err != nil {
						t.Fatal(err)
					}
				}
				prox := newProxy(t, v.Addr)
				s := open(t, prox.URL, v.RootToken, func(c *Config) { c.Timeout = 2 * time.Second })
				prox.failing(how, 1, writes)
				var err error
				switch verb {
				case "delete":
					err = s.Delete(t.Context(), p)
				case "undelete":
					err = s.Undelete(t.Context(), p, 1)
				case "destroy":
					err = s.Destroy(t.Context(), p, 1)
				case "purge":
					err = s.Purge(t.Context(), p)
				case "meta":
					err = s.PatchMeta(t.Context(), p, map[string]string{"a": "1"})
				case "max":
					err = s.SetMaxVersions(t.Context(), p, 3)
				}
				_, readErr := direct.Read(t.Context(), p, providers.Latest)
				meta, metaErr := direct.Meta(t.Context(), p)
				done := map[string]bool{
					"delete": fault.Is(readErr, fault.Deleted), "undelete": readErr == nil, "destroy": fault.Is(readErr, fault.Destroyed),
					"purge": fault.Is(metaErr, fault.NotFound), "meta": meta.Custom["a"] == "1", "max": meta.MaxVersions == 3,
				}[verb]
				switch {
				case err == nil && !done:
					t.Error("reported as done, and is not")
				case err != nil && (how < drop502 || verb != "purge"):
					t.Errorf("%v (done: %v)", err, done)
				case err != nil && !fault.Is(err, fault.Unknown):
					t.Errorf("%v, want unknown", err)
				}
			})
		}
	}
}
