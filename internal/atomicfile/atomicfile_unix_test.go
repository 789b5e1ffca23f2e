//go:build unix

package atomicfile

import (
	"testing"

	"golang.org/x/sys/unix"
)

func setUmask(mask int) { unix.Umask(mask) }

func makeFIFO(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}
