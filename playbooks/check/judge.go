package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"envctl/internal/layer/python"
)

// foreignDigits tells whether a text may be a number to Python that is none to
// Go: int("１２") and Decimal("１.5") take any script's digits and blanks.
func foreignDigits(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII && (unicode.IsDigit(r) || unicode.IsSpace(r)) })
}

// multiple compares a number with multiple_of. Pydantic allows for what
// floating point loses; what is this far off no version of it takes.
func multiple(f *python.Field, x float64) string {
	if f.Constraints.MultipleOf == "" {
		return ""
	}
	m, err := strconv.ParseFloat(f.Constraints.MultipleOf, 64)
	if err != nil || m <= 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return ""
	}
	n := math.Abs(x / m)
	if off := math.Abs(n - math.Round(n)); n < 1e4 && off > 1e-4 {
		return "not a multiple of " + f.Constraints.MultipleOf
	}
	return ""
}

// generation is the Pydantic that a field's class is written for.
func (c *code) generation(f *python.Field) int {
	if k := c.class[f.Class]; k != nil {
		return k.Pydantic
	}
	return 0
}

// entries judges what the JSON of a list or a dict holds.
func (c *code) entries(f *python.Field, v any) string {
	list, isList := v.([]any)
	size := len(list)
	if dict, ok := v.(map[string]any); ok {
		size = len(dict)
	} else if !isList {
		return ""
	}
	// To Pydantic 1 min_length is a limit of the entries, not of the list.
	if c.generation(f) == 2 {
		set := strings.HasPrefix(f.Type, "set") || strings.HasPrefix(f.Type, "frozenset") // equal entries count once
		if n, ok := whole(f.Constraints.MinLength); ok && size < n {
			return fmt.Sprintf("fewer entries than %d", n)
		}
		if n, ok := whole(f.Constraints.MaxLength); ok && size > n && !set {
			return fmt.Sprintf("more entries than %d", n)
		}
	}
	if f.Items == nil {
		return ""
	}
	for i, e := range list {
		if why := c.entry(f.Items, e); why != "" {
			return fmt.Sprintf("entry %d of it is %s", i+1, why)
		}
	}
	return ""
}

// entry judges an entry of a list: what JSON makes of it is no text any more,
// and Pydantic's generations differ in what they convert.
func (c *code) entry(item *python.Field, v any) string {
	no := "not a value of type " + item.Type
	if item.Custom {
		return ""
	}
	scalar := slices.Contains([]python.Kind{python.Bool, python.Float, python.Int, python.Secret, python.Str}, item.Kind)
	switch v := v.(type) {
	case nil:
		if scalar && !item.Optional {
			return no
		}
	case []any, map[string]any:
		if scalar {
			return no
		}
	case string:
		if item.Kind == python.List || item.Kind == python.Dict || item.Kind == python.Nested || strings.HasPrefix(item.Type, "Strict") {
			return "" // not decoded a second time
		}
		if v == "" && scalar && item.Kind != python.Str && item.Kind != python.Secret {
			return no
		}
		return c.judge(item, v)
	case json.Number:
		n, err := v.Float64()
		switch {
		case err != nil: // larger than any
		case item.Kind == python.Bool && n != 0 && n != 1:
			return no
		case item.Kind == python.Int || item.Kind == python.Float:
			if item.Kind == python.Int && n != math.Trunc(n) {
				return "" // Pydantic 1 cuts it off
			}
			return limits(item, n)
		}
	}
	return ""
}

// pattern judges a text by Pydantic 2's pattern=, where Rust's and Python's
// expressions (regex_engine chooses) and Go's mean the same.
func (c *code) pattern(f *python.Field, text string) string {
	p := f.Constraints.Pattern
	if p == "" || c.generation(f) != 2 || strings.TrimSuffix(f.Type, " | None") != "str" || len(p) > 1000 || !printable(text) || !common(p) {
		return ""
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return ""
	}
	// The settings may trim the text or change its case before it is matched.
	trimmed := strings.TrimSpace(text)
	for _, t := range []string{text, trimmed, strings.ToLower(text), strings.ToUpper(text), strings.ToLower(trimmed), strings.ToUpper(trimmed)} {
		if re.MatchString(t) {
			return ""
		}
	}
	return "not of the pattern " + f.Constraints.Pattern
}

// printable tells whether a text is of printable ASCII: elsewhere \d, \w, \s, $
// and . differ.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// common tells whether a regular expression has only forms that mean the same
// in Rust's regex, Python's re and Go's regexp, for texts of printable ASCII.
func common(p string) bool {
	if !printable(p) {
		return false
	}
	counts := regexp.MustCompile(`^\{\d+(,\d*)?\}`)
	class := -1 // where the open class begins
	for i := 0; i < len(p); i++ {
		rest := p[i:]
		switch b := p[i]; {
		case b == '\\':
			if len(rest) < 2 || !strings.ContainsRune(`dwsDWS.^$*+?()[]{}|\/-_@#%&=~:;,!"'`, rune(rest[1])) && (class >= 0 || rest[1] != 'b') {
				return false
			}
			i++
		case class >= 0 && b == ']':
			if i == class+1 || p[class+1:i] == "^" {
				return false // a ] of its own, or the end
			}
			class = -1
		case class >= 0:
			if b == '[' || strings.HasPrefix(rest, "&&") || strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "~~") || strings.HasPrefix(rest, "||") {
				return false // what combines classes in Rust
			}
		case b == '[':
			class = i
		case b == '(' && strings.HasPrefix(rest, "(?") && !strings.HasPrefix(rest, "(?:"):
			return false
		case b == '{':
			n := len(counts.FindString(rest))
			if n == 0 {
				return false
			}
			i += n - 1
		case b == '}':
			return false
		}
	}
	return class < 0
}

// calendar judges texts of identifiers and dates, as far as all versions of
// Pydantic agree.
func calendar(name, text string) string {
	switch name {
	case "UUID", "UUID1", "UUID3", "UUID4", "UUID5":
		if strings.ContainsAny(text, " _") || foreignDigits(text) {
			return "" // Python's int takes them
		}
		digits := strings.NewReplacer("urn:", "", "uuid:", "", "{", "", "}", "", "-", "").Replace(strings.ToLower(text))
		if len(digits) != 32 || strings.Trim(digits, "0123456789abcdef") != "" {
			return "no UUID"
		}
	case "AwareDatetime", "FutureDate", "FutureDatetime", "NaiveDatetime", "PastDate", "PastDatetime", "date", "datetime":
		if _, err := strconv.ParseFloat(text, 64); err == nil || errors.Is(err, strconv.ErrRange) || foreignDigits(text) {
			return "" // seconds since 1970
		}
		day := regexp.MustCompile(`^(\d{4})-(\d{1,2})-(\d{1,2})`).FindStringSubmatch(text)
		if day == nil {
			return "no " + name + ", such as 2026-01-31"
		}
		year, _ := strconv.Atoi(day[1])
		month, _ := strconv.Atoi(day[2])
		of, _ := strconv.Atoi(day[3])
		if at := time.Date(year, time.Month(month), of, 0, 0, 0, 0, time.UTC); at.Month() != time.Month(month) || at.Day() != of {
			return "a day that no calendar has"
		}
	}
	return ""
}

// schemes are those that a type of Pydantic takes, by itself or followed by +
// and a driver.
var schemes = map[string][]string{ //nolint:gochecknoglobals // a constant table
	"AmqpDsn": {"amqp", "amqps"}, "AnyHttpUrl": {"http", "https"}, "AnyWebsocketUrl": {"ws", "wss"}, "CockroachDsn": {"cockroachdb"}, "FileUrl": {"file"},
	"FtpUrl": {"ftp"}, "HttpUrl": {"http", "https"}, "KafkaDsn": {"kafka"}, "MariaDBDsn": {"mariadb", "mysql"}, "MongoDsn": {"mongodb"}, "MySQLDsn": {"mysql"},
	"NatsDsn": {"nats", "tls", "ws", "wss"}, "PostgresDsn": {"postgres", "postgresql"}, "RedisDsn": {"redis", "rediss"}, "SnowflakeDsn": {"snowflake"},
	"WebsocketUrl": {"ws", "wss"},
}

// scheme judges the beginning of a URL.
func scheme(name, text string) string {
	s, _, found := strings.Cut(text, ":")
	if !found {
		return "not a URL: it has no scheme"
	}
	s, _, _ = strings.Cut(strings.ToLower(s), "+")
	if want := schemes[name]; want != nil && !slices.Contains(want, s) {
		return fmt.Sprintf("not a value of type %s, which begins with %s://", name, strings.Join(want, ":// or "))
	}
	return ""
}

// decoded is a JSON text's value, its numbers as they are written; ok is false
// for what is no JSON.
func decoded(text string) (v any, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	ok = json.Valid([]byte(text)) && d.Decode(&v) == nil
	return v, ok
}
