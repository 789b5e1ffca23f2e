package dokploy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	maxBody     = 16 << 20 // of an answer
	maxRequest  = 1_000_000
	callTimeout = 10 * time.Second
	// idle is shorter than the five seconds after which Dokploy closes a quiet
	// connection: a POST that meets the closing is lost and must not be repeated.
	idle = 4 * time.Second
	// tries and pause bound the repeating of reads.
	tries = 3
	pause = 150 * time.Millisecond
)

const keyHint = "make a key without a rate limit in Dokploy (Settings, API/CLI Keys), set DOKPLOY_API_KEY, then run envctl doctor"

// client speaks to one server. Answers carry whole environments, so no part of
// one but a checked error message is ever put into words.
type client struct {
	base    *url.URL // ends in /api
	http    *http.Client
	timeout time.Duration
	key     secret.Value
	resolve func(ctx context.Context, ref string) (secret.Value, error)

	mu       sync.Mutex
	resolved secret.Value
}

func newClient(c Config) (*client, error) {
	const op, hint = "connect to dokploy", "set DOKPLOY_URL (or dokploy: {url} in your config.yaml) to https://host/api"
	if c.URL == "" {
		return nil, fault.New(fault.Usage, op, "the server's address is not set", hint)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fault.New(fault.Usage, op, "the address is not of the form https://host/api", hint)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fault.Newf(fault.Refused, op, hint, "%s: plain http is for loopback addresses only", u)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/api"
	}
	if !strings.HasSuffix(u.Path, "/api") || strings.Contains(u.Path, "//") {
		return nil, fault.Newf(fault.Usage, op, hint, "%s does not end in /api", u)
	}
	transport := &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return nil, nil }, //nolint:nilnil // no proxy is an answer
		DialContext:            (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    callTimeout,
		DisableCompression:     true, // so that 16 MiB read are 16 MiB held
		IdleConnTimeout:        idle,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if c.Proxy != nil {
		transport.Proxy = func(r *http.Request) (*url.URL, error) { return c.Proxy(r.URL) }
	}
	return &client{
		base: u, timeout: cmp.Or(c.Timeout, callTimeout), key: c.Key, resolve: c.Resolve,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// credential returns the key, resolved once.
func (c *client) credential(ctx context.Context, op string) (secret.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.resolved.IsSet() {
		return c.resolved, nil
	}
	key := c.key
	if strings.HasPrefix(key.Reveal(), "op://") {
		if c.resolve == nil {
			return key, fault.New(fault.Usage, op, "the API key is an op:// reference, which nothing here can resolve", "run envctl doctor")
		}
		got, err := c.resolve(ctx, key.Reveal())
		if err != nil {
			return key, fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
		}
		key = got
	}
	k := strings.TrimSpace(key.Reveal())
	if k == "" || strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return key, fault.New(fault.Denied, op, "there is no API key for "+c.base.String()+", or it holds characters that no key has", "set DOKPLOY_API_KEY, or dokploy: {api_key: op://…} in your config.yaml")
	}
	c.resolved = secret.New(k)
	return c.resolved, nil
}

// answer is what came back: the body stays here.
type answer struct {
	body []byte
	date time.Time // the server's clock, zero when it does not say
}

// decode reads the body into v; op is for the error.
func (a answer) decode(op string, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fault.New(fault.Unavailable, op, "Dokploy's answer is not the JSON that it should be", "check that DOKPLOY_URL names Dokploy itself, then run envctl doctor")
	}
	return nil
}

// get asks a reading procedure, and again where nothing or a 5xx came back.
func (c *client) get(ctx context.Context, op, procedure string, query url.Values) (a answer, err error) {
	for try := 1; ; try++ {
		a, _, err = c.call(ctx, op, http.MethodGet, procedure, query, nil)
		if err == nil || try == tries || !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return a, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * pause):
		}
	}
}

// post asks a changing procedure, once. unsure tells that it may have been done
// all the same.
func (c *client) post(ctx context.Context, op, procedure string, body any) (a answer, unsure bool, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return a, false, fault.New(fault.Internal, op, "the request cannot be written as JSON", "")
	}
	if len(data) > maxRequest {
		return a, false, fault.Newf(fault.Invalid, op, "keep large values in files or object storage", "the environment text is too long: Dokploy takes requests of at most 1 MB, this one has %d bytes", len(data))
	}
	return c.call(ctx, op, http.MethodPost, procedure, nil, data)
}

func (c *client) call(ctx context.Context, op, method, procedure string, query url.Values, body []byte) (a answer, unsure bool, err error) {
	key, err := c.credential(ctx, op)
	if err != nil {
		return a, false, err
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	u := *c.base
	u.Path += "/" + procedure
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(limited, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return a, false, fault.New(fault.Internal, op, "the request cannot be made", "")
	}
	req.Header.Set("x-api-key", key.Reveal())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.GetBody = nil // never sent a second time by the library
	}
	res, err := c.http.Do(req)
	if err != nil {
		return a, !neverSent(err), c.unreachable(ctx, limited, op, err)
	}
	defer res.Body.Close()
	a.date, _ = http.ParseTime(res.Header.Get("Date")) // zero where it is not said
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return answer{}, true, c.unreachable(ctx, limited, op, err)
	case len(a.body) > maxBody:
		return answer{}, true, fault.Newf(fault.Unavailable, op, "run envctl doctor", "Dokploy's answer to %s is longer than %d bytes", procedure, maxBody)
	case res.StatusCode != http.StatusOK:
		return answer{}, res.StatusCode >= 500, c.refused(op, procedure, res, a.body, key)
	}
	return a, false, nil
}

// neverSent tells whether the request cannot have reached the server.
func neverSent(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// unreachable says why there is no answer.
func (c *client) unreachable(ctx, limited context.Context, op string, err error) error {
	const hint = "check that Dokploy runs and DOKPLOY_URL names it, then run envctl doctor"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.Interrupted, op, "stopped while asking Dokploy", "run envctl status, then the command again")
	case ctx.Err() != nil:
		return fault.New(fault.Unavailable, op, "Dokploy did not answer in time", hint)
	case limited.Err() != nil:
		return fault.Newf(fault.Unavailable, op, hint, "Dokploy did not answer within %s", c.timeout)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the address and its query
	}
	return fault.Wrap(err, fault.Unavailable, op+": reach "+c.base.Host, hint)
}

// refused turns an error answer into a kind. Of the body only the message of a
// well-formed error is used.
func (c *client) refused(op, procedure string, res *http.Response, body []byte, key secret.Value) error {
	var e struct{ Message, Code string }
	if json.Unmarshal(body, &e) != nil || !plain(e.Message) || strings.Contains(e.Message, key.Reveal()) {
		e.Message = ""
	}
	said := ""
	if e.Message != "" {
		said = ": " + e.Message
	}
	kind, hint := fault.Unavailable, "run envctl doctor, then the command again"
	words := fmt.Sprintf("%s answered %d%s", procedure, res.StatusCode, said)
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized && e.Code != "":
		return fault.Newf(fault.Denied, op, "give the key's user access to the project in Dokploy", "the API key may not do this (%s)%s", procedure, said)
	case code == http.StatusUnauthorized:
		// Dokploy answers all three alike, and never 429.
		return fault.New(fault.Denied, op, "Dokploy does not accept the API key: it is wrong, has expired, or has used up its rate limit (a key made by default allows few calls a day)", keyHint)
	case code == http.StatusForbidden:
		kind, hint = fault.Denied, "give the key's user access to the project in Dokploy"
	case code == http.StatusNotFound && e.Code != "":
		kind, hint = fault.NotFound, "look for it in Dokploy: it may have been deleted or renamed"
	case code == http.StatusNotFound, code >= 300 && code < 400:
		return fault.Newf(fault.Usage, op, "set DOKPLOY_URL to https://host/api, as Dokploy itself is reached", "%s is not Dokploy's API: it answered %d, and no redirect is followed", c.base, code)
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnsupportedMediaType:
		kind = fault.Invalid
	}
	return fault.New(kind, op, words, hint)
}

// plain tells whether an error message is short and of printable characters.
func plain(s string) bool {
	return len(s) <= 200 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
