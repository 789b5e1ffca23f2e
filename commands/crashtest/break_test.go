//go:build unix

package crashtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/commands"
	"envctl/internal/plan"
	"envctl/internal/realtest"
)

// The test binary is also envctl, which dies at the journal write named by dieMark
// and lists its writes in the file named by listMark.
const (
	childMark = "CRASHTEST_CHILD"
	dieMark   = "CRASHTEST_DIE"
	listMark  = "CRASHTEST_LIST"
)

func TestMain(m *testing.M) {
	if os.Getenv(childMark) == "" {
		os.Exit(realtest.Main(m))
	}
	wd, _ := os.Getwd()
	os.Exit(commands.Main(context.Background(), commands.Process{
		Args: os.Args[1:], Executable: os.Args[0], WorkDir: wd, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Environ: os.Environ, Now: time.Now, Rand: rand.Reader, Version: "test",
		Disk: &mortal{FS: plan.OS{}, at: os.Getenv(dieMark), list: os.Getenv(listMark)},
	}))
}

// death is a place in the journal: its write number n (from 1), before it, after
// its first half, or after it.
type death struct {
	n     int
	where string
	list  string // a file for the writes there are
}

func (d *death) env() []string {
	if d == nil {
		return nil
	}
	return []string{dieMark + "=" + d.String(), listMark + "=" + d.list}
}

func (d *death) String() string { return fmt.Sprint(d.where, " ", d.n) }

// mortal is the machine's file system, on which this process is killed for real.
type mortal struct {
	plan.FS
	at, list string

	mu sync.Mutex
	n  int
}

func (m *mortal) Open(path string, mode plan.Mode) (plan.File, error) {
	f, err := m.FS.Open(path, mode)
	return mortalFile{f, m}, err
}

type mortalFile struct {
	plan.File
	m *mortal
}

func (f mortalFile) Write(b []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.n++
	if f.m.list != "" {
		if l, err := os.OpenFile(f.m.list, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			_, _ = fmt.Fprintln(l, f.m.n, bytes.Contains(b, []byte(`"child"`)))
			_ = l.Close()
		}
	}
	f.m.point("before")
	n, err := f.File.Write(b[:len(b)/2])
	if err != nil {
		return n, err
	}
	f.m.point("torn")
	more, err := f.File.Write(b[len(b)/2:])
	if err == nil {
		f.m.point("after")
	}
	return n + more, err
}

func (m *mortal) point(where string) {
	if m.at == (&death{n: m.n, where: where}).String() {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {}
	}
}

// way is a proxy whose call number at, and those after it unless once, meet a strike.
type way struct {
	addr string

	mu     sync.Mutex
	n, at  int
	once   bool
	strike strike
	calls  []string
	cmd    *exec.Cmd // the envctl that calls
}

// strike is what a call meets in place of its answer; pass carries it out.
type strike func(w *way, rw http.ResponseWriter, r *http.Request, pass http.Handler)

func newWay(t *testing.T, network, to, socket string) *way {
	t.Helper()
	w := &way{addr: socket}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "server"})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}},
		FlushInterval: -1,
		ErrorHandler:  func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.n++
		w.calls = append(w.calls, r.Method+" "+r.URL.Path)
		met, s := w.at > 0 && (w.n == w.at || w.n > w.at && !w.once), w.strike
		w.mu.Unlock()
		if met {
			s(w, rw, r, pass)
		} else {
			pass.ServeHTTP(rw, r)
		}
	}))
	if socket != "" {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = server.Listener.Close()
		server.Listener = l
	}
	server.Start()
	t.Cleanup(server.Close)
	if socket == "" {
		w.addr = strings.TrimPrefix(server.URL, "http://")
	}
	return w
}

// breaks makes the call number at meet s, and all that follow unless once; 0 mends.
func (w *way) breaks(at int, once bool, s strike) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n, w.at, w.once, w.strike, w.calls = 0, at, once, s, nil
}

// mended says how many calls there were, and which one was struck.
func (w *way) mended() (n int, struck string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at > 0 && w.at <= len(w.calls) {
		struck = w.calls[w.at-1]
	}
	n, w.at = w.n, 0
	return n, struck
}

// caller starts cmd; no call is answered before its process is known.
func (w *way) caller(cmd *exec.Cmd, start func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cmd = cmd
	start()
}

func cut(_ *way, rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
	if c, _, err := http.NewResponseController(rw).Hijack(); err == nil {
		_ = c.Close()
	}
}

// kill ends envctl alone: what it started goes on, and this call too.
func kill(w *way, rw http.ResponseWriter, r *http.Request, pass http.Handler) {
	w.mu.Lock()
	cmd := w.cmd
	w.mu.Unlock()
	_ = cmd.Process.Kill() // the one call that comes after it has died already
	pass.ServeHTTP(rw, r)
}

func refuse(_ *way, rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusServiceUnavailable)
	_, _ = rw.Write([]byte(`{"errors":["Vault is sealed"],"message":"no"}`))
}

// answerLost carries the call out and cuts.
func answerLost(w *way, rw http.ResponseWriter, r *http.Request, pass http.Handler) {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	cut(w, rw, r, pass)
}

// trouble is what the calls from one on meet.
type trouble struct {
	name   string
	strike strike
	once   bool
}

func troubles() []trouble {
	return []trouble{
		{"killed at", kill, true},
		{"cut at", cut, true},
		{"cut from", cut, false},
		{"answer lost at", answerLost, true},
		{"refused from", refuse, false},
	}
}

// writes lists the journal writes of an undisturbed run, and tells which of them note
// a program that was started.
func (w *world) writes(args ...string) (notes []bool, err error) {
	list := filepath.Join(w.dir, "writes")
	_ = os.Remove(list)
	if code, said := w.run(&death{list: list}, args...); code != 0 {
		return nil, fmt.Errorf("undisturbed: exit %d\n%s", code, said)
	}
	text, err := os.ReadFile(list)
	for line := range strings.Lines(string(text)) {
		notes = append(notes, strings.HasSuffix(line, "true\n"))
	}
	return notes, err
}
