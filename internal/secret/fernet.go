package secret

import (
	"encoding/base64"
	"strings"

	"envctl/internal/fault"
)

const fernetBytes = 32

// CheckFernet returns an error of kind Refused unless v is one Fernet key, or a
// ring of them, that Python's cryptography takes and that nobody published.
func CheckFernet(v Value) error {
	keys, err := ParseRing(v)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if where, ok := Published(key); ok {
			return refusePublished("fernet", where)
		}
	}
	return nil
}

// ParseRing returns the keys of a Fernet ring `new,old,…`, newest first; a
// single key is a ring of one. Errors are of kind Refused: not a key, a key
// twice. A published key is one that data may be encrypted with: CheckFernet
// refuses it where it would be a new one.
func ParseRing(v Value) ([]Value, error) {
	var keys []Value
	for i, part := range strings.Split(v.Reveal(), ",") {
		key := New(strings.TrimSpace(part))
		raw, ok := decodeFernet(key)
		switch {
		case strings.HasPrefix(key.Reveal(), "b'") || strings.HasPrefix(key.Reveal(), `b"`):
			return nil, refuse("fernet", "set it again with only what stands between the quotes", "key %d is Python's way of writing bytes, b'…'", i+1)
		case !ok:
			return nil, refuse("fernet", "envctl generate fernet", "key %d of %d bytes is not 32 bytes in URL-safe base64 (44 characters)", i+1, key.Len())
		}
		for _, other := range keys {
			if same, _ := decodeFernet(other); same.Equal(raw) {
				return nil, refuse("fernet", "set the ring again with each key once", "key %d stands in the ring twice", i+1)
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// PrependKey returns ring with key as its newest; no old key is dropped, since
// values may still be encrypted with it. Prepending the newest key again
// changes nothing; an unset or empty ring becomes a ring of one.
func PrependKey(ring, key Value) (Value, error) {
	if err := CheckFernet(key); err != nil {
		return Value{}, err
	}
	if keys, _ := ParseRing(key); len(keys) != 1 {
		return Value{}, refuse("fernet", "envctl generate fernet", "want one new key, not a ring")
	}
	if ring.Len() == 0 {
		return key, nil
	}
	old, err := ParseRing(ring)
	if err != nil {
		return Value{}, err
	}
	if old[0].Equal(key) {
		return ring, nil
	}
	keys := append([]Value{key}, old...)
	joined := joinRing(keys)
	if _, err := ParseRing(joined); err != nil {
		return Value{}, err
	}
	return joined, nil
}

// AppendKey returns ring with key as its oldest: it still decrypts and encrypts
// nothing. A key that the ring has changes nothing.
func AppendKey(ring, key Value) (Value, error) {
	keys, err := ParseRing(ring)
	if err != nil {
		return Value{}, err
	}
	if _, err := ParseRing(key); err != nil {
		return Value{}, err
	}
	for _, k := range keys {
		if k.Equal(key) {
			return ring, nil
		}
	}
	joined := joinRing(append(keys, key))
	_, err = ParseRing(joined)
	return joined, err
}

// RetireKeys returns ring with only its keep newest keys, and how many went.
// Call it only after everything was encrypted again with the newest.
func RetireKeys(ring Value, keep int) (Value, int, error) {
	keys, err := ParseRing(ring)
	if err != nil {
		return Value{}, 0, err
	}
	if keep < 1 {
		return Value{}, 0, fault.New(fault.Refused, "retire fernet keys", "at least one key has to stay", "set keep to 1 or more")
	}
	if keep >= len(keys) {
		return ring, 0, nil
	}
	return joinRing(keys[:keep]), len(keys) - keep, nil
}

func joinRing(keys []Value) Value {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = k.Reveal()
	}
	return New(strings.Join(parts, ","))
}

// decodeFernet returns the bytes of a key. As Python does, it takes both
// alphabets of base64 and whatever the two spare bits of the last digit say, so
// that two spellings of one key are seen to be one.
func decodeFernet(v Value) (Value, bool) {
	if v.Len() != base64.StdEncoding.EncodedLen(fernetBytes) {
		return Value{}, false
	}
	s := strings.NewReplacer("-", "+", "_", "/").Replace(v.Reveal())
	if strings.ContainsAny(s, "\r\n") { // which the decoder would skip
		return Value{}, false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != fernetBytes {
		return Value{}, false
	}
	return New(string(b)), true
}
