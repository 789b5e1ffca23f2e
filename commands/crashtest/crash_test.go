//go:build unix

// Package crashtest breaks playbooks that deploy where it hurts: envctl killed at
// each write of its journal, the store and the engine cut off at each call. Then
// resume, or undo, must make one truth of what the store holds, what the process in
// the container has, and what envctl says.
package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/realtest"
)

var every = flag.Bool("every", false, "each playbook breaks everywhere and goes both ways; else at some places")

// play is one playbook that deploys.
type play struct {
	name, environment string
	args              []string
	prepare           func(w *world, now facts) error
	changes           []string // the variables whose values differ when it is done
	makes, removes    bool     // the environment
	database          bool     // it changes a role's password too
}

func ok(code int, said string) error {
	if code != 0 {
		return fmt.Errorf("exit %d\n%s", code, said)
	}
	return nil
}

func plays() []play {
	previous := func(want bool, args ...string) func(*world, facts) error {
		return func(w *world, now facts) error {
			if _, there := now.values["SECRET_KEY_PREVIOUS"]; there == want {
				return nil
			}
			return ok(w.run(nil, args...))
		}
	}
	exists := func(want bool, args ...string) func(*world, facts) error {
		return func(w *world, now facts) error {
			if want == (now.values != nil) {
				return nil
			}
			return ok(w.run(nil, args...))
		}
	}
	rotate := []string{"rotate", "jwt", "--env", "staging", "--yes"}
	finish := append(slices.Clone(rotate), "--finish")
	create := []string{"env", "create", "qa", "--from", "staging", "--yes"}
	remove := []string{"env", "delete", "qa", "--yes"}
	return []play{
		{name: "rotate", environment: "staging", args: []string{"rotate", "token", "--env", "staging", "--yes"}, changes: []string{"TOKEN"}},
		{name: "rotate jwt", environment: "staging", args: rotate, prepare: previous(false, finish...), changes: []string{"SECRET_KEY", "SECRET_KEY_PREVIOUS"}},
		{name: "finish jwt", environment: "staging", args: finish, prepare: previous(true, rotate...), changes: []string{"SECRET_KEY_PREVIOUS"}},
		{name: "deploy", environment: "staging", args: []string{"deploy", "app", "--env", "staging", "--yes"}, prepare: func(w *world, now facts) error {
			now.values["PLAIN"] = fmt.Sprint("sibling ", now.version)
			w.vault.Do(http.MethodPost, "secret/data/"+w.project+"/staging/app", map[string]any{"data": now.values})
			return nil
		}},
		{name: "rotate a role", environment: "staging", args: []string{"rotate", "role", "--env", "staging", "--yes"}, changes: []string{"DBPW"}, database: true},
		{name: "env create", environment: "qa", args: create, prepare: exists(false, remove...), makes: true},
		{name: "env delete", environment: "qa", args: remove, prepare: exists(true, create...), removes: true},
	}
}

// done tells what is wrong with an environment that the play has changed.
func (p play) done(before, now facts) error {
	if err := now.whole(); err != nil {
		return err
	}
	if p.makes || p.removes {
		if p.makes != (now.values != nil) {
			return fmt.Errorf("the store holds %v", now.values)
		}
		return nil
	}
	wrote := min(len(p.changes), 1)
	for _, k := range variables {
		if changed := now.values[k] != before.values[k]; changed != slices.Contains(p.changes, k) {
			return fmt.Errorf("%s is changed: %v", k, changed)
		}
	}
	if now.version != before.version+wrote {
		return fmt.Errorf("version %d after %d", now.version, before.version)
	}
	return nil
}

// undone tells what is wrong with one that it is to have left as it was.
func (p play) undone(before, now facts) error {
	switch {
	case !maps.Equal(now.values, before.values):
		return fmt.Errorf("the store holds %v, before %v", now.values, before.values)
	case now.version > before.version+2:
		return fmt.Errorf("version %d after %d", now.version, before.version)
	case !slices.EqualFunc(now.running, before.running, maps.Equal):
		return fmt.Errorf("%v run, before %v", now.running, before.running)
	}
	return nil
}

// place is where a play breaks, and the way that is gone then.
type place struct {
	die  *death
	way  string // else: to the store, or to the engine
	at   int
	tr   trouble
	verb string
	die2 *death // of the verb, which is then gone again; nil: it lives
	mend func() // what the strike broke

	always bool // a usual test breaks the first play here too: a program runs that nobody knows of
}

func (c place) String() string {
	if c.die != nil {
		said := fmt.Sprintf("killed %s of the journal, then %s", c.die, c.verb)
		if c.die2 != nil {
			said += fmt.Sprintf(" killed %s of its own", c.die2)
		}
		return said
	}
	return fmt.Sprintf("%s call %d to the %s, then %s", c.tr.name, c.at, c.way, c.verb)
}

// in breaks the play at a place of a whole world, and leaves the world whole.
// It tells whether the play came there.
func (p play) in(w *world, c place) (reached bool, err error) {
	if err := p.ready(w); err != nil {
		return false, err
	}
	before, err := w.facts(p.environment)
	if err != nil {
		return false, err
	}
	earlier, err := w.runs()
	if err != nil {
		return false, err
	}
	if c.way != "" {
		w.to(c.way).breaks(c.at, c.tr.once, c.tr.strike)
	}
	code, said := w.run(c.die, p.args...)
	struck := ""
	if c.way != "" {
		if _, struck = w.to(c.way).mended(); struck == "" {
			return false, ok(code, said)
		}
		if c.mend != nil {
			c.mend()
		}
	} else if reached = code == 137; !reached {
		return false, ok(code, said)
	}
	wrong := func(format string, args ...any) (bool, error) {
		return true, fmt.Errorf("%s: exit %d: %s\n%s", struck, code, fmt.Sprintf(format, args...), said)
	}
	all, err := w.runs()
	if err != nil {
		return true, err
	}
	new := slices.DeleteFunc(slices.Clone(all), func(r record) bool {
		return slices.ContainsFunc(earlier, func(e record) bool { return e.ID == r.ID })
	})
	if len(new) > 1 {
		return wrong("%d runs", len(new))
	}
	if code == 0 { // what it says is true
		if len(new) == 0 || new[0].State != "done" {
			return wrong("it says that it is done, and its runs are %v", new)
		}
	} else if code != 137 && !strings.Contains(said, "hint: ") {
		return wrong("it does not say what to do")
	}
	if err := w.honest(p.environment); err != nil {
		return wrong("%v", err)
	}
	state := "undone"
	if len(new) > 0 {
		var more string
		state, more, err = w.settle(p.environment, new[0], c.verb, c.die2)
		said += more
		if err != nil {
			return wrong("%v", err)
		}
	}
	is := p.undone
	if state == "done" {
		is = p.done
	}
	now, err := w.facts(p.environment)
	for range 100 { // an engine that is back starts its containers in its own time
		if err != nil || c.mend == nil || is(before, now) == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
		now, err = w.facts(p.environment)
	}
	if err != nil {
		return true, err
	}
	if err := errors.Join(is(before, now), w.opens(before, now)); err != nil {
		return wrong("run %v is %s: %v", new, state, err)
	}
	if code, status := w.run(nil, "status", "--env", p.environment); now.values != nil && (code == 0) != (now.whole() == nil) {
		return wrong("whole: %v; status: exit %d\n%s", now.whole(), code, status)
	}
	if len(new) > 0 {
		// A lock that it died with, when its run had ended already, runs out.
		ended := code == 137 && new[0].State == state || c.die2 != nil && strings.Contains(said, "already")
		if held := w.locks(p.environment); held != "" && !ended && !strings.Contains(said, "envctl-lock") && !strings.Contains(said, "stands until") {
			return wrong("locked: %s", held)
		}
		second := map[string]string{"done": "resume", "undone": "undo"}[state]
		if code, again := w.run(nil, second, new[0].ID, "--yes"); code != 0 || !strings.Contains(again, "already") {
			return wrong("a second %s: exit %d\n%s", second, code, again)
		}
	}
	return true, nil
}

// honest tells whether status says that all is well where it is not. What a dead
// envctl began may still go on, so only what was wrong before and after counts.
func (w *world) honest(environment string) error {
	before, err := w.facts(environment)
	if err != nil {
		return err
	}
	code, said := w.run(nil, "status", "--env", environment)
	after, err := w.facts(environment)
	if err != nil {
		return err
	}
	if code == 0 && before.whole() != nil && after.whole() != nil {
		return fmt.Errorf("%w, but status says:\n%s", after.whole(), said)
	}
	return nil
}

// ready makes the world what the play begins with.
func (p play) ready(w *world) error {
	w.unlock(p.environment)
	now, err := w.facts(p.environment)
	if err != nil {
		return err
	}
	if now.whole() != nil { // an undone deploy
		if err := ok(w.run(nil, "deploy", "app", "--env", p.environment, "--yes")); err != nil {
			return fmt.Errorf("deploying what is not: %w", err)
		}
	}
	if p.prepare == nil {
		return nil
	}
	if err := p.prepare(w, now); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	return nil
}

// settle ends a run by a verb, or by the one that is left, and says how it ended.
func (w *world) settle(environment string, r record, verb string, die *death) (state, all string, err error) {
	if r.State == "undone" || r.State == "done" && verb == "resume" {
		return r.State, "", nil
	}
	for range 4 {
		code, said := w.run(die, verb, r.ID, "--yes")
		die = nil
		if all += said; code == 0 {
			break
		}
		switch {
		case code == 137:
		case code == 2 && verb == "resume" && strings.Contains(said, "on its way back"):
			verb = "undo"
		case code == 2 && verb == "undo" && strings.Contains(said, "cannot be undone"):
			verb = "resume"
		case code == 6 && strings.Contains(said, "its lock ends in"):
			w.unlock(environment)
		default:
			return "", all, fmt.Errorf("%s: exit %d\n%s", verb, code, said)
		}
	}
	runs, err := w.runs()
	for _, now := range runs {
		if now.ID == r.ID {
			state = now.State
		}
	}
	if err == nil && state != map[string]string{"resume": "done", "undo": "undone"}[verb] {
		err = fmt.Errorf("the run is %q after %s", state, verb)
	}
	return state, all, err
}

func (w *world) to(way string) *way {
	if way == "engine" {
		return w.engine
	}
	return w.store
}

// places are those where the play can break; toEngine is how many calls go there.
func (p play) places(w *world) (all []place, toEngine int, err error) {
	if err := p.ready(w); err != nil {
		return nil, 0, err
	}
	w.store.breaks(0, false, nil)
	w.engine.breaks(0, false, nil)
	writes, err := w.writes(p.args...)
	if err != nil {
		return nil, 0, err
	}
	calls := map[string]int{}
	calls["store"], _ = w.store.mended()
	calls["engine"], _ = w.engine.mended()
	w.t.Logf("%d writes, calls: %v", len(writes), calls)
	wheres := []string{"before", "torn", "after"}
	for n, notes := range writes {
		for i, where := range wheres {
			die := &death{n: n + 1, where: where}
			all = append(all, place{die: die, always: notes && where != "after"}, place{die: die, die2: &death{n: 1 + (n*5+i)%6, where: wheres[(n+i)%3]}})
		}
	}
	for _, way := range []string{"store", "engine"} {
		for _, tr := range troubles() {
			for n := range calls[way] {
				all = append(all, place{way: way, at: n + 1, tr: tr})
			}
		}
	}
	return all, calls["engine"], nil
}

// some are, with -every, all places both ways; else a few one way, other ones for
// each play.
func some(all []place, seed int) (both []place) {
	for i, c := range all {
		verbs := []string{"resume", "undo"}
		if !*every {
			if c.always = c.always && seed == 0; i%fewer != seed%fewer && !c.always {
				continue
			}
			if verbs = verbs[(i/fewer+seed)%2:][:1]; c.always {
				verbs = []string{"undo"}
			}
		}
		for _, c.verb = range verbs {
			both = append(both, c)
		}
	}
	return both
}

// fewer is how many places there are for one that a usual test breaks.
const fewer = 131

// Each playbook that deploys, broken everywhere.
func TestEveryCrashWithContainers(t *testing.T) {
	t.Parallel()
	server, engine := realtest.Vault(t), realtest.Dockerd(t)
	var mu sync.Mutex
	total := 0
	t.Cleanup(func() { t.Logf("%d places broken", total) })
	for i, p := range plays() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var db *realtest.PostgresServer
			if p.database {
				db = realtest.Postgres(t)
			}
			w := newWorld(t, server, engine, db, name(i))
			all, _, err := p.places(w)
			if err != nil {
				t.Fatal(err)
			}
			cases := some(all, i*31)
			broken := 0
			for _, c := range cases {
				reached, err := p.in(w, c)
				if reached {
					broken++
				}
				if err != nil {
					t.Errorf("%s: %v", c, err)
					w = newWorld(t, server, engine, db, name(i))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += broken
			t.Logf("%d of %d places reached", broken, len(cases))
		})
	}
}

var names atomic.Int32

// name is a project's name that no other test has, on an engine that they may share.
func name(of int) string { return fmt.Sprintf("crash%dx%dx%d", of, os.Getpid(), names.Add(1)) }
