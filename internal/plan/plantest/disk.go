// Package plantest kills playbooks at every point of their journal and looks
// whether resume finishes them and undo takes them back.
package plantest

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"sync"
	"syscall"

	"envctl/internal/plan"
)

// Disk is a file system in memory that fills and dies on demand. What was not
// fsynced is lost when the power goes, and kept when only the process dies.
// The zero Disk is empty, endless and well.
type Disk struct {
	// Full, when set, is how many bytes fit on the disk: a write past it is short
	// and fails with ENOSPC.
	Full *int
	// Lying makes Sync and SyncDir do nothing and return nil: a planted fault.
	Lying bool
	// Nameless makes SyncDir alone do nothing: another one.
	Nameless bool

	mu    sync.Mutex
	nodes map[string]*node
	crash *Crash
	ops   []Op
	dead  bool
}

// node is a file: what it holds, what would survive, and who locks it.
type node struct {
	data, safe []byte
	named      bool // its name would survive
	exclusive  *file
	shared     map[*file]bool
}

// Op is one thing the disk was asked to do; Bytes is a write's length.
type Op struct {
	Name  string
	Bytes int
}

// Crash is a death: at the operation number Op (from 0), before it, after it,
// or after the first Bytes bytes of a write. With Power, all that was not
// fsynced goes too.
type Crash struct {
	Op    int
	After bool
	Bytes int
	Power bool
}

// String names the crash in a test's message.
func (c Crash) String() string {
	when, how := "before", "kill"
	if c.Bytes > 0 {
		when = fmt.Sprintf("%d bytes into", c.Bytes)
	} else if c.After {
		when = "after"
	}
	if c.Power {
		how = "power cut"
	}
	return fmt.Sprintf("%s %s op %d", how, when, c.Op)
}

// died is what a dead disk panics with; the dead process does nothing more.
type died struct{}

// Arm sets the next crash; nil for none. It starts the count of operations anew.
func (d *Disk) Arm(c *Crash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crash, d.ops = c, nil
}

// Ops returns what was asked since Arm.
func (d *Disk) Ops() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Op(nil), d.ops...)
}

// Survive runs f and tells whether the disk lived through it. After a death the
// disk is as a new process finds it, without locks.
func (d *Disk) Survive(f func()) (lived bool) {
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case died:
			d.reboot()
		default:
			panic(r)
		}
	}()
	f()
	return true
}

func (d *Disk) reboot() {
	d.mu.Lock()
	defer d.mu.Unlock()
	power := d.crash.Power
	for path, n := range d.nodes {
		n.exclusive, n.shared = nil, nil
		if power && !n.named {
			delete(d.nodes, path)
		} else if power {
			n.data = append([]byte(nil), n.safe...)
		}
	}
	d.dead, d.crash, d.ops = false, nil, nil
}

// Point is a place where the process can die and nothing happens to the disk:
// a world calls it before and after its own effects.
func (d *Disk) Point(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.step(name, 0, func(int) error { return nil })
}

// Safe returns what of a file would survive a power cut.
func (d *Disk) Safe(path string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.nodes[path]; n != nil && n.named {
		return append([]byte(nil), n.safe...)
	}
	return nil
}

// step does one operation, or dies in it. do gets how many bytes to write.
func (d *Disk) step(name string, bytes int, do func(n int) error) error {
	if d.dead {
		panic(died{})
	}
	at := len(d.ops)
	d.ops = append(d.ops, Op{Name: name, Bytes: bytes})
	if d.crash == nil || d.crash.Op != at {
		return do(bytes)
	}
	if d.crash.After {
		_ = do(bytes)
	} else if d.crash.Bytes > 0 {
		_ = do(min(d.crash.Bytes, bytes))
	}
	d.dead = true
	panic(died{})
}

// MkdirAll does nothing: folders exist.
func (d *Disk) MkdirAll(string) error { return nil }

// Open implements plan.FS.
func (d *Disk) Open(path string, m plan.Mode) (plan.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		panic(died{})
	}
	n := d.nodes[path]
	switch {
	case n == nil && (m == plan.Existing || m == plan.ReadWhole):
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case n != nil && m == plan.New:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	case n == nil:
		n = &node{}
		if err := d.step("create "+filepath.Base(path), 0, func(int) error {
			if d.nodes == nil {
				d.nodes = map[string]*node{}
			}
			d.nodes[path] = n
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return &file{d: d, n: n, path: path}, nil
}

// Names implements plan.FS.
func (d *Disk) Names(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for path := range d.nodes {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	sort.Strings(names)
	return names, nil
}

// Remove implements plan.FS.
func (d *Disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step("remove", 0, func(int) error {
		if d.nodes[path] == nil {
			return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
		}
		delete(d.nodes, path)
		return nil
	})
}

// SyncDir implements plan.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step("sync folder", 0, func(int) error {
		for path, n := range d.nodes {
			if filepath.Dir(path) == dir && !d.Lying && !d.Nameless {
				n.named = true
			}
		}
		return nil
	})
}

type file struct {
	d    *Disk
	n    *node
	path string
}

func (f *file) Write(b []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	written := 0
	err := f.d.step("write", len(b), func(n int) error {
		short := error(nil)
		if f.d.Full != nil {
			used := 0
			for _, o := range f.d.nodes {
				used += len(o.data)
			}
			if room := max(*f.d.Full-used, 0); room < n {
				n, short = room, syscall.ENOSPC
			}
		}
		f.n.data = append(f.n.data, b[:n]...)
		written = n
		return short
	})
	return written, err
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.step("sync", 0, func(int) error {
		if !f.d.Lying {
			f.n.safe = append([]byte(nil), f.n.data...)
		}
		return nil
	})
}

func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.step("truncate", 0, func(int) error {
		f.n.data = f.n.data[:min(int(size), len(f.n.data))]
		return nil
	})
}

func (f *file) ReadAll(limit int64) ([]byte, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return append([]byte(nil), f.n.data[:min(int(limit), len(f.n.data))]...), nil
}

func (f *file) Lock(shared bool) (bool, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n := f.n
	if (n.exclusive != nil && n.exclusive != f) || (!shared && len(n.shared) > 0) {
		return false, nil
	}
	if f.d.nodes[f.path] != n {
		return false, &fs.PathError{Op: "lock", Path: f.path, Err: fs.ErrNotExist}
	}
	if !shared {
		n.exclusive = f
		return true, nil
	}
	if n.shared == nil {
		n.shared = map[*file]bool{}
	}
	n.shared[f] = true
	return true, nil
}

// Close never dies: the dead close nothing, and deferred calls come here.
func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.n.exclusive == f {
		f.n.exclusive = nil
	}
	delete(f.n.shared, f)
	return nil
}
