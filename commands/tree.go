package commands

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/ui"
)

// Tree returns the program's command tree for documentation and tests; running
// it does nothing useful.
func Tree() *cli.App {
	a := &app{
		Process: Process{Getenv: func(string) string { return "" }, Environ: func() []string { return nil }, Rand: strings.NewReader("")},
		ui:      &ui.UI{Out: io.Discard, Err: io.Discard},
	}
	tree := a.tree()
	withoutFalse(tree.Flags, tree.Commands)
	return tree
}

// withoutFalse leaves "(default: false)" out of the help of switches.
func withoutFalse(flags []cli.Flag, below []*cli.Command) {
	for _, f := range flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
	for _, c := range below {
		withoutFalse(c.Flags, c.Subcommands)
	}
}
