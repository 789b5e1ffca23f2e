package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"sort"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

func TestGenerators(t *testing.T) {
	t.Parallel()
	shapes := map[string]string{
		"ed25519":  `(?s)^-----BEGIN PRIVATE KEY-----\n.*\n-----END PRIVATE KEY-----\n$`,
		"fernet":   `^[A-Za-z0-9][A-Za-z0-9_-]{42}=$`,
		"hex":      `^[0-9a-f]{64}$`,
		"jwt":      `^[A-Za-z0-9][A-Za-z0-9_-]{85}$`,
		"password": `^[A-Za-z0-9][A-Za-z0-9_-]{31}$`,
		"rsa":      `(?s)^-----BEGIN PRIVATE KEY-----\n.*\n-----END PRIVATE KEY-----\n$`,
		"token":    `^[A-Za-z0-9][A-Za-z0-9_-]{42}$`,
		"uuid":     `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
	}
	all := Generators()
	if len(all) != len(shapes) || !sort.SliceIsSorted(all, func(i, j int) bool { return all[i].Name < all[j].Name }) {
		t.Errorf("%d generators, or not sorted", len(all))
	}
	for _, g := range all {
		t.Run(g.Name, func(t *testing.T) {
			t.Parallel()
			rounds, shape, seen := 300, regexp.MustCompile(shapes[g.Name]), map[string]bool{}
			if g.Name == "rsa" {
				rounds = 2 // a second each
			}
			for range rounds {
				v, err := g.New(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				if !shape.MatchString(v.Reveal()) || seen[v.Reveal()] {
					t.Fatalf("made %q", v.Reveal())
				}
				seen[v.Reveal()] = true
				if err := g.Check(v); err != nil {
					t.Fatalf("refuses its own: %v", err)
				}
			}
			if found, ok := FindGenerator(g.Name); !ok || found.Doc != g.Doc || g.Doc == "" {
				t.Error("not found by name")
			}
		})
	}
	if _, ok := FindGenerator("nonsense"); ok {
		t.Error("found what there is not")
	}
}

// A source that ends, fails or repeats itself is an error, never a weak value.
func TestBrokenRandomSource(t *testing.T) {
	t.Parallel()
	broken := errors.New("no entropy")
	for _, g := range Generators() {
		if g.Name == "rsa" {
			continue // the library reads the system's source
		}
		for name, r := range map[string]io.Reader{
			"short": bytes.NewReader([]byte("short")), "failing": io.MultiReader(strings.NewReader("x"), failing{broken}),
		} {
			if v, err := g.New(r); err == nil || v.IsSet() {
				t.Errorf("%s made a value from a %s source", g.Name, name)
			}
		}
	}
	for _, name := range []string{"fernet", "jwt", "password", "token"} {
		g, _ := FindGenerator(name)
		if v, err := g.New(ones{}); err == nil || v.IsSet() {
			t.Errorf("%s made a value from a source of ones", name)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0xff
	}
	return len(p), nil
}

// The same random bytes give the same value: a test elsewhere may rely on it.
func TestGeneratorsReadOnlyTheirSource(t *testing.T) {
	t.Parallel()
	for _, g := range Generators() {
		if g.Name == "rsa" {
			continue
		}
		seed := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuv"), 20)
		a, err1 := g.New(bytes.NewReader(seed))
		b, err2 := g.New(bytes.NewReader(seed))
		if err1 != nil || err2 != nil || !a.Equal(b) {
			t.Errorf("%s: %v %v", g.Name, err1, err2)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	make1 := func(name string) string {
		g, _ := FindGenerator(name)
		v, err := g.New(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return v.Reveal()
	}
	fernet, ed := make1("fernet"), make1("ed25519")
	for _, c := range []struct{ name, value string }{
		{"ed25519", ""},
		{"ed25519", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
		{"ed25519", ed + "trailing"},
		{"ed25519", make1("rsa")},
		{"fernet", ""},
		{"fernet", "b'" + fernet + "'"},
		{"fernet", `b"` + fernet + `"`},
		{"fernet", fernet + ","},
		{"fernet", fernet + "," + fernet},
		{"fernet", fernet[:43]},
		{"fernet", fernet + "="},
		{"fernet", fernet[:20] + "\n" + fernet[20:]},
		{"fernet", "AAAA"},
		{"hex", ""},
		{"hex", "abc"},
		{"hex", strings.Repeat("g", 64)},
		{"hex", strings.Repeat("a", 30)},
		{"jwt", ""},
		{"jwt", "secret"},
		{"password", "hunter2"},
		{"rsa", ed},
		{"token", "short"},
		{"uuid", ""},
		{"uuid", "0123456789abcdef0123456789abcdef"},
		{"uuid", "0123456-789a-bcde-f012-3456789abcdef"},
	} {
		g, _ := FindGenerator(c.name)
		err := g.Check(New(c.value))
		if !fault.Is(err, fault.Refused) || fault.HintOf(err) == "" {
			t.Errorf("%s takes %q: %v", c.name, c.value, err)
		}
		if err != nil && len(c.value) > 4 && strings.Contains(err.Error(), c.value) {
			t.Errorf("%s: the error repeats the value: %v", c.name, err)
		}
	}
	for _, d := range Defaults() {
		g, ok := FindGenerator(d.Type)
		if !ok {
			t.Fatalf("no generator %q", d.Type)
		}
		if err := g.Check(New(d.Value)); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), d.Where) {
			t.Errorf("%s of %s: %v", d.Type, d.Where, err)
		}
	}
	if !sort.SliceIsSorted(Defaults(), func(i, j int) bool {
		a, b := Defaults()[i], Defaults()[j]
		return a.Type+" "+a.Value < b.Type+" "+b.Value
	}) {
		t.Error("the table is not sorted")
	}
	// In another spelling it is the same key.
	other := strings.NewReplacer("-", "+", "_", "/").Replace("NeL_RED6zZ1XF3XT7Yd1hzFPYyebrg6UdkECTOLHEdI=")
	if where, ok := Published(New(other)); !ok {
		t.Errorf("a published key in standard base64 goes unseen: %s", where)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	var keys []Value
	for range 4 {
		k, err := newFernet(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	ring := Value{}
	for _, k := range keys[:3] {
		var err error
		if ring, err = PrependKey(ring, k); err != nil {
			t.Fatal(err)
		}
	}
	want := keys[2].Reveal() + "," + keys[1].Reveal() + "," + keys[0].Reveal()
	if ring.Reveal() != want {
		t.Fatalf("ring %q, want newest first", ring.Reveal())
	}
	if again, err := PrependKey(ring, keys[2]); err != nil || !again.Equal(ring) {
		t.Errorf("prepending the newest again: %v", err)
	}
	if _, err := PrependKey(ring, keys[0]); !fault.Is(err, fault.Refused) {
		t.Errorf("prepending an old one: %v", err)
	}
	if _, err := PrependKey(ring, ring); !fault.Is(err, fault.Refused) {
		t.Errorf("prepending a ring: %v", err)
	}
	if _, err := PrependKey(New("garbage"), keys[3]); !fault.Is(err, fault.Refused) {
		t.Errorf("prepending to garbage: %v", err)
	}
	if got, err := PrependKey(New(" "+keys[1].Reveal()+" , "+keys[0].Reveal()+"\n"), keys[2]); err != nil || got.Reveal() != want {
		t.Errorf("spaces: %v", err)
	}
	known := New(Defaults()[0].Value)
	if got, err := PrependKey(known, keys[2]); err != nil || got.Reveal() != keys[2].Reveal()+","+known.Reveal() {
		t.Errorf("away from a published key: %v", err)
	}
	if _, err := PrependKey(ring, known); !fault.Is(err, fault.Refused) {
		t.Errorf("to a published key: %v", err)
	}
	if err := CheckFernet(New(keys[2].Reveal() + "," + known.Reveal())); !fault.Is(err, fault.Refused) {
		t.Errorf("a ring with a published key: %v", err)
	}
	for keep, wantGone := range map[int]int{1: 2, 2: 1, 3: 0, 9: 0} {
		kept, gone, err := RetireKeys(ring, keep)
		left, _ := ParseRing(kept)
		if err != nil || gone != wantGone || len(left) != 3-gone || !left[0].Equal(keys[2]) {
			t.Errorf("keep %d: %d gone, %d left, %v", keep, gone, len(left), err)
		}
	}
	for _, keep := range []int{0, -1} {
		if _, _, err := RetireKeys(ring, keep); !fault.Is(err, fault.Refused) {
			t.Errorf("keep %d: %v", keep, err)
		}
	}
}

// What we call a Fernet key, Python's cryptography takes, and our rings are
// its MultiFernet's: what the old key encrypted, the new ring decrypts.
func TestFernetAgainstPython(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // Debian's, which has the distribution's cryptography
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import cryptography.fernet").CombinedOutput(); err != nil {
		realtest.Missing(t, fmt.Sprintf("python3-cryptography is not on this machine: %v: %s", err, out))
	}
	type question struct{ Old, Ring string }
	var asked []question
	for range 20 {
		old, err1 := newFernet(rand.Reader)
		key, err2 := newFernet(rand.Reader)
		ring, err3 := PrependKey(old, key)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		asked = append(asked, question{old.Reveal(), ring.Reveal()})
	}
	// Spellings on the edge: whatever we take, Python must take.
	k := asked[0].Old
	for _, s := range []string{
		k, "b'" + k + "'", k + "=", k[:43], k + "\n", " " + k, strings.NewReplacer("-", "+", "_", "/").Replace(k),
		k[:42] + "B=", k[:42] + "\n" + k[42:], "", k + k, strings.Repeat("A", 43) + "=", strings.Repeat("é", 22),
	} {
		if CheckFernet(New(s)) == nil {
			asked = append(asked, question{s, s})
		}
	}
	in, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import json, sys
from cryptography.fernet import Fernet, MultiFernet
for q in json.load(sys.stdin):
    token = Fernet(q["Old"]).encrypt(b"written before the rotation")
    ring = MultiFernet([Fernet(k.strip()) for k in q["Ring"].split(",")])
    assert ring.decrypt(token) == b"written before the rotation"
    assert Fernet(q["Ring"].split(",")[0]).decrypt(ring.rotate(token)) == b"written before the rotation"
print("took", len(q))`)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "took") {
		t.Errorf("python refuses one of ours: %v: %s", err, out)
	}
	if len(asked) < 23 {
		t.Errorf("only %d keys compared", len(asked))
	}
}

func FuzzRing(f *testing.F) {
	f.Add("b'x'", "")
	f.Add("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=,"+strings.Repeat("A", 43)+"=", strings.Repeat("B", 43)+"=")
	f.Fuzz(func(t *testing.T, ring, key string) {
		keys, err := ParseRing(New(ring))
		if (err == nil) == (len(keys) == 0) {
			t.Errorf("%d keys and %v", len(keys), err)
		}
		joined, err := PrependKey(New(ring), New(key))
		if _, perr := ParseRing(joined); err == nil && (perr != nil || CheckFernet(New(key)) != nil) {
			t.Errorf("%q is no ring, or begins with a published key", joined.Reveal())
		}
	})
}
