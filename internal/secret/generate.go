package secret

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"envctl/internal/fault"
)

// Generator makes values of one type and tells whether a given value is one.
// New reads all its randomness from rand, which outside tests is
// crypto/rand.Reader; what it makes passes Check, and but for fernet's `=` and
// PEM is of [A-Za-z0-9_-] beginning with a letter or a digit, which every
// reader and every URL takes as it is. Check returns nil or an error of kind
// Refused that never repeats the value.
type Generator struct {
	Name, Doc string
	New       func(rand io.Reader) (Value, error)
	Check     func(Value) error
}

// Generators returns all generators, sorted by name.
func Generators() []Generator {
	return []Generator{
		{"ed25519", "Ed25519 private key, PKCS #8 PEM", newEd25519, checkPEM("ed25519")},
		{"fernet", "Fernet key: 32 random bytes in URL-safe base64, 44 characters", newFernet, CheckFernet},
		{"hex", "32 random bytes in hexadecimal, 64 characters", newHex, checkHex},
		{"jwt", "signing key for HS256 to HS512: 64 random bytes, 86 characters", newText(64, anyText), checkText("jwt", 32)},
		{"password", "password with small and capital letters and digits, 32 characters", newText(24, threeKinds), checkText("password", 12)},
		{"rsa", "RSA private key of 3072 bits, PKCS #8 PEM", newRSA, checkPEM("rsa")},
		{"token", "32 random bytes in URL-safe base64, 43 characters", newText(32, anyText), checkText("token", 20)},
		{"uuid", "random UUID (version 4)", newUUID, checkUUID},
	}
}

// FindGenerator returns the generator of that name.
func FindGenerator(name string) (Generator, bool) {
	for _, g := range Generators() {
		if g.Name == name {
			return g, true
		}
	}
	return Generator{}, false
}

// redraws bounds the draws for a value that begins with a letter or a digit: by
// chance all of them fail once in 10^150 runs, so then the source is broken.
const redraws = 100

var errBrokenSource = errors.New("the random source repeats itself")

// draw returns the first of several encodings of n random bytes that ok takes.
// Whole values are drawn again, since replacing characters would favour some.
func draw(rand io.Reader, n int, encode func([]byte) string, ok func(string) bool) (Value, error) {
	b := make([]byte, n)
	for range redraws {
		if _, err := io.ReadFull(rand, b); err != nil {
			return Value{}, fmt.Errorf("read random bytes: %w", err)
		}
		if s := encode(b); ok(s) {
			return New(s), nil
		}
	}
	return Value{}, errBrokenSource
}

func newText(n int, ok func(string) bool) func(io.Reader) (Value, error) {
	return func(rand io.Reader) (Value, error) {
		return draw(rand, n, base64.RawURLEncoding.EncodeToString, ok)
	}
}

func newHex(rand io.Reader) (Value, error) { return draw(rand, 32, hex.EncodeToString, anyText) }

func newFernet(rand io.Reader) (Value, error) {
	return draw(rand, fernetBytes, base64.URLEncoding.EncodeToString, anyText)
}

func newUUID(rand io.Reader) (Value, error) {
	return draw(rand, 16, func(b []byte) string {
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4, variant 10
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}, anyText)
}

func newEd25519(rand io.Reader) (Value, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return Value{}, fmt.Errorf("read random bytes: %w", err)
	}
	return newPEM(ed25519.NewKeyFromSeed(seed))
}

// newRSA hands rand to the library, which since Go 1.26 reads the system's
// source whatever it is given.
func newRSA(rand io.Reader) (Value, error) {
	key, err := rsa.GenerateKey(rand, 3072)
	if err != nil {
		return Value{}, err
	}
	return newPEM(key)
}

func newPEM(key any) (Value, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Value{}, err
	}
	return New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), nil
}

// anyText tells whether s begins with a letter or a digit: no reader takes it
// for an option, a comment or a number's sign.
func anyText(s string) bool {
	return s != "" && s[0] != '-' && s[0] != '_'
}

// threeKinds also asks for what the password rules of databases and consoles do.
func threeKinds(s string) bool {
	return anyText(s) && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") &&
		strings.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(s, "0123456789")
}

func refuse(name, hint, format string, args ...any) error {
	return fault.Newf(fault.Refused, "check "+name, hint, format, args...)
}

func checkText(name string, shortest int) func(Value) error {
	return func(v Value) error {
		if where, ok := Published(v); ok {
			return refusePublished(name, where)
		}
		if v.Len() < shortest {
			return refuse(name, "envctl generate "+name, "%d bytes, want at least %d", v.Len(), shortest)
		}
		return nil
	}
}

func checkHex(v Value) error {
	if where, ok := Published(v); ok {
		return refusePublished("hex", where)
	}
	if b, err := hex.DecodeString(v.Reveal()); err != nil || len(b) < 16 {
		return refuse("hex", "envctl generate hex", "want hexadecimal digits, at least 32 and an even number")
	}
	return nil
}

func checkUUID(v Value) error {
	s := v.Reveal()
	digits, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(digits) != 16 || len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return refuse("uuid", "envctl generate uuid", "want 8-4-4-4-12 hexadecimal digits")
	}
	return nil
}

func checkPEM(name string) func(Value) error {
	return func(v Value) error {
		block, rest := pem.Decode([]byte(v.Reveal()))
		if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
			return refuse(name, "envctl generate "+name, "want one PEM block")
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil && block.Type == "RSA PRIVATE KEY" {
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		}
		if err != nil {
			return refuse(name, "envctl generate "+name, "not an unencrypted private key in PKCS #8")
		}
		switch key := key.(type) {
		case ed25519.PrivateKey:
			if name == "ed25519" {
				return nil
			}
		case *rsa.PrivateKey:
			if name == "rsa" && key.N.BitLen() < 2048 {
				return refuse(name, "envctl generate rsa", "%d bits, want at least 2048", key.N.BitLen())
			}
			if name == "rsa" {
				return nil
			}
		}
		return refuse(name, "envctl generate "+name, "a private key of another type")
	}
}

func refusePublished(name, where string) error {
	return refuse(name, "envctl generate "+name, "published: everyone can read it in %s", where)
}
