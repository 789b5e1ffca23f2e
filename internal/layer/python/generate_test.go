package python

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator writes random but valid Python modules full of classes, in the
// manners people write them.
type generator struct {
	rng *rand.Rand
	n   int
}

func (g *generator) pick(choices ...string) string { return choices[g.rng.IntN(len(choices))] }
func (g *generator) chance(percent int) bool       { return g.rng.IntN(100) < percent }

func (g *generator) name() string {
	g.n++
	return fmt.Sprintf("%s_%d", g.pick("url", "match", "case", "type", "host", "_private", "A", "été", "print"), g.n)
}

func (g *generator) module() string {
	var b strings.Builder
	b.WriteString(g.pick("", "#!/usr/bin/env python3\n", `"""Doc: https://example.org/x: int = 3"""`+"\n", "# -*- coding: utf-8 -*-\n\n", "\ufeff", "\f\n"))
	for range 2 + g.rng.IntN(4) {
		g.block(&b, "", 0, false)
	}
	src := b.String()
	if g.chance(10) {
		src = strings.ReplaceAll(src, "\n", "\r\n")
	}
	if g.chance(10) {
		src = strings.TrimRight(src, "\r\n")
	}
	return src
}

// block writes one statement at an indentation.
func (g *generator) block(b *strings.Builder, in string, depth int, class bool) {
	step := g.pick("    ", "  ", "\t", " ")
	inner := in + step
	if class && depth < 4 && g.chance(15) {
		b.WriteString(g.member(in, step))
		return
	}
	kind := g.rng.IntN(16)
	if depth == 0 && kind > 9 {
		kind = 0
	}
	if depth > 3 && kind < 8 {
		kind += 8
	}
	switch kind {
	case 0, 1:
		if g.chance(20) {
			b.WriteString(in + g.pick("@decorator", "@a.b(x, y=lambda: 0)", "@x[1]") + "\n")
		}
		b.WriteString(in + "class C" + fmt.Sprint(g.rng.IntN(1000)) + g.pick("", "()", "(Base)", "(a.Base, metaclass=M)", "(\n  Base, # one: int = 3\n  Other,\n)", "(Generic[T])", "(x := Base, **{})") + ":" + g.comment() + "\n")
		g.body(b, inner, depth, true)
	case 2:
		b.WriteString(in + g.pick("def", "async def") + " f(self, a: int = 3, *b: str, **c: dict[str, int]) -> dict[str, int]:" + g.comment() + "\n")
		g.body(b, inner, depth, false)
	case 3:
		b.WriteString(in + "if " + g.pick("f("+g.expr(2)+")", "f("+g.expr(2)+")", "os.name", "TYPE_CHECKING", "not t.TYPE_CHECKING", "False", "1", "sys.version_info >= (3, 12)") + ":\n")
		g.body(b, inner, depth, class)
		if g.chance(50) {
			b.WriteString(in + "elif (lambda: x)():\n")
			g.body(b, inner, depth, class)
		}
		if g.chance(50) {
			b.WriteString(in + "else:" + g.comment() + "\n")
			g.body(b, inner, depth, class)
		}
	case 4:
		b.WriteString(in + "try:\n")
		g.body(b, inner, depth, class)
		b.WriteString(in + g.pick("except:\n", "except (A, B) as e:\n", "except* A:\n"))
		g.body(b, inner, depth, class)
		if g.chance(30) {
			b.WriteString(in + "finally:\n")
			g.body(b, inner, depth, class)
		}
	case 5:
		b.WriteString(in + g.pick("while lambda: 1:", "for x, y in z:", "while (n := f()):", "with a as b, c[1:2] as d:", "with (a as b, c):") + "\n")
		g.body(b, inner, depth, class)
	case 6:
		b.WriteString(in + g.pick("match x:", "match (a, b):", "match -x:", "match x[1:2], *y:", "match match:", "match {'a': 1}:") + "\n")
		for range 1 + g.rng.IntN(2) {
			b.WriteString(inner + g.pick("case 1 | 2:", "case {'a': [x, *_], **rest}:", "case Point(x=0, y=0) if x > (lambda: 3)():", "case [1, 2]:", "case -1:", "case \"a\" as b:") + "\n")
			g.body(b, inner+" ", depth+1, class)
		}
		b.WriteString(inner + "case _:\n")
		g.body(b, inner+step, depth+1, class)
	case 7:
		b.WriteString(in + g.pick("if x: ", "class D: ", "while y: ", "class E(Base, k={1: 2}): ") + g.simple() + "; " + g.simple() + "\n")
	default:
		b.WriteString(in + g.simple())
		for g.chance(20) {
			b.WriteString("; " + g.simple())
		}
		b.WriteString(g.pick("", "", ";") + g.comment() + "\n")
	}
	if g.chance(15) {
		b.WriteString(g.pick("\n", "  \n", "\t\n", "# x: int = 3\n", "        # a comment: str\n", "\f\n"))
	}
}

func (g *generator) body(b *strings.Builder, in string, depth int, class bool) {
	if g.chance(20) {
		b.WriteString(in + g.pick(`"""A docstring: str = "https://x"`+"\n  pairs: dict = {}\n\"\"\"", `r'''raw \\'''`, `"one: int"`) + "\n")
	}
	if class && g.chance(20) {
		b.WriteString("# between: int\n\n")
	}
	for range 1 + g.rng.IntN(4) {
		g.block(b, in, depth+1, class)
	}
}

func (g *generator) comment() string {
	return g.pick("", "", "", "  # it's: \"a comment\" (", "# noqa: int = 3")
}

func (g *generator) simple() string {
	switch g.rng.IntN(12) {
	case 0:
		return g.pick("pass", "x = y = 3", "a.b: int = 3", "(z): int = 4", "d[1:2]: str", "x += 1", "del_x = 1", "assert x, 'a: int'", "x, *y = 1, 2", "lambda: 0",
			"print(a, b=1, *c, **d)", "match = 1", "match[x] = 2", "match(x)", "case(1)", "type = 3", "type(x)", "import a.b as c, d", "from . import (a, b as c,)", "from ...x import *",
			"f'{x!r:>{width}} {{}}'", "f\"\"\"{\n x}\"\"\"", "raise X from y", "global_x = lambda a=1, *b: {a: b}", "x = [i for i in y if i]", "del x, y", "return_ = (yield_ := 3)")
	default:
		s := g.name() + g.pick(":", " :", ": ", ":\\\n  ", ": ") + g.annotation(2)
		if g.chance(70) {
			s += g.pick(" = ", "=", " =\\\n        ", " = ") + g.expr(3)
		}
		return s
	}
}

func (g *generator) annotation(depth int) string {
	if depth == 0 {
		return g.pick("int", "str", "bool", "'Forward'", "a.b.C", "None", "float", "bytes")
	}
	d := depth - 1
	return g.pick("SecretStr", "conint(ge=1)", "Union["+g.annotation(d)+", None]", "t.Literal[1, b'x', None, True]", "'list[\"Forward\"] | None'",
		"Annotated[str, NoDecode, Field(alias='A'), StringConstraints(pattern=r\"^x: int$\")]", "int", "str", "list["+g.annotation(d)+"]", "Optional["+g.annotation(d)+"]", g.annotation(d)+" | None",
		"Annotated["+g.annotation(d)+", Field(ge=1, description='x: y')]", "Literal['a', \"b\", 3]", "dict[str, "+g.annotation(d)+"]",
		"tuple[int, ...]", "Callable[[int, "+g.annotation(d)+"], str]", "(\n   int  # why: so\n )", "x if y else z", "ClassVar[int]")
}

func (g *generator) expr(depth int) string {
	if depth == 0 {
		return g.literal()
	}
	d := depth - 1
	switch g.rng.IntN(22) {
	case 0:
		return "[" + g.expr(d) + ", " + g.expr(d) + g.pick("]", ",]")
	case 1:
		return "{" + g.pick("'a'", "b'x'", "1", "None") + ": " + g.expr(d) + "}"
	case 2:
		return "(" + g.expr(d) + ",)"
	case 3:
		return "(\n        " + g.expr(d) + "  # why: " + g.pick("not", "'") + "\n    )"
	case 4:
		return g.operand(d) + g.pick(" + ", " * ", " // ", " - ", "**", " @ ", " << ", " and ", " or ", " == ", " not in ", " is not ", " < ", " | ") + g.operand(d)
	case 5:
		return g.field(d)
	case 6:
		return g.operand(d) + " if " + g.operand(d) + " else " + g.expr(d)
	case 7:
		return "lambda " + g.pick("", "x", "x, *y", "x=1, **z", "a, /, b, *, c={1: 2}") + ": " + g.expr(d)
	case 8:
		return g.pick("f(x)(y)[1:2, ::3].z", "a.b.c", "x[1, 2]", "x[:]", "x[a:=1]", "f(*a, **b)", "f(i for i in x)", "f(a := 3)", "-x ** -y", "not x", "~x", "await_", "1 .real", "1..real", "x[*y]")
	case 9:
		return g.pick("[i async for i in x]", "{i for i in x}", "{k: v for k, v in x if k}", "[*a, *b]", "{**a, 'b': 1}", "{*a, 1}", "{}", "[]", "()", "{1}", "(yield)", "(x := 3)", "(i for i in x)")
	case 10:
		return g.literal() + "  "
	case 11:
		return g.text() + g.pick(" ", "  ", "\\\n   ") + g.text()
	case 12:
		return "(" + g.text() + "\n      " + g.text() + " # it's\n   '''x\ny''')"
	}
	return g.literal()
}

func (g *generator) operand(depth int) string {
	if g.chance(50) {
		return g.literal()
	}
	return "(" + g.expr(depth) + ")"
}

func (g *generator) literal() string {
	return g.pick("1", "0", "-1", "60", "1_000", "0x1F", "0o17", "0b101", "1.5", "1e3", "1E-7", ".5", "5.", "1_0.2_5", "-0.0", "1e22", "1e16", "123456789.125", "3j",
		"True", "False", "None", "...", g.text(), g.text(), g.text(), "b'bytes'", "rb'\\d'", "Rb\"x\"", "b'\\x41\\n\\u1234'", "[]", "{}", "()", "'a' 'b'", "+3", "00", "9223372036854775807",
		"99999999999999999999", "1e-5", "0.0001", "12345678901234567.0")
}

func (g *generator) text() string {
	return g.pick(`'x'`, `"https://example.org/?a=1#b"`, `"it's"`, `'say "hi"'`, `'both \' and "'`, `"\t\n\\\a\x41\u00e9\U0001F600\101\0"`, `r"\d+\."`, `R'\''`, `"""three "quotes" here"""`,
		"'''line\n  two: int = 3\n'''", `""`, `''`, `""""""`, `u'é'`, `"\q\ "`, "'a\\\nb'", `"# not a comment"`, `f"{x}"`, `f'{x["a"]!r:>{w}}'`, `rf"\{x}"`, `f"{{}}"`, `fR'''{
 a["b"] + '}'
}'''`, `"\N{BULLET}"`, `f"\N{BULLET} {x:%H:%M}"`, `"tab	inside"`, `'\r'`)
}
