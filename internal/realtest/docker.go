//go:build unix

package realtest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Image is the image every engine of this package has: FROM scratch with the
// program of internal/realtest/testimage as /testimage, which is its entrypoint.
const Image = "envctl-test:1"

// Docker is a real engine with private folders. Tests that stop or kill the
// engine start their own with StartDockerd; all others share Dockerd's.
type Docker struct {
	Socket string // path of its unix socket
	Config string // a DOCKER_CONFIG folder with the compose plugin, when that is built
	PID    int    // of dockerd, 0 when the engine is the machine's own
	dir    string
	cgroup string
	cmd    *exec.Cmd
	done   chan struct{}
	guard  io.WriteCloser
	client *http.Client
}

// One engine serves all tests of a binary, because starting one takes a second.
var shared struct {
	sync.Mutex
	docker *Docker
	err    error
}

// Dockerd returns the engine that all tests of this binary share. The test's
// TestMain must be os.Exit(realtest.Main(m)), which ends it. Containers are the
// test's own to remove: see Docker.Cleanup.
func Dockerd(t testing.TB) *Docker {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.docker == nil && shared.err == nil {
		shared.docker, shared.err = start()
	}
	if shared.err != nil {
		need(t, shared.err)
	}
	return shared.docker
}

// Main runs the tests and ends what they share.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.docker != nil {
		if err := shared.docker.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "realtest: stop dockerd:", err)
			return max(code, 1)
		}
	}
	return code
}

// StartDockerd starts an engine of the test's own, which may pause or kill it.
func StartDockerd(t testing.TB) *Docker {
	t.Helper()
	d, err := start()
	if err != nil {
		need(t, err)
	}
	if d.PID == 0 {
		Missing(t, "an engine of its own needs root and dockerd: .ci/run installs it")
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Error("stop dockerd:", err)
		}
	})
	return d
}

var errMissing = errors.New("no docker engine: .ci/run installs docker.io")

func need(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, errMissing) {
		Missing(t, err.Error())
	}
	t.Fatal(err)
}

func start() (*Docker, error) {
	if _, err := exec.LookPath("dockerd"); err != nil || os.Geteuid() != 0 {
		d := &Docker{Socket: "/var/run/docker.sock"}
		d.client = unixClient(d.Socket)
		if d.ping() != nil {
			return nil, errMissing
		}
		return d, d.prepare()
	}
	dir, err := os.MkdirTemp("", "ed-") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	d := &Docker{dir: dir, Socket: filepath.Join(dir, "d.sock"), cgroup: "/" + filepath.Base(dir)}
	d.client = unixClient(d.Socket)
	if err := d.launch(); err != nil {
		return nil, err
	}
	// A test binary that is killed runs no cleanup: the guard then sees the end of
	// its input and stops the engine.
	guard := exec.Command("sh", "-c", guardScript, dir, fmt.Sprint(d.PID))
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if d.guard, err = guard.StdinPipe(); err == nil {
		err = guard.Start()
	}
	if err != nil {
		return nil, errors.Join(err, d.stop())
	}
	go func() { _ = guard.Wait() }()
	if err := d.await(); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// launch starts dockerd on the engine's folder.
func (d *Docker) launch() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command("dockerd", "--host=unix://"+d.Socket,
		"--data-root="+filepath.Join(d.dir, "data"), "--exec-root="+filepath.Join(d.dir, "exec"), "--pidfile="+filepath.Join(d.dir, "pid"),
		// Sandboxes lack the iptables modules, and tests need no network: compose files
		// here say network_mode: none. A user-defined bridge network works all the same.
		"--bridge=none", "--default-address-pool=base=10.128.0.0/10,size=24", // for more networks than its own pools have
		"--iptables=false", "--ip6tables=false", "--ip-forward=false",
		// One cgroup for all containers, by which stop finds their processes after
		// dockerd was killed.
		"--cgroup-parent="+d.cgroup,
		"--shutdown-timeout=1", "--log-level=warn")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a test's Ctrl-C is for the test
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.PID, d.done = d.cmd.Process.Pid, make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { _ = cmd.Wait(); close(done) }(d.cmd, d.done)
	return nil
}

// await returns when dockerd answers.
func (d *Docker) await() error {
	for began := time.Now(); d.ping() != nil; time.Sleep(20 * time.Millisecond) {
		select {
		case <-d.done:
		default:
			if time.Since(began) < time.Minute {
				continue
			}
		}
		text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
		return fmt.Errorf("dockerd does not start:\n%s", text)
	}
	return nil
}

// Restart brings an engine back that Kill ended, on the same folder: as on a real
// machine, its containers are started again where their restart policy says so.
func (d *Docker) Restart(t testing.TB) {
	t.Helper()
	// Its containerd died with it, but where process 1 reaps no orphans dockerd takes
	// the zombie for one that lives.
	mark := filepath.Join(d.dir, "exec", "containerd", "containerd.pid")
	if text, err := os.ReadFile(mark); err == nil {
		var pid int
		if _, err := fmt.Sscan(string(text), &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = os.Remove(mark)
	}
	if err := d.launch(); err != nil {
		t.Fatal(err)
	}
	if err := d.await(); err != nil {
		t.Fatal(err)
	}
}

const guardScript = `read line && exit
pid=$(cat "$0/pid" || echo "$1")
kill -TERM "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
umount --lazy "$0/exec/netns/default" "$0/data"
rm -rf "$0"
rmdir "/sys/fs/cgroup/${0##*/}" /sys/fs/cgroup/*/"${0##*/}"`

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

func (d *Docker) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := d.api(ctx, http.MethodGet, "/_ping", nil)
	return err
}

func (d *Docker) api(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return text, err
}

// prepare makes the DOCKER_CONFIG folder and the image.
func (d *Docker) prepare() error {
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "ed-")
		if err != nil {
			return err
		}
		d.dir = dir
	}
	d.Config = filepath.Join(d.dir, "config")
	plugins := filepath.Join(d.Config, "cli-plugins")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		return err
	}
	if plugin := tool("docker-compose"); plugin != "" {
		if err := os.Symlink(plugin, filepath.Join(plugins, "docker-compose")); err != nil {
			return err
		}
	}
	program := filepath.Join(d.dir, "testimage")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "envctl/internal/realtest/testimage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the test image's program: %w\n%s", err, out)
	}
	return d.Import(Image, map[string]string{"/testimage": program}, `ENTRYPOINT ["/testimage"]`, `CMD ["serve"]`)
}

// Import makes an image FROM scratch of files (path in the image → path on this
// machine, symlinks followed) with Dockerfile instructions such as `CMD ["/x"]`.
func (d *Docker) Import(name string, files map[string]string, changes ...string) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for inside, outside := range files {
		data, err := os.ReadFile(outside)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(inside, "/"), Mode: 0o755, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(name, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {repo}, "tag": {tag}, "changes": changes}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	text, err := d.api(ctx, http.MethodPost, "/images/create?"+query.Encode(), &archive)
	if err == nil && bytes.Contains(text, []byte(`"error"`)) {
		err = fmt.Errorf("import %s: %s", name, text)
	}
	return err
}

// Host is the engine's endpoint.
func (d *Docker) Host() string { return "unix://" + d.Socket }

// Env returns what a docker client needs to reach this engine with compose, as
// NAME=value; it holds no PATH.
func (d *Docker) Env() []string {
	return []string{"DOCKER_HOST=" + d.Host(), "DOCKER_CONFIG=" + d.Config}
}

// Run runs the docker client against this engine and returns what it prints,
// without the final newline.
func (d *Docker) Run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(Tool(t, "docker"), args...)
	cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"), "HOME="+d.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// Cleanup removes, when the test ends, the containers that carry label
// ("name=value", or "name").
func (d *Docker) Cleanup(t testing.TB, label string) {
	t.Helper()
	t.Cleanup(func() {
		select {
		case <-d.done: // killed: stop ends what is left
			return
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := d.remove(ctx, label); err != nil {
			t.Error("remove containers:", err)
		}
	})
}

func (d *Docker) remove(ctx context.Context, labels ...string) error {
	filter, err := json.Marshal(map[string][]string{"label": labels})
	if err != nil {
		return err
	}
	text, err := d.api(ctx, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)), nil)
	if err != nil {
		return err
	}
	var found []struct{ ID string }
	if err := json.Unmarshal(text, &found); err != nil {
		return err
	}
	for _, c := range found {
		if _, e := d.api(ctx, http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil); e != nil && !strings.Contains(e.Error(), "404") {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Pause stops dockerd where it stands, as an overloaded or frozen machine does;
// its socket still takes connections. Resume lets it go on.
func (d *Docker) Pause(t testing.TB) {
	t.Helper()
	d.signal(t, syscall.SIGSTOP)
	for range 500 { // all its threads have to stop first
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(stat, []byte(") T ")) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("dockerd does not stop")
}

// Resume ends a Pause.
func (d *Docker) Resume(t testing.TB) { t.Helper(); d.signal(t, syscall.SIGCONT) }

func (d *Docker) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Kill ends dockerd at once. Containers go on running, as they do when a real
// engine dies.
func (d *Docker) Kill(t testing.TB) {
	t.Helper()
	d.signal(t, syscall.SIGKILL)
	<-d.done
}

// stop ends the engine and all it started, and removes its folder. Of the
// machine's own engine it removes only what prepare made.
func (d *Docker) stop() error {
	if d.cmd == nil {
		return os.RemoveAll(d.dir)
	}
	d.client.CloseIdleConnections()
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = d.remove(ctx) // best effort: what is left is killed below
	_, _ = d.api(ctx, http.MethodPost, "/networks/prune", nil)
	bridges := d.bridges()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	if d.guard != nil {
		_, _ = io.WriteString(d.guard, "stopped\n")
		_ = d.guard.Close()
	}
	for range 100 {
		if d.killRest() == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, name := range bridges {
		_ = exec.Command("ip", "link", "delete", name).Run() // pruned, or of an engine that was killed
	}
	d.unmount()
	d.removeCgroups()
	return os.RemoveAll(d.dir)
}

// bridges returns the links of the networks that the engine has noted. They outlive an
// engine that is killed, and each keeps its addresses from all engines after it.
func (d *Docker) bridges() []string {
	notes, _ := os.ReadFile(filepath.Join(d.dir, "data", "network", "files", "local-kv.db"))
	names := regexp.MustCompile(`br-[0-9a-f]{12}\b`).FindAllString(string(notes), -1)
	slices.Sort(names)
	return slices.Compact(names)
}

// killRest kills what a killed dockerd leaves behind, which is everything it
// started: containerd and its shims, known by this engine's folder in their
// arguments, and the containers' processes, known by their cgroup.
func (d *Docker) killRest() int {
	found := 0
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range cmdlines {
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(file)
		groups, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup"))
		ours := bytes.Contains(groups, []byte(":"+d.cgroup+"/")) ||
			bytes.Contains(args, []byte(d.dir+"/exec/")) && bytes.Contains(args, []byte("containerd"))
		if ours {
			found++
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return found
}

func (d *Docker) unmount() {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.dir+"/") {
			_ = exec.Command("umount", "--lazy", fields[4]).Run()
		}
	}
}

// removeCgroups removes the engine's cgroup of every hierarchy, inner ones
// first: the engine removes its containers' but never their parent.
func (d *Docker) removeCgroups() {
	folders, _ := filepath.Glob("/sys/fs/cgroup/*" + d.cgroup)
	for _, top := range append(folders, "/sys/fs/cgroup"+d.cgroup) {
		var inside []string
		_ = filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				inside = append(inside, path)
			}
			return nil
		})
		for _, path := range slices.Backward(inside) {
			_ = os.Remove(path)
		}
	}
}

func tool(name string) string {
	dir := os.Getenv("ENVCTL_TOOLS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(cache, "envctl-tools", "bin")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
