package python

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
)

// TestBounds feeds what is built to exhaust a reader: none may take long, and
// what is given up must be said.
func TestBounds(t *testing.T) {
	t.Parallel()
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	class := head + "class Settings(BaseSettings):\n"
	cases := []struct {
		name, src string
		problem   string // part of a message that must be there, "" for none needed
	}{
		{"brackets", class + "    x: int = " + strings.Repeat("(", 190) + "1" + strings.Repeat(")", 190) + "\n", "nested too deeply"},
		{"too many brackets", class + "    x: int = " + strings.Repeat("[", 500000), "too many open brackets"},
		{"unary", class + "    x: int = " + strings.Repeat("-", 500000) + "1\n", "nested too deeply"},
		{"not", class + "    x: int = " + strings.Repeat("not ", 200000) + "1\n", "nested too deeply"},
		{"power", class + "    x: int = " + strings.Repeat("2**", 200000) + "1\n", "nested too deeply"},
		{"lambda", class + "    x: int = " + strings.Repeat("lambda: ", 100000) + "1\n", "nested too deeply"},
		{"ternary", class + "    x: int = " + strings.Repeat("1 if x else ", 60000) + "1\n", "nested too deeply"},
		{"sum", class + "    x: int = " + strings.Repeat("1+", 400000) + "1\n", "too long"},
		{"attributes", class + "    x: int = a" + strings.Repeat(".b", 400000) + "\n", "too long"},
		{"calls", class + "    x: int = a" + strings.Repeat("()", 400000) + "\n", "too long"},
		{"union", class + "    x: int" + strings.Repeat("|int", 200000) + "\n", "too long"},
		{"strings", class + "    x: str = (" + strings.Repeat(`"a" `, 200000) + ")\n", ""},
		{"big dict", class + "    x: dict = {" + repeat(60000, func(i int) string { return fmt.Sprintf("%d:1,", i) }) + "}\n", ""},
		{"blocks", strings.Repeat("if x:\n", 1) + repeat(90, func(i int) string { return strings.Repeat(" ", i+1) + "if x:\n" }) + strings.Repeat(" ", 91) + "pass\n", "blocks are nested too deeply"},
		{"indentation", repeat(1000, func(i int) string { return strings.Repeat(" ", i) + "if x:\n" }), "too many levels"},
		{"format strings", strings.Repeat(`f"{`, 100000), "nested too deeply"},
		{"format specs", `f"` + strings.Repeat("{x:", 100000), "nested too deeply"},
		{"explosion", repeat(30, func(i int) string {
			return fmt.Sprintf("A%d = [%s]\n", i+1, strings.Repeat(fmt.Sprintf("A%d,", i), 10))
		}) + "A0 = [1]\n" + class + "    x: list = A30\n    y: list = A6\n", ""},
		{"doubling", "A0 = 'x'\n" + repeat(30, func(i int) string { return fmt.Sprintf("A%d = A%d + A%d\n", i+1, i, i) }) + class + "    x: str = A30\n    y: str = A20\n", ""},
		{"type explosion", "A0 = int\n" + repeat(30, func(i int) string { return fmt.Sprintf("A%d = dict[A%d, A%d]\n", i+1, i, i) }) + class + "    x: A30\n", ""},
		{"cyclic names", "A = B\nB = A\n" + class + "    x: A = B\n    y: int = y\n", ""},
		{"cyclic bases", "class A(B): pass\nclass B(A): pass\n" + class + "    x: int = 1\n", ""},
		{"chain of classes", head + "class C0(BaseSettings): x0: int = 0\n" + repeat(8000, func(i int) string { return fmt.Sprintf("class C%d(C%d): x%d: int = 1\n", i+1, i, i+1) }), "more bases"},
		{"diamonds", head + "class A0(BaseSettings): a: int = 0\nclass B0(A0): b: int = 0\n" + repeat(25, func(i int) string {
			return fmt.Sprintf("class A%d(A%d, B%d): pass\nclass B%d(B%d, A%d): pass\n", i+1, i, i, i+1, i, i)
		}), ""},
		{"nested models multiply", head + "class M0(BaseModel):\n    x: int = 1\n" + repeat(12, func(i int) string {
			return fmt.Sprintf("class M%d(BaseModel):\n    a: M%d = 1\n    b: M%d = 1\n    c: M%d = 1\n", i+1, i, i, i)
		}) + class + "    model_config = SettingsConfigDict(env_nested_delimiter='__')\n    m: M12\n", "more fields"},
		{"many classes", head + repeat(10000, func(i int) string { return fmt.Sprintf("class S%d(BaseSettings):\n    x%d: int = 1\n", i, i) }), ""},
		{"many fields", class + repeat(40000, func(i int) string { return fmt.Sprintf("    f%d: int = %d\n", i, i) }), "more fields"},
		{"one field again and again", class + repeat(50000, func(int) string { return "    f: int = 1\n" }), "declared a second time"},
		{"elif", class + "    if x: a: int = 1\n" + repeat(40000, func(int) string { return "    elif x: pass\n" }) + "    else: b: int = 2\n", ""},
		{"ifs", class + repeat(20000, func(int) string { return "    if x: pass\n    else: pass\n" }), ""},
		{"aliases", class + "    x: int = Field(1, validation_alias=AliasChoices(" + repeat(50000, func(i int) string { return fmt.Sprintf("'A%d',", i) }) + "))\n", ""},
		{"validators", class + "    x: int = 1\n" + repeat(10000, func(int) string { return "    @field_validator('x')\n    def f(self): pass\n" }), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if len(c.src) > maxSource {
				t.Fatalf("the case has %d bytes", len(c.src))
			}
			began := time.Now()
			s, err := Read("big.py", []byte(c.src))
			if err != nil {
				t.Fatal(err)
			}
			if spent := time.Since(began); spent > 20*time.Second {
				t.Errorf("took %s", spent)
			} else if spent > time.Second {
				t.Logf("took %s", spent)
			}
			for _, p := range s.Problems {
				if strings.Contains(p.Message, c.problem) {
					return
				}
			}
			if c.problem != "" {
				t.Errorf("no problem says %q: %.300v", c.problem, s.Problems)
			}
		})
	}
}

func TestNoPython(t *testing.T) {
	t.Parallel()
	for _, src := range []string{strings.Repeat("x", maxSource+1), "x = '\x00'", "x = '\xff'"} {
		if _, err := Read("config.py", []byte(src)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", src, err)
		}
	}
	if s, err := Read("config.py", nil); err != nil || len(s.Fields)+len(s.Problems) != 0 {
		t.Errorf("an empty file: %+v, %v", s, err)
	}
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	f := Field{Accepted: []string{"A_B"}, Prefixes: []string{"L__"}}
	for name, want := range map[string]bool{"A_B": true, "a_b": true, "A_BC": false, "L__": false, "l__x": true, "": false} {
		if f.Accepts(name) != want {
			t.Errorf("%q: %v, want %v", name, !want, want)
		}
	}
	f.CaseSensitive = true
	if f.Accepts("a_b") || !f.Accepts("A_B") {
		t.Error("case is not kept")
	}
}

// TestAliasGenerators holds results of pydantic.alias_generators.
func TestAliasGenerators(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, camel, pascal, snake string }{
		{"db_url", "dbUrl", "DbUrl", "db_url"},
		{"a1_b2", "a1B2", "A1B2", "a_1_b_2"},
		{"_x_y", "_xY", "_XY", "_x_y"},
		{"already", "already", "Already", "already"},
		{"HTTPServer", "httpserver", "Httpserver", "http_server"},
		{"a__b", "a__B", "A__B", "a__b"},
		{"v2beta", "v2Beta", "V2Beta", "v_2beta"},
	} {
		if got := [3]string{toCamel(c.in), toPascal(c.in), toSnake(c.in)}; got != [3]string{c.camel, c.pascal, c.snake} {
			t.Errorf("%s: %v, want %v", c.in, got, c)
		}
	}
}
