package vault

import (
	"context"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

const policies = "sys/policies/acl/"

var _ providers.Policies = (*Store)(nil)

// isPolicy tells whether name can be one of envctl's: <project>-<env>-<component>.
// root and default, which every token's rights hang on, are not.
func isPolicy(name string) bool {
	return strings.Count(name, "-") >= 2 && strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

func (s *Store) checkPolicy(op, name string) error {
	if !isPolicy(name) {
		return fault.New(fault.Usage, op, "not a policy's name as envctl makes them", "run envctl names to see them")
	}
	if !s.cfg.Policies {
		return fault.New(fault.Internal, op, "the store was not opened for policies", "")
	}
	return nil
}

// ReadPolicy takes one request. Kinds: NotFound, Denied, Internal (opened without
// Config.Policies), and what every request may meet.
func (s *Store) ReadPolicy(ctx context.Context, name string) (string, error) {
	op := "read the policy " + name
	if err := s.checkPolicy(op, name); err != nil {
		return "", err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.readPolicy(ctx, op, name)
}

func (s *Store) readPolicy(ctx context.Context, op, name string) (string, error) {
	a, err := s.get(ctx, op, policies+name, nil)
	if err != nil {
		return "", err
	}
	if !a.found() {
		return "", fault.New(fault.NotFound, op, "there is no such policy", "run envctl env create ENVIRONMENT --with-policy")
	}
	var answer struct {
		Data *struct {
			Policy *string `json:"policy"`
		} `json:"data"`
	}
	if err := decode(a, &answer); err != nil || answer.Data == nil || answer.Data.Policy == nil {
		return "", s.fail(ctx, op, errNotVault)
	}
	return *answer.Data.Policy, nil
}

// WritePolicy takes one request; where its answer is lost, the policy is read to
// find out, and nothing is sent twice. Removing one that is not there is fine.
func (s *Store) WritePolicy(ctx context.Context, name, text string) error {
	op := "write the policy " + name
	if err := s.checkPolicy(op, name); err != nil {
		return err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		if text == "" {
			return l.DeleteWithContext(ctx, policies+name)
		}
		return l.WriteWithContext(ctx, policies+name, map[string]any{"policy": text})
	})
	switch {
	case r.err == nil && r.status != http.StatusNotFound:
		return nil
	case r.err == nil:
		return s.fail(ctx, op, errNotVault)
	case !r.lost():
		return s.fail(ctx, op, r.err, secret.New(text))
	}
	ctx, cancel = after(ctx)
	defer cancel()
	switch now, err := s.readPolicy(ctx, op, name); {
	case err == nil && now == text, fault.Is(err, fault.NotFound) && text == "":
		return nil
	case r.refused():
		return s.fail(ctx, op, r.err)
	}
	return fault.New(fault.Unknown, op, "the answer was lost, and the policy is not what was sent", "run vault policy read "+name)
}
