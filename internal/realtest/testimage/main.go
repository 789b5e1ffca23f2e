// Command testimage is the one program inside the images that tests run: it
// stays up, turns healthy or never does, crashes, or holds other values than
// the wrapper that started it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"envctl/internal/realtest/sampleapp"
)

const usage = `testimage serve [AFTER|never]       stay up; "testimage health" succeeds AFTER this long (default 0s)
testimage crash [AFTER] [CODE]      exit with CODE (default 1) after AFTER (default 0s)
testimage wrapper K=V… -- ARGS…     stay up as the parent of "testimage ARGS…", whose environment has K=V too
testimage retitle ARGS…             overwrite the environment block as setproctitle does, then ARGS…
testimage threads N ARGS…           start N children that serve, then ARGS…
testimage as UID ARGS…              become that user, then ARGS…
testimage app DIR                   the sample application on DIR/app.sock, then serve
testimage replica DIR [AFTER|first] answer ENVCTL_RELEASE on DIR/HOSTNAME.sock and be healthy AFTER this long;
                                    first: only one of those that share DIR ever is
testimage health                    0 once serve is healthy
testimage say TEXT…                 print TEXT to stdout and "err TEXT" to stderr, line by line, then serve`

const ready = "/ready"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	mode, args := args[0], args[1:]
	switch mode {
	case "serve":
		return serve(args)
	case "crash":
		return crash(args)
	case "wrapper":
		return wrapper(args)
	case "retitle":
		retitle("testimage: renamed itself")
		return run(args)
	case "threads":
		n := 0
		if _, err := fmt.Sscan(args[0], &n); err != nil {
			return err
		}
		for range n {
			if err := child(nil, "serve").Start(); err != nil {
				return err
			}
		}
		return run(args[1:])
	case "as":
		uid := 0
		if _, err := fmt.Sscan(args[0], &uid); err != nil {
			return err
		}
		if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
			return err
		}
		return syscall.Exec("/testimage", append([]string{"testimage"}, args[1:]...), os.Environ())
	case "app":
		go func() {
			fmt.Fprintln(os.Stderr, sampleapp.Serve(context.Background(), args[0]))
			os.Exit(1)
		}()
		return serve(nil)
	case "replica":
		return replica(args)
	case "health":
		_, err := os.Stat(ready)
		return err
	case "say":
		for _, text := range args {
			fmt.Println(text)
			fmt.Fprintln(os.Stderr, "err "+text)
		}
		return serve(nil)
	}
	return errors.New(usage)
}

// serve is quick to stop: tests remove many containers.
func serve(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	healthy := make(<-chan time.Time)
	if len(args) == 0 {
		args = []string{"0s"}
	}
	if args[0] != "never" {
		after, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		healthy = time.After(after)
	}
	for {
		select {
		case <-stop:
			return nil
		case <-healthy:
			// The time it became healthy is what tests measure against.
			now := time.Now().UTC().Format(time.RFC3339Nano)
			if err := os.WriteFile(ready, []byte(now), 0o600); err != nil {
				return err
			}
			fmt.Println("healthy since", now)
		}
	}
}

func crash(args []string) error {
	code := 1
	if len(args) > 0 {
		after, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		time.Sleep(after)
	}
	if len(args) > 1 {
		if _, err := fmt.Sscan(args[1], &code); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "crashing with", code)
	os.Exit(code)
	return nil
}

func wrapper(args []string) error {
	var set []string
	for len(args) > 0 && args[0] != "--" {
		set, args = append(set, args[0]), args[1:]
	}
	if len(args) < 2 {
		return errors.New(usage)
	}
	c := child(set, args[1:]...)
	if err := c.Start(); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() { _ = c.Process.Signal(<-stop) }()
	return c.Wait()
}

func child(set []string, args ...string) *exec.Cmd {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		keep := true
		for _, s := range set {
			keep = keep && !strings.HasPrefix(s, name+"=")
		}
		if keep {
			env = append(env, kv)
		}
	}
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(env, set...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return c
}

// retitle writes title over the block that /proc/<pid>/environ shows. It begins
// where the arguments end, and those the runtime hands out where they lie.
func retitle(title string) {
	last := os.Args[len(os.Args)-1]
	size := 0
	for _, kv := range os.Environ() {
		size += len(kv) + 1
	}
	block := unsafe.Slice(unsafe.StringData(last), len(last)+1+size)[len(last)+1:]
	clear(block)
	copy(block, title)
}
