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
	deepen()
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

// deepen makes the stack as deep as a command needs it, in one go and while next
// to nothing lies on it: doubling it on the way down, and walking what lies on it
// each time, is a twenty-fifth of a write to Vault.
//
//go:noinline
func deepen() byte {
	var room [24 << 10]byte
	return room[len(os.Args)%len(room)]
}
