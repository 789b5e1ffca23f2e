package dotenv

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// dockerLine is the length from which docker refuses a line (bufio's token size).
const dockerLine = 64 << 10

// readDocker follows the docker command's --env-file: raw text after the
// first =, no quotes, no escapes, no line longer than 64 KiB.
func readDocker(src string, env func(string) (string, bool)) *lines {
	l := &lines{}
	for n := 1; src != ""; n++ {
		line, rest, _ := strings.Cut(src, "\n")
		src = rest
		if len(line) >= dockerLine {
			l.refuse(n, "", "longer than docker's 64 KiB a line")
			return l
		}
		line = strings.TrimSuffix(line, "\r")
		if !utf8.ValidString(line) {
			l.refuse(n, "", "not UTF-8")
			return l
		}
		if n == 1 {
			line = strings.TrimPrefix(line, bom)
		}
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, hasValue := strings.Cut(line, "=")
		switch {
		case key == "":
			l.refuse(n, "", "no variable name")
			return l
		case strings.ContainsAny(key, " \t"):
			l.refuse(n, "", "a blank inside the variable name")
			return l
		case hasValue:
			l.set(key, value, n)
		default:
			if v, ok := env(key); ok {
				l.set(key, v, n)
			}
			l.problem(n, key, Inherits, "no =: the value comes from the environment of docker")
		}
	}
	return l
}
