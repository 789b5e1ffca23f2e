package plan

import (
	"fmt"
	"os"
	"strings"
)

// began is the boot and the tick of it at which a process started, "" for none.
func began(pid int) string {
	state, tick := stat(pid)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if state == "" || err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + ":" + tick
}

// exists tells whether a process is there and not only waits to be reaped.
func exists(pid int) bool {
	state, _ := stat(pid)
	return state != "" && state != "Z" && state != "X"
}

func stat(pid int) (state, tick string) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return "", ""
	}
	return fields[0], fields[19]
}
