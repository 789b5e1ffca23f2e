// Package python reads Pydantic Settings classes from Python source without running it.
package python

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"envctl/internal/fault"
)

// Settings is what the settings classes of one file declare.
type Settings struct {
	File     string
	Classes  []Class   // in the order of the file
	Fields   []Field   // in the order Pydantic keeps, class by class; nested fields follow their parent
	Problems []Problem // by line
}

// Class is a settings class and the configuration that reaches it.
type Class struct {
	Name            string
	Line            int
	Pydantic        int // 1 or 2: the generation whose rules apply
	EnvPrefix       string
	NestedDelimiter string // "" when parts of nested fields cannot be set on their own
	CaseSensitive   bool
	IgnoreEmpty     bool     // an empty variable counts as unset
	EnvFiles        []string // the dotenv files the class reads by itself, later ones win
	Extra           string   // "forbid" (the default), "ignore" or "allow": what a dotenv file may hold besides
	Base            bool     // only other classes of the file use it, so its own variables do not count as fields
}

// Field is one field of a settings class, or a field of a model nested in it.
type Field struct {
	Name          string   // the name in Python; nested fields as parent.child
	Canonical     string   // the variable that must stand in .env.example; "" for a nested field whose parts stand for it
	Accepted      []string // every variable Pydantic reads for it, the first that is set wins; in capitals unless CaseSensitive
	Prefixes      []string // any variable that begins with one of these reaches the field: a dict, or a type of another file
	Aliases       []string // the aliases as written
	CaseSensitive bool

	Class    string // the settings class that has the field
	Declared string // the class that declares it: Class, one of its bases, or a nested model
	Line     int    // from 1, as are columns, which count bytes
	Column   int
	EndLine  int

	Type     string // the type's text without Annotated, Optional[X] as X | None
	Kind     Kind
	Optional bool // None is a value
	Required bool // no default
	Secret   bool // SecretStr and its like: its value is masked by Pydantic itself
	Custom   bool // a validator sees the text before the type does, so that Kind does not say what is legal
	Decoded  bool // the text must be JSON even so: Pydantic decodes a list, a dict or a model before any validator

	Default      *string  // as text for the environment; nil for None, for an unknown default and for none
	DefaultKnown bool     // false when the default is computed at run time, or when there is none
	Choices      []string // the texts that a Literal or an enumeration takes
	NoText       bool     // a Literal of numbers or truth values has choices that no text equals
	Constraints  Constraints
	Items        *Field // what the entries of a list are: only what a type says is filled in; nil where they are not all of one type
	Description  string
	Extra        map[string]any // json_schema_extra: nil, bool, int64, float64, string, []any, map[string]any
}

// Accepts tells whether Pydantic fills the field from the variable name.
func (f *Field) Accepts(name string) bool {
	if !f.CaseSensitive {
		name = strings.ToUpper(name)
	}
	for _, a := range f.Accepted {
		if a == name {
			return true
		}
	}
	for _, p := range f.Prefixes {
		if len(name) > len(p) && strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// Constraints are the limits on a field's value as texts, "" where there is
// none.
type Constraints struct {
	Ge, Gt, Le, Lt       string
	MinLength, MaxLength string
	Pattern, MultipleOf  string
}

// Kind is the class of a type, as far as text for it can be judged.
type Kind string

// The kinds. List covers tuples and sets, and like Dict and Nested is written
// as JSON.
const (
	Bool    Kind = "bool"
	Bytes   Kind = "bytes"
	Dict    Kind = "dict"
	Enum    Kind = "enum"
	Float   Kind = "float"
	Int     Kind = "int"
	List    Kind = "list"
	Literal Kind = "literal"
	Nested  Kind = "nested"
	Secret  Kind = "secret"
	Str     Kind = "str"
	URL     Kind = "url"
	Unknown Kind = "unknown"
)

// ProblemKind says whose problem it is.
type ProblemKind string

// The kinds of problems.
const (
	Ignored ProblemKind = "ignored" // Pydantic reads the file, but not as it was meant
	Refused ProblemKind = "refused" // Python or Pydantic would refuse the file
	Unread  ProblemKind = "unread"  // this reader does not know it: fields may be missing or wrong
)

// Problem is something in the file that is not understood or not right.
type Problem struct {
	Kind    ProblemKind
	Line    int
	Column  int
	Class   string // "" outside of settings classes
	Field   string // "" when it is not about one field
	Message string
}

// Read reads the settings classes of a Python file; file only names it in
// errors. It fails with fault.Invalid for what is no Python text at all: more
// than 1 MiB, NUL bytes, an encoding other than UTF-8. All else that cannot be
// read is among the Problems, and what can be read is returned beside them.
func Read(file string, src []byte) (*Settings, error) {
	op := "read " + file
	switch {
	case len(src) > maxSource:
		return nil, fault.New(fault.Invalid, op, "larger than 1 MiB", "name the file that declares the settings in envctl.yaml")
	case bytes.IndexByte(src, 0) >= 0:
		return nil, fault.New(fault.Invalid, op, "contains NUL bytes: not Python source", "name the file that declares the settings in envctl.yaml")
	case !utf8.Valid(src):
		return nil, fault.New(fault.Invalid, op, "not UTF-8", "save the file as UTF-8")
	}
	text := string(src)
	if strings.IndexByte(text, '\r') >= 0 {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	toks, problem := scan(text)
	p := stmtParser{toks: toks}
	r := reader{out: &Settings{File: file}, seen: map[Problem]bool{}, fieldsSeen: map[declaration]bool{}}
	module := p.block(0)
	if problem != nil {
		problem.Message += ": the rest of the file is not read"
		r.report(*problem)
		r.torn = problem.Line
	}
	for _, each := range p.problems {
		r.report(each)
	}
	r.read(module, toks)
	slices.SortStableFunc(r.out.Problems, func(a, b Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return r.out, nil
}
