package realtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// RedisServer is a running Redis. It listens on loopback and ends with the test
// that started it.
type RedisServer struct {
	Port string
	Dir  string // its working folder

	t      testing.TB
	bin    string
	lines  []string
	cmd    *exec.Cmd
	exited chan struct{}
	output *bytes.Buffer
}

// Redis starts a server with these lines in its configuration file, or, where
// they begin with "--", on its command line and with no file.
func Redis(t testing.TB, lines ...string) *RedisServer {
	t.Helper()
	r := &RedisServer{t: t, bin: Tool(t, "redis-server"), Dir: t.TempDir(), lines: lines}
	t.Cleanup(r.Stop)
	for try := 1; ; try++ {
		_, r.Port, _ = net.SplitHostPort(freeAddr(t))
		err := r.start(true)
		if err == nil {
			return r
		}
		if try == 3 { // a port can be taken between being found and being used
			t.Fatal(err)
		}
	}
}

// Restart ends the server and starts it again, with the configuration file it has
// now and on the same port.
func (r *RedisServer) Restart() {
	r.t.Helper()
	r.Stop()
	if err := r.start(false); err != nil {
		r.t.Fatal(err)
	}
}

// Stop ends the server at once.
func (r *RedisServer) Stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended by itself
	<-r.exited
	r.cmd = nil
}

// CLI runs one command with redis-cli, as user with password where there is one.
func (r *RedisServer) CLI(user, password string, words ...string) string {
	r.t.Helper()
	cmd := exec.Command(Tool(r.t, "redis-cli"), append([]string{"-h", "127.0.0.1", "-p", r.Port}, words...)...)
	if user != "" {
		cmd.Args = append([]string{cmd.Args[0], "--user", user}, cmd.Args[1:]...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v", out, err)
	}
	return strings.TrimSpace(string(out))
}

// Opens tells whether redis-cli can log in with a password.
func (r *RedisServer) Opens(user, password string) bool {
	r.t.Helper()
	return r.CLI(user, password, "PING") == "PONG"
}

func (r *RedisServer) start(configure bool) error {
	args := []string{"--port", r.Port, "--bind", "127.0.0.1", "--dir", r.Dir, "--save", "", "--appendonly", "no"}
	if len(r.lines) > 0 && strings.HasPrefix(r.lines[0], "--") {
		args = append(args, r.lines...)
	} else {
		file := filepath.Join(r.Dir, "redis.conf")
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsave \"\"\n%s\n", r.Port, r.Dir, strings.Join(r.lines, "\n"))
		if configure {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return err
			}
		}
		args = []string{file}
	}
	r.output = &bytes.Buffer{}
	cmd := exec.Command(r.bin, args...)
	cmd.Dir = r.Dir
	cmd.Stdout, cmd.Stderr = r.output, r.output
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // its output says why
		close(exited)
	}()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-exited:
			r.cmd = nil
			return fmt.Errorf("redis-server ended at once: %s", tail(r.output.String()))
		default:
		}
		if conn, err := net.Dial("tcp", "127.0.0.1:"+r.Port); err == nil {
			_ = conn.Close()
			return nil
		}
	}
	r.Stop()
	return fmt.Errorf("redis-server did not listen: %s", tail(r.output.String()))
}
