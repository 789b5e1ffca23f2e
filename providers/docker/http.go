package docker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"envctl/internal/fault"
)

const maxBody = 16 << 20

const hintStart = "start docker on that machine, or name another engine in DOCKER_HOST or the user config's runtimes; envctl doctor shows what is used"

// transport returns how to reach the engine, and sets base and local.
func (e *Engine) transport(c Config) (*http.Transport, error) {
	bad := func(format string, args ...any) error {
		return fault.Newf(fault.Usage, "use docker endpoint "+e.host, "use unix:///path, ssh://user@host, or https://host:port", format, args...)
	}
	u, err := url.Parse(e.host)
	if err != nil {
		e.host = "given" // it may hold a password
		return nil, bad("it is not a URL")
	}
	if _, has := u.User.Password(); has {
		e.host = u.Redacted()
		return nil, bad("it contains a password")
	}
	dialer := &net.Dialer{Timeout: c.Timeout}
	t := &http.Transport{MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	e.base = "http://docker"
	switch u.Scheme {
	case "unix":
		path := u.Host + u.Path
		if !filepath.IsAbs(path) {
			return nil, bad("the socket's path is not absolute")
		}
		e.local = true
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
	case "ssh":
		args, err := sshArgs(u)
		if err != nil {
			return nil, bad("%v", err)
		}
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialSSH(ctx, args, c.Env) }
	case "tcp", "http", "https":
		if u.Host == "" || u.Path != "" && u.Path != "/" {
			return nil, bad("want %s://host:port", u.Scheme)
		}
		t.DialContext = dialer.DialContext
		if e.base = "http://" + u.Host; u.Scheme == "https" || c.CertDir != "" {
			e.base = "https://" + u.Host
			if t.TLSClientConfig, err = tlsConfig(c.CertDir); err != nil {
				return nil, err
			}
		} else if !loopback(u.Hostname()) {
			return nil, bad("without TLS only loopback addresses are used: whoever is on the way could read and change everything")
		}
	default:
		return nil, bad("scheme %q is not known", u.Scheme)
	}
	return t, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func tlsConfig(dir string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if dir == "" {
		return c, nil
	}
	op := "read docker certificates " + dir
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fault.Wrap(err, fault.Usage, op, "DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem")
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fault.New(fault.Usage, op, "ca.pem holds no certificate", "DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, fault.Wrap(err, fault.Usage, op, "DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem")
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

func (e *Engine) op(what string) string { return what + " on " + e.host }

// negotiate returns the path prefix of the engine's own API version: what is
// asked here has kept its form since 1.24, and newer engines refuse old versions.
func (e *Engine) negotiate(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.version != "" {
		return e.version, nil
	}
	resp, err := e.send(ctx, "reach docker", http.MethodGet, "/_ping", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10))
	v := resp.Header.Get("Api-Version")
	if !regexp.MustCompile(`^[1-9][0-9]*\.[0-9]{1,3}$`).MatchString(v) {
		return "", fault.New(fault.Invalid, e.op("reach docker"), "what answers there is not a docker engine", hintStart)
	}
	e.version = "/v" + v
	return e.version, nil
}

// get asks for a JSON document.
func (e *Engine) get(ctx context.Context, what, path string, query url.Values, out any) error {
	return e.call(ctx, what, http.MethodGet, path, query, nil, decode(out))
}

// call makes one bounded request and hands its body, at most maxBody of it, to read.
func (e *Engine) call(ctx context.Context, what, method, path string, query url.Values, body any, read func(io.Reader) error) error {
	bounded, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	resp, err := e.open(bounded, what, method, path, query, body)
	if err != nil {
		return e.ended(ctx, what, err)
	}
	defer resp.Body.Close()
	limited := &io.LimitedReader{R: resp.Body, N: maxBody}
	err = read(limited)
	switch {
	case err == nil:
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // lets the connection be used again
		return nil
	case limited.N <= 0:
		return fault.Newf(fault.Invalid, e.op(what), "run envctl doctor", "the engine's answer is larger than %d MiB", maxBody>>20)
	case bounded.Err() != nil:
		return e.ended(ctx, what, bounded.Err())
	case errors.As(err, new(*json.SyntaxError)), errors.As(err, new(*json.UnmarshalTypeError)), errors.As(err, new(*time.ParseError)):
		// The cause may quote the document, which holds values.
		return fault.New(fault.Invalid, e.op(what), "the engine's answer is not what its API promises", "run envctl doctor")
	}
	return fault.Wrap(err, fault.Unavailable, e.op(what), hintStart)
}

// ended turns the end of a request's own time limit into words; the end of ctx itself stays what it is.
func (e *Engine) ended(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.Wrap(ctx.Err(), fault.Interrupted, e.op(what), "")
	case errors.Is(err, context.DeadlineExceeded):
		if ctx.Err() != nil {
			return fault.New(fault.Unavailable, e.op(what), "no answer in time", hintStart)
		}
		return fault.Newf(fault.Unavailable, e.op(what), hintStart, "no answer within %s", e.timeout)
	}
	return err
}

// open makes a request whose body the caller reads and closes; an answer that is
// not a success is an error.
func (e *Engine) open(ctx context.Context, what, method, path string, query url.Values, body any) (*http.Response, error) {
	version, err := e.negotiate(ctx)
	if err != nil {
		return nil, err
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	resp, err := e.send(ctx, what, method, version+path, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	var said struct{ Message string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	_ = json.Unmarshal(text, &said)
	kind := fault.Unavailable
	switch {
	case resp.StatusCode == http.StatusNotFound:
		kind = fault.NotFound
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		kind = fault.Denied
	case resp.StatusCode == http.StatusConflict:
		kind = fault.Conflict
	case resp.StatusCode < http.StatusInternalServerError:
		kind = fault.Invalid
	}
	if said.Message == "" {
		said.Message = "the engine answered " + resp.Status
	}
	return nil, fault.New(kind, e.op(what), oneLine(said.Message), "run envctl doctor")
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// send makes a request and classifies what kept it from being answered.
func (e *Engine) send(ctx context.Context, what, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, e.base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.client.Do(req)
	if err == nil {
		return resp, nil
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the made-up URL
	}
	var denied *sshError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err() // open's callers know whose limit it was
	case errors.As(err, &denied):
		return nil, fault.New(denied.kind, e.op(what), denied.message, denied.hint)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.New(fault.Denied, e.op(what), "you are not allowed to use the docker socket", "join the group that owns it (often docker), or run envctl as a user that may use it")
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.Unavailable, e.op(what), "docker is not running there: the socket does not exist", hintStart)
	}
	return nil, fault.Wrap(fmt.Errorf("docker does not answer: %w", err), fault.Unavailable, e.op(what), hintStart)
}
