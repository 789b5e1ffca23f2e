package commands

import (
	_ "embed"
	"io"
	"slices"
	"strings"
)

// helpText is the program's own help, as go generate makes it of the command
// tree: to build the tree for it would be a quarter of what --help costs.
//
//go:embed help.txt
var helpText string

// asksHelp tells whether an arranged line is flags, --help last: without a
// command, it asks for the program's own help.
func asksHelp(line []string) bool {
	return line[len(line)-1] == "--help" &&
		!slices.ContainsFunc(line[1:], func(word string) bool { return word == "--" || !strings.HasPrefix(word, "--") })
}

func (a *app) help() error {
	_, err := io.WriteString(a.ui.Out, helpText)
	return err
}
