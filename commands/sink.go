package commands

import (
	"encoding/json"
	"io"
	"strings"

	"envctl/internal/secret"
)

// This file is the sink: the only one of this room where values leave
// secret.Value, for get, list, run, export and generate, and
// for what hides them in GitHub's logs.

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

// masks returns the texts by which GitHub's runner recognises a value: each of its
// lines, as it is and as JSON writes it. Very short ones are left out: hiding every
// "1" would make a log unreadable and hide no secret.
func masks(v secret.Value) []string {
	var out []string
	for _, line := range strings.FieldsFunc(v.Reveal(), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if len(strings.TrimSpace(line)) < shortestMask {
			continue
		}
		out = append(out, line)
		if quoted, err := json.Marshal(line); err == nil && string(quoted) != `"`+line+`"` {
			out = append(out, string(quoted[1:len(quoted)-1]))
		}
	}
	return out
}

const shortestMask = 4
