//go:build unix

package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

// The test binary is also the other process: HELPER says what it does.
func TestMain(m *testing.M) {
	job := os.Getenv("HELPER")
	if job == "" {
		os.Exit(m.Run())
	}
	if err := help(job, embedded.Config{
		File: os.Getenv("STORE"), Identity: os.Getenv("IDENTITY"), PinDir: os.Getenv("PINS"), Author: job, Now: time.Now,
	}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func help(job string, c embedded.Config) error {
	ctx, s := context.Background(), embedded.Open(c)
	put := func(k, v string) error {
		_, err := s.Write(ctx, app, providers.Any, providers.Patch{k: secret.New(v)})
		return err
	}
	switch job, arg, _ := strings.Cut(job, ":"); job {
	case "create": // everything there is, whatever the umask
		unix.Umask(0)
		if _, err := embedded.GenerateIdentity(ctx, c.Identity, secret.Value{}); err != nil {
			return err
		}
		if _, err := embedded.Create(ctx, c); err != nil {
			return err
		}
		_, err := s.Write(ctx, app, providers.Absent, providers.Patch{"K": secret.New("v")})
		return err
	case "sets": // 20 keys of its own
		for i := range 20 {
			if err := put(fmt.Sprintf("P%s_%d", arg, i), arg); err != nil {
				return err
			}
		}
	case "set":
		runtime.LockOSThread() // strace counts calls by thread
		return put("K", arg)
	case "count": // K = 1, 2, 3 …, each said when it is written, until killed
		for i := 1; ; i++ {
			if err := put("K", strconv.Itoa(i)); err != nil {
				return err
			}
			fmt.Println(i)
		}
	case "torn": // as count, by a writer that writes in place
		good, err := os.ReadFile(c.File)
		if err != nil {
			return err
		}
		for i := 1; ; i++ {
			f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				return err
			}
			for _, half := range [][]byte{good[:len(good)/2], good[len(good)/2:]} {
				if _, err := f.Write(half); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			if err := f.Close(); err != nil {
				return err
			}
			fmt.Println(i)
		}
	case "full":
		return fillUp(c, put)
	}
	return nil
}

// fillUp tries to write with the file size limited to every multiple of 512
// bytes that is too small, and checks what is left each time.
func fillUp(c embedded.Config, put func(k, v string) error) error {
	signal.Ignore(unix.SIGXFSZ)
	before, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	tries := 0
	for limit := uint64(0); limit < uint64(len(before)); limit += 512 {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: old.Max}); err != nil {
			return err
		}
		err := put("MORE", strings.Repeat("x", 600))
		if !fault.Is(err, fault.Unavailable) || fault.HintOf(err) == "" {
			return fmt.Errorf("limit %d: %w", limit, errors.Join(err, errors.New("want unavailable, with a hint")))
		}
		after, err := os.ReadFile(c.File)
		if err != nil || string(after) != string(before) {
			return errors.Join(fmt.Errorf("limit %d: the file changed", limit), err)
		}
		left, err := os.ReadDir(filepath.Dir(c.File))
		if err != nil || len(left) != 2 { // the store and its lock
			return errors.Join(fmt.Errorf("limit %d: left behind %v", limit, left), err)
		}
		tries++
	}
	if tries < 10 {
		return fmt.Errorf("only %d limits tried", tries)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	return put("MORE", "there is room again")
}

func helper(t *testing.T, job string, c embedded.Config) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "HELPER="+job, "STORE="+c.File, "IDENTITY="+c.Identity, "PINS="+c.PinDir)
	return cmd
}

func helped(t *testing.T, job string, c embedded.Config) {
	t.Helper()
	if out, err := helper(t, job, c).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", job, err, out)
	}
}

func TestModesWhateverTheUmask(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	c := embedded.Config{File: filepath.Join(home, "store.age"), Identity: filepath.Join(home, "envctl", "identity.txt"), PinDir: filepath.Join(home, "envctl", "stores")}
	helped(t, "create", c)
	files := 0
	must(t, filepath.WalkDir(home, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		switch {
		case path == home:
		case e.IsDir() && info.Mode().Perm() != 0o700, !e.IsDir() && info.Mode() != 0o600:
			t.Errorf("%s has mode %v", path, info.Mode())
		case !e.IsDir():
			files++
		}
		return nil
	}))
	if files < 5 { // store, identity, two pins, locks
		t.Errorf("only %d files found", files)
	}
}

func TestTwentyProcessesTwentySets(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "tester")
	s := created(t, c)
	set(t, s, providers.Absent, "KEEP", "kept")
	var all sync.WaitGroup
	for p := range 20 {
		all.Go(func() { helped(t, fmt.Sprintf("sets:%d", p), c) })
	}
	all.Wait()
	b, err := s.Read(t.Context(), app, providers.Latest)
	must(t, err)
	lost := 0
	for p := range 20 {
		for i := range 20 {
			if b.Values[fmt.Sprintf("P%d_%d", p, i)].Reveal() != strconv.Itoa(p) {
				lost++
			}
		}
	}
	if lost > 0 || b.Version != 401 || b.Values["KEEP"].Reveal() != "kept" {
		t.Errorf("lost %d of 400 acknowledged; version %d, want 401", lost, b.Version)
	}
	if r, err := s.Verify(t.Context()); err != nil || r.Revision.Number != 402 || r.Seen != 402 {
		t.Errorf("revision %d, remembered %d: %v", r.Revision.Number, r.Seen, err)
	}
}

func TestDiskFullAtEvery512Bytes(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "tester")
	s := created(t, c)
	for i := range 10 {
		_, err := s.Write(t.Context(), app, providers.Version(i), providers.Patch{"BIG": secret.New(strings.Repeat(fmt.Sprint(i), 500))})
		must(t, err)
	}
	helped(t, "full", c)
	if got := get(t, s, "MORE"); got != "there is room again" {
		t.Errorf("read %q", got)
	}
}

// killed kills a writer at some moment, round after round, and says what is
// wrong with what it leaves.
func killed(t *testing.T, job string, rounds int) error {
	t.Helper()
	c := desk(t, newFile(t), "tester")
	set(t, created(t, c), providers.Absent, "K", "0")
	wrote := 0
	for round := range rounds {
		cmd := helper(t, job, c)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		last := 0
		for lines := bufio.NewScanner(out); lines.Scan(); wrote++ {
			if last == 0 { // it is in full swing
				time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
			last, err = strconv.Atoi(lines.Text())
			must(t, err)
		}
		_ = cmd.Wait() // killed
		b, err := embedded.Open(c).Read(t.Context(), app, providers.Latest)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		got, err := strconv.Atoi(b.Values["K"].Reveal())
		if job == "count" && (err != nil || got < last || got > last+1) {
			return fmt.Errorf("round %d: %d was acknowledged, %q is there", round, last, b.Values["K"].Reveal())
		}
	}
	// The next write clears up behind the dead.
	set(t, embedded.Open(c), providers.Any, "K", "0")
	left, err := os.ReadDir(filepath.Dir(c.File))
	must(t, err)
	if len(left) != 2 {
		return fmt.Errorf("left behind: %v", left)
	}
	if wrote < rounds {
		t.Errorf("only %d writes in %d rounds", wrote, rounds)
	}
	return nil
}

func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	must(t, killed(t, "count", 25))
}

func TestKilledNoticesTornWrites(t *testing.T) {
	t.Parallel()
	if err := killed(t, "torn", 25); err == nil {
		t.Error("a writer that writes in place was killed 25 times, unnoticed")
	}
}

// The same at every step, not by chance: strace kills the writer at its first,
// second, third … call of each kind that changes what is on the disk.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	strace := realtest.Tool(t, "strace")
	c := desk(t, newFile(t), "tester")
	set(t, created(t, c), providers.Absent, "K", "start")
	have, kills, after := "start", 0, 0
	for _, calls := range []string{"fchmod", "fsync", "renameat,renameat2", "write"} {
		for step := 1; ; step++ {
			want := fmt.Sprintf("%s-%d", calls, step)
			self := helper(t, "set:"+want, c)
			cmd := exec.CommandContext(t.Context(), strace, "-f", "-o", "/dev/null", "-e", "trace="+calls,
				"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", calls, step), self.Path)
			cmd.Env = self.Env
			err := cmd.Run()
			got := get(t, embedded.Open(c), "K")
			if got != have && got != want {
				t.Fatalf("killed at %s %d: %q is there, want %q or %q", calls, step, got, have, want)
			}
			have = got
			if err == nil {
				if got != want {
					t.Errorf("not killed at %s %d, and %q is there", calls, step, got)
				}
				break
			}
			kills++
			if got == want {
				after++
			}
			if step > 100 {
				t.Fatalf("still killed at %s %d: %v", calls, step, err)
			}
		}
	}
	// Store and pin are each written, moded, synced, renamed and synced again.
	if kills < 10 || after < 4 || after == kills {
		t.Errorf("killed %d times, %d of them past the point of no return", kills, after)
	}
}

func TestLockHeldPastTheDeadline(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "tester")
	s := created(t, c)
	set(t, s, providers.Absent, "K", "v")
	lock := filepath.Join(filepath.Dir(c.File), ".store.age.lock")
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = s.Write(ctx, app, providers.Any, providers.Patch{"K": secret.New("w")})
	fails(t, "write", err, fault.Unavailable)
	must(t, read(s)) // readers do not wait
}
