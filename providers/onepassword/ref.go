package onepassword

import (
	"fmt"
	"net/url"
	"strings"

	"envctl/internal/fault"
)

const (
	scheme    = "op://"
	otp       = "otp"
	maxRef    = 1024
	refSyntax = "write op://<vault>/<item>/[<section>/]<field>; where a name holds other characters than A-Z a-z 0-9 - _ . and space, use its id"
)

// Ref names one field of one item. Names are those 1Password shows, or ids;
// they are compared without regard to case. Attribute is "" or "otp".
type Ref struct{ Vault, Item, Section, Field, Attribute string }

// IsRef tells whether s means to be a reference, well formed or not.
func IsRef(s string) bool {
	return len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}

// ParseRef reads op://vault/item/[section/]field[?attribute=otp]. An error is
// of kind Invalid and shows the text, which is a name and no secret.
func ParseRef(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, fault.Newf(fault.Invalid, "read reference "+quoted(s), refSyntax, format, args...)
	}
	if !IsRef(s) {
		return bad("does not begin with %s", scheme)
	}
	if len(s) > maxRef {
		return bad("longer than %d bytes", maxRef)
	}
	path, query, asked := strings.Cut(s[len(scheme):], "?")
	parts := strings.Split(path, "/")
	switch {
	case len(parts) < 3:
		return bad("names no field")
	case len(parts) > 4:
		return bad("has %d parts, at most 4 are possible", len(parts))
	}
	for _, part := range parts {
		if part == "" || strings.TrimSpace(part) != part {
			return bad("has an empty part, or one that begins or ends with a space")
		}
		if i := strings.IndexFunc(part, unsupported); i >= 0 {
			return bad("holds %q", []rune(part[i:])[0])
		}
	}
	r := Ref{Vault: parts[0], Item: parts[1], Field: parts[len(parts)-1]}
	if len(parts) == 4 {
		r.Section = parts[2]
	}
	if asked {
		switch strings.ToLower(query) {
		case "attribute=otp", "attr=otp":
			r.Attribute = otp
		default:
			return bad("asks for something else than attribute=otp")
		}
	}
	return r, nil
}

// String returns the reference as 1Password writes it.
func (r Ref) String() string {
	s := scheme + r.Vault + "/" + r.Item + "/"
	if r.Section != "" {
		s += r.Section + "/"
	}
	s += r.Field
	if r.Attribute != "" {
		s += "?attribute=" + url.QueryEscape(r.Attribute)
	}
	return s
}

// unsupported holds for what 1Password allows in no reference.
func unsupported(c rune) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return false
	}
	return !strings.ContainsRune("-_. ", c)
}

// isID tells whether s can be the id of a vault or an item: 26 of a-z 0-9.
func isID(s string) bool {
	if len(s) != 26 {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }) < 0
}

func quoted(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}
