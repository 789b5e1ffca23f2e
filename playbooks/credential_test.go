package playbooks_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
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
	"envctl/providers/dokploy"
	"envctl/providers/dokploy/dokploytest"
)

// issuer is a server that lets services in.
type issuer struct {
	*acl
	live []providers.Credential
	n    int
	bad  bool // what it issues can do too much
}

func (i *issuer) Issue(_ context.Context, policy, kind, mark string) (providers.Credential, error) {
	i.point("before the issue")
	i.n++
	c := providers.Credential{Policy: policy, Kind: kind, Mark: mark, Accessor: fmt.Sprint("accessor", i.n), Values: map[string]secret.Value{"VAULT_APP_TOKEN": secret.New(fmt.Sprint("canary-token-", i.n))}}
	i.live = append(i.live, c)
	i.point("after the issue")
	return c, nil
}

func (i *issuer) Issued(_ context.Context, policy string) ([]providers.Credential, error) {
	var out []providers.Credential
	for _, c := range i.live {
		if c.Policy == policy {
			c.Values = nil
			out = append(out, c)
		}
	}
	return out, nil
}

func (i *issuer) Revoke(_ context.Context, c providers.Credential) error {
	i.point("before the revocation")
	i.live = slices.DeleteFunc(i.live, func(o providers.Credential) bool { return o.Accessor == c.Accessor })
	i.point("after the revocation")
	return nil
}

func (i *issuer) Prove(_ context.Context, c providers.Credential, can, cannot []naming.Path) error {
	if i.bad || len(can) == 0 || len(cannot) == 0 || i.text[c.Policy] == "" {
		return fault.New(fault.No, "prove the credential of "+c.Policy, "it can do more", "look")
	}
	return nil
}

// let gives a stage an issuer.
func (s *stage) let(i *issuer) func(plan.Header, func() (*plan.Plan, error)) (*plan.Plan, error) {
	return func(h plan.Header, first func() (*plan.Plan, error)) (*plan.Plan, error) {
		if err := s.reload(); err != nil {
			return nil, err
		}
		s.World.Policies = func(config.Environment) (providers.Policies, error) { return i, nil }
		if h.ID != "" {
			return s.rebuild(h)
		}
		return first()
	}
}

// A credential, killed everywhere: in the end one is live, and the file holds it; or
// none is, and there is no file. What an attempt issued that died is revoked.
func TestEveryCrashOfACredential(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	file := filepath.Join(keys, "pr-9-app.env")
	report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
		must(t, os.RemoveAll(keys))
		s, err := newStage(dir, disk)
		must(t, err)
		i := &issuer{acl: s.acl, live: []providers.Credential{{Policy: "ledger-staging-app", Kind: "token", Accessor: "theirs"}}}
		planned := s.let(i)
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				return planned(h, func() (*plan.Plan, error) {
					return s.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-9", Credentials: "token", CredentialsDir: keys, NoDeploy: true})
				})
			},
			Done: func() error {
				text, err := os.ReadFile(file)
				if err != nil || len(i.live) != 2 {
					return fmt.Errorf("live are %+v, %w", i.live, err)
				}
				return check(strings.Contains(string(text), "VAULT_APP_TOKEN="+i.live[1].Values["VAULT_APP_TOKEN"].Reveal()+"\n"), "the file holds\n%s", text)
			},
			Undone: func() error {
				_, err := os.Stat(file)
				return check(os.IsNotExist(err) && len(i.live) == 1, "live are %+v, the file: %v", i.live, err)
			},
		}
	}, func(verb string, w plantest.World, disk *plantest.Disk, res plan.Result, err error) error {
		plantest.Canary(t, disk, "canary")
		return consistent(verb, w, disk, res, err)
	}))
}

// keeping is a fleet whose services' variables a Dokploy server keeps.
type keeping struct {
	*remover
	keeper providers.Keeper
	point  func(string)
}

func (k keeping) Keep(ctx context.Context, r providers.Release, note string, values map[string]secret.Value) error {
	k.point("before the hand-over")
	defer k.point("after the hand-over")
	return k.keeper.Keep(ctx, r, note, values)
}

// The same where Dokploy holds it: in the end its text has the live one's value, or
// is what somebody typed there, to the byte.
func TestEveryCrashOfACredentialThatDokployKeeps(t *testing.T) {
	t.Parallel()
	const theirs = "# theirs\nX=' 1 '\n"
	dir, server := t.TempDir(), dokploytest.New(t)
	id := server.Compose("ledger", "pr-9", "ledger-app-pr-9", "services: {backend: {image: x}}\n")
	keeper, err := dokploy.New(dokploy.Config{
		URL: server.URL(), Key: secret.New(dokploytest.Key), StateDir: t.TempDir(), Now: time.Now, Rand: rand.Reader,
	})
	must(t, err)
	report(t, everyCrash(t, 1, func(disk *plantest.Disk) plantest.World {
		server.SetText(id, theirs)
		s, err := newStage(dir, disk)
		must(t, err)
		i := &issuer{acl: s.acl}
		planned := s.let(i)
		return plantest.World{
			Plan: func(h plan.Header) (*plan.Plan, error) {
				must(t, s.reload())
				with := func() {
					s.World.Deployer = func(_ config.Environment, component string) (providers.Deployer, error) {
						if component != "app" {
							return nil, nil //nolint:nilnil // no deployer is an answer
						}
						return keeping{s.remover, keeper, disk.Point}, nil
					}
				}
				if h.ID == "" {
					return planned(h, func() (*plan.Plan, error) {
						with()
						return s.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-9", Credentials: "token", NoDeploy: true})
					})
				}
				s.World.Policies = func(config.Environment) (providers.Policies, error) { return i, nil }
				with()
				return s.rebuild(h)
			},
			Done: func() error {
				if len(i.live) != 1 {
					return fmt.Errorf("live are %+v", i.live)
				}
				line := "VAULT_APP_TOKEN=" + i.live[0].Values["VAULT_APP_TOKEN"].Reveal() + "\n"
				return check(strings.HasPrefix(server.Text(id), theirs) && strings.Count(server.Text(id), "VAULT_") == 2 && strings.Contains(server.Text(id), line), "the text is %q", server.Text(id))
			},
			Undone: func() error {
				return check(server.Text(id) == theirs && len(i.live) == 0, "live are %+v, the text is %q", i.live, server.Text(id))
			},
		}
	}, discreet(t, "canary")))
}

// One that can do too much is handed to nobody; another run's file stays; the
// environment's end revokes all, and says that undo does not bring them back.
func TestCredentialsThatAreNotAsTheyShould(t *testing.T) {
	t.Parallel()
	s := calm(t)
	keys := filepath.Join(s.Project.Root, "keys")
	i := &issuer{acl: s.acl, bad: true}
	planned := s.let(i)
	create := func() (plan.Result, error) {
		p, err := planned(plan.Header{}, func() (*plan.Plan, error) {
			return s.CreateEnv(context.Background(), playbooks.Creation{Name: "pr-9", Credentials: "token", CredentialsDir: keys, NoDeploy: true})
		})
		if err != nil || len(p.Steps) == 0 {
			return plan.Result{}, err
		}
		return s.eng.Run(context.Background(), p)
	}
	_, err := create()
	wantKind(t, err, fault.No, "it can do more")
	if _, err := os.Stat(keys); !os.IsNotExist(err) || len(i.live) != 0 {
		t.Fatalf("left: %v, %+v", err, i.live)
	}
	i.bad = false
	res, err := create()
	must(t, err)
	if again, err := create(); err != nil || again.Record.ID != "" || len(i.live) != 1 {
		t.Fatalf("a second time: %+v %v", i.live, err)
	}
	must(t, writeFile(keys, "pr-9-app.env", "# issued by envctl another, for x\nVAULT_APP_TOKEN=y\n"))
	_, err = s.eng.Undo(context.Background(), res.Record.ID, func(h plan.Header) (*plan.Plan, error) { return planned(h, nil) })
	must(t, err)
	if text, err := os.ReadFile(filepath.Join(keys, "pr-9-app.env")); err != nil || len(i.live) != 0 {
		t.Fatalf("%s %v %+v", text, err, i.live)
	}
	_, err = create()
	must(t, err)
	p, err := planned(plan.Header{}, func() (*plan.Plan, error) {
		return s.DeleteEnv(context.Background(), playbooks.Deletion{Name: "pr-9", WithPolicy: true})
	})
	must(t, err)
	res, err = s.eng.Run(context.Background(), p)
	must(t, err)
	if len(i.live) != 0 || receipt(res, "revoke.app")["revoked"] != "1" {
		t.Fatalf("%+v", i.live)
	}
	_, err = s.eng.Undo(context.Background(), res.Record.ID, func(h plan.Header) (*plan.Plan, error) { return planned(h, nil) })
	wantKind(t, err, fault.Partial, "revoke.app")
	if s.acl.text["ledger-pr-9-app"] == "" {
		t.Error("the policy did not come back")
	}
}
