package formats_test

import (
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/providers/formats"
)

func TestEveryUnreadableLineIsNamed(t *testing.T) {
	t.Parallel()
	many := "A=1\n" + strings.Repeat("canary0Xq7secretZ here\n", 14)
	for _, c := range []struct {
		format     formats.Format
		text, want string
	}{
		{formats.Dotenv, "A=1\nB 2\n", "read x:2: expected = after the name"},
		{formats.Dotenv, "A=1\nB 2\nC=3\nD 4\n", "read x:2: expected = after the name (also line 4)"},
		{formats.Dotenv, "B 2\nD 4\nC=\"open\nE=1\n", "read x:1: expected = after the name (also line 2); line 3: the quote is never closed"},
		{formats.Dotenv, many, "read x:2: expected = after the name (also lines 3, 4, 5, 6, 7, 8, 9, 10, 11); and 4 more"},
		{formats.Shell, "A=1\necho hi\nB=2\nls\n", "read x:2: the shell runs a part of the line as a command (also line 4)"},
	} {
		_, err := formats.Read(c.format, "x", []byte(c.text), formats.ReadOptions{})
		if !fault.Is(err, fault.Invalid) || err.Error() != c.want {
			t.Errorf("%q\n is %v\nnot %s", c.text, err, c.want)
		}
	}
	_, err := formats.ReadEdited("x", []byte("A 1\nB=2\nC 3\n"))
	if !fault.Is(err, fault.Invalid) || err.Error() != "read x:1: expected = after the name (also line 3)" {
		t.Error(err)
	}
}
