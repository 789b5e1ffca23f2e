package vault

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// proxy stands between a store and a real server: it records, and fails where
// it is told to.
type proxy struct {
	*httptest.Server
	target string
	client *http.Client
	conns  atomic.Int32

	mu      sync.Mutex
	log     []string // "GET secret/data/…"
	trouble func(r *http.Request) trouble
}

// trouble says what becomes of one request.
type trouble int

const (
	pass        trouble = iota
	lose502             // carried out, answered with 502
	lose504             // carried out, answered with 504
	lose500             // carried out, answered as Vault does when its audit log is full
	loseReset           // carried out, the connection reset
	loseStall           // carried out, no answer
	loseHalf            // carried out, the answer cut off
	loseGarbage         // carried out, answered with 200 and garbage
	loseEmpty           // carried out, answered with 200 and {}
	drop502             // not carried out, answered with 502
	dropReset           // not carried out, reset
	dropStall           // not carried out, no answer
	late                // no answer, and carried out 1.3 s later
)

func (f trouble) String() string {
	return [...]string{
		"pass", "lose-502", "lose-504", "lose-500", "lose-reset", "lose-stall", "lose-half", "lose-garbage", "lose-empty",
		"drop-502", "drop-reset", "drop-stall", "late",
	}[f]
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	p := &proxy{target: target, client: &http.Client{CheckRedirect: refuseRedirect, Transport: &http.Transport{}}}
	done := make(chan struct{})
	var lateWork sync.WaitGroup
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, done, &lateWork) }))
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			p.conns.Add(1)
		}
	}
	p.Start()
	t.Cleanup(func() {
		close(done)
		lateWork.Wait()
		p.CloseClientConnections()
		p.Close()
		p.client.CloseIdleConnections()
	})
	return p
}

// failing makes the next n requests that match fail, and forgets the log.
func (p *proxy) failing(how trouble, n int, match func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = nil
	p.trouble = func(r *http.Request) trouble {
		if n > 0 && match(r) {
			n--
			return how
		}
		return pass
	}
}

func writes(r *http.Request) bool { return r.Method != http.MethodGet }

func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log
	p.log = nil
	return log
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request, done chan struct{}, lateWork *sync.WaitGroup) {
	p.mu.Lock()
	p.log = append(p.log, r.Method+" "+strings.TrimPrefix(r.RequestURI, "/v1/"))
	how := pass
	if p.trouble != nil {
		how = p.trouble(r)
	}
	p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	carryOut := func() (*http.Response, []byte) {
		u, err := url.Parse(p.target + r.RequestURI)
		if err != nil {
			return nil, nil
		}
		req := &http.Request{Method: r.Method, URL: u, Header: r.Header.Clone(), Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
		resp, err := p.client.Do(req)
		if err != nil {
			return nil, nil
		}
		defer func() { _ = resp.Body.Close() }()
		answer, _ := io.ReadAll(resp.Body)
		return resp, answer
	}
	stall := func() {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}
	reset := func() {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
		}
	}
	switch how {
	case drop502:
		http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		return
	case dropReset:
		reset()
		return
	case dropStall:
		stall()
		return
	case late:
		lateWork.Go(func() {
			select {
			case <-done:
			case <-time.After(1300 * time.Millisecond):
				carryOut()
			}
		})
		stall()
		return
	}
	resp, answer := carryOut()
	if resp == nil {
		http.Error(w, "no backend", http.StatusBadGateway)
		return
	}
	switch how {
	case lose502:
		http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
	case lose504:
		http.Error(w, "", http.StatusGatewayTimeout)
	case lose500:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"errors":["1 error occurred:\n\t* failed to audit response\n\n"]}`)
	case loseReset:
		reset()
	case loseStall:
		stall()
	case loseHalf:
		w.Header().Set("Content-Length", "4000")
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer[:len(answer)/2])
	case loseGarbage:
		_, _ = io.WriteString(w, "<html>welcome to the hotel's network</html>")
	case loseEmpty:
		_, _ = io.WriteString(w, "{}")
	default:
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer)
	}
}

func app(project string) naming.Path {
	return naming.Path{Project: project, Environment: "staging", Component: "app"}
}

// patch builds a patch; an empty value removes its key.
func patch(kv ...string) providers.Patch {
	p := providers.Patch{}
	for i := 0; i < len(kv); i += 2 {
		p[kv[i]] = secret.Value{}
		if kv[i+1] != "" {
			p[kv[i]] = secret.New(kv[i+1])
		}
	}
	return p
}

func mustWrite(t testing.TB, s *Store, p naming.Path, base providers.Version, change providers.Patch) providers.Version {
	t.Helper()
	v, err := s.Write(t.Context(), p, base, change)
	if err != nil {
		t.Fatalf("write on %d: %v", base, err)
	}
	return v
}

func mustRead(t testing.TB, s *Store, p naming.Path) providers.Bundle {
	t.Helper()
	b, err := s.Read(t.Context(), p, providers.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func isPut(r *http.Request) bool { return r.Method == http.MethodPut }

// around fails the next write, with something happening at the server just
// before and just after it is carried out.
func (p *proxy) around(t testing.TB, how trouble, before, after func()) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	inner := p.client.Transport
	armed := true
	p.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if !armed || r.Method == http.MethodGet {
			return inner.RoundTrip(r)
		}
		armed = false
		before()
		resp, err := inner.RoundTrip(r)
		after()
		return resp, err
	})
	n := 1
	p.trouble = func(r *http.Request) trouble {
		if n > 0 && writes(r) {
			n--
			return how
		}
		return pass
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slug makes a path segment of a test's name.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, s)
}
