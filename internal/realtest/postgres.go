//go:build unix

package realtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PostgresServer is a running PostgreSQL that asks for passwords by SCRAM. It
// listens on loopback, logs every statement, and ends with the test that started it.
type PostgresServer struct {
	Port     string
	Admin    string // a superuser
	Password string

	t      testing.TB
	bin    string // the folder of its programs
	dir    string
	owner  *syscall.Credential // nil: the test's own
	cmd    *exec.Cmd
	exited chan struct{}
}

// Postgres starts a server, up within about two seconds. Share one between subtests.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		Missing(t, "postgresql is not on this machine: .ci/run installs it")
	}
	// Not t.TempDir: the server's user must be able to enter it.
	dir, err := os.MkdirTemp("", "envctl-pg-")
	if err != nil {
		t.Fatal(err)
	}
	p := &PostgresServer{Admin: "admin", Password: "admin-password", t: t, bin: filepath.Dir(found[len(found)-1]), dir: dir}
	t.Cleanup(func() {
		p.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(p.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // the server refuses to run as root
		who, err := user.Lookup("postgres")
		if err != nil {
			Missing(t, "there is no user postgres: .ci/run installs it")
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		p.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		for _, f := range []string{dir, secret} {
			if err := os.Chown(f, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	init := p.command("initdb", "-D", p.data(), "-N", "-E", "UTF8", "--locale=C", "-U", p.Admin, "-A", "scram-sha-256", "--pwfile", secret)
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.Start()
	return p
}

func (p *PostgresServer) data() string { return filepath.Join(p.dir, "data") }

func (p *PostgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner}
	return cmd
}

// Start starts the server, the second time on the same port.
func (p *PostgresServer) Start() {
	p.t.Helper()
	for try := 1; ; try++ {
		if p.Port == "" || try > 1 {
			_, p.Port, _ = net.SplitHostPort(freeAddr(p.t))
		}
		err := p.start()
		if err == nil {
			return
		}
		if try == 3 { // a port can be taken between being found and being used
			p.t.Fatal(err)
		}
	}
}

func (p *PostgresServer) start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := p.command("postgres", "-D", p.data(), "-p", p.Port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=50", "-c", "log_statement=all", "-c", "log_connections=on")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // its log says why
		close(exited)
	}()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			p.cmd = nil
			return fmt.Errorf("postgres ended at once: %s", tail(p.Log()))
		default:
		}
		if _, err := p.query(p.Admin, p.Password, "SELECT 1"); err == nil {
			return nil
		}
	}
	p.Stop()
	return fmt.Errorf("postgres did not answer: %s", tail(p.Log()))
}

// Stop ends the server at once, and its sessions with it.
func (p *PostgresServer) Stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT) // fast shutdown; it may have ended by itself
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // at once
		<-p.exited
	}
	p.cmd = nil
}

// Log is what the server has said so far.
func (p *PostgresServer) Log() string {
	data, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// Rules replaces the server's rules of who may log in how (pg_hba.conf). The
// administrator's login must stay possible.
func (p *PostgresServer) Rules(lines ...string) {
	p.t.Helper()
	file := filepath.Join(p.data(), "pg_hba.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.SQL("SELECT pg_reload_conf()")
	count := fmt.Sprint(len(lines))
	for deadline := time.Now().Add(30 * time.Second); p.SQL("SELECT count(*) FROM pg_hba_file_rules") != count; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("the server does not read its rules")
		}
	}
}

// SQL runs statements as the administrator and returns what they print.
func (p *PostgresServer) SQL(statements string) string {
	p.t.Helper()
	out, err := p.query(p.Admin, p.Password, statements)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", statements, err, out)
	}
	return strings.TrimSpace(out)
}

// Opens tells whether psql can log in with a password.
func (p *PostgresServer) Opens(role, password string) bool {
	_, err := p.query(role, password, "SELECT 1")
	return err == nil
}

// Session opens a session as a role and keeps it until the function returned is called.
func (p *PostgresServer) Session(role, password string) (end func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := p.psql(ctx, role, password, "SELECT 'open'; SELECT pg_sleep(600)")
	var out bytes.Buffer
	cmd.Stderr = &out
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = pipe.Read(make([]byte, 1))
	}
	if err != nil {
		cancel()
		p.t.Fatalf("a session of %s: %v %s", role, err, out.String())
	}
	return func() {
		cancel()
		_ = cmd.Wait() // it was killed
		p.SQL("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '" + role + "'")
	}
}

func (p *PostgresServer) query(role, password, statements string) (string, error) {
	out, err := p.psql(context.Background(), role, password, statements).CombinedOutput()
	return string(out), err
}

func (p *PostgresServer) psql(ctx context.Context, role, password, statements string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", p.Port, "-U", role, "-d", "postgres", "-f", "-")
	cmd.Env = []string{"PGPASSWORD=" + password, "HOME=" + p.dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.Stdin = strings.NewReader(statements)
	return cmd
}
