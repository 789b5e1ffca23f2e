package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"envctl/internal/fault"
)

// Template is a Vault Agent (consul-template) template as it stands in the
// file, understood without rendering it. What it says holds for every
// environment; where a template computes what only rendering can tell, the
// Opaque marks say so.
type Template struct {
	File string
	// Variables are the assignments the template can emit, by position. One name
	// appears several times when several branches emit it.
	Variables []TemplateVariable
	Paths     []TemplatePath // the store paths it reads, by position, each once
	Inputs    []Input        // every key it reads, also only to decide, by position, each once
	Envs      []string       // the names given to env, mustEnv and envOrDefault, sorted
	Spreads   []Spread       // the places that emit every key of a path
	Problems  []Problem

	src    string
	copied []byte // src, see mark
	lines  lineIndex
	trees  map[string]*parse.Tree
	pure   map[string]any // the pure functions that it calls
}

// TemplatePath is a store path in terms of the environment it is read in.
type TemplatePath struct {
	// Pattern is the path with {NAME} for each env "NAME", and {…} for what
	// only rendering can tell: secret/data/ledger/{ENV}/app.
	Pattern      string
	Envs         []string // the names in Pattern, sorted
	Opaque       bool     // Pattern has a {…}
	Conditional  Condition
	Line, Column int
	parts        []part
}

// Resolve returns the path in an environment; false when only rendering can tell.
func (p TemplatePath) Resolve(env map[string]string) (string, bool) {
	var b strings.Builder
	for _, x := range p.parts {
		switch x.kind {
		case partText:
			b.WriteString(x.text)
		case partEnv:
			b.WriteString(env[x.text])
		default:
			return "", false
		}
	}
	return b.String(), true
}

// Condition says on what it depends whether something is reached at all. A
// with over secret … is no condition: without the secret nothing is rendered.
type Condition int

// The conditions, from none to the one that depends on most.
const (
	Always  Condition = iota
	ByEnv             // on env alone
	ByStore           // on values in the store
)

// Input is a key of a store path.
type Input struct {
	Path         string // a TemplatePath.Pattern
	Key          string
	Line, Column int // where it is read first
}

// TemplateVariable is one KEY= of the template.
type TemplateVariable struct {
	Name         string
	Line, Column int
	Inputs       []Input // the store keys its value is made of, in order, each once
	// Needs are the patterns of the paths that decide what its value is or whether it
	// is emitted, sorted; without any other the variable is the same.
	Needs []string
	Envs  []string // the env names its value is made of, sorted
	// Default is the value where inputs and env are missing: an else branch, the
	// last of or, envOrDefault; as a shell reads it. "" with HasDefault false: nothing
	// stands there.
	Default    string
	HasDefault bool
	// Literals are the values made of template text alone, as a shell reads them,
	// in order: the defaults, or all values of a variable without inputs.
	Literals []string
	// Static tells that the value is template text on every branch.
	Static      bool
	Conditional Condition
	// Quotings are the ways values are quoted: "%q", "shquote", "toJSON"; sorted.
	Quotings []string
	// Opaque tells that the value is computed in a way only rendering can tell.
	Opaque bool

	offset int
	arms   []arm
	values [][]part
}

// Spread is a place that emits a variable for every key of a path.
type Spread struct {
	Path         string
	Needs        []string // as a TemplateVariable's
	Line, Column int
}

// arm is one side of one branch; two variables in different arms of one
// branch are never emitted together.
type arm struct {
	branch parse.Pos
	side   int
}

// Digest returns the SHA-256 of the source in hexadecimal digits.
func (t *Template) Digest() string {
	sum := sha256.Sum256([]byte(t.src))
	return hex.EncodeToString(sum[:])
}

// Names returns the variables' names, sorted, each once.
func (t *Template) Names() []string {
	names := slices.Grow([]string(nil), len(t.Variables))
	for i := range t.Variables {
		names = append(names, t.Variables[i].Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ParseTemplate reads a template with Go's own template parser. Kind Invalid,
// with file and line, for a syntax error, a function that is not allowed or
// does not exist, more than MaxSize bytes or MaxDepth levels.
func ParseTemplate(file string, src []byte) (*Template, error) {
	const op = "read template"
	if err := checkSize(op, file, src); err != nil {
		return nil, err
	}
	text := string(src)
	if line := tooDeep(text); line > 0 {
		return nil, invalid(op, file, line, "", "nested deeper than %d levels", MaxDepth)
	}
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck // ours names the function and says why
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		line, message := syntaxError(err.Error())
		return nil, invalid(op, file, line, syntaxHint(message), "%s", message)
	}
	trees["template"] = tree // Parse leaves out a tree of white space only
	t := &Template{File: file, src: text, lines: newLineIndex(text), trees: trees, pure: map[string]any{}}
	if err := t.checkFunctions(op); err != nil {
		return nil, err
	}
	if err := t.analyse(); err != nil {
		return nil, err
	}
	t.mark()
	return t, nil
}

// syntaxError takes the parser's message apart (template: NAME:LINE: text):
// matching its text is the only way to its line.
func syntaxError(s string) (int, string) {
	rest, ok := strings.CutPrefix(s, "template: template:")
	number, message, found := strings.Cut(rest, ": ")
	line, err := strconv.Atoi(number)
	if !ok || !found || err != nil {
		return 0, s
	}
	return line, message
}

func syntaxHint(message string) string {
	if strings.Contains(message, `"{"`) || strings.Contains(message, "{{") {
		return "an action inside an action: use a variable ({{ $x := … }}) or printf instead of nested {{ }}"
	}
	return ""
}

// tooDeep returns the line at which actions nest deeper than MaxDepth, or
// parentheses in one do, before the parser recurses into them; 0 for nowhere.
func tooDeep(s string) int {
	chain := []int{0} // else-ifs of each open block: they nest in the tree
	for pos := 0; ; {
		i := strings.Index(s[pos:], "{{")
		if i < 0 {
			return 0
		}
		pos += i + 2
		body := strings.TrimLeft(strings.TrimPrefix(s[pos:], "-"), " \t\r\n")
		if strings.HasPrefix(body, "/*") {
			end := strings.Index(body, "*/")
			if end < 0 {
				return 0
			}
			pos = len(s) - len(body) + end + 2
			continue
		}
		switch word := leadingWord(body); word {
		case "if", "with", "range", "block", "define":
			chain = append(chain, 0)
		case "else":
			chain[len(chain)-1]++
		case "end":
			if len(chain) > 1 {
				chain = chain[:len(chain)-1]
			}
		}
		if len(chain)-1 > MaxDepth || chain[len(chain)-1] > 10*MaxDepth {
			return 1 + strings.Count(s[:pos], "\n")
		}
		depth := 0
	action:
		for ; pos < len(s); pos++ {
			switch c := s[pos]; c {
			case '}':
				if strings.HasPrefix(s[pos:], "}}") {
					break action
				}
			case '(':
				if depth++; depth > MaxDepth {
					return 1 + strings.Count(s[:pos], "\n")
				}
			case ')':
				depth--
			case '"', '\'', '`':
				for pos++; pos < len(s) && s[pos] != c && (s[pos] != '\n' || c == '`'); pos++ {
					if s[pos] == '\\' && c != '`' {
						pos++
					}
				}
			}
		}
		pos = min(pos, len(s)) // an unclosed text ended past it
	}
}

func leadingWord(s string) string {
	n := 0
	for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
		n++
	}
	return s[:n]
}

// checkFunctions refuses every function outside the allow-list, the first in
// the file first, and secret with parameters: that writes to Vault.
func (t *Template) checkFunctions(op string) error {
	bad, badWrite := parse.Pos(len(t.src)), parse.Pos(len(t.src))
	name, pure, bound := "", pureFunctions(), boundFunctions()
	for _, tree := range t.trees {
		walk(tree.Root, func(n parse.Node) {
			switch n := n.(type) {
			case *parse.IdentifierNode:
				if fn := pure[n.Ident]; fn != nil {
					t.pure[n.Ident] = fn
				} else if !slices.Contains(bound, n.Ident) && n.Pos < bad {
					bad, name = n.Pos, n.Ident
				}
			case *parse.CommandNode:
				if id, ok := n.Args[0].(*parse.IdentifierNode); ok && id.Ident == "secret" && len(n.Args) > 2 && id.Pos < badWrite {
					badWrite = id.Pos
				}
			}
		})
	}
	switch {
	case name != "":
		line, _ := t.lines.at(int(bad))
		if slices.Contains(refusedFunctions(), name) || strings.HasPrefix(name, "sprig_") {
			return invalid(op, t.File, line, "use secret, env, printf, comparisons and string functions only",
				"the function %s is refused: it reaches beyond the template's own secrets", name)
		}
		hint := "Vault Agent stops with an error here; see its list of functions"
		if name == "default" {
			hint = `write {{ or .Data.data.KEY "…" }} or {{ with .Data.data.KEY }}…{{ else }}…{{ end }}`
		}
		return invalid(op, t.File, line, hint, "there is no function %s", name)
	case int(badWrite) < len(t.src):
		line, _ := t.lines.at(int(badWrite))
		return invalid(op, t.File, line, "read the path without parameters", "secret with parameters writes to Vault")
	}
	return nil
}

// walk calls f for every node below and including n.
func walk(n parse.Node, f func(parse.Node)) {
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, n := range l.Nodes {
				walk(n, f)
			}
		}
	}
	branch := func(b *parse.BranchNode) {
		walk(b.Pipe, f)
		list(b.List)
		list(b.ElseList)
	}
	f(n)
	switch n := n.(type) {
	case *parse.ListNode:
		list(n)
	case *parse.ActionNode:
		walk(n.Pipe, f)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			walk(c, f)
		}
	case *parse.CommandNode:
		for _, a := range n.Args {
			walk(a, f)
		}
	case *parse.ChainNode:
		walk(n.Node, f)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			walk(n.Pipe, f)
		}
	}
}

// Resolve returns the paths that rendering in env reads, in order, each once:
// those on the branches that env chooses, and those that values in the store may lead
// to. The error is of kind Invalid when one cannot be told.
func (t *Template) Resolve(env map[string]string) ([]string, error) {
	paths := newRenderer(context.Background(), t, RenderInput{Env: env}).reached()
	for _, p := range t.Paths {
		if p.Conditional != ByStore {
			continue
		}
		s, ok := p.Resolve(env)
		if !ok {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("resolve %s:%d", t.File, p.Line), "the path "+p.Pattern+" depends on values in the store", "")
		}
		if !slices.Contains(paths, s) {
			paths = append(paths, s)
		}
	}
	return paths, nil
}

// Duplicates returns the variables that are emitted although an earlier line
// emits them too, whatever branches are taken.
func (t *Template) Duplicates() []TemplateVariable {
	var out []TemplateVariable
	latest := make(map[string]int, len(t.Variables)) // from 1
	before := make([]int, len(t.Variables)+1)        // the one of the same name before it
	for i := range t.Variables {
		v := &t.Variables[i]
		before[i+1] = latest[v.Name]
		for j := before[i+1]; j > 0; j = before[j] {
			if !exclusive(v.arms, t.Variables[j-1].arms) {
				out = append(out, *v)
				break
			}
		}
		latest[v.Name] = i + 1
	}
	return out
}

func exclusive(a, b []arm) bool {
	for _, x := range a {
		for _, y := range b {
			if x.branch == y.branch && x.side != y.side {
				return true
			}
		}
	}
	return false
}
