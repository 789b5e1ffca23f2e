// Package atomicfile replaces files whole and lets one process at a time do
// so: a reader sees the old bytes or the new ones, whatever dies in between.
package atomicfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"envctl/internal/fault"
)

// tmpInfix stands between a file's name and the random part of its temporaries.
const tmpInfix = ".tmp-"

// Write replaces path by data with exactly the mode perm, whatever the umask:
// an exclusive 0600 temporary in the same folder, fsync, rename, fsync of the
// folder. A path that is a symbolic link or anything but a regular file is
// Refused. On any error but Unknown the old file stands, byte for byte;
// Unknown says that the new bytes are in place and may not survive a power cut.
// Other kinds: Denied, Unavailable (disk full, read-only), NotFound (no folder).
func Write(path string, data []byte, perm fs.FileMode) error {
	op := "write " + path
	// One handle on the folder for all steps, so that a folder swapped meanwhile
	// cannot send the rename elsewhere.
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return classify(err, op)
	}
	defer dir.Close()
	name := filepath.Base(path)
	if info, err := dir.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return fault.Newf(fault.Refused, op, "remove it, or name another file", "%s", kindOf(info.Mode()))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return classify(err, op)
	}
	tmp, err := tempName(name)
	if err != nil {
		return classify(err, op)
	}
	if err := writeNew(dir, tmp, data, perm); err != nil {
		_ = dir.Remove(tmp) // best effort: Sweep finds what is left
		return classify(err, op)
	}
	if err := dir.Rename(tmp, name); err != nil {
		_ = dir.Remove(tmp)
		return classify(err, op)
	}
	if err := syncDir(dir); err != nil {
		return fault.Wrap(err, fault.Unknown, op, "check the disk, then run the command again")
	}
	return nil
}

// Read returns the bytes of path, of which there may be at most limit. Errors:
// NotFound, Refused (a symbolic link or not a regular file), Invalid (longer
// than limit), Denied, Unavailable. It never waits for a pipe's writer.
func Read(path string, limit int64) ([]byte, error) {
	op := "read " + path
	f, err := open(op, path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, classify(err, op)
	}
	if int64(len(data)) > limit {
		return nil, fault.Newf(fault.Invalid, op, "look at the file, then move it away", "longer than %d bytes", limit)
	}
	return data, nil
}

// open opens a regular file, and nothing that only looks like one.
func open(op, path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|noFollow, 0o600)
	if isSymlink(err) {
		return nil, fault.New(fault.Invalid, op, "a symbolic link", "put the file itself in the link's place")
	}
	if err != nil {
		return nil, classify(err, op)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fault.New(fault.Invalid, op, "not a regular file", "look at what stands there, and put the file itself in its place")
	}
	return f, nil
}

// Sweep removes the temporaries that writes of path left when they were cut
// off. Call it with path's lock held: it would take a running write's too.
func Sweep(path string) error {
	op := "clean up beside " + path
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return classify(err, op)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isTemp(filepath.Base(path), e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classify(err, op)
		}
	}
	return nil
}

func writeNew(dir *os.Root, name string, data []byte, perm fs.FileMode) (err error) {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	return f.Sync()
}

func tempName(name string) (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return "." + name + tmpInfix + hex.EncodeToString(b[:]), nil
}

func isTemp(name, candidate string) bool {
	random, ok := strings.CutPrefix(candidate, "."+name+tmpInfix)
	b, err := hex.DecodeString(random)
	return ok && err == nil && len(b) == 8
}

// classify gives an error of the file system its kind.
func classify(err error, op string) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Denied, op, "check who owns the folder and its mode")
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, op, "create the folder first")
	case errors.Is(err, syscall.ENOSPC):
		return fault.Wrap(err, fault.Unavailable, op, "free some space, then run the command again")
	}
	return fault.Wrap(err, fault.Unavailable, op, "check the disk, then run the command again")
}

// kindOf names what is no regular file.
func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
