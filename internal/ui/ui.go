// Package ui talks to a person: results to standard output, everything else to
// standard error, nothing decorated that is not a terminal.
//
// The rules: answers first and the next step last; lower case and no full
// stops; a value only where it was asked for; control characters escaped.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// UI is where a command reads and writes.
type UI struct {
	In       *os.File
	Out, Err io.Writer
	// InTTY, OutTTY and ErrTTY tell which of the three are terminals.
	InTTY, OutTTY, ErrTTY bool
	JSON                  bool // one document on Out, errors as one object on Err
	Color                 bool
	NoInput               bool // prompts refuse
	Verbose               int
	Columns               int // the width, where Out is not the terminal itself; 0: nobody says
	Prompter              Prompter
	Warned                func(text string) // also hears each warning; nil: nobody

	warnings []string // under --json
	waiting  *waiting
}

// New returns the UI of a process's own streams.
func New(in, out, err *os.File) *UI {
	u := &UI{In: in, Out: &Output{File: out}, Err: err, InTTY: isTerminal(in), OutTTY: isTerminal(out), ErrTTY: isTerminal(err)}
	u.Color = u.OutTTY
	return u
}

// Output is standard output that remembers the first write that failed: an
// answer that was cut off must not end as if it had been given.
type Output struct {
	*os.File
	err    error
	before func() // the first word; nil: nothing
}

func (o *Output) Write(p []byte) (int, error) {
	if o.before != nil {
		o.before()
	}
	n, err := o.File.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// WriteString is Write; the file's own would pass it by.
func (o *Output) WriteString(s string) (int, error) { return o.Write([]byte(s)) }

// ReadFrom is io.Copy through Write; the file's own would pass it by.
func (o *Output) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{o}, r)
}

// Lost returns why standard output could not take all of the answer, or nil.
func (u *UI) Lost() error {
	if o, ok := u.Out.(*Output); ok {
		return o.err
	}
	return nil
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// KeepTerminal returns what puts the terminal's modes back as they are now,
// whatever a program has made of them that was ended half-way.
func (u *UI) KeepTerminal() (restore func()) {
	if !u.InTTY {
		return func() {}
	}
	state, err := term.GetState(int(u.In.Fd()))
	return func() {
		if err == nil {
			_ = term.Restore(int(u.In.Fd()), state) // a terminal that is gone needs none
		}
	}
}

// Width returns the terminal's columns, 80 where nobody says.
func (u *UI) Width() int {
	if f, ok := u.Out.(interface{ Fd() uintptr }); ok && u.OutTTY {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			return w
		}
	}
	if u.Columns > 0 {
		return u.Columns
	}
	return 80
}

// Print writes one line of the answer.
func (u *UI) Print(format string, args ...any) {
	fmt.Fprintln(u.Out, Clean(fmt.Sprintf(format, args...)))
}

// Lead writes one line of the answer that begins with a word in a tone. Print
// would escape the colour, as it does everything that a terminal obeys.
func (u *UI) Lead(t Tone, word, format string, args ...any) {
	fmt.Fprintln(u.Out, u.Paint(t, Clean(word))+Clean(fmt.Sprintf(format, args...)))
}

// Note writes one line beside the answer: progress, warnings, what to do next.
// Nothing under --json, where the document says it.
func (u *UI) Note(format string, args ...any) {
	if !u.JSON {
		u.settle()
		fmt.Fprintln(u.Err, Clean(fmt.Sprintf(format, args...)))
	}
}

// Warn writes a warning; under --json it waits for Warnings.
func (u *UI) Warn(format string, args ...any) {
	if u.JSON {
		u.warnings = append(u.warnings, Clean(fmt.Sprintf(format, args...)))
		return
	}
	u.settle()
	fmt.Fprintln(u.Err, "envctl: warning: "+Clean(fmt.Sprintf(format, args...)))
	if u.Warned != nil {
		u.Warned(fmt.Sprintf(format, args...))
	}
}

// Warnings returns the warnings of a run under --json, for its one object on
// standard error.
func (u *UI) Warnings() []string { return u.warnings }

// Debug writes a line when --verbose was given at least level times.
func (u *UI) Debug(level int, format string, args ...any) {
	if u.Verbose >= level && !u.JSON {
		u.settle()
		fmt.Fprintln(u.Err, "envctl: "+Clean(fmt.Sprintf(format, args...)))
	}
}

// Document writes doc as the one JSON document of this run. JSON itself escapes
// C0 controls only; the others that a terminal obeys are escaped here.
func (u *UI) Document(doc any) error {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(u.Out, escapeJSON(text.String()))
	return err
}

// escapeJSON writes what a terminal would obey as \u escapes. Outside of strings
// a document holds nothing of the kind but the line breaks between its parts.
func escapeJSON(s string) string {
	return escapeWith(s, "\n", func(b *strings.Builder, r rune) { fmt.Fprintf(b, `\u%04x`, r) })
}

// Clean escapes what a terminal would obey: C0 and C1 controls other than
// newline and tab, and bidirectional overrides. Colour is added after it.
func Clean(s string) string {
	return escape(s, "\n\t")
}

func escape(s, keep string) string {
	return escapeWith(s, keep, func(b *strings.Builder, r rune) {
		if r < 0x100 {
			fmt.Fprintf(b, `\x%02x`, r)
		} else {
			fmt.Fprintf(b, `\u%04x`, r)
		}
	})
}

func escapeWith(s, keep string, write func(*strings.Builder, rune)) string {
	if strings.IndexFunc(s, func(r rune) bool { return obeyed(r) && !strings.ContainsRune(keep, r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && s[i] != 0xEF:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case obeyed(r) && !strings.ContainsRune(keep, r):
			write(&b, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// obeyed tells whether a terminal does something other than showing r.
func obeyed(r rune) bool {
	switch {
	case r < 0x20, r == 0x7f, r >= 0x80 && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	case r == 0x2028, r == 0x2029, r == unicode.ReplacementChar:
		return true
	}
	return false
}

// Tone is how much a word matters.
type Tone int

// The tones.
const (
	Plain Tone = iota
	Good
	Caution
	Bad
	Faint
	Strong
)

var codes = [...]string{Plain: "", Good: "32", Caution: "33", Bad: "31", Faint: "2", Strong: "1"} //nolint:gochecknoglobals // a constant list

// Paint returns s in a tone, or as it is where colour is off.
func (u *UI) Paint(t Tone, s string) string {
	if !u.Color || t == Plain || s == "" {
		return s
	}
	return "\x1b[" + codes[t] + "m" + s + "\x1b[0m"
}

// Progress shows what is being done now on a terminal, in place; "" clears it.
func (u *UI) Progress(text string) {
	if !u.ErrTTY || u.JSON {
		return
	}
	u.settle()
	if len(text) > u.Width()-1 {
		text = text[:u.Width()-1]
	}
	fmt.Fprint(u.Err, "\r\x1b[K"+Clean(strings.ReplaceAll(text, "\n", " ")))
}
