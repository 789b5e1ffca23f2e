package playbooks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/playbooks"
	"envctl/providers"
)

func (l *lab) create(c playbooks.Creation) (plan.Result, error) {
	p, err := l.CreateEnv(context.Background(), c)
	if err != nil {
		return plan.Result{}, err
	}
	return l.eng.Run(context.Background(), p)
}

// What is there stays, what is missing is added, and undo takes only that away.
func TestEnvCreateOverAnExistingPath(t *testing.T) {
	t.Parallel()
	l := started(t, "bare")
	res, err := l.create(playbooks.Creation{Name: "bare", Values: map[string]secret.Value{"PLAIN": secret.New("not this"), "TOKEN": secret.New("nor this")}})
	must(t, err)
	v := l.values("bare")
	if v["SECRET_KEY"] != "old" || v["TOKEN"] != "t0" || v["PLAIN"] != "sibling" || v["RING"] == "" || v["SECRET_KEY_PREVIOUS"] != "" {
		t.Fatal(v)
	}
	p, err := l.CreateEnv(context.Background(), playbooks.Creation{Name: "bare"})
	must(t, err)
	if len(p.Steps) != 0 {
		t.Fatal("a second env create would do", p.Steps)
	}
	l.write("bare", "LATER", "theirs")
	_, err = l.undo(res.Record.ID)
	must(t, err)
	same(t, "the store", l.values("bare"), map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling", "LATER": "theirs"})
}

// After an undo the environment can be created again.
func TestEnvCreateUndoneAndAgain(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	for range 2 {
		res, err := l.create(playbooks.Creation{Name: "pr-7"})
		must(t, err)
		if l.values("pr-7")["SECRET_KEY"] == "" {
			t.Fatal(l.values("pr-7"))
		}
		if alive, err := l.Lifetimes(t.Context()); err != nil || len(alive) != 1 {
			t.Fatal(alive, err)
		}
		_, err = l.undo(res.Record.ID)
		must(t, err)
		if v := l.values("pr-7"); v != nil {
			t.Fatal("something is left that counts as an environment:", v)
		}
		if alive, err := l.Lifetimes(t.Context()); err != nil || len(alive) != 0 {
			t.Fatal(alive, err)
		}
	}
}

// Somebody writes while the undo deletes what the creation began: theirs stays, and
// nothing else does.
func TestUndoOfEnvCreateAmongWriters(t *testing.T) {
	t.Parallel()
	l := testLab(t)
	res, err := l.create(playbooks.Creation{Name: "pr-7"})
	must(t, err)
	s := &deleting{store: l.store, before: func() { l.write("pr-7", "THEIRS", "late") }}
	l.World.Store = func(config.Environment) (providers.Store, error) { return s, nil }
	_, err = l.undo(res.Record.ID)
	must(t, err)
	same(t, "pr-7", l.values("pr-7"), map[string]string{"THEIRS": "late"})
}

// deleting is the store where somebody acts before the first deletion.
type deleting struct {
	*store
	before func()
}

func (s *deleting) Delete(ctx context.Context, p naming.Path, v ...providers.Version) error {
	if act := s.before; act != nil {
		s.before = nil
		act()
	}
	return s.Store.Delete(ctx, p, v...)
}

// The line is found again in whatever form the file has, and taken out alone
// where others edited the file since.
func TestUndoOfEnvCreateRestoresTheProjectFile(t *testing.T) {
	t.Parallel()
	const rest = "version: 1\nproject: ledger\ncomponents: {app: {generate: {A: hex}}}\n"
	for name, file := range map[string]string{
		"last":                 rest + "environments:\n  local: {}\n",
		"last, no newline":     rest + "environments:\n  local: {}",
		"none":                 rest,
		"none, no newline":     strings.TrimSuffix(rest, "\n"),
		"comments and spaces":  "# head\n\nversion: 1\nproject: ledger\nenvironments:   # all\n    local: {}   # mine\n\n    # more to come\n\ncomponents: {app: {generate: {A: hex}}}  \n\n",
		"a component like it":  "version: 1\nproject: ledger\nenvironments:\n  local: {}\ncomponents:\n  qa: {}\n  app: {generate: {A: hex}}\n",
		"windows line endings": strings.ReplaceAll(rest+"environments:\n  local: {}\n", "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, since := range []string{"", "  later: {}\n"} {
				dir := t.TempDir()
				path := filepath.Join(dir, config.FileName)
				must(t, writeFile(dir, config.FileName, file))
				l, err := openLab(dir)
				must(t, err)
				res, err := l.create(playbooks.Creation{Name: "qa"})
				must(t, err)
				made, err := os.ReadFile(path)
				must(t, err)
				want := file
				if since != "" { // another environment, right below
					if !strings.Contains(string(made), "  qa: {}\n") || name == "comments and spaces" {
						continue
					}
					i := strings.Index(string(made), "  qa: {}\n") + len("  qa: {}\n")
					text := string(made)[:i] + since + string(made)[i:]
					must(t, os.WriteFile(path, []byte(text), 0o600))
					want = string(made)[:i-len("  qa: {}\n")] + since + string(made)[i:]
				}
				p, err := config.Load(path)
				must(t, err)
				l.World = l.on(p)
				_, err = l.undo(res.Record.ID)
				must(t, err)
				got, err := os.ReadFile(path)
				must(t, err)
				if string(got) != want {
					t.Fatalf("the file is\n%q\nwant\n%q", got, want)
				}
			}
		})
	}
}

// An entry that others changed since is theirs.
func TestUndoOfEnvCreateKeepsAnEntryThatWasChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	must(t, writeFile(dir, config.FileName, "version: 1\nproject: ledger\nenvironments:\n  local: {}\ncomponents: {app: {generate: {A: hex}}}\n"))
	l, err := openLab(dir)
	must(t, err)
	res, err := l.create(playbooks.Creation{Name: "qa"})
	must(t, err)
	made, _ := os.ReadFile(path)
	must(t, os.WriteFile(path, []byte(strings.Replace(string(made), "qa: {}", "qa: {protected: true}", 1)), 0o600))
	p, err := config.Load(path)
	must(t, err)
	l.World = l.on(p)
	_, err = l.undo(res.Record.ID)
	wantKind(t, err, fault.Partial, "was changed since, and stays")
}

// No value of production reaches another environment: never by itself, and with
// --from production never a secret, however it is named and wherever it hides.
func TestProductionNeverLeaks(t *testing.T) {
	t.Parallel()
	secretNames := []string{"API_KEY", "SESSION_SECRET", "DB_PASSWORD", "OAUTH_TOKEN", "PRIVATE_KEY", "MADE"}
	plainNames := []string{"DATABASE_URL", "REDIS_URL", "LOG_LEVEL", "REGION", "BUCKET", "CALLBACK", "DSN"}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		must(t, writeFile(dir, config.FileName, `version: 1
project: ledger
environments:
  production: {}
  staging: {}
components:
  app: {generate: {MADE: hex}}
  other: {}
`))
		l, err := openLab(dir)
		must(t, err)
		var secrets, all []string
		for _, comp := range []string{"app", "other"} {
			kv := []string{}
			n := 0
			one := func() string {
				n++
				s := fmt.Sprintf("canary%d%s%dp:/@%%+&=x", seed, comp, n)
				if r.IntN(2) == 0 {
					s = fmt.Sprintf("canary%d%s%d", seed, comp, n)
				}
				return s
			}
			for _, k := range secretNames {
				if r.IntN(2) == 0 && (k != "MADE" || comp == "app") {
					v := one()
					secrets, all = append(secrets, v), append(all, v)
					kv = append(kv, k, v)
				}
			}
			for _, k := range plainNames {
				hidden := one()
				v := hidden
				switch r.IntN(7) {
				case 0:
					v = "postgresql://app:" + hidden + "@db:5432/x"
				case 1:
					v = "https://host/?token=" + hidden
				case 2:
					if len(secrets) > 0 {
						hidden = secrets[r.IntN(len(secrets))]
						if !slices.Contains(kv, hidden) {
							continue // another component's
						}
						v = "host=db password=" + hidden
					}
				case 3:
					v = "-----BEGIN PRIVATE KEY-----\n" + hidden
				default:
					all = append(all, v) // an ordinary setting
					kv = append(kv, k, v)
					continue
				}
				secrets, all = append(secrets, hidden), append(all, hidden)
				kv = append(kv, k, v)
			}
			l.seed(naming.Path{Project: "ledger", Environment: "production", Component: comp}, kv...)
		}
		from, forbidden := "", all
		if r.IntN(2) == 0 {
			from, forbidden = "production", secrets
		} else {
			l.store.read = func(p naming.Path, _ providers.Version) error {
				if p.Environment != "qa" {
					t.Errorf("seed %d: reads %s", seed, p)
				}
				return nil
			}
		}
		_, err = l.create(playbooks.Creation{Name: "qa", From: from, AllowMissing: true})
		must(t, err)
		l.store.read = nil
		for _, comp := range []string{"app", "other"} {
			b, err := l.store.Store.Read(context.Background(), naming.Path{Project: "ledger", Environment: "qa", Component: comp}, providers.Latest)
			if fault.Is(err, fault.NotFound) {
				continue
			}
			must(t, err)
			for k, v := range clear(b.Values) {
				for _, f := range forbidden {
					if strings.Contains(v, f) {
						t.Fatalf("seed %d, from %q: %s of %s carries production's %s", seed, from, k, comp, f)
					}
				}
			}
		}
	}
}
