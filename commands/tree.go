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
	return a.tree()
}
