package layer

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"envctl/providers/dotenv"
)

// checker reads a rendered text as its reader will, and finds what is wrong
// with it.
type checker struct {
	r         *renderer
	text      string
	lines     lineIndex
	variables []RenderedVariable
	problems  []Problem
	carriage  bool                      // a CR at a value's end was reported
	values    map[string]map[string]any // of the paths that were asked for, by pattern
}

func newChecker(r *renderer, text string) *checker {
	c := &checker{r: r, text: text, lines: newLineIndex(text), values: map[string]map[string]any{}}
	c.read()
	c.missing()
	c.merged()
	c.unchanged()
	c.required()
	slices.SortStableFunc(c.problems, func(p, q Problem) int { return p.Line - q.Line })
	return c
}

func (c *checker) problem(rule, variable string, line int, format string, args ...any) {
	c.add(Problem{Rule: rule, Variable: variable, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) add(p Problem) {
	if !slices.Contains(c.problems, p) {
		c.problems = append(c.problems, p)
	}
}

// segmentAt returns the segment that wrote the byte at offset.
func (c *checker) segmentAt(offset int) segment {
	i := sort.Search(len(c.r.segments), func(i int) bool { return c.r.segments[i].offset > offset }) - 1
	if i < 0 {
		return segment{}
	}
	return c.r.segments[i]
}

// sourceOffset returns where in the template the byte at offset comes from.
func (c *checker) sourceOffset(offset int) int {
	s := c.segmentAt(offset)
	if s.text {
		return s.pos + offset - s.offset
	}
	return s.pos
}

func (c *checker) sourceLine(offset int) int {
	line, _ := c.r.t.lines.at(c.sourceOffset(offset))
	return line
}

// lineStart returns the offset of a line of the text.
func (c *checker) lineStart(line int) int {
	if line < 1 || line > len(c.lines) {
		return len(c.text)
	}
	return c.lines[line-1]
}

// read lists the variables and what the reader does to them.
func (c *checker) read() {
	var reading dotenv.Reading
	if reader := c.r.in.Reader; reader == "" || reader == dotenv.Sh {
		reading = dotenv.ReadShell([]byte(c.text))
	} else {
		var err error
		reading, err = dotenv.ReadAs(reader, c.r.t.File, []byte(c.text), nil)
		if err != nil && len(reading.Problems) == 0 {
			c.problem(RuleUnreadable, "", 0, "%s cannot read the text: it is too large", reader)
		}
	}
	c.variables = slices.Grow(c.variables, len(reading.Assignments))
	for _, a := range reading.Assignments {
		start := c.lineStart(a.Line)
		end := len(c.text)
		if i := strings.IndexByte(c.text[start:], '\n'); i >= 0 {
			end = start + i
		}
		at := start + max(0, strings.Index(c.text[start:end], a.Key))
		s := c.segmentAt(at)
		c.variables = append(c.variables, RenderedVariable{Name: a.Key, Value: a.Value, Line: c.sourceLine(at), TextLine: a.Line})
		if !s.text && at > s.offset && strings.Contains(c.text[s.offset:at], "\n") {
			c.problem(RuleUnsafeShell, a.Key, c.sourceLine(at), "a value holds a newline and brings an assignment of its own")
		}
	}
	c.carriage = c.carriageReturns(reading)
	for _, p := range reading.Problems {
		if c.carriage && strings.HasPrefix(c.text[c.lineStart(p.Line):], "\r\n") {
			continue // an empty line, but for what was said already
		}
		name := p.Key
		if name == "" {
			name = c.variableAt(p.Line)
		}
		c.add(Problem{
			Rule: RuleUnsafeShell, Variable: name, Line: c.sourceLine(c.lineStart(p.Line)), Message: p.Message,
			Executes: p.Kind == dotenv.Executes,
		})
	}
}

// carriageReturns reports, once, a template whose line ends are CRLF: a shell
// takes the CR into every value. Other readers drop it.
func (c *checker) carriageReturns(reading dotenv.Reading) bool {
	if reader := c.r.in.Reader; reader != "" && reader != dotenv.Sh || !strings.Contains(c.r.t.src, "\r\n") {
		return false
	}
	for i, a := range reading.Assignments {
		start := c.lineStart(a.Line)
		end := strings.IndexByte(c.text[start:], '\n')
		if end < 1 || c.text[start+end-1] != '\r' || !c.segmentAt(start+end-1).text || !strings.HasSuffix(a.Value.Reveal(), "\r") {
			continue
		}
		c.add(Problem{
			Rule: RuleUnsafeShell, Variable: a.Key, Line: c.variables[i].Line, Message: "lines of the template end in CRLF, and a shell takes the CR into the value",
			Fix: "sed -i 's/\\r$//' " + c.r.t.File,
		})
		return true
	}
	return false
}

// variableAt returns the variable whose assignment holds a line of the text.
func (c *checker) variableAt(line int) string {
	name := ""
	for _, v := range c.variables {
		if v.TextLine <= line {
			name = v.Name
		}
	}
	return name
}

// missing reports what the engine writes for a value that is not there.
func (c *checker) missing() {
	for i, s := range c.r.segments {
		end := len(c.text)
		if i+1 < len(c.r.segments) {
			end = c.r.segments[i+1].offset
		}
		if s.text || s.offset == end {
			continue
		}
		out := c.text[s.offset:end]
		line, _ := c.r.t.lines.at(s.pos)
		textLine, _ := c.lines.at(s.offset)
		name := c.variableAt(textLine)
		if out == "<no value>" {
			c.problem(RuleMissingValue, name, line, "<no value>: a key that is read here is not in the store")
			continue
		}
		for _, a := range c.r.anomalies {
			// A variable may carry what printf made to another place.
			if (a.segment == i || strings.Contains(a.text, "%!")) && strings.Contains(out, a.text) {
				c.problem(RuleMissingValue, name, line, "%s: a value that is formatted here is missing or of the wrong kind", complaint(a.text))
			}
		}
	}
}

// complaint returns the engine's words in s, which have no value in them.
func complaint(s string) string {
	for _, w := range []string{"(<nil>)", "<nil>"} {
		if i := strings.Index(s, w); i >= 0 {
			if j := strings.LastIndex(s[:i], "%!"); j >= 0 && i-j == 3 {
				return s[j : i+len(w)]
			}
			return "<nil>"
		}
	}
	if s == "null" {
		return s
	}
	return "%!"
}

// merged reports template lines that begin with a name and did not begin a
// line of the text.
func (c *checker) merged() {
	for i, s := range c.r.segments {
		if !s.text || !startsLine(c.r.t.src, s.pos) || startsLine(c.text, s.offset) {
			continue
		}
		end := len(c.text)
		if i+1 < len(c.r.segments) {
			end = c.r.segments[i+1].offset
		}
		line, _, _ := strings.Cut(c.text[s.offset:end], "\n")
		name, _, ok := strings.Cut(trimBlanks(line), "=")
		if ok && isName(strings.TrimPrefix(name, "export ")) {
			textLine, _ := c.lines.at(s.offset)
			at, _ := c.r.t.lines.at(s.pos)
			c.problem(RuleMergedLines, name, at, "a trim marker joins %s to the line of %s", name, c.variableAt(textLine))
		}
	}
}

// unchanged reports variables whose reader reads another value than the
// store, the environment and the template's text make up.
func (c *checker) unchanged() {
	type place struct {
		name string
		line int
	}
	declared := make(map[place]*TemplateVariable, len(c.r.t.Variables))
	for i := range c.r.t.Variables {
		tv := &c.r.t.Variables[i]
		if p := (place{tv.Name, tv.Line}); declared[p] == nil {
			declared[p] = tv
		}
	}
	for _, v := range c.variables {
		tv := declared[place{v.Name, v.Line}]
		if tv == nil || v.Value.Len() == 0 {
			continue
		}
		matches := len(tv.values) == 0 || tv.Static || slices.ContainsFunc(tv.values, func(parts []part) bool {
			want, known := c.expected(parts)
			return !known || v.Value.Reveal() == want || c.carriage && v.Value.Reveal() == want+"\r"
		})
		if matches {
			continue
		}
		at := slices.IndexFunc(c.problems, func(p Problem) bool { return p.Variable == v.Name && p.Line == v.Line })
		if at < 0 {
			at = len(c.problems)
			c.problem(RuleUnsafeShell, v.Name, v.Line, "the reader gets another value than the store holds: its quoting (%s) does not suit the reader",
				strings.Join(append([]string{"as written"}, tv.Quotings...), ", "))
		}
		c.problems[at].Changes = true
	}
}

// expected returns the value that an alternative is meant to have: the
// template's own text as a shell reads it, with the raw values in their places.
func (c *checker) expected(parts []part) (string, bool) {
	switch n := len(parts); {
	case n == 1 && parts[0].kind != partText:
		return c.raw(parts[0])
	case n == 3 && parts[0].isQuote() && parts[1].kind != partText && parts[2].isQuote() && parts[0].text == parts[2].text:
		return c.raw(parts[1])
	}
	var shape strings.Builder
	var pairs []string
	for i, p := range parts {
		if p.kind == partText {
			shape.WriteString(p.text)
			continue
		}
		raw, ok := c.raw(p)
		if !ok {
			return "", false
		}
		mark := "Zq" + strconv.Itoa(i) + "qZ"
		pairs = append(pairs, mark, raw)
		shape.WriteString(mark)
	}
	if plain, ok := plainWord(shape.String()); ok {
		return replaceEach(plain, pairs), true
	}
	r := dotenv.ReadShell([]byte("V=" + shape.String() + "\n"))
	if len(r.Problems) > 0 || len(r.Assignments) != 1 {
		return "", false
	}
	return replaceEach(r.Assignments[0].Value.Reveal(), pairs), true
}

func (p part) isQuote() bool { return p.kind == partText && (p.text == `"` || p.text == "'") }

// raw returns the value that a part stands for, before it is quoted.
func (c *checker) raw(p part) (string, bool) {
	switch p.kind {
	case partEnv:
		return c.r.in.Env[p.text], true
	case partKey:
		return c.stored(p.inputs[0])
	default:
		return "", false
	}
}

// replaceEach puts values in place of their marks; a value may look like a mark.
func replaceEach(s string, pairs []string) string {
	switch len(pairs) { // what a Replacer builds is dear for the one value of most lines
	case 0:
		return s
	case 2:
		return strings.ReplaceAll(s, pairs[0], pairs[1])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// stored returns the text of a key that was read in this rendering.
func (c *checker) stored(in Input) (string, bool) {
	values, known := c.values[in.Path]
	if !known {
		for _, p := range c.r.t.Paths {
			if p.Pattern != in.Path {
				continue
			}
			if path, ok := p.Resolve(c.r.in.Env); ok && c.r.secrets[cleanPath(path)] != nil {
				values, _ = c.r.secrets[cleanPath(path)].Data["data"].(map[string]any)
			}
			break // a pattern is there once
		}
		c.values[in.Path] = values
	}
	switch v := values[in.Key].(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

func (c *checker) required() {
	for _, name := range c.r.in.Required {
		found := false
		for _, v := range c.variables {
			if v.Name == name {
				found = true
				if v.Value.Len() == 0 {
					c.problem(RuleMissingValue, name, v.Line, "it is required and empty")
				}
			}
		}
		if !found {
			c.problem(RuleMissingValue, name, 0, "it is required and the template does not render it")
		}
	}
}
