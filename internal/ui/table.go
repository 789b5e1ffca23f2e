package ui

import (
	"bytes"
	"fmt"
	"io"
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
// a terminal that is too narrow for them they stand below their row.
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

// below returns the remarks that must stand below their rows, nil when all fit
// beside them.
func (u *UI) below(header []string, rows [][]Cell) []string {
	last := len(header) - 1
	if last < 1 || header[last] != "" {
		return nil
	}
	width := make([]int, len(header))
	remarks := make([]string, len(rows))
	for i, r := range rows {
		for j, c := range r {
			width[j] = max(width[j], utf8.RuneCountInString(c.Text)+2)
		}
		remarks[i] = escape(r[last].Text, "")
	}
	total := 0
	for j, w := range width {
		total += max(w, len(header[j])+2)
	}
	if total <= u.Width()+2 {
		return nil
	}
	return remarks
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
