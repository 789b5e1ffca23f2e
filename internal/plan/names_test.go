package plan

import (
	"regexp"
	"strings"
	"testing"
)

// The byte loops must say what the expressions in their comments say.
func FuzzNames(f *testing.F) {
	rules := map[string]struct {
		is     func(string) bool
		letter *regexp.Regexp
	}{
		"isKey":    {isKey, regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)},
		"isRunID":  {isRunID, regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{12}$`)},
		"isStepID": {isStepID, regexp.MustCompile(`^[a-z0-9][a-z0-9_.:/-]{0,127}$`)},
	}
	long := strings.Repeat("a", 128)
	for _, s := range []string{
		"", "-", "/a", "0", "A", "_a", "a", "a b", "a.b:c/d-e_f", "a\n", "a\x00", "aB", "ä", "a\xff", "{", "`", ";", "@", "[",
		"0123456789ab", "cdefghjkmnpq", "rstvwxyzzzzz", "0123456789ai", "0123456789al", "0123456789ao", "0123456789au", "0123456789aA",
		"0123456789a", "0123456789abc", "0123456789a\n", long, long + "a", long[:127] + "ä", long[:127] + "-",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, rule := range rules {
			if got, want := rule.is(s), rule.letter.MatchString(s); got != want {
				t.Errorf("%s(%q) = %v, want %v", name, s, got, want)
			}
		}
	})
}
