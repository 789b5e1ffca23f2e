package harden

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the hardened process, its neighbour and its child.
func TestMain(m *testing.M) {
	switch os.Getenv("HELPER") {
	case "":
		os.Exit(m.Run())
	case "hardened":
		report(true)
	case "plain":
		report(false)
	case "crash":
		if os.Getenv("HARDEN") != "" {
			if _, err := Process(); err != nil {
				panic(err)
			}
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
		select {}
	case "limit":
		fmt.Println(limit(0))
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Minute)
	}
}

// report prints one line for each thing that a process may or may not do.
func report(hard bool) {
	var core Core
	if hard {
		c, err := Process()
		if err != nil {
			panic(err)
		}
		core = c
	}
	dumpable, _, _ := syscall.Syscall(syscall.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0)
	fmt.Println("dumpable", dumpable)
	fmt.Println("limit", limit(0))
	fmt.Println("neighbour", read("/proc/"+os.Getenv("NEIGHBOUR")+"/environ"))
	r, w, _ := os.Pipe() // as a shell's <(command) is given: /dev/fd/63
	_, _ = w.WriteString("in")
	_ = w.Close()
	fmt.Println("own fd", read(fmt.Sprintf("/proc/self/fd/%d", r.Fd())))
	_, err := os.Executable()
	fmt.Println("own exe", err == nil)
	exe, _ := os.Executable()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "HELPER=limit")
	out, _ := cmd.Output()
	fmt.Print("child's limit ", string(out))
	if err := core.Restore(0); err != nil {
		panic(err)
	}
	fmt.Println("limit restored", limit(0))
	fmt.Println("ready")
	time.Sleep(time.Minute)
}

func limit(pid int) string {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &l); err != nil {
		return err.Error()
	}
	return strconv.FormatUint(l.Cur, 10)
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "denied"
	}
	return fmt.Sprint("read ", len(b) > 0)
}

// nobody is the user that helpers run as when the test is root's, who may read
// everything; nil leaves the user.
func nobody() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func start(t *testing.T, as *syscall.SysProcAttr, env ...string) (pid int, said string) {
	t.Helper()
	exe := copySelf(t)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = env
	cmd.SysProcAttr = as
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var all []byte
	for !bytes.HasSuffix(all, []byte("ready\n")) {
		b := make([]byte, 1024)
		n, err := out.Read(b)
		all = append(all, b[:n]...)
		if err == io.EOF {
			t.Fatalf("ended early: %s", all)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return cmd.Process.Pid, string(all)
}

// copySelf returns a copy of the test binary that another user can execute.
func copySelf(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "helper")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProcess(t *testing.T) {
	// Not 0, or nothing would be seen to change. Not parallel: it is this process's.
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &was); err != nil {
		t.Fatal(err)
	}
	const soft = 4096
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: soft, Max: was.Max}); err != nil {
		t.Fatalf("the limit cannot be raised to see it fall: %v", err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &was) })
	neighbour, _ := start(t, nobody(), "HELPER=sleep")
	with := "NEIGHBOUR=" + strconv.Itoa(neighbour)

	_, plain := start(t, nobody(), "HELPER=plain", with)
	pid, hard := start(t, nobody(), "HELPER=hardened", with)
	for _, c := range []struct{ name, plain, hard string }{
		{"dumpable", "1", "0"},
		{"limit", "4096", "0"},
		{"neighbour", "read true", "read true"},
		{"own fd", "read true", "read true"},
		{"own exe", "true", "true"},
		{"child's limit", "4096", "0"},
		{"limit restored", "4096", "4096"},
	} {
		if want := c.name + " " + c.plain + "\n"; !strings.Contains(plain, want) {
			t.Errorf("plain: want %q in\n%s", want, plain)
		}
		if want := c.name + " " + c.hard + "\n"; !strings.Contains(hard, want) {
			t.Errorf("hardened: want %q in\n%s", want, hard)
		}
	}
	// The kernel gives the files of a process that is not dumpable to root.
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("its environ is not root's: %v", err)
	}
}

func TestRestoreAChild(t *testing.T) {
	t.Parallel()
	pid, _ := start(t, nil, "HELPER=sleep")
	if err := (Core{}).Restore(pid); err != nil {
		t.Error(err)
	}
	if err := (Core{soft: 1024, known: true}).Restore(pid); err != nil {
		t.Fatal(err)
	}
	if got := limit(pid); got != "1024" {
		t.Errorf("limit %s", got)
	}
	if err := (Core{soft: 1024, known: true}).Restore(1 << 30); err == nil {
		t.Error("no such process, and no error")
	}
}

// A crash of the hardened process dumps nothing; of a plain one it does, where
// this machine dumps cores at all.
func TestNoCoreDumped(t *testing.T) {
	t.Parallel()
	crash := func(harden string) bool {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -c unlimited; exec "$0"`, copySelf(t))
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"HELPER=crash", "GOTRACEBACK=crash", "HARDEN=" + harden}
		_ = cmd.Run()
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || !status.Signaled() {
			t.Fatalf("did not crash: %v", cmd.ProcessState)
		}
		return status.CoreDump()
	}
	if crash("yes") {
		t.Error("a core was dumped")
	}
	if !crash("") {
		t.Log("this machine dumps no core of a plain process either")
	}
}
