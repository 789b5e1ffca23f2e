//go:build unix

package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host, base string
		local      bool
	}{
		{"", "http://docker", true},
		{"unix:///run/user/1000/docker.sock", "http://docker", true},
		{"ssh://root@h", "http://docker", false},
		{"tcp://127.0.0.1:2375", "http://127.0.0.1:2375", false},
		{"tcp://[::1]:2375", "http://[::1]:2375", false},
		{"https://h:2376", "https://h:2376", false},
	} {
		e, err := New(Config{Host: c.host})
		if err != nil || e.base != c.base || e.local != c.local || !strings.HasPrefix(e.Describe(), "docker ") {
			t.Errorf("%s: %+v %v", c.host, e, err)
		}
	}
	for _, host := range []string{
		"tcp://10.0.0.1:2375", "http://example.com:2375", "unix://relative", "unix:", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://h/path", "ssh://@h",
		"ssh://u:canary@h", "npipe:////./pipe/docker", "/var/run/docker.sock", "tcp://h:1/path", "::", "ssh://h:x canary",
	} {
		_, err := New(Config{Host: host})
		if !fault.Is(err, fault.Usage) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", host, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("shown: %v", err)
		}
	}
	if _, err := New(Config{Host: "tcp://h:2376", CertDir: t.TempDir()}); !fault.Is(err, fault.Usage) {
		t.Error("no certificates:", err)
	}
}

// serve answers as an engine would until the path has part, and then as given.
func serve(t *testing.T, part string, answer http.HandlerFunc) *Engine {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if strings.Contains(r.URL.Path, part) {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	e, err := New(Config{Host: strings.Replace(s.URL, "http", "tcp", 1), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestHostileEngines(t *testing.T) {
	t.Parallel()
	send := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	status := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, text) }
	}
	var redirected bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected = true }))
	t.Cleanup(other.Close)
	for _, c := range []struct {
		name, part string
		answer     http.HandlerFunc
		kind       fault.Kind
		says       string
	}{
		{"not an engine", "_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Del("Api-Version") }, fault.Invalid, "not a docker engine"},
		{"a path as version", "_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41/../../x") }, fault.Invalid, "not a docker engine"},
		{"not JSON", "containers/json", send("canary"), fault.Invalid, "not what its API promises"},
		{"another type", "containers/json", send(`[{"Id": {"canary": 1}}]`), fault.Invalid, "not what its API promises"},
		{"cut off", "containers/json", send(`[{"Id": "a`), fault.Unavailable, ""},
		{"300 MiB", "containers/json", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `[{"Id":"`)
			for range 300 {
				if _, err := w.Write(bytes.Repeat([]byte("a"), 1<<20)); err != nil {
					return
				}
			}
		}, fault.Invalid, "larger than 16 MiB"},
		{"one byte a second", "containers/json", func(w http.ResponseWriter, r *http.Request) {
			for {
				_, _ = io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}, fault.Unavailable, "no answer within 1s"},
		{"redirect", "containers/json", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, fault.Invalid, "307"},
		{"denied", "containers/json", status(403, `{"message":"authorization denied by plugin"}`), fault.Denied, "denied by plugin"},
		{"server error", "containers/json", status(500, `{"message":"driver\nfailed\u001b"}`), fault.Unavailable, "driver failed"},
		{"garbage error", "containers/json", status(502, strings.Repeat("<html>", 10000)), fault.Unavailable, "502"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, c.part, c.answer)
			if c.name == "300 MiB" {
				e.timeout = 20 * time.Second // it is the size that ends this one
			}
			began := time.Now()
			_, err := e.Containers(t.Context(), providers.ContainerQuery{Project: "p", Environment: "e"})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			} else if strings.Contains(err.Error(), "canary") {
				t.Error("the answer is shown:", err)
			}
			if took := time.Since(began); took > e.timeout+2*time.Second {
				t.Error("took", took)
			}
		})
	}
	t.Cleanup(func() {
		if redirected {
			t.Error("a redirect was followed")
		}
	})
}

// An engine that answers a filter with more than was asked for makes nothing evidence.
func TestFilterIsNotTrusted(t *testing.T) {
	t.Parallel()
	e := serve(t, "containers/", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			_, _ = io.WriteString(w, `[{"Id":"a"},{"Id":"b"},{"Id":"gone"}]`)
			return
		}
		if strings.Contains(r.URL.Path, "gone") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		env := "staging"
		if strings.Contains(r.URL.Path, "/b/") {
			env = "production"
		}
		_, _ = fmt.Fprintf(w, `{"Id":"x","Name":"/%s","State":{"Health":{"Status":"none"}},"Config":{"Env":["A=1","A=2","NO","=x"],"Labels":{"envctl.project":"p","envctl.environment":"%s"}}}`, env, env)
	})
	cs, err := e.Containers(t.Context(), providers.ContainerQuery{Project: "p", Environment: "production"})
	if err != nil || len(cs) != 1 || cs[0].Name != "production" || cs[0].Health != "" || len(cs[0].Env) != 1 || value(cs[0].Env["A"]) != "1" {
		t.Errorf("%+v %v", cs, err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dead := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	for _, path := range []string{filepath.Join(dir, "none"), dead} {
		e, err := New(Config{Host: "unix://" + path})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = e.Clock(t.Context()); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), path) || !strings.Contains(fault.HintOf(err), "DOCKER_HOST") {
			t.Errorf("%v, hint %q", err, fault.HintOf(err))
		}
	}
}

// The socket is there and belongs to someone else.
func TestSocketIsDenied(t *testing.T) {
	t.Parallel()
	if socket := os.Getenv("DOCKER_TEST_DENIED"); socket != "" {
		e, err := New(Config{Host: "unix://" + socket})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Clock(context.Background())
		fmt.Println(fault.KindOf(err), err, fault.HintOf(err))
		return
	}
	dir, err := os.MkdirTemp("", "ed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	self := filepath.Join(dir, "test") // the test binary's own folder may be closed to others
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Join(dir, "sock"): 0o600} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(self, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestSocketIsDenied$")
	cmd.Dir, cmd.Env = dir, []string{"DOCKER_TEST_DENIED=" + filepath.Join(dir, "sock")}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else if err := os.Chmod(filepath.Join(dir, "sock"), 0); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "denied ") || !strings.Contains(string(out), "group") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParsers(t *testing.T) {
	t.Parallel()
	id, other := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for text, want := range map[string]bool{
		"0::/docker/" + id + "\n":                                 true,
		"0::/system.slice/docker-" + id + ".scope\n":              true,
		"0::/../" + id + "\n":                                     true,
		"9:name=systemd:/user.slice\n8:pids:/docker/" + id + "\n": true,
		"0::/docker/" + id + "/init.scope\n":                      true,
		"0::/docker/" + id + "/docker/" + other + "\n":            false, // a container inside the container
		"0::/docker/" + other + "\n":                              false,
		"0::/\n":                                                  false,
		"":                                                        false,
		"0::/docker/" + id[:12] + "\n":                            false,
		"1:cpu:/kubepods/besteffort/pod1/" + id + "\n0::/something/else": true,
	} {
		if got := inContainer([]byte(text), id); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	stat := "12 (a) R (b)) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8675309 1 1"
	if comm, state, ppid, start, ok := parseStat([]byte(stat)); comm != "a) R (b)" || state != 'S' || ppid != 1 || start != 8675309 || !ok {
		t.Error(comm, state, ppid, start, ok)
	}
	for text, want := range map[string]int{
		"": 0, "A=1\x00": 1, "A=1\x00B=\x00A=2\x00": 2, "A=a\nb=c\x00": 1, "A=1": 1,
		"nginx: master process\x00": -1, "\x00\x00\x00": -1, "A=1\x00\x00\x00": -1, "ORD=x\x00postgres: writer\x00": -1, "=x\x00": -1,
	} {
		env, ok := parseEnviron([]byte(text))
		if !ok && want >= 0 || ok && len(env) != want {
			t.Errorf("%q: %d %v", text, len(env), ok)
		}
	}
}

// The oldest of several values is no evidence of the running one: zombies and
// the engine's own helpers are left out, the rest are told apart by pid.
func TestProcessesOf(t *testing.T) {
	t.Parallel()
	stat := func(comm, state string, start int) []byte { // up to field 22
		return fmt.Appendf(nil, "1 (%s) %s 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d", comm, state, start)
	}
	bounds := func(b []byte, from, to string) []byte { // up to field 52
		return append(b, strings.Repeat(" 7", 27)+" "+from+" "+to+" 0"...)
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := processes([]sighting{
		{pid: 30, stat: stat("python3", "S", 1250), exe: "/usr/bin/python3.11 (deleted)", environ: []byte("A=2\x00")},
		{pid: 10, stat: stat("sh", "S", 1000), environ: []byte("A=1\x00")},
		{pid: 11, stat: stat("sh", "Z", 1000)},
		{pid: 12, stat: stat("runc:[2:INIT]", "S", 1000), exe: "/", environ: []byte("_LIBCONTAINER_FIFOFD=4\x00")},
		{pid: 13, stat: stat("exe", "S", 1000), exe: "/usr/bin/runc"},
		{pid: 14, stat: []byte("rubbish")},
		{pid: 15, stat: bounds(stat("ending", "R", 1000), "0", "0")},
		{pid: 16, stat: bounds(stat("loading", "R", 1000), "140700", "140800")},
		{pid: 40, stat: bounds(stat("bare", "S", 1000), "140700", "140700")}, // env -i
	}, providers.Container{Started: began}, 10)
	if len(got) != 3 || got[2].Env == nil || len(got[2].Env) != 0 || got[2].Err != nil || got[0].PID != 10 || got[0].Exe != "sh" || !got[0].Started.Equal(began) ||
		got[1].Exe != "python3.11" || !got[1].Started.Equal(began.Add(2500*time.Millisecond)) {
		t.Errorf("%+v", got)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("1 (a) S 1"), []byte("A=1\x00"), "m")
	f.Add([]byte("mP1mSxmU0mX/amEA=1mYmZ"), []byte{1, 0, 0, 0, 0, 0, 0, 1, 'a'}, "m")
	f.Fuzz(func(t *testing.T, a, b []byte, mark string) {
		parseStat(a)
		if env, ok := parseEnviron(b); ok && len(env) > len(b) {
			t.Error("more variables than bytes")
		}
		if mark != "" {
			_, _ = parseScript(a, mark)
		}
		inContainer(a, string(b))
		var out bytes.Buffer
		_ = demultiplex(bytes.NewReader(b), &out, &out)
		if out.Len() > len(b) {
			t.Error("more output than input")
		}
	})
}

func TestDemultiplex(t *testing.T) {
	t.Parallel()
	frame := func(stream byte, text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(text))), text...)
	}
	var out, errs bytes.Buffer
	whole := append(append(frame(1, "one\n"), frame(2, "two\n")...), frame(1, "")...)
	if err := demultiplex(bytes.NewReader(whole), &out, &errs); err != nil || out.String() != "one\n" || errs.String() != "two\n" {
		t.Error(err, out.String(), errs.String())
	}
	for _, bad := range [][]byte{whole[:len(whole)-3], whole[:10], []byte("Welcome to example.com")} {
		if err := demultiplex(bytes.NewReader(bad), io.Discard, io.Discard); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	huge := []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = demultiplex(bytes.NewReader(huge), io.Discard, io.Discard)
	runtime.ReadMemStats(&after)
	if after.TotalAlloc-before.TotalAlloc > 64<<20 {
		t.Error("a frame's length is believed before its bytes arrive")
	}
}
