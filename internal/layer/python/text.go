package python

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// literal returns what a string token stands for. ok is false where that is
// not known to this reader: \N{…} names, lone surrogates, bytes that are not
// text.
func literal(tok string) (text string, isBytes, ok bool) {
	quote := strings.IndexAny(tok, `"'`)
	if quote < 0 {
		return "", false, false
	}
	prefix := tok[:quote]
	isBytes = strings.ContainsAny(prefix, "bB")
	n := 1
	if len(tok)-quote >= 6 && tok[quote+1] == tok[quote] && tok[quote+2] == tok[quote] {
		n = 3
	}
	if len(tok) < quote+2*n {
		return "", isBytes, false
	}
	body := tok[quote+n : len(tok)-n]
	if strings.ContainsAny(prefix, "rR") || strings.IndexByte(body, '\\') < 0 {
		return body, isBytes, true
	}
	text, ok = unescape(body, isBytes)
	return text, isBytes, ok && utf8.ValidString(text)
}

func unescape(body string, isBytes bool) (string, bool) {
	var b strings.Builder
	b.Grow(len(body))
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' || i+1 >= len(body) {
			b.WriteByte(body[i])
			continue
		}
		i++
		switch c := body[i]; c {
		case '\n':
		case '\\', '\'', '"':
			b.WriteByte(c)
		case 'a':
			b.WriteByte('\a')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			end := i + 1
			for end < len(body) && end < i+3 && '0' <= body[end] && body[end] <= '7' {
				end++
			}
			n, _ := strconv.ParseUint(body[i:end], 8, 16) // at most three octal digits: no error
			i = end - 1
			writeCode(&b, rune(n), isBytes)
		case 'N':
			if !isBytes {
				return "", false
			}
			b.WriteString(`\N`)
		case 'x', 'u', 'U':
			size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			if c != 'x' && isBytes {
				b.WriteByte('\\')
				b.WriteByte(c)
				continue
			}
			if i+size >= len(body) {
				return "", false
			}
			n, err := strconv.ParseUint(body[i+1:i+1+size], 16, 32)
			if err != nil || n > utf8.MaxRune || 0xd800 <= n && n < 0xe000 {
				return "", false
			}
			i += size
			writeCode(&b, rune(n), isBytes)
		default: // an unknown escape stays as it is
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func writeCode(b *strings.Builder, r rune, isBytes bool) {
	if isBytes {
		b.WriteByte(byte(r))
	} else {
		b.WriteRune(r)
	}
}

// number returns the value of a number token: int64 or float64.
func number(tok string) (value any, ok bool) {
	text := strings.ReplaceAll(tok, "_", "")
	if len(text) > 2 && text[0] == '0' && strings.IndexByte("xXoObB", text[1]) >= 0 {
		n, err := strconv.ParseInt(text, 0, 64)
		return n, err == nil
	}
	if strings.ContainsAny(text, "jJ") {
		return nil, false
	}
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil
	}
	if text[0] == '0' && strings.Trim(text, "0") != "" {
		return nil, false // 0777 is not Python 3
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}
