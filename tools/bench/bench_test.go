package bench

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSummarise(t *testing.T) {
	t.Parallel()
	ms := func(wall, cpu int, rss int64) Sample {
		return Sample{time.Duration(wall) * time.Millisecond, time.Duration(cpu) * time.Millisecond, rss}
	}
	got := summarise([]Sample{ms(9, 2, 30), ms(1, 8, 10), ms(4, 4, 20), ms(2, 3, 90)})
	if want := (Stat{ms(3, 3, 25), time.Millisecond}); got.Wall != want.Wall || got.CPU != 3500*time.Microsecond || got.RSS != want.RSS || got.Least != want.Least {
		t.Errorf("got %+v", got)
	}
}

func TestMet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		figure Figure
		met    bool
	}{
		{Figure{Got: 0.12, Goal: 0.12}, true},
		{Figure{Got: 0.121, Goal: 0.12}, false},
		{Figure{Got: 1, Goal: 1, Exact: true}, true},
		{Figure{Got: 0, Goal: 1, Exact: true}, false},
		{Figure{Got: 0, Goal: 1, Missing: "no engine"}, false},
		{Figure{Got: math.NaN(), Goal: 1}, false},
		{Ratio("", "", "", time.Second, 0, 1), false},
	} {
		if c.figure.Met() != c.met {
			t.Errorf("%+v", c.figure)
		}
	}
	var out strings.Builder
	if err := Print(&out, []Figure{{Work: "w", Got: 2, Goal: 1}, {Work: "x", Missing: "why"}}); err != nil ||
		strings.Count(out.String(), "**no**") != 2 || !strings.Contains(out.String(), "why") {
		t.Error(out.String(), err)
	}
}

// build compiles a package of this module into a new folder.
func build(t testing.TB, args ...string) string {
	t.Helper()
	pkg := args[len(args)-1]
	path := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", path}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return installed(t, path)
}

// installed returns a copy of a program, so that all of a pair lie in the page
// cache alike: one that the linker has just written lies there page by page, and
// starting it costs a fifth more than starting an installed one.
func installed(t testing.TB, program string) string {
	t.Helper()
	from, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	// By a plain writer, in pieces of 32 KiB as install(1) and cp(1) leave them:
	// the kernel's own copy would share the pages or the blocks.
	_, err = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// The measurement itself must be right: a program that works costs more than
// one that does not, one that sleeps costs time only, and big memory shows.
func TestRun(t *testing.T) {
	t.Parallel()
	launch := build(t, "./launch")
	sh := func(script string) Sample {
		s, err := Run(t.Context(), launch, Command{Name: script, Args: []string{"/bin/sh", "-c", script}, Stdin: func() string { return "in" }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	idle, busy, asleep := sh("read x; [ $x = in ]"), sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"), sh("sleep 0.2")
	if busy.CPU < idle.CPU+20*time.Millisecond || busy.CPU < 3*idle.CPU {
		t.Errorf("busy %v, idle %v", busy.CPU, idle.CPU)
	}
	if asleep.Wall < 200*time.Millisecond || asleep.CPU > asleep.Wall/2 {
		t.Errorf("asleep %+v", asleep)
	}
	if big := sh("head -c 40000000 /dev/zero | tail -c 39999999 | wc -c"); big.RSS < 30<<10 || idle.RSS > 10<<10 {
		t.Errorf("peaks %d and %d KiB", big.RSS, idle.RSS)
	}
	for _, script := range []string{"echo why >&2; exit 3", "kill -9 $$"} {
		if _, err := Run(t.Context(), launch, Command{Name: "fails", Args: []string{"/bin/sh", "-c", script}}); err == nil {
			t.Errorf("%q is no error", script)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, launch, 1, Command{Args: []string{"/bin/true"}}); err == nil {
		t.Error("an ended context is no error")
	}
}
