package vault

import (
	"testing"
	"time"

	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/storetest"
)

// open returns a store at addr whose connections end with the test.
func open(t testing.TB, addr, token string, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Address: addr, Token: secret.New(token), TokenSource: "the test", Timeout: 20 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestContract(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	storetest.Harness{
		Open:     func(t *testing.T) providers.Store { return open(t, v.Addr, v.RootToken) },
		Another:  func(t *testing.T, _ providers.Store) providers.Store { return open(t, v.Addr, v.RootToken) },
		TextOnly: true,
	}.Run(t)
}

// A token without the patch capability writes by reading and PUT.
func TestContractWithoutPatch(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	token := v.Token(`path "secret/data/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/*" { capabilities = ["read", "list", "delete", "patch"] }
path "secret/metadata" { capabilities = ["list"] }
path "secret/delete/*" { capabilities = ["update"] }
path "secret/undelete/*" { capabilities = ["update"] }
path "secret/destroy/*" { capabilities = ["update"] }`, "1h")
	storetest.Harness{
		Open:     func(t *testing.T) providers.Store { return open(t, v.Addr, token) },
		Another:  func(t *testing.T, _ providers.Store) providers.Store { return open(t, v.Addr, token) },
		TextOnly: true, Writers: 4, Rounds: 4,
	}.Run(t)
}
