package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// fail gives err its kind and its words. Values among hide never show in them,
// whatever a server repeats.
func (s *Store) fail(ctx context.Context, op string, err error, hide ...secret.Value) error {
	var (
		known  *fault.Error
		answer *api.ResponseError
		to     *redirect
		away   *strayed
		large  tooLarge
	)
	at := s.base.String()
	if token := s.gate.token.Load(); token != nil {
		hide = append(hide, *token)
	}
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &answer):
		return s.answered(ctx, op, answer, hide)
	case errors.As(err, &to):
		return fault.Newf(fault.Refused, op, "set VAULT_ADDR to the server's own address", "%v", to)
	case errors.As(err, &away):
		return fault.Newf(fault.Refused, op, "run envctl doctor", "%v: nothing was sent", away)
	case errors.As(err, &large):
		return fault.Wrap(large, fault.Unavailable, op, "check that VAULT_ADDR ("+at+") is a Vault server")
	case errors.Is(err, errNotVault):
		return fault.Wrap(errNotVault, fault.Unavailable, op, "check that VAULT_ADDR ("+at+") is a Vault server")
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return fault.Wrap(context.Canceled, fault.Interrupted, op, "run the command again")
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Newf(fault.Unavailable, op, "check VAULT_ADDR, or give it longer with --timeout", "no answer from %s within %v", at, s.cfg.Timeout)
	}
	return fault.Wrap(cause(err), fault.Unavailable, op, hintForNetwork(err, at))
}

// cause is a network error without the request it belongs to.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func hintForNetwork(err error, at string) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown), errors.As(err, &invalid):
		return "set VAULT_CACERT to the certificate authority's file"
	case errors.As(err, &hostname):
		return "set VAULT_TLS_SERVER_NAME to a name in the server's certificate"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "check whether VAULT_ADDR should begin with http:// or https://"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "check VAULT_ADDR and that the server runs: nothing listens at " + at
	}
	return "check VAULT_ADDR and the network: run envctl doctor"
}

// answered turns a status into a kind. 404 is turned by those who know what was
// looked for; here it means that there is no such engine.
func (s *Store) answered(ctx context.Context, op string, answer *api.ResponseError, hide []secret.Value) error {
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized:
		return s.denied(op)
	case code == http.StatusForbidden:
		return s.forbidden(ctx, op, answer)
	case code == http.StatusNotFound:
		return s.noMount(op)
	case code == http.StatusMethodNotAllowed:
		return fault.Newf(fault.Refused, op, "update the server, or run envctl doctor", "the server does not support this (405)")
	case code == http.StatusRequestEntityTooLarge || tooBig(answer):
		return fault.New(fault.Refused, op, "larger than the server accepts"+words(answer, hide),
			"store a smaller value (Vault's default limits: 1 MiB a value, 32 MiB a request)")
	case code == http.StatusPreconditionFailed:
		return fault.New(fault.Unavailable, op, "the server has not caught up with the cluster yet (412)", "wait a little and run the command again")
	case code == http.StatusTooManyRequests:
		return fault.New(fault.Unavailable, op, "the server limits the rate of requests (429)", "wait a little and run the command again")
	case code == 472 || code == 473:
		return fault.Newf(fault.Unavailable, op, "set VAULT_ADDR to the active server", "%s is a replica that does not answer this (%d)", s.base, code)
	case code == http.StatusNotImplemented:
		return fault.New(fault.Unavailable, op, "the server is not initialised (501)", "run vault operator init")
	case sealed(answer):
		return fault.Newf(fault.Sealed, op, "run vault operator unseal", "%s is sealed", s.base)
	case code >= 500:
		return fault.Newf(fault.Unavailable, op, "wait a little and run the command again", "the server failed (%d)%s", code, words(answer, hide))
	default:
		return fault.Newf(fault.Refused, op, "run envctl doctor", "the server refused it (%d)%s", code, words(answer, hide))
	}
}

func (s *Store) denied(op string) error {
	return fault.Newf(fault.Denied, op, "run envctl doctor to see what this token may do", "permission denied (%s)", s.credential())
}

func (s *Store) expired(op string) error {
	return fault.Newf(fault.Expired, op, "log in again (vault login), then run the command again",
		"the %s is not valid: expired, revoked or not this server's", strings.TrimPrefix(s.credential(), "a "))
}

// forbidden tells a missing permission from a token that is no longer valid,
// by asking the token about itself.
func (s *Store) forbidden(ctx context.Context, op string, answer *api.ResponseError) error {
	if badToken(answer) {
		return s.expired(op)
	}
	a := s.getOnce(ctx, op, lookupSelf, nil)
	switch {
	case badToken(a.err):
		return s.expired(op)
	case a.err == nil && a.found():
		return s.denied(op)
	}
	return fault.Newf(fault.Denied, op, "run envctl doctor, or log in again with vault login",
		"permission denied (%s, which may not look itself up: it may also have expired)", s.credential())
}

func (s *Store) noMount(op string) error {
	return fault.Newf(fault.Invalid, op, "set vault.mount in envctl.yaml, or run vault secrets enable -path="+s.cfg.Mount+" kv-v2",
		"%s has no secrets engine at %s/", s.base, s.cfg.Mount)
}

func (s *Store) oldMount(op string) error {
	return fault.Newf(fault.Invalid, op, "run vault kv enable-versioning "+s.cfg.Mount,
		"the engine at %s/ is KV version 1, which keeps no versions and ignores check-and-set: nothing was written", s.cfg.Mount)
}

// words quotes what the server said: one line, printable, short, and without
// any of the values. What is not Vault's own JSON is left out.
func words(answer *api.ResponseError, hide []secret.Value) string {
	if answer.RawError || len(answer.Errors) == 0 {
		return ""
	}
	text := strings.Join(answer.Errors, "; ")
	for _, v := range hide {
		for _, form := range forms(v) {
			text = strings.ReplaceAll(text, form, "[secret]")
		}
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return ": " + text
}

// forms are the ways in which an answer can repeat a value: as it is, and as
// it stands in JSON.
func forms(v secret.Value) []string {
	if v.Len() == 0 {
		return nil
	}
	quoted, err := json.Marshal(v.Reveal())
	if err != nil {
		return []string{v.Reveal()}
	}
	return []string{v.Reveal(), string(quoted[1 : len(quoted)-1])}
}
