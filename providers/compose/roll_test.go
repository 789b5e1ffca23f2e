//go:build unix

package compose_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/providers"
)

// replicas is a compose file with one service, web, whose containers answer on
// sockets in dir; more goes below it.
func replicas(dir string, n int, more string) string {
	return fmt.Sprintf(`services:
  web:
    image: %s
    pull_policy: never
    network_mode: none
    restart: always
    command: [replica, /s, "${AFTER:-0s}"]
    volumes: ["%s:/s"]
    healthcheck: {test: [CMD, /testimage, health], interval: 100ms, retries: 5}
    deploy: {replicas: %d}
%s`, realtest.Image, dir, n, more)
}

// client asks the replicas again and again, as a proxy does that tries the next
// one where one takes no connection.
type client struct {
	dir  string
	end  chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	answered map[string]int // by release
	failed   int
}

func newClient(t *testing.T, dir string) *client {
	c := &client{dir: dir, end: make(chan struct{}), answered: map[string]int{}}
	c.done.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-c.end:
				return
			case <-time.After(5 * time.Millisecond):
			}
			answer := c.ask(n)
			c.mu.Lock()
			if answer == "" {
				c.failed++
			} else {
				c.answered[answer]++
			}
			c.mu.Unlock()
		}
	})
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *client) ask(n int) string {
	socks, _ := filepath.Glob(filepath.Join(c.dir, "*.sock"))
	for i := range socks {
		conn, err := net.DialTimeout("unix", socks[(i+n)%len(socks)], 10*time.Second)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		return string(answer) // one that was cut is a failure
	}
	return ""
}

// stop ends the client and returns how many requests it made and how many failed.
func (c *client) stop() (answered map[string]int, failed int) {
	select {
	case <-c.end:
	default:
		close(c.end)
	}
	c.done.Wait()
	return c.answered, c.failed
}

func (c *client) served(t *testing.T, releases ...string) {
	t.Helper()
	answered, failed := c.stop()
	if failed > 0 {
		t.Errorf("%d requests failed, %v answered", failed, answered)
	}
	for _, r := range releases {
		if answered[r] == 0 {
			t.Errorf("release %s answered none: %v", r, answered)
		}
	}
}

// watch looks at the healthy containers until the test ends: there are never fewer
// than least, and never more of any kind than most.
func (w *testWorld) watch(t *testing.T, least, most int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			cs, err := w.Runtime.Containers(ctx, w.query())
			if err != nil {
				continue
			}
			healthy := slices.DeleteFunc(slices.Clone(cs), func(c providers.Container) bool { return c.State != "running" || c.Health != "healthy" })
			if len(healthy) < least || len(cs) > most {
				t.Errorf("%d of %d containers are healthy, want at least %d and at most %d", len(healthy), len(cs), least, most)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

func (w *testWorld) query() providers.ContainerQuery {
	return providers.ContainerQuery{Project: w.Release.Project, Environment: w.Release.Environment}
}

// running returns how many containers of each release run.
func (w *testWorld) running(t *testing.T) map[string]int {
	t.Helper()
	cs, err := w.Runtime.Containers(t.Context(), w.query())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, c := range cs {
		mark := c.Labels[providers.LabelRelease]
		if c.State != "running" {
			mark += " " + c.State
		}
		out[mark]++
	}
	return out
}

func (w *testWorld) runs(t *testing.T, want map[string]int) {
	t.Helper()
	if got := w.running(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v run, want %v", got, want)
	}
}

func (w *testWorld) releases(marker, after string) {
	w.Release.Marker = marker
	w.Release.Values = values(map[string]string{"AFTER": after})
}

// A roll keeps every replica up but the one that is added, and no client notices.
func TestRoll(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	for _, c := range []struct {
		name, more  string
		least, most int
	}{
		{"beside the old", "", 3, 4},
		{"two at a time", "      update_config: {parallelism: 2}\n", 3, 5},
		{"in place, for its ports", "    ports: [\"20010-20012:80\"]\n", 2, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			text := replicas(dir, 3, c.more)
			if strings.HasPrefix(c.more, "      ") {
				text = strings.Replace(text, "{replicas: 3}", "\n      replicas: 3", 1)
			}
			w := world(t, d, text)
			w.releases("1", "0s")
			w.up(t)
			polling := newClient(t, dir)
			stop := w.watch(t, c.least, c.most)
			w.releases("2", "200ms")
			w.up(t)
			stop()
			polling.served(t, "1", "2")
			w.runs(t, map[string]int{"2": 3})
			before, err := w.Runtime.Containers(t.Context(), w.query())
			if err != nil {
				t.Fatal(err)
			}
			w.up(t) // repeating changes nothing
			after, err := w.Runtime.Containers(t.Context(), w.query())
			if err != nil || len(after) != 3 {
				t.Fatal(after, err)
			}
			for i := range after {
				if after[i].ID != before[i].ID || !after[i].Started.Equal(before[i].Started) {
					t.Errorf("%s was touched", after[i].Name)
				}
			}
		})
	}
}

// The next step of a roll follows within 200 ms of the engine saying healthy.
func TestRollNoticesHealthyAtOnce(t *testing.T) {
	d := realtest.Dockerd(t)
	dir := t.TempDir()
	w := world(t, d, replicas(dir, 2, ""))
	w.releases("1", "0s")
	w.up(t)
	var late []time.Duration
	w.Release.Note = func(words string) {
		noticed := time.Now()
		cs, err := w.Runtime.Containers(t.Context(), w.query())
		if err != nil {
			t.Error(err)
			return
		}
		slow := max(0, 3*(time.Since(noticed)-20*time.Millisecond)) // the engine, under other tests
		var newest time.Time
		for _, c := range cs {
			var log []struct {
				End      time.Time
				ExitCode int
			}
			text := d.Run(t, "inspect", "-f", "{{json .State.Health.Log}}", c.ID)
			if err := json.Unmarshal([]byte(text), &log); err != nil {
				t.Error(err)
			}
			for _, l := range log {
				if l.ExitCode == 0 && c.Labels[providers.LabelRelease] == w.Release.Marker {
					if l.End.After(newest) {
						newest = l.End
					}
					break
				}
			}
		}
		late = append(late, noticed.Sub(newest)-slow)
	}
	// On a machine that is busy with other things the best of a few counts.
	for n := 2; n < 6 && (len(late) == 0 || slices.Min(late) > 200*time.Millisecond); n++ {
		w.releases(fmt.Sprint(n), "300ms")
		w.up(t)
		if len(late) != 2*(n-1) {
			t.Fatalf("told of %d replicas", len(late))
		}
	}
	t.Log("noticed after", late)
	if slices.Min(late) > 200*time.Millisecond {
		t.Errorf("noticed after %v", late)
	}
}

// A new replica that does not come up ends the roll: what served goes on, and the
// release before comes back by rolling too.
func TestRollStopsHalfway(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	for _, c := range []struct{ name, command, words string }{
		{"unhealthy", `[replica, /s, "${AFTER:-0s}"]`, "web is unhealthy"},
		{"crash-looping", `[replica, /s, "${CRASH:-0s}"]`, "web is crash-looping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := world(t, d, strings.Replace(replicas(dir, 3, ""), `[replica, /s, "${AFTER:-0s}"]`, c.command, 1))
			w.releases("1", "0s")
			w.up(t)
			polling := newClient(t, dir)
			stop := w.watch(t, 3, 4)
			w.releases("2", "first")
			up := 1
			if c.name == "crash-looping" {
				w.Release.Values, up = values(map[string]string{"CRASH": "nonsense"}), 0
			}
			w.fails(t, fault.No, "half-rolled-out", fmt.Sprintf("%d of 3 replicas of web on the new release and %d on the one before", up, 3-up), c.words)
			want := map[string]int{"1": 3 - up, "2 exited": 1}
			if up > 0 {
				want["2"] = up
			}
			w.runs(t, want)
			if up > 0 {
				// The same again: what failed is tried anew, what is up stays.
				if err := os.Remove(filepath.Join(dir, "first")); err != nil {
					t.Fatal(err)
				}
				w.fails(t, fault.No, "2 of 3 replicas of web on the new release and 1 on the one before")
				w.runs(t, map[string]int{"1": 1, "2": 2, "2 exited": 1})
			}
			w.releases("1", "0s")
			w.up(t)
			w.runs(t, map[string]int{"1": 3})
			stop()
			polling.served(t, "1")
		})
	}
}

// One replica alone is rolled where that is asked for and can be.
func TestRollOfOne(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	for _, c := range []struct {
		name, more, how string
	}{
		{"asked for", "", "rolled, 1 of 1 replicas"},
		{"with a fixed port", "    ports: [\"127.0.0.1:20020:80\"]\n", "recreated, with an interruption: its host ports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := world(t, d, replicas(dir, 1, "    container_name: theirs\n"+c.more))
			named := w.Release.Services[0].Container
			w.releases("1", "0s")
			w.up(t) // as it was before rolling was asked for
			w.Release.Services[0].Rolling = true
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			w.Release.Marker = "2"
			how, err := w.Deployer.(providers.Replacer).Replaces(ctx, w.Release)
			if err != nil || len(how) != 1 || !strings.HasPrefix(how[0].How, c.how) {
				t.Errorf("%+v %v", how, err)
			}
			polling := newClient(t, dir)
			w.releases("2", "200ms")
			w.up(t)
			w.runs(t, map[string]int{"2": 1})
			if strings.HasPrefix(c.how, "rolled") {
				polling.served(t, "1", "2")
				w.releases("3", "0s") // and again, by the names that it has now
				w.up(t)
				w.Release.Services[0].Rolling = false // and back to the name it had
				w.releases("4", "0s")
				w.up(t)
			}
			cs, err := w.Runtime.Containers(t.Context(), w.query())
			if err != nil || len(cs) != 1 || cs[0].Name != named {
				t.Errorf("%+v %v, want the name %s", cs, err, named)
			}
		})
	}
}

// More and fewer replicas, and another command without any new value.
func TestRollFollowsTheFile(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	dir := t.TempDir()
	w := world(t, d, replicas(dir, 3, ""))
	w.releases("1", "0s")
	w.up(t)
	polling := newClient(t, dir)
	file := func(n int, more string) {
		write(t, w.dir, map[string]string{"compose.yaml": replicas(dir, n, more)})
	}
	file(2, "")
	w.releases("2", "0s")
	w.up(t)
	w.runs(t, map[string]int{"2": 2})
	file(3, "    environment: {OTHER: changed}\n")
	stop := w.watch(t, 2, 4)
	w.up(t)
	stop()
	polling.served(t)
	w.runs(t, map[string]int{"2": 3})
	is(t, w.env(t, "web"), map[string]string{"OTHER": "changed"})
}

// What a rolled service depends on is there first; where it is not, nothing rolls.
func TestRollWaitsForItsDependencies(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	dir := t.TempDir()
	text := replicas(dir, 2, "    depends_on: {migrate: {condition: service_completed_successfully}, cache: {condition: service_healthy}, side: {condition: service_started}}\n")
	text += "  migrate:\n" + service + "    command: [crash, 300ms, \"${CODE:-0}\"]\n"
	text += "  cache:\n" + service + "    command: [serve, 300ms]\n    healthcheck: {test: [CMD, /testimage, health], interval: 100ms, retries: 100}\n"
	text += "  side:\n" + service
	w := world(t, d, text)
	w.Release.Services = slices.DeleteFunc(w.Release.Services, func(s providers.Service) bool { return s.Name != "web" && s.Name != "side" })
	w.releases("1", "0s")
	w.up(t)
	polling := newClient(t, dir)
	w.Release.Marker, w.Release.Values = "2", values(map[string]string{"CODE": "0", "OTHER": "x"})
	w.up(t)
	w.runs(t, map[string]int{"2": 3})
	w.Release.Marker, w.Release.Values = "3", values(map[string]string{"CODE": "7"})
	w.fails(t, fault.No, "web was not rolled: migrate, which it depends on, did not end well", "Exited (7)")
	w.runs(t, map[string]int{"2": 2, "3": 1})
	polling.served(t, "1", "2")
}
