package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/realtest"
)

// judgedFields are fields as they are written, each tried with every text.
func judgedFields() []string {
	out := []string{
		"bool", "int", "float", "str", "Decimal", "bytes", "Color", "Level", "SecretStr", "Literal['a', 'b']", "Optional[int]", "int = Field(ge=1)", "float = Field(lt=2.5)", "PositiveInt",
		"int = Field(multiple_of=5)", "float = Field(multiple_of=0.1)", "Decimal = Field(multiple_of=0.25)", "conint(multiple_of=2, gt=0)", "Optional[int] = Field(None, multiple_of=3)",
		"UUID", "UUID4", "date", "datetime", "Optional[date]", "Optional[UUID]",
		"List[int]", "List[str]", "List[float]", "List[bool]", "Set[int]", "FrozenSet[str]", "Tuple[int, ...]", "Tuple[int, str]", "List[Optional[int]]", "List[Color]", "List[Level]",
		"List[Literal['a', 'b']]", "List[List[int]]", "List[PositiveInt]", "List[conint(ge=10)]", "List[Any]", "List[SecretStr]", "List[HttpUrl]", "List[UUID]", "List[date]", "Dict[str, int]",
		"Sequence[int]", "List[Union[int, str]]", "Optional[List[int]]", "Union[List[int], str]", "list", "dict", "tuple", "set", "List[Decimal]", "List[bytes]", "List[constr(min_length=2)]",
		"AnyUrl", "HttpUrl", "PostgresDsn", "RedisDsn", "AmqpDsn", "KafkaDsn", "MongoDsn", "CockroachDsn", "FileUrl",
		"List[str] = Field(min_length=2)", "List[int] = Field(min_length=1, max_length=2)", "Set[str] = Field(max_length=1)", "Dict[str, int] = Field(min_length=1, max_length=1)",
		"Tuple[int, ...] = Field(max_length=1)", "str = Field(min_length=2, max_length=4)", "SecretStr = Field(min_length=3)",
	}
	for _, p := range judgedPatterns() {
		out = append(out, "str = Field(pattern=r'"+p+"')")
	}
	return out
}

func judgedPatterns() []string {
	return []string{
		`^\d+$`, `^[a-z]{2,3}$`, `b`, `^(a|b)+$`, `^[^,]*$`, `\bb\b`, `^a.c`, `^[\w.-]+@x$`, `^(?:https?|redis)://`, `^\S+$`, `a{2}`, `^$`, `^[A-Z0-9_]+\Z`, `(?i)^A`, `^\pL+$`, `[[:alpha:]]`, `x*?y`,
		`^[a-z&&[^b]]$`, `^(?P<n>a)$`, `\x41`, `a|^1`, `^[-a]+$`, `^[]a]$`, `^\/a$`, `^[+-]?1$`, `^.{3}$`, `\.\d`,
	}
}

func judgedTexts() []string {
	return []string{
		"", " ", "0", "1", "5", "6", "10", "-5", "+5", "1.0", "1.5", "2.5", "0.3", "0.35", "1_000", "1__0", "１２", "１.5", "²", "٣", "1e3", "1e400", "inf", "nan", "0x10", " 7 ", "99999999999999999999", "99999999999999999995",
		"true", "False", "yes", "on", "maybe", "t", "a", "b", "ab", "abc", "abcd", "abcde", "aab", "A", "AB", "red", "RED", "a,b", "a@x", "a\nb", "aa\n", "é", "ÀÉ", "-a", "xy", "/a", "]", "a b", "none", "null",
		"[]", "{}", "[1]", "[1, 2]", "[1, 2, 3]", `["1"]`, `["a"]`, `["a", "b"]`, `["a", "a"]`, `[1, "x"]`, `["x", 1]`, "[null]", "[true]", "[1.5]", "[1.0]", "[2]", "[[1]]", `[["a"]]`, `[{"a": 1}]`, `[""]`, `["red"]`, `["RED"]`, `["c"]`,
		"[-1]", "[9]", "[1e400]", "[NaN]", "[1", "1,2", `"a"`, `{"a": 1}`, `{"a": "x"}`, `{"a": 1, "b": 2}`, `{"a": 1, "a": 2}`, `["１２"]`, `[99999999999999999999]`, `["maybe"]`, `["yes"]`, `[0]`, `["1.5"]`, `["http://a"]`, `["a:b"]`,
		"12345678-1234-5678-1234-567812345678", "12345678-1234-4678-9234-567812345678", "{12345678-1234-5678-1234-567812345678}", "urn:uuid:12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678", "1234-5678",
		"12345678-1234-5678-1234-56781234567g", "12345678_1234_5678_1234_567812345678", `["12345678-1234-5678-1234-567812345678"]`, `["1234"]`, `["2026-01-31"]`, `["31.1.2026"]`,
		"2026-01-31", "2026-1-31", "2026-02-30", "2026-13-01", "2026-00-10", "31/01/2026", "2026/01/31", "today", "20260131", "2026-01-31T10:00:00Z", "2026-01-31 10:00", "2026-01-31T00:00:00", "2026-01-31T25:00:00", "10:00", "2024-02-29", "2023-02-29",
		"1700000000", "1700000000.5", "-1", "0001-01-01", "9999-12-31", " 2026-01-31 ", "２０２６-01-31", "2026-W05-6", "2026-031",
		"http://a", "https://a.b/c?d=1#e", "HTTP://A", "http:/a", "http://", "ftp://a/b", "a.b/c", "localhost:5432", "redis://h:6379/0", "rediss://h", "redis+sentinel://h/0", "postgres://u:p@h/d", "postgresql://u:p@h:5432/d",
		"postgresql+asyncpg://u:p@h/d", "postgresql+psycopg://u:p@h/d", "postgis://u:p@h/d", "mysql://u:p@h/d", "mysql+pymysql://u:p@h/d", "mongodb://h/d", "mongodb+srv://h/d", "amqp://h", "amqps://h", "kafka://h", "nats://h", "cockroachdb://u:p@h/d",
		"cockroachdb+psycopg2://u:p@h/d", "file:///a/b", "file:/a", "sqlite:///x.db", "://a", "//a/b",
	}
}

// settingsOf is a settings file of one field.
func settingsOf(generation int, field string) string {
	from := "from pydantic_settings import BaseSettings\n"
	if generation == 1 {
		from = "from pydantic import BaseSettings\n"
	}
	return "from datetime import date, datetime, time, timedelta\nfrom decimal import Decimal\nfrom enum import Enum, IntEnum\nfrom typing import *\nfrom uuid import UUID\nfrom pydantic import *\n" + from +
		"class Color(str, Enum):\n    RED = 'red'\n\nclass Level(IntEnum):\n    LOW = 1\n\nclass Settings(BaseSettings):\n    x: " + field + "\n"
}

// said is what check says of each text for a field: "" for nothing.
func said(t *testing.T, generation int, field string) []string {
	t.Helper()
	c, err := newCode("config.py", []byte(settingsOf(generation, field)))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Fields) != 1 {
		t.Fatalf("%s: %d fields, %v", field, len(c.Fields), c.Problems)
	}
	var out []string
	for _, text := range judgedTexts() {
		out = append(out, c.judge(&c.Fields[0], text))
	}
	return out
}

// compareJudged fails where check refuses what Pydantic takes, and counts what
// both refuse.
func compareJudged(t *testing.T, generation int, answers map[string]string) {
	t.Helper()
	texts := judgedTexts()
	pairs, refused, found := 0, 0, 0
	for _, field := range judgedFields() {
		answer, ok := answers[field]
		if !ok || len(answer) != len(texts) {
			if !ok || !strings.HasPrefix(answer, "?") {
				t.Errorf("%s: no answer to each of %d texts: write the answers anew with UPDATE_PYDANTIC=1", field, len(texts))
			}
			continue
		}
		for i, why := range said(t, generation, field) {
			pairs++
			switch {
			case answer[i] == '+' && why != "":
				t.Errorf("false alarm: Pydantic %d takes %q for %s, check says %s", generation, texts[i], field, why)
			case answer[i] == '-':
				refused++
				if why != "" {
					found++
				} else if os.Getenv("SHOW_UNJUDGED") != "" {
					t.Logf("not judged: %q for %s", texts[i], field)
				}
			}
		}
	}
	t.Logf("Pydantic %d: %d pairs, %d refused, of these %d found", generation, pairs, refused, found)
	if pairs < 5000 || found*100 < 60*refused {
		t.Error("the comparison was too small")
	}
}

const pydantic2Answers = "testdata/pydantic2.txt"

// TestJudgedLikePydantic2 compares with the answers that Pydantic 2 gave.
func TestJudgedLikePydantic2(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(pydantic2Answers)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if answer, field, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			answers[field] = answer
		}
	}
	compareJudged(t, 2, answers)
}

// TestJudgedLikePydantic asks each Pydantic of this machine.
func TestJudgedLikePydantic(t *testing.T) {
	t.Parallel()
	asked := map[byte]bool{}
	for _, python := range []string{realtest.Tool(t, "python3"), "/usr/bin/python3"} {
		version, err := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "accepts.py"), "version").Output()
		if err != nil || len(version) == 0 || asked[version[0]] {
			continue // no Pydantic there
		}
		asked[version[0]] = true
		t.Logf("%s has Pydantic %s", python, strings.TrimSpace(string(version)))
		answers := askPydantic(t, python)
		if version[0] == '2' && os.Getenv("UPDATE_PYDANTIC") != "" {
			out := &strings.Builder{}
			fmt.Fprintf(out, "What Pydantic %s takes (+) of the texts of judge_test.go, and what not (-).\n", strings.TrimSpace(string(version)))
			for _, f := range judgedFields() {
				fmt.Fprintf(out, "%s\t%s\n", answers[f], f)
			}
			if err := os.WriteFile(pydantic2Answers, []byte(out.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		compareJudged(t, int(version[0]-'0'), answers)
	}
	if !asked['1'] {
		realtest.Missing(t, "no python3 here has Pydantic 1: apt-get install python3-pydantic")
	}
}

func askPydantic(t *testing.T, python string) map[string]string {
	t.Helper()
	var in bytes.Buffer
	for _, f := range judgedFields() {
		b, err := json.Marshal(map[string]any{"field": f, "texts": judgedTexts()})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(b, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "accepts.py"))
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	answers := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for _, f := range judgedFields() {
		if !lines.Scan() {
			t.Fatal("too few answers")
		}
		answers[f] = lines.Text()
	}
	return answers
}
