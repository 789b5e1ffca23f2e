package check

import (
	"bytes"
	"fmt"
	"strings"
)

const diffContext = 3

// Diff returns the change as a unified diff. Lines are only ever added, and the
// last one gets its line end where it had none.
func (f Fix) Diff() string {
	type row struct {
		mark byte
		text string
		old  int // lines of the old file before this one
	}
	var rows []row
	split := func(b []byte) []string {
		if len(b) == 0 {
			return nil
		}
		return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	}
	old, fresh := split(f.Old), split(f.New)
	unended := len(f.Old) > 0 && !bytes.HasSuffix(f.Old, []byte("\n"))
	i := 0
	for _, line := range fresh {
		if i < len(old) && (old[i] == line || unended && i == len(old)-1 && old[i]+"\r" == line) {
			if unended && i == len(old)-1 {
				rows = append(rows, row{'-', old[i] + "\n\\ No newline at end of file", i}, row{'+', line, i + 1})
			} else {
				rows = append(rows, row{' ', line, i})
			}
			i++
			continue
		}
		rows = append(rows, row{'+', line, i})
	}
	near := make([]bool, len(rows))
	for at, r := range rows {
		if r.mark != ' ' {
			for k := max(0, at-diffContext); k <= min(len(rows)-1, at+diffContext); k++ {
				near[k] = true
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", f.File, f.File)
	added := 0
	for at := 0; at < len(rows); at++ {
		if !near[at] {
			continue
		}
		end, olds, news := at, 0, 0
		for end < len(rows) && near[end] {
			if rows[end].mark != '+' {
				olds++
			}
			if rows[end].mark != '-' {
				news++
			}
			end++
		}
		from := rows[at].old + 1
		if olds == 0 {
			from--
		}
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", from, olds, rows[at].old+added+1, news)
		for _, r := range rows[at:end] {
			fmt.Fprintf(&b, "%c%s\n", r.mark, r.text)
		}
		added += news - olds
		at = end
	}
	return b.String()
}
