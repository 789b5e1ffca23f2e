package formats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// quote returns s as a JSON string that is a YAML string too, with everything
// that a terminal obeys or a YAML reader calls unprintable as \u.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string has a JSON form
	text := strings.TrimSuffix(b.String(), "\n")
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unprintable(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// unprintable names characters of the basic plane only: \u needs no pair.
func unprintable(r rune) bool {
	return r < 0x10000 && r != ' ' && r != unicode.ReplacementChar && !unicode.IsPrint(r)
}

func writeJSON(values map[string]secret.Value) string {
	var b strings.Builder
	b.WriteString("{")
	for i, k := range sorted(values) {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  " + quote(k) + ": " + quote(values[k].Reveal()))
	}
	b.WriteString("\n}\n")
	return b.String()
}

// jsonReader walks a document token by token, so that duplicates, depth and
// numbers are seen as they stand.
type jsonReader struct {
	file string
	src  []byte
	dec  *json.Decoder
	at   []string
	out  []Item
	// parts are the paths of the objects that hold plain values, for a hint.
	parts []string
	found bool
}

// readJSON reads an object of values. Numbers keep their text where every
// reader prints them back as they stand; others are told to be quoted.
func readJSON(file string, src []byte, at string) ([]Item, error) {
	if line := badSurrogate(src); line > 0 {
		return nil, invalid(file, line, "", "half of a surrogate pair, which is no text")
	}
	r := &jsonReader{file: file, src: src, dec: json.NewDecoder(bytes.NewReader(src))}
	r.dec.UseNumber()
	if at != "" {
		r.at = strings.Split(at, ".")
	}
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, invalid(file, 1, `write {"KEY": "value"}`, "not one object")
	}
	if err := r.object(nil, len(r.at) == 0); err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid(file, r.line(), "", "text after the document")
	}
	if !r.found {
		return nil, missingPart(file, at, r.parts)
	}
	return r.out, nil
}

// badSurrogate returns the line of a \ud8xx without its other half, which the
// decoder would replace in silence; 0 for none.
func badSurrogate(src []byte) int {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(src) || src[i] != '\\' || src[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(src[i+2:i+6]), 16, 32)
		return n, err == nil
	}
	for i := 0; i < len(src); i++ {
		if src[i] != '\\' {
			continue
		}
		n, ok := unit(i)
		switch {
		case !ok, n < 0xd800, n > 0xdfff:
			i++
			continue
		case n < 0xdc00:
			if low, ok := unit(i + 6); ok && low >= 0xdc00 && low <= 0xdfff {
				i += 11
				continue
			}
		}
		return 1 + bytes.Count(src[:i], []byte("\n"))
	}
	return 0
}

func missingPart(file, at string, parts []string) error {
	hint := "no part of it is a map of plain values"
	if len(parts) > 0 {
		hint = "name the part with --at: " + strings.Join(parts, ", ")
	}
	return fault.Newf(fault.Usage, "read "+file, hint, "has no map at %s", at)
}

func (r *jsonReader) line() int {
	return 1 + bytes.Count(r.src[:min(int(r.dec.InputOffset()), len(r.src))], []byte("\n"))
}

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, invalid(r.file, r.line(), "check it: python3 -m json.tool "+r.file, "not JSON: %s", jsonProblem(err))
	}
	return t, nil
}

// jsonProblem keeps the decoder's words without the character it quotes.
func jsonProblem(err error) string {
	var s *json.SyntaxError
	if errors.As(err, &s) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "unexpected end") {
			return "it ends too early"
		}
		return "a character that cannot stand there"
	}
	return "it cannot be read"
}

// object reads what follows {; take tells that its members are the variables.
func (r *jsonReader) object(path []string, take bool) error {
	if len(path) > MaxDepth {
		return invalid(r.file, r.line(), "", "nested deeper than %d levels", MaxDepth)
	}
	r.found = r.found || take
	seen, plain := map[string]bool{}, false
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		line := r.line()
		if seen[key] {
			return invalid(r.file, line, "keep one of them", "a key stands twice in one object")
		}
		seen[key] = true
		below := append(path[:len(path):len(path)], key)
		item := Item{Key: key, Line: line}
		value, err := r.token()
		if err != nil {
			return err
		}
		switch v := value.(type) {
		case json.Delim:
			item.Why = "an object or a list, not one value; --at reads inside an object"
			if err := r.nested(v, below, !take && onPath(below, r.at)); err != nil {
				return err
			}
		case string:
			item.Value, plain = secret.New(v), true
		case json.Number:
			if item.Why = numberProblem(v.String(), 1e15); item.Why == "" {
				item.Value = secret.New(v.String())
			}
		case bool:
			item.Value = secret.New(strconv.FormatBool(v))
		default:
			item.Why = "null: no value"
		}
		if take {
			r.out = append(r.out, item)
		}
	}
	if plain && !take && len(path) > 0 {
		r.parts = append(r.parts, strings.Join(path, "."))
	}
	_, err := r.token()
	return err
}

// onPath tells whether path is the one that was asked for.
func onPath(path, at []string) bool {
	return len(at) > 0 && strings.Join(path, ".") == strings.Join(at, ".")
}

func (r *jsonReader) nested(d json.Delim, path []string, take bool) error {
	if d == '{' {
		return r.object(path, take)
	}
	if len(path) > MaxDepth {
		return invalid(r.file, r.line(), "", "nested deeper than %d levels", MaxDepth)
	}
	for i := 0; r.dec.More(); i++ {
		t, err := r.token()
		if err != nil {
			return err
		}
		if d, ok := t.(json.Delim); ok {
			if err := r.nested(d, append(path[:len(path):len(path)], strconv.Itoa(i)), false); err != nil {
				return err
			}
		}
	}
	_, err := r.token()
	return err
}

// numberProblem says why a number's text is not what every reader makes of it:
// 1.10 becomes 1.1, 1e3 becomes 1000, 12345678901234567890 something near it.
func numberProblem(text string, limit float64) string {
	const how = "a number that readers write back differently; put it in quotes"
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(f) >= limit || strconv.FormatFloat(f, 'f', -1, 64) != text || text == "-0" {
		return how
	}
	return ""
}
