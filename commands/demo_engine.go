package commands

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/docker"
)

// demoServe is what the demo's container runs: envctl, doing nothing until it
// is told to end.
const demoServe = "__demo-serve"

func (a *app) demoServeCommand() *cli.Command {
	return &cli.Command{
		Name: demoServe, Hidden: true,
		// Not by action: a process that forbids looking at itself proves nothing.
		Action: func(c *cli.Context) error { <-c.Context.Done(); return nil },
	}
}

// demoEngine is the docker engine of this machine, with an image made for the demo.
type demoEngine struct {
	program, image string
	project        string            // of the containers to remove
	env            map[string]string // what docker needs of the operator's environment
}

// findDemoEngine returns an engine that can run the demo's container, or why there
// is none. It pulls nothing: the image holds this program and no more.
func (a *app) findDemoEngine(ctx context.Context, folder string) (*demoEngine, string) {
	host := orElse(a.Getenv("DOCKER_HOST"), docker.DefaultHost)
	switch {
	case runtime.GOOS != "linux":
		return nil, "the container would run this very program, which is not a Linux one"
	case !strings.HasPrefix(host, "unix://"):
		return nil, "DOCKER_HOST is not an engine of this machine"
	}
	program, err := docker.LookPath("docker", a.Getenv("PATH"))
	if err != nil {
		return nil, "docker is not installed"
	}
	e := &demoEngine{program: program, env: map[string]string{"DOCKER_HOST": host, "DOCKER_CONFIG": a.Getenv("DOCKER_CONFIG")}}
	if e.env["DOCKER_CONFIG"] == "" {
		e.env["DOCKER_CONFIG"] = filepath.Join(a.Getenv("HOME"), ".docker") // where the compose plugin may be
	}
	e.env["PATH"], e.env["HOME"] = a.Getenv("PATH"), folder
	look, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	arch, err := e.docker(look, nil, "version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
	switch {
	case err != nil:
		return nil, "no docker engine answers on " + host
	case arch != "linux/"+runtime.GOARCH:
		return nil, "the engine runs " + arch + ", this program " + runtime.GOOS + "/" + runtime.GOARCH
	}
	if v, err := e.docker(look, nil, "compose", "version", "--short"); err != nil || strings.HasPrefix(strings.TrimPrefix(v, "v"), "1.") {
		return nil, "docker has no compose plugin (v2)"
	}
	archive, err := a.demoImage()
	if err != nil {
		return nil, "an image cannot be made of this program: " + err.Error()
	}
	id := make([]byte, 4)
	if _, err := io.ReadFull(a.Rand, id); err != nil {
		return nil, err.Error()
	}
	e.image = "envctl-demo:" + hex.EncodeToString(id)
	build, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if _, err := e.docker(build, archive, "import", "--change", `ENTRYPOINT ["/envctl", "`+demoServe+`"]`, "-", e.image); err != nil {
		return nil, "the engine takes no image: " + err.Error()
	}
	return e, ""
}

// docker runs the docker program and returns what it says.
func (e *demoEngine) docker(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.program, args...)
	for k, v := range e.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &said
	if err := cmd.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, first)
	}
	return strings.TrimSpace(out.String()), nil
}

// remove removes the demo's containers and its image.
func (e *demoEngine) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var failed error
	if e.project != "" {
		ids, err := e.docker(ctx, nil, "ps", "--all", "--quiet", "--filter", "label="+providers.LabelProject+"="+e.project)
		failed = err
		if ids != "" {
			_, err := e.docker(ctx, nil, append([]string{"rm", "--force", "--volumes"}, strings.Fields(ids)...)...)
			failed = errors.Join(failed, err)
		}
	}
	_, err := e.docker(ctx, nil, "rmi", "--force", e.image)
	if failed = errors.Join(failed, err); failed != nil {
		return fault.Wrap(failed, fault.Unavailable, "remove the demo's container and image", "run docker ps --all, docker images envctl-demo")
	}
	return nil
}

// demoImage is the container's file system: this program, and the C library
// where it was linked against one.
func (a *app) demoImage() (io.Reader, error) {
	program, err := a.self()
	if err != nil {
		return nil, err
	}
	files := map[string]string{"envctl": program}
	libraries, err := linked(program)
	if err != nil {
		return nil, err
	}
	for _, lib := range libraries {
		files[strings.TrimPrefix(lib, "/")] = lib
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for inside, outside := range files {
		data, err := os.ReadFile(outside)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: inside, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	return &archive, w.Close()
}

// linked returns the files that a program needs to start: none when it is linked
// statically, else its interpreter and its libraries, and theirs.
func linked(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	interpreter := ""
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			data, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return nil, err
			}
			interpreter = strings.TrimRight(string(data), "\x00")
		}
	}
	if interpreter == "" {
		return nil, nil
	}
	all := []string{interpreter}
	seen := map[string]bool{filepath.Base(interpreter): true}
	for next := []string{program}; len(next) > 0; next = next[1:] {
		needed, err := libraries(next[0])
		if err != nil {
			return nil, err
		}
		for _, name := range needed {
			if seen[name] {
				continue
			}
			seen[name] = true
			found, err := library(name, f.Machine)
			if err != nil {
				return nil, err
			}
			all, next = append(all, found), append(next, found)
		}
	}
	return all, nil
}

func libraries(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return f.ImportedLibraries()
}

// library looks where the loader does by itself.
func library(name string, machine elf.Machine) (string, error) {
	for _, pattern := range []string{"/lib/*-linux-*/", "/usr/lib/*-linux-*/", "/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"} {
		found, err := filepath.Glob(pattern + name)
		if err != nil {
			return "", err
		}
		for _, file := range found {
			if f, err := elf.Open(file); err == nil {
				fits := f.Machine == machine
				_ = f.Close() // only read
				if fits {
					return file, nil
				}
			}
		}
	}
	return "", fmt.Errorf("its library %s is nowhere to be found", name)
}
