package ui

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is a terminal's standard error that several goroutines write to.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// A terminal that hears nothing for half a second is told why; the first word of the
// answer, or its end, takes that away.
func TestWaiting(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	for name, first := range map[string]func(*UI){
		"an answer": func(u *UI) { u.Print("x") },
		"a note":    func(u *UI) { u.Note("x") },
		"a warning": func(u *UI) { u.Warn("x") },
		"progress":  func(u *UI) { u.Progress("x") },
		"a prompt":  func(u *UI) { u.Ask() },
		"the end":   func(*UI) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var err heard
			u := &UI{Out: &Output{File: null}, Err: &err, ErrTTY: true}
			done := u.Waiting("asking")
			for end := time.Now().Add(time.Minute); !strings.Contains(err.String(), "asking"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("silent for a minute")
				}
			}
			first(u)
			if name != "the end" && !strings.HasPrefix(strings.TrimPrefix(err.String(), "\r\x1b[Kasking"), "\r\x1b[K") {
				t.Errorf("%q", err.String())
			}
			done()
			if strings.Count(err.String(), "asking") != 1 || !strings.Contains(err.String(), "asking\r\x1b[K") {
				t.Errorf("%q", err.String())
			}
		})
	}
	for name, u := range map[string]*UI{"a pipe": {}, "--json": {ErrTTY: true, JSON: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var err heard
			u.Err = &err
			done := u.Waiting("asking")
			time.Sleep(patience + 50*time.Millisecond)
			done()
			if err.String() != "" {
				t.Errorf("%q", err.String())
			}
		})
	}
	var err2 heard
	u := &UI{Out: &Output{File: null}, Err: &err2, ErrTTY: true}
	u.Waiting("asking")()
	time.Sleep(patience + 50*time.Millisecond)
	if err2.String() != "" {
		t.Errorf("quick, and said %q", err2.String())
	}
}
