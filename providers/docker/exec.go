package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/fault"
	"envctl/providers"
)

// script prints, of every process that the container's /proc shows except the
// shell itself, what a sighting needs. $1 is a mark that no process can know.
const script = `for d in /proc/[0-9]*; do
  [ "${d#/proc/}" = "$$" ] && continue
  cat "$d/stat" >/dev/null 2>&1 || continue
  u=
  while read -r k v _; do case $k in Uid:) u=$v ;; Gid:) u=$u:$v ;; esac; done <"$d/status"
  printf '%sP%s%sU%s%sX%s%sE' "$1" "${d#/proc/}" "$1" "$u" "$1" "$(readlink "$d/exe" 2>/dev/null)" "$1"
  if cat "$d/environ" 2>/dev/null; then a=Y; else a=N; fi
  printf '%s%s%sS%s' "$1" "$a" "$1" "$(cat "$d/stat" 2>/dev/null)"
done 2>/dev/null
printf '%sZ' "$1"`

// maxUsers bounds how many users' processes are looked at one by one.
const maxUsers = 8

// ask reads the container's own /proc through a shell inside it: as the image's
// user, and then as each user and group whose processes that one may not read (an
// engine gives even root no right to read another user's).
func (e *Engine) ask(ctx context.Context, c providers.Container) ([]sighting, error) {
	users := []string{""}
	found := map[int]sighting{}
	for i := 0; i < len(users) && i < maxUsers; i++ {
		out, err := e.exec(ctx, c, users[i])
		if err != nil {
			if i == 0 {
				return nil, err
			}
			continue // that user's processes stay unread, and say so
		}
		for _, s := range out {
			if old, ok := found[s.pid]; ok && (old.err == nil || s.err != nil) {
				continue
			}
			found[s.pid] = s.sighting
			if s.err != nil && s.user != "" && !slices.Contains(users, s.user) {
				users = append(users, s.user)
			}
		}
	}
	all := make([]sighting, 0, len(found))
	for _, s := range found {
		all = append(all, s)
	}
	return all, nil
}

type owned struct {
	sighting
	user string
}

func (e *Engine) exec(ctx context.Context, c providers.Container, user string) ([]owned, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	mark := hex.EncodeToString(random)
	const what = "read processes"
	var made struct{ ID string }
	err := e.call(ctx, what, http.MethodPost, "/containers/"+url.PathEscape(c.ID)+"/exec", nil, map[string]any{
		"AttachStdout": true, "User": user, "Cmd": []string{"sh", "-c", script, "sh", mark},
	}, decode(&made))
	if fault.Is(err, fault.Conflict) {
		return nil, configurationOnly(fault.Conflict, "the container is not running, or is paused", "")
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = e.call(ctx, what, http.MethodPost, "/exec/"+url.PathEscape(made.ID)+"/start", nil, map[string]any{"Detach": false, "Tty": false},
		func(r io.Reader) error { return demultiplex(r, &out, io.Discard) })
	if err != nil {
		// An engine says in many ways that there is no sh; one that still answers
		// has not failed.
		if ctx.Err() != nil || e.get(ctx, what, "/exec/"+url.PathEscape(made.ID)+"/json", nil, new(struct{})) != nil {
			return nil, err
		}
	}
	seen, whole := parseScript(out.Bytes(), mark)
	if !whole || len(seen) == 0 {
		return nil, configurationOnly(fault.NotFound, "the engine is not on this machine, and the image has no sh and cat to read its processes with", "run envctl on the engine's own machine")
	}
	return seen, nil
}

func parseScript(out []byte, mark string) ([]owned, bool) {
	var seen []owned
	for _, part := range bytes.Split(out, []byte(mark)) {
		if len(part) == 0 {
			continue
		}
		tag, text := part[0], part[1:]
		if tag == 'P' {
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				return nil, false
			}
			seen = append(seen, owned{sighting: sighting{pid: pid}})
			continue
		}
		if tag == 'Z' {
			return seen, true
		}
		if len(seen) == 0 {
			continue // what the shell printed before
		}
		s := &seen[len(seen)-1]
		switch tag {
		case 'S':
			s.stat = text
		case 'U':
			s.user = string(text)
		case 'X':
			s.exe = string(text)
		case 'E':
			s.environ = text
		case 'N':
			s.environ, s.err = nil, fs.ErrPermission
		}
	}
	return nil, false
}

// top is what the engine itself says of a container's processes: no environment.
func (e *Engine) top(ctx context.Context, c providers.Container, why error) ([]providers.Process, error) {
	var listed struct {
		Titles    []string
		Processes [][]string
	}
	if why == nil {
		why = configurationOnly(fault.NotFound, "nothing is known of its processes", "")
	}
	err := e.get(ctx, "list processes", "/containers/"+url.PathEscape(c.ID)+"/top", url.Values{"ps_args": {"-eo pid,comm"}}, &listed)
	if fault.Is(err, fault.Unavailable, fault.Interrupted) && ctx.Err() != nil {
		return nil, err
	}
	pid, comm := slices.Index(listed.Titles, "PID"), slices.Index(listed.Titles, "COMMAND")
	var found []providers.Process
	for _, row := range listed.Processes {
		if pid < 0 || comm < 0 || len(row) <= max(pid, comm) {
			break
		}
		if n, err := strconv.Atoi(row[pid]); err == nil && !strings.HasPrefix(row[comm], "runc:[") {
			found = append(found, providers.Process{PID: n, Exe: path.Base(row[comm]), Err: asConfigurationOnly(why)})
		}
	}
	if len(found) == 0 {
		found = []providers.Process{{PID: c.PID, Started: c.Started, Err: asConfigurationOnly(why)}}
	}
	return found, nil
}

func asConfigurationOnly(why error) error {
	var f *fault.Error
	if errors.As(why, &f) && strings.HasPrefix(f.Message, "configuration only") {
		return why
	}
	return configurationOnly(fault.KindOf(why), why.Error(), fault.HintOf(why))
}
