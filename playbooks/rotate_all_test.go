package playbooks_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/plan/plantest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// manyProject has a component whose template reads its own path and another's, and
// one that has nothing to do with them.
const manyProject = `version: 1
project: ledger
environments:
  staging: {deploy: {kind: compose}}
  bare: {}
  production: {protected: true}
components:
  app:
    template: app.ctmpl
    services: [backend]
    generate: {RING: fernet, TOKEN: hex, LONE: fernet}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h, every: 90d}
      ring: {variable: RING, ring: true, keep: 2, every: 30d}
      lone: {variable: LONE, every: 1d}
      token: {variable: TOKEN}
  queue:
    generate: {QUEUE_PASSWORD: hex}
    rotate: {queue: {variable: QUEUE_PASSWORD, every: 30d}}
  mail:
    services: [mailer]
    generate: {MAIL_KEY: hex}
    rotate: {mail: {variable: MAIL_KEY}}
`

const manyTemplate = `{{- with secret (printf "secret/data/ledger/%s/app" (env "ENV")) }}
SECRET_KEY={{ .Data.data.SECRET_KEY }}
{{- if .Data.data.SECRET_KEY_PREVIOUS }}
SECRET_KEY_PREVIOUS={{ .Data.data.SECRET_KEY_PREVIOUS }}
{{- end }}
RING={{ or .Data.data.RING "none" }}
{{- end }}
{{- with secret (printf "secret/data/ledger/%s/queue" (env "ENV")) }}
QUEUE_PASSWORD={{ .Data.data.QUEUE_PASSWORD }}
{{- end }}
`

const oldRing = "Q2xhdWRlIHRlc3RzIGZlcm5ldCByaW5ncyBvbmNlISE="

// manyLab is a lab of that project with values in all paths of env.
func manyLab(t *testing.T, env string) *lab {
	t.Helper()
	dir := t.TempDir()
	must(t, writeFile(dir, config.FileName, manyProject))
	must(t, writeFile(dir, "app.ctmpl", manyTemplate))
	l, err := openLab(dir)
	must(t, err)
	l.fill(t, env)
	return l
}

func (l *lab) of(env, component string) playbooks.Target {
	t := l.target(env)
	t.Component = component
	return t
}

func (l *lab) fill(t *testing.T, env string) {
	t.Helper()
	l.seed(l.Path(l.of(env, "queue")), "QUEUE_PASSWORD", "q0", "OTHER", "o")
	l.seed(l.Path(l.of(env, "mail")), "MAIL_KEY", "m0")
	must(t, l.start(env, "SECRET_KEY", "old", "RING", oldRing, "PLAIN", "sibling"))
}

func (l *lab) held(env, component string) map[string]string {
	b, err := l.store.Store.Read(context.Background(), l.Path(l.of(env, component)), providers.Latest)
	if err != nil {
		return nil
	}
	return clear(b.Values)
}

func (l *lab) batch(t *testing.T, env string, s playbooks.Selection) *playbooks.Batch {
	t.Helper()
	if s.Parallel == 0 {
		s.Parallel = 3
	}
	b, err := l.RotateAll(context.Background(), l.target(env).Environment, s)
	must(t, err)
	return b
}

// states are a batch's rotations by name.
func states(b *playbooks.Batch) map[string]string {
	out := map[string]string{}
	for _, r := range b.Rotations {
		out[r.Name] = r.State
	}
	return out
}

func (l *lab) runBatch(t *testing.T, b *playbooks.Batch) ([]plan.Record, error) {
	t.Helper()
	records := l.RunBatch(context.Background(), l.eng, b)
	return records, b.Outcome()
}

func TestRotateAllWritesEachPathOnceAndDeploysOnce(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "staging")
	before := l.fleet.releases
	b := l.batch(t, "staging", playbooks.Selection{})
	same(t, "the plan", states(b), map[string]string{"jwt": "planned", "ring": "planned", "lone": "absent", "token": "absent", "queue": "planned", "mail": "planned"})
	records, err := l.runBatch(t, b)
	must(t, err)
	same(t, "the batch", states(b), map[string]string{"jwt": "rotated", "ring": "rotated", "lone": "absent", "token": "absent", "queue": "rotated", "mail": "rotated"})
	// app and queue go to the same process: one run, one deployment. The ring has a
	// proof of its own, and mail a process.
	if len(records) != 3 || l.fleet.releases != before+3 {
		t.Fatalf("%d runs, %d releases", len(records), l.fleet.releases-before)
	}
	app, queue := l.held("staging", "app"), l.held("staging", "queue")
	ring := strings.Split(app["RING"], ",")
	if app["SECRET_KEY"] == "old" || app["SECRET_KEY_PREVIOUS"] != "old" || len(ring) != 2 || ring[1] != oldRing || app["PLAIN"] != "sibling" ||
		queue["QUEUE_PASSWORD"] == "q0" || queue["OTHER"] != "o" || l.held("staging", "mail")["MAIL_KEY"] == "m0" {
		t.Fatal(app, queue)
	}
	for c, want := range map[string]int{"app": 3, "queue": 2, "mail": 2} {
		h, err := l.store.History(context.Background(), l.Path(l.of("staging", c)))
		must(t, err)
		if len(h) != want {
			t.Errorf("%s was written %d times", c, len(h)-1)
		}
	}
	if run := l.running("staging"); run["SECRET_KEY"] != app["SECRET_KEY"] || run["QUEUE_PASSWORD"] != queue["QUEUE_PASSWORD"] {
		t.Fatal(run)
	}
	for _, r := range b.Rotations {
		if r.State == playbooks.RotationRotated && (!r.Deployed || r.Proof.Kind != "process" || r.To != r.From+1 || r.From != 1 && r.Name != "ring" || r.Run == "" || len(r.Restarted) == 0) {
			t.Errorf("%+v", *r)
		}
	}
	again, err := l.resume(records[0].ID)
	must(t, err)
	if !again.Already {
		t.Error("resumed what was done")
	}
	for _, r := range []plan.Record{records[1], records[0]} {
		_, err = l.undo(r.ID)
		must(t, err)
	}
	if l.held("staging", "app")["SECRET_KEY"] != "old" || l.held("staging", "queue")["QUEUE_PASSWORD"] != "q0" || l.running("staging")["QUEUE_PASSWORD"] != "q0" {
		t.Error(l.held("staging", "app"), l.running("staging"))
	}
}

// One path's failure takes back what stands and falls with it, and nothing else.
func TestRotateAllKeepsFailuresApart(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "staging")
	once := false
	l.store.before = func(p naming.Path) {
		if p.Component == "queue" && !once {
			once = true // somebody else is faster
			_, err := l.store.Store.Write(context.Background(), p, 1, providers.Patch{"OTHER": secret.New("theirs")})
			must(t, err)
		}
	}
	b := l.batch(t, "staging", playbooks.Selection{})
	records, err := l.runBatch(t, b)
	wantKind(t, err, fault.Conflict, "app/jwt", "queue/queue", "2 of 6")
	same(t, "the batch", states(b), map[string]string{"jwt": "failed", "ring": "stopped", "lone": "absent", "token": "absent", "queue": "failed", "mail": "rotated"})
	same(t, "app", l.held("staging", "app"), map[string]string{"SECRET_KEY": "old", "RING": oldRing, "PLAIN": "sibling"})
	same(t, "queue", l.held("staging", "queue"), map[string]string{"QUEUE_PASSWORD": "q0", "OTHER": "theirs"})
	if l.held("staging", "mail")["MAIL_KEY"] == "m0" || len(records) != 2 {
		t.Error("mail was not rotated")
	}
}

// What cannot be rotated is named and hinders nothing; the outcome tells.
func TestRotateAllRefusesOneByOne(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	l.write("bare", "LONE", oldRing)
	l.Project.Components[0].Value.Rotate[3].Value.Variable = "SECRET_KEY" // two recipes of one variable
	b := l.batch(t, "bare", playbooks.Selection{})
	_, err := l.runBatch(t, b)
	wantKind(t, err, fault.Refused, "2 of 6", "app/lone", "app/token")
	same(t, "the batch", states(b), map[string]string{"jwt": "rotated", "ring": "rotated", "lone": "refused", "token": "refused", "queue": "rotated", "mail": "rotated"})
	if v := l.held("bare", "app"); v["LONE"] != oldRing || v["SECRET_KEY_PREVIOUS"] != "old" {
		t.Error(v)
	}
}

// A recipe with commands or URLs of a file that nobody trusts is refused alone.
// A recipe that has to wait is refused by itself; the others of its path go on.
func TestRotateAllHoldsBack(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "staging")
	b := l.batch(t, "staging", playbooks.Selection{Held: func(component, recipe string) error {
		if component == "app" && recipe == "jwt" {
			return fault.New(fault.Refused, "rotate jwt", "a run of it stopped", "envctl resume 0")
		}
		return nil
	}})
	_, err := l.runBatch(t, b)
	wantKind(t, err, fault.Refused, "app/jwt")
	same(t, "the batch", states(b), map[string]string{"jwt": "refused", "ring": "rotated", "lone": "absent", "token": "absent", "queue": "rotated", "mail": "rotated"})
	if l.held("staging", "app")["SECRET_KEY"] != "old" || l.held("staging", "app")["RING"] == oldRing {
		t.Error(l.held("staging", "app"))
	}
}

func TestRotateAllWithoutTrust(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	l.Trusted = false
	l.Project.Components[2].Value.Rotate[0].Value.Probe = &config.Probe{URL: "https://example.com", Header: "Authorization", Expect: 200}
	b := l.batch(t, "bare", playbooks.Selection{})
	_, err := l.runBatch(t, b)
	wantKind(t, err, fault.Refused, "mail/mail", "envctl trust")
	if got := states(b); got["mail"] != "refused" || got["jwt"] != "rotated" || l.held("bare", "mail")["MAIL_KEY"] != "m0" {
		t.Error(got)
	}
}

// A path that changes after its plan was shown, or is made anew, is not written.
func TestRotateAllAsksAgainAfterAQuestion(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	b := l.batch(t, "bare", playbooks.Selection{Component: "mail"})
	p := l.Path(l.of("bare", "mail"))
	must(t, l.store.Purge(context.Background(), p))
	l.seed(p, "MAIL_KEY", "another life")
	b.Asked()
	_, err := l.runBatch(t, b)
	wantKind(t, err, fault.Conflict)
	same(t, "mail", l.held("bare", "mail"), map[string]string{"MAIL_KEY": "another life"})
}

func TestDueIsJudgedByTheValueAndTheStoresClock(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	due := func() map[string]string { return states(l.batch(t, "bare", playbooks.Selection{Due: true})) }
	want := map[string]string{"jwt": "not-due", "ring": "not-due", "lone": "absent", "token": "absent", "queue": "not-due", "mail": "unscheduled"}
	same(t, "at first", due(), want)
	l.clock.move(31 * 24 * time.Hour)
	l.write("bare", "PLAIN", "fresh") // a sibling makes nothing younger
	want["ring"], want["queue"] = "planned", "planned"
	same(t, "after 31 days", due(), want)

	// Whatever this machine's clock says, the store's decides.
	for _, wrong := range []time.Duration{-400 * 24 * time.Hour, 400 * 24 * time.Hour} {
		l.Now = func() time.Time { return l.clock.now().Add(wrong) }
		same(t, fmt.Sprint("with a clock that is wrong by ", wrong), due(), want)
	}

	b := l.batch(t, "bare", playbooks.Selection{Due: true})
	_, err := l.runBatch(t, b)
	must(t, err)
	want["ring"], want["queue"] = "not-due", "not-due"
	same(t, "after the rotation", due(), want)
	if v := l.held("bare", "app"); v["SECRET_KEY"] != "old" {
		t.Error("what is not due was rotated")
	}

	// A limit in the path's metadata stands in for recipes without one.
	must(t, l.store.PatchMeta(context.Background(), l.Path(l.of("bare", "mail")), map[string]string{"rotate_every": "7d"}))
	want["mail"] = "planned"
	same(t, "with rotate_every", due(), want)
	must(t, l.store.PatchMeta(context.Background(), l.Path(l.of("bare", "mail")), map[string]string{"rotate_every": "soon"}))
	want["mail"] = "failed"
	same(t, "with one that is not readable", due(), want)
}

// A rotation that was taken back has made nothing younger, and of a ring the newest
// key's age counts.
func TestUndoneRotationsAreStillDue(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	l.clock.move(31 * 24 * time.Hour)
	due := func() *playbooks.Batch { return l.batch(t, "bare", playbooks.Selection{Due: true}) }
	records, err := l.runBatch(t, due())
	must(t, err)
	if len(records) != 2 {
		t.Fatal(records)
	}
	for _, r := range records {
		_, err := l.undo(r.ID)
		must(t, err)
	}
	b := due()
	for _, r := range b.Rotations {
		if (r.Name == "ring" || r.Name == "queue") && (r.State != "planned" || l.clock.now().Sub(r.Age.Since) < 31*24*time.Hour) {
			t.Errorf("%s is %s, since %v", r.Name, r.State, r.Age)
		}
	}
	_, err = l.runBatch(t, b)
	must(t, err)
	ring := l.held("bare", "app")["RING"]
	if strings.HasPrefix(ring, oldRing) {
		t.Fatal("the ring was not rotated")
	}
	l.clock.move(31 * 24 * time.Hour)
	l.write("bare", "RING", strings.Split(ring, ",")[0]) // an old key is retired by hand
	if s := states(due()); s["ring"] != "planned" {
		t.Error("a ring is young because a key was retired: ", s)
	}
}

// The plan that is shown has what the later runs of a job do, too: it is what is
// consented to.
func TestABatchShowsTheRunsThatFollow(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	p := l.batch(t, "bare", playbooks.Selection{Component: "app"}).Plan()
	has := func(label, text string) bool {
		return slices.ContainsFunc(p.Facts, func(f plan.Fact) bool { return f.Label == label && strings.Contains(f.Text, text) })
	}
	if !has("then", "ring of app") || !has("ring", "1 old kept") || !slices.ContainsFunc(p.Steps, func(s plan.Step) bool { return s.ID == "canary" }) {
		t.Error(p.Facts)
	}
	if has("warning", "published") {
		t.Error("a key that nobody published")
	}
	const published = "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs="
	l.write("bare", "RING", published)
	b := l.batch(t, "bare", playbooks.Selection{Component: "app"})
	if p = b.Plan(); !has("warning", "is published in Airflow's examples") {
		t.Error(p.Facts)
	}
	_, err := l.runBatch(t, b)
	must(t, err)
	if ring := l.held("bare", "app")["RING"]; len(ring) != 2*len(published)+1 || !strings.HasSuffix(ring, ","+published) {
		t.Error("the published key is not the second of the ring")
	}
}

// timeless is a store that does not tell its time.
type timeless struct{ providers.Store }

func (s timeless) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	b, err := s.Store.Read(ctx, p, v)
	b.AsOf = time.Time{}
	return b, err
}

// Where only this machine's clock told, the version that was written tells better:
// what was not due is taken back.
func TestDueByAWrongClockIsTakenBack(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	l.Now = func() time.Time { return l.clock.now().Add(31 * 24 * time.Hour) }
	l.Store = func(config.Environment) (providers.Store, error) { return timeless{l.store}, nil }
	b := l.batch(t, "bare", playbooks.Selection{Due: true, Component: "queue"})
	_, err := l.runBatch(t, b)
	wantKind(t, err, fault.Refused, "clock")
	same(t, "queue", l.held("bare", "queue"), map[string]string{"QUEUE_PASSWORD": "q0", "OTHER": "o"})
}

// Versions that the store dropped tell nothing: rotated_at does, where the path
// keeps it, and a rotation keeps it true without touching other metadata.
func TestRotatedAt(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := manyLab(t, "bare")
	p := l.Path(l.of("bare", "queue"))
	started := l.clock.now()
	must(t, l.store.SetMaxVersions(ctx, p, 2))
	l.clock.move(40 * 24 * time.Hour)
	for i := range 3 {
		_, err := l.store.Store.Write(ctx, p, providers.Version(i+1), providers.Patch{"OTHER": secret.New(fmt.Sprint(i))})
		must(t, err)
	}
	look := func() *playbooks.Rotating {
		return l.batch(t, "bare", playbooks.Selection{Due: true, Component: "queue"}).Rotations[0]
	}
	if r := look(); r.State != "not-due" || !r.Age.AtLeast {
		t.Fatalf("%+v", *r)
	}
	must(t, l.store.PatchMeta(ctx, p, map[string]string{"rotated_at": started.UTC().Format(time.RFC3339), "owner": "ops"}))
	if r := look(); r.State != "planned" || r.Age.AtLeast || !r.Age.Since.Equal(started.UTC().Truncate(time.Second)) {
		t.Fatalf("%+v", *r)
	}
	meta := func() map[string]string {
		m, err := l.store.Meta(ctx, p)
		must(t, err)
		return m.Custom
	}
	was := meta()
	records, err := l.runBatch(t, l.batch(t, "bare", playbooks.Selection{Due: true, Component: "queue"}))
	must(t, err)
	now, err := l.store.Store.Read(ctx, p, providers.Latest)
	must(t, err)
	if got := meta(); got["owner"] != "ops" || got["rotated_at"] != now.Created.UTC().Format(time.RFC3339) {
		t.Fatal(got)
	}
	if r := look(); r.State != "not-due" {
		t.Fatalf("%+v", *r)
	}
	_, err = l.undo(records[0].ID)
	must(t, err)
	if got := meta(); !maps.Equal(got, was) {
		t.Fatal(got)
	}
}

// Interrupted, a batch begins nothing more, and what it began is done or has a way on.
func TestRotateAllInterrupted(t *testing.T) {
	t.Parallel()
	l := manyLab(t, "bare")
	ctx, stop := context.WithCancel(context.Background())
	l.store.point = func(at string) {
		if at == "before the write" {
			stop()
		}
	}
	b := l.batch(t, "bare", playbooks.Selection{Parallel: 1})
	l.RunBatch(ctx, l.eng, b)
	count := map[string]int{}
	for _, s := range states(b) {
		count[s]++
	}
	if count["stopped"] == 0 || count["failed"] > 0 {
		t.Fatal(states(b))
	}
	if err := b.Outcome(); !fault.Is(err, fault.Interrupted, fault.Partial) {
		t.Fatal(err)
	}
}

// Killed anywhere, a run of a batch is finished by resume and taken back by undo.
func TestEveryCrashOfABatch(t *testing.T) {
	t.Parallel()
	tr := batched(t, true)
	report(t, everyCrash(t, 1, tr.world, tr.look))
}

// batched is the trial of a run of rotate --all. The note of its time may fail.
func batched(t *testing.T, noting bool) trial {
	project := manyLab(t, "bare").Project
	return trial{look: consistent, fresh: func(d *plantest.Disk) (*lab, plantest.World) {
		l := labOf(project)
		l.fill(t, "staging")
		queue := l.Path(l.of("staging", "queue"))
		must(t, l.store.PatchMeta(context.Background(), queue, map[string]string{"rotated_at": "2020-01-01T00:00:00Z", "owner": "ops"}))
		noted := func() map[string]string {
			m, err := l.store.Meta(context.Background(), queue)
			must(t, err)
			return m.Custom
		}
		state := func() string {
			return fmt.Sprint(l.held("staging", "app"), l.held("staging", "queue"), l.running("staging"), noted())
		}
		before := state()
		l.store.point, l.fleet.point = d.Point, d.Point
		return l, plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				if h.ID != "" {
					return l.rebuild(h)
				}
				return l.batch(t, "staging", playbooks.Selection{}).Jobs[0].Plan(), nil
			},
			Done: func() error {
				app, queue, run := l.held("staging", "app"), l.held("staging", "queue"), l.running("staging")
				return check(app["SECRET_KEY_PREVIOUS"] == "old" && queue["QUEUE_PASSWORD"] != "q0" && run["SECRET_KEY"] == app["SECRET_KEY"] &&
					run["QUEUE_PASSWORD"] == queue["QUEUE_PASSWORD"] && (noted()["rotated_at"] > "2021" || !noting) && noted()["owner"] == "ops" && l.version("staging") == 2,
					"%s at %d", state(), l.version("staging"))
			},
			Undone: func() error { return check(state() == before, "%s, before %s", state(), before) },
		}
	}}
}

// A deployment that reaches no process, an answer without a write: each of these
// lies is caught for the paths it concerns.
func TestABatchIsNotFooled(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(l *lab){
		"a deployer that restarts nothing": func(l *lab) { l.fleet.stale = true },
		"a store that answers and does nothing": func(l *lab) {
			l.store.lie = func(p naming.Path) (providers.Version, bool) { return 2, p.Component == "queue" }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := manyLab(t, "staging")
			lie(l)
			b := l.batch(t, "staging", playbooks.Selection{})
			_, err := l.runBatch(t, b)
			wantKind(t, err, fault.No)
			if got := states(b); slices.Contains([]string{got["jwt"], got["queue"]}, "rotated") {
				t.Error(got)
			}
			if l.held("staging", "app")["SECRET_KEY"] != "old" {
				t.Error("not taken back")
			}
		})
	}
}

// A run on several components keeps other machines out of each of them.
func TestABatchIsLockedOnEveryMachine(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := manyLab(t, "staging")
	l.eng = l.machine("alice@laptop", &plantest.Disk{})
	bob := l.machine("bob@desktop", &plantest.Disk{})
	var during error
	l.fleet.onWait = func(context.Context) error {
		l.fleet.onWait = nil // bob's own
		p, err := l.Deploy(ctx, l.target("staging"))
		must(t, err)
		_, during = bob.Run(ctx, p)
		return nil
	}
	b := l.batch(t, "staging", playbooks.Selection{Component: "app"})
	_, err := l.runBatch(t, b)
	must(t, err)
	wantKind(t, during, fault.Conflict, "alice@laptop")

	job := l.batch(t, "staging", playbooks.Selection{}).Jobs[0].Plan()
	if job.Component != "app,queue" || job.Locks == nil {
		t.Fatal(job.Component)
	}
	alive := func(plan.Holder) bool { return false }
	h := plan.Holder{Run: "1", Playbook: "rotate --all", Who: "alice@laptop"}
	lock, err := job.Locks.Lock(ctx, job.Component, h, alive)
	must(t, err)
	for _, name := range []string{"app", "queue", ""} {
		_, err := job.Locks.Lock(ctx, name, plan.Holder{Run: "2", Who: "bob@desktop"}, alive)
		wantKind(t, err, fault.Conflict, "alice@laptop")
	}
	must(t, lock.Check(ctx))
	must(t, lock.Release(ctx))
	other, err := job.Locks.Lock(ctx, "queue", plan.Holder{Run: "2", Who: "bob@desktop"}, alive)
	must(t, err)
	_, err = job.Locks.Lock(ctx, job.Component, h, alive)
	wantKind(t, err, fault.Conflict, "bob@desktop")
	must(t, other.Release(ctx))
	got, err := job.Locks.Lock(ctx, "app", h, alive) // what it had taken was given back
	must(t, err)
	must(t, got.Release(ctx))
}

// A rotation by its name keeps the note of its path true too, and its undo takes it
// back; where the note may not be written that is said, and the rotation stands.
func TestASingleRotationIsNoted(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, may := range []bool{true, false} {
		l := manyLab(t, "bare")
		p := l.Path(l.of("bare", "queue"))
		must(t, l.store.PatchMeta(ctx, p, map[string]string{"rotated_at": "2020-01-01T00:00:00Z", "owner": "ops"}))
		noted := func() string {
			m, err := l.store.Meta(ctx, p)
			must(t, err)
			return m.Custom["rotated_at"]
		}
		l.store.noMeta = !may
		var warned string
		l.eng.Observer = func(e plan.Event) {
			if e.Kind == plan.EventWarning {
				warned += e.Text
			}
		}
		name := l.batch(t, "bare", playbooks.Selection{Component: "queue"}).Rotations[0].Name
		_, r, err := l.FindRotation(name, "queue")
		must(t, err)
		one, err := l.Rotate(ctx, l.of("bare", "queue"), r)
		must(t, err)
		res, err := l.eng.Run(ctx, one)
		must(t, err)
		now, err := l.store.Store.Read(ctx, p, providers.Latest)
		must(t, err)
		want := now.Created.UTC().Format(time.RFC3339)
		if !may {
			want = "2020-01-01T00:00:00Z"
		}
		if got := noted(); got != want || (warned == "") != may {
			t.Fatalf("may %v: noted %s, not %s; warned %q", may, got, want, warned)
		}
		l.store.noMeta = false
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if got := noted(); got != "2020-01-01T00:00:00Z" {
			t.Fatal(got)
		}
	}
}
