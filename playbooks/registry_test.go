package playbooks

import (
	"regexp"
	"strings"
	"testing"
)

// The byte loop must say what the expression in the comment says.
func FuzzIsVariable(f *testing.F) {
	variable := regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,127}$`)
	long := strings.Repeat("A", 128)
	for _, s := range []string{
		"", "0", "0A", "A", "A0", "A B", "A-B", "A\n", "A\x00", "A_B", "A\xff", "Aa", "Ä", "_", "__0", "a", "@", "[", "/", ":", long, long + "A", long[:127] + "Ä",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsVariable(s), variable.MatchString(s); got != want {
			t.Errorf("IsVariable(%q) = %v, want %v", s, got, want)
		}
	})
}
