package config

import (
	"bytes"
	"testing"

	"envctl/internal/fault"
)

// A hostile project file is refused as one, and what is read keeps its promises.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"version: 1\nproject: ledger\nstore: vault\nvault: {mount: secret}\nenvironments: {local: {}, production: {protected: true}, \"pr-*\": {base: local, ttl: 72h}}\n",
		"version: 1\nproject: ledger\ncomponents:\n  app:\n    template: a/secrets.ctmpl\n    dotenv: [.env]\n    services: [backend]\n    generate: {A: hex}\n" +
			"    rotate: {jwt: {variable: A, previous: B, overlap: 24h, probe: {url: \"https://x\", expect: 200}}}\n",
		"version: 1\nproject: l\nnaming: {underscore: dash}\nports: {range: 5400-5999, base: p}\ncheck: {severity: {type-mismatch: off}}\ndeploy: {kind: command, command: ./d}\n",
		"version: &a 1\nproject: *a\n", "a: &x [*x]\n", "version: 1\nversion: 1\n", "version: 1\nproject: ../x\n", "? [a]\n: b\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("/project/envctl.yaml", data)
		if err != nil {
			if !fault.Is(err, fault.Invalid, fault.Refused) {
				t.Fatalf("%v is %v", err, fault.KindOf(err))
			}
			return
		}
		for _, e := range p.EnvironmentNames() {
			if _, err := p.Environment(e); err != nil {
				t.Fatalf("%s: %v", e, err)
			}
		}
		for _, c := range p.ComponentNames() {
			if _, err := p.Component(c); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		if _, err := p.Environment("fuzzed"); err == nil {
			return
		}
		edited, _, err := AddEnvironment(data, "fuzzed", "{}")
		if err != nil {
			return
		}
		if _, err := Parse("/project/envctl.yaml", edited); err != nil {
			t.Fatalf("with an environment added: %v\n%s", err, edited)
		}
		back, _, _, err := RemoveEnvironment(edited, "fuzzed")
		if err == nil && !bytes.Equal(back, data) && len(p.EnvironmentNames()) > 0 {
			t.Fatalf("added and removed:\n%q\nwas\n%q", back, data)
		}
	})
}
