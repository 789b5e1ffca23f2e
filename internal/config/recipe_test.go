package config_test

import (
	"reflect"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
)

func recipe(text string) (config.Recipe, error) {
	p, err := config.Parse(config.FileName, []byte("version: 1\nproject: ledger\nenvironments: {staging: {}}\ncomponents:\n  app:\n    rotate:\n      jwt: "+text+"\n"))
	if err != nil {
		return config.Recipe{}, err
	}
	c, err := p.Component("app")
	if err != nil {
		return config.Recipe{}, err
	}
	r, _ := c.Rotate.Get("jwt")
	return r, nil
}

func TestProbe(t *testing.T) {
	t.Parallel()
	r, err := recipe(`{variable: KEY, probe: {url: "https://a.example/x", urls: {staging: "http://127.0.0.1:8/x", "pr-*": "https://a{suffix}.example/{env}?q=1"},
        header: Cookie, scheme: session=, expect: 204, refuse: 302, claims: {sub: envctl, id: 7, admin: false, f: 1.5, aud: [a, 2]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, c := range r.Probe.Claims {
		got[c.Key] = c.Value.Value
	}
	if want := map[string]any{"sub": "envctl", "id": 7, "admin": false, "f": 1.5, "aud": []any{"a", 2}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%#v", got)
	}
	if u, _ := r.Probe.URLs.Get("pr-*"); u != "https://a{suffix}.example/{env}?q=1" || r.Probe.Expect != 204 || r.Probe.Refuse != 302 {
		t.Errorf("%+v", r.Probe)
	}
	// What product.md shows.
	if _, err := recipe(`{variable: SECRET_KEY, previous: SECRET_KEY_PREVIOUS, overlap: 24h, every: 90d, probe: {url: "https://report.example.com/api/accounts", header: Authorization, expect: 200}}`); err != nil {
		t.Error(err)
	}
}

func TestRecipesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{`{previous: A}`, "names no variable"},
		{`{variable: A, previous: A}`, "keeps the old value where"},
		{`{variable: A, keep: -1}`, "less than nothing"},
		{`{variable: A, probe: {}}`, "without url or urls"},
		{`{variable: A, probe: {uri: "x"}}`, "did you mean"},
		{`{variable: A, ring: true, probe: {url: "https://a.example"}}`, "a ring is proven by what it decrypts"},
		{`{variable: A, probe: {url: "http://a.example/"}}`, "plain http"},
		{`{variable: A, probe: {url: "http://localhost{suffix}/"}}`, "plain http"},
		{`{variable: A, probe: {url: "http://127.0.0.1.example/"}}`, "plain http"},
		{`{variable: A, probe: {url: "https://u:hush@a.example/"}}`, "name or password"},
		{`{variable: A, probe: {url: "https://x{suffix}@a.example/"}}`, "name or password"},
		{`{variable: A, probe: {url: "https://a.example/#x"}}`, "more than a path"},
		{`{variable: A, probe: {url: "https://a.example/{project}"}}`, "another placeholder"},
		{`{variable: A, probe: {url: "file:///etc/passwd"}}`, "not of the form"},
		{`{variable: A, probe: {url: "https:///x"}}`, "not of the form"},
		{`{variable: A, probe: {url: "/api"}}`, "not of the form"},
		{`{variable: A, probe: {url: "https://a.example/\x1b"}}`, "not of the form"},
		{`{variable: A, probe: {urls: {staging: "http://a.example/"}}}`, "plain http"},
		{`{variable: A, probe: {url: "https://a.example", header: "X Y"}}`, "header"},
		{`{variable: A, probe: {url: "https://a.example", header: "Host"}}`, "header"},
		{`{variable: A, probe: {url: "https://a.example", header: "transfer-Encoding"}}`, "header"},
		{`{variable: A, probe: {url: "https://a.example", scheme: "a b"}}`, "one word"},
		{`{variable: A, probe: {url: "https://a.example", expect: 401}}`, "expects 401"},
		{`{variable: A, probe: {url: "https://a.example", refuse: 500}}`, "expects 500"},
		{`{variable: A, probe: {url: "https://a.example", claims: {exp: 1}}}`, "makes itself"},
		{`{variable: A, probe: {url: "https://a.example", claims: {a: {b: c}}}}`, "want text, a number"},
		{`{variable: A, probe: {url: "https://a.example", claims: {a: [[b]]}}}`, "want text, a number"},
		{`{variable: A, probe: {url: "https://a.example", claims: {a: 2026-01-01}}}`, "want text, a number"},
		{`{variable: A, probe: {url: "https://a.example", claims: {a: b, a: c}}}`, "stands here and on line"},
		{`{variable: A, probe: {url: "https://a.example", expect: yes}}`, "want a number"},
	} {
		text, words := c[0], c[1]
		_, err := recipe(text)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "envctl.yaml:") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
