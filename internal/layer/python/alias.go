package python

import (
	"regexp"
	"strings"
	"unicode"
)

// The alias generators of pydantic.alias_generators. Their expressions are
// compiled where they are used: few projects have any.

func toPascal(snake string) string {
	var b strings.Builder
	letter := false
	for _, r := range snake { // str.title
		if letter {
			b.WriteRune(unicode.ToLower(r))
		} else {
			b.WriteRune(unicode.ToTitle(r))
		}
		letter = unicode.IsLetter(r)
	}
	title := b.String()
	alnum := func(c byte) bool { return c != '_' && c < 0x80 && (isWord(c) || isDigit(c)) }
	out := make([]byte, 0, len(title))
	for i := 0; i < len(title); i++ {
		if title[i] == '_' && i > 0 && alnum(title[i-1]) && i+1 < len(title) && (isDigit(title[i+1]) || 'A' <= title[i+1] && title[i+1] <= 'Z') {
			continue
		}
		out = append(out, title[i])
	}
	return string(out)
}

func toCamel(snake string) string {
	if regexp.MustCompile(`^[a-z]+[A-Za-z0-9]*$`).MatchString(snake) && !regexp.MustCompile(`\d[a-z]`).MatchString(snake) {
		return snake
	}
	return regexp.MustCompile(`^_*[A-Z]`).ReplaceAllStringFunc(toPascal(snake), strings.ToLower)
}

func toSnake(camel string) string {
	for _, edge := range []string{`([A-Z]+)([A-Z][a-z])`, `([a-z])([A-Z])`, `([0-9])([A-Z])`, `([a-z])([0-9])`} {
		camel = regexp.MustCompile(edge).ReplaceAllString(camel, "${1}_${2}")
	}
	return strings.ToLower(strings.ReplaceAll(camel, "-", "_"))
}
