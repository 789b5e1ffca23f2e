package embedded

import "io/fs"

const (
	noFollow = 0
	nonBlock = 0
)

// modeProblem finds nothing: Windows keeps no such modes, and the user's
// configuration folder is the user's alone.
func modeProblem(string, fs.FileInfo) (problem, hint string) { return "", "" }
