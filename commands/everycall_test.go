package commands_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"envctl/internal/realtest"
)

var everyTrouble = flag.Bool("every", false, "each call of each playbook meets each trouble; else each call some of them")

// record is what the journal says of a run.
type record struct {
	ID, State, Component string
	Steps                []struct{ State string }
}

// journal are the runs there are.
func (o *troubled) journal() ([]record, error) {
	code, said := o.run("", "runs", "--json")
	var doc struct{ Runs []record }
	if err := json.Unmarshal([]byte(said), &doc); err != nil || code != 0 {
		return nil, fmt.Errorf("runs: exit %d: %s (%w)", code, said, err)
	}
	return doc.Runs, nil
}

func (o *troubled) only() (string, error) {
	all, err := o.journal()
	if err != nil || len(all) != 1 {
		return "", fmt.Errorf("%d runs %w", len(all), err)
	}
	return all[0].ID, nil
}

// stage makes the world of a play, and its command.
func (p play) stage(t *testing.T, v *realtest.VaultServer, project string) (o *troubled, before map[string]held, args []string, err error) {
	o = newTroubled(t, v, project, map[string]string{
		"envctl.yaml": everyCallFile, "app.ctmpl": everyCallTemplate, "some.env": "TOKEN=imported\nFRESH=f\n",
		"reencrypt": "#!/bin/sh\n", "editor": "#!/bin/sh\nsed -i s/^TOKEN=.*/TOKEN=edited/ \"$1\"\n",
	})
	o.env["EDITOR"] = o.dir + "/editor"
	o.seed("staging/app", "SECRET_KEY", "old", "SECRET_KEY_PREVIOUS", "older", "RING", ringKey, "TOKEN", "t0", "LOG_LEVEL", "debug")
	o.seed("staging/worker", "QUEUE_TOKEN", "q0")
	o.seed("production/app", "SECRET_KEY", "p", "LOG_LEVEL", "info")
	if p.prepare != nil {
		if err := p.prepare(o); err != nil {
			return nil, nil, nil, err
		}
	}
	if before, err = o.holds(); err != nil {
		return nil, nil, nil, err
	}
	args = p.args
	if p.runs != nil {
		id, err := p.runs(o)
		if err != nil {
			return nil, nil, nil, err
		}
		verb := "resume"
		if p.back {
			verb = "undo"
		}
		args = []string{verb, id}
	}
	o.breaks(0, false, nil)
	return o, before, append(slices.Clone(args), "--json"), nil
}

// done tells what is wrong with a store in which the paths of these components
// are to be as the play leaves them, and all others as before.
func (p play) done(before, now map[string]held, component func(string) bool) error {
	for path, was := range before {
		if _, changes := p.changes[path]; changes && component(path) {
			continue
		}
		if is := now[path]; is.version != was.version && !component("") || !maps.Equal(is.values, was.values) {
			return fmt.Errorf("%s is at version %d after %d, and holds %v", path, is.version, was.version, slices.Sorted(maps.Keys(is.values)))
		}
	}
	for path, keys := range p.changes {
		if !component(path) {
			continue
		}
		was, is := before[path], now[path]
		if keys == nil {
			if is.values != nil {
				return fmt.Errorf("%s is not deleted", path)
			}
			continue
		}
		if is.version != was.version+1 {
			return fmt.Errorf("%s is at version %d after %d", path, is.version, was.version)
		}
		for _, key := range slices.Concat(slices.Collect(maps.Keys(was.values)), slices.Collect(maps.Keys(is.values)), keys) {
			if old, new := was.values[key], is.values[key]; (old != new) != slices.Contains(keys, key) {
				return fmt.Errorf("%s: %s is changed: %v", path, key, old != new)
			}
		}
	}
	if p.more != nil {
		return p.more(before, now)
	}
	return nil
}

// undone tells what is wrong with a store in which the play is to have left
// nothing: at most versions, the one it made and the one that took it back.
func (p play) undone(before, now map[string]held, versions int) error {
	for path, is := range now {
		was := before[path]
		for _, key := range slices.Concat(slices.Collect(maps.Keys(was.values)), slices.Collect(maps.Keys(is.values))) {
			// A new Fernet key stays last: something may be encrypted with it already.
			if old, new := was.values[key], is.values[key]; old != new && (!strings.HasPrefix(key, "RING") || !strings.HasPrefix(new, old+",")) {
				return fmt.Errorf("%s: %s is not as before", path, key)
			}
		}
		if is.version > was.version+versions {
			return fmt.Errorf("%s is at version %d after %d", path, is.version, was.version)
		}
	}
	for path := range before {
		if _, there := now[path]; !there {
			return fmt.Errorf("%s is gone", path)
		}
	}
	return nil
}

// in is one case: the play, whose call number at meets the trouble, and then the
// way that is gone: resume or undo.
func (p play) in(t *testing.T, v *realtest.VaultServer, project string, at int, tr trouble, verb string) (reached bool, err error) {
	o, before, args, err := p.stage(t, v, project)
	if err != nil {
		return false, fmt.Errorf("staging: %w", err)
	}
	if tr.begin != nil {
		tr.begin(o)
	}
	if strings.HasPrefix(tr.name, "stalled") {
		args = append(args, "--timeout", "3s")
	}
	o.breaks(at, tr.once, tr.meet)
	var code int
	var said string
	if tr.kills {
		if code, said, err = o.killed(p.stdin, args...); err != nil {
			return false, err
		}
	} else {
		code, said = o.run(p.stdin, args...)
	}
	calls := o.seen()
	o.breaks(0, false, nil)
	if tr.mend != nil {
		tr.mend(o)
	}
	if len(calls) < at {
		return false, nil
	}
	at1 := fmt.Sprintf("call %d (%s): exit %d", at, calls[at-1], code)
	wrong := func(format string, args ...any) (bool, error) {
		return true, fmt.Errorf("%s: %s\n%s", at1, fmt.Sprintf(format, args...), said)
	}
	if code != 0 && code != 8 && !slices.Contains(tr.codes, code) {
		return wrong("not one of %v", tr.codes)
	}
	if code != 0 && (strings.Contains(said, `"state":"done"`) && !strings.HasPrefix(p.name, "rotate --all") || !tr.kills && !strings.Contains(said, `"hint":"`)) {
		return wrong("it says that it is done, or not what to do")
	}
	runs, err := o.journal()
	if err != nil {
		return true, err
	}
	now, err := o.holds()
	if err != nil {
		return true, err
	}
	if code == 0 { // what it says is true
		switch {
		case p.back:
			err = p.undone(before, now, 2)
		default:
			err = p.done(before, now, func(string) bool { return true })
		}
		if err != nil {
			return wrong("it is not done: %v", err)
		}
	}
	if p.back {
		verb = "undo"
	}
	over := !slices.ContainsFunc(runs, func(r record) bool { return r.State != "done" && r.State != "undone" })
	ended, more, err := o.settle(runs, verb, p.typed)
	said += more
	if err != nil {
		return wrong("%v", err)
	}
	if now, err = o.holds(); err != nil {
		return true, err
	}
	if err := p.holdsAfter(before, now, ended); err != nil {
		return wrong("after %s, runs %v: %v", verb, ended, err)
	}
	// A second time changes nothing.
	for id, state := range ended {
		second := map[string]string{"done": "resume", "undone": "undo"}[state.State]
		if code, said := o.run("", second, id); code != 0 || !strings.Contains(said, "already") {
			return wrong("a second %s: exit %d\n%s", second, code, said)
		}
	}
	later, err := o.holds()
	if err != nil {
		return true, err
	}
	if !maps.EqualFunc(now, later, func(a, b held) bool { return a.version == b.version && maps.Equal(a.values, b.values) }) {
		return wrong("a second %s has changed something", verb)
	}
	// A lock may stand that a run, which then did nothing, does not know it has.
	unknown := over && strings.Contains(said, "/envctl-lock: ")
	if locks, err := o.locked(); err != nil || len(locks) > 0 && len(runs) > 0 && !(tr.kills && over) && !unknown && !strings.Contains(said, "stands until it runs out") {
		return wrong("locked: %v %v", locks, err)
	}
	return true, nil
}

// holdsAfter tells what is wrong with the store after these runs have ended.
func (p play) holdsAfter(before, now map[string]held, ended map[string]record) error {
	done := map[string]bool{}
	for _, r := range ended {
		done[r.Component] = done[r.Component] || r.State == "done"
	}
	several := len(p.changes) > 1 && strings.HasPrefix(p.name, "rotate --all")
	any := slices.Contains(slices.Collect(maps.Values(done)), true)
	switch {
	case !any && len(ended) == 0:
		return p.undone(before, now, 0)
	case !any:
		return p.undone(before, now, 2)
	case several:
		return p.done(before, now, func(path string) bool { return path == "" || done[path[strings.Index(path, "/")+1:]] })
	}
	return p.done(before, now, func(path string) bool { return path != "" })
}

// settle ends all runs by a verb, or by the one that is left, and says how they ended.
func (o *troubled) settle(runs []record, verb string, typed bool) (ended map[string]record, all string, err error) {
	for _, r := range runs { // the newest first
		if r.State == "undone" || verb == "resume" && r.State == "done" {
			continue
		}
		way := verb
		for range 3 {
			code, said := o.run("", way, r.ID, "--confirm", "production", "--yes")
			if all += said; code == 0 {
				break
			}
			switch {
			case code == 2 && way == "resume" && strings.Contains(said, "on its way back"):
				way = "undo"
				continue
			case code == 2 && way == "undo" && strings.Contains(said, "cannot be undone"):
				way = "resume"
				continue
			case code == 2 && way == "resume" && typed && strings.Contains(said, "never written"):
			case code == 6 && strings.Contains(said, "its lock ends in"):
				o.unlock()
				continue
			default:
				return nil, all, fmt.Errorf("%s: exit %d\n%s", way, code, said)
			}
			break
		}
	}
	now, err := o.journal()
	ended = map[string]record{}
	for _, r := range now {
		if ended[r.ID] = r; r.State != "done" && r.State != "undone" {
			return nil, all, fmt.Errorf("run %s is %s after %s", r.ID, r.State, verb)
		}
	}
	return ended, all, err
}

// meeting is a call that meets a trouble, and the way that is gone then.
type meeting struct {
	at      int
	trouble trouble
	verb    string
}

// casesOf are those of a play's calls: with -every all there are, else five troubles
// at each write and two at each read, other ones at each.
func casesOf(calls []string, seed int) (all []meeting) {
	for at, call := range calls {
		if testing.Short() && at%4 != seed%4 {
			continue
		}
		writes, few := !strings.HasPrefix(call, "GET") && !strings.HasPrefix(call, "LIST"), 2
		if writes {
			few = 5
		}
		var can []trouble
		for _, tr := range troubles() {
			switch {
			case tr.slow && at == len(calls)/2:
				all = append(all, meeting{at + 1, tr, "resume"})
			case !tr.slow && (writes || !tr.write):
				can = append(can, tr)
			}
		}
		for m, tr := range can {
			if *everyTrouble {
				all = append(all, meeting{at + 1, tr, "resume"}, meeting{at + 1, tr, "undo"})
			} else if m < few {
				all = append(all, meeting{at + 1, can[(at*7+seed*3+m*len(can)/few)%len(can)], []string{"resume", "undo"}[(at+m)%2]})
			}
		}
	}
	return all
}

// Each playbook that writes, on a real Vault whose way breaks at one of its calls:
// refused, carried out and unanswered, stalled, sealed, with a token that ends, or
// with envctl itself killed. The exit code is the cause's, or part-way; once it is
// mended the run is finished by its id, or taken back, and nothing was done twice.
func TestEveryCallOfEveryPlaybook(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	var mu sync.Mutex
	total := 0
	t.Cleanup(func() { t.Logf("%d calls broken", total) })
	for i, p := range plays() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			o, _, args, err := p.stage(t, server, fmt.Sprintf("every-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			if code, said := o.run(p.stdin, args...); code != 0 {
				t.Fatalf("undisturbed: exit %d\n%s", code, said)
			}
			calls := o.seen()
			var g errgroup.Group
			g.SetLimit(4)
			cases := 0
			for n, c := range casesOf(calls, i) {
				g.Go(func() error {
					reached, err := p.in(t, server, fmt.Sprintf("every-%d-%d", i, n), c.at, c.trouble, c.verb)
					mu.Lock()
					defer mu.Unlock()
					if reached {
						cases++
						total++
					}
					if err != nil {
						t.Errorf("%s, then %s: %v", c.trouble.name, c.verb, err)
					}
					return nil
				})
			}
			_ = g.Wait() // they tell t
			t.Logf("%d calls, %d broken\n%s", len(calls), cases, strings.Join(calls, "\n"))
		})
	}
}

// The server is sealed in the middle of each playbook, for all who use it.
func TestSealedInTheMiddle(t *testing.T) {
	t.Parallel()
	server := realtest.SealableVault(t)
	for i, p := range plays() {
		if testing.Short() && i%4 > 0 {
			continue
		}
		o, _, args, err := p.stage(t, server, fmt.Sprintf("sealed-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if code, said := o.run(p.stdin, args...); code != 0 {
			t.Fatalf("%s, undisturbed: exit %d\n%s", p.name, code, said)
		}
		calls := o.seen()
		verb := []string{"resume", "undo"}[i%2]
		if _, err := p.in(t, server, fmt.Sprintf("sealed-%d-1", i), 1+i*7%len(calls), sealing(), verb); err != nil {
			t.Errorf("%s, then %s: %v", p.name, verb, err)
		}
	}
}

// The cases notice what they are there for.
func TestCallsFindPlantedFaults(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	and := func(path string, kv ...string) strike {
		return func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
			forward.ServeHTTP(w, r)
			o.seed(path, kv...)
		}
	}
	for i, c := range []struct {
		at      int
		trouble trouble
	}{
		{2, trouble{name: "a write that leaves more than it should", meet: and("staging/app", "STRANGE", "x")}},
		{2, trouble{name: "a neighbour that is changed", meet: and("staging/worker", "QUEUE_TOKEN", "other")}},
		{2, trouble{name: "an answer to what was not done", meet: answers(200, `{"data":{"version":2,"created_time":"2026-01-01T00:00:00Z"}}`)}},
		{1, trouble{name: "an exit code of another class", codes: []int{4}, meet: answers(500, `{"errors":[]}`)}},
	} {
		c.trouble.once = true
		if _, err := plays()[0].in(t, server, fmt.Sprintf("planted-%d", i), c.at, c.trouble, "resume"); err == nil {
			t.Errorf("%s: nothing found", c.trouble.name)
		}
	}
}
