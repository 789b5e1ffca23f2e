package vault

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/vault/api"

	"envctl/internal/secret"
)

// maxBody is the longest answer that is read.
const maxBody = 16 << 20

// gate is the one way to the network. Every request's final address is
// compared with where it may go, no redirect is followed (the client library
// would take token and body to any host), and bodies are bounded.
type gate struct {
	base    *url.URL
	allowed func(path string) bool // of the path after /v1/
	// readable are paths beyond those that may be read and no more.
	readable func(path string) bool
	leader   atomic.Pointer[url.URL] // where the cluster's own leader announced itself to be
	token    atomic.Pointer[secret.Value]
	next     *http.Transport
}

// unescaped is what every path of this package is made of: nothing in it is
// ever escaped, so nothing can be unescaped into something else.
const unescaped = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.-/"

// redirect is the error for an answer that points elsewhere.
type redirect struct {
	path string // asked for
	to   *url.URL
}

func (r *redirect) Error() string {
	if r.to == nil {
		return "the server redirects to nowhere"
	}
	return fmt.Sprintf("the server redirects to %.100q", r.to.Host)
}

// strayed is the error for a request that would leave its prefix.
type strayed struct{ path string }

func (e *strayed) Error() string {
	return fmt.Sprintf("the path %.200q lies outside the mount", e.path)
}

// tooLarge is the error for an answer beyond maxBody.
type tooLarge struct{}

func (tooLarge) Error() string { return fmt.Sprintf("the answer is larger than %d MiB", maxBody>>20) }

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	u := req.URL
	rest, ok := strings.CutPrefix(u.Path, g.base.Path+"/v1/")
	if !ok || u.Scheme != g.base.Scheme || u.Host != g.base.Host || u.User != nil || u.RawPath != "" ||
		path.Clean(u.Path) != u.Path || rest == "" || strings.TrimLeft(rest, unescaped) != "" || !(g.allowed(rest) || req.Method == http.MethodGet && g.readable(rest)) {
		closeBody(req)
		return nil, &strayed{path: u.Path}
	}
	req = req.Clone(req.Context())
	if leader := g.leader.Load(); leader != nil && rest != "sys/leader" {
		req.URL.Scheme, req.URL.Host, req.Host = leader.Scheme, leader.Host, leader.Host
	}
	// Of the headers that the library has set, some come from the environment.
	given := req.Header
	req.Header = http.Header{api.RequestHeaderName: {"true"}, "User-Agent": {"envctl"}}
	for _, k := range []string{"Content-Type", api.NamespaceHeaderName} {
		if v := given.Get(k); v != "" {
			req.Header.Set(k, v)
		}
	}
	if token := g.token.Load(); token != nil && !public(rest) {
		req.Header.Set(api.AuthHeaderName, token.Reveal())
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		_ = resp.Body.Close() // nothing in it is wanted
		to, err := resp.Location()
		if err != nil {
			to = nil // no usable Location: redirect.Error says so
		}
		return nil, &redirect{path: u.Path, to: to}
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: maxBody}
	return resp, nil
}

// public tells which requests need no token and get none.
func public(rest string) bool {
	return rest == "sys/health" || rest == "sys/leader" || strings.HasPrefix(rest, "auth/") && strings.HasSuffix(rest, "/login")
}

// closeBody keeps RoundTrip's promise to close the body on error as well.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, tooLarge{}
	}
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return n, tooLarge{}
	}
	return n, err
}

// allowed lists all that this package ever asks a server for.
func (s *Store) allowed(rest string) bool {
	switch rest {
	case "auth/" + s.cfg.AppRoleMount + "/login", "auth/token/lookup-self",
		"sys/health", "sys/internal/ui/mounts/" + s.cfg.Mount, "sys/leader",
		s.cfg.Mount + "/metadata":
		return true
	}
	if name, ok := strings.CutPrefix(rest, policies); ok {
		return s.cfg.Policies && isPolicy(name)
	}
	if strings.HasPrefix(rest, "auth/") || strings.HasPrefix(rest, "sys/") {
		return s.cfg.Policies && s.issues(rest)
	}
	in, ok := strings.CutPrefix(rest, s.cfg.Mount+"/")
	if !ok {
		return false
	}
	verb, p, ok := strings.Cut(in, "/")
	if !ok || p == "data" || strings.HasPrefix(p, "data/") {
		return false
	}
	switch verb {
	case "data", "delete", "destroy", "metadata", "undelete":
		return true
	}
	return false
}

// readable tells which path is the ghost of one that this package may ask for.
func (s *Store) readable(rest string) bool {
	p, ok := strings.CutPrefix(rest, s.cfg.Mount+ghosts)
	return ok && s.allowed(s.cfg.Mount+"/data/"+p)
}

// secure tells whether a token may be sent to u.
func secure(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return true
	case "http":
		host := u.Hostname()
		ip := net.ParseIP(host)
		return host == "localhost" || ip != nil && ip.IsLoopback()
	}
	return false
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
