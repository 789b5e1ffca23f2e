package playbooks_test

import (
	"fmt"
	"maps"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

// A path of very many keys is written, taken out and put back whole: what a
// journal keeps of it suffices for both ways. Beyond that it is refused before
// anything is written.
func TestVeryManyKeys(t *testing.T) {
	l := testLab(t)
	values, absent := providers.Patch{}, providers.Patch{}
	for i := range 10_000 {
		k := fmt.Sprintf("A_RATHER_LONG_NAME_FOR_A_VARIABLE_%05d", i)
		values[k], absent[k] = secret.New(fmt.Sprint("value ", i)), secret.Value{}
	}
	p, err := l.Set(t.Context(), l.target("bare"), "import", values, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.eng.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	before := l.values("bare")
	if len(before) != len(values) {
		t.Fatalf("%d keys of %d arrived", len(before), len(values))
	}
	// Resume makes the plan anew, of nothing but the journal's header.
	p, err = l.Set(t.Context(), l.target("bare"), "unset", absent, false)
	if err != nil {
		t.Fatal(err)
	}
	p, err = l.Rebuild(t.Context(), plan.Header{Playbook: p.Playbook, Environment: p.Environment, Component: p.Component, Args: p.Args})
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.eng.Run(t.Context(), p)
	if err != nil || len(l.values("bare")) != 0 {
		t.Fatalf("%d keys left: %v", len(l.values("bare")), err)
	}
	if _, err := l.eng.Undo(t.Context(), res.Record.ID, func(h plan.Header) (*plan.Plan, error) { return l.Rebuild(t.Context(), h) }); err != nil {
		t.Fatal(err)
	}
	if got := l.values("bare"); !maps.Equal(got, before) {
		t.Fatalf("%d keys of %d are back", len(got), len(before))
	}
	values["ONE_MORE"] = secret.New("x")
	for i := range 7000 {
		values[fmt.Sprint("MORE_", i)] = secret.New("x")
	}
	_, err = l.Set(t.Context(), l.target("bare"), "import", values, false)
	if !fault.Is(err, fault.Refused) {
		t.Fatalf("17,000 keys: %v", err)
	}
}
