package plan

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"envctl/internal/fault"
)

const (
	format     = 1
	suffix     = ".jsonl"
	maxJournal = 16 << 20
	// lockPatience outlasts the moment for which a listing holds a journal.
	lockPatience = 500 * time.Millisecond
)

// digits sort like the numbers they write; i, l, o and u are left out.
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// isRunID tells whether s is what newID makes.
func isRunID(s string) bool { return len(s) == 12 && strings.TrimLeft(s, digits) == "" }

// newID returns nine digits of the time in milliseconds and three random ones.
func newID(now time.Time, random io.Reader) (string, error) {
	var b [3]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fault.Wrap(err, fault.Internal, "draw a run id", "")
	}
	id := make([]byte, 9, 12)
	ms := max(now.UnixMilli(), 0)
	for i := len(id) - 1; i >= 0; i-- {
		id[i] = digits[ms&31]
		ms >>= 5
	}
	for _, c := range b {
		id = append(id, digits[c&31])
	}
	return string(id), nil
}

// journal is a run's file, locked for as long as it is open. After the first
// failure nothing is written any more.
type journal struct {
	file    File
	path    string
	syncDir func() error // makes the file's name durable; nil: it is
	sum     string
	size    int64
	lead    string // a newline that a torn write still owes
	err     error
}

// append writes r durably, and with it what was jotted down before.
func (j *journal) append(r record) error {
	if err := j.jot(r); err != nil {
		return err
	}
	err := j.file.Sync()
	if err == nil && j.syncDir != nil {
		err = j.syncDir()
		j.syncDir = nil
	}
	if err != nil {
		j.err = diskError(err, "write the journal "+j.path)
	}
	return j.err
}

// jot writes r, or leaves the file as it was. Until the next append it outlives
// this process, but not a power cut: it is for records that change nothing for a
// reader who finds them missing.
func (j *journal) jot(r record) error {
	if j.err != nil {
		return j.err
	}
	line, sum, err := encode(r, j.sum)
	if err == nil && j.size+int64(len(line)) > maxJournal {
		err = errors.New("too long")
	}
	if err == nil {
		_, err = j.file.Write(append([]byte(j.lead), line...))
		if err != nil {
			// Whatever is left is a torn last line at worst, which readers pass over.
			_ = j.file.Truncate(j.size)
		}
	}
	if err != nil {
		j.err = diskError(err, "write the journal "+j.path)
		return j.err
	}
	j.size += int64(len(j.lead) + len(line))
	j.sum, j.lead = sum, ""
	return nil
}

// create makes the journal of a new run. Its header is on disk with the first
// record that has to be: a run that died before has changed nothing.
func (e *Engine) create(ctx context.Context, h Header, pid int, host string) (*journal, *state, error) {
	dir := e.runs()
	op := "create a journal in " + dir
	if err := e.fs().MkdirAll(dir); err != nil {
		return nil, nil, diskError(err, op)
	}
	for range 8 { // another run may have drawn the same id
		id, err := newID(e.Now(), e.Rand)
		if err != nil {
			return nil, nil, err
		}
		h.ID, h.Format = id, format
		j := &journal{path: e.path(id), syncDir: func() error { return e.names.do(func() error { return e.fs().SyncDir(dir) }) }}
		j.file, err = e.fs().Open(j.path, New)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, nil, diskError(err, op)
		}
		r := record{Type: recStart, At: h.StartedAt, PID: pid, Host: host, Header: &h}
		st := &state{}
		err = e.lockJournal(ctx, j)
		if err == nil {
			err = j.jot(r)
		}
		if err == nil {
			err = st.apply(r)
		}
		if err != nil {
			return nil, nil, both(diskError(err, op), e.discard(j))
		}
		return j, st, nil
	}
	return nil, nil, fault.New(fault.Internal, op, "no free run id: the random source repeats itself", "")
}

// discard removes the journal of a run that did nothing.
func (e *Engine) discard(j *journal) error {
	err := e.fs().Remove(j.path)
	_ = j.file.Close()
	if err != nil { // Windows removes no open file
		err = e.fs().Remove(j.path)
	}
	return diskError(err, "remove "+j.path)
}

// open locks the journal of an existing run and reads it. st.header.ID is ""
// for a run that died before its header was on disk.
func (e *Engine) open(ctx context.Context, id string) (*journal, *state, error) {
	if !isRunID(id) {
		return nil, nil, notFound(id)
	}
	j := &journal{path: e.path(id)}
	var err error
	j.file, err = e.fs().Open(j.path, Existing)
	if err == nil {
		err = e.lockJournal(ctx, j)
	}
	var p replayed
	if err == nil {
		p, err = e.read(j.file, id)
	}
	if err == nil {
		j.sum, j.size = p.sum, int64(p.good)
		if p.open {
			j.lead = "\n"
		}
		err = j.file.Truncate(j.size) // a torn last line would join with the next
	}
	// What the dead process wrote may not be on disk yet, not even the name.
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		err = e.fs().SyncDir(e.runs())
	}
	if err != nil {
		if j.file != nil {
			_ = j.file.Close()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, notFound(id)
		}
		return nil, nil, diskError(err, "open the journal "+j.path)
	}
	return j, p.st, nil
}

// lockJournal takes the run for this process.
func (e *Engine) lockJournal(ctx context.Context, j *journal) error {
	give := time.NewTimer(lockPatience)
	defer give.Stop()
	for {
		got, err := j.file.Lock(false)
		if err != nil || got {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-give.C:
			return errBusy
		case <-time.After(5 * time.Millisecond):
		}
	}
}

var errBusy = errors.New("locked by another process")

// read replays an open journal; damage is Invalid.
func (e *Engine) read(f File, id string) (replayed, error) {
	op, hint := "read the journal "+e.path(id), "keep the file for inspection and move it out of the folder"
	data, err := f.ReadAll(maxJournal + 1)
	if err != nil {
		return replayed{}, diskError(err, op)
	}
	if len(data) > maxJournal {
		return replayed{}, fault.New(fault.Invalid, op, "too long", hint)
	}
	p, err := replay(data)
	if err == nil && p.st.header.ID != id && p.st.header.ID != "" {
		err = errors.New("it is the journal of run " + p.st.header.ID)
	}
	return p, fault.Wrap(err, fault.Invalid, op, hint)
}

func (e *Engine) runs() string          { return filepath.Join(e.Dir, "runs") }
func (e *Engine) path(id string) string { return filepath.Join(e.runs(), id+suffix) }

func notFound(id string) error {
	return fault.Newf(fault.NotFound, "open run "+clean(id), "envctl runs", "no such run")
}

// diskError makes an error of the file system Unavailable; a fault stays.
func diskError(err error, op string) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(err, fault.Interrupted, op, "run the command again")
	}
	return fault.Wrap(err, fault.Unavailable, op, "make room and check the folder, then run the command again")
}
