package atomicfile

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"envctl/internal/fault"
)

// errBusy is tryLock's answer while another holder has the lock.
var errBusy = errors.New("locked by another process")

// Lock takes the exclusive lock file path, created 0600 when missing and never
// removed, and waits for it as long as ctx lives: name the lock file yourself,
// usually the guarded file's name and ".lock". It excludes other processes and
// other goroutines alike, and ends with its process. Call unlock once, and keep
// it until then: a lock that nothing refers to any more is let go.
// Errors: Unavailable (still held when ctx's deadline came, with the holder's
// process number), Interrupted (ctx cancelled), Refused (a symbolic link or
// not a regular file), Denied, NotFound (no folder).
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	op := "lock " + path
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		f, err := openLock(path)
		if err != nil {
			return nil, err
		}
		err = tryLock(f)
		if err == nil && !stillAt(f, path) {
			// Someone removed the file between open and lock; a second process
			// would lock the new one.
			_ = f.Close()
			continue
		}
		if err == nil {
			note(f)
			return f.Close, nil // closing releases the lock
		}
		holder := holderOf(f)
		_ = f.Close()
		if !errors.Is(err, errBusy) {
			return nil, classify(err, op)
		}
		select {
		case <-ctx.Done():
			return nil, &fault.Error{
				Kind: fault.KindOf(ctx.Err()), Op: op, Message: "held by " + holder,
				Hint: "wait for that run to end, then run the command again", Err: ctx.Err(),
			}
		case <-time.After(pause):
		}
	}
}

func openLock(path string) (*os.File, error) {
	return open("lock "+path, path, os.O_RDWR|os.O_CREATE)
}

func stillAt(f *os.File, path string) bool {
	mine, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// note leaves the holder's process number for whoever waits. It is only
// words in an error, so a failure to write it is no failure to lock.
func note(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

func holderOf(f *os.File) string {
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, 20))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 0 {
		return "process " + strconv.Itoa(pid)
	}
	return "another process"
}
