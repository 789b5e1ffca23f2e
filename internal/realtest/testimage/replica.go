package main

import (
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// first tells whether this is the first one that asks in dir.
func first(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "first"), os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// replica is one of several that serve the same clients. It takes no connection
// before it is healthy, and when it is asked to end it answers those it has taken.
func replica(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	after := time.Duration(0)
	switch {
	case len(args) > 1 && args[1] == "first":
		if !first(args[0]) {
			<-stop
			return nil
		}
	case len(args) > 1:
		var err error
		if after, err = time.ParseDuration(args[1]); err != nil {
			return err
		}
	}
	select {
	case <-stop:
		return nil
	case <-time.After(after):
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], name+".sock")
	_ = os.Remove(path) // of a container that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		return err
	}
	var taken sync.WaitGroup
	taken.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			taken.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, os.Getenv("ENVCTL_RELEASE"))
			})
		}
	})
	<-stop
	// No new client finds it; those that found it before are still answered.
	if err := os.Rename(path, path+".gone"); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	_ = l.Close()
	taken.Wait()
	return nil
}
