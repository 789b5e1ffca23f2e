package formats

import (
	"fmt"
	"slices"
	"strings"

	"envctl/providers/dotenv"
)

const maxUnread = 10

// unread is Invalid for a file with lines that cannot be taken as they are: all of
// them are named, the first ten by their number; nil for none. hint is for one line,
// hints for several.
func unread(file string, all []dotenv.Problem, hint, hints string) error {
	if len(all) == 0 {
		return nil
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b dotenv.Problem) int { return a.Line - b.Line })
	all = slices.CompactFunc(all, func(a, b dotenv.Problem) bool { return a.Line == b.Line }) // one is enough to look there
	first := all[0].Line
	var messages []string
	lines := map[string][]string{}
	for _, p := range all[:min(len(all), maxUnread)] {
		if lines[p.Message] == nil {
			messages = append(messages, p.Message)
		}
		lines[p.Message] = append(lines[p.Message], fmt.Sprint(p.Line))
	}
	said := make([]string, 0, len(messages)+1)
	for i, m := range messages {
		switch n := lines[m]; {
		case i > 0:
			said = append(said, numbered(n)+": "+m)
		case len(n) > 1:
			said = append(said, m+" (also "+numbered(n[1:])+")")
		default:
			said = append(said, m)
		}
	}
	if more := len(all) - maxUnread; more > 0 {
		said = append(said, fmt.Sprintf("and %d more", more))
	}
	if len(all) > 1 {
		hint = hints
	}
	return invalid(file, first, hint, "%s", strings.Join(said, "; "))
}

func numbered(lines []string) string {
	if len(lines) == 1 {
		return "line " + lines[0]
	}
	return "lines " + strings.Join(lines, ", ")
}
