package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

// The key, input and signature of RFC 7515, appendix A.1.
func TestHS256Vector(t *testing.T) {
	t.Parallel()
	key, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	const input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	if got := encodeJWT(hs256(New(string(key)), input)); got != "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" {
		t.Error(got)
	}
}

func TestSignJWT(t *testing.T) {
	t.Parallel()
	token, err := SignJWT(New("a key"), map[string]any{"sub": "envctl", "exp": 1300819380})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 || encodeJWT(hs256(New("a key"), parts[0]+"."+parts[1])) != parts[2] || encodeJWT(hs256(New("another"), parts[0]+"."+parts[1])) == parts[2] {
		t.Fatal(parts)
	}
	for i, want := range []string{`{"alg":"HS256","typ":"JWT"}`, `{"exp":1300819380,"sub":"envctl"}`} {
		if got, err := base64.RawURLEncoding.DecodeString(parts[i]); err != nil || string(got) != want {
			t.Errorf("%s %v", got, err)
		}
	}
	if _, err := SignJWT(New("a key"), map[string]any{"f": func() {}}); !fault.Is(err, fault.Internal) {
		t.Error(err)
	}
}

func testRing(t *testing.T, n int) Value {
	t.Helper()
	ring := Value{}
	for range n {
		key, err := newFernet(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if ring, err = PrependKey(ring, key); err != nil {
			t.Fatal(err)
		}
	}
	return ring
}

// The example of the specification's own test vectors (generate.json, verify.json).
func TestFernetVector(t *testing.T) {
	t.Parallel()
	key, _ := decodeFernet(New("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")) // published, so no ring takes it
	const token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
	iv := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	got, err := sealFernet(key, []byte("hello"), time.Unix(499162800, 0), bytes.NewReader(iv))
	if err != nil || got.Reveal() != token {
		t.Errorf("%s %v", got.Reveal(), err)
	}
	if text, ok := openFernet(key, New(token)); !ok || string(text) != "hello" {
		t.Errorf("%q %t", text, ok)
	}
}

func TestFernetTokens(t *testing.T) {
	t.Parallel()
	ring := testRing(t, 3)
	keys, err := ParseRing(ring)
	if err != nil {
		t.Fatal(err)
	}
	for size := range 50 {
		text := bytes.Repeat([]byte{'x'}, size)
		token, err := EncryptFernet(ring, text, time.Unix(1, 0), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, at, ok := DecryptFernet(ring, token); !ok || at != 0 || !bytes.Equal(got, text) {
			t.Fatalf("%d: %q %d %t", size, got, at, ok)
		}
		old, err := EncryptFernet(keys[2], text, time.Unix(1, 0), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if got, at, ok := DecryptFernet(ring, old); !ok || at != 2 || !bytes.Equal(got, text) {
			t.Fatalf("%d: %q %d %t", size, got, at, ok)
		}
		if _, _, ok := DecryptFernet(keys[1], old); ok {
			t.Fatal("another key decrypts it")
		}
	}
	token, err := EncryptFernet(ring, []byte("canary"), time.Unix(1, 0), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.URLEncoding.DecodeString(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, _, ok := DecryptFernet(ring, New(base64.URLEncoding.EncodeToString(bad))); ok {
			t.Errorf("byte %d changed, and it is taken", i)
		}
		if _, _, ok := DecryptFernet(ring, New(base64.URLEncoding.EncodeToString(raw[:i]))); ok {
			t.Errorf("%d bytes are taken", i)
		}
	}
	for _, bad := range []Value{{}, New("x"), New("b'x'")} {
		if _, err := EncryptFernet(bad, nil, time.Unix(1, 0), rand.Reader); !fault.Is(err, fault.Refused) {
			t.Error(err)
		}
		if _, _, ok := DecryptFernet(bad, token); ok {
			t.Error("no key decrypts it")
		}
	}
	if _, err := EncryptFernet(ring, nil, time.Unix(1, 0), strings.NewReader("short")); err == nil {
		t.Error("a random source that ends is taken")
	}
}

// Python's cryptography reads ours, and we read Python's.
func TestFernetTokensAgainstPython(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import cryptography.fernet").CombinedOutput(); err != nil {
		realtest.Missing(t, fmt.Sprintf("python3-cryptography is not on this machine: %v: %s", err, out))
	}
	ring := testRing(t, 3)
	keys, err := ParseRing(ring)
	if err != nil {
		t.Fatal(err)
	}
	type in struct {
		Ring, Old []string
		Tokens    map[string]string // text → token of ours
	}
	ask := in{Tokens: map[string]string{}}
	for _, k := range keys {
		ask.Ring = append(ask.Ring, k.Reveal())
	}
	ask.Old = ask.Ring[2:]
	for size := range 40 {
		text := strings.Repeat("ü", size)
		token, err := EncryptFernet(ring, []byte(text), time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ask.Tokens[text] = token.Reveal()
	}
	stdin, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import json, sys
from cryptography.fernet import Fernet, MultiFernet
ask = json.load(sys.stdin)
ring, old = (MultiFernet([Fernet(k) for k in ask[n]]) for n in ("Ring", "Old"))
for text, token in ask["Tokens"].items():
    assert ring.decrypt(token.encode(), ttl=600).decode() == text
json.dump({t: [r.encrypt(t.encode()).decode() for r in (ring, old)] for t in ask["Tokens"]}, sys.stdout)
`)
	cmd.Stdin = bytes.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.Bytes())
	}
	var back map[string][]string
	if err := json.Unmarshal(out, &back); err != nil || len(back) != 40 {
		t.Fatal(len(back), err)
	}
	for text, tokens := range back {
		for i, token := range tokens {
			if got, at, ok := DecryptFernet(ring, New(token)); !ok || at != 2*i || string(got) != text {
				t.Errorf("%q %d %t", got, at, ok)
			}
		}
	}
}

func TestAppendKey(t *testing.T) {
	t.Parallel()
	ring, more := testRing(t, 2), testRing(t, 1)
	got, err := AppendKey(ring, more)
	if err != nil || got.Reveal() != ring.Reveal()+","+more.Reveal() {
		t.Error(err)
	}
	if again, err := AppendKey(got, more); err != nil || !again.Equal(got) {
		t.Error(err)
	}
	for _, pair := range [][2]Value{{New("x"), more}, {ring, New("x")}} {
		if _, err := AppendKey(pair[0], pair[1]); !fault.Is(err, fault.Refused) {
			t.Error(err)
		}
	}
}
