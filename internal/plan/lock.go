package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"envctl/internal/fault"
)

// awaitTarget is lockTarget after waiting for as long as Wait says.
func (e *Engine) awaitTarget(ctx context.Context, h Header) (func(), error) {
	patience, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	for {
		release, err := e.tryTarget(h)
		if !errors.Is(err, errBusy) {
			return release, err
		}
		select {
		case <-patience.Done():
			if ctx.Err() != nil {
				return nil, interrupted(ctx, h.Playbook, nil)
			}
			return nil, e.busy(h)
		case <-time.After(time.Duration(5+os.Getpid()%20) * time.Millisecond): // not all at once
		}
	}
}

func (e *Engine) lockTarget(h Header) (release func(), err error) {
	release, err = e.tryTarget(h)
	if errors.Is(err, errBusy) {
		return nil, e.busy(h)
	}
	return release, err
}

// tryTarget takes the run's target for as long as release is not called: a
// component exclusively and its environment shared, or the whole environment
// exclusively. The locks exclude the runs of this machine's operator only; two
// machines meet at the store's check-and-set.
func (e *Engine) tryTarget(h Header) (release func(), err error) {
	owner := h.Project
	if owner == "" {
		owner = h.Root
	}
	var held []File
	release = func() {
		for _, f := range held {
			_ = f.Close()
		}
	}
	take := func(shared bool, name ...string) error {
		sum := sha256.Sum256([]byte(strings.Join(name, "\x00")))
		f, err := e.fs().Open(filepath.Join(e.locks(), hex.EncodeToString(sum[:8])+".lock"), Lockfile)
		if err != nil {
			return err
		}
		held = append(held, f)
		got, err := f.Lock(shared)
		if err == nil && !got {
			return errBusy
		}
		return err
	}
	err = e.fs().MkdirAll(e.locks())
	if err == nil {
		err = take(h.Component != "", owner, h.Environment)
	}
	for _, c := range components(h) {
		if err == nil {
			err = take(false, owner, h.Environment, c)
		}
	}
	if err == nil {
		return release, nil
	}
	release()
	if errors.Is(err, errBusy) {
		return nil, err
	}
	return nil, diskError(err, "lock "+target(h))
}

func (e *Engine) locks() string { return filepath.Join(e.Dir, "locks") }

// busy names the run that holds h's target.
func (e *Engine) busy(h Header) error {
	who := "another run on this machine"
	all, _ := e.List() // only to name it: a damaged journal elsewhere does not matter here
	for _, r := range all {
		if r.State == Running && r.ID != h.ID && overlap(r.Header, h) {
			who = "run " + r.ID + " (" + r.Playbook + ")"
			break
		}
	}
	return fault.New(fault.Conflict, "lock "+target(h), who+" is working on it", "envctl runs")
}

func overlap(a, b Header) bool {
	return a.Project == b.Project && (a.Project != "" || a.Root == b.Root) && a.Environment == b.Environment &&
		(a.Component == "" || b.Component == "" ||
			slices.ContainsFunc(components(a), func(c string) bool { return slices.Contains(components(b), c) }))
}

// components are those that a run works on, sorted; none: all of its environment.
func components(h Header) []string {
	if h.Component == "" {
		return nil
	}
	all := strings.Split(h.Component, ",")
	slices.Sort(all)
	return slices.Compact(all)
}

func target(h Header) string {
	var parts []string
	for _, p := range []string{h.Project, h.Environment, h.Component} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}
