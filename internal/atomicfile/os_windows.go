package atomicfile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Windows opens links only with a privilege to have made them; there is no flag.
const noFollow = 0

func isSymlink(error) bool { return false }

// tryLock locks one byte far beyond the holder's note, which stays readable.
func tryLock(f *os.File) error {
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errBusy
	}
	return err
}

// syncDir does nothing: NTFS journals the rename, and a folder cannot be flushed.
func syncDir(*os.Root) error { return nil }
