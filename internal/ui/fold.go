package ui

import (
	"strings"
	"unicode/utf8"
)

// Fold returns text with no line wider than width, where words allow it. Lines of one
// indentation that follow each other are a paragraph, which is filled anew when one of
// them is too wide; a line of a term, two blanks or more, and what it means goes on below the
// meaning. Lines that fit stay as they are.
func Fold(text string, width int) string {
	var b strings.Builder
	var paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			fill(&b, indent(paragraph[0]), indent(paragraph[0]), strings.Join(paragraph, " "), width)
			paragraph = nil
		}
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		wide := utf8.RuneCountInString(line) > width
		if at := meaning(line); at > 0 && wide {
			flush()
			fill(&b, at, at, line[at:], width, line[:at])
			continue
		}
		inside := len(paragraph) > 0 && strings.TrimSpace(line) != "" && indent(line) == indent(paragraph[0]) && meaning(line) == 0
		if inside || wide || opens(lines[i:], width) {
			if !inside {
				flush()
			}
			paragraph = append(paragraph, strings.TrimRight(line, " "))
			continue
		}
		flush()
		b.WriteString(line + "\n")
	}
	flush()
	return b.String()
}

// opens tells whether the first of lines begins a paragraph with a line that is too wide.
func opens(lines []string, width int) bool {
	if meaning(lines[0]) > 0 {
		return false
	}
	for _, line := range lines {
		switch {
		case strings.TrimSpace(line) == "" || indent(line) != indent(lines[0]) || meaning(line) > 0:
			return false
		case utf8.RuneCountInString(line) > width:
			return true
		}
	}
	return false
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// meaning returns where the meaning of a line's term begins, 0 where it has none.
func meaning(line string) int {
	start := indent(line)
	gap := strings.Index(line[start:], "  ")
	if gap <= 0 {
		return 0
	}
	rest := strings.TrimLeft(line[start+gap:], " ")
	if rest == "" {
		return 0
	}
	return len(line) - len(rest)
}

// fill writes the words of text, the first line behind head or first blanks, the others
// behind hang blanks.
func fill(b *strings.Builder, first, hang int, text string, width int, head ...string) {
	at := first
	if len(head) > 0 {
		b.WriteString(head[0])
	} else {
		b.WriteString(strings.Repeat(" ", first))
	}
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", hang))
			at = hang
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	b.WriteByte('\n')
}
