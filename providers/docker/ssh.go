package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
)

// sshArgs returns the arguments of the ssh program for ssh://[user@]host[:port].
// Nothing of the URL can become an option, and ssh never asks anything.
func sshArgs(u *url.URL) ([]string, error) {
	host, user := u.Hostname(), u.User.Username()
	switch {
	case host == "" || strings.HasPrefix(host, "-"):
		return nil, errors.New("it names no host")
	case u.User != nil && (user == "" || strings.HasPrefix(user, "-")):
		return nil, errors.New("its user is not a name")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("want ssh://user@host[:port] and nothing after it")
	}
	args := []string{"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"}
	if user != "" {
		args = append(args, "-l", user)
	}
	if port := u.Port(); port != "" {
		args = append(args, "-p", port)
	}
	return append(args, "--", host, "docker", "system", "dial-stdio"), nil
}

// sshError is why the ssh program ended before the engine answered.
type sshError struct {
	kind          fault.Kind
	message, hint string
}

func (e *sshError) Error() string { return e.message }

// dialSSH starts the ssh program and returns its standard streams as a connection.
func dialSSH(ctx context.Context, args []string, env func(string) string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := env("PATH")
	program, err := LookPath("ssh", path)
	if err != nil {
		return nil, &sshError{fault.Unavailable, "the ssh program is not on PATH", "install openssh-client, or put ssh on PATH"}
	}
	// Not bound to ctx: the connection outlives the request that opened it.
	cmd := exec.Command(program, args...) //nolint:noctx // see above
	cmd.Env = []string{}
	for _, name := range [...]string{"HOME", "LANG", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "USER"} {
		if v := env(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	c := &sshConn{cmd: cmd, asked: make(chan struct{})}
	cmd.Stderr = &c.said
	cmd.WaitDelay = time.Second
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, &sshError{fault.Unavailable, "ssh cannot be started: " + err.Error(), "run ssh by hand to see why"}
	}
	return c, nil
}

type sshConn struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
	said tail
	once sync.Once
	err  error

	asking sync.Once
	asked  chan struct{}
}

// Read reports the end of the ssh program as the reason it gave. It waits for
// the first request: what is said before it is no answer, and net/http would
// print it on standard error.
func (c *sshConn) Read(b []byte) (int, error) {
	<-c.asked
	n, err := c.out.Read(b)
	if err != nil && n == 0 {
		if why := c.wait(false); why != nil {
			return 0, why
		}
	}
	return n, err
}

func (c *sshConn) Write(b []byte) (int, error) {
	c.asking.Do(func() { close(c.asked) })
	n, err := c.in.Write(b)
	if err != nil {
		if why := c.wait(false); why != nil {
			return n, why
		}
	}
	return n, err
}

// Close ends the program.
func (c *sshConn) Close() error {
	c.asking.Do(func() { close(c.asked) })
	_ = c.wait(true)
	return nil
}

func (c *sshConn) wait(kill bool) error {
	c.once.Do(func() {
		_ = c.in.Close()
		if kill {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
			return
		}
		stop := time.AfterFunc(5*time.Second, func() { _ = c.cmd.Process.Kill() })
		defer stop.Stop()
		if err := c.cmd.Wait(); err != nil {
			c.err = reason(err, c.said.String())
		}
	})
	return c.err
}

// reason reads what ssh says: its exit code is 255 for everything, so its words
// are all there is to tell a refused key from an unreachable host.
func reason(err error, said string) error {
	line := said
	if i := strings.LastIndexByte(strings.TrimSpace(said), '\n'); i >= 0 {
		line = said[i+1:]
	}
	line = strings.TrimSpace(line)
	if line == "" {
		line = err.Error()
	}
	e := &sshError{fault.Unavailable, fmt.Sprintf("ssh ended: %s", oneLine(line)), "run ssh to that host by hand to see why; envctl never answers its questions"}
	if strings.Contains(said, "Permission denied") || strings.Contains(said, "permission denied") || strings.Contains(said, "Host key verification failed") {
		e.kind = fault.Denied
	}
	return e
}

func (*sshConn) LocalAddr() net.Addr              { return sshAddr{} }
func (*sshConn) RemoteAddr() net.Addr             { return sshAddr{} }
func (*sshConn) SetDeadline(time.Time) error      { return nil } // requests end by closing
func (*sshConn) SetReadDeadline(time.Time) error  { return nil }
func (*sshConn) SetWriteDeadline(time.Time) error { return nil }

// LookPath finds a program in the absolute folders of path, the operator's PATH.
func LookPath(program, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // the working directory belongs to the repository
		}
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return found, nil
		}
	}
	return "", exec.ErrNotFound
}

type sshAddr struct{}

func (sshAddr) Network() string { return "ssh" }
func (sshAddr) String() string  { return "ssh" }

// tail keeps the last of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(b)
	if extra := t.buf.Len() - 4<<10; extra > 0 {
		t.buf.Next(extra)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
