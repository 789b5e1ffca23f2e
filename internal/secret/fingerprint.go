package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Key makes fingerprints. It lives inside the embedded store, or per operator
// for Vault; fingerprints of different keys say nothing about each other.
type Key struct {
	// A pointer to a string for the reason that Value has one; fmt, asked for a
	// verb that does not fit, would follow a pointer to a slice.
	k *string
}

// NewKey returns a fingerprint key over at least 16 random bytes.
func NewKey(random []byte) Key {
	s := string(random)
	return Key{k: &s}
}

// Fingerprint returns 12 hexadecimal digits of HMAC-SHA256 over the value
// (FIPS 198-1), "" when the value is unset. Equal values give equal
// fingerprints under one key; without the key a fingerprint reveals nothing.
func (k Key) Fingerprint(v Value) string {
	if !v.IsSet() || k.k == nil {
		return ""
	}
	m := hmac.New(sha256.New, []byte(*k.k))
	m.Write([]byte(v.Reveal()))
	return hex.EncodeToString(m.Sum(nil)[:6])
}
