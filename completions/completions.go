// Package completions holds what each shell loads to complete envctl's words:
// a script hands the typed words to the program as they are and evaluates none.
//
// A script runs
//
//	envctl __complete -- WORD… CURRENT
//
// with the words after the program's name up to the cursor, quotes removed,
// nothing expanded; CURRENT is the part before the cursor of the word that is
// being completed, possibly empty. The program answers one candidate a line,
// "value" or "value<TAB>description", and ends with 0; on any error it prints
// nothing. A line that begins with a colon is an instruction:
//
//	:files    complete file names, no candidates follow
//	:nospace  put no space after the candidate
//
// A candidate is the whole word: for --env=pr it is --env=production. Scripts
// drop candidates that hold control characters, and quote the others.
// The envctl on PATH answers; where there is none, the one that was typed.
package completions

import (
	"embed"
	"strings"
)

//go:embed envctl.bash envctl.fish envctl.ps1 envctl.zsh
var scripts embed.FS

// Shells returns the shells there is a script for, sorted.
func Shells() []string { return []string{"bash", "fish", "powershell", "zsh"} }

// Script returns the script for a shell, and false for a shell without one.
func Script(shell string) (string, bool) {
	name := "envctl." + shell
	if shell == "powershell" {
		name = "envctl.ps1"
	}
	text, err := scripts.ReadFile(name)
	if err != nil || strings.Contains(shell, "ps1") {
		return "", false
	}
	return string(text), true
}
