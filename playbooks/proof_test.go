package playbooks_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

func proven(t *testing.T, kv ...string) *lab {
	t.Helper()
	l := labOf(provenProject(t))
	must(t, l.start("staging", append([]string{"SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"}, kv...)...))
	return l
}

func TestProbeProvesARotation(t *testing.T) {
	t.Parallel()
	l := proven(t)
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if said := receipt(res, "probe"); said["old"] != "200" || said["random"] != "401" {
		t.Fatal(said)
	}
	said := receipt(res, "prove")
	if said["proven"] != "a token of the new key is accepted (200), one of the old key still is (200), one of a random key is not (401)" || said["evidence"] != "probe" || said["services"] != "backend" {
		t.Fatal(said)
	}
	for _, u := range l.app.asked {
		if u != "https://ledger-staging.example.com/api" {
			t.Error("asked", u)
		}
	}
	p, err := l.Finish(context.Background(), l.target("staging"), l.rotation("jwt"))
	wantKind(t, err, fault.Refused, "the overlap lasts until")
	if p != nil {
		t.Fatal("a plan was made")
	}
	l.clock.move(25 * time.Hour)
	p, err = l.Finish(context.Background(), l.target("staging"), l.rotation("jwt"))
	must(t, err)
	res, err = l.eng.Run(context.Background(), p)
	must(t, err)
	if said := receipt(res, "prove")["proven"]; said != "a token of the current key is accepted (200), one of the retired key no longer is (401), one of a random key is not (401)" {
		t.Error(said)
	}
	// Without previous, the sessions do end.
	res, err = l.rotate("staging", "lone")
	must(t, err)
	if said := receipt(res, "prove")["proven"]; !strings.Contains(said, "one of the old key no longer is (401)") {
		t.Error(said)
	}
}

// always answers whatever is asked; after counts from which question on.
func always(status int, err error, after int) func(l *lab) {
	return func(l *lab) {
		l.app.answer = func(providers.Question) (int, error) {
			if len(l.app.asked) <= after {
				return 0, nil
			}
			return status, err
		}
	}
}

// A probe that cannot prove anything is refused before the first write; one that
// proves the contrary takes the rotation back.
func TestProbesThatLie(t *testing.T) {
	t.Parallel()
	hangs := fault.New(fault.Unavailable, "ask the probe", "no answer in time", "")
	const old = 2 // questions before the write
	for name, c := range map[string]struct {
		recipe string
		lie    func(l *lab)
		kind   fault.Kind
		words  string
		writes bool
	}{
		"accepts everything":              {"jwt", always(200, nil, 0), fault.Refused, "accepts anything proves nothing", false},
		"refuses everything":              {"jwt", always(401, nil, 0), fault.Refused, "a token of the key in use is refused (401)", false},
		"redirects":                       {"jwt", always(302, nil, 0), fault.Refused, "redirect (302), which is not followed", false},
		"is not there":                    {"jwt", always(404, nil, 0), fault.Refused, "answered with 404", false},
		"is down":                         {"jwt", always(503, nil, 0), fault.Unavailable, "answered with 503", false},
		"hangs":                           {"jwt", always(0, hangs, 0), fault.Unavailable, "no answer in time", false},
		"accepts everything afterwards":   {"jwt", always(200, nil, old), fault.No, "a token of a random key is accepted (200)", true},
		"refuses everything afterwards":   {"jwt", always(401, nil, old), fault.No, "a token of the new key is refused (401)", true},
		"is down afterwards":              {"jwt", always(503, nil, old), fault.No, "answered with 503", true},
		"hangs afterwards":                {"jwt", always(0, hangs, old), fault.Unavailable, "no answer in time", true},
		"redirects afterwards":            {"jwt", always(307, nil, old), fault.No, "which is not followed", true},
		"a server error is no refusal":    {"lone", breaksSessions, fault.No, "a token of the old key is answered with 500", true},
		"sessions that do not end":        {"lone", keepsSessions, fault.No, "a token of the old key is accepted (200)", true},
		"an overlap that is none":         {"jwt", forgetsPrevious, fault.No, "a token of the old key is refused (401)", true},
		"a refusal of another server":     {"jwt", always(0, fault.New(fault.Refused, "ask the probe", "a token goes to https", ""), 0), fault.Refused, "a token goes to https", false},
		"an application that sees nobody": {"jwt", func(l *lab) { l.fleet.boxes = map[string]*box{} }, fault.Unavailable, "nothing listens", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := proven(t)
			c.lie(l)
			began := l.clock.now()
			res, err := l.rotate("staging", c.recipe)
			wantKind(t, err, c.kind, c.words)
			if fault.HintOf(err) == "" {
				t.Error("no hint")
			}
			if took := l.clock.now().Sub(began); took > 2*time.Minute {
				t.Errorf("asked for %v", took)
			}
			if !c.writes && (l.version("staging") != 1 || l.fleet.releases > 1) {
				t.Errorf("it wrote: version %d, %d releases", l.version("staging"), l.fleet.releases)
			}
			if c.writes && res.Record.State != plan.Undone {
				t.Errorf("%s: %v", res.Record.State, err)
			}
			if v := l.values("staging"); v["SECRET_KEY"] != "old" || v["SECRET_KEY_PREVIOUS"] != "" || c.writes && l.running("staging")["SECRET_KEY"] != "old" {
				t.Error(v)
			}
			noToken(t, l, err)
		})
	}
}

// keepsSessions is an application that accepts the key from before too.
func keepsSessions(l *lab) {
	l.app.answer = func(q providers.Question) (int, error) {
		if l.app.verifies(strings.TrimPrefix(q.Value.Reveal(), "Bearer "), secret.New("old")) {
			return 200, nil
		}
		return 0, nil
	}
}

// breaksSessions is one that fails where it should refuse.
func breaksSessions(l *lab) {
	l.app.answer = func(q providers.Question) (int, error) {
		if l.version("staging") > 1 && l.app.verifies(strings.TrimPrefix(q.Value.Reveal(), "Bearer "), secret.New("old")) {
			return 500, nil
		}
		return 0, nil
	}
}

// forgetsPrevious is one that only knows its current key.
func forgetsPrevious(l *lab) {
	l.app.answer = func(q providers.Question) (int, error) {
		if l.app.verifies(strings.TrimPrefix(q.Value.Reveal(), "Bearer "), secret.New(l.running("staging")["SECRET_KEY"])) {
			return 200, nil
		}
		return 401, nil
	}
}

// noToken fails where an error or the journal shows a part of a token.
func noToken(t *testing.T, l *lab, err error) {
	t.Helper()
	all, lerr := l.eng.List()
	must(t, lerr)
	if text := fmt.Sprint(err, all); strings.Contains(text, "eyJ") {
		t.Error("a token shows:", text)
	}
}

// An application that takes a while to start, behind a proxy that says so, is
// waited for.
func TestProbeWaitsForTheApplication(t *testing.T) {
	t.Parallel()
	l := proven(t)
	answers := []int{502, 503, 404, 401}
	l.app.answer = func(providers.Question) (int, error) {
		n := len(l.app.asked) - 3
		if n == 4 {
			return 0, fault.New(fault.Unavailable, "ask the probe", "nothing listens there", "")
		}
		if n >= 0 && n < len(answers) {
			return answers[n], nil
		}
		return 0, nil
	}
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if receipt(res, "prove")["new"] != "200" || len(l.app.asked) != 2+5+3 {
		t.Error(receipt(res, "prove"), len(l.app.asked))
	}
}

// Who forges a journal that says "proven" has proven nothing: a resumed run asks
// again.
func TestResumeAsksAgain(t *testing.T) {
	t.Parallel()
	for name, recipe := range map[string]string{"probe": "jwt", "canary": "ring"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := proven(t, "RING", someKey+","+otherKey)
			p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation(recipe))
			must(t, err)
			for i := range p.Steps {
				if p.Steps[i].ID == "prove" {
					p.Steps[i].Do = func(context.Context, *plan.Page) (plan.Receipt, error) {
						return plan.Receipt{"proven": "anything", "evidence": "probe"}, nil
					}
					p.Steps[i].Verify = nil
					p.Steps = p.Steps[:i+1]
					p.Steps = append(p.Steps, plan.Step{ID: "end", Do: func(context.Context, *plan.Page) (plan.Receipt, error) { return nil, nil }})
					break
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			l.eng.Observer = func(e plan.Event) {
				if e.Kind == plan.EventDone && e.Step == "prove" {
					cancel()
				}
			}
			res, err := l.eng.Run(ctx, p)
			wantKind(t, err, fault.Partial)
			if recipe == "jwt" {
				always(401, nil, 0)(l)
			} else {
				l.box("staging").env["RING"] = secret.New(otherKey)
			}
			_, err = l.eng.Resume(context.Background(), res.Record.ID, func(h plan.Header) (*plan.Plan, error) {
				made, err := l.rebuild(plan.Header{Playbook: h.Playbook, Environment: h.Environment, Component: h.Component, Args: h.Args, Steps: butLast(h.Steps)})
				if err != nil {
					return nil, err
				}
				made.Steps = append(made.Steps[:len(p.Steps)-1:len(p.Steps)-1], p.Steps[len(p.Steps)-1])
				return made, nil
			})
			if err == nil {
				t.Fatal("the forged proof was believed")
			}
		})
	}
}

func butLast(s []plan.StepName) []plan.StepName { return s[:len(s)-1] }

func TestProbeURLs(t *testing.T) {
	t.Parallel()
	const plainURL, perEnv, perSuffix = "https://x.example/api", "https://x.example/{env}", "https://x{suffix}.example/"
	for _, c := range []struct{ environments, probe, env, want string }{
		{"production: {}, staging: {}", "url: '" + plainURL + "'", "production", plainURL},
		{"production: {}, staging: {}", "url: '" + plainURL + "'", "staging", "!add urls: {staging: …}"},
		{"staging: {}", "url: '" + plainURL + "'", "staging", plainURL},
		{"'pr-*': {}", "url: '" + plainURL + "'", "pr-4", "!says nothing of pr-4"},
		{"production: {}, local: {}", "url: '" + perSuffix + "'", "production", "https://x.example/"},
		{"production: {}, local: {}", "url: '" + perSuffix + "'", "local", "!would be production's"},
		{"production: {}, 'pr-*': {}", "url: '" + perSuffix + "'", "pr-4", "https://x-pr-4.example/"},
		{"production: {}, local: {}", "url: '" + perEnv + "'", "local", "https://x.example/local"},
		{"production: {}, local: {}", "url: '" + plainURL + "', urls: {local: 'http://localhost:8000/api'}", "local", "http://localhost:8000/api"},
		{"production: {}, local: {}", "url: '" + plainURL + "', urls: {local: 'http://localhost:8000/api'}", "production", plainURL},
		{"production: {}, 'pr-*': {}, qa: {}", "urls: {'pr-*': 'https://x.example/{env}', pr-4: 'https://four.example/'}", "pr-4", "https://four.example/"},
		{"production: {}, 'pr-*': {}, qa: {}", "urls: {'pr-*': 'https://x.example/{env}', pr-4: 'https://four.example/'}", "pr-5", "https://x.example/pr-5"},
		{"production: {}, 'pr-*': {}, qa: {}", "urls: {'pr-*': 'https://x.example/{env}'}", "qa", "!name none for qa"},
	} {
		l, err := newLab(t.TempDir(), "version: 1\nproject: ledger\nenvironments: {"+c.environments+"}\ndeploy: {kind: compose}\ncomponents:\n  app:\n    services: [backend]\n    rotate: {jwt: {variable: SECRET_KEY, probe: {"+c.probe+", claims: {sub: envctl}}}}\n")
		must(t, err)
		must(t, l.start(c.env, "SECRET_KEY", "old"))
		p, err := l.Rotate(context.Background(), l.target(c.env), l.rotation("jwt"))
		must(t, err)
		shown := ""
		for _, f := range p.Facts {
			switch f.Label {
			case "probe":
				shown, _, _ = strings.Cut(f.Text, ": ")
			case "no probe":
				shown = "!" + f.Text
			}
		}
		if why, not := strings.CutPrefix(c.want, "!"); not && !(strings.HasPrefix(shown, "!") && strings.Contains(shown, why)) || !not && shown != c.want {
			t.Errorf("%s in %s: %s, want %s", c.probe, c.env, shown, c.want)
		}
		asks := false
		for _, s := range p.Steps {
			asks = asks || s.ID == "probe" || s.ID == "prove"
		}
		if asks == strings.HasPrefix(shown, "!") {
			t.Errorf("%s in %s: asks: %t", c.probe, c.env, asks)
		}
	}
}

func TestUntrustedProofs(t *testing.T) {
	t.Parallel()
	l := proven(t, "SINGLE", someKey, "SINGLE_PREVIOUS", otherKey)
	l.Trusted = false
	for _, name := range []string{"jwt", "ring", "fernet"} {
		_, err := l.rotate("staging", name)
		wantKind(t, err, fault.Refused, "envctl trust")
		_, err = l.Finish(context.Background(), l.target("staging"), l.rotation(name))
		wantKind(t, err, fault.Refused, "envctl trust")
	}
	// Trust that ends between a death and the resume ends the asking too.
	l.Trusted = true
	p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("jwt"))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.fleet.onWait = func(context.Context) error { cancel(); return nil }
	res, err := l.eng.Run(ctx, p)
	wantKind(t, err, fault.Partial)
	asked := len(l.app.asked)
	l.Trusted = false
	_, err = l.resume(res.Record.ID)
	wantKind(t, err, fault.Refused, "not trusted")
	if len(l.app.asked) != asked {
		t.Error("an untrusted URL was asked")
	}
}

func TestRingIsReencrypted(t *testing.T) {
	t.Parallel()
	l := proven(t, "RING", someKey+","+otherKey)
	l.fleet.wrapped = true
	res, err := l.rotate("staging", "ring")
	must(t, err)
	if said := receipt(res, "prove"); said["by"] != "process" || !strings.Contains(said["proven"], "the running processes of backend") {
		t.Error(said)
	}
	ring := strings.Split(l.running("staging")["RING"], ",")
	if len(ring) != 2 || ring[1] != someKey || l.version("staging") != 3 || l.app.jobs != 1 {
		t.Error(ring, l.version("staging"), l.app.jobs)
	}
	must(t, l.app.readable("RING", ring[0]))
	// What the command was given: all keys there were, and which two count.
	if g := l.app.given; g["RING"] != ring[0]+","+someKey+","+otherKey || g["ENVCTL_NEW_KEY"] != ring[0] || g["ENVCTL_OLD_KEY"] != someKey || g["PLAIN"] != "sibling" {
		t.Error("given", len(g))
	}
	_, err = l.undo(res.Record.ID)
	wantKind(t, err, fault.Refused, "reencrypt cannot be undone")
}

// From the re-encryption on a run only goes forward: whatever fails, every key
// stays, all data is readable, and resume finishes when the cause is gone.
func TestReencryptionsThatFail(t *testing.T) {
	t.Parallel()
	for name, recipe := range map[string]string{"ring": "ring", "key": "fernet"} {
		for how, fail := range map[string]error{
			"exits":    fault.New(fault.No, "re-encrypt", "./reencrypt exited with 3", ""),
			"too slow": fault.New(fault.Unavailable, "re-encrypt", "was not done in time", ""),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				l := proven(t, "RING", someKey+","+otherKey, "SINGLE", someKey)
				must(t, l.release("staging")) // two pieces of data
				l.app.write(l.box("staging"))
				l.app.jobErr = fail
				res, err := l.rotate("staging", recipe)
				wantKind(t, err, fault.Partial, "only goes forward", "envctl resume "+res.Record.ID)
				_, uerr := l.undo(res.Record.ID)
				wantKind(t, uerr, fault.Refused)
				v := l.values("staging")
				must(t, l.app.readable("RING", v["RING"]))
				must(t, l.app.readable("SINGLE", strings.TrimSuffix(v["SINGLE"]+","+v["SINGLE_PREVIOUS"], ",")))
				l.app.jobErr = nil
				_, err = l.resume(res.Record.ID)
				must(t, err)
				v = l.values("staging")
				must(t, l.app.readable("RING", v["RING"]))
				must(t, l.app.readable("SINGLE", v["SINGLE"]))
				if v["SINGLE_PREVIOUS"] != "" {
					t.Error("the old key is left")
				}
			})
		}
	}
}

// Nothing is re-encrypted, and no key retired, where it would lose data.
func TestFernetIsNotFooled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		recipe string
		lie    func(l *lab)
		kind   fault.Kind
		words  string
	}{
		"processes that cannot be read": {"ring", func(l *lab) { l.fleet.configOnly, l.fleet.blind = true, true }, fault.Refused, "no process of app can be read"},
		"processes that cannot be read any more": {"ring", func(l *lab) {
			l.fleet.onWait = func(context.Context) error { l.fleet.configOnly, l.fleet.blind = true, true; return nil }
		}, fault.No, "no running process shows"},
		"a command that is not there":               {"ring", func(l *lab) { l.app.checkErr = fault.New(fault.NotFound, "re-encrypt", "no program", "x") }, fault.NotFound, "no program"},
		"a deployer that restarts nothing":          {"ring", func(l *lab) { l.fleet.stale = true }, fault.No, ""},
		"a process with a key that the store lacks": {"ring", func(l *lab) { l.box("staging").env["RING"] = secret.New(thirdKey) }, fault.Refused, "encrypts with a key that the store does not hold"},
		"a single key with an unfinished one":       {"fernet", func(l *lab) { l.write("staging", "SINGLE_PREVIOUS", otherKey) }, fault.Refused, "envctl rotate fernet --finish"},
		"a single key that is a ring":               {"fernet", func(l *lab) { l.write("staging", "SINGLE", someKey+","+otherKey) }, fault.Refused, "make it a ring"},
		"a store that answers and does nothing": {"fernet", func(l *lab) {
			l.store.lie = func(naming.Path) (providers.Version, bool) { return 2, true }
		}, fault.No, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := proven(t, "RING", someKey+","+otherKey, "SINGLE", someKey)
			c.lie(l)
			before := l.values("staging")
			_, err := l.rotate("staging", c.recipe)
			wantKind(t, err, c.kind, c.words)
			if l.app.jobs != 0 {
				t.Error("data was re-encrypted")
			}
			after := l.values("staging")
			if !strings.HasPrefix(after["RING"], before["RING"]) || after["SINGLE"] != before["SINGLE"] {
				t.Error("a key is gone")
			}
		})
	}
}

// A template that passes on only the newest key: everything is current and
// verified, and the canary shows that data could not be read.
func TestCanaryFindsARingThatIsCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, writeFile(dir, config.FileName, provenFile))
	must(t, writeFile(dir, "app.ctmpl", strings.Replace(templateFile, `{{ or .Data.data.RING "none" }}`, `{{ printf "%.44s" .Data.data.RING }}`, 1)))
	l, err := openLab(dir)
	must(t, err)
	must(t, l.start("staging", "SECRET_KEY", "old", "RING", someKey))
	res, err := l.rotate("staging", "ring")
	wantKind(t, err, fault.No, "cannot be decrypted by the ring of the running processes of backend")
	ring := strings.Split(l.values("staging")["RING"], ",")
	if res.Record.State != plan.Undone || ring[0] != someKey || l.running("staging")["RING"] != someKey || l.app.jobs != 0 {
		t.Error(res.Record.State, ring, l.app.jobs)
	}
}

// Without a deployer a ring keeps every key, and finish does the rest when the
// operator says so; a single key is refused.
func TestFernetWithoutADeployer(t *testing.T) {
	t.Parallel()
	l := labOf(provenProject(t))
	must(t, l.start("bare", "RING", someKey+","+otherKey, "SINGLE", someKey))
	res, err := l.rotate("bare", "ring")
	must(t, err)
	if said := receipt(res, "prove"); said["by"] != "store" || !strings.Contains(said["proven"], "the store, as read back") || len(strings.Split(l.values("bare")["RING"], ",")) != 3 || l.app.jobs != 0 {
		t.Error(said, l.app.jobs)
	}
	p, err := l.Finish(context.Background(), l.target("bare"), l.rotation("ring"))
	must(t, err)
	_, err = l.eng.Run(context.Background(), p)
	must(t, err)
	if len(strings.Split(l.values("bare")["RING"], ",")) != 2 || l.app.jobs != 1 {
		t.Error(l.values("bare"))
	}
	_, err = l.Finish(context.Background(), l.target("bare"), l.rotation("ring"))
	wantKind(t, err, fault.NotFound, "no old key to retire")
	_, err = l.rotate("bare", "fernet")
	wantKind(t, err, fault.Refused, "nothing is deployed here")
}

// Someone rotates while data is re-encrypted: what they encrypt with is kept.
func TestRetiringLeavesWhatOthersAdded(t *testing.T) {
	t.Parallel()
	l := proven(t, "RING", someKey+","+otherKey)
	l.fleet.point = func(at string) {
		if at == "before the re-encryption" {
			l.write("staging", "RING", thirdKey+","+l.values("staging")["RING"])
		}
	}
	res, err := l.rotate("staging", "ring")
	must(t, err)
	if ring := strings.Split(l.values("staging")["RING"], ","); len(ring) != 4 || ring[0] != thirdKey {
		t.Error(ring)
	}
	if r := receipt(res, "retire"); r["from"] != r["to"] {
		t.Error(r)
	}
}

// An undo goes on where the recipe has changed since, and loses no key.
func TestUndoOfARotationWhoseRecipeIsGone(t *testing.T) {
	t.Parallel()
	l := proven(t, "RING", someKey)
	p, err := l.Rotate(context.Background(), l.target("staging"), l.rotation("ring"))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l.fleet.onWait = func(context.Context) error { cancel(); return nil }
	res, err := l.eng.Run(ctx, p)
	wantKind(t, err, fault.Partial)
	l.fleet.onWait = nil
	gone, err := config.Parse(config.FileName, []byte(strings.Replace(provenFile, "ring: {variable: RING", "other: {variable: RING2", 1)))
	must(t, err)
	gone.Root, gone.File = l.Project.Root, l.Project.File
	l.World = l.on(gone)
	l.Trusted = false
	_, err = l.undo(res.Record.ID)
	must(t, err)
	must(t, ringUndone(l))
	if ring := strings.Split(l.values("staging")["RING"], ","); len(ring) != 2 || ring[0] != someKey {
		t.Error(ring)
	}
}

// Where nothing is deployed, a key is retired or moved on only once the application is
// seen to have the one in the store: a second rotation would otherwise take from it the
// only key that it has.
func TestProbeWhereNothingIsDeployed(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir(), "version: 1\nproject: ledger\nenvironments: {bare: {deploy: {kind: none}}}\ncomponents:\n  app:\n"+
		"    rotate: {jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h, probe: {urls: {bare: 'https://x.example/api'}, claims: {sub: envctl}}}}\n")
	must(t, err)
	must(t, l.start("bare", "SECRET_KEY", "old"))
	knows := true // the application, the key in the store
	l.app.answer = func(providers.Question) (int, error) {
		if knows && len(l.app.asked)%2 == 1 {
			return 200, nil
		}
		return 401, nil
	}
	res, err := l.rotate("bare", "jwt")
	must(t, err)
	if said := receipt(res, "probe"); said["old"] != "200" || said["random"] != "401" || receipt(res, "prove") != nil {
		t.Fatal(said)
	}
	l.clock.move(25 * time.Hour)
	knows = false
	before := l.version("bare")
	_, err = l.rotate("bare", "jwt")
	wantKind(t, err, fault.Refused, "a token of the key in use is refused (401)")
	finish, err := l.Finish(context.Background(), l.target("bare"), l.rotation("jwt"))
	must(t, err)
	_, err = l.eng.Run(context.Background(), finish)
	wantKind(t, err, fault.Refused, "a token of the key in use is refused (401)")
	if !strings.HasPrefix(fault.HintOf(err), "bring the keys of the store to the application") || l.version("bare") != before {
		t.Fatal(fault.HintOf(err), l.version("bare"))
	}
	l.app.asked, knows = nil, true
	finish, err = l.Finish(context.Background(), l.target("bare"), l.rotation("jwt"))
	must(t, err)
	_, err = l.eng.Run(context.Background(), finish)
	must(t, err)
}
