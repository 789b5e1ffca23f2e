package probe_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/probe"
)

const canary = "canary-5b1e77c0a9d2"

func question(u string) providers.Question {
	return providers.Question{URL: u, Header: "Authorization", Value: secret.New("Bearer " + canary)}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Query().Get("q") != "1" || r.Header.Get("Authorization") != "Bearer "+canary || r.Header.Get("Referer") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	p := probe.New(probe.Config{Proxy: func(*url.URL) (*url.URL, error) { return nil, errors.New("loopback is never proxied") }})
	if status, err := p.Ask(t.Context(), question(s.URL+"/a?q=1")); err != nil || status != http.StatusNoContent {
		t.Error(status, err)
	}
	q := question(s.URL + "/a?q=1")
	q.Value = secret.New("a\r\nX: b")
	if _, err := p.Ask(t.Context(), q); !fault.Is(err, fault.Internal) {
		t.Error(err)
	}
}

// A token goes where it is meant to go and nowhere else.
func TestTheTokenIsNotCarriedOn(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := httptest.NewServer(http.RedirectHandler(other.URL, code))
		if status, err := probe.New(probe.Config{}).Ask(t.Context(), question(s.URL)); err != nil || status != code {
			t.Error(code, status, err)
		}
		s.Close()
	}
	for _, u := range []string{"http://example.com/", "http://192.0.2.1/", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1/", "http:///x", "https://", "://"} {
		if _, err := probe.New(probe.Config{}).Ask(t.Context(), question(u)); !fault.Is(err, fault.Refused) || strings.Contains(err.Error(), "pw") {
			t.Error(u, err)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// Servers that are no application's: each ends soon, without a byte of the token
// in the error, though they send back what they were sent.
func TestServersThatLie(t *testing.T) {
	t.Parallel()
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := []byte(strings.Repeat("x", 1<<20))
		for range 300 {
			if _, err := w.Write(piece); err != nil {
				return // nobody reads it
			}
		}
		t.Error("300 MiB were taken")
	}))
	defer large.Close()
	if status, err := probe.New(probe.Config{}).Ask(t.Context(), question(large.URL)); err != nil || status != 200 {
		t.Error(status, err)
	}
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(untrusted.Close)
	raw := func(answer func(c net.Conn, sent string)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					var sent strings.Builder
					for s := bufio.NewScanner(c); s.Scan() && s.Text() != ""; {
						sent.WriteString(s.Text() + " ")
					}
					answer(c, sent.String())
				}()
			}
		}()
		return "http://" + l.Addr().String()
	}
	gone := raw(func(net.Conn, string) {})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, c := range map[string]struct {
		url, words string
	}{
		"hangs": {raw(func(c net.Conn, _ string) { _, _ = io.Copy(io.Discard, c) }), "no answer in time"},
		"hangs in its headers": {raw(func(c net.Conn, _ string) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nA: b\r\n")
			_, _ = io.Copy(io.Discard, c)
		}), "no answer in time"},
		"ends at once":           {gone, "no HTTP answer"},
		"says what it was sent":  {raw(func(c net.Conn, sent string) { _, _ = io.WriteString(c, sent+"\r\n\r\n") }), "no HTTP answer"},
		"a status of its own":    {raw(func(c net.Conn, sent string) { _, _ = io.WriteString(c, "HTTP/1.1 "+canary+" x\r\n\r\n") }), "no HTTP answer"},
		"headers without end":    {raw(func(c net.Conn, _ string) { endless(c) }), "no HTTP answer"},
		"an unknown certificate": {untrusted.URL, "certificate is not valid"},
		"nobody":                 {closed.URL, "nothing listens there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := probe.New(probe.Config{Timeout: time.Second}).Ask(context.Background(), question(c.url))
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), canary) {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := probe.New(probe.Config{}).Ask(ctx, question(gone)); !fault.Is(err, fault.Interrupted) {
		t.Error(err)
	}
}

func endless(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	line := "X: " + strings.Repeat("y", 4000) + "\r\n"
	for {
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}
