package playbooks

import (
	"slices"
	"strings"

	"envctl/internal/secret"
	"envctl/naming"
)

// adapter returns what changes the names of an environment in a value into those
// of the one that is created: its suffix in hosts, databases and buckets, its
// prefix of keys, its bare name, and, where an environment's names have no suffix,
// the names themselves. from and base may be "".
func (w *World) adapter(from, base, to string) (func(v secret.Value, of string) secret.Value, error) {
	r, err := w.Rules()
	if err != nil {
		return nil, err
	}
	known := map[string]map[string]string{}
	for _, of := range []string{from, base} {
		if of == "" || of != naming.Production {
			continue // its names carry its own
		}
		known[of] = map[string]string{
			r.Database(of, "", ""): r.Database(to, "", ""), r.Network(of, "", ""): r.Network(to, "", ""), r.Bucket(of, "", ""): r.Bucket(to, "", ""),
		}
		for _, s := range w.Project.Services() {
			known[of][r.Container(of, s)] = r.Container(to, s)
		}
	}
	return func(v secret.Value, of string) secret.Value {
		s := v.Reveal() //nolint:forbidigo // changed, not shown
		names := sortedKeys(known[of])
		slices.SortStableFunc(names, func(a, b string) int { return len(b) - len(a) })
		done := ""
		for s != "" {
			n, with := 1, s[:1]
			if at := len(done); at == 0 || !inName(done[at-1]) {
				for _, name := range names {
					if rest, ok := strings.CutPrefix(s, name); ok && (rest == "" || !inName(rest[0])) {
						n, with = len(name), known[of][name]
						break
					}
				}
			}
			if rest, ok := strings.CutPrefix(s, of); n == 1 && ok && named(done, rest) {
				n, with = len(of), to
			}
			done, s = done+with, s[n:]
		}
		return secret.New(done)
	}, nil
}

// inName tells whether a byte goes on with a name.
func inName(b byte) bool {
	return b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}

// named tells whether what stands between two texts is an environment's name: a
// suffix (ledger-staging, ledger_staging), a prefix (staging:jobs), or all of it. A
// label of a host (staging.example.com) may be somebody else's.
func named(before, after string) bool {
	if after != "" && (after[0]|0x20 >= 'a' && after[0]|0x20 <= 'z' || after[0] >= '0' && after[0] <= '9') {
		return false
	}
	if before == "" {
		return after == "" || strings.ContainsRune(":-_", rune(after[0]))
	}
	return strings.ContainsRune("-_", rune(before[len(before)-1]))
}
