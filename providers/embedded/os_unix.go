//go:build unix

package embedded

import (
	"fmt"
	"io/fs"
)

// modeProblem says what is wrong with a secret file's mode, and what to type.
func modeProblem(path string, info fs.FileInfo) (problem, hint string) {
	if info.Mode().Perm()&0o077 == 0 {
		return "", ""
	}
	return fmt.Sprintf("others can reach it (mode %04o)", info.Mode().Perm()), "chmod 600 " + path
}
