package ports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/naming"
)

// The test binary is also the other processes, which each ask for one port.
func TestMain(m *testing.M) {
	file := os.Getenv("PORTS_FILE")
	if file == "" {
		os.Exit(m.Run())
	}
	g, err := New(file, time.Now).Acquire(context.Background(), Request{
		Holder: holder(os.Getenv("PORTS_SERVICE")), First: 21000, Range: naming.PortRange{Lo: 21000, Hi: 21999},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(g.Port)
}

func holder(service string) Holder {
	return Holder{Project: "ledger", Environment: "local", Branch: "main", Workspace: "12345678", Service: service}
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// registry returns one in which only the ports in busy are used by programs.
func registry(t *testing.T, busy ...int) *Registry {
	t.Helper()
	r := New(filepath.Join(t.TempDir(), "state", "ports.json"), func() time.Time { return noon })
	r.busy = func(_ context.Context, port int) (string, error) {
		for _, b := range busy {
			if b == port {
				return "busy", nil
			}
		}
		return "", nil
	}
	return r
}

func request(service string) Request {
	return Request{Holder: holder(service), First: 5402, Range: naming.PortRange{Lo: 5400, Hi: 5403}}
}

func TestProbing(t *testing.T) {
	t.Parallel()
	r := registry(t, 5403)
	first, err := r.Acquire(t.Context(), request("postgres"))
	if err != nil || !reflect.DeepEqual(first, Grant{Port: 5402, First: 5402, Probes: []Probe{{5402, ""}}}) {
		t.Fatalf("%+v, %v", first, err)
	}
	want := Grant{Port: 5400, First: 5402, Probes: []Probe{
		{5402, "held by ledger/local postgres (branch main, workspace 12345678)"}, {5403, "busy"}, {5400, ""},
	}}
	// Looking gives the same answer and changes nothing.
	if got, err := r.Look(t.Context(), request("redis")); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("look: %+v, %v", got, err)
	}
	if got, err := r.Acquire(t.Context(), request("redis")); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("acquire: %+v, %v", got, err)
	}
	// Whoever holds a port gets it again, although something now listens there.
	r.busy = func(context.Context, int) (string, error) { return "busy", nil }
	if got, err := r.Acquire(t.Context(), request("redis")); err != nil || got.Port != 5400 || !got.Held {
		t.Errorf("again: %+v, %v", got, err)
	}
	// A port outside a range that was changed since is given up for another.
	r.busy = func(context.Context, int) (string, error) { return "", nil }
	moved := request("redis")
	moved.First, moved.Range = 7000, naming.PortRange{Lo: 7000, Hi: 7001}
	if got, err := r.Acquire(t.Context(), moved); err != nil || got.Port != 7000 {
		t.Errorf("moved: %+v, %v", got, err)
	}
	entries, err := r.List()
	if err != nil || len(entries) != 2 || entries[0].Port != 5402 || entries[1].Port != 7000 || !entries[1].Since.Equal(noon) {
		t.Errorf("listed %+v, %v", entries, err)
	}
	info, err := os.Stat(r.path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	r := registry(t, 5400)
	gone := request("gone")
	gone.Folder = filepath.Join(t.TempDir(), "gone")
	for _, q := range []Request{gone, request("a"), request("b")} {
		if _, err := r.Acquire(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.Acquire(t.Context(), request("c"))
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "all 4 ports of 5400-5403 are taken: 3 held (1 of them by working copies that are gone), 1 used") {
		t.Errorf("%v", err)
	}
	if entries, _ := r.List(); len(entries) != 3 {
		t.Errorf("a failed request changed the registry: %+v", entries)
	}
}

func TestStaleIsReportedNotTaken(t *testing.T) {
	t.Parallel()
	r := registry(t)
	q := request("postgres")
	q.Folder = t.TempDir()
	if _, err := r.Acquire(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if e, _ := r.List(); len(e) != 1 || e[0].Stale {
		t.Fatalf("listed %+v", e)
	}
	if err := os.Remove(q.Folder); err != nil {
		t.Fatal(err)
	}
	if e, _ := r.List(); len(e) != 1 || !e[0].Stale {
		t.Errorf("not marked: %+v", e)
	}
	g, err := r.Acquire(t.Context(), request("redis"))
	if err != nil || g.Port != 5403 || !strings.Contains(g.Probes[0].Skipped, "whose folder "+q.Folder+" is gone") {
		t.Errorf("%+v, %v", g, err)
	}
	gone, err := r.Release(t.Context(), func(e Entry) bool { return e.Stale })
	if err != nil || len(gone) != 1 || gone[0].Port != 5402 {
		t.Fatalf("released %+v, %v", gone, err)
	}
	if again, err := r.Release(t.Context(), func(e Entry) bool { return e.Stale }); err != nil || len(again) != 0 {
		t.Errorf("released again %+v, %v", again, err)
	}
	if g, err := r.Acquire(t.Context(), request("worker")); err != nil || g.Port != 5402 {
		t.Errorf("a released port is not given out: %+v, %v", g, err)
	}
}

// The kernel's answer, whichever address of this machine is listened on.
func TestRealSockets(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "127.0.0.2"} {
		l, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		r := New(filepath.Join(t.TempDir(), "ports.json"), time.Now)
		q := Request{Holder: holder("x"), First: port, Range: naming.PortRange{Lo: port, Hi: port}}
		if _, err := r.Acquire(t.Context(), q); !fault.Is(err, fault.Unavailable) {
			t.Errorf("listening on %s: %v", host, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if g, err := r.Acquire(t.Context(), q); err != nil || g.Port != port {
			t.Errorf("after %s was closed: %+v, %v", host, g, err)
		}
		// Asking left no socket behind.
		l, err = net.Listen("tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(port)))
		if err != nil {
			t.Error(err)
			continue
		}
		_ = l.Close()
	}
}

// Twenty processes at once: twenty ports; and one port for one holder.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ports.json")
	ask := func(service func(i int) string) map[string]int {
		var all sync.WaitGroup
		answers := make([]string, 20)
		for i := range answers {
			all.Go(func() {
				cmd := exec.CommandContext(t.Context(), exe)
				cmd.Env = append(os.Environ(), "PORTS_FILE="+file, "PORTS_SERVICE="+service(i))
				var words strings.Builder
				cmd.Stderr = &words
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("%v: %s", err, words.String())
				}
				answers[i] = string(out)
			})
		}
		all.Wait()
		count := map[string]int{}
		for _, a := range answers {
			count[a]++
		}
		return count
	}
	if got := ask(func(i int) string { return fmt.Sprint("service", i) }); len(got) != 20 {
		t.Errorf("20 holders have %d ports: %v", len(got), got)
	}
	if got := ask(func(int) string { return "one" }); len(got) != 1 {
		t.Errorf("one holder has %d ports: %v", len(got), got)
	}
	entries, err := New(file, time.Now).List()
	if err != nil || len(entries) != 21 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want fault.Kind
	}{
		"empty":     {"", fault.Invalid},
		"not json":  {"5400 postgres", fault.Invalid},
		"truncated": {`{"version":1,"ports":[{"port":54`, fault.Invalid},
		"newer":     {`{"version":2,"ports":[]}`, fault.Invalid},
		"twice":     {`{"version":1,"ports":[{"port":5400},{"port":5400}]}`, fault.Invalid},
		"no port":   {`{"version":1,"ports":[{"port":0}]}`, fault.Invalid},
		"too long":  {`{"version":1,"ports":[` + strings.Repeat(" ", maxFile) + `]}`, fault.Invalid},
	} {
		r := registry(t)
		if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Acquire(t.Context(), request("x")); !fault.Is(err, c.want) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.List(); !fault.Is(err, c.want) {
			t.Errorf("%s: list: %v", name, err)
		}
		if got, _ := os.ReadFile(r.path); string(got) != c.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	r := registry(t)
	for _, q := range []Request{
		{Holder: holder("x"), First: 1, Range: naming.PortRange{Lo: 5400, Hi: 5499}},
		{Holder: holder("x")},
		{Holder: holder("x"), First: 70000, Range: naming.PortRange{Lo: 1, Hi: 70000}},
	} {
		if _, err := r.Acquire(t.Context(), q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	broken := errors.New("no network")
	r.busy = func(context.Context, int) (string, error) { return "", broken }
	if _, err := r.Acquire(t.Context(), request("x")); !errors.Is(err, broken) || !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
}

func TestLinkInTheFilesPlace(t *testing.T) {
	t.Parallel()
	r := registry(t)
	foreign := filepath.Join(t.TempDir(), "foreign")
	b, _ := json.Marshal(document{Version: 1})
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.path), 0o700), os.WriteFile(foreign, b, 0o600), os.Symlink(foreign, r.path)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Acquire(t.Context(), request("x")); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if got, _ := os.ReadFile(foreign); string(got) != string(b) {
		t.Errorf("the foreign file holds %s", got)
	}
}

// Another process is at work: the caller's deadline ends the wait.
func TestLocked(t *testing.T) {
	t.Parallel()
	r := registry(t)
	if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := atomicfile.Lock(t.Context(), r.path+".lock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Acquire(ctx, request("x")); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Acquire(t.Context(), request("x")); err != nil {
		t.Error(err)
	}
}
