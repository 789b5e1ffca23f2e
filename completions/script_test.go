package completions

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestScript(t *testing.T) {
	t.Parallel()
	for _, shell := range Shells() {
		if text, ok := Script(shell); !ok || !strings.Contains(text, "__complete") || !strings.HasSuffix(text, "\n") {
			t.Errorf("no script for %s", shell)
		}
	}
	if !slices.IsSorted(Shells()) {
		t.Error("Shells is not sorted")
	}
	for _, shell := range []string{"", "ps1", "tcsh", "../bash", "bash/", "."} {
		if _, ok := Script(shell); ok {
			t.Errorf("a script for %q", shell)
		}
	}
}

// What evaluates text, in any of the four languages.
var evaluates = regexp.MustCompile(`(?i)\beval\b|compgen\s+-W|\(e\)|\(%\)|print -P|Invoke-Expression|\biex\b|ExpandString|SafeGetValue|ScriptBlock\]::Create|\bsource\b|\bbash -c\b`)

func TestScriptsDoNotEvaluate(t *testing.T) {
	t.Parallel()
	for _, shell := range Shells() {
		text, _ := Script(shell)
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			if found := evaluates.FindString(line); found != "" {
				t.Errorf("%s:%d holds %q", shell, i+1, found)
			}
		}
	}
}

// PowerShell cannot be run here: its script is pinned to what was read with
// care, and its brackets and quotes must close.
func TestPowerShell(t *testing.T) {
	t.Parallel()
	text, _ := Script("powershell")
	var open []rune
	var quote rune
	for _, line := range strings.Split(text, "\n") {
	characters:
		for _, c := range line {
			switch {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case c == '#':
				break characters
			case c == '\'' || c == '"':
				quote = c
			case strings.ContainsRune("([{", c):
				open = append(open, c)
			case strings.ContainsRune(")]}", c):
				if len(open) == 0 || strings.IndexRune("([{", open[len(open)-1]) != strings.IndexRune(")]}", c) {
					t.Fatalf("%q closes nothing in %q", c, line)
				}
				open = open[:len(open)-1]
			}
		}
		if quote != 0 {
			t.Fatalf("a quote stays open in %q", line)
		}
	}
	if len(open) != 0 {
		t.Errorf("%q stays open", open)
	}
	for _, want := range []string{
		"Register-ArgumentCompleter -Native -CommandName 'envctl', 'envctl.exe' -ScriptBlock {\n",
		"    param($wordToComplete, $commandAst, $cursorPosition)\n",
		"    $answer = @(& $program '__complete' '--' @words $last 2>$null)\n",
		`            $text = "'" + ($text -replace '[''\u2018-\u201B]', '$0$0') + "'"` + "\n",
		"        $results += [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $description)\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the script has lost %q", want)
		}
	}
}
