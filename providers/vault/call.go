package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
)

// reply is what came of one request.
type reply struct {
	secret *api.Secret
	status int       // 0: no answer
	date   time.Time // of the answer, by the server's clock; zero: not given
	err    error
	sent   bool // the request may have reached the server
}

// lost tells that nobody knows whether a write was applied: it went out, and
// no answer came that only the server itself can have given. A 500 may follow a
// write that was applied (the audit log was full afterwards).
func (r reply) lost() bool {
	if r.err == nil || !r.sent {
		return false
	}
	var to *redirect
	var answer *api.ResponseError
	switch {
	case errors.As(r.err, &to):
		return false
	case !errors.As(r.err, &answer):
		return true
	case answer.StatusCode == http.StatusServiceUnavailable:
		return !sealed(answer)
	case tooBig(answer):
		return false
	}
	return answer.StatusCode >= 500 || answer.StatusCode == http.StatusRequestTimeout
}

// refused tells that the server itself, not something before it, said no.
func (r reply) refused() bool {
	var answer *api.ResponseError
	return errors.As(r.err, &answer) && answer.StatusCode == http.StatusInternalServerError && !answer.RawError
}

// send makes one request, repeated only where the first was certainly not
// carried out: redirected to the cluster's leader, or refused for a token that
// can be renewed.
func (s *Store) send(ctx context.Context, op string, anonymous bool, do func(context.Context, *api.Logical) (*api.Secret, error)) reply {
	if err := ctx.Err(); err != nil {
		return reply{err: err}
	}
	client, err := s.connect()
	if err != nil {
		return reply{err: err}
	}
	if !anonymous {
		if err := s.authenticate(ctx, op, nil); err != nil {
			return reply{err: err}
		}
	}
	var followed, renewed bool
	for {
		token := s.gate.token.Load()
		r := exchange(ctx, client, do)
		var to *redirect
		switch {
		case errors.As(r.err, &to) && !followed:
			followed = true
			if err := s.follow(ctx, op, client, to); err != nil {
				return reply{err: err}
			}
			continue
		case !anonymous && !renewed && s.cfg.RoleID.IsSet() && !s.cfg.Token.IsSet() && badToken(r.err):
			renewed = true
			if err := s.authenticate(ctx, op, token); err != nil {
				return reply{err: err}
			}
			continue
		}
		return r
	}
}

func exchange(ctx context.Context, client *api.Client, do func(context.Context, *api.Logical) (*api.Secret, error)) (r reply) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	seen := client.WithResponseCallbacks(func(resp *api.Response) {
		r.status = resp.StatusCode
		// Without a usable Date the time stays zero.
		r.date, _ = http.ParseTime(resp.Header.Get("Date"))
	})
	r.secret, r.err = do(ctx, seen.Logical())
	r.sent = sent.Load()
	return r
}

// follow accepts a redirect only to the address that the cluster itself
// announces as its leader's, and only for the same path.
func (s *Store) follow(ctx context.Context, op string, client *api.Client, r *redirect) error {
	refused := fault.Newf(fault.Refused, op, "set VAULT_ADDR to the server's own address", "%v, which is not the cluster's leader: nothing was sent there", r)
	if r.to == nil || r.to.Path != r.path || r.to.RawPath != "" || r.to.User != nil || !secure(r.to) || s.base.Scheme == "https" && r.to.Scheme != "https" {
		return refused
	}
	var leader struct {
		Address string `json:"leader_address"`
	}
	got := exchange(ctx, client, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		resp, err := l.ReadRawWithContext(ctx, "sys/leader")
		if err != nil {
			drain(resp)
			return nil, err
		}
		defer drain(resp)
		return nil, resp.DecodeJSON(&leader)
	})
	if got.err != nil {
		return refused
	}
	u, err := url.Parse(leader.Address)
	if err != nil || u.Host == "" || !sameOrigin(u, r.to) {
		return refused
	}
	s.gate.leader.Store(&url.URL{Scheme: u.Scheme, Host: u.Host})
	return nil
}

// drain lets the connection be used again.
func drain(resp *api.Response) {
	if resp == nil || resp.Response == nil || resp.Body == nil {
		return
	}
	// What is left is not wanted; an error costs the connection, no more.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
}

// page is the body of an answer to a read.
type page struct {
	reply
	body []byte
}

// found tells a 2xx from a 404.
func (a page) found() bool { return a.status < 300 }

// get reads where; a 404 that is Vault's own is an answer, not an error. Passing
// troubles (412, 429, 502, 503, a reset) are tried three times in all.
func (s *Store) get(ctx context.Context, op, where string, params url.Values) (page, error) {
	for try := 0; ; try++ {
		a := s.getOnce(ctx, op, where, params)
		if a.err == nil {
			return a, nil
		}
		if try == 2 || !passing(ctx, a.reply) || !pause(ctx, time.Duration(40<<try)*time.Millisecond) {
			return a, s.fail(ctx, op, a.err)
		}
	}
}

func (s *Store) getOnce(ctx context.Context, op, where string, params url.Values) page {
	var body []byte
	public := public(where)
	r := s.send(ctx, op, public, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		resp, err := l.ReadRawWithDataWithContext(ctx, where, params)
		defer drain(resp)
		if resp == nil || resp.Response == nil || err != nil && resp.StatusCode != http.StatusNotFound {
			return nil, err
		}
		var answer *api.ResponseError
		if err != nil && !errors.As(err, &answer) {
			return nil, err // the body was cut off
		}
		if answer != nil && answer.RawError {
			return nil, errNotVault
		}
		if answer != nil && len(answer.Errors) > 0 {
			return nil, answer // "no handler for route"
		}
		body, err = io.ReadAll(resp.Body)
		if err == nil && !json.Valid(body) {
			err = errNotVault
		}
		return nil, err
	})
	return page{reply: r, body: body}
}

// passing tells troubles that a read may outwait.
func passing(ctx context.Context, r reply) bool {
	if ctx.Err() != nil {
		return false
	}
	var answer *api.ResponseError
	if errors.As(r.err, &answer) {
		switch answer.StatusCode {
		case http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusBadGateway:
			return true
		case http.StatusServiceUnavailable:
			return !sealed(answer)
		}
		return false
	}
	var beyond tooLarge
	var known *fault.Error
	return r.sent && !errors.Is(r.err, errNotVault) && !errors.As(r.err, &beyond) && !errors.As(r.err, &known) &&
		!errors.Is(r.err, context.DeadlineExceeded)
}

// pause waits d with jitter; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // jitter
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sealed knows a sealed server by its words, as 503 has no code of its own for it.
func sealed(answer *api.ResponseError) bool {
	return answer.StatusCode == http.StatusServiceUnavailable && says(answer, "sealed")
}

// tooBig knows a server's limits (JSON strings, storage entries) by their words:
// they come as a plain 500.
func tooBig(answer *api.ResponseError) bool {
	return answer.StatusCode >= 400 && !answer.RawError && (says(answer, "exceeds allowed") || says(answer, "too large"))
}

// badToken knows a token that is no longer (or never was) valid by the words
// of a 403, which a missing permission shares.
func badToken(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden && says(answer, "invalid token")
}

// says looks for words in the server's own errors.
func says(answer *api.ResponseError, words string) bool {
	for _, e := range answer.Errors {
		if strings.Contains(strings.ToLower(e), words) {
			return true
		}
	}
	return false
}

var errNotVault = errors.New("what answers there is not Vault")

// decode reads an answer that is JSON by now.
func decode(a page, into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%w (unexpected JSON)", errNotVault)
	}
	return nil
}
