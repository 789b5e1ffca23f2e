package ui

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// patience is how long a terminal stays silent while nothing is written.
const patience = 500 * time.Millisecond

// waiting is a line on a terminal that says that something is being waited for.
type waiting struct {
	mu    sync.Mutex
	shown bool
	over  bool
	to    io.Writer
	timer *time.Timer
}

// Waiting shows text on a terminal once half a second has passed without a word. What
// is written first takes it away, and so does done.
func (u *UI) Waiting(text string) (done func()) {
	if !u.ErrTTY || u.JSON {
		return func() {}
	}
	w := &waiting{to: u.Err}
	if len(text) > u.Width()-1 {
		text = text[:u.Width()-1]
	}
	w.timer = time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.shown = true
			fmt.Fprint(w.to, "\r\x1b[K"+Clean(text))
		}
	})
	u.waiting = w
	if o, ok := u.Out.(*Output); ok {
		o.before = u.settle
	}
	return u.settle
}

// settle ends what Waiting began.
func (u *UI) settle() {
	w := u.waiting
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	if w.shown && !w.over {
		fmt.Fprint(w.to, "\r\x1b[K")
	}
	w.over = true
}
