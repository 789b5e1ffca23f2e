package docker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Processes returns c's processes with the environment each was started with, by
// pid. Where the engine shares this machine's /proc that is read from there:
// every process whose cgroup names c, pids as this machine counts them.
// Otherwise a shell inside the container reads the container's own /proc, and
// pids are those inside. Where neither can be had, the processes the engine
// lists come with an Err that says why only the configuration is known. A
// container that is not running has none. What a process changed in its own
// environment after its start is nowhere to be seen.
func (e *Engine) Processes(ctx context.Context, c providers.Container) ([]providers.Process, error) {
	if c.PID == 0 {
		return nil, nil
	}
	var here []providers.Process
	for try := 0; e.local && try < 100; try++ {
		seen, err := e.scan(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		// Only the engine's own helper, which becomes the container's first process
		// in a moment: look again.
		if here = processes(seen, c, c.PID); len(here) > 0 || len(seen) == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	if len(here) > 0 && !slices.ContainsFunc(here, func(p providers.Process) bool { return fault.Is(p.Err, fault.Denied) }) {
		return here, nil
	}
	there, why := e.ask(ctx, c)
	switch {
	case len(there) > 0:
		return processes(there, c, 1), nil
	case ctx.Err() != nil || fault.Is(why, fault.Unavailable, fault.Interrupted):
		return nil, why
	case len(here) > 0:
		return here, nil
	}
	return e.top(ctx, c, why)
}

// sighting is one process as found, before it is known to be the container's own.
type sighting struct {
	pid     int
	stat    []byte
	exe     string // as the link says
	environ []byte
	err     error // why environ could not be read
}

// ticks per second of /proc/<pid>/stat: USER_HZ, which is 100 on every
// architecture that engines run on.
const ticks = 100

// processes turns sightings into answers. Start times are counted from the
// container's own start, which is main's, so that only the engine's clock matters.
func processes(seen []sighting, c providers.Container, main int) []providers.Process {
	var found []providers.Process
	began := make(map[int]int64, len(seen))
	for _, s := range seen {
		comm, state, ppid, start, ok := parseStat(s.stat)
		if !ok || state == 'Z' || state == 'X' || !settled(s) {
			continue // ended, or ending
		}
		exe := path.Base(strings.TrimSuffix(s.exe, " (deleted)"))
		if s.exe == "" {
			exe = comm
		}
		if engineHelper(comm, exe, s.environ) {
			continue
		}
		p := providers.Process{PID: s.pid, PPID: ppid, Exe: exe}
		if s.err != nil {
			p.Err = configurationOnly(fault.Denied, "its environment may not be read", "run envctl as root or as the process's user")
		} else if p.Env, ok = parseEnviron(s.environ); !ok {
			p.Err = configurationOnly(fault.NotFound, "the process has overwritten the memory that held its environment, as programs do that change their title", "")
		}
		began[s.pid] = start
		found = append(found, p)
	}
	if zero, ok := began[main]; ok && !c.Started.IsZero() {
		for i := range found {
			found[i].Started = c.Started.Add(time.Duration(began[found[i].PID]-zero) * (time.Second / ticks))
		}
	}
	slices.SortFunc(found, func(a, b providers.Process) int { return cmp.Compare(a.PID, b.PID) })
	return found
}

func configurationOnly(k fault.Kind, why, hint string) error {
	return fault.New(k, "read process environment", "configuration only: "+why, hint)
}

// engineHelper tells whether this is not a process of the container but the
// engine's runtime on its way to become one (a health check or an exec that
// begins): it is in the cgroup already and still has the runtime's environment.
func engineHelper(comm, exe string, environ []byte) bool {
	return exe == "runc" || exe == "crun" || strings.HasPrefix(comm, "runc:[") || strings.HasPrefix(exe, "memfd:runc") ||
		bytes.Contains(environ, []byte("_LIBCONTAINER_"))
}

// parseStat reads /proc/<pid>/stat: the name in parentheses may hold anything.
func parseStat(b []byte) (comm string, state byte, ppid int, start int64, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return "", 0, 0, 0, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return "", 0, 0, 0, false
	}
	ppid, err := strconv.Atoi(fields[1])
	start, err2 := strconv.ParseInt(fields[19], 10, 64)
	return string(b[open+1 : end]), fields[0][0], ppid, start, err == nil && err2 == nil
}

// settled tells whether an empty environment really is one. It also reads as
// empty while a program is being loaded and while a process ends: stat, which is
// read afterwards, then does not give the bounds of an empty block.
func settled(s sighting) bool {
	if s.err != nil || len(s.environ) > 0 {
		return true
	}
	const envStart, envEnd = 50 - 3, 51 - 3 // counted from the state, as in proc(5)
	fields := strings.Fields(string(s.stat[bytes.LastIndexByte(s.stat, ')')+1:]))
	return len(fields) <= envEnd || fields[envStart] == fields[envEnd] && fields[envStart] != "0"
}

// parseEnviron reads an environment block. It reports false for one that is no
// longer the block the process was started with: entries without a name, or
// NULs where a title was written over it.
func parseEnviron(b []byte) (map[string]secret.Value, bool) {
	if len(b) == 0 {
		return map[string]secret.Value{}, true
	}
	entries := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	for _, entry := range entries {
		if strings.IndexByte(entry, '=') < 1 {
			return nil, false
		}
	}
	return environment(entries), true
}

// containerID is compiled when processes are looked for, not at each start.
var containerID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9a-f]{64}`) })

// inContainer tells whether a cgroup file names id, in whatever hierarchy and
// however the engine's driver spells it. Of containers within containers the
// innermost counts.
func inContainer(cgroup []byte, id string) bool {
	for line := range bytes.Lines(cgroup) {
		if ids := containerID().FindAll(line, -1); len(ids) > 0 && string(ids[len(ids)-1]) == id {
			return true
		}
	}
	return false
}

// scan finds the container's processes in this machine's /proc. None does not
// mean that there are none: the engine may run in a virtual machine.
func (e *Engine) scan(ctx context.Context, id string) ([]sighting, error) {
	dirs, err := os.ReadDir(e.proc)
	if err != nil {
		return nil, nil //nolint:nilerr // not Linux: an answer, not a failure
	}
	var found []sighting
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, e.ended(ctx, "read processes", err)
		}
		if cgroup, err := os.ReadFile(filepath.Join(e.proc, d.Name(), "cgroup")); err != nil || !inContainer(cgroup, id) {
			continue
		}
		if s, ok := look(filepath.Join(e.proc, d.Name()), pid, id); ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// look reads one process. The folder stays that of this process even when its
// pid is given to another one meanwhile: reads then say that it has ended.
func look(dir string, pid int, id string) (sighting, bool) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return sighting{}, false
	}
	defer root.Close()
	cgroup, err := root.ReadFile("cgroup")
	if err != nil || !inContainer(cgroup, id) {
		return sighting{}, false
	}
	s := sighting{pid: pid}
	for try := 0; ; try++ {
		s.exe, _ = root.Readlink("exe")
		s.environ, s.err = readBounded(root, "environ")
		if s.err != nil && !errors.Is(s.err, fs.ErrPermission) {
			return sighting{}, false // ended
		}
		if s.stat, err = root.ReadFile("stat"); err != nil {
			return sighting{}, false
		}
		if try == 10 || settled(s) {
			return s, true
		}
		time.Sleep(time.Millisecond)
	}
}

func readBounded(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("%s: %w", name, fs.ErrPermission)
	}
	return b, err
}
