// Package dotenv reads dotenv files exactly, as each of their readers would,
// and changes one variable without touching another byte.
package dotenv

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

const bom = "\uFEFF"

// Entry is one assignment of a file.
type Entry struct {
	Key   string
	Value secret.Value // unset for a bare KEY, which takes its value from the reader's environment
	// Line and Column (in bytes) of the key, from 1.
	Line, Column int
	Quote        byte // '\'', '"' or 0
	Export       bool // written as export KEY=…
	// Expands tells that compose or python-dotenv would replace a part of the
	// value ($NAME, ${NAME}, $$); Value holds the text before that.
	Expands bool
	// Start and End span the assignment in the source, from the export or the
	// key to the end of the value; ValueStart and ValueEnd the value with its
	// quotes. Offsets in bytes.
	Start, End, ValueStart, ValueEnd int
}

// Problem is a place that a reader refuses, skips, runs or expands. Its
// message never holds a value.
type Problem struct {
	Line, Column int // of the statement, from 1; Column in bytes, 0 when only the line is known
	Key          string
	Kind         ProblemKind
	Message      string
}

// File is a parsed dotenv file.
type File struct {
	Name     string
	Entries  []Entry // in the file's order; of duplicates the last one wins
	Problems []Problem
}

// Lookup returns the entry that wins for key: the last one.
func (f *File) Lookup(key string) (Entry, bool) {
	for i := len(f.Entries) - 1; i >= 0; i-- {
		if f.Entries[i].Key == key {
			return f.Entries[i], true
		}
	}
	return Entry{}, false
}

// Duplicates returns the entries that a later one overrides, in file order.
func (f *File) Duplicates() []Entry {
	last := make(map[string]int, len(f.Entries))
	for i, e := range f.Entries {
		last[e.Key] = i
	}
	var out []Entry
	for i, e := range f.Entries {
		if last[e.Key] != i {
			out = append(out, e)
		}
	}
	return out
}

// Read reads and parses the file at path. Kinds: NotFound, Denied, and
// Invalid as Parse.
func Read(path string) (*File, error) {
	src, err := ReadSource(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, src)
}

// ReadSource returns at most MaxSize bytes of the regular file at path; a
// longer file is Invalid, a missing one NotFound.
func ReadSource(path string) ([]byte, error) {
	op := "read " + path
	// Stat comes first: opening a FIFO would wait for its writer.
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
		return nil, fault.New(fault.NotFound, op, "no such file", "")
	case os.IsPermission(err):
		return nil, fault.New(fault.Denied, op, "permission denied", "")
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, op, "")
	case !info.Mode().IsRegular():
		return nil, fault.New(fault.Invalid, op, "not a regular file", "")
	}
	f, err := os.Open(path)
	if os.IsPermission(err) {
		return nil, fault.New(fault.Denied, op, "permission denied", "")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, "")
	}
	defer f.Close()
	// The size is a hint: the file may grow while it is read.
	var src bytes.Buffer
	src.Grow(int(min(info.Size(), MaxSize)) + bytes.MinRead)
	if _, err := src.ReadFrom(io.LimitReader(f, MaxSize+1)); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, "")
	}
	return src.Bytes(), checkSize(path, src.Bytes())
}

func checkSize(file string, src []byte) error {
	if len(src) > MaxSize {
		return fault.Newf(fault.Invalid, "read "+file, "", "larger than %d bytes", MaxSize)
	}
	return nil
}

// Parse reads src the way docker compose does (compose-go; python-dotenv
// agrees on nearly all of it), but replaces no $NAME: Entry.Expands marks
// those. KEY=value, export KEY=value, KEY = value, KEY: value and a bare KEY;
// '…' is literal but for \', "…" knows \a \b \f \n \r \t \v \\ \" \$ \0ooo, both
// may span lines; an unquoted value ends at " #" and loses trailing blanks.
// A byte order mark and CRLF are accepted. A statement that a reader would
// refuse is a Problem and the rest is still read; the error is for a file
// over MaxSize (Invalid).
func Parse(file string, src []byte) (*File, error) {
	if err := checkSize(file, src); err != nil {
		return nil, err
	}
	p := &parser{src: string(src), line: 1}
	if strings.HasPrefix(p.src, bom) {
		p.pos, p.lineStart = len(bom), len(bom)
	}
	if lines := strings.Count(p.src, "\n") + 1; lines > 1 {
		p.entries = make([]Entry, 0, lines)
		p.values = make([]span, 0, lines)
	}
	for p.pos < len(p.src) {
		p.statement()
	}
	if i := invalidUTF8(p.src); i >= 0 {
		p.problems = append(p.problems, Problem{
			Line: 1 + strings.Count(p.src[:i], "\n"), Kind: Refused,
			Message: "not UTF-8: python-dotenv and docker refuse the file",
		})
	}
	return &File{Name: file, Entries: p.finish(), Problems: p.problems}, nil
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

// span is a value: a part of the source, or of the unescaped text.
type span struct {
	start, end  int32
	text, unset bool
}

// plain returns the span of a part of the source; MaxSize fits its type.
func plain(start, end int) span { return span{start: int32(start), end: int32(end)} }

// parser allocates per file, not per value: values stay spans until the end.
type parser struct {
	src             string
	pos             int
	line, lineStart int
	entries         []Entry
	values          []span
	text            []byte // unescaped values, one after the other
	problems        []Problem
}

func (p *parser) finish() []Entry {
	text := string(p.text)
	strs := make([]string, len(p.values))
	for i, v := range p.values {
		if v.text {
			strs[i] = text[v.start:v.end]
		} else {
			strs[i] = p.src[v.start:v.end]
		}
	}
	for i, v := range secret.NewAll(strs) {
		if !p.values[i].unset {
			p.entries[i].Value = v
		}
	}
	return p.entries
}

func (p *parser) problem(e *Entry, kind ProblemKind, message string) {
	p.problems = append(p.problems, Problem{Line: e.Line, Column: e.Column, Key: e.Key, Kind: kind, Message: message})
}

// newline steps over the line end at pos.
func (p *parser) newline() {
	p.pos++
	p.line++
	p.lineStart = p.pos
}

func (p *parser) skipLine() {
	if i := strings.IndexByte(p.src[p.pos:], '\n'); i >= 0 {
		p.pos += i
		p.newline()
		return
	}
	p.pos = len(p.src)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' }

func (p *parser) blanks() {
	for p.pos < len(p.src) && isBlank(p.src[p.pos]) {
		p.pos++
	}
	if p.pos < len(p.src) && p.src[p.pos] >= utf8.RuneSelf {
		p.pos = len(p.src) - len(strings.TrimLeftFunc(p.src[p.pos:], composeSpace))
	}
}

func isKeyByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

func (p *parser) statement() {
	p.blanks()
	if p.pos == len(p.src) {
		return
	}
	switch p.src[p.pos] {
	case '\n':
		p.newline()
		return
	case '#':
		p.skipLine()
		return
	}
	e := Entry{Line: p.line, Start: p.pos}
	if rest := p.src[p.pos:]; len(rest) > 7 && rest[:6] == "export" && isBlank(rest[6]) {
		p.pos += 7
		p.blanks()
		if p.pos < len(p.src) && isKeyByte(p.src[p.pos]) {
			e.Export = true
		} else {
			p.pos = e.Start // a variable that is called export
		}
	}
	start := p.pos
	for p.pos < len(p.src) && isKeyByte(p.src[p.pos]) {
		p.pos++
	}
	e.Key, e.Column = p.src[start:p.pos], start-p.lineStart+1
	e.End, e.ValueStart, e.ValueEnd = p.pos, p.pos, p.pos
	p.blanks()
	switch {
	case e.Key == "":
		p.problem(&e, Refused, fmt.Sprintf("%s where a variable name should be", describe(p.src[p.pos:])))
		p.skipLine()
	case p.pos == len(p.src) || p.src[p.pos] == '\n':
		p.add(e, span{unset: true})
	case p.src[p.pos] == '=' || p.src[p.pos] == ':':
		if p.src[p.pos] == ':' {
			p.problem(&e, Ignored, "KEY: value is read by docker compose only; write KEY=value")
		}
		p.pos++
		p.value(e)
	default:
		p.problem(&e, Refused, "expected = after the name")
		p.skipLine()
	}
}

// describe names the next character without showing what might be a value.
func describe(s string) string {
	r, _ := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError || r < ' ' {
		return "a control character or a byte that is not text"
	}
	return fmt.Sprintf("%q", r)
}

func (p *parser) add(e Entry, v span) {
	p.entries = append(p.entries, e)
	p.values = append(p.values, v)
}

func (p *parser) value(e Entry) {
	p.blanks()
	if p.pos < len(p.src) && p.src[p.pos] == '\n' && p.src[p.pos-1] == '\r' {
		p.pos-- // of the line's end, not of a value that is empty
	}
	if p.pos < len(p.src) && (p.src[p.pos] == '"' || p.src[p.pos] == '\'') {
		p.quoted(e)
		return
	}
	start, end := p.pos, len(p.src)
	next := end
	if i := strings.IndexByte(p.src[start:], '\n'); i >= 0 {
		end, next = start+i, start+i+1
	}
	if i := strings.IndexByte(p.src[start:end], '#'); i >= 0 {
		if i := strings.Index(p.src[start:end], " #"); i >= 0 {
			end = start + i
		}
	}
	for end > start && isBlank(p.src[end-1]) {
		end--
	}
	if end > start && p.src[end-1] >= utf8.RuneSelf {
		end = start + len(strings.TrimRightFunc(p.src[start:end], unicode.IsSpace))
	}
	e.ValueStart, e.ValueEnd, e.End = start, end, end
	e.Expands = expands(p.src[start:end], 0)
	p.add(e, plain(start, end))
	if p.pos = next; next > 0 && p.src[next-1] == '\n' {
		p.line++
		p.lineStart = next
	}
}

// expands tells whether compose or python-dotenv would replace a part of s,
// the text of a value in quote q. Compose leaves '…' and \$ alone, python-dotenv
// replaces ${NAME} wherever it stands.
func expands(s string, q byte) bool {
	for i := strings.IndexByte(s, '$'); i >= 0 && i+1 < len(s); {
		c := s[i+1]
		escaped := q == '"' && i > 0 && s[i-1] == '\\'
		if c == '{' || q != '\'' && !escaped && (c == '$' || c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z') {
			return true
		}
		next := strings.IndexByte(s[i+1:], '$')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

func (p *parser) quoted(e Entry) {
	q := p.src[p.pos]
	e.Quote, e.ValueStart = q, p.pos
	end := closingQuote(p.src, p.pos)
	if end < 0 {
		p.problem(&e, Refused, "the quote is never closed")
		// The reading that loses least: this line is the value, and the rest is read.
		e.Quote = 0
		start := p.pos
		p.skipLine()
		end := strings.TrimRight(p.src[start:p.pos], " \t\r\n\v\f")
		e.ValueEnd, e.End = start+len(end), start+len(end)
		p.add(e, plain(start, e.ValueEnd))
		return
	}
	inner := p.src[p.pos+1 : end]
	v := plain(p.pos+1, end)
	if strings.IndexByte(inner, '\\') >= 0 {
		v = span{start: int32(len(p.text)), text: true}
		if q == '"' {
			p.text = unescapeDouble(p.text, inner, false)
		} else {
			p.text = append(p.text, strings.ReplaceAll(inner, `\'`, `'`)...)
		}
		v.end = int32(len(p.text))
	}
	e.Expands = expands(inner, q)
	e.ValueEnd, e.End = end+1, end+1
	p.add(e, v)
	if n := strings.Count(inner, "\n"); n > 0 {
		p.line += n
		p.lineStart = p.pos + 1 + strings.LastIndexByte(inner, '\n') + 1
	}
	p.pos = end + 1
	p.blanks()
	if p.pos < len(p.src) && p.src[p.pos] != '\n' && p.src[p.pos] != '#' {
		p.problem(&e, Refused, "text after the closing quote")
	}
	p.skipLine()
}

// closingQuote returns the offset of the quote that closes the one at start,
// -1 without one; a backslash hides the character after it.
func closingQuote(s string, start int) int {
	for i := start + 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[start]:
			return i
		}
	}
	return -1
}
