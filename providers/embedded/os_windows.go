package embedded

import "io/fs"

// modeProblem finds nothing: Windows keeps no such modes, and the user's
// configuration folder is the user's alone.
func modeProblem(string, fs.FileInfo) (problem, hint string) { return "", "" }
