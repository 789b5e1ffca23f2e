package vault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

const canary = "hvs.canary-token-5d1f"

// stranger is a server that must never be asked anything.
func stranger(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("another origin was sent %s %s, token %q", r.Method, r.URL, r.Header.Get("X-Vault-Token"))
		_, _ = io.WriteString(w, `{"data":{"version":7,"data":{},"metadata":{"version":7,"created_time":"2026-01-01T00:00:00Z"}}}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestRedirectsAreRefused(t *testing.T) {
	t.Parallel()
	evil := stranger(t)
	for status := 300; status <= 308; status++ {
		for name, location := range map[string]string{
			"another origin": evil.URL + "%s", "another host's port": "http://localhost:1%s", "no scheme": "//" + strings.TrimPrefix(evil.URL, "http://") + "%s",
			"nowhere": "", "itself, elsewhere": "/v1/sys/policies/acl/root", "file": "file:///etc/passwd", "garbage": "http://[::bad%%%s",
		} {
			for _, leader := range []string{"", `{"ha_enabled":true,"leader_address":"http://127.0.0.1:1"}`, `{"leader_address":"` + evil.URL + `.example"}`} {
				var elsewhere atomic.Int32
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/v1/sys/leader" && leader != "":
						_, _ = io.WriteString(w, leader)
						return
					case r.URL.Path == "/v1/sys/policies/acl/root":
						elsewhere.Add(1)
					}
					if location != "" {
						w.Header().Set("Location", strings.ReplaceAll(location, "%s", r.RequestURI))
					}
					w.WriteHeader(status)
				}))
				s := open(t, srv.URL, canary)
				for what, try := range attempts(t, s, app("away")) {
					if err := try(); !fault.Is(err, fault.Refused) || strings.Contains(err.Error(), canary) {
						t.Errorf("%d to %s, %s: %v, want refused", status, name, what, err)
					}
				}
				if elsewhere.Load() > 0 {
					t.Errorf("%d to %s was followed on the same server", status, name)
				}
				s.Close()
				srv.Close()
			}
		}
	}
}

// A standby sends to the leader that the cluster announces: that is followed,
// once, and remembered.
func TestRedirectToTheLeader(t *testing.T) {
	t.Parallel()
	var log []string
	var mu sync.Mutex
	note := func(who string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, who+" "+r.Method+" "+r.URL.Path)
	}
	active := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("active", r)
		if r.Header.Get("X-Vault-Token") != canary {
			w.WriteHeader(http.StatusForbidden)
		}
		body, err := io.ReadAll(r.Body)
		if r.Method == http.MethodPatch && (err != nil || !strings.Contains(string(body), `"K":"v"`)) {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, `{"data":{"version":2,"data":{"K":"v"},"metadata":{"version":2,"created_time":"2026-01-01T00:00:00Z"}}}`)
	}))
	defer active.Close()
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("standby", r)
		if r.URL.Path == "/v1/sys/leader" {
			if r.Header.Get("X-Vault-Token") != "" {
				t.Error("a token was sent where none is needed")
			}
			_, _ = io.WriteString(w, `{"ha_enabled":true,"is_self":false,"leader_address":"`+active.URL+`/"}`)
			return
		}
		http.Redirect(w, r, active.URL+r.RequestURI, http.StatusTemporaryRedirect)
	}))
	defer standby.Close()
	s := open(t, standby.URL, canary)
	p := app("ha")
	mustWrite(t, s, p, providers.Any, patch("K", "v"))
	mustRead(t, s, p)
	want := "standby PATCH /v1/secret/data/ha/staging/app|standby GET /v1/sys/leader|active PATCH /v1/secret/data/ha/staging/app|active GET /v1/secret/data/ha/staging/app"
	if got := strings.Join(log, "|"); got != want {
		t.Errorf("requests\n%s\nwant\n%s", got, want)
	}
}

// Whatever a server answers, every operation ends in time, holds little of it,
// and repeats nothing of what it was sent.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	const timeout = 600 * time.Millisecond
	answers := map[string]func(http.ResponseWriter, *http.Request){
		"300 MiB": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"data":{"data":{"K":"`)
			chunk := []byte(strings.Repeat("A", 1<<20))
			for range 300 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"300 MiB of an error": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			chunk := []byte(strings.Repeat("A", 1<<20))
			for range 300 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"a byte a second": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(time.Second):
				}
			}
		},
		"nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"html":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>welcome</html>") },
		"html 404": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>not here</html>", http.StatusNotFound)
		},
		"null":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") },
		"list":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[1,2]") },
		"other data": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":"text"}`) },
		"deep": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(`{"data":`, 100_000))
		},
		"version zero": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":{"version":0,"data":{},"metadata":{"version":-1}}}`)
		},
		"no time": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"data":{"version":"x","data":{},"metadata":{"version":1}}}`)
		},
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"garbage": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = c.Write([]byte("\x00\xff\xfe SSH-2.0-OpenSSH_9\r\n\r\n"))
				_ = c.Close()
			}
		},
		"an echo of everything": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"errors":[%q,%q]}`, r.Header.Get("X-Vault-Token"), "K is "+strings.ReplaceAll(string(body), `"`, " "))
		},
		"endless headers": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
			for i := range 1 << 20 {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("a", 1000)); err != nil {
					return
				}
			}
		},
	}
	for name, answer := range answers {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Until the body is read a server does not notice that its client left.
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			answer(w, r)
		}))
		s := open(t, srv.URL, canary, func(c *Config) { c.Timeout = timeout })
		tries := attempts(t, s, app("hostile"))
		tries["whoami"] = func() error { return errOf(s.Whoami(t.Context())) }
		tries["health"] = func() error { return errOf(s.Health(t.Context())) }
		const value = "canary-value-77aa"
		tries["write of a canary"] = func() error {
			return errOf(s.Write(t.Context(), app("hostile"), providers.Any, patch("K", value)))
		}
		var wg sync.WaitGroup
		for what, try := range tries {
			wg.Go(func() {
				start := time.Now()
				err := try()
				if took := time.Since(start); took > timeout+time.Second {
					t.Errorf("%s, %s: took %v", name, what, took)
				}
				if err == nil {
					t.Errorf("%s, %s: succeeded", name, what)
				}
				if text := fmt.Sprintf("%+v %#v", err, err); strings.Contains(text, value) || strings.Contains(text, canary) {
					t.Errorf("%s, %s: the error repeats a value: %v", name, what, err)
				}
				if fault.Is(err, fault.Internal, fault.NotFound, fault.Deleted, fault.Conflict) {
					t.Errorf("%s, %s: %v is kind %v", name, what, err, fault.KindOf(err))
				}
			})
		}
		wg.Wait()
		s.Close()
		srv.CloseClientConnections()
		srv.Close()
	}
}

// Of an answer without an end, 16 MiB are taken and no more, once.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 400, 404} {
		var taken atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 300 {
				n, err := w.Write(chunk)
				taken.Add(int64(n))
				if err != nil {
					return
				}
			}
		}))
		s := open(t, srv.URL, canary)
		if _, err := s.Read(t.Context(), app("big"), providers.Latest); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "larger than 16 MiB") {
			t.Errorf("%d: %v", status, err)
		}
		s.Close()
		srv.Close()
		if n := taken.Load() >> 20; n < 10 || n > 40 { // with what the sockets hold
			t.Errorf("%d: %d MiB were taken", status, n)
		}
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		body   string
		read   fault.Kind
		write  fault.Kind
		reads  int32 // requests of a read
	}{
		{400, `{"errors":["no"]}`, fault.Refused, fault.Refused, 1},
		{401, `{"errors":["no"]}`, fault.Denied, fault.Denied, 1},
		{403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, fault.Denied, fault.Denied, 2},
		{403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, fault.Expired, fault.Expired, 1},
		{403, `<html>a proxy</html>`, fault.Denied, fault.Denied, 2},
		{404, `{"errors":["no handler for route \"secret/data/x\". route entry not found."]}`, fault.Invalid, fault.Invalid, 1},
		{412, `{"errors":["required index state not present"]}`, fault.Unavailable, fault.Unavailable, 3},
		{413, ``, fault.Refused, fault.Refused, 1},
		{429, `{"errors":["rate limit quota exceeded"]}`, fault.Unavailable, fault.Unavailable, 3},
		{472, `{"errors":[]}`, fault.Unavailable, fault.Unavailable, 1},
		{473, `{"errors":[]}`, fault.Unavailable, fault.Unavailable, 1},
		{500, `{"errors":["1 error occurred:\n\t* failed to audit\n\n"]}`, fault.Unavailable, fault.Unknown, 1},
		{501, `{"errors":["not initialized"]}`, fault.Unavailable, fault.Unknown, 1},
		{502, `<html>bad gateway</html>`, fault.Unavailable, fault.Unknown, 3},
		{503, `{"errors":["Vault is sealed"]}`, fault.Sealed, fault.Sealed, 1},
		{503, `{"errors":["OpenBao is sealed"]}`, fault.Sealed, fault.Sealed, 1},
		{503, `<html>maintenance</html>`, fault.Unavailable, fault.Unknown, 3},
		{504, ``, fault.Unavailable, fault.Unknown, 1},
	} {
		var asked, wrote atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1); r.Method != http.MethodGet {
				wrote.Add(1)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body)
		}))
		s := open(t, srv.URL, canary)
		if _, err := s.Read(t.Context(), app("st"), providers.Latest); !fault.Is(err, tc.read) || fault.HintOf(err) == "" {
			t.Errorf("%d: read: %v (%v), want %v", tc.status, err, fault.KindOf(err), tc.read)
		}
		if got := asked.Load(); got != tc.reads {
			t.Errorf("%d: a read sent %d requests, want %d", tc.status, got, tc.reads)
		}
		for _, base := range []providers.Version{providers.Any, 3} {
			wrote.Store(0)
			if _, err := s.Write(t.Context(), app("st"), base, patch("K", "v")); !fault.Is(err, tc.write) || fault.HintOf(err) == "" {
				t.Errorf("%d: write: %v (%v), want %v", tc.status, err, fault.KindOf(err), tc.write)
			}
			if n := wrote.Load(); n != 1 {
				t.Errorf("%d: a write was sent %d times", tc.status, n)
			}
		}
		s.Close()
		srv.Close()
	}
}

// A read outwaits a trouble that passes.
func TestPassingTroubles(t *testing.T) {
	t.Parallel()
	for _, status := range []int{412, 429, 502, 503, 0} {
		var asked atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) > 2 {
				_, _ = io.WriteString(w, `{"data":{"data":{"K":"v"},"metadata":{"version":2,"created_time":"2026-01-01T00:00:00Z"}}}`)
				return
			}
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
		}))
		s := open(t, srv.URL, canary)
		mustRead(t, s, app("passing"))
		s.Close()
		srv.Close()
	}
}

// No name leads anywhere but to its own place: whatever is asked for, the
// recorded requests lie below the prefix.
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, r.RequestURI)
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors":[]}`)
	}))
	defer srv.Close()
	s := open(t, srv.URL, canary)
	parts := []string{
		"..", ".", "", "/", "%2e%2e", "%2f", "../../../sys/policies/acl/root", "a/../../b", "a\\..\\b", "data", "data/data", "metadata", "a?list=true", "a#b",
		"a;b", "a b", "a\x00", "a\n", "\x1b[31m", "\u202e", "é", "À", "A", "-a", "_a", strings.Repeat("a", 64), "http://evil", "//evil", "a%00", "a:b@c", "*", "+",
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		pick := func() string {
			a := parts[rng.IntN(len(parts))]
			if rng.IntN(3) == 0 {
				return a + parts[rng.IntN(len(parts))]
			}
			if rng.IntN(3) == 0 {
				return "ok"
			}
			return a
		}
		p := naming.Path{Project: pick(), Environment: pick(), Component: pick()}
		for what, try := range attempts(t, s, p) {
			err := try()
			legal := p.Check() == nil && p.Project != "data"
			if !legal && what != "list" && !fault.Is(err, fault.Usage, fault.Refused) {
				t.Errorf("%s %+q: %v", what, p, err)
			}
		}
	}
	allowed := []string{
		"/v1/secret/data/", "/v1/secret/metadata", "/v1/secret/delete/", "/v1/secret/undelete/", "/v1/secret/destroy/", "/v1/sys/internal/ui/mounts/secret",
	}
	for _, uri := range log {
		ok := false
		for _, a := range allowed {
			ok = ok || strings.HasPrefix(uri, a)
		}
		if !ok || strings.Contains(uri, "..") || strings.Contains(uri, "%") || strings.Contains(uri, "//") || strings.Contains(uri, "/data/data") {
			t.Errorf("sent %q", uri)
		}
	}
	if len(log) == 0 {
		t.Error("not one legal name was among them: this test tests nothing")
	}
}

// The gate refuses on its own, whatever the code before it does.
func TestGate(t *testing.T) {
	t.Parallel()
	evil := stranger(t)
	srv := stranger(t)
	s := open(t, srv.URL, canary)
	client, err := s.connect()
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{
		"sys/policies/acl/x", "secret/../sys/policies/acl/x", "secret/data/../../sys/x", "secret/data/data/x/y", "secret/config", "secret", "other/data/x",
		"auth/token/create", "secret/data/a/%2e%2e/b", "", "secret/metadata/data/x",
	} {
		_, err := client.Logical().WriteWithContext(t.Context(), where, map[string]any{"a": 1})
		if err == nil {
			t.Errorf("%s went through", where)
		}
	}
	if err := client.SetAddress(evil.URL); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Logical().ReadWithContext(t.Context(), "secret/data/x/y/z"); err == nil {
		t.Error("another origin went through")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, kind := range map[string]fault.Kind{
		"":                                fault.Usage,
		"vault.example.com:8200":          fault.Usage,
		"https://":                        fault.Usage,
		"https://user:pw@vault.example":   fault.Usage,
		"https://vault.example/?a=b":      fault.Usage,
		"https://vault.example/a/../b":    fault.Usage,
		"http://vault.example.com:8200":   fault.Refused,
		"http://10.0.0.1:8200":            fault.Refused,
		"http://localhost.evil.com:8200":  fault.Refused,
		"http://127.0.0.1.evil.com":       fault.Refused,
		"http://0.0.0.0:8200":             fault.Refused,
		"unix:///run/vault.sock":          fault.Usage,
		"ftp://127.0.0.1":                 fault.Refused,
		"https://vault.example.com:8200/": -1,
		"https://proxy.example.com/vault": -1,
		"http://127.0.0.1:8200":           -1,
		"http://[::1]:8200":               -1,
		"http://localhost:8200":           -1,
	} {
		_, err := Open(Config{Address: address})
		if kind == -1 && err != nil || kind != -1 && !fault.Is(err, kind) {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error shows a password", address)
		}
	}
	for _, mount := range []string{"sys", "auth/token", "identity", "cubbyhole", "..", "a/../b", "a//b", "a b", "a%2fb", "a?b", "a/data/../..", ".hidden", "-a", "a/-b", "ä", "a\x00"} {
		if _, err := Open(Config{Address: "http://127.0.0.1:1", Mount: mount}); !fault.Is(err, fault.Usage) {
			t.Errorf("mount %q: %v", mount, err)
		}
	}
	for _, mount := range []string{"", "a", "_a", "A.b-c_0", "team/kv/", "0"} {
		if _, err := Open(Config{Address: "http://127.0.0.1:1", Mount: mount}); err != nil {
			t.Errorf("mount %q: %v", mount, err)
		}
	}
}

// Ending the context ends an operation; a write that is under way says so.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer srv.Close()
	s := open(t, srv.URL, canary)
	for kind, try := range map[fault.Kind]func(context.Context) error{
		fault.Interrupted: func(ctx context.Context) error { return errOf(s.Read(ctx, app("x"), providers.Latest)) },
		fault.Unknown:     func(ctx context.Context) error { return errOf(s.Write(ctx, app("x"), providers.Any, patch("K", "v"))) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		start := time.Now()
		if err := try(ctx); !fault.Is(err, kind) {
			t.Errorf("got %v, want %v", err, kind)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		cancel()
	}
}

// A server that is not there, or does not answer, is told at once or in time.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // accepts by the kernel's backlog, never answers
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := dead.Addr().String()
	_ = dead.Close()
	for address, limit := range map[string]time.Duration{"http://" + refusing: time.Second, "http://" + l.Addr().String(): 1300 * time.Millisecond, "https://" + l.Addr().String(): 1300 * time.Millisecond} {
		s := open(t, address, canary, func(c *Config) { c.Timeout = 300 * time.Millisecond })
		for what, try := range attempts(t, s, app("x")) {
			start := time.Now()
			err := try()
			if !fault.Is(err, fault.Unavailable, fault.Unknown) || fault.HintOf(err) == "" {
				t.Errorf("%s %s: %v", address, what, err)
			}
			if strings.Contains(address, refusing) && !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s at a closed port: %v, want unavailable: nothing was sent", what, err)
			}
			if took := time.Since(start); took > limit {
				t.Errorf("%s %s: took %v", address, what, took)
			}
		}
	}
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	defer tlsServer.Close()
	tlsServer.Config.ErrorLog = nil
	for address, hint := range map[string]string{tlsServer.URL: "VAULT_CACERT", "https" + strings.TrimPrefix(stranger(t).URL, "http"): "http"} {
		_, err := open(t, address, canary).Read(t.Context(), app("x"), providers.Latest)
		if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("%s: %v (hint %q)", address, err, fault.HintOf(err))
		}
	}
	insecure := open(t, tlsServer.URL, canary, func(c *Config) { c.SkipVerify = true })
	if _, err := insecure.Read(t.Context(), app("x"), providers.Latest); !strings.Contains(fmt.Sprint(err), "not Vault") {
		t.Errorf("with SkipVerify: %v", err)
	}
	if u, err := url.Parse("http://localhost"); err != nil || !secure(u) {
		t.Error("localhost is not loopback")
	}
}
