package commands_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"envctl/internal/realtest"
)

// operators are people at machines of their own, at one project on a real Vault,
// none of whom writes before all have planned.
type operators struct {
	all []*troubled
	// as runs a command for one of them.
	as func(o *troubled, args ...string) (int, string, error)
	// forge changes what is written: a planted fault.
	forge func(r *http.Request)
}

func newOperators(t *testing.T, v *realtest.VaultServer, project string, n int, processes bool) *operators {
	t.Helper()
	team := &operators{as: func(o *troubled, args ...string) (int, string, error) {
		code, said := o.run("", args...)
		return code, said, nil
	}}
	if processes {
		team.as = func(o *troubled, args ...string) (int, string, error) { return o.killed("", args...) }
	}
	for range n {
		team.all = append(team.all, newTroubled(t, v, project, map[string]string{"envctl.yaml": everyCallFile, "app.ctmpl": everyCallTemplate}))
	}
	return team
}

// together runs a command for all of them at once, and returns their exit codes and
// what they said.
func (team *operators) together(t *testing.T, args ...string) (codes []int, said []string) {
	t.Helper()
	codes, said = make([]int, len(team.all)), make([]string, len(team.all))
	var planned, done sync.WaitGroup
	planned.Add(len(team.all))
	for i, o := range team.all {
		arrive := sync.OnceFunc(planned.Done)
		o.breaks(1, false, func(_ *troubled, w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if r.Method != http.MethodGet && r.Method != "LIST" {
				arrive()
				planned.Wait()
				if team.forge != nil {
					team.forge(r)
				}
			}
			forward.ServeHTTP(w, r)
		})
		done.Go(func() {
			defer arrive() // whoever stops before
			var err error
			if codes[i], said[i], err = team.as(o, args...); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	return codes, said
}

// winner is the only one of whom the command succeeded; all others must have met it.
func winner(codes []int, said []string) (int, error) {
	won := -1
	for i, code := range codes {
		switch {
		case code == 0 && won >= 0:
			return won, fmt.Errorf("two won:\n%s\n%s", said[won], said[i])
		case code == 0:
			won = i
		case code != 6 || !strings.Contains(said[i], `"hint":"`):
			return won, fmt.Errorf("exit %d: %s", code, said[i])
		}
	}
	if won < 0 {
		return won, fmt.Errorf("nobody won: %s", said[0])
	}
	return won, nil
}

// Of many who rotate one key of a real Vault at once, one wins in each round; the
// others have written nothing, and are told so.
func TestRotatorsOnARealVault(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	for name, c := range map[string]struct {
		operators, rounds int
		processes         bool
	}{
		"fifty":         {50, 4, false},
		"two processes": {2, 30, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			team := newOperators(t, server, "rotators-"+strings.ReplaceAll(name, " ", "-"), c.operators, c.processes)
			one := team.all[0]
			one.seed("staging/app", "SECRET_KEY", "old", "RING", ringKey, "TOKEN", "t0")
			if testing.Short() {
				c.rounds = max(1, c.rounds/10)
			}
			for round := range c.rounds {
				before, err := one.holds()
				if err != nil {
					t.Fatal(err)
				}
				won, err := winner(team.together(t, "rotate", "jwt", "--env", "staging", "--json"))
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				now, err := one.holds()
				if err != nil {
					t.Fatal(err)
				}
				was, is := before["staging/app"], now["staging/app"]
				if is.version != was.version+1 || is.values["SECRET_KEY"] == was.values["SECRET_KEY"] || is.values["SECRET_KEY_PREVIOUS"] != was.values["SECRET_KEY"] || is.values["TOKEN"] != "t0" {
					t.Fatalf("round %d: version %d after %d", round, is.version, was.version)
				}
				for i, o := range team.all { // a loser's run is taken back, and says so
					runs, err := o.journal()
					if err != nil || len(runs) != round+1 || (runs[0].State == "done") != (i == won) || i != won && runs[0].State != "undone" {
						t.Fatalf("round %d, operator %d, %d won: %+v %v", round, i, won, runs, err)
					}
				}
			}
			t.Logf("%d operators, %d rounds", c.operators, c.rounds)
		})
	}
}

// A write whose precondition is dropped on its way is noticed.
func TestRotatorsFindADroppedPrecondition(t *testing.T) {
	t.Parallel()
	team := newOperators(t, realtest.Vault(t), "dropped", 3, false)
	team.all[0].seed("staging/app", "SECRET_KEY", "old", "RING", ringKey, "TOKEN", "t0")
	team.forge = func(r *http.Request) {
		var doc map[string]any
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &doc) != nil {
			t.Errorf("%s: %s %v", r.URL, body, err)
		}
		delete(doc, "options")
		if body, err = json.Marshal(doc); err != nil {
			t.Error(err)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	if _, err := winner(team.together(t, "rotate", "jwt", "--env", "staging", "--json")); err == nil {
		t.Fatal("nothing found")
	}
}

// Of two who make one environment at once, from checkouts of their own, one does;
// the other has written nothing, and finds it made.
func TestTwoMakeOneEnvironment(t *testing.T) {
	t.Parallel()
	server := realtest.Vault(t)
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		team := newOperators(t, server, fmt.Sprintf("makers-%d", round), 2, true)
		won, err := winner(team.together(t, "env", "create", "qa", "--json"))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		made, err := team.all[0].holds()
		if err != nil || made["qa/app"].version != 1 || made["qa/worker"].version != 1 || len(made) != 2 {
			t.Fatalf("round %d: %v %v", round, made, err)
		}
		loser := team.all[1-won]
		loser.breaks(0, false, nil)
		if code, said := loser.run("", "env", "create", "qa", "--json"); code != 0 {
			t.Fatalf("round %d, again: exit %d\n%s", round, code, said)
		}
		again, err := loser.holds()
		if err != nil || again["qa/app"].version != 1 || again["qa/app"].values["SECRET_KEY"] != made["qa/app"].values["SECRET_KEY"] {
			t.Fatalf("round %d: the second has made it anew: %v", round, err)
		}
	}
	t.Logf("%d rounds", rounds)
}
