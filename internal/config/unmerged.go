package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"envctl/internal/fault"
)

// ErrUnmerged is what is wrong with a file that git left in conflict.
var ErrUnmerged = errors.New("the two sides of a git merge stand in it")

// Unmerged returns the line at which a file that git left in conflict has its first
// mark, 0 for any other.
func Unmerged(src []byte) int {
	at := 0
	if mark := []byte("<<<<<<< "); !bytes.HasPrefix(src, mark) {
		if at = 1 + bytes.Index(src, append([]byte("\n"), mark...)); at == 0 {
			return 0
		}
	}
	rest := src[at:]
	for _, mark := range []string{"\n=======", "\n>>>>>>> "} {
		i := bytes.Index(rest, []byte(mark))
		if i < 0 {
			return 0
		}
		rest = rest[i:]
	}
	return 1 + bytes.Count(src[:at], []byte("\n"))
}

// UnmergedHint says what to do about one.
func UnmergedHint(file string) string {
	return "keep what is meant of the lines from <<<<<<< to >>>>>>>, then git add " + file
}

// unparsable is Invalid for a file that is no YAML, at the line where the reader gave
// up, or where git left it in conflict.
func unparsable(file string, data []byte, err error) error {
	if line := Unmerged(data); line > 0 {
		return fault.Wrap(ErrUnmerged, fault.Invalid, file+":"+strconv.Itoa(line), UnmergedHint(filepath.Base(file)))
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	number, rest, _ := strings.Cut(strings.TrimPrefix(text, "line "), ": ")
	line, nerr := strconv.Atoi(number)
	if nerr != nil {
		return invalid(file, 0, "%s", text)
	}
	// What the parser misses, and not the scanner, it counts from 0.
	for _, missed := range []string{"key", "node content", "',' or", "'-' indicator", "<document start>"} {
		if strings.HasPrefix(rest, "did not find expected "+missed) {
			line++
		}
	}
	return invalid(file, line, "%s", rest)
}
