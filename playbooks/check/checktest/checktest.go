// Package checktest states what every finding of check has, whatever its rule:
// the tests over the corpus and over the scripts ask the same.
package checktest

import (
	"path"
	"slices"
	"strings"

	"envctl/playbooks/check"
)

// aboutFiles are the rules that are about a file, a path or an expression, and
// name a variable only where one is meant.
func aboutFiles() []string {
	return []string{
		"code-ignored", "dotenv-tracked", "layer-unreadable", "policy-cross-environment", "policy-missing-path", "policy-no-lookup-self", "policy-write",
		"store-ghost", "template-syntax",
	}
}

// Lacks returns what a finding lacks of that which an operator needs to act on
// it: nothing, when the rule that made it is right.
func Lacks(f check.Finding) []string {
	var out []string
	for _, part := range []struct {
		name string
		ok   bool
	}{
		{"a rule", slices.ContainsFunc(check.Rules(), func(r check.Rule) bool { return r.Name == f.Rule })},
		{"a severity", f.Severity != ""},
		{"a file relative to the project", f.File != "" && !path.IsAbs(f.File) && !strings.Contains(f.File, `\`)},
		{"a line", f.Line >= 1},
		{"a column", f.Column >= 1},
		{"a variable", f.Variable != "" || slices.Contains(aboutFiles(), f.Rule)},
		{"a message", f.Message != ""},
		{"a fix", f.Fix != ""},
	} {
		if !part.ok {
			out = append(out, part.name)
		}
	}
	return out
}
