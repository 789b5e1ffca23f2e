package naming

import (
	"regexp"
	"strings"
	"testing"
)

// The byte loops must say what the expressions in the documentation say.
func FuzzSegments(f *testing.F) {
	segment, preview := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`), regexp.MustCompile(`^pr-[0-9]+$`)
	long := strings.Repeat("a", 63)
	for _, s := range []string{
		"", "-", "-a", "0", "A", "_", "_a", "a", "a b", "a-", "a.b", "a/b", "a\n", "a\x00", "aB", "a_b-0", "ä", "a\xff", "\xff",
		"pr", "pr-", "pr-0", "pr-01a", "pr-47", "pr-47\n", "pr-٣", "xpr-1", "{", "`", "/", ":", long, long + "a", long[:62] + "ä",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := CheckSegment("project", s) == nil, segment.MatchString(s); got != want {
			t.Errorf("CheckSegment takes %q: %v, want %v", s, got, want)
		}
		if got, want := IsPreview(s), preview.MatchString(s); got != want {
			t.Errorf("IsPreview(%q) = %v, want %v", s, got, want)
		}
	})
}
