package ports

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// winAddrInUse is WSAEADDRINUSE, which no other system's number is.
const winAddrInUse = syscall.Errno(10048)

// busy says why nothing can listen on port, "" when something can. It asks the
// kernel, by listening itself: on every address, which whoever listens on
// any of them prevents, and on loopback, since not every system sees that so.
func busy(ctx context.Context, port int) (why string, err error) {
	for _, host := range []string{"0.0.0.0", "127.0.0.1"} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		switch {
		case err == nil:
			_ = l.Close()
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, winAddrInUse):
			return "in use by a program that this registry does not know", nil
		case errors.Is(err, syscall.EACCES):
			return "this user may not listen on it", nil
		default:
			return "", err
		}
	}
	return "", nil
}
