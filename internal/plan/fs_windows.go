package plan

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Windows opens links only with a privilege to have made them; there is no flag.
const noFollow = 0

// tryLock locks one byte far beyond the content, which stays readable.
func tryLock(f *os.File, shared bool) (bool, error) {
	var how uint32 = windows.LOCKFILE_FAIL_IMMEDIATELY
	if !shared {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// unlock leaves it to Close: handles are not inherited here.
func unlock(*os.File) {}

// SyncDir does nothing: NTFS journals its names, and a folder cannot be flushed.
func (OS) SyncDir(string) error { return nil }
