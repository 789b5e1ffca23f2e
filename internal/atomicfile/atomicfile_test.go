package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
)

// The test binary is also the other process: HELPER names what it does.
func TestMain(m *testing.M) {
	path := os.Getenv("HELPER_PATH")
	switch os.Getenv("HELPER") {
	case "":
		os.Exit(m.Run())
	case "write":
		setUmask(0o777)
		if err := Write(path, []byte("written"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "hold": // takes the lock and waits to be killed
		unlock, err := Lock(context.Background(), path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
		_ = unlock() // until here the lock is in use, and not collected
	case "count": // 25 times: read a number, add one, write it, under the lock
		for range 25 {
			if err := addOne(path); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
}

func helper(t *testing.T, job, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "HELPER="+job, "HELPER_PATH="+path)
	return cmd
}

func addOne(path string) error {
	unlock, err := Lock(context.Background(), path+".lock")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return err
	}
	if err := Write(path, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err
	}
	return unlock()
}

func TestWriteReplacesWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, perm := range []fs.FileMode{0o600, 0o644, 0o600} {
		data := bytes.Repeat([]byte{byte(perm)}, 100_000)
		if err := Write(path, data, perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read back %d bytes, %v", len(got), err)
		}
		if info, _ := os.Stat(path); info.Mode() != perm {
			t.Errorf("mode %v, want %v", info.Mode(), perm)
		}
	}
	if left := names(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWriteWhateverTheUmask(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if out, err := helper(t, "write", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
}

func TestWriteRefusesWhatIsNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	must(t, os.WriteFile(foreign, []byte("theirs"), 0o644))
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(foreign, link))
	dangling := filepath.Join(dir, "dangling")
	must(t, os.Symlink(filepath.Join(dir, "nowhere"), dangling))
	fifo := filepath.Join(dir, "fifo")
	makeFIFO(t, fifo)
	before := names(t, dir)
	for _, path := range []string{link, dangling, fifo, dir} {
		if err := Write(path, []byte("ours"), 0o600); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := Lock(t.Context(), path); !fault.Is(err, fault.Invalid, fault.Unavailable) {
			t.Errorf("lock %s: %v", path, err)
		}
	}
	if got, _ := os.ReadFile(foreign); string(got) != "theirs" {
		t.Errorf("foreign file holds %q", got)
	}
	if after := names(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("left behind: %v", after)
	}
	// A hard link is another name of someone's bytes: only our name changes.
	hard := filepath.Join(dir, "hard")
	must(t, os.Link(foreign, hard))
	must(t, Write(hard, []byte("ours"), 0o600))
	if got, _ := os.ReadFile(foreign); string(got) != "theirs" {
		t.Errorf("foreign file holds %q", got)
	}
}

func TestWriteSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if err := Write(filepath.Join(t.TempDir(), "no", "f"), nil, 0o600); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := Lock(t.Context(), filepath.Join(t.TempDir(), "no", "f")); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, link, fifo := filepath.Join(dir, "f"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	must(t, Write(path, []byte("12345"), 0o600))
	must(t, os.Symlink(path, link))
	makeFIFO(t, fifo)
	if got, err := Read(path, 5); err != nil || string(got) != "12345" {
		t.Errorf("read %q, %v", got, err)
	}
	for _, c := range []struct {
		path  string
		limit int64
		want  fault.Kind
	}{{path, 4, fault.Invalid}, {path + "x", 5, fault.NotFound}, {link, 5, fault.Invalid}, {fifo, 5, fault.Invalid}, {dir, 5, fault.Invalid}} {
		if _, err := Read(c.path, c.limit); !fault.Is(err, c.want) {
			t.Errorf("%s up to %d: %v", c.path, c.limit, err)
		}
	}
}

// A reader never sees anything but one whole write.
func TestReadersSeeOldOrNew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	const size = 50_000
	must(t, Write(path, bytes.Repeat([]byte{0}, size), 0o600))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range byte(100) {
			if err := Write(path, bytes.Repeat([]byte{i}, size), 0o600); err != nil {
				t.Error(err)
			}
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := os.ReadFile(path)
		if err != nil || len(got) != size || bytes.Count(got, got[:1]) != size {
			t.Fatalf("a mixture of %d bytes: %v", len(got), err)
		}
	}
}

// The order on the wire to the disk, as the kernel saw it.
func TestWriteSyncsFileThenFolder(t *testing.T) {
	t.Parallel()
	strace := realtest.Tool(t, "strace")
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	self := helper(t, "write", path)
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-y", "-e", "trace=openat,write,fsync,renameat,renameat2", "-o", filepath.Join(dir, "trace"), self.Path)
	cmd.Env = self.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		realtest.Missing(t, fmt.Sprintf("strace cannot trace here: %v: %s", err, out))
	}
	trace, err := os.ReadFile(filepath.Join(dir, "trace"))
	must(t, err)
	d, tmp := regexp.QuoteMeta(dir), `\.f\.tmp-[0-9a-f]{16}`
	order := regexp.MustCompile(`(?s)openat\(.*?"` + tmp + `", [^\n]*O_EXCL[^\n]*, 0600\)` +
		`.*?write\(\d+<` + d + `/` + tmp + `>, "written"` +
		`.*?fsync\(\d+<` + d + `/` + tmp + `>` +
		`.*?renameat2?\([^\n]*"` + tmp + `", [^\n]*"f"` +
		`.*?fsync\(\d+<` + d + `>`)
	if !order.Match(trace) {
		t.Errorf("not create, write, fsync, rename, fsync of the folder:\n%s", trace)
	}
}

func TestSweepTakesOnlyOurTemporaries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"f", ".f.tmp-0123456789abcdef", ".f.tmp-mine", ".g.tmp-0123456789abcdef", "f.tmp-0123456789abcdef"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, Sweep(filepath.Join(dir, "f")))
	want := ".f.tmp-mine .g.tmp-0123456789abcdef f f.tmp-0123456789abcdef"
	if got := strings.Join(names(t, dir), " "); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}

func TestLockExcludesProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n")
	must(t, os.WriteFile(path, []byte("0"), 0o600))
	var others sync.WaitGroup
	for range 8 {
		others.Go(func() {
			if out, err := helper(t, "count", path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	others.Wait()
	if got, _ := os.ReadFile(path); string(got) != "200" {
		t.Errorf("counted %s, want 200", got)
	}
}

func TestLockExcludesGoroutines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "n")
	must(t, os.WriteFile(path, []byte("0"), 0o600))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := addOne(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, _ := os.ReadFile(path); string(got) != "20" {
		t.Errorf("counted %s, want 20", got)
	}
}

func TestLockNamesItsHolderAndDiesWithIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l")
	other := helper(t, "hold", path)
	out, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = Lock(soon, path)
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while held: %v", err)
	}
	if want := fmt.Sprintf("held by process %d", other.Process.Pid); !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("%v does not say %q", err, want)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(cancelled, path); !fault.Is(err, fault.Interrupted) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, other.Process.Kill())
	unlock, err := Lock(t.Context(), path)
	must(t, err)
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	must(t, unlock())
}

// Whoever waited on a lock file that was then removed must not share it.
func TestLockSurvivesRemoval(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "l")
	first, err := Lock(t.Context(), path)
	must(t, err)
	f, err := openLock(path)
	must(t, err)
	defer f.Close()
	must(t, os.Remove(path))
	must(t, first())
	must(t, tryLock(f))
	if stillAt(f, path) {
		t.Error("a removed lock file counts as the lock")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
