package commands_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
)

const everyCallFile = `version: 1
project: PROJECT
store: vault
environments:
  staging: {}
  production: {}
  "pr-*": {ephemeral: true}
components:
  app:
    template: app.ctmpl
    generate: {SECRET_KEY: jwt, RING: fernet, TOKEN: hex}
    rotate:
      jwt: {variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 1ns}
      fernet: {variable: RING, ring: true, keep: 2}
      #again
  worker:
    generate: {QUEUE_TOKEN: hex}
    rotate:
      queue: {variable: QUEUE_TOKEN}
`

const everyCallTemplate = `{{ with secret (printf "secret/data/PROJECT/%s/app" (env "ENV")) }}SECRET_KEY={{ .Data.data.SECRET_KEY }}
SECRET_KEY_PREVIOUS={{ .Data.data.SECRET_KEY_PREVIOUS }}
RING={{ .Data.data.RING }}
TOKEN={{ .Data.data.TOKEN }}
LOG_LEVEL={{ or .Data.data.LOG_LEVEL "info" }}
{{ end }}
`

// Fernet keys of no application.
const (
	ringKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	ringNext = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
	ringLast = "MjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM="
)

// delta is what a playbook makes of a path: one version, and these keys; nil: it
// is deleted.
type delta []string

// play is one playbook: what is there before, the command, and what it changes.
type play struct {
	name    string
	prepare func(o *troubled) error
	args    []string
	stdin   string
	changes map[string]delta
	more    func(before, now map[string]held) error // that must hold when it is done
	typed   bool                                    // a value that resume cannot know
	// runs is the run that the command goes on with; "" makes one of its own.
	runs func(o *troubled) (string, error)
	back bool // the command takes back
}

func plays() []play {
	app := func(keys ...string) map[string]delta { return map[string]delta{"staging/app": keys} }
	ring := func(o *troubled) error {
		o.write("envctl.yaml", strings.ReplaceAll(strings.ReplaceAll(everyCallFile, "#again", "again: {variable: RING_AGAIN, ring: true, keep: 2, reencrypt: ./reencrypt}"), "PROJECT", o.project))
		o.seed("staging/app", "SECRET_KEY", "old", "RING_AGAIN", ringKey+","+ringNext+","+ringLast)
		if code, said := o.run("", "trust", "--yes"); code != 0 {
			return fmt.Errorf("trust: exit %d: %s", code, said)
		}
		return nil
	}
	again := func(o *troubled) error {
		o.seed("staging/app", "SECRET_KEY", "newer", "MORE", "m")
		return nil
	}
	batch := func(o *troubled) error { // one write a component
		o.write("envctl.yaml", strings.ReplaceAll(strings.ReplaceAll(everyCallFile, "fernet: {variable: RING, ring: true, keep: 2}", "token: {variable: TOKEN}"), "PROJECT", o.project))
		return nil
	}
	preview := func(o *troubled) error {
		o.seed("pr-7/app", "SECRET_KEY", "a", "RING", ringKey, "TOKEN", "b")
		o.seed("pr-7/worker", "QUEUE_TOKEN", "c")
		return nil
	}
	kept := func(before, now map[string]held) error {
		if was, is := before["staging/app"].values["SECRET_KEY"], now["staging/app"].values["SECRET_KEY_PREVIOUS"]; is != was {
			return fmt.Errorf("the old key is not kept")
		}
		return nil
	}
	jwt := play{name: "rotate jwt", args: []string{"rotate", "jwt", "--env", "staging"}, changes: app("SECRET_KEY", "SECRET_KEY_PREVIOUS"), more: kept}
	all := []play{
		{name: "set", args: []string{"set", "TOKEN", "--stdin", "--env", "staging", "--component", "app"}, stdin: "typed", changes: app("TOKEN"), typed: true},
		{name: "set --generate", args: []string{"set", "TOKEN", "EXTRA", "--generate", "hex", "--env", "staging", "--component", "app"}, changes: app("TOKEN", "EXTRA"), typed: true},
		{name: "unset", args: []string{"unset", "TOKEN", "--env", "staging", "--component", "app", "--yes"}, changes: app("TOKEN")},
		{name: "restore", prepare: again, args: []string{"restore", "TOKEN", "--env", "staging", "--component", "app"}, changes: app("TOKEN")},
		{name: "rollback", prepare: again, args: []string{"rollback", "--to", "1", "--env", "staging", "--component", "app", "--yes"}, changes: app("SECRET_KEY", "SECRET_KEY_PREVIOUS", "RING", "TOKEN", "LOG_LEVEL", "MORE")},
		{name: "import", args: []string{"import", "some.env", "--env", "staging", "--component", "app"}, changes: app("TOKEN", "FRESH"), typed: true},
		{name: "edit", args: []string{"edit", "--env", "staging", "--component", "app", "--yes", "--allow-disk"}, changes: app("TOKEN"), typed: true},
		jwt,
		{name: "rotate jwt --finish", args: []string{"rotate", "jwt", "--finish", "--env", "staging"}, changes: app("SECRET_KEY_PREVIOUS")},
		{name: "rotate fernet", args: []string{"rotate", "fernet", "--env", "staging"}, changes: app("RING"), more: func(_, now map[string]held) error {
			if keys := strings.Split(now["staging/app"].values["RING"], ","); len(keys) != 2 || keys[1] != ringKey {
				return fmt.Errorf("the ring has %d keys", len(keys))
			}
			return nil
		}},
		{name: "rotate and re-encrypt", prepare: ring, args: []string{"rotate", "again", "--env", "staging", "--yes"}, changes: app("RING_AGAIN")},
		{name: "rotate fernet --finish", prepare: ring, args: []string{"rotate", "again", "--finish", "--env", "staging", "--yes"}, changes: app("RING_AGAIN")},
		{name: "rotate --all", prepare: batch, args: []string{"rotate", "--all", "--env", "staging"}, changes: map[string]delta{
			"staging/app": {"SECRET_KEY", "SECRET_KEY_PREVIOUS", "TOKEN"}, "staging/worker": {"QUEUE_TOKEN"},
		}, more: func(before, now map[string]held) error {
			if maps.Equal(now["staging/app"].values, before["staging/app"].values) {
				return nil // that run was taken back
			}
			return kept(before, now)
		}},
		{name: "env promote", args: []string{"env", "promote", "staging", "production", "--only", "LOG_LEVEL", "--component", "app", "--confirm", "production"}, changes: map[string]delta{"production/app": {"LOG_LEVEL"}}},
		{name: "env create", args: []string{"env", "create", "qa"}, changes: map[string]delta{"qa/app": {"SECRET_KEY", "RING", "TOKEN"}, "qa/worker": {"QUEUE_TOKEN"}}},
		{name: "env delete", prepare: preview, args: []string{"env", "delete", "pr-7", "--yes"}, changes: map[string]delta{"pr-7/app": nil, "pr-7/worker": nil}},
		{name: "env delete --destroy", prepare: preview, args: []string{"env", "delete", "pr-7", "--destroy", "--yes"}, changes: map[string]delta{"pr-7/app": nil, "pr-7/worker": nil}},
		{name: "env sweep", prepare: preview, args: []string{"env", "sweep", "--open", "9", "--delete", "--yes"}, changes: map[string]delta{"pr-7/app": nil, "pr-7/worker": nil}},
	}
	undo, resume := jwt, jwt
	undo.name, undo.back, undo.runs = "undo of rotate jwt", true, func(o *troubled) (string, error) {
		if code, said := o.run("", jwt.args...); code != 0 {
			return "", fmt.Errorf("exit %d: %s", code, said)
		}
		return o.only()
	}
	resume.name, resume.runs = "resume of rotate jwt", func(o *troubled) (string, error) {
		o.breaks(1, false, func(o *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if r.Method != http.MethodGet && strings.HasSuffix(r.URL.Path, "/app") {
				after(kill)(o, w, r, forward)
				return
			}
			forward.ServeHTTP(w, r)
		})
		code, said, err := o.killed("", jwt.args...)
		o.breaks(0, false, nil)
		if err != nil || code < 128 {
			return "", fmt.Errorf("exit %d: %s %w", code, said, err)
		}
		return o.only()
	}
	return append(all, undo, resume)
}
