//go:build unix

package ui

import (
	"time"

	"golang.org/x/sys/unix"
)

// pasteGap is how long nothing comes once a paste is over.
const pasteGap = 30 * time.Millisecond

// drain takes off a raw terminal what comes without a pause, and returns it: the
// end of a paste. It gives up after 256 KiB or two seconds, whoever sends.
func drain(fd int) string {
	var all []byte
	buf := make([]byte, 4096)
	for range 64 {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(pasteGap.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || ready[0].Revents&unix.POLLIN == 0 {
			break
		}
		if n, err = unix.Read(fd, buf); err != nil || n <= 0 {
			break
		}
		all = append(all, buf[:n]...)
	}
	return string(all)
}
