// Package probe asks an application one question over HTTP and takes nothing of
// its answer but the status.
package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
)

const callTimeout = 10 * time.Second

// Config says how requests are made.
type Config struct {
	Timeout time.Duration // of one; 0: 10 s
	// Proxy returns the proxy for a URL; loopback is never asked through one. Nil: none.
	Proxy func(*url.URL) (*url.URL, error)
}

// Prober makes requests, each on a connection of its own: what answers is then
// what runs now.
type Prober struct {
	timeout time.Duration
	client  *http.Client
}

// New opens nothing.
func New(c Config) *Prober {
	transport := &http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:     true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
		Proxy: func(r *http.Request) (*url.URL, error) {
			if c.Proxy == nil || loopback(r.URL.Hostname()) {
				return nil, nil //nolint:nilnil // no proxy is an answer
			}
			return c.Proxy(r.URL)
		},
	}
	return &Prober{timeout: cmp.Or(c.Timeout, callTimeout), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Ask makes the request and returns the answer's status. A redirect is an answer
// and is not followed, and no byte of a body is read. Kinds: Refused (the URL is
// neither https nor on loopback), Unavailable (no answer, with the reason as far
// as it is this machine's own word), Interrupted.
func (p *Prober) Ask(ctx context.Context, q providers.Question) (status int, err error) {
	op := "ask the probe"
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return 0, fault.New(fault.Refused, op, "a token goes to https or to loopback only", "correct the probe's url in envctl.yaml, then run envctl trust")
	}
	op += " " + u.Scheme + "://" + u.Host + u.Path
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, u.String(), nil)
	if err != nil {
		return 0, fault.New(fault.Internal, op, "the request cannot be made", "")
	}
	value := q.Value.Reveal()
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
		return 0, fault.New(fault.Internal, op, "the header's value holds characters that no header can", "")
	}
	req.Header.Set(q.Header, value)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "envctl")
	resp, err := p.client.Do(req)
	if err == nil {
		_ = resp.Body.Close() // the rest of the answer is not waited for
		return resp.StatusCode, nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0, fault.New(fault.Interrupted, op, "interrupted", "")
	}
	return 0, fault.New(fault.Unavailable, op, reason(err), "")
}

// reason says why there was no answer. The client's own words may quote what a
// server sent, which may be the token.
func reason(err error) string {
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &cert):
		return "its certificate is not valid"
	case errors.As(err, &dns):
		return "there is no such host"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time"
	}
	return "what came back is no HTTP answer"
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
