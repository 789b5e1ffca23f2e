// Command envctl sets, rotates, deploys and proves the secrets and
// environments of a project.
package main

//go:generate go run ./internal/gendocs

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"syscall"
	"time"

	"envctl/commands"
)

// version is set by the linker for a release.
var version = "dev"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals, force := make(chan os.Signal, 3), make(chan struct{})
	listen := func() {
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		go func() {
			<-signals
			cancel() // the step in hand ends first
			<-signals
			close(force) // it is told to end
			<-signals
			os.Exit(130)
		}()
	}
	wd, err := os.Getwd()
	if err != nil {
		wd = "."
	}
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	os.Exit(commands.Main(ctx, commands.Process{
		Args: os.Args[1:], Executable: exe, WorkDir: wd,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Environ: os.Environ,
		Now: time.Now, Rand: rand.Reader, Version: version, Listen: listen, Force: force,
	}))
}
