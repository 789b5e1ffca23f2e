package playbooks_test

import (
	"testing"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

// A path that may not be read decides the variables that need it, and no other.
func TestTraceOfADeniedPath(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.TempDir(), projectFile)
	must(t, err)
	must(t, writeFile(l.Project.Root, "app.ctmpl", `{{ with secret "secret/data/ledger/staging/app" }}TOKEN={{ .Data.data.TOKEN }}{{ end }}
{{ with secret "secret/data/ledger/staging/closed" }}{{ if .Data.data.on }}FLAG=1
{{ end }}PASSWORD={{ .Data.data.PASSWORD }}{{ end }}
`))
	must(t, l.start("staging", "TOKEN", "t0"))
	closed := naming.Path{Project: "ledger", Environment: "staging", Component: "closed"}
	l.store.read = func(p naming.Path, _ providers.Version) error {
		if p == closed {
			return fault.New(fault.Denied, "read "+p.String(), "permission denied", "")
		}
		return nil
	}
	for variable, want := range map[string]string{"TOKEN": "consistent", "PASSWORD": "unknown", "FLAG": "unknown"} {
		tr, err := l.Trace(t.Context(), l.target("staging"), variable, &playbooks.Letters{})
		must(t, err)
		if tr.Verdict.Status != want {
			t.Errorf("%s: %+v", variable, tr.Verdict)
		}
		denied := ""
		for _, r := range tr.Sources {
			if r.State == "denied" {
				denied += r.Location
			}
		}
		if where := map[bool]string{true: "secret/" + closed.String()}[want == "unknown"]; denied != where {
			t.Errorf("%s: the denied row names %q", variable, denied)
		}
	}
}
