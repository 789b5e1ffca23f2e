package ui

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Cell is one field of a table.
type Cell struct {
	Text string
	Tone Tone
}

// C is a plain cell.
func C(format string, args ...any) Cell {
	if len(args) == 0 {
		return Cell{Text: format}
	}
	return Cell{Text: fmt.Sprintf(format, args...)}
}

// Toned is a cell in a tone.
func Toned(t Tone, s string) Cell { return Cell{Text: s, Tone: t} }

// Table writes rows under a header on a terminal, and as tab-separated lines
// without a header elsewhere. A last column without a header holds remarks: on
// a terminal that is too narrow for them they stand below their row. Where what is
// left is too wide too, its widest column comes last: that is what breaks.
func (u *UI) Table(header []string, rows [][]Cell) error {
	if !u.OutTTY {
		for _, r := range rows {
			fields := make([]string, len(r))
			for i, c := range r {
				fields[i] = escape(c.Text, "")
			}
			fmt.Fprintln(u.Out, strings.Join(fields, "\t"))
		}
		return nil
	}
	remarks := u.below(header, rows)
	if remarks != nil {
		header = header[:len(header)-1]
	}
	if widths := u.widths(header, rows); len(header) > 1 && sum(widths) > u.Width()+gap {
		widest := 1
		for i := range widths {
			if i > widest && widths[i] > widths[widest] {
				widest = i
			}
		}
		rows = slices.Clone(rows)
		for i, r := range rows {
			rows[i] = last(r[:len(header)], widest)
		}
		header = last(header, widest)
	}
	var buf bytes.Buffer
	if err := u.align(&buf, header, rows); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSuffix(buf.String(), "\n"), "\n") {
		fmt.Fprintln(u.Out, strings.TrimRight(line, " "))
		if i > 0 && i <= len(remarks) && remarks[i-1] != "" {
			fmt.Fprintln(u.Out, u.Paint(Faint, "  "+remarks[i-1]))
		}
	}
	return nil
}

// Fits tells whether a table would not break: on a terminal that is too narrow for
// it another form may be read more easily.
func (u *UI) Fits(header []string, rows [][]Cell) bool {
	return !u.OutTTY || sum(u.widths(header, rows)) <= u.Width()+gap
}

// below returns the remarks that must stand below their rows, nil when all fit
// beside them.
func (u *UI) below(header []string, rows [][]Cell) []string {
	end := len(header) - 1
	if end < 1 || header[end] != "" {
		return nil
	}
	if sum(u.widths(header, rows)) <= u.Width()+gap {
		return nil
	}
	remarks := make([]string, len(rows))
	for i, r := range rows {
		remarks[i] = escape(r[end].Text, "")
	}
	return remarks
}

// gap is between columns.
const gap = 2

// widths returns the columns' widths, the gaps behind them included.
func (u *UI) widths(header []string, rows [][]Cell) []int {
	all := make([]int, len(header))
	for j, h := range header {
		all[j] = len(h) + gap
		for _, r := range rows {
			all[j] = max(all[j], utf8.RuneCountInString(escape(r[j].Text, ""))+gap)
		}
	}
	return all
}

func sum(all []int) (total int) {
	for _, n := range all {
		total += n
	}
	return total
}

// last returns all with the i-th at the end.
func last[T any](all []T, i int) []T {
	return slices.Concat(all[:i], all[i+1:], all[i:i+1])
}

// align writes the columns named by header, left-aligned, without borders.
func (u *UI) align(w io.Writer, header []string, rows [][]Cell) error {
	twwidth.SetEastAsian(false)
	t := tablewriter.NewTable(w,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Settings: tw.Settings{Separators: tw.SeparatorsNone, Lines: tw.LinesNone},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithRowAlignment(tw.AlignLeft),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithPadding(tw.Padding{Left: "", Right: "  ", Overwrite: true}),
		tablewriter.WithTrimSpace(tw.Off),
	)
	head := make([]string, len(header))
	for i, h := range header {
		head[i] = u.Paint(Faint, h)
	}
	t.Header(head)
	for _, r := range rows {
		fields := make([]string, len(header))
		for i := range header {
			fields[i] = u.Paint(r[i].Tone, escape(r[i].Text, ""))
		}
		if err := t.Append(fields); err != nil {
			return err
		}
	}
	return t.Render()
}
