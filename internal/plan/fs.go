package plan

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Mode says what a file is opened for.
type Mode int

// The modes of FS.Open; every one of them refuses symbolic links and all that
// is not a regular file.
const (
	Existing  Mode = iota // to read and append
	New                   // to append; fs.ErrExist when it exists; 0600
	Lockfile              // to lock, created 0600 when missing
	ReadWhole             // to read only
)

// FS is the file system as the engine uses it: OS, or a test's disk that fails
// and dies on demand. Errors are the file system's own (io/fs).
type FS interface {
	MkdirAll(dir string) error // 0700, and durable
	Open(path string, m Mode) (File, error)
	Names(dir string) ([]string, error) // none when dir does not exist
	Remove(path string) error
	SyncDir(dir string) error
}

// File is an open file. Write appends. Lock tries once, never waits, and ends
// with Close or the process; it is false when another holder has it, and
// fs.ErrNotExist when the path no longer leads to this file.
type File interface {
	io.WriteCloser
	ReadAll(limit int64) ([]byte, error)
	Sync() error
	Truncate(size int64) error
	Lock(shared bool) (bool, error)
}

// OS is the machine's file system.
type OS struct{}

var errNotRegular = errors.New("not a regular file or folder of its own")

// MkdirAll creates dir and its parents, each 0700 and fsynced into its parent,
// and closes an existing dir to others.
func (o OS) MkdirAll(dir string) error {
	switch info, err := os.Lstat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(dir)
		if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
			if err := o.MkdirAll(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return o.SyncDir(parent)
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: errNotRegular}
	case info.Mode().Perm()&0o077 != 0:
		return os.Chmod(dir, 0o700) //nolint:gosec // a folder
	}
	return nil
}

// Open opens path for what m says.
func (OS) Open(path string, m Mode) (File, error) {
	flags := map[Mode]int{
		Existing:  os.O_RDWR | os.O_APPEND,
		New:       os.O_RDWR | os.O_APPEND | os.O_CREATE | os.O_EXCL,
		Lockfile:  os.O_RDWR | os.O_CREATE,
		ReadWhole: os.O_RDONLY,
	}[m]
	f, err := os.OpenFile(path, flags|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, errors.Join(err, &fs.PathError{Op: "open", Path: path, Err: errNotRegular})
	}
	if m == New && info.Mode().Perm() != 0o600 {
		if err := f.Chmod(0o600); err != nil { // the umask may have taken even our own rights
			_ = f.Close()
			return nil, err
		}
	}
	return osFile{f}, nil
}

// Names returns the names in dir, sorted.
func (OS) Names(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Remove removes the file path.
func (OS) Remove(path string) error { return os.Remove(path) }

type osFile struct{ *os.File }

func (f osFile) ReadAll(limit int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f.File, 0, limit))
}

func (f osFile) Lock(shared bool) (bool, error) {
	got, err := tryLock(f.File, shared)
	if !got || err != nil {
		return false, err
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	// Whoever held the lock before may have removed the file.
	if there, err := os.Lstat(f.Name()); err != nil || !os.SameFile(mine, there) {
		return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: fs.ErrNotExist}
	}
	return true, nil
}

// Close unlocks first: a child process that is just being started holds a copy
// of the descriptor, and with it the lock, until its exec.
func (f osFile) Close() error {
	unlock(f.File)
	return f.File.Close()
}
