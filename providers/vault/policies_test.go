package vault

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/providers"
)

const readerText = `path "secret/data/polly/staging/app" { capabilities = ["read"] }
path "secret/metadata/polly/staging/app" { capabilities = ["read", "list"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
`

func administering(c *Config) { c.Policies = true }

func TestPolicies(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	prox := newProxy(t, v.Addr)
	admin := open(t, prox.URL, v.RootToken, administering)
	const name = "polly-staging-app"

	if _, err := admin.ReadPolicy(t.Context(), name); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a policy that is not there: %v", err)
	}
	if err := admin.WritePolicy(t.Context(), name, readerText); err != nil {
		t.Fatal(err)
	}
	if got, err := admin.ReadPolicy(t.Context(), name); err != nil || got != readerText {
		t.Fatalf("read back %q, %v", got, err)
	}

	// What a token of that policy can do, and what it cannot.
	mustWrite(t, admin, app("polly"), providers.Absent, patch("K", "1"))
	other := app("polly")
	other.Environment = "production"
	mustWrite(t, admin, other, providers.Absent, patch("K", "1"))
	reader := open(t, v.Addr, token(t, v, name))
	mustRead(t, reader, app("polly"))
	if _, err := reader.History(t.Context(), app("polly")); err != nil {
		t.Errorf("it cannot read its own metadata: %v", err)
	}
	if _, err := reader.Whoami(t.Context()); err != nil {
		t.Errorf("it cannot look itself up: %v", err)
	}
	if _, err := reader.Read(t.Context(), other, providers.Latest); !fault.Is(err, fault.Denied) {
		t.Errorf("it reads another environment: %v", err)
	}
	if _, err := reader.Write(t.Context(), app("polly"), 1, patch("K", "2")); !fault.Is(err, fault.Denied) {
		t.Errorf("it writes: %v", err)
	}
	weak := open(t, v.Addr, token(t, v, name), administering)
	if err := weak.WritePolicy(t.Context(), name, "path \"secret/*\" { capabilities = [\"read\"] }"); !fault.Is(err, fault.Denied) {
		t.Errorf("it widens its own policy: %v", err)
	}

	if err := admin.WritePolicy(t.Context(), name, ""); err != nil {
		t.Fatal(err)
	}
	if err := admin.WritePolicy(t.Context(), name, ""); err != nil {
		t.Errorf("removing it again: %v", err)
	}
	if _, err := admin.ReadPolicy(t.Context(), name); !fault.Is(err, fault.NotFound) {
		t.Errorf("it is still there: %v", err)
	}

	// Other policies, and stores that were not opened for it: nothing is sent.
	prox.requests()
	plain := open(t, prox.URL, v.RootToken)
	for _, err := range []error{
		plain.WritePolicy(t.Context(), name, readerText), admin.WritePolicy(t.Context(), "root", ""), admin.WritePolicy(t.Context(), "default", ""),
		admin.WritePolicy(t.Context(), "a-b-c/../../../secret/data/x/y/z", ""), admin.WritePolicy(t.Context(), "A-B-C", readerText),
	} {
		if !fault.Is(err, fault.Internal, fault.Usage) {
			t.Errorf("want a refusal: %v", err)
		}
	}
	if got := prox.requests(); slices.ContainsFunc(got, func(r string) bool { return strings.Contains(r, "polic") }) {
		t.Errorf("sent %q", got)
	}
}

// token makes a token that has one policy and no other.
func token(t *testing.T, v *realtest.VaultServer, policy string) string {
	t.Helper()
	answer := v.Do(http.MethodPost, "auth/token/create-orphan", map[string]any{"policies": []string{policy}, "no_default_policy": true})
	auth, _ := answer["auth"].(map[string]any)
	text, _ := auth["client_token"].(string)
	if text == "" {
		t.Fatalf("no token in %v", answer)
	}
	return text
}

// A lost answer is settled by reading: what was carried out is success, what was
// not is never said to be.
func TestPolicyAnswerLost(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	direct := open(t, v.Addr, v.RootToken, administering)
	for i, how := range []trouble{lose502, lose500, loseReset, loseEmpty, loseGarbage, drop502, dropReset} {
		name := "lost-staging-" + strings.ReplaceAll(how.String(), "_", "-")
		prox := newProxy(t, v.Addr)
		s := open(t, prox.URL, v.RootToken, administering)
		prox.failing(how, 1, writes)
		err := s.WritePolicy(t.Context(), name, readerText)
		_, there := direct.ReadPolicy(t.Context(), name)
		if carried := i < 5; carried != (there == nil) || carried != (err == nil) {
			t.Errorf("%v: answered %v, and reading it says %v", how, err, there)
		}
		if n := len(slices.DeleteFunc(prox.requests(), func(r string) bool { return !strings.HasPrefix(r, "PUT") })); n != 1 {
			t.Errorf("%v: sent %d times", how, n)
		}
	}
}
