// Package secret holds values: the one type that carries them, what makes
// them, and what tells two apart without showing either.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Value is a secret. Every way of printing it is closed; Reveal is the only
// way out. The zero Value is unset, which is not the same as empty.
type Value struct {
	// A pointer, because fmt prints the unexported fields of an outer struct
	// without asking their methods: it then prints an address.
	s *string
}

// New returns the value s, which may be empty.
func New(s string) Value { return Value{s: &s} }

// Reveal returns the value in clear, "" when unset. The linter limits who may
// call it: providers, the renderer and the one sink that prints.
func (v Value) Reveal() string {
	if v.s == nil {
		return ""
	}
	return *v.s
}

// IsSet tells whether there is a value, even an empty one.
func (v Value) IsSet() bool { return v.s != nil }

// Len returns the value's length in bytes, 0 when unset.
func (v Value) Len() int { return len(v.Reveal()) }

// Equal tells in constant time whether both are unset, or set to the same bytes.
func (v Value) Equal(o Value) bool {
	if !v.IsSet() || !o.IsSet() {
		return v.IsSet() == o.IsSet()
	}
	return subtle.ConstantTimeCompare([]byte(*v.s), []byte(*o.s)) == 1
}

// String returns a placeholder.
func (v Value) String() string { return redacted }

// GoString returns a placeholder.
func (v Value) GoString() string { return redacted }

// Format writes a placeholder whatever the verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON returns a placeholder.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns a placeholder.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary refuses: a gob of a value would carry it.
func (v Value) MarshalBinary() ([]byte, error) {
	return nil, errors.New("a secret value is not serialised")
}

// MarshalYAML returns a placeholder.
func (v Value) MarshalYAML() (any, error) { return redacted, nil }

// LogValue returns a placeholder.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// NewAll returns the values of ss, in order, without an allocation for each;
// ss is theirs from then on and must not be changed.
func NewAll(ss []string) []Value {
	vs := make([]Value, len(ss))
	for i := range ss {
		vs[i].s = &ss[i]
	}
	return vs
}
