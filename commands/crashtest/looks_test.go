//go:build unix

package crashtest

import (
	"net/http"
	"testing"

	"envctl/internal/realtest"
)

// The engine is killed in the middle of a deployment, at one of its calls. Once it is
// back, the run is finished or taken back.
func TestKilledEngine(t *testing.T) {
	t.Parallel()
	engine := realtest.StartDockerd(t)
	w := newWorld(t, realtest.Vault(t), engine, nil, name(9))
	killed := trouble{"engine killed at", func(way *way, rw http.ResponseWriter, r *http.Request, pass http.Handler) {
		engine.Kill(t)
		cut(way, rw, r, pass)
	}, true}
	for _, p := range plays() {
		if p.name != "rotate" && (!*every || p.name != "deploy" && p.name != "env create") {
			continue
		}
		_, calls, err := p.places(w)
		if err != nil {
			t.Fatal(err)
		}
		reached := 0
		for at := 1; at <= calls; at++ {
			for i, verb := range []string{"resume", "undo"} {
				if !*every && at != calls*(1+i)/3 {
					continue
				}
				c := place{way: "engine", at: at, tr: killed, verb: verb, mend: func() { engine.Restart(t) }}
				there, err := p.in(w, c)
				if err != nil {
					t.Fatalf("%s: %s: %v", p.name, c, err)
				}
				if there {
					reached++
				}
			}
		}
		t.Logf("%s: killed at %d of %d calls", p.name, reached, calls)
	}
}

// The looks notice what they are there for.
func TestLooksNotice(t *testing.T) {
	t.Parallel()
	has := func(token, plain string) map[string]string { return map[string]string{"TOKEN": token, "PLAIN": plain} }
	at := func(version int, stored map[string]string, running ...map[string]string) facts {
		return facts{version, stored, running}
	}
	old, new := has("old", "p"), has("new", "p")
	before := at(3, old, old)
	rotate := play{changes: []string{"TOKEN"}}
	for _, c := range []struct {
		name         string
		p            play
		now          facts
		done, undone bool
	}{
		{"rotated", rotate, at(4, new, new), true, false},
		{"written only", rotate, at(4, new, old), false, false},
		{"written twice", rotate, at(5, new, new), false, false},
		{"nothing", rotate, before, false, true},
		{"taken back", rotate, at(5, old, old), false, true},
		{"taken back in the store only", rotate, at(5, old, new), false, false},
		{"taken back twice", rotate, at(6, old, old), false, false},
		{"a sibling lost", rotate, at(4, has("new", ""), has("new", "")), false, false},
		{"two containers", rotate, at(4, new, new, new), false, false},
		{"a dead one beside", rotate, at(5, old, old, nil), false, false},
		{"none", rotate, at(4, new), false, false},
		{"made", play{makes: true}, at(1, new, new), true, false},
		{"made without a container", play{makes: true}, at(1, new), false, false},
		{"removed", play{removes: true}, at(3, nil), true, false},
		{"a container left", play{removes: true}, at(3, nil, old), false, false},
		{"values left", play{removes: true}, at(3, old), false, false},
	} {
		if done := c.p.done(before, c.now); (done == nil) != c.done {
			t.Errorf("%s: done: %v", c.name, done)
		}
		if undone := c.p.undone(before, c.now); (undone == nil) != c.undone {
			t.Errorf("%s: undone: %v", c.name, undone)
		}
	}
}
