package playbooks

import (
	"fmt"
	"strings"
)

// contextLines stand around a change in a diff.
const contextLines = 3

// diffCells bounds the table that finds what two texts share; larger changes
// are shown as one block.
const diffCells = 4 << 20

// diffLine is one line of a diff: ' ', '-' or '+', and its text with its line end.
type diffLine struct {
	mark byte
	text string
}

// unified returns what changed between two versions of a file as a unified
// diff, which patch applies; "" when nothing did.
func unified(file string, old, fresh []byte) string {
	lines := diffLines(splitLines(string(old)), splitLines(string(fresh)))
	var b strings.Builder
	before, after := 0, 0 // lines of each version above i
	for i := 0; i < len(lines); {
		if lines[i].mark == ' ' {
			before, after, i = before+1, after+1, i+1
			continue
		}
		start := max(0, i-contextLines)
		for j := start; j < i; j++ {
			if lines[j].mark != ' ' { // never: a hunk takes the context behind it along
				start = j + 1
			}
		}
		end, quiet := i, 0
		for ; end < len(lines) && quiet <= 2*contextLines; end++ {
			if quiet++; lines[end].mark != ' ' {
				quiet = 0
			}
		}
		for ; quiet > contextLines; quiet-- {
			end--
		}
		lead := i - start
		olds, news := 0, 0
		for _, l := range lines[start:end] {
			if l.mark != '+' {
				olds++
			}
			if l.mark != '-' {
				news++
			}
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", file, file)
		}
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(before-lead, olds), span(after-lead, news))
		for _, l := range lines[start:end] {
			b.WriteString(string(l.mark) + l.text)
			if !strings.HasSuffix(l.text, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
		before, after, i = before-lead+olds, after-lead+news, end
	}
	return b.String()
}

// span writes a hunk's place: its first line from 1, or the line before an
// empty one.
func span(above, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", above)
	case 1:
		return fmt.Sprint(above + 1)
	}
	return fmt.Sprintf("%d,%d", above+1, n)
}

func splitLines(s string) []string {
	if s == "" {
		return nil
	}
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// diffLines finds the longest common lines between what two texts do not share
// at their ends.
func diffLines(a, b []string) []diffLine {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out []diffLine
	add := func(mark byte, lines []string) {
		for _, l := range lines {
			out = append(out, diffLine{mark, l})
		}
	}
	add(' ', a[:head])
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	if (len(x)+1)*(len(y)+1) > diffCells {
		add('-', x)
		add('+', y)
	} else {
		out = append(out, commonLines(x, y)...)
	}
	add(' ', a[len(a)-tail:])
	return out
}

func commonLines(x, y []string) []diffLine {
	w := len(y) + 1
	longest := make([]int32, (len(x)+1)*w)
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				longest[i*w+j] = longest[(i+1)*w+j+1] + 1
			} else {
				longest[i*w+j] = max(longest[(i+1)*w+j], longest[i*w+j+1])
			}
		}
	}
	var out []diffLine
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			out = append(out, diffLine{' ', x[i]})
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && longest[(i+1)*w+j] >= longest[i*w+j+1]:
			out = append(out, diffLine{'-', x[i]})
			i++
		default:
			out = append(out, diffLine{'+', y[j]})
			j++
		}
	}
	return out
}
