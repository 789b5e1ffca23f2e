package dotenv

import (
	"regexp"
	"strings"
)

// jsLine is the expression of JavaScript's dotenv; \s there includes the byte
// order mark and the Unicode spaces.
const jsLine = `(?m)^S*(?:exportS+)?([\w.-]+)(?:S*=S*?|:S+?)(S*'(?:\\'|[^'])*'|S*"(?:\\"|[^"])*"|S*` + "`(?:\\\\`|[^`])*`" + `|[^#\r\n]+)?S*(?:#.*)?$`

const jsSpace = `[\s\v\x{feff}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]`

// readDokploy follows what a recorded Dokploy server did: JavaScript's dotenv
// reads the text, each variable is written as one line, and what follows a
// newline in a value is a junk key there. $ stays as it is; ${{…}} is resolved
// by the server, which refuses names it does not know.
func readDokploy(src string) *lines {
	l := &lines{}
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	line := regexp.MustCompile(strings.ReplaceAll(jsLine, "S", jsSpace))
	space := regexp.MustCompile(`^` + jsSpace + `+|` + jsSpace + `+$`)
	covered, count := 0, 1
	for _, m := range line.FindAllStringSubmatchIndex(src, -1) {
		ignoredBetween(l, src[covered:m[0]], count)
		count += strings.Count(src[covered:m[2]], "\n")
		at := count
		count += strings.Count(src[m[2]:m[1]], "\n")
		covered = m[1]
		key, value := src[m[2]:m[3]], ""
		if m[4] >= 0 {
			value = space.ReplaceAllString(src[m[4]:m[5]], "")
		}
		if n := len(value); n > 0 && strings.IndexByte("'\"`", value[0]) >= 0 {
			q := value[0]
			if n > 1 && value[n-1] == q {
				value = value[1 : n-1]
			}
			if q == '"' {
				value = strings.ReplaceAll(strings.ReplaceAll(value, `\n`, "\n"), `\r`, "\r")
			}
		}
		if strings.Contains(value, "${{") {
			l.problem(at, key, Expands, "Dokploy replaces ${{…}}, or refuses to deploy")
		}
		if i := strings.IndexAny(value, "\r\n"); i >= 0 {
			l.problem(at, key, Changes, "Dokploy cuts the value at its first newline")
			value = value[:i]
		}
		l.set(key, value, at)
	}
	ignoredBetween(l, src[covered:], count)
	return l
}

// ignoredBetween reports the lines between two statements that are neither
// blank nor a comment.
func ignoredBetween(l *lines, s string, line int) {
	for i, text := range strings.Split(s, "\n") {
		if text = strings.TrimLeft(text, " \t\v\f"+bom); text != "" && text[0] != '#' {
			l.problem(line+i, "", Ignored, "Dokploy's reader finds no KEY=value here")
		}
	}
}
