package commands

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inMemory tells whether a folder lies in memory: tmpfs or ramfs.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return int64(st.Type) == unix.TMPFS_MAGIC || int64(st.Type) == unix.RAMFS_MAGIC //nolint:unconvert // its type differs between machines
}

func ownedByUs(st fs.FileInfo) bool {
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Getuid()
}

// guard removes a folder should this process be killed: a shell of its own session
// waits for the end of a pipe that only this process holds open. What it returns
// ends the guard, the folder having been removed.
func guard(dir string) (unguard func()) {
	cmd := exec.Command("/bin/sh", "-c", `read -r _; rm -rf -- "$1"`, "envctl-guard", dir) //nolint:noctx // it ends with the session
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C and a hangup are not for it
	hold, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return func() {} // the next edit sweeps
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = hold.Close()
		_ = cmd.Wait()
	}
}

// family returns a process and its descendants, as far as the kernel tells.
func family(pid int) []int {
	out := []int{pid}
	for i := 0; i < len(out) && len(out) < 1000; i++ {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", out[i]))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
