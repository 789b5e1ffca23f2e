// Package layer reads the files that declare variables: the template that
// renders them, the example that documents them; and renders templates.
package layer

import (
	"fmt"
	"sort"
	"strings"

	"envctl/internal/fault"
)

// MaxSize is the largest layer file that is read, in bytes; MaxDepth the
// deepest nesting in one.
const (
	MaxSize  = 1 << 20
	MaxDepth = 20
)

// Problem is something wrong at a place of a layer file. Rule is the name that
// envctl check gives it; the message never holds a value.
type Problem struct {
	Rule         string
	Variable     string // "" when it concerns none
	Line, Column int    // in the layer file, from 1; 0 when unknown
	Message      string
	Executes     bool   // a shell that reads the text would run a part of it
	Changes      bool   // the text's reader gets another value than the store holds
	Fix          string // "" where the rule's own says it
}

// Rules of the problems that this package finds.
const (
	RuleDuplicate    = "duplicate-key"
	RuleMergedLines  = "template-merged-lines"
	RuleMissingValue = "template-missing-value"
	RuleSyntax       = "template-syntax"
	RuleUnreadable   = "layer-unreadable"
	RuleUnsafeShell  = "unsafe-for-shell"
)

func invalid(op, file string, line int, hint, format string, args ...any) error {
	where := file
	if line > 0 {
		where = fmt.Sprintf("%s:%d", file, line)
	}
	return fault.New(fault.Invalid, op+" "+where, fmt.Sprintf(format, args...), hint)
}

func checkSize(op, file string, src []byte) error {
	if len(src) > MaxSize {
		return invalid(op, file, 0, "", "larger than %d bytes", MaxSize)
	}
	return nil
}

// lineIndex finds lines and columns (from 1, in bytes) of offsets.
type lineIndex []int

func newLineIndex(src string) lineIndex {
	x := make(lineIndex, 1, 2+strings.Count(src, "\n"))
	for i := range len(src) {
		if src[i] == '\n' {
			x = append(x, i+1)
		}
	}
	return x
}

func (x lineIndex) at(offset int) (line, column int) {
	line = sort.SearchInts(x, offset+1)
	return line, offset - x[line-1] + 1
}

// isName tells whether s is a variable's name: [A-Za-z_][A-Za-z0-9_]*.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
