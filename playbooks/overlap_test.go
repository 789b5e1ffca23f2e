package playbooks_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
	"envctl/internal/plan"
	"envctl/playbooks"
	"envctl/providers"
)

const previousLines = "{{- if .Data.data.SECRET_KEY_PREVIOUS }}\nSECRET_KEY_PREVIOUS={{ .Data.data.SECRET_KEY_PREVIOUS }}\n{{- end }}\n"

// lone is proven with a template that passes on the current key alone.
func lone(t *testing.T) *lab {
	t.Helper()
	p := provenProject(t)
	must(t, writeFile(p.Root, "app.ctmpl", strings.Replace(templateFile, previousLines, "", 1)))
	l := labOf(p)
	must(t, l.start("staging", "SECRET_KEY", "old", "TOKEN", "t0", "PLAIN", "sibling"))
	return l
}

func facts(p *plan.Plan, label string) string {
	var all []string
	for _, f := range p.Facts {
		if f.Label == label {
			all = append(all, f.Text)
		}
	}
	return strings.Join(all, "\n")
}

// Where no template passes the old key on, no word says that it stays valid: not the
// plan, not the batch, not the proof, not the end.
func TestOldKeyThatReachesNobody(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := lone(t)
	p, err := l.Rotate(ctx, l.target("staging"), l.rotation("jwt"))
	must(t, err)
	const ends = "every session: no template passes SECRET_KEY_PREVIOUS on, so no token made so far stays valid"
	if facts(p, "ends") != ends || facts(p, "overlap") != "" {
		t.Errorf("%v", p.Facts)
	}
	const warning = "app.ctmpl:2 renders SECRET_KEY and never reads SECRET_KEY_PREVIOUS, so the old value ends at once; " +
		"add below line 2 of app.ctmpl: {{ with .Data.data.SECRET_KEY_PREVIOUS }}SECRET_KEY_PREVIOUS={{ . }}{{ end }}"
	if got := facts(p, playbooks.WarningFact); got != warning {
		t.Errorf("warns %q", got)
	}
	b, err := l.RotateAll(ctx, l.target("staging").Environment, playbooks.Selection{Parallel: 1})
	must(t, err)
	if all := facts(b.Plan(), "ends"); !strings.Contains(all, ends) || strings.Contains(facts(b.Plan(), "overlap"), "SECRET_KEY_PREVIOUS") {
		t.Errorf("the batch says %q", all)
	}

	res, err := l.eng.Run(ctx, p)
	must(t, err)
	if said := receipt(res, "prove")["proven"]; said != "a token of the new key is accepted (200), one of the old key no longer is (401), one of a random key is not (401)" {
		t.Error(said)
	}
	l.clock.move(25 * time.Hour)
	finish, err := l.Finish(ctx, l.target("staging"), l.rotation("jwt"))
	must(t, err)
	if got := facts(finish, "retire"); got != "the old value in SECRET_KEY_PREVIOUS, which no template passes on, is removed" {
		t.Error(got)
	}
	_, err = l.eng.Run(ctx, finish)
	must(t, err)
}

// What a template says is no proof: an application that takes the old key all the same
// is believed, and its rotation stands.
func TestOldKeyThatIsAcceptedAllTheSame(t *testing.T) {
	t.Parallel()
	l := lone(t)
	keepsSessions(l)
	res, err := l.rotate("staging", "jwt")
	must(t, err)
	if said := receipt(res, "prove")["proven"]; !strings.Contains(said, "one of the old key still is (200)") {
		t.Error(said)
	}
}

// The kept key is the way back: once the template has the line that was said, and that
// is deployed, the sessions are there again.
func TestTheLineBringsTheSessionsBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := lone(t)
	p, err := l.Rotate(ctx, l.target("staging"), l.rotation("jwt"))
	must(t, err)
	_, line, _ := strings.Cut(facts(p, playbooks.WarningFact), "app.ctmpl: ")
	_, err = l.eng.Run(ctx, p)
	must(t, err)
	if v, has := l.running("staging")["SECRET_KEY_PREVIOUS"]; has {
		t.Fatal("it runs with the old key", v)
	}
	lines := strings.SplitAfter(strings.Replace(templateFile, previousLines, "", 1), "\n")
	must(t, writeFile(l.Project.Root, "app.ctmpl", strings.Join(slices.Insert(lines, 2, line+"\n"), "")))
	l.World = l.on(l.Project) // another day
	must(t, l.release("staging"))
	if l.running("staging")["SECRET_KEY_PREVIOUS"] != "old" {
		t.Errorf("%q brought nothing back", line)
	}
	p, err = l.Rotate(ctx, l.target("staging"), l.rotation("jwt"))
	must(t, err)
	if got := facts(p, "overlap"); got != "the old value stays valid in SECRET_KEY_PREVIOUS for 24h" {
		t.Error(got)
	}
}

// Who is given both is said, and an environment is judged by what is rendered in it.
func TestWhoIsGivenTheOldKey(t *testing.T) {
	t.Parallel()
	const top = "{{ with secret (printf \"secret/data/ledger/%s/app\" (env \"ENV\")) }}\nSECRET_KEY={{ .Data.data.SECRET_KEY }}\n"
	const both = "{{ with .Data.data.SECRET_KEY_PREVIOUS }}SECRET_KEY_PREVIOUS={{ . }}{{ end }}\n"
	l, err := newLab(t.TempDir(), "version: 1\nproject: ledger\nenvironments: {staging: {deploy: {kind: none}}, production: {deploy: {kind: none}}}\ncomponents:\n"+
		"  app: {template: app.ctmpl, generate: {SECRET_KEY: jwt}, rotate: {jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS}}}\n  web: {template: web.ctmpl}\n")
	must(t, err)
	for env, version := range map[string]string{"staging": "a", "production": "b"} {
		l.write(env, "SECRET_KEY", version)
	}
	says := func(env, app, web string) string {
		t.Helper()
		must(t, writeFile(l.Project.Root, "app.ctmpl", app+"{{ end }}\n"))
		must(t, writeFile(l.Project.Root, "web.ctmpl", web+"{{ end }}\n"))
		l.World = l.on(l.Project)
		l.Deployer = func(config.Environment, string) (providers.Deployer, error) { return nil, nil } //nolint:nilnil // none
		p, err := l.Rotate(context.Background(), l.target(env), l.rotation("jwt"))
		must(t, err)
		return facts(p, "overlap") + facts(p, playbooks.WarningFact)
	}
	if got := says("staging", top+both, top); got != "the old value stays valid in SECRET_KEY_PREVIOUS, in app; web is given SECRET_KEY alone" {
		t.Error(got)
	}
	if got := says("staging", top, top+both); got != "the old value stays valid in SECRET_KEY_PREVIOUS, in web; app is given SECRET_KEY alone" {
		t.Error(got)
	}
	production := top + "{{ if eq (env \"ENV\") \"production\" }}" + both + "{{ end }}"
	if got := says("production", production, production); got != "the old value stays valid in SECRET_KEY_PREVIOUS" {
		t.Error(got)
	}
	if got := says("staging", production, production); !strings.HasPrefix(got, "app.ctmpl:2 renders SECRET_KEY_PREVIOUS, but not in this environment, so the old value ends at once; ") {
		t.Error(got)
	}
	if got := says("staging", top+"SECRET_KEY_PREVIOUS={{ .Data.data.OLD }}\n", top); !strings.HasPrefix(got, "app.ctmpl:2 makes SECRET_KEY_PREVIOUS of the key OLD, and never reads the key SECRET_KEY_PREVIOUS") {
		t.Error(got)
	}
}
