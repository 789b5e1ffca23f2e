package plan_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/plan"
)

// journaled runs the test playbook in a real folder and returns its journal.
func journaled(t *testing.T) (e *plan.Engine, id, path string, data []byte) {
	t.Helper()
	e = engine(t, nil)
	res, err := e.Run(t.Context(), mustPlan(t, newWorld(nil)))
	if err != nil {
		t.Fatal(err)
	}
	id = res.Record.ID
	path = filepath.Join(e.Dir, "runs", id+".jsonl")
	data, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return e, id, path, data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// No altered byte and no lost or moved line is read as another journal.
func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	e, id, path, data := journaled(t)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1 << (i % 8)
		write(t, path, bad)
		if _, err := e.Load(id); !fault.Is(err, fault.Invalid) {
			t.Fatalf("bit %d of byte %d: %v", i%8, i, err)
		}
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i := range len(lines) - 1 {
		lost := bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil)
		write(t, path, lost)
		if _, err := e.Load(id); !fault.Is(err, fault.Invalid) {
			t.Errorf("line %d lost: %v", i+1, err)
		}
		moved := append([][]byte{}, lines...)
		moved[i], moved[i+1] = moved[i+1], moved[i]
		write(t, path, bytes.Join(moved, nil))
		if _, err := e.Load(id); !fault.Is(err, fault.Invalid) {
			t.Errorf("line %d moved: %v", i+1, err)
		}
	}
	w := newWorld(nil)
	if _, err := e.Undo(t.Context(), id, w.plan); !fault.Is(err, fault.Invalid) {
		t.Errorf("undo of a damaged journal: %v", err)
	}
	// The journal of another run under this one's name.
	other := strings.Repeat("0", 12)
	write(t, filepath.Join(e.Dir, "runs", other+".jsonl"), data)
	if _, err := e.Load(other); !fault.Is(err, fault.Invalid) {
		t.Errorf("another run's journal: %v", err)
	}
	// Damaged ones do not hide the others.
	res, err := e.Run(t.Context(), mustPlan(t, w))
	if err != nil {
		t.Fatal(err)
	}
	all, err := e.List()
	if len(all) != 1 || all[0].ID != res.Record.ID || !fault.Is(err, fault.Invalid) {
		t.Errorf("%+v, %v", all, err)
	}
}

// A journal cut off anywhere is one that stopped there.
func TestTornJournal(t *testing.T) {
	t.Parallel()
	e, id, path, data := journaled(t)
	header := bytes.IndexByte(data, '\n')
	for n := range len(data) {
		write(t, path, data[:n])
		r, err := e.Load(id)
		switch {
		case n < header && fault.Is(err, fault.NotFound): // it never started
		case n >= header && n < len(data)-1 && err == nil && r.State == plan.Partial:
		case n == len(data)-1 && err == nil && r.State == plan.Done: // only the newline is missing
		default:
			t.Fatalf("%d bytes: %+v, %v", n, r.State, err)
		}
	}
	write(t, path, append(bytes.Clone(data), make([]byte, 100)...)) // a file system that grew it with zeros
	if r, err := e.Load(id); err != nil || r.State != plan.Done {
		t.Errorf("%+v, %v", r.State, err)
	}
}

func TestFilesAndFolders(t *testing.T) {
	t.Parallel()
	e, id, path, _ := journaled(t)
	for _, dir := range []string{e.Dir, filepath.Dir(path), filepath.Join(e.Dir, "locks")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// An open folder is closed again; a link in a journal's or folder's place is refused.
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), mustPlan(t, newWorld(nil))); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(filepath.Dir(path)); info.Mode().Perm() != 0o700 {
		t.Error(info.Mode())
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(path, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Load(id); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a link was followed: %v", err)
	}
	e.Dir = filepath.Join(t.TempDir(), "linked")
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(e.Dir, "runs")); err != nil {
		t.Fatal(err)
	}
	w := newWorld(nil)
	if _, err := e.Run(t.Context(), mustPlan(t, w)); !fault.Is(err, fault.Unavailable) || w.undone() != nil {
		t.Errorf("a linked folder: %v", err)
	}
}

func TestUnknownRuns(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	w := newWorld(nil)
	for _, id := range []string{"", "..", "../../etc/passwd", "000000000000", strings.Repeat("0", 99), "00000000000\n"} {
		_, err := e.Load(id)
		wantKind(t, err, fault.NotFound)
		_, err = e.Resume(t.Context(), id, w.plan)
		wantKind(t, err, fault.NotFound)
		_, err = e.Undo(t.Context(), id, w.plan)
		wantKind(t, err, fault.NotFound)
	}
	if all, err := e.List(); len(all) != 0 || err != nil {
		t.Error(all, err)
	}
}

// Ids are short, sort by time and differ even when the clock stands still.
func TestRunIDs(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e.Now = func() time.Time { return at }
	last := ""
	seen := map[string]bool{}
	for i := range 20 {
		if i%5 == 0 {
			at = at.Add(time.Millisecond)
		}
		res, err := e.Run(t.Context(), mustPlan(t, newWorld(nil)))
		if err != nil {
			t.Fatal(err)
		}
		id := res.Record.ID
		if !regexp.MustCompile(`^[0-9a-z]{12}$`).MatchString(id) || seen[id] || id[:9] < last {
			t.Errorf("%s after %s", id, last)
		}
		seen[id], last = true, id[:9]
	}
	e.Rand = &repeat{}
	if _, err := e.Run(t.Context(), mustPlan(t, newWorld(nil))); err != nil {
		t.Fatal(err)
	}
	_, err := e.Run(t.Context(), mustPlan(t, newWorld(nil)))
	wantKind(t, err, fault.Internal)
}

type repeat struct{}

func (*repeat) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Only what ended, is old and is not among the newest is removed.
func TestPrune(t *testing.T) {
	t.Parallel()
	e, w := engine(t, nil), newWorld(nil)
	partial := stopped(t, w, e)
	var ids []string
	var begun []time.Time
	for range 4 {
		res, err := e.Run(t.Context(), mustPlan(t, newWorld(nil)))
		if err != nil {
			t.Fatal(err)
		}
		ids, begun = append(ids, res.Record.ID), append(begun, res.Record.StartedAt)
	}
	torn := filepath.Join(e.Dir, "runs", "000000000000.jsonl") // the oldest, and unreadable
	write(t, torn, []byte("{}\n"))
	prune := func(keep int, before time.Time, want ...string) {
		t.Helper()
		n, err := e.Prune(t.Context(), keep, before)
		all, _ := e.List()
		if err != nil || len(all) != len(want) {
			t.Fatalf("%d removed, %d are left: %v", n, len(all), err)
		}
		for i, r := range all {
			if r.ID != want[i] {
				t.Errorf("%s is left, not %s", r.ID, want[i])
			}
		}
	}
	after := begun[3].Add(time.Hour)
	prune(6, after, ids[3], ids[2], ids[1], ids[0], partial)    // too few
	prune(0, begun[0], ids[3], ids[2], ids[1], ids[0], partial) // too young
	prune(2, after, ids[3], ids[2], partial)
	prune(1, begun[2].Add(time.Hour), ids[3], partial)
	if _, err := os.Stat(torn); err != nil {
		t.Error(err)
	}
	if _, err := e.Close(t.Context(), partial); err != nil {
		t.Fatal(err)
	}
	prune(0, after)
}

// A run that starts while others are listed is not disturbed by them.
func TestListingDisturbsNobody(t *testing.T) {
	t.Parallel()
	e := engine(t, nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := e.List(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for range 20 {
		w := newWorld(nil)
		res, err := e.Run(t.Context(), mustPlan(t, w))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := e.Undo(t.Context(), res.Record.ID, w.plan); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-stopped
}
