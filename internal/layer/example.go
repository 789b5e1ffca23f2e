package layer

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"envctl/providers/dotenv"
)

// Example is a .env.example: what people are told.
type Example struct {
	File    string
	Entries []ExampleEntry // in the file's order
	Groups  []string       // the headings, in order
	// Problems are statements that no reader understands (layer-unreadable).
	Problems []Problem
}

// ExampleEntry is one documented variable.
type ExampleEntry struct {
	Name string
	// Value is what stands in the file; documentation, published with it.
	Value        string
	Line, Column int
	Commented    bool   // # KEY=value: documented, not set
	Group        string // the heading above it, "" without one
	Description  string // the comment right above it or behind it, without marks
	Vault        bool   // marked [VAULT]
	Optional     bool   // marked [OPTIONAL]
	Placeholder  bool   // <YOUR_KEY>, changeme
}

// Lookup returns the entry that counts for name: the last one that is set, else
// the last one that is commented out.
func (x *Example) Lookup(name string) (ExampleEntry, bool) {
	var found *ExampleEntry
	for i := range x.Entries {
		if e := &x.Entries[i]; e.Name == name && (found == nil || !e.Commented || found.Commented) {
			found = e
		}
	}
	if found == nil {
		return ExampleEntry{}, false
	}
	return *found, true
}

// Duplicates returns the entries that set a name an earlier line sets too.
func (x *Example) Duplicates() []ExampleEntry {
	seen := make(map[string]bool, len(x.Entries))
	var out []ExampleEntry
	for i := range x.Entries {
		e := &x.Entries[i]
		if e.Commented {
			continue
		}
		if seen[e.Name] {
			out = append(out, *e)
		}
		seen[e.Name] = true
	}
	return out
}

// marks of the comments that stand above what follows.
type marks struct{ vault, optional bool }

// patterns are the expressions of the reader, each compiled when a line first
// looks like it: most examples need none.
type patterns struct {
	heading, ruler, mark, legendAfter, name, placeholder func() *regexp.Regexp
}

func examplePatterns() *patterns {
	lazy := func(expression string) func() *regexp.Regexp {
		return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
	}
	return &patterns{
		heading:     lazy(`^(?:={2,}|-{3,})\s*(.*?[^=\-\s].*?)\s*(?:={2,}|-{3,})$`),
		ruler:       lazy(`^[=\-#*~_]{3,}$`),
		mark:        lazy(`\[(VAULT|OPTIONAL)\]`),
		legendAfter: lazy(`^\s*(?:=|:|-|–|—|→|->|means\b|marks\b|indicates\b|stands for\b)`),
		name:        lazy(`\b[A-Z][A-Z0-9_]*_\*|\*_[A-Z0-9_]*[A-Z0-9]\b|\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b`),
		placeholder: lazy(`(?i)<[a-z][a-z0-9_ .-]*>|^(?:change[-_ ]?me|replace[-_ ]?me|todo|xxx+)$|^your[-_]`),
	}
}

// isCommented tells whether a comment's text is an assignment: NAME=, in
// capitals, perhaps behind export.
func isCommented(s string) bool {
	if rest, ok := strings.CutPrefix(s, "export"); ok && strings.TrimLeft(rest, " \t\n\f\r") != rest {
		s = strings.TrimLeft(rest, " \t\n\f\r")
	}
	name, _, ok := strings.Cut(s, "=")
	return ok && isName(name) && name == strings.ToUpper(name)
}

// isPlaceholder tells whether a value stands for one that is to be filled in.
func (re *patterns) isPlaceholder(s string) bool {
	if strings.IndexByte(s, '<') < 0 && (s == "" || strings.IndexByte("cCrRtTxXyY", s[0]) < 0) {
		return false
	}
	return re.placeholder().MatchString(s)
}

// ParseExample reads a .env.example. A mark at the end of a description covers
// the assignments up to the next comment; alone on its line, the next
// assignment; behind an assignment, that one; in a comment that names variables
// (S3_*, SECRET_KEY), those. A comment that explains a mark ([VAULT] = …)
// covers nothing. Kind Invalid for more than MaxSize bytes.
func ParseExample(file string, src []byte) (*Example, error) {
	if err := checkSize("read example", file, src); err != nil {
		return nil, err
	}
	f, err := dotenv.Parse(file, src)
	if err != nil {
		return nil, err
	}
	x := &exampleReader{Example: &Example{File: file}, src: string(src), re: examplePatterns()}
	for _, p := range f.Problems {
		x.Problems = append(x.Problems, Problem{Rule: RuleUnreadable, Variable: p.Key, Line: p.Line, Column: p.Column, Message: p.Message})
	}
	pos, line := 0, 1
	for _, e := range f.Entries {
		start := 1 + strings.LastIndexByte(x.src[:e.Start], '\n')
		x.comments(x.src[min(pos, start):start], line)
		pos, line = len(x.src), e.Line+strings.Count(x.src[e.Start:e.End], "\n")+1
		behind := x.src[e.End:]
		if i := strings.IndexByte(behind, '\n'); i >= 0 {
			pos, behind = e.End+i+1, behind[:i]
		}
		value := e.Value.Reveal()
		if e.Quote == 0 && strings.HasPrefix(value, "#") && strings.ContainsRune(" \t", rune(x.src[e.ValueStart-1])) {
			// KEY= # text: most readers take the text for the value, but it is meant for people.
			value, behind = "", value
		}
		x.entry(ExampleEntry{Name: e.Key, Value: value, Line: e.Line, Column: e.Column}, behind)
	}
	x.comments(x.src[min(pos, len(x.src)):], line)
	x.prose()
	return x.Example, nil
}

type exampleReader struct {
	*Example
	src         string
	re          *patterns
	group       string
	description []string // the comment lines of the block above
	block       marks    // up to the next comment
	next        marks    // for the next assignment only
	inBlock     bool     // the line before was a comment
	pending     *marks   // marks of a comment that begins with one, until an assignment follows directly
	named       []namedMark
	title       string // the text between two rulers, perhaps
	ruled       bool
}

// namedMark is a mark for variables that a comment names.
type namedMark struct {
	pattern string
	marks   marks
}

// comments reads the lines between two assignments.
func (x *exampleReader) comments(s string, line int) {
	for text := range strings.SplitAfterSeq(s, "\n") {
		trimmed := strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
		switch {
		case strings.HasPrefix(trimmed, "#"):
			body := strings.TrimSpace(strings.TrimPrefix(trimmed, "#"))
			if isCommented(body) {
				x.commented(body, text, line)
			} else {
				x.comment(strings.TrimSpace(strings.TrimLeft(trimmed, "#")))
			}
		case trimmed == "" && strings.Contains(text, "\n"):
			x.inBlock, x.description, x.pending = false, nil, nil
		}
		line++
	}
}

// commented reads # KEY=value.
func (x *exampleReader) commented(body, text string, line int) {
	f, err := dotenv.Parse(x.File, []byte(body))
	if err != nil || len(f.Entries) == 0 {
		return
	}
	e := f.Entries[0]
	x.entry(ExampleEntry{Name: e.Key, Value: e.Value.Reveal(), Line: line, Column: strings.Index(text, e.Key) + 1, Commented: true}, body[e.End:])
}

func (x *exampleReader) entry(e ExampleEntry, behind string) {
	if x.pending != nil {
		x.block, x.pending = *x.pending, nil
	}
	m := marksIn(behind)
	e.Group = x.group
	e.Vault = x.block.vault || x.next.vault || m.vault
	e.Optional = x.block.optional || x.next.optional || m.optional
	e.Placeholder = x.re.isPlaceholder(e.Value)
	e.Description = strings.Join(x.description, " ")
	if c := x.withoutMarks(strings.TrimLeft(strings.TrimSpace(behind), "# ")); c != "" && strings.Contains(behind, "#") {
		e.Description = c
	}
	x.next, x.inBlock, x.description = marks{}, false, nil
	x.Entries = append(x.Entries, e)
}

func marksIn(s string) marks {
	return marks{vault: strings.Contains(s, "[VAULT]"), optional: strings.Contains(s, "[OPTIONAL]")}
}

func (x *exampleReader) withoutMarks(s string) string {
	if marksIn(s) != (marks{}) {
		s = x.re.mark().ReplaceAllString(s, "")
	}
	if isSpaced(s) {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// isSpaced tells whether the words of s stand one blank apart, for certain.
func isSpaced(s string) bool {
	before := byte(' ')
	for i := range len(s) {
		if c := s[i]; c > '~' || c < ' ' || c == ' ' && before == ' ' {
			return false
		}
		before = s[i]
	}
	return before != ' '
}

// comment reads one line of prose, without its #.
func (x *exampleReader) comment(s string) {
	if !x.inBlock {
		// A new comment ends what the one before covered.
		x.block, x.description, x.pending = marks{}, nil, nil
	}
	x.inBlock = true
	switch {
	case s == "" || strings.IndexByte("=-#*~_", s[0]) >= 0 && x.re.ruler().MatchString(s):
		if x.ruled && x.title != "" && s != "" {
			x.heading(x.title)
		}
		x.ruled, x.title = s != "" && !x.ruled, ""
		return
	case (s[0] == '=' || s[0] == '-') && x.re.heading().MatchString(s):
		x.heading(x.re.heading().FindStringSubmatch(s)[1])
		return
	}
	x.title = s
	m := marksIn(s)
	rest := x.withoutMarks(s)
	last := strings.HasSuffix(s, "[VAULT]") || strings.HasSuffix(s, "[OPTIONAL]")
	if rest != "" {
		x.description = append(x.description, rest)
	}
	switch {
	case m == marks{}:
	case x.legend(s):
		x.description = x.description[:max(0, len(x.description)-1)]
	case rest == "":
		x.next = marks{x.next.vault || m.vault, x.next.optional || m.optional}
	case x.re.name().MatchString(rest) && !last || strings.Contains(rest, "_*") || strings.Contains(rest, "*_"):
		for _, p := range x.re.name().FindAllString(rest, -1) {
			x.named = append(x.named, namedMark{p, m})
		}
	case last:
		x.block = marks{x.block.vault || m.vault, x.block.optional || m.optional}
	default:
		// A mark in front of or inside a sentence is about the assignment right below;
		// without one there it explains something.
		x.pending = &marks{m.vault, m.optional}
	}
}

// legend tells whether a comment explains a mark.
func (x *exampleReader) legend(s string) bool {
	lower := strings.ToLower(s)
	if strings.HasPrefix(lower, "legend") || strings.Contains(lower, "marked with [") || strings.Contains(lower, "marked [") {
		return true
	}
	for _, loc := range x.re.mark().FindAllStringIndex(s, -1) {
		if x.re.legendAfter().MatchString(s[loc[1]:]) {
			return true
		}
	}
	return false
}

func (x *exampleReader) heading(s string) {
	m := marksIn(s)
	x.group, x.block, x.description, x.pending = x.withoutMarks(s), m, nil, nil
	if !slices.Contains(x.Groups, x.group) {
		x.Groups = append(x.Groups, x.group)
	}
}

// prose applies the marks of comments that name variables, wherever they are.
func (x *exampleReader) prose() {
	for i := range x.Entries {
		e := &x.Entries[i]
		for _, n := range x.named {
			prefix, suffix, glob := strings.Cut(n.pattern, "*")
			if e.Name == n.pattern || glob && strings.HasPrefix(e.Name, prefix) && strings.HasSuffix(e.Name, suffix) {
				e.Vault, e.Optional = e.Vault || n.marks.vault, e.Optional || n.marks.optional
			}
		}
	}
}
