package commands

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// inMemory tells whether a folder lies in memory: tmpfs or ramfs.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return int64(st.Type) == unix.TMPFS_MAGIC || int64(st.Type) == unix.RAMFS_MAGIC //nolint:unconvert // its type differs between machines
}

func ownedByUs(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Getuid()
}
