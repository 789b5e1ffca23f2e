package playbooks_test

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
)

var everyPoint = flag.Bool("every", false, "runs die at each of their operations where that takes long; else at some")

// some thins an enumeration out, unless all of it is asked for.
func some(nth int) int {
	if *everyPoint {
		return 1
	}
	return nth
}

const provenFile = `version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}}
  bare: {}
  production: {protected: true, deploy: {kind: compose}}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {SECRET_KEY: jwt, SINGLE: fernet}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h, probe: {url: "https://ledger{suffix}.example.com/api", claims: {sub: envctl}}}
      lone: {variable: SECRET_KEY, probe: {url: "https://ledger{suffix}.example.com/api", claims: {sub: envctl}}}
      ring: {variable: RING, ring: true, keep: 2, reencrypt: ./reencrypt-ring}
      fernet: {variable: SINGLE, reencrypt: ./reencrypt-key}
`

func provenProject(t *testing.T) *config.Project {
	t.Helper()
	dir := t.TempDir()
	must(t, writeFile(dir, "app.ctmpl", templateFile))
	must(t, writeFile(dir, config.FileName, provenFile))
	p, err := config.Load(filepath.Join(dir, config.FileName))
	must(t, err)
	return p
}

// keyUndone is how the undo of a single key's rotation leaves the world: the old
// key runs, and what the new one may have encrypted stays readable.
func keyUndone(l *lab) error {
	v, ran := l.values("staging"), l.running("staging")
	if err := check(v["SINGLE"] == someKey && ran["SINGLE"] == someKey, "%v, running %v", v, ran); err != nil {
		return err
	}
	keys := v["SINGLE"]
	if v["SINGLE_PREVIOUS"] != "" {
		keys += "," + v["SINGLE_PREVIOUS"]
	}
	return l.app.readable("SINGLE", keys)
}

func provenScenes() map[string]scene {
	base := []string{"SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"}
	with := func(kv ...string) []string { return append(kv, base...) }
	rotate := func(name string) func(l *lab) (*plan.Plan, error) {
		return func(l *lab) (*plan.Plan, error) {
			return l.Rotate(context.Background(), l.target("staging"), l.rotation(name))
		}
	}
	finish := func(name string) func(l *lab) (*plan.Plan, error) {
		return func(l *lab) (*plan.Plan, error) {
			return l.Finish(context.Background(), l.target("staging"), l.rotation(name))
		}
	}
	asked := func(l *lab) error {
		return check(len(l.app.asked) >= 5, "the probe was asked %d times", len(l.app.asked))
	}
	ringDone := func(l *lab) error {
		ring := strings.Split(l.running("staging")["RING"], ",")
		if err := check(len(ring) == 2 && ring[0] != someKey && l.values("staging")["RING"] == l.running("staging")["RING"], "%v runs", ring); err != nil {
			return err
		}
		return l.app.readable("RING", ring[0]) // the newest alone
	}
	keyDone := func(l *lab) error {
		v := l.values("staging")
		if _, left := v["SINGLE_PREVIOUS"]; left || v["SINGLE"] == someKey || l.running("staging")["SINGLE"] != v["SINGLE"] {
			return fmt.Errorf("%v, running %v", v, l.running("staging"))
		}
		return l.app.readable("SINGLE", v["SINGLE"])
	}
	return map[string]scene{
		"rotate jwt with a probe": {env: "staging", values: base, plan: rotate("jwt"), done: func(l *lab) error {
			v := l.running("staging")
			if err := check(v["SECRET_KEY"] != "old" && v["SECRET_KEY_PREVIOUS"] == "old", "%v", v); err != nil {
				return err
			}
			return asked(l)
		}},
		"rotate jwt without previous": {env: "staging", values: base, plan: rotate("lone"), done: func(l *lab) error {
			v := l.running("staging")
			if err := check(v["SECRET_KEY"] != "old" && v["SECRET_KEY_PREVIOUS"] == "", "%v", v); err != nil {
				return err
			}
			return asked(l)
		}},
		"finish jwt with a probe": {
			env: "staging", values: with("SECRET_KEY_PREVIOUS", "older"), plan: finish("jwt"),
			before: func(l *lab) error { l.clock.move(25 * time.Hour); return nil },
			done: func(l *lab) error {
				v := l.running("staging")
				if err := check(v["SECRET_KEY"] == "old" && v["SECRET_KEY_PREVIOUS"] == "", "%v", v); err != nil {
					return err
				}
				return asked(l)
			},
		},
		"re-encrypt a ring":            {env: "staging", values: with("RING", someKey+","+otherKey), plan: rotate("ring"), done: ringDone, undone: ringUndone},
		"re-encrypt and keep all":      {env: "staging", values: with("RING", someKey), plan: rotate("ring"), done: ringDone, undone: ringUndone},
		"re-encrypt a single key":      {env: "staging", values: with("SINGLE", someKey), plan: rotate("fernet"), done: keyDone, undone: keyUndone},
		"finish a single key":          {env: "staging", values: with("SINGLE", otherKey, "SINGLE_PREVIOUS", someKey), plan: finish("fernet"), done: keyDone, undone: func(l *lab) error { return l.app.readable("SINGLE", otherKey+","+someKey) }},
		"finish a ring of more than 2": {env: "staging", values: with("RING", otherKey+","+someKey+","+thirdKey), plan: finish("ring"), done: ringDone, undone: func(l *lab) error { return l.app.readable("RING", otherKey+","+someKey+","+thirdKey) }},
	}
}

// Killed everywhere, a proven rotation is finished by resume. Undo takes it back,
// or, from the re-encryption on, refuses to, and then resume still finishes it; no
// piece of data becomes unreadable at any time.
func TestEveryCrashOfEveryProof(t *testing.T) {
	t.Parallel()
	p := provenProject(t)
	for name, s := range provenScenes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := 0
			tr := provenTrial(t, p, s, &refused)
			report(t, everyCrash(t, 1, tr.world, tr.look))
			if encrypts := strings.Contains(name, "ring") || strings.Contains(name, "key") || strings.Contains(name, "all"); encrypts != (refused > 0) {
				t.Errorf("undo was refused %d times", refused)
			}
		})
	}
}

// provenTrial is the trial of a proven rotation; it counts the undos that are refused.
func provenTrial(t *testing.T, p *config.Project, s scene, refused *int) trial {
	tr := s.trial(t, p)
	tr.look = func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
		if verb == "undo" && fault.Is(err, fault.Refused) {
			*refused++
			if !strings.Contains(err.Error(), "step reencrypt cannot be undone") {
				return err
			}
			_, err = engineOn(disk).Resume(context.Background(), res.Record.ID, w.Plan)
			verb = "resume"
		}
		return consistent(verb, w, disk, res, err)
	}
	return tr
}

// With a second death on the way to the end or back, where the run asks the application, re-encrypts its data, or stands
// between a store and a database.
func TestTwoCrashesOfWhatIsProven(t *testing.T) {
	t.Parallel()
	proven, databases := provenProject(t), databaseProject(t)
	all := map[string]trial{}
	for _, name := range []string{"rotate jwt with a probe", "re-encrypt a ring", "re-encrypt a single key", "finish a single key"} {
		all[name] = provenTrial(t, proven, provenScenes()[name], new(int))
	}
	for _, name := range []string{"single", "turns", "turns --finish", "cache", "cache --finish"} {
		all["database, "+name] = databaseScenes()[name].trial(t, databases)
	}
	for name, tr := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, everyNth(t, some(4), 2, tr.world, tr.look))
		})
	}
}
