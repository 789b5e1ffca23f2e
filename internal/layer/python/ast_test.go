package python

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"envctl/internal/realtest"
)

// astClass is a class as testdata/fields.py and items report it.
type astClass struct {
	Name   string
	Line   int
	Bases  int
	Fields [][]any // name, line, column, last line, repr of a literal value, "?" or null
}

type astAnswer struct {
	ID      int
	Error   string
	Classes []astClass
}

type astRequest struct {
	ID   int    `json:"id"`
	Src  string `json:"src,omitempty"`
	Path string `json:"path,omitempty"`
}

// runPython runs a script of testdata once over all requests.
func runPython[Request, Answer any](t *testing.T, interpreter, script string, requests []Request) []Answer {
	t.Helper()
	var in bytes.Buffer
	for _, r := range requests {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(b, '\n'))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, "-W", "ignore", filepath.Join("testdata", script))
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr.String())
	}
	var answers []Answer
	for line := range bytes.Lines(out) {
		var a Answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%s: %v: %s", script, err, line)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(requests) {
		t.Fatalf("%s: %d answers to %d requests", script, len(answers), len(requests))
	}
	return answers
}

// items reads src with this package up to what a class body declares, before
// anything of Pydantic is known.
func items(src string) ([]astClass, []Problem) {
	toks, problem := scan(strings.ReplaceAll(src, "\r\n", "\n"))
	p := stmtParser{toks: toks}
	r := reader{out: &Settings{}, seen: map[Problem]bool{}, fieldsSeen: map[declaration]bool{}}
	module := p.block(0)
	problems := p.problems
	if problem != nil {
		problems = append(problems, *problem)
	}
	r.collect(module, &scope{names: map[string]*binding{}}, 0)
	problems = append(problems, r.out.Problems...)
	slices.SortStableFunc(r.classes, func(a, b *class) int { return a.line - b.line })
	var out []astClass
	for _, c := range r.classes {
		ac := astClass{Name: c.name, Line: c.line, Bases: len(c.bases)}
		for i := range c.items {
			it := &c.items[i]
			if it.kind != stmtAnnotated {
				continue
			}
			if _, problem := parseExpr(it.ann, it.at); problem != nil {
				problems = append(problems, *problem)
			}
			field := []any{it.name, float64(it.at.line), float64(it.at.col), float64(it.stmt.endLine()), nil}
			if it.value != nil {
				e, problem := parseExpr(it.value, it.at)
				if problem != nil {
					problems = append(problems, *problem)
				}
				field[4] = "?"
				if s, ok := repr(e); ok {
					field[4] = s
				}
			}
			ac.Fields = append(ac.Fields, field)
		}
		out = append(out, ac)
	}
	return out, problems
}

// repr writes a literal as Python's repr does; only what ast.literal_eval
// accepts as well.
func repr(e *expr) (string, bool) {
	join := func(open, closing string) (string, bool) {
		var parts []string
		for _, a := range e.args {
			s, ok := repr(a)
			if !ok {
				return "", false
			}
			parts = append(parts, s)
		}
		return open + strings.Join(parts, ", ") + closing, true
	}
	switch e.kind {
	case exprConst:
		switch v := e.value.(type) {
		case nil:
			return "None", true
		case bool:
			return map[bool]string{true: "True", false: "False"}[v], true
		case int64:
			return strconv.FormatInt(v, 10), true
		case float64:
			return floatText(v), true
		case string:
			return pythonString(v), true
		case byteText:
			return "b" + pythonString(string(v)), true
		case ellipsis:
			return "Ellipsis", true
		}
	case exprList:
		return join("[", "]")
	case exprTuple:
		if len(e.args) == 1 {
			return join("(", ",)")
		}
		return join("(", ")")
	case exprDict:
		var parts []string
		for i := 0; i+1 < len(e.args); i += 2 {
			if e.args[i] == nil {
				return "", false
			}
			k, okK := repr(e.args[i])
			v, okV := repr(e.args[i+1])
			if !okK || !okV {
				return "", false
			}
			parts = append(parts, k+": "+v)
		}
		return "{" + strings.Join(parts, ", ") + "}", true
	case exprUnary:
		if inner := e.args[0]; inner.kind == exprConst && (e.text == "-" || e.text == "+") {
			v, ok := unary(e.text, inner.value)
			if _, isBool := inner.value.(bool); !ok || isBool {
				return "", false
			}
			return repr(&expr{kind: exprConst, value: v})
		}
	}
	return "", false
}

func pythonString(s string) string {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	out := []byte{q}
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\r':
			out = append(out, `\r`...)
		case r < ' ' || 0x7f <= r && r <= 0xa0 || r == 0xad:
			out = append(out, fmt.Sprintf(`\x%02x`, r)...)
		default:
			out = append(out, string(r)...)
		}
	}
	return string(append(out, q))
}

// compareAST reports the first difference between CPython's answer and ours.
func compareAST(t *testing.T, name, src string, want astAnswer) bool {
	t.Helper()
	got, problems := items(src)
	if want.Error != "" {
		return false
	}
	if len(problems) > 0 {
		t.Errorf("%s: CPython reads it, this reader says line %d: %s", name, problems[0].Line, problems[0].Message)
		return true
	}
	for i := range got {
		for j, f := range got[i].Fields {
			// A literal this reader cannot hold (a complex number, a set) is unknown
			// to it, never wrong.
			if i < len(want.Classes) && j < len(want.Classes[i].Fields) && f[4] == "?" {
				want.Classes[i].Fields[j][4] = "?"
			}
		}
	}
	a, b := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want.Classes)
	if a != b {
		t.Errorf("%s:\n got %s\nwant %s", name, a, b)
	}
	return true
}

func TestDifferentialAST(t *testing.T) {
	t.Parallel()
	python := realtest.Tool(t, "python3")
	rng := rand.New(rand.NewPCG(20, uint64(positive(t, "ENVCTL_SEED", 26))))
	var sum astCounts
	cases, rounds := 200, long(t)
	for range rounds {
		sum.add(compareGenerated(t, python, rng, cases))
		if t.Failed() {
			return
		}
	}
	t.Logf("%d sources, %d classes, %d fields, %d literals equal to CPython's", sum.sources, sum.classes, sum.fields, sum.literals)
	if cases *= rounds; sum.sources != cases || sum.classes < 2*cases || sum.fields < 10*cases || sum.literals < 2*cases {
		t.Error("the comparison was too small")
	}
}

// astCounts is how much was compared.
type astCounts struct{ sources, classes, fields, literals int }

func (n *astCounts) add(m astCounts) {
	n.sources, n.classes, n.fields, n.literals = n.sources+m.sources, n.classes+m.classes, n.fields+m.fields, n.literals+m.literals
}

// compareGenerated compares generated modules with CPython's ast: one of four is
// a settings module as people write them, the others are all of Python.
func compareGenerated(t *testing.T, python string, rng *rand.Rand, cases int) astCounts {
	t.Helper()
	requests := make([]astRequest, cases)
	for i := range requests {
		var src string
		if i%4 == 0 {
			g := settingsGenerator{rng: rng, v1: rng.IntN(4) == 0}
			src = g.module()
		} else {
			g := generator{rng: rng}
			src = g.module()
		}
		requests[i] = astRequest{ID: i, Src: src}
	}
	var n astCounts
	for i, a := range runPython[astRequest, astAnswer](t, python, "fields.py", requests) {
		if a.Error != "" {
			t.Errorf("case %d: the generator wrote what CPython refuses: %s", i, a.Error)
		}
		n.classes += len(a.Classes)
		for _, c := range a.Classes {
			n.fields += len(c.Fields)
			for _, f := range c.Fields {
				if f[4] != nil && f[4] != "?" {
					n.literals++
				}
			}
		}
		if compareAST(t, fmt.Sprintf("case %d", i), requests[i].Src, a) {
			n.sources++
		}
		if t.Failed() {
			for n, line := range strings.Split(requests[i].Src, "\n") {
				t.Logf("%4d %q", n+1, line)
			}
			break
		}
	}
	return n
}

// TestStandardLibrary reads the interpreter's own library, code by many hands.
func TestStandardLibrary(t *testing.T) {
	t.Parallel()
	python := realtest.Tool(t, "python3")
	out, err := exec.CommandContext(t.Context(), python, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.py"))
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d files of the standard library, %v", len(paths), err)
	}
	some := paths[:0] // a sixth of it takes a second
	for i, path := range paths {
		if i%6 == 0 {
			some = append(some, path)
		}
	}
	paths = some
	if more := os.Getenv("ENVCTL_PYTHON_CORPUS"); more != "" { // a folder of Python files, all of them
		err = filepath.WalkDir(more, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".py") {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	requests := make([]astRequest, len(paths))
	for i, path := range paths {
		requests[i] = astRequest{ID: i, Path: path}
	}
	compared := 0
	for i, a := range runPython[astRequest, astAnswer](t, python, "fields.py", requests) {
		src, err := os.ReadFile(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		if len(src) < maxSource && strings.ToValidUTF8(string(src), "") == string(src) && compareAST(t, paths[i], string(src), a) {
			compared++
		}
	}
	t.Logf("%d of %d files equal to CPython's", compared, len(paths))
}
