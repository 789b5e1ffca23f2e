package vault

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// A credential of either kind on a real server: what it can do and what it cannot,
// by using it and by asking; and the end of it and of all that came of it.
func TestIssuedCredentials(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	v.Do(http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	admin := open(t, v.Addr, v.RootToken, administering)
	own, other := naming.Path{Project: "creds", Environment: "qa", Component: "app"}, naming.Path{Project: "creds", Environment: "staging", Component: "app"}
	for _, p := range []naming.Path{own, other} {
		mustWrite(t, admin, p, providers.Absent, patch("K", "canary-value"))
	}
	const policy = "creds-qa-app"
	grant := func(rights string) {
		t.Helper()
		text := "path \"auth/token/lookup-self\" { capabilities = [\"read\"] }\npath \"auth/token/renew-self\" { capabilities = [\"update\"] }\n" + rights
		if err := admin.WritePolicy(t.Context(), policy, text); err != nil {
			t.Fatal(err)
		}
	}
	right := fmt.Sprintf("path \"secret/data/%[1]s\" { capabilities = [\"read\"] }\npath \"secret/metadata/%[1]s\" { capabilities = [\"read\", \"list\"] }\n", own)
	grant(right)
	prove := func(c providers.Credential) error {
		return admin.Prove(t.Context(), c, []naming.Path{own}, []naming.Path{other})
	}
	for _, kind := range []string{providers.CredentialToken, providers.CredentialAppRole} {
		c, err := admin.Issue(t.Context(), policy, kind, "run-1")
		if err != nil || c.Accessor == "" || len(c.Values) == 0 {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := prove(c); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		all, err := admin.Issued(t.Context(), policy)
		at := slices.IndexFunc(all, func(o providers.Credential) bool { return o.Accessor == c.Accessor })
		if err != nil || at < 0 || all[at].Kind != kind || all[at].Mark != "run-1" || all[at].Created.IsZero() {
			t.Errorf("%s: %+v %v", kind, all, err)
		}
		// Each lie of a policy is noticed.
		for rights, words := range map[string]string{
			strings.Replace(right, `"read"]`, `"read", "update"]`, 1):                       "and should read",
			"path \"secret/data/creds/+/app\" { capabilities = [\"read\"] }":                "is not refused at creds/staging/app",
			right + "path \"sys/policies/acl/*\" { capabilities = [\"update\"] }":           "and should deny",
			"path \"secret/metadata/creds/qa/app\" { capabilities = [\"read\", \"list\"] }": "read with it",
		} {
			grant(rights)
			if err := prove(c); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%s with %s: %v", kind, rights, err)
			}
		}
		grant(right)
		// What a service logged in for ends too.
		var login string
		if kind == providers.CredentialAppRole {
			service := open(t, v.Addr, "", func(cfg *Config) {
				cfg.Token = secret.Value{}
				cfg.RoleID, cfg.SecretID = c.Values[roleVariable], c.Values[secretIDVariable]
			})
			who, err := service.Whoami(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			login = who.Accessor
		}
		if all, err = admin.Issued(t.Context(), policy); err != nil {
			t.Fatal(err)
		}
		if login != "" && !slices.ContainsFunc(all, func(o providers.Credential) bool { return o.Accessor == login && o.Mark == "run-1" }) {
			t.Errorf("the login is not among %+v", all)
		}
		for range 2 {
			for _, o := range all {
				if err := admin.Revoke(t.Context(), o); err != nil {
					t.Errorf("%+v: %v", o, err)
				}
			}
		}
		if left, err := admin.Issued(t.Context(), policy); err != nil || len(left) != 0 {
			t.Errorf("%s: left %+v %v", kind, left, err)
		}
		if err := prove(c); err == nil {
			t.Errorf("%s: it works after its end", kind)
		}
	}

	plain := open(t, v.Addr, v.RootToken)
	_, err := plain.Issue(t.Context(), policy, providers.CredentialToken, "m")
	_, err2 := admin.Issue(t.Context(), "root", providers.CredentialToken, "m")
	_, err3 := admin.Issue(t.Context(), policy, "password", "m")
	for _, e := range []error{err, err2, err3, plain.Revoke(t.Context(), providers.Credential{Policy: policy, Accessor: "x"})} {
		if !fault.Is(e, fault.Usage, fault.Internal) {
			t.Errorf("%v", e)
		}
	}
}

// An answer that is lost leaves nothing behind.
func TestIssueWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	v.Do(http.MethodPost, "sys/auth/lostrole", map[string]any{"type": "approle"})
	const policy = "lost-qa-app"
	prox := newProxy(t, v.Addr)
	admin := open(t, prox.URL, v.RootToken, func(c *Config) { administering(c); c.AppRoleMount = "lostrole" })
	if err := admin.WritePolicy(t.Context(), policy, "path \"auth/token/lookup-self\" { capabilities = [\"read\"] }"); err != nil {
		t.Fatal(err)
	}
	for kind, path := range map[string]string{providers.CredentialToken: "auth/token/create-orphan", providers.CredentialAppRole: "auth/lostrole/role/" + policy + "/secret-id"} {
		for _, how := range []trouble{lose502, loseReset, loseHalf, loseGarbage, loseEmpty, drop502, dropReset} {
			prox.failing(how, 1, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, path) })
			_, err := admin.Issue(t.Context(), policy, kind, "run-"+kind)
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "nothing of it is left") {
				t.Errorf("%s, %s: %v", kind, how, err)
			}
			left, err := admin.Issued(t.Context(), policy)
			if err != nil || slices.ContainsFunc(left, func(c providers.Credential) bool { return c.Mark != "" }) {
				t.Errorf("%s, %s: left %+v %v", kind, how, left, err)
			}
		}
	}
}
