package naming

import (
	"sort"
	"strings"
)

// The environments whose names carry a rule of their own.
const (
	CI         = "ci"
	Local      = "local"
	Production = "production"
	Staging    = "staging"
)

// IsProduction tells whether name is the environment that is always protected.
func IsProduction(name string) bool { return name == Production }

// IsLocal tells whether name lives beside a working copy: local or ci. Such an
// environment has databases of its own per branch and workspace.
func IsLocal(name string) bool { return name == Local || name == CI }

// IsPreview tells whether name is a pull request's: pr-1, pr-47.
func IsPreview(name string) bool {
	number, ok := strings.CutPrefix(name, "pr-")
	return ok && number != "" && strings.TrimLeft(number, digits) == ""
}

// IsPattern tells whether name stands for several environments, as pr-* does.
func IsPattern(name string) bool { return strings.Contains(name, "*") }

// Match tells whether name is pattern, where each * in pattern stands for one
// character or more: pr-* takes pr-47, never pr-.
func Match(pattern, name string) bool {
	p, n := 0, 0
	star, taken := -1, 0 // the last * and where in name what it took ends
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, taken = p, n+1
			p, n = p+1, n+1
		case p < len(pattern) && pattern[p] == name[n]:
			p, n = p+1, n+1
		case star >= 0: // it takes one more
			taken++
			p, n = star+1, taken
		default:
			return false
		}
	}
	return p == len(pattern)
}

// BestMatch returns the one of patterns that name falls under: itself, else the
// pattern with the most literal characters, the alphabetically first of several.
func BestMatch(patterns []string, name string) (string, bool) {
	best, score := "", -1
	for _, p := range patterns {
		if p == name {
			return p, true
		}
		literal := len(p) - strings.Count(p, "*")
		if Match(p, name) && (literal > score || literal == score && p < best) {
			best, score = p, literal
		}
	}
	return best, score >= 0
}

// Nearest returns the known name that someone who typed name most likely
// meant, "" when none is near: the fewest letters added, dropped, changed or
// swapped (a third of them at most, capitals aside), else the only one name begins.
func Nearest(name string, known []string) string {
	const longest = 128
	if name == "" || len(name) > longest {
		return ""
	}
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	lower := strings.ToLower(name)
	best, limit := "", max(1, min(len(name)/3, 4))+1
	var begun []string
	for _, k := range sorted {
		if len(k) > longest {
			continue
		}
		if d := distance(lower, strings.ToLower(k)); d < limit && d < len(name) {
			best, limit = k, d
		}
		if len(name) >= 3 && strings.HasPrefix(strings.ToLower(k), lower) {
			begun = append(begun, k)
		}
	}
	if best == "" && len(begun) == 1 {
		return begun[0]
	}
	return best
}

// distance is the optimal string alignment distance of two strings of bytes.
func distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
