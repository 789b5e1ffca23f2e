package onepassword

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	canary  = "canary-9f3c1e"
	token   = "connect-token-71bb"
	vaultID = "vvvvvvvvvvvvvvvvvvvvvvvvv1"
	itemID  = "iiiiiiiiiiiiiiiiiiiiiiiii1"
	slashID = "iiiiiiiiiiiiiiiiiiiiiiiii2"
)

// standIn answers as a Connect server does; its shapes are those of the
// published interface description.
type standIn struct {
	*httptest.Server
	lock         sync.Mutex
	requests     []string
	ignoreFilter bool
	status       int // answered to every request, if set
}

func (s *standIn) seen() []string {
	s.lock.Lock()
	defer s.lock.Unlock()
	return slices.Clone(s.requests)
}

func newStandIn(t *testing.T) *standIn {
	s := &standIn{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	s.lock.Lock()
	request := r.URL.Path
	if f := r.URL.Query().Get("filter"); f != "" {
		request += "?" + f
	}
	s.requests = append(s.requests, request)
	s.lock.Unlock()
	answer := func(status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	refuse := func(status int) { answer(status, map[string]any{"status": status, "message": canary}) }
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		refuse(http.StatusUnauthorized)
		return
	case s.status != 0:
		refuse(s.status)
		return
	}
	section := map[string]string{"id": "s1", "label": "Admin"}
	full := map[string]any{
		"id": itemID, "title": "app", "vault": map[string]string{"id": vaultID},
		"sections": []any{map[string]string{"id": "add more"}, section, map[string]string{"id": "s2", "label": "Other"}},
		"fields": []any{
			map[string]any{"id": "username", "type": "STRING", "purpose": "USERNAME", "label": "username", "value": "admin"},
			map[string]any{"id": "f1", "type": "CONCEALED", "label": "Root Token", "value": canary, "section": map[string]string{"id": "add more"}},
			map[string]any{"id": "f2", "type": "CONCEALED", "label": "password", "value": "in-admin", "section": section},
			map[string]any{"id": "f3", "type": "CONCEALED", "label": "password", "value": "outside"},
			map[string]any{"id": "f4", "type": "CONCEALED", "label": "twice", "value": "1", "section": section},
			map[string]any{"id": "f5", "type": "CONCEALED", "label": "twice", "value": "2", "section": map[string]string{"id": "s2"}},
			map[string]any{"id": "TOTP_1", "type": "OTP", "label": "one-time password", "value": "otpauth://totp/x", "totp": "134253"},
			map[string]any{"id": "f6", "type": "STRING", "label": "empty"},
		},
		"files": []any{map[string]any{"id": "file1", "name": "key.pem", "size": 7}},
	}
	filtered := func(attribute string, all ...map[string]string) []map[string]string {
		want := r.URL.Query().Get("filter")
		out := []map[string]string{}
		for _, one := range all {
			key := strings.TrimSuffix(attribute, " eq")
			if s.ignoreFilter || want == "" || strings.EqualFold(want, fmt.Sprintf("%s eq %q", key, one[key])) {
				out = append(out, one)
			}
		}
		return out
	}
	switch r.URL.Path {
	case "/v1/vaults":
		answer(200, filtered("name", map[string]string{"id": vaultID, "name": "prod"},
			map[string]string{"id": "vvvvvvvvvvvvvvvvvvvvvvvvv2", "name": "double"},
			map[string]string{"id": "vvvvvvvvvvvvvvvvvvvvvvvvv3", "name": "double"},
			map[string]string{"id": "../../evil", "name": "evil"}))
	case "/v1/vaults/" + vaultID:
		answer(200, map[string]string{"id": vaultID, "name": "prod"})
	case "/v1/vaults/" + vaultID + "/items":
		answer(200, filtered("title", map[string]string{"id": itemID, "title": "app"},
			map[string]string{"id": slashID, "title": "ledger/production/app"},
			map[string]string{"id": "iiiiiiiiiiiiiiiiiiiiiiiii3", "title": "pair"},
			map[string]string{"id": "iiiiiiiiiiiiiiiiiiiiiiiii4", "title": "Pair"}))
	case "/v1/vaults/" + vaultID + "/items/" + itemID:
		answer(200, full)
	case "/v1/vaults/" + vaultID + "/items/" + slashID:
		answer(200, map[string]any{
			"id": slashID, "title": "ledger/production/app",
			"fields": []any{map[string]any{"id": "f", "label": "Token", "value": "slash"}},
		})
	case "/v1/vaults/" + vaultID + "/items/" + itemID + "/files/file1/content":
		_, _ = w.Write([]byte("PEM\n"))
	default:
		refuse(http.StatusNotFound)
	}
}

func (s *standIn) resolver() *Resolver {
	return New(Config{ConnectHost: s.URL, ConnectToken: secret.New(token), Timeout: 5 * time.Second})
}

// clean fails when an error carries a value or a token.
func clean(t *testing.T, err error) {
	t.Helper()
	for _, s := range []string{canary, token} {
		if err != nil && strings.Contains(err.Error()+fault.HintOf(err), s) {
			t.Errorf("%q is in %q", s, err)
		}
	}
}

func TestConnectValues(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	want := map[string]string{
		"op://prod/app/username":                             "admin",
		"op://PROD/App/root token":                           canary,
		"op://prod/app/f1":                                   canary,
		"op://prod/app/password":                             "outside",
		"op://prod/app/Admin/password":                       "in-admin",
		"op://prod/app/s2/twice":                             "2",
		"op://prod/app/one-time password?attribute=otp":      "134253",
		"op://prod/app/empty":                                "",
		"op://prod/app/key.pem":                              "PEM\n",
		"op://prod/" + slashID + "/Token":                    "slash",
		"op://" + vaultID + "/" + itemID + "/Admin/password": "in-admin",
		"op://" + vaultID + "/" + itemID + "/Other/twice":    "2",
		"op://" + vaultID + "/" + itemID + "/admin/pAssword": "in-admin",
		"op://" + vaultID + "/" + slashID + "/token":         "slash",
		"op://" + vaultID + "/app/TOTP_1?attr=otp":           "134253",
	}
	var refs []string
	for ref := range want {
		refs = append(refs, ref)
	}
	r := s.resolver()
	got, err := r.ResolveAll(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	for ref, v := range want {
		if !got[ref].IsSet() || got[ref].Reveal() != v {
			t.Errorf("%s = %q, want %q", ref, got[ref].Reveal(), v)
		}
	}
	before := len(s.seen())
	v, err := r.Resolve(t.Context(), "op://prod/app/username")
	if err != nil || v.Reveal() != "admin" || len(s.seen()) != before {
		t.Errorf("again: %v, %v, %d requests more", v, err, len(s.seen())-before)
	}
	if _, err := r.Resolve(t.Context(), "op://prod/app/TOTP_1?attribute=otp"); err != nil || len(s.seen()) == before {
		t.Errorf("a one-time password came from the cache: %v", err)
	}
}

func TestConnectAsksOnce(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	if _, err := s.resolver().ResolveAll(t.Context(), []string{
		"op://prod/app/username", "op://Prod/APP/password", "op://prod/app/Root Token", "op://prod/app/username",
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"/v1/vaults?name eq \"prod\"", "/v1/vaults/" + vaultID + "/items?title eq \"app\"", "/v1/vaults/" + vaultID + "/items/" + itemID}
	if got := s.seen(); !slices.Equal(got, want) {
		t.Errorf("requests %q\nwant %q", got, want)
	}
}

func TestConnectMissing(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	for _, c := range []struct {
		ref  string
		kind fault.Kind
		word string
	}{
		{"op://nowhere/app/username", fault.NotFound, `no vault "nowhere"`},
		{"op://vvvvvvvvvvvvvvvvvvvvvvvvv9/app/username", fault.NotFound, "no vault"},
		{"op://prod/nothing/username", fault.NotFound, `no item "nothing"`},
		{"op://prod/iiiiiiiiiiiiiiiiiiiiiiiii9/username", fault.NotFound, "no item"},
		{"op://prod/app/nothing", fault.NotFound, `no field "nothing"`},
		{"op://prod/app/Nowhere/password", fault.NotFound, `no field "Nowhere/password"`},
		{"op://prod/app/twice", fault.Invalid, `2 match field "twice"`},
		{"op://prod/pair/x", fault.Invalid, `2 match item "pair"`},
		{"op://double/app/x", fault.Invalid, `2 match vault "double"`},
		{"op://prod/app/username?attribute=otp", fault.Invalid, "no one-time password"},
		{"op://evil/app/username", fault.Unavailable, "unusable id"},
	} {
		v, err := s.resolver().Resolve(t.Context(), c.ref)
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.word) || !strings.Contains(err.Error(), c.ref) || v.IsSet() {
			t.Errorf("%s: %v (%v), want %v with %q", c.ref, err, fault.KindOf(err), c.kind, c.word)
		}
		if fault.HintOf(err) == "" {
			t.Errorf("%s: no hint", c.ref)
		}
		clean(t, err)
	}

	got, err := s.resolver().ResolveAll(t.Context(), []string{"op://prod/app/username", "op://prod/app/x", "op://nowhere/app/y"})
	if got["op://prod/app/username"].Reveal() != "admin" || len(got) != 1 {
		t.Errorf("the good one is lost: %v", got)
	}
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "op://prod/app/x") || !strings.Contains(err.Error(), "op://nowhere/app/y") {
		t.Errorf("not every failure is named: %v", err)
	}
}

func TestConnectIgnoringTheFilter(t *testing.T) {
	t.Parallel()
	s := newStandIn(t)
	s.ignoreFilter = true
	if v, err := s.resolver().Resolve(t.Context(), "op://prod/app/username"); err != nil || v.Reveal() != "admin" {
		t.Error(v, err)
	}
	if _, err := s.resolver().Resolve(t.Context(), "op://prod/other/username"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestConnectRefusals(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]fault.Kind{
		400: fault.Unavailable, 401: fault.Denied, 403: fault.Denied, 404: fault.NotFound,
		301: fault.Refused, 302: fault.Refused, 307: fault.Refused, 308: fault.Refused,
		429: fault.Unavailable, 500: fault.Unavailable, 503: fault.Unavailable, 204: fault.Unavailable,
	} {
		s := newStandIn(t)
		s.status = status
		_, err := s.resolver().ResolveAll(t.Context(), []string{"op://prod/app/username", "op://other/app/username"})
		if !fault.Is(err, want) {
			t.Errorf("%d: %v (%v), want %v", status, err, fault.KindOf(err), want)
		}
		if status == 429 && !strings.Contains(err.Error(), "rate limited") {
			t.Errorf("429: %v", err)
		}
		// A refused token is not tried again for the next vault.
		if want != fault.NotFound && len(s.seen()) != 1 {
			t.Errorf("%d: %d requests", status, len(s.seen()))
		}
		clean(t, err)
	}
}

func TestConnectRedirectKeepsTheToken(t *testing.T) {
	t.Parallel()
	elsewhere := newStandIn(t)
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/v1/vaults", http.StatusTemporaryRedirect))
	t.Cleanup(here.Close)
	_, err := New(Config{ConnectHost: here.URL, ConnectToken: secret.New(token)}).Resolve(t.Context(), "op://prod/app/username")
	if !fault.Is(err, fault.Refused) || len(elsewhere.seen()) != 0 {
		t.Errorf("%v, %d requests elsewhere", err, len(elsewhere.seen()))
	}
}

func TestConnectAddress(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]fault.Kind{
		"http://connect.example.com":            fault.Refused,
		"http://127.0.0.1.example.com":          fault.Refused,
		"ftp://localhost":                       fault.Refused,
		"connect.example.com":                   fault.Invalid,
		"https://user:" + canary + "@localhost": fault.Invalid,
		"https://localhost/?x=1":                fault.Invalid,
		"https://":                              fault.Invalid,
		"http://[::1]:1":                        fault.Unavailable,
		"http://127.0.0.1:1":                    fault.Unavailable,
		"https://localhost:1/":                  fault.Unavailable,
	} {
		r := New(Config{ConnectHost: host, ConnectToken: secret.New(token), Timeout: 5 * time.Second, Transport: refuseTravel{t}})
		_, err := r.Resolve(t.Context(), "op://prod/app/username")
		if !fault.Is(err, want) {
			t.Errorf("%s: %v (%v), want %v", host, err, fault.KindOf(err), want)
		}
		clean(t, err)
	}
}

// refuseTravel fails a test that lets a request leave for another machine.
type refuseTravel struct{ t *testing.T }

func (r refuseTravel) RoundTrip(req *http.Request) (*http.Response, error) {
	if !loopback(req.URL.Hostname()) {
		r.t.Errorf("a request to %s", req.URL.Host)
	}
	return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: http.ErrServerClosed}
}

func TestConnectHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"garbage": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>" + canary)) },
		"object":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"x":"` + canary + `"}`)) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 400 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("["))
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		timeout := 5 * time.Second
		if name == "slow" {
			timeout = 50 * time.Millisecond
		}
		r := New(Config{ConnectHost: server.URL, ConnectToken: secret.New(token), Timeout: timeout})
		if _, err := r.Resolve(t.Context(), "op://prod/app/username"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		} else {
			clean(t, err)
		}
	}
}
