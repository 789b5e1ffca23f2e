package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"

	"envctl/internal/fault"
)

// lockTarget takes the run's target for as long as release is not called: a
// component exclusively and its environment shared, or the whole environment
// exclusively. The locks exclude the runs of this machine's operator only; two
// machines meet at the store's check-and-set.
func (e *Engine) lockTarget(h Header) (release func(), err error) {
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
	if err == nil && h.Component != "" {
		err = take(false, owner, h.Environment, h.Component)
	}
	if err == nil {
		return release, nil
	}
	release()
	if errors.Is(err, errBusy) {
		return nil, e.busy(h)
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
		(a.Component == b.Component || a.Component == "" || b.Component == "")
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
