package rollout

import (
	"slices"
	"strings"

	"envctl/internal/secret"
	"envctl/providers"
)

const (
	// piece is the length from which a part of a value is a secret too: programs
	// take values apart ("invalid port: …") before they show them.
	piece = 5
	// longest is what a message can hold, in bytes.
	longest = 600
)

// Redact covers every value of the release in text, every piece of one, and
// every other secret whole or in pieces; but not the names that the message
// needs. It shortens text to its last bytes, and leaves no control character.
func Redact(text string, r providers.Release, others ...secret.Value) string {
	covered := make([]bool, len(text))
	each := func(part string, on bool) {
		for at := 0; part != "" && at < len(text); {
			i := strings.Index(text[at:], part)
			if i < 0 {
				return
			}
			for j := at + i; j < at+i+len(part); j++ {
				covered[j] = on
			}
			at += i + 1
		}
	}
	values := others
	for _, v := range r.Values {
		values = append(values[:len(values):len(values)], v)
	}
	for _, v := range values {
		value := v.Reveal()
		for i := 0; i+piece <= len(text) && len(value) >= piece; i++ {
			if strings.Contains(value, text[i:i+piece]) {
				for j := i; j < i+piece; j++ {
					covered[j] = true
				}
			}
		}
	}
	known := []string{r.Project, r.Environment, r.Component}
	for _, s := range r.Services {
		known = append(known, s.Name, s.Container)
	}
	for name := range r.Values {
		known = append(known, name)
	}
	for _, name := range known {
		if len(name) >= piece {
			each(name, false)
		}
	}
	for _, v := range values { // whole values last: a short one too, unless it is a known name
		if value := v.Reveal(); len(value) >= 3 && !slices.Contains(known, value) {
			each(value, true)
		}
	}
	var b strings.Builder
	for i := range len(text) {
		if !covered[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !covered[i-1] {
			b.WriteString("[secret]")
		}
	}
	out := strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(b.String(), ""))
	if len(out) > longest {
		out = "…" + strings.ToValidUTF8(out[len(out)-longest:], "")
	}
	return out
}

// LastLines returns the last n lines of text that say something, joined.
func LastLines(text string, n int) string {
	var said []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.Trim(line, "║╔╗╚╝═ ") != "" {
			said = append(said, line)
		}
	}
	return strings.Join(said[max(0, len(said)-n):], "; ")
}
