package ui

import (
	"fmt"
	"strings"

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
// without a header elsewhere.
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
	twwidth.SetEastAsian(false)
	t := tablewriter.NewTable(u.Out,
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
		fields := make([]string, len(r))
		for i, c := range r {
			fields[i] = u.Paint(c.Tone, escape(c.Text, ""))
		}
		if err := t.Append(fields); err != nil {
			return err
		}
	}
	return t.Render()
}
