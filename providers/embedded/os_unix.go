//go:build unix

package embedded

import (
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

const (
	noFollow = unix.O_NOFOLLOW
	// A FIFO in the file's place must not hold the open for ever.
	nonBlock = unix.O_NONBLOCK
)

// modeProblem says what is wrong with a secret file's mode, and what to type.
func modeProblem(path string, info fs.FileInfo) (problem, hint string) {
	if info.Mode().Perm()&0o077 == 0 {
		return "", ""
	}
	return fmt.Sprintf("others can reach it (mode %04o)", info.Mode().Perm()), "chmod 600 " + path
}
