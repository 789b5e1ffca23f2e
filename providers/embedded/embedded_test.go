package embedded_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/embedded"
	"envctl/providers/storetest"
)

// desk is one operator's place: an identity, pins, and a config for a store.
func desk(t testing.TB, file, name string) embedded.Config {
	t.Helper()
	home := t.TempDir()
	c := embedded.Config{
		File: file, Identity: filepath.Join(home, "identity.txt"), PinDir: filepath.Join(home, "stores"),
		Author: name, Now: time.Now,
	}
	if _, err := embedded.GenerateIdentity(context.Background(), c.Identity, secret.Value{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func newFile(t testing.TB) string { return filepath.Join(t.TempDir(), "store.age") }

func created(t testing.TB, c embedded.Config, more ...embedded.Recipient) *embedded.Store {
	t.Helper()
	s, err := embedded.Create(context.Background(), c, more...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var app = naming.Path{Project: "ledger", Environment: "staging", Component: "app"}

func set(t testing.TB, s *embedded.Store, base providers.Version, k, v string) providers.Version {
	t.Helper()
	n, err := s.Write(context.Background(), app, base, providers.Patch{k: secret.New(v)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func get(t testing.TB, s *embedded.Store, k string) string {
	t.Helper()
	b, err := s.Read(context.Background(), app, providers.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return b.Values[k].Reveal()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func slurp(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func TestContract(t *testing.T) {
	storetest.Harness{
		Open: func(t *testing.T) providers.Store {
			return created(t, desk(t, newFile(t), "tester"))
		},
		Another: func(t *testing.T, s providers.Store) providers.Store {
			return embedded.Open(s.(*embedded.Store).Config())
		},
	}.Run(t)
}
