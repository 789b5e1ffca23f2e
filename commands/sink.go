package commands

import (
	"io"
	"strings"

	"envctl/internal/plan"
	"envctl/internal/secret"
)

// This file is the sink: the only one of this room where values leave
// secret.Value, for get, list, run, export and generate.

// reveal1 returns a value in clear for a person who asked with --reveal.
func reveal1(v secret.Value) string { return v.Reveal() }

// revealed is reveal1 for a document: nil unless asked for.
func revealed(v secret.Value, ask bool) *string {
	if !ask || !v.IsSet() {
		return nil
	}
	s := v.Reveal()
	return &s
}

// printRaw writes a bare value and one newline, nothing else.
func printRaw(w io.Writer, v secret.Value) error {
	_, err := io.WriteString(w, strings.TrimSuffix(v.Reveal(), "\n")+"\n")
	return err
}

// writeText writes a text that was made to be read by another program, as it is.
func writeText(w io.Writer, v secret.Value) error {
	_, err := io.WriteString(w, v.Reveal())
	return err
}

// bytesOf returns a value's bytes for a file of mode 0600.
func bytesOf(v secret.Value) []byte { return []byte(v.Reveal()) }

// assign returns NAME=value for a child's environment.
func assign(name string, v secret.Value) string { return name + "=" + v.Reveal() }

func factOf(label, text string) plan.Fact { return plan.Fact{Label: label, Text: text} }
