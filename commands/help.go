package commands

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// asksHelp tells whether an arranged line is flags, --help last: without a
// command, it asks for the program's own help.
func asksHelp(line []string) bool {
	return line[len(line)-1] == "--help" &&
		!slices.ContainsFunc(line[1:], func(word string) bool { return word == "--" || !strings.HasPrefix(word, "--") })
}

// help writes the program's own help. The library's templates, which those of
// the commands use, would double what --help costs.
func (a *app) help(tree *cli.App) error {
	tree.Setup()
	var text bytes.Buffer // tabwriter writes cell by cell
	w := tabwriter.NewWriter(&text, 1, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%s - %s\n\nusage: envctl [flags] COMMAND [arguments]\n", tree.Name, tree.Usage)
	for _, category := range tree.VisibleCategories() {
		if category.Name() != "" {
			fmt.Fprintf(w, "\n%s", category.Name())
		}
		fmt.Fprintln(w)
		for _, c := range category.VisibleCommands() {
			fmt.Fprintf(w, "  %-14s %s\n", strings.Join(c.Names(), ", "), c.Usage)
		}
	}
	fmt.Fprintln(w, "\nflags of every command (anywhere on the line; --x as ENVCTL_X where it is no consent)")
	for _, f := range tree.VisibleFlags() {
		fmt.Fprintf(w, "  %s\n", f)
	}
	fmt.Fprint(w, `
exit: 0 done · 1 the answer is no · 2 usage or refused · 3 file invalid · 4 not permitted
      5 not found · 6 conflict · 7 unavailable · 8 stopped part-way · 130 interrupted

start: envctl demo   or, in a project:   envctl init
`)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := text.WriteTo(a.ui.Out)
	return err
}
