package vault

import (
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// What each operation costs, on one connection.
func TestRequests(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	prox := newProxy(t, v.Addr)
	s := open(t, prox.URL, v.RootToken)
	if got := prox.requests(); len(got) != 0 {
		t.Errorf("opening sent %q", got)
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got := prox.requests(); !slices.Equal(got, want) {
			t.Errorf("%s sent\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	p := app("counts")
	if _, err := s.Read(t.Context(), p, providers.Latest); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	mustWrite(t, s, p, providers.Absent, patch("K", "1"))
	expect("a set on a new path, with the read before it",
		"GET secret/data/counts/staging/app", "GET sys/internal/ui/mounts/secret", "PUT secret/data/counts/staging/app")
	mustRead(t, s, p)
	expect("a read", "GET secret/data/counts/staging/app")
	mustRead(t, s, p)
	mustWrite(t, s, p, providers.Any, patch("K", "2"))
	expect("a set on an existing path, with the read before it", "GET secret/data/counts/staging/app", "PATCH secret/data/counts/staging/app")
	mustWrite(t, s, p, 2, patch("K", "3", "L", "1"))
	expect("a write of several keys", "PATCH secret/data/counts/staging/app")
	if _, err := s.History(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	expect("a history", "GET secret/metadata/counts/staging/app")
	if _, err := s.Write(t.Context(), p, 1, patch("K", "4")); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "now version 3") {
		t.Errorf("a stale base: %v", err)
	}
	if n := prox.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}

	fresh := open(t, prox.URL, v.RootToken)
	prox.requests()
	mustWrite(t, fresh, app("counts-2"), providers.Absent, patch("K", "1"))
	expect("a first write in a process", "GET sys/internal/ui/mounts/secret", "PUT secret/data/counts-2/staging/app")
}

// Two hundred writers (twenty with -short) of one path, each with its own key: every write that was
// acknowledged is a version of its own, and the last of each writer stays.
func TestWriters(t *testing.T) {
	t.Parallel()
	writers, sets, handles := 200, 50, 8
	if testing.Short() {
		writers, sets = 20, 10
	}
	v := realtest.Vault(t)
	p := app("crowd")
	mustWrite(t, open(t, v.Addr, v.RootToken), p, providers.Absent, patch("KEEP", "kept"))
	stores := make([]*Store, handles)
	for i := range stores {
		stores[i] = open(t, v.Addr, v.RootToken, func(c *Config) { c.Timeout = time.Minute })
	}
	versions := make([]int, 2+writers*sets)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range sets {
				got, err := stores[w%handles].Write(t.Context(), p, providers.Any, patch(fmt.Sprintf("K%d", w), fmt.Sprint(n)))
				if err != nil {
					t.Errorf("writer %d, set %d: %v", w, n, err)
					return
				}
				mu.Lock()
				versions[got]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	b := mustRead(t, stores[0], p)
	if int(b.Version) != 1+writers*sets {
		t.Errorf("%d acknowledged writes led to version %d", writers*sets, b.Version)
	}
	for i, n := range versions[2:] {
		if n != 1 {
			t.Fatalf("version %d was given to %d writers", i+2, n)
		}
	}
	for w := range writers {
		if got := b.Values[fmt.Sprintf("K%d", w)].Reveal(); got != fmt.Sprint(sets-1) {
			t.Errorf("writer %d: the last value is %q", w, got)
		}
	}
	if len(b.Values) != 1+writers {
		t.Errorf("%d keys, want %d", len(b.Values), 1+writers)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	p := app("creds")
	mustWrite(t, open(t, v.Addr, v.RootToken), p, providers.Absent, patch("K", "1"))
	const mayRead = `path "secret/data/creds/staging/*" { capabilities = ["read"] }`
	const andLook = mayRead + "\n" + `path "auth/token/lookup-self" { capabilities = ["read"] }`
	other := naming.Path{Project: "creds", Environment: "production", Component: "app"}
	for name, policy := range map[string]string{"may look itself up": andLook, "may not": mayRead} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, v.Addr, v.Token(policy, "1h"))
			mustRead(t, s, p)
			for what, err := range map[string]error{
				"read": errOf(s.Read(t.Context(), other, providers.Latest)), "history": errOf(s.History(t.Context(), p)),
				"list": errOf(s.List(t.Context(), naming.Path{Project: "creds"})), "write": errOf(s.Write(t.Context(), p, providers.Any, patch("K", "2"))),
				"cas": errOf(s.Write(t.Context(), p, 1, patch("K", "2"))), "create": errOf(s.Write(t.Context(), app("creds-new"), providers.Absent, patch("K", "2"))),
			} {
				if !fault.Is(err, fault.Denied) {
					t.Errorf("%s: %v, want denied", what, err)
				}
			}
			short := open(t, v.Addr, v.Token(policy, "2s"))
			mustRead(t, short, p)
			time.Sleep(2500 * time.Millisecond)
			if _, err := short.Read(t.Context(), p, providers.Latest); !fault.Is(err, fault.Expired) || !strings.Contains(err.Error(), "token from the test") {
				t.Errorf("after its time: %v, want expired, naming the token", err)
			}
			if _, err := short.Write(t.Context(), p, providers.Any, patch("K", "2")); !fault.Is(err, fault.Expired) {
				t.Errorf("a write after its time: %v, want expired", err)
			}
		})
	}
	t.Run("not a token", func(t *testing.T) {
		s := open(t, v.Addr, "hvs.nonsense")
		if _, err := s.Read(t.Context(), p, providers.Latest); !fault.Is(err, fault.Expired) {
			t.Errorf("%v, want expired", err)
		}
		if _, err := s.Whoami(t.Context()); !fault.Is(err, fault.Expired) {
			t.Errorf("whoami: %v, want expired", err)
		}
	})
	t.Run("AppRole logs in when needed, and again", func(t *testing.T) {
		v.Do(http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
		v.Do(http.MethodPut, "sys/policies/acl/role", map[string]any{"policy": strings.ReplaceAll(mayRead, `"read"`, `"read", "patch"`)})
		v.Do(http.MethodPost, "auth/approle/role/app", map[string]any{"token_policies": "role", "token_ttl": "2s", "token_max_ttl": "2s"})
		id, _ := v.Do(http.MethodGet, "auth/approle/role/app/role-id", nil)["role_id"].(string)
		sid, _ := v.Do(http.MethodPost, "auth/approle/role/app/secret-id", nil)["secret_id"].(string)
		prox := newProxy(t, v.Addr)
		role := func(secretID string) func(*Config) {
			return func(c *Config) {
				c.Token, c.RoleID, c.SecretID = secret.Value{}, secret.New(id), secret.New(secretID)
			}
		}
		p := naming.Path{Project: "creds", Environment: "staging", Component: "role"}
		mustWrite(t, open(t, v.Addr, v.RootToken), p, providers.Absent, patch("K", "1"))
		s := open(t, prox.URL, "", role(sid))
		if got := prox.requests(); len(got) != 0 {
			t.Errorf("opening sent %q", got)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.Read(t.Context(), p, providers.Latest); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(2500 * time.Millisecond)
		mustRead(t, s, p)
		time.Sleep(2500 * time.Millisecond)
		mustWrite(t, s, p, providers.Any, patch("K", "by role"))
		logins := 0
		for _, r := range prox.requests() {
			if strings.HasSuffix(r, "auth/approle/login") {
				logins++
			}
		}
		if logins != 3 {
			t.Errorf("%d logins, want 3", logins)
		}
		if _, err := open(t, v.Addr, "", role("wrong")).Read(t.Context(), p, providers.Latest); !fault.Is(err, fault.Denied) {
			t.Errorf("a wrong secret id: %v, want denied", err)
		}
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestEngines(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	v.Do(http.MethodPost, "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	v.Do(http.MethodPost, "sys/mounts/keys", map[string]any{"type": "transit"})
	v.Do(http.MethodPost, "sys/mounts/team/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	p := app("engines")
	// What "kv put" to a version 1 engine at the API's own path leaves behind.
	v.Do(http.MethodPut, "old/data/engines/staging/app", map[string]any{"K": "v", "data": "d", "metadata": "m"})
	v.Do(http.MethodPut, "old/data/engines/staging/other", map[string]any{"K": "v"})
	mounted := func(mount string) *Store {
		return open(t, v.Addr, v.RootToken, func(c *Config) { c.Mount = mount })
	}
	for _, mount := range []string{"old", "keys", "nothing-here"} {
		for _, p := range []naming.Path{p, {Project: "engines", Environment: "staging", Component: "other"}, app("engines-new")} {
			for what, try := range attempts(t, mounted(mount), p) {
				err := try()
				if !fault.Is(err, fault.Invalid, fault.Denied) || mount == "old" && !strings.Contains(err.Error(), "version 1") {
					t.Errorf("%s at %s of %s: %v", what, mount, p, err)
				}
			}
		}
	}
	status, body := v.Try(http.MethodGet, "old/data/engines/staging/app", nil)
	if status != 200 || !strings.Contains(string(body), `{"K":"v","data":"d","metadata":"m"}`) {
		t.Errorf("the version 1 engine was changed: %d %s", status, body)
	}
	if status, _ := v.Try(http.MethodGet, "old/data/engines-new/staging/app", nil); status != 404 {
		t.Error("a version 1 engine was written to")
	}
	deep := mounted("team/kv")
	mustWrite(t, deep, p, providers.Absent, patch("K", "1"))
	mustRead(t, deep, p)
}

// attempts are all operations on p.
func attempts(t *testing.T, s *Store, p naming.Path) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"read":     func() error { return errOf(s.Read(ctx, p, providers.Latest)) },
		"history":  func() error { return errOf(s.History(ctx, p)) },
		"list":     func() error { return errOf(s.List(ctx, naming.Path{Project: p.Project, Environment: p.Environment})) },
		"create":   func() error { return errOf(s.Write(ctx, p, providers.Absent, patch("K", "2"))) },
		"set":      func() error { return errOf(s.Write(ctx, p, providers.Any, patch("K", "2"))) },
		"cas":      func() error { return errOf(s.Write(ctx, p, 1, patch("K", "2"))) },
		"delete":   func() error { return s.Delete(ctx, p) },
		"undelete": func() error { return s.Undelete(ctx, p) },
		"destroy":  func() error { return s.Destroy(ctx, p) },
		"purge":    func() error { return s.Purge(ctx, p) },
		"meta":     func() error { return errOf(s.Meta(ctx, p)) },
		"patch":    func() error { return s.PatchMeta(ctx, p, map[string]string{"a": "1"}) },
		"max":      func() error { return s.SetMaxVersions(ctx, p, 5) },
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	v := realtest.SealableVault(t)
	s := open(t, v.Addr, v.RootToken)
	p := app("sealed")
	mustWrite(t, s, p, providers.Absent, patch("K", "1"))
	all := func(why string, kind fault.Kind) {
		t.Helper()
		for what, try := range attempts(t, s, p) {
			start := time.Now()
			err := try()
			if !fault.Is(err, kind) || fault.HintOf(err) == "" {
				t.Errorf("%s, %s: %v, want %v with a hint", what, why, err, kind)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("%s, %s, took %v", what, why, took)
			}
		}
	}
	v.Seal()
	all("sealed", fault.Sealed)
	if h, err := s.Health(t.Context()); err != nil || !h.Sealed || h.Version == "" || !h.Initialized {
		t.Errorf("health of a sealed server: %+v, %v", h, err)
	}
	v.Unseal()
	if got := mustRead(t, s, p); got.Version != 1 {
		t.Errorf("version %d after all that was refused", got.Version)
	}
	v.Stop()
	all("stopped", fault.Unavailable)
	v.Restart()
	mustWrite(t, s, p, 1, patch("K", "2"))
	if h, err := s.Health(t.Context()); err != nil || h.Sealed || time.Since(h.Time).Abs() > time.Minute {
		t.Errorf("health: %+v, %v", h, err)
	}
	id, err := s.Whoami(t.Context())
	if err != nil || !id.Root() || !id.Expires.IsZero() || id.TTL != 0 {
		t.Errorf("whoami: %+v, %v", id, err)
	}
}

func TestValuesThatAreNotStrings(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	p := app("kinds")
	s := open(t, v.Addr, v.RootToken)
	v.Do(http.MethodPut, "secret/data/kinds/staging/app", map[string]any{"data": map[string]any{
		"TEXT": "t", "NUMBER": 5432, "BIG": new(big.Int).Lsh(big.NewInt(1), 70), "YES": true, "NONE": nil, "LIST": []any{1, "a"}, "OBJECT": map[string]any{"a": 1},
	}})
	b := mustRead(t, s, p)
	if want := []string{"BIG", "LIST", "NONE", "NUMBER", "OBJECT", "YES"}; !slices.Equal(b.NonString, want) {
		t.Errorf("NonString is %q, want %q", b.NonString, want)
	}
	for k, want := range map[string]string{"TEXT": "t", "NUMBER": "5432", "YES": "true", "NONE": "null", "LIST": `[1,"a"]`, "OBJECT": `{"a":1}`} {
		if got := b.Values[k].Reveal(); got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	// Neither way of writing turns a number into a string.
	mustWrite(t, s, p, 1, patch("TEXT", "u"))
	put := open(t, v.Addr, v.Token(`path "secret/data/*" { capabilities = ["create", "read", "update"] }`, "1h"))
	mustWrite(t, put, p, 2, patch("TEXT", "v", "LIST", "now text"))
	b = mustRead(t, s, p)
	if want := []string{"BIG", "NONE", "NUMBER", "OBJECT", "YES"}; !slices.Equal(b.NonString, want) || b.Values["TEXT"].Reveal() != "v" {
		t.Errorf("after two writes NonString is %q, want %q", b.NonString, want)
	}
}

// A path that demands check-and-set gets it, for one key too.
func TestCASRequired(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	p := app("strict")
	s := open(t, v.Addr, v.RootToken)
	mustWrite(t, s, p, providers.Absent, patch("K", "1"))
	v.Do(http.MethodPost, "secret/metadata/strict/staging/app", map[string]any{"cas_required": true})
	if got := mustWrite(t, s, p, providers.Any, patch("L", "1")); got != 2 {
		t.Errorf("version %d, want 2", got)
	}
	mustWrite(t, s, p, 2, patch("L", "2"))
}

// Deletions that are only due later are none yet.
func TestDeleteVersionAfter(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	p := app("due")
	s := open(t, v.Addr, v.RootToken)
	v.Do(http.MethodPost, "secret/metadata/due/staging/app", map[string]any{"delete_version_after": "1h"})
	if _, err := s.History(t.Context(), p); !fault.Is(err, fault.NotFound) {
		t.Errorf("history of metadata alone: %v, want not found", err)
	}
	mustWrite(t, s, p, providers.Absent, patch("K", "1"))
	h, err := s.History(t.Context(), p)
	if err != nil || len(h) != 1 || h[0].Deleted || h[0].Author != "token" {
		t.Errorf("history is %+v, %v", h, err)
	}
	if err := s.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if h, err = s.History(t.Context(), p); err != nil || !h[0].Deleted {
		t.Errorf("history is %+v, %v, want deleted", h, err)
	}
}

// The path that "kv put secret/data/…" leaves behind is neither written nor
// listed, and is read only where it is asked for.
func TestGhosts(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	s := open(t, v.Addr, v.RootToken)
	v.Do(http.MethodPut, "secret/data/data/ledger/app", map[string]any{"data": map[string]any{"K": "ghost"}})
	ghost := naming.Path{Project: "data", Environment: "ledger", Component: "app"}
	for what, try := range attempts(t, s, ghost) {
		if err := try(); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v, want refused", what, err)
		}
	}
	if all, err := s.List(t.Context(), naming.Path{}); err != nil || len(all) != 0 {
		t.Errorf("list: %v, %v", all, err)
	}
	app := naming.Path{Project: "ledger", Environment: "staging", Component: "app"}
	if _, err := s.Ghost(t.Context(), app); !fault.Is(err, fault.NotFound) {
		t.Errorf("no ghost: %v, want not found", err)
	}
	v.Do(http.MethodPut, "secret/data/data/ledger/staging/app", map[string]any{"data": map[string]any{"K": "ghost"}})
	if b, err := s.Ghost(t.Context(), app); err != nil || b.Values["K"].Reveal() != "ghost" || b.Version != 1 || b.Created.IsZero() {
		t.Errorf("ghost: version %d, %v", b.Version, err)
	}
	if _, err := s.Read(t.Context(), app, providers.Latest); !fault.Is(err, fault.NotFound) {
		t.Errorf("the path itself: %v, want not found", err)
	}
	if _, err := s.Ghost(t.Context(), ghost); !fault.Is(err, fault.Refused) {
		t.Errorf("a ghost's ghost: %v, want refused", err)
	}
}

func TestListMany(t *testing.T) {
	t.Parallel()
	v := realtest.Vault(t)
	prox := newProxy(t, v.Addr)
	s := open(t, prox.URL, v.RootToken)
	var want []naming.Path
	for pr := range 4 {
		for e := range 6 {
			for c := range 3 {
				p := naming.Path{Project: fmt.Sprintf("p%d", pr), Environment: fmt.Sprintf("e%d", e), Component: fmt.Sprintf("c%d", c)}
				mustWrite(t, s, p, providers.Absent, patch("K", "1"))
				want = append(want, p)
			}
		}
	}
	v.Do(http.MethodPut, "secret/data/p0/Not-Ours/x", map[string]any{"data": map[string]any{}})
	v.Do(http.MethodPut, "secret/data/p0/e0/deeper/x", map[string]any{"data": map[string]any{}})
	v.Do(http.MethodPut, "secret/data/p0/leaf", map[string]any{"data": map[string]any{}})
	prox.requests()
	got, err := s.List(t.Context(), naming.Path{})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("list: %d paths, %v, want %d", len(got), err, len(want))
	}
	if n := len(prox.requests()); n != 1+4+24 {
		t.Errorf("%d requests, want 29", n)
	}
	prox.failing(drop502, 1000, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "e3") })
	if _, err := s.List(t.Context(), naming.Path{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a folder that cannot be listed: %v, want unavailable", err)
	}
}
