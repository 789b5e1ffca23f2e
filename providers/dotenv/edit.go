package dotenv

import (
	"bytes"
	"slices"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Edit is a changed file.
type Edit struct {
	Src []byte
	// Lines are the lines that were changed or removed, or the one that was
	// added, numbered as in the old file (an added one: as in the new).
	Lines []int
	Added bool
	// Overridden are the lines of other assignments of the same key that stay in
	// the file without effect, since the last one wins.
	Overridden []int
	// DroppedComment tells that a comment behind the value had to go: one of
	// the readers takes it for a part of the value.
	DroppedComment bool
}

// Set returns src with key's value changed, or key added at the end, and no
// other byte touched: order, comments, blanks, byte order mark and line ends
// stay. Of duplicates the last is changed, the one that wins. The result is read
// back by Parse and by every named reader (none named: Compose), and is
// Refused unless key has exactly value, with nothing expanded, and nothing else
// differs from before. A key that is no shell name is Usage, an oversized file
// Invalid.
func Set(src []byte, key string, value secret.Value, readers ...Dialect) (Edit, error) {
	op := "set " + key
	if nameLength(key) != len(key) || key == "" {
		return Edit{}, fault.New(fault.Usage, "set a variable", "a variable's name has letters, digits and _, and does not begin with a digit", "")
	}
	if !value.IsSet() {
		return Edit{}, fault.New(fault.Internal, op, "no value given", "")
	}
	if len(readers) == 0 {
		readers = []Dialect{Compose}
	}
	f, err := Parse("the file", src)
	if err != nil {
		return Edit{}, err
	}
	before, err := readAll(src, readers)
	if err != nil {
		return Edit{}, fault.Wrap(err, fault.Refused, op, "repair the file first: it cannot be changed safely as it is")
	}
	e, found := f.Lookup(key)
	v := value.Reveal()
	var problem string
	for _, text := range quotings(v, e.Quote) {
		for _, candidate := range place(src, f, e, found, key, text) {
			p := check(before, candidate.Src, key, &v, readers)
			if p == "" {
				return candidate, nil
			}
			if problem == "" {
				problem = p
			}
		}
	}
	hint := unwritableHint(v)
	if bytes.Contains(src, []byte("\r\n")) && slices.Contains(readers, Sh) {
		hint = "the file has CRLF line ends, which a shell reads as part of each value: convert it with sed -i 's/\\r$//' FILE"
	}
	return Edit{}, fault.New(fault.Refused, op, "the change would not be read back as it is meant: "+problem, hint)
}

// place returns the ways to put text into the file: instead of the old
// value alone, then instead of all that follows the =; or as a new last line.
func place(src []byte, f *File, e Entry, found bool, key, text string) []Edit {
	if !found {
		added := []Edit{atEnd(src, lineEnd(src), key+"="+text)}
		if bytes.HasSuffix(src, []byte("\r")) && !bytes.Contains(src, []byte("\n")) {
			// With a mere newline nobody could tell later whether the return was there before.
			added = append([]Edit{atEnd(src, "\r\n", key+"="+text)}, added...)
		}
		return added
	}
	edit := Edit{Lines: []int{e.Line}}
	for _, d := range f.Entries {
		if d.Key == key && d.Start != e.Start {
			edit.Overridden = append(edit.Overridden, d.Line)
		}
	}
	if !e.Value.IsSet() {
		text = "=" + text
	}
	lineEnd := len(src)
	if i := bytes.IndexByte(src[e.ValueEnd:], '\n'); i >= 0 {
		lineEnd = e.ValueEnd + i
		if lineEnd > e.ValueEnd && src[lineEnd-1] == '\r' {
			lineEnd--
		}
	}
	value, line := edit, edit
	value.Src = slices.Concat(src[:e.ValueStart], []byte(text), src[e.ValueEnd:])
	start := e.ValueStart
	for start > 0 && isBlank(src[start-1]) && e.Value.IsSet() {
		start--
	}
	line.Src = slices.Concat(src[:start], []byte(text), src[lineEnd:])
	line.DroppedComment = bytes.IndexByte(src[e.ValueEnd:lineEnd], '#') >= 0
	return []Edit{value, line}
}

// atEnd adds a line as the others are: where the last one has no end, the new one
// has none either.
func atEnd(src []byte, eol, line string) Edit {
	n := 1 + bytes.Count(src, []byte("\n"))
	if body := bytes.TrimPrefix(src, []byte(bom)); len(body) == 0 || body[len(body)-1] == '\n' {
		line += eol
	} else {
		line = eol + line
		n++
	}
	return Edit{Src: append(slices.Clone(src), line...), Lines: []int{n}, Added: true}
}

// lineEnd is how the first line of src ends.
func lineEnd(src []byte) string {
	if i := bytes.IndexByte(src, '\n'); i > 0 && src[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// Unset returns src without any assignment of key: removing only the last of
// several would let an earlier one win. Everything else stays, and what Set added
// at the end goes without a trace; kind NotFound
// when the file does not set key, Refused when the rest would read differently.
func Unset(src []byte, key string, readers ...Dialect) (Edit, error) {
	op := "unset " + key
	if len(readers) == 0 {
		readers = []Dialect{Compose}
	}
	f, err := Parse("the file", src)
	if err != nil {
		return Edit{}, err
	}
	before, err := readAll(src, readers)
	if err != nil {
		return Edit{}, fault.Wrap(err, fault.Refused, op, "repair the file first: it cannot be changed safely as it is")
	}
	edit := Edit{}
	from := 0
	for _, e := range f.Entries {
		if e.Key != key {
			continue
		}
		start := max(from, 1+bytes.LastIndexByte(src[:e.Start], '\n'))
		if start == 0 && bytes.HasPrefix(src, []byte(bom)) {
			start = len(bom)
		}
		end := len(src)
		if i := bytes.IndexByte(src[e.End:], '\n'); i >= 0 {
			end = e.End + i + 1
		}
		edit.Src = append(edit.Src, src[from:start]...)
		edit.Lines = append(edit.Lines, e.Line)
		from = end
	}
	if len(edit.Lines) == 0 {
		return Edit{}, fault.New(fault.NotFound, op, "the file does not set it", "")
	}
	edit.Src = append(edit.Src, src[from:]...)
	if src[len(src)-1] != '\n' && from == len(src) { // it was the last line, without an end: so is the one before it now
		edit.Src = bytes.TrimSuffix(edit.Src, []byte(lineEnd(src)))
	}
	if p := check(before, edit.Src, key, nil, readers); p != "" {
		return Edit{}, fault.New(fault.Refused, op, "the rest would be read differently: "+p, "")
	}
	return edit, nil
}

// whole returns the span of the last assignment of key with all that is on its lines,
// without the end of the last one.
func whole(src []byte, key string) (start, end int, ok bool, err error) {
	f, err := Parse("the file", src)
	if err != nil {
		return 0, 0, false, err
	}
	e, ok := f.Lookup(key)
	if !ok {
		return 0, 0, false, nil
	}
	start = 1 + bytes.LastIndexByte(src[:e.Start], '\n')
	if start == 0 && bytes.HasPrefix(src, []byte(bom)) {
		start = len(bom)
	}
	end = len(src)
	if i := bytes.IndexByte(src[e.End:], '\n'); i >= 0 {
		end = e.End + i
		if src[end-1] == '\r' {
			end--
		}
	}
	return start, end, true, nil
}

// Line returns the assignment of key that wins, as it is written, with all that is
// on its lines; unset where src has none.
func Line(src []byte, key string) (secret.Value, error) {
	start, end, ok, err := whole(src, key)
	if err != nil || !ok {
		return secret.Value{}, err
	}
	return secret.New(string(src[start:end])), nil
}

// SetLine puts line, which Line returned, in the place of the assignment of key that
// wins, or at the end. Kind Refused when the rest would read differently.
func SetLine(src []byte, key string, line secret.Value, readers ...Dialect) (Edit, error) {
	op := "put back " + key
	before, err := readAll(src, readers)
	if err != nil {
		return Edit{}, fault.Wrap(err, fault.Refused, op, "repair the file first: it cannot be changed safely as it is")
	}
	start, end, ok, err := whole(src, key)
	if err != nil {
		return Edit{}, err
	}
	edit := atEnd(src, lineEnd(src), line.Reveal())
	if ok {
		edit = Edit{Src: slices.Concat(src[:start], []byte(line.Reveal()), src[end:]), Lines: []int{1 + bytes.Count(src[:start], []byte("\n"))}}
	}
	after, err := readAll(edit.Src, readers)
	if err != nil {
		return Edit{}, fault.Wrap(err, fault.Refused, op, "")
	}
	for d, was := range before {
		if !slices.Equal(was.without(key), after[d].without(key)) {
			return Edit{}, fault.Newf(fault.Refused, op, "", "the %s reader would read another variable differently", d)
		}
	}
	return edit, nil
}

// snapshot is what one reader makes of a file.
type snapshot struct {
	pairs    []pair
	problems []Problem
}

// without returns s's assignments and problems of other keys, without the
// line numbers, which a change may move.
func (s snapshot) without(key string) []pair {
	var out []pair
	for _, p := range s.pairs {
		if p.key != key {
			out = append(out, pair{key: p.key, value: p.value})
		}
	}
	for _, p := range s.problems {
		if p.Key != key {
			out = append(out, pair{key: p.Key, value: string(p.Kind)})
		}
	}
	return out
}

// exact names Parse among the readers.
const exact Dialect = "exact"

// readAll returns what Parse and every reader make of src.
func readAll(src []byte, readers []Dialect) (map[Dialect]snapshot, error) {
	f, err := Parse("", src)
	if err != nil {
		return nil, err
	}
	s := snapshot{problems: f.Problems}
	for _, e := range f.Entries {
		s.pairs = append(s.pairs, pair{key: e.Key, value: e.Value.Reveal(), line: e.Line})
	}
	all := map[Dialect]snapshot{exact: s}
	for _, d := range readers {
		r, err := ReadAs(d, "the file", src, nil)
		if err != nil {
			return nil, err
		}
		s := snapshot{problems: r.Problems}
		for _, a := range r.Assignments {
			s.pairs = append(s.pairs, pair{key: a.Key, value: a.Value.Reveal(), line: a.Line})
		}
		all[d] = s
	}
	return all, nil
}

// check reads the changed file and says what is wrong with it, "" for
// nothing: key must have value (nil: not be there) and the rest be as before.
func check(before map[Dialect]snapshot, src []byte, key string, value *string, readers []Dialect) string {
	after, err := readAll(src, readers)
	if err != nil {
		return err.Error()
	}
	for _, d := range append([]Dialect{exact}, readers...) {
		name, now := "the "+string(d)+" reader", after[d]
		if !slices.Equal(before[d].without(key), now.without(key)) {
			return name + " would read another variable differently"
		}
		last := -1
		for i, p := range now.pairs {
			if p.key == key {
				last = i
			}
		}
		switch {
		case value == nil && last >= 0:
			return name + " would still read the variable"
		case value == nil:
		case last < 0:
			return name + " would not read the variable"
		case now.pairs[last].value != *value:
			return name + " would read another value"
		case slices.ContainsFunc(now.problems, func(p Problem) bool { return p.Key == key && p.Line >= now.pairs[last].line }):
			return name + " would not take the value as it is"
		}
	}
	return ""
}
