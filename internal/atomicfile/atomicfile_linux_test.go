package atomicfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

// A disk that fills at every page boundary of a write: the old file stands,
// byte for byte, and nothing is left beside it.
//
// Not parallel: a process that another test forks shares our open files until
// it runs its program, so a temporary removed meanwhile still holds its pages.
func TestWriteOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	const pages, page = 16, 4096
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", pages*page)); err != nil {
		realtest.Missing(t, "a small disk needs root: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path, filler := filepath.Join(dir, "f"), filepath.Join(dir, "filler")
	old := bytes.Repeat([]byte("old."), page/4)
	must(t, Write(path, old, 0o600))
	for used := range pages - 1 {
		must(t, os.WriteFile(filler, make([]byte, used*page), 0o600))
		err := Write(path, make([]byte, pages*page), 0o600)
		if !fault.Is(err, fault.Unavailable) {
			t.Fatalf("%d pages used: %v", used, err)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, old) {
			t.Fatalf("%d pages used: the old file is gone", used)
		}
		if left := names(t, dir); len(left) != 2 {
			t.Fatalf("left behind: %v", left)
		}
	}
}
