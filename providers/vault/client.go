package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// newClient builds the library's client from s.cfg and nothing else. The
// library fills a new client from VAULT_TOKEN, VAULT_NAMESPACE and a dozen more:
// the namespace is replaced here, its transport (proxy, TLS, SRV, rate limit) is
// never used, and the gate lets none of its headers through. A variable that it cannot parse makes it
// fail, which is reported as what it is.
func (s *Store) newClient() (*api.Client, error) {
	const op = "connect to vault"
	cfg := &api.Config{
		Address:          s.base.String(),
		HttpClient:       &http.Client{Transport: s.gate.next, CheckRedirect: refuseRedirect},
		MinRetryWait:     time.Millisecond,
		MaxRetryWait:     time.Millisecond,
		CheckRetry:       neverRetry,
		DisableRedirects: true,
	}
	err := cfg.ConfigureTLS(&api.TLSConfig{
		CACert: s.cfg.CACert, CAPath: s.cfg.CAPath, ClientCert: s.cfg.ClientCert, ClientKey: s.cfg.ClientKey,
		TLSServerName: s.cfg.TLSServerName, Insecure: s.cfg.SkipVerify,
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.Usage, op, "correct VAULT_CACERT, VAULT_CAPATH, VAULT_CLIENT_CERT or VAULT_CLIENT_KEY")
	}
	cfg.HttpClient.Transport = s.gate
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, fault.Wrap(err, fault.Usage, op, "unset or correct the VAULT_ variable that this names")
	}
	client.ClearToken() // the gate adds the token
	client.ClearNamespace()
	if s.cfg.Namespace != "" {
		client.SetNamespace(s.cfg.Namespace)
	}
	return client, nil
}

// newTransport takes only what the configuration names.
func newTransport(cfg Config) *http.Transport {
	transport := &http.Transport{
		DialContext:            (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    cfg.Timeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // so that 16 MiB read are 16 MiB held
		MaxIdleConns:           listers,
		MaxIdleConnsPerHost:    listers,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if proxy := cfg.Proxy; proxy != nil {
		transport.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	}
	return transport
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func neverRetry(context.Context, *http.Response, error) (bool, error) { return false, nil }

// authenticate obtains the token once, when first needed; stale is the one a
// server has just refused, which is replaced where that is possible (AppRole).
func (s *Store) authenticate(ctx context.Context, op string, stale *secret.Value) error {
	if t := s.gate.token.Load(); t != nil && t != stale {
		return nil
	}
	select {
	case s.login <- struct{}{}:
		defer func() { <-s.login }()
	case <-ctx.Done():
		return s.fail(ctx, op, ctx.Err())
	}
	if t := s.gate.token.Load(); t != nil && t != stale {
		return nil // someone else just did
	}
	token, err := s.obtain(ctx, op)
	if err != nil {
		return err
	}
	if t := token.Reveal(); t == "" || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fault.Newf(fault.Denied, op, "run vault login and try again", "the %s is empty or holds characters that no token has", s.credential())
	}
	s.gate.token.Store(&token)
	return nil
}

func (s *Store) obtain(ctx context.Context, op string) (secret.Value, error) {
	switch c := s.cfg; {
	case c.Token.IsSet():
		return s.resolve(ctx, op, c.Token)
	case c.RoleID.IsSet():
		return s.appRole(ctx, op)
	case c.TokenHelper != "":
		return s.askHelper(ctx, op)
	case c.TokenFile != "":
		token, err := readToken(c.TokenFile)
		if !errors.Is(err, os.ErrNotExist) {
			return token, fault.Wrap(err, fault.Denied, op, "run vault login and try again")
		}
	}
	return secret.Value{}, fault.New(fault.Denied, op, "there is no token for "+s.base.String(), "set VAULT_TOKEN, or run vault login")
}

func (s *Store) resolve(ctx context.Context, op string, v secret.Value) (secret.Value, error) {
	if !isReference(v) {
		return v, nil
	}
	if s.cfg.Resolve == nil {
		return v, fault.New(fault.Usage, op, "the credential is an op:// reference, which nothing here can resolve", "run envctl doctor")
	}
	got, err := s.cfg.Resolve(ctx, v.Reveal())
	if err != nil {
		return got, fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
	}
	return secret.New(strings.TrimSpace(got.Reveal())), nil
}

// appRole logs in. A login counts against the secret id's uses, so it is not
// repeated when its answer is lost.
func (s *Store) appRole(ctx context.Context, op string) (secret.Value, error) {
	role, err := s.resolve(ctx, op, s.cfg.RoleID)
	if err != nil {
		return role, err
	}
	id, err := s.resolve(ctx, op, s.cfg.SecretID)
	if err != nil {
		return id, err
	}
	where := "auth/" + s.cfg.AppRoleMount + "/login"
	r := s.send(ctx, op, true, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, where, map[string]any{"role_id": role.Reveal(), "secret_id": id.Reveal()})
	})
	switch {
	case r.err == nil && r.secret != nil && r.secret.Auth != nil:
		return secret.New(r.secret.Auth.ClientToken), nil
	case r.err == nil:
		return secret.Value{}, s.fail(ctx, op, errNotVault)
	case r.status == 400 || r.status == 403 || r.status == 404:
		return secret.Value{}, fault.Newf(fault.Denied, op, "check VAULT_ROLE_ID and VAULT_SECRET_ID (a secret id can expire or be used up)",
			"the AppRole login at %s was refused (%d)", where, r.status)
	}
	return secret.Value{}, s.fail(ctx, op, r.err, role, id)
}

// askHelper runs the token helper as the vault program does: "helper get".
func (s *Store) askHelper(ctx context.Context, op string) (secret.Value, error) {
	const hint = "correct token_helper in ~/.vault, or set VAULT_TOKEN"
	if !filepath.IsAbs(s.cfg.TokenHelper) {
		return secret.Value{}, fault.Newf(fault.Usage, op, hint, "the token helper %q is not an absolute path", s.cfg.TokenHelper)
	}
	cmd := exec.CommandContext(ctx, s.cfg.TokenHelper, "get")
	cmd.WaitDelay = 100 * time.Millisecond
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return secret.Value{}, s.fail(ctx, op, ctx.Err())
		}
		return secret.Value{}, fault.Wrap(err, fault.Denied, op+": run "+s.cfg.TokenHelper, hint)
	}
	return secret.New(string(bytes.TrimSpace(out))), nil
}

func readToken(name string) (secret.Value, error) {
	info, err := os.Stat(name)
	if err != nil {
		return secret.Value{}, err
	}
	if !info.Mode().IsRegular() {
		return secret.Value{}, &os.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(name)
	if err != nil {
		return secret.Value{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return secret.New(string(bytes.TrimSpace(b))), err
}
