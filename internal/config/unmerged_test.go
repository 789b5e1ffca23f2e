package config

import (
	"os"
	"path/filepath"
	"testing"

	"envctl/internal/fault"
)

func TestWhatIsNoYAML(t *testing.T) {
	t.Parallel()
	const top = "version: 1\nproject: ledger\n"
	hint := "keep what is meant of the lines from <<<<<<< to >>>>>>>, then git add envctl.yaml"
	for text, want := range map[string][3]string{
		top + "<<<<<<< HEAD\ncomponents: {a: {}}\n=======\ncomponents: {b: {}}\n>>>>>>> other\n":  {":3", "the two sides of a git merge stand in it", hint},
		"<<<<<<< HEAD\n" + top + "||||||| base\nversion: 1\n=======\nversion: 1\n>>>>>>> other\n": {":1", "the two sides of a git merge stand in it", hint},
		top + "# comments alone\n<<<<<<< HEAD\n# a\n=======\n# b\n>>>>>>> other\n":                {":4", "the two sides of a git merge stand in it", hint},
		top + "<<<<<<< HEAD\n":                         {":3", "could not find expected ':'", ""}, // somebody's leftover: there are no two sides
		top + "environments: {a: {}\ncomponents: {}\n": {":3", "did not find expected ',' or '}'", ""},
		top + "environments:\n  a: {}\n b: {}\n":       {":5", "did not find expected key", ""},
		top + "components: {a: [x, {]}\n":              {":3", "did not find expected node content", ""},
	} {
		file := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file)
		if !fault.Is(err, fault.Invalid) || err.Error() != file+want[0]+": "+want[1] || fault.HintOf(err) != want[2] {
			t.Errorf("%q\n is %v\n hint %q\nwant %v", text, err, fault.HintOf(err), want)
		}
	}
}
