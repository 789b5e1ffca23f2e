package dotenv

import (
	"slices"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Dialect is a program's way of reading a dotenv file.
type Dialect string

// The dialects. Each is tested against its real reader, Dokploy against a
// recorded one.
const (
	Compose Dialect = "compose" // docker compose v2: env_file and .env (compose-go)
	Docker  Dialect = "docker"  // docker run --env-file
	Dokploy Dialect = "dokploy" // the environment text of a Dokploy service (JavaScript dotenv, then a .env file)
	Python  Dialect = "python"  // python-dotenv
	Sh      Dialect = "sh"      // sourced by a POSIX shell: what dash and bash agree on
)

// Dialects returns every dialect, sorted.
func Dialects() []Dialect { return []Dialect{Compose, Docker, Dokploy, Python, Sh} }

// ParseDialect returns the dialect of that name; kind Usage for another.
func ParseDialect(name string) (Dialect, error) {
	if d := Dialect(name); slices.Contains(Dialects(), d) {
		return d, nil
	}
	return "", fault.Newf(fault.Usage, "choose reader "+name, "use sh, docker, compose, python or dokploy", "no such reader")
}

// ProblemKind is what a reader does to a statement.
type ProblemKind string

// The kinds, from harmless to dangerous.
const (
	Expands  ProblemKind = "expands"  // a part of the value is replaced by something else
	Inherits ProblemKind = "inherits" // a bare KEY: the value comes from the reader's environment
	Ignored  ProblemKind = "ignored"  // the statement sets nothing, silently
	Changes  ProblemKind = "changes"  // a part of the text is lost or becomes another key
	Refused  ProblemKind = "refused"  // the reader stops with an error
	Executes ProblemKind = "executes" // the shell runs a part of the line
)

// Assignment is one variable as a reader sees it.
type Assignment struct {
	Key   string
	Value secret.Value // unset: python-dotenv takes an earlier value back
	Line  int          // of the key, from 1
}

// Reading is what a reader makes of a file.
type Reading struct {
	Assignments []Assignment // in order; the last of a key wins
	Problems    []Problem
}

// Values returns each key's winning value.
func (r Reading) Values() map[string]secret.Value {
	m := make(map[string]secret.Value, len(r.Assignments))
	for _, a := range r.Assignments {
		if a.Value.IsSet() {
			m[a.Key] = a.Value
		} else {
			delete(m, a.Key)
		}
	}
	return m
}

// ReadAs reads src by d's rules. env is the environment that the reader
// would expand from; nil is an empty one. Where the reader would stop with an
// error, so does ReadAs (Invalid), with what came before in the Reading.
func ReadAs(d Dialect, file string, src []byte, env func(string) (string, bool)) (Reading, error) {
	if err := checkSize(file, src); err != nil {
		return Reading{}, err
	}
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	var l *lines
	switch d {
	case Compose:
		l = readCompose(string(src), env)
	case Docker:
		l = readDocker(string(src), env)
	case Dokploy:
		l = readDokploy(string(src))
	case Python:
		l = readPython(string(src), env)
	case Sh:
		l = readSh(string(src), env)
	default:
		return Reading{}, fault.Newf(fault.Internal, "read "+file, "", "no such reader %q", string(d))
	}
	return l.reading(string(d), file)
}

// maxExpanded bounds what $NAME may grow a file to: doubling a variable forty
// times takes forty lines.
const maxExpanded = 16 * MaxSize

// lines collects what a reader finds.
type lines struct {
	pairs    []pair
	latest   map[string]int // key → its last pair; nil until somebody asks
	problems []Problem
	refused  *Problem
	expanded int // bytes that expansions have made
}

type pair struct {
	key, value string
	line       int
	unset      bool
}

func (l *lines) set(key, value string, line int) {
	if l.latest != nil {
		l.latest[key] = len(l.pairs)
	}
	l.pairs = append(l.pairs, pair{key: key, value: value, line: line})
}

func (l *lines) problem(line int, key string, kind ProblemKind, message string) {
	l.problems = append(l.problems, Problem{Line: line, Key: key, Kind: kind, Message: message})
}

// refuse notes that the reader stops here.
func (l *lines) refuse(line int, key, message string) {
	p := Problem{Line: line, Key: key, Kind: Refused, Message: message}
	l.problems = append(l.problems, p)
	if l.refused == nil {
		l.refused = &p
	}
}

// value returns the winning value of key so far.
func (l *lines) value(key string) (string, bool) {
	if l.latest == nil {
		l.latest = make(map[string]int, len(l.pairs))
		for i := range l.pairs {
			l.latest[l.pairs[i].key] = i
		}
	}
	i, ok := l.latest[key]
	if !ok {
		return "", false
	}
	return l.pairs[i].value, true
}

// grow counts n bytes of expanded text and tells whether that is still sane.
func (l *lines) grow(n int) bool {
	l.expanded += n
	return l.expanded <= maxExpanded
}

const tooLarge = "the expanded values grow beyond every bound"

func (l *lines) reading(d, file string) (Reading, error) {
	strs := make([]string, len(l.pairs))
	for i, p := range l.pairs {
		strs[i] = p.value
	}
	r := Reading{Assignments: make([]Assignment, len(l.pairs)), Problems: l.problems}
	for i, v := range secret.NewAll(strs) {
		if l.pairs[i].unset {
			v = secret.Value{}
		}
		r.Assignments[i] = Assignment{Key: l.pairs[i].key, Value: v, Line: l.pairs[i].line}
	}
	if l.refused != nil {
		return r, fault.Newf(fault.Invalid, "read "+file+" as "+d, "", "line %d: %s", l.refused.Line, l.refused.Message)
	}
	return r, nil
}
