//go:build unix

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/providers"
)

// remote returns an engine behind a program named ssh that goes straight to the socket.
func remote(t *testing.T, d *realtest.Docker, script string) (*Engine, string) {
	t.Helper()
	dir := t.TempDir()
	docker := realtest.Tool(t, "docker")
	script = strings.NewReplacer("DOCKER", docker+" -H "+d.Host(), "DIR", dir).Replace(script)
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PATH": dir + ":/usr/bin:/bin", "HOME": dir, "SSH_AUTH_SOCK": "/agent", "VAULT_TOKEN": "canary", "DOCKER_HOST": "canary"}
	e, err := New(Config{Host: "ssh://deploy@example.com:2222", Env: func(k string) string { return env[k] }, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, dir
}

const toSocket = "printf '%s\\n' \"$@\" >DIR/args\nenv >DIR/env\necho $$ >>DIR/pids\nexec DOCKER system dial-stdio\n"

// shellImage makes an image with a shell, of this machine's own programs.
func shellImage(t *testing.T, d *realtest.Docker) string {
	t.Helper()
	files := map[string]string{"/testimage": program(t), "/etc/passwd": "/etc/passwd"}
	for inside, program := range map[string]string{"/bin/sh": "dash", "/bin/cat": "cat", "/bin/readlink": "readlink"} {
		path := realtest.Tool(t, program)
		files[inside] = path
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(word, "/") {
				files[word] = word
			}
		}
	}
	const name = "envctl-test:shell"
	if err := d.Import(name, files, `ENTRYPOINT ["/testimage"]`); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOverSSH(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e, dir := remote(t, d, toSocket)
	image := shellImage(t, d)
	const p = "ssh"
	start(t, d, p, "ssh-shell", append(labels(p, "shell", "app", "web"), "-e", "KEY=old", "-e", "LINES=a\nb=c", image, "wrapper", "KEY=new", "--", "threads", "1", "serve")...)
	start(t, d, p, "ssh-user", append(labels(p, "user", "app", "web"), "-e", "KEY=old", image, "as", "1234", "serve", "never")...)
	start(t, d, p, "ssh-scratch", append(labels(p, "scratch", "app", "web"), "-e", "KEY=old", realtest.Image)...)

	c := only(t, e, providers.ContainerQuery{Project: p, Environment: "shell"})
	if args, _ := os.ReadFile(filepath.Join(dir, "args")); string(args) != "-T\n-o\nBatchMode=yes\n-o\nConnectTimeout=10\n-l\ndeploy\n-p\n2222\n--\nexample.com\ndocker\nsystem\ndial-stdio\n" {
		t.Errorf("ssh got %q", args)
	}
	if env, _ := os.ReadFile(filepath.Join(dir, "env")); strings.Contains(string(env), "canary") || !strings.Contains(string(env), "SSH_AUTH_SOCK=/agent") {
		t.Errorf("ssh got the environment %q", env)
	}
	var ps []providers.Process
	until(t, "three processes", func() bool {
		var err error
		if ps, err = e.Processes(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return len(ps) == 3
	})
	for i, want := range []string{"old", "new", "new"} {
		if p := ps[i]; p.Err != nil || p.Exe != "testimage" || value(p.Env["KEY"]) != want || value(p.Env["LINES"]) != "a\nb=c" || p.Started.Before(c.Started) {
			t.Errorf("process %d: %+v, KEY is %s", i, p, value(p.Env["KEY"]))
		}
	}
	if ps[0].PID != 1 || ps[1].PPID != 1 {
		t.Errorf("pid %d", ps[0].PID)
	}

	c = only(t, e, providers.ContainerQuery{Project: p, Environment: "scratch"})
	ps, err := e.Processes(t.Context(), c)
	if err != nil || len(ps) != 1 || ps[0].Env != nil || ps[0].Err == nil || !strings.Contains(ps[0].Err.Error(), "configuration only") || ps[0].Exe != "testimage" {
		t.Errorf("an image without sh: %+v %v", ps, err)
	}

	// A process of another user than the image's: root itself may not read it there.
	c = only(t, e, providers.ContainerQuery{Project: p, Environment: "user"})
	until(t, "it has become that user", func() bool {
		seen, err := e.exec(t.Context(), c, "")
		if err != nil || len(seen) != 1 {
			t.Fatal(seen, err)
		}
		return seen[0].user == "1234:1234" && seen[0].err != nil
	})
	if ps, err := e.Processes(t.Context(), c); err != nil || len(ps) != 1 || ps[0].Err != nil || value(ps[0].Env["KEY"]) != "old" {
		t.Error(ps, err)
	}

	d.Run(t, "pause", "ssh-user")
	ps, err = e.Processes(t.Context(), c)
	d.Run(t, "unpause", "ssh-user")
	if err != nil || len(ps) != 1 || ps[0].Err == nil || !strings.Contains(ps[0].Err.Error(), "paused") {
		t.Error("paused:", ps, err)
	}

	e.Close()
	pids, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err != nil || len(pids) == 0 {
		t.Error("no ssh was started:", err)
	}
	until(t, "every ssh program has ended", func() bool {
		for pid := range strings.FieldsSeq(string(pids)) {
			if _, err := os.Stat("/proc/" + pid); err == nil {
				return false
			}
		}
		return true
	})
}

// The engine of a socket may still be elsewhere: then /proc here shows nothing of it.
func TestSocketOfAnotherMachine(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e := engine(t, d)
	e.proc = t.TempDir()
	const p = "forwarded"
	start(t, d, p, "forwarded-a", append(labels(p, "a", "app", "web"), "-e", "KEY=v", shellImage(t, d), "serve")...)
	c := only(t, e, providers.ContainerQuery{Project: p, Environment: "a"})
	if ps, err := e.Processes(t.Context(), c); err != nil || len(ps) != 1 || ps[0].PID != 1 || value(ps[0].Env["KEY"]) != "v" {
		t.Error(ps, err)
	}
}

func TestSSHThatFails(t *testing.T) {
	t.Parallel()
	d := &realtest.Docker{Socket: "/nowhere"}
	for _, c := range []struct {
		name, script string
		kind         fault.Kind
		says         string
	}{
		{"refused", "echo 'deploy@example.com: Permission denied (publickey).' >&2; exit 255", fault.Denied, "publickey"},
		{"unknown host key", "echo 'Host key verification failed.' >&2; exit 255", fault.Denied, "Host key"},
		{"unreachable", "echo 'ssh: connect to host example.com port 22: Connection refused' >&2; exit 255", fault.Unavailable, "Connection refused"},
		{"no docker there", "echo 'sh: 1: docker: not found' >&2; exit 127", fault.Unavailable, "docker: not found"},
		{"silent", "exit 0", fault.Unavailable, "ssh://"},
		{"hangs", "exec sleep 60", fault.Unavailable, "no answer within"},
		{"talks rubbish", "echo 'Welcome to example.com'; exec sleep 60", fault.Unavailable, "ssh://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, _ := remote(t, d, c.script)
			e.timeout = time.Second
			began := time.Now()
			_, err := e.Containers(t.Context(), providers.ContainerQuery{Project: "p", Environment: "e"})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Error("took", took)
			}
		})
	}
	e, err := New(Config{Host: "ssh://example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Clock(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "PATH") {
		t.Error("no ssh program:", err)
	}
}
