package kv2

import (
	"net/http/httptest"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/storetest"
	"envctl/providers/vault"
)

func TestContract(t *testing.T) {
	engine, err := New(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(engine)
	t.Cleanup(func() { server.Close() })
	open := func(t *testing.T) providers.Store {
		t.Helper()
		s, err := vault.Open(vault.Config{Address: server.URL, Token: secret.New("root"), TokenSource: "the test", Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	storetest.Harness{
		Open:     open,
		Another:  func(t *testing.T, _ providers.Store) providers.Store { return open(t) },
		TextOnly: true,
	}.Run(t)
}
