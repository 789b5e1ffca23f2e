package ui

import "testing"

func TestFold(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"short\n  as it is\n\nend\n", "short\n  as it is\n\nend\n"},
		{"   one two three four five\n   six\n\n   seven\n", "   one two three\n   four five six\n\n   seven\n"},
		{"   a b\n   one two three four five\n", "   a b one two\n   three four five\n"},
		{"  --flag X  what it is for, and why\n  --b      no\n", "  --flag X  what\n            it is\n            for,\n            and\n            why\n  --b      no\n"},
		{"head:\n  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b\n", "head:\n  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n  b\n"},
		{"ä ö ü ä ö ü ä ö ü\n", "ä ö ü ä ö ü ä ö ü\n"},
	} {
		if got := Fold(c[0], 18); got != c[1] {
			t.Errorf("%q became\n%q, want\n%q", c[0], got, c[1])
		}
		if got := Fold(c[1], 18); got != c[1] {
			t.Errorf("%q is folded twice: %q", c[1], got)
		}
	}
}
