package vault

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// The variables that a service finds its credential in.
const (
	tokenVariable    = "VAULT_APP_TOKEN" //nolint:gosec // a name
	roleVariable     = "VAULT_ROLE_ID"
	secretIDVariable = "VAULT_SECRET_ID"
)

const (
	period   = "168h" // a token that nobody renews for so long ends
	loginTTL = "24h"
	// metaMark is the key of metadata that carries Issue's mark: of a token, and of
	// a secret id, from which the tokens have it that log in with it.
	metaMark = "envctl"
	// Kinds that only Issued returns.
	kindRole  = "role"
	kindLogin = "login" // a token that was logged in for
	// maxTokens bounds how many tokens of a server are looked at.
	maxTokens = 20_000
)

var _ providers.Credentials = (*Store)(nil)

func (s *Store) role(policy string) string { return "auth/" + s.cfg.AppRoleMount + "/role/" + policy }

// issues lists what this file asks a server for.
func (s *Store) issues(rest string) bool {
	switch rest {
	case "auth/token/create-orphan", "auth/token/accessors", "auth/token/lookup-accessor", "auth/token/revoke-accessor", "sys/capabilities-accessor":
		return true
	}
	name, ok := strings.CutPrefix(rest, s.role(""))
	if !ok {
		return false
	}
	name, part, _ := strings.Cut(name, "/")
	return isPolicy(name) && slices.Contains([]string{"", "role-id", "secret-id", "secret-id-accessor/lookup", "secret-id-accessor/destroy"}, part)
}

// Issue makes a token of no parent that lives as long as it is renewed each week,
// or a role, where it is missing, and a secret id. Kinds: Usage (no kind of
// credential), NotFound (AppRole is not enabled), Denied, and what every request
// may meet.
func (s *Store) Issue(ctx context.Context, policy, kind, mark string) (providers.Credential, error) {
	op := "issue a credential of " + policy
	if err := s.checkPolicy(op, policy); err != nil {
		return providers.Credential{}, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	c := providers.Credential{Policy: policy, Kind: kind, Mark: mark}
	var err error
	switch kind {
	case providers.CredentialToken:
		err = s.issueToken(ctx, op, &c)
	case providers.CredentialAppRole:
		err = s.issueSecretID(ctx, op, &c)
	default:
		err = fault.Newf(fault.Usage, op, "give token or approle", "there is no kind of credential %q", kind)
	}
	return c, err
}

func (s *Store) issueToken(ctx context.Context, op string, c *providers.Credential) error {
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, "auth/token/create-orphan", map[string]any{
			"policies": []string{c.Policy}, "no_default_policy": true, "period": period, "renewable": true,
			"display_name": c.Policy, "meta": map[string]string{metaMark: c.Mark},
		})
	})
	if r.err == nil && (r.secret.Auth == nil || r.secret.Auth.ClientToken == "" || r.secret.Auth.Accessor == "") {
		r.err = errNotVault
	}
	if r.err != nil {
		return s.unissued(ctx, op, r, c)
	}
	c.Accessor = r.secret.Auth.Accessor
	c.Values = map[string]secret.Value{tokenVariable: secret.New(r.secret.Auth.ClientToken)}
	if !slices.Equal(r.secret.Auth.TokenPolicies, []string{c.Policy}) {
		return errors.Join(fault.Newf(fault.No, op, "run vault policy read "+c.Policy, "the server gave it other policies than that one"), s.Revoke(ctx, *c))
	}
	return nil
}

func (s *Store) issueSecretID(ctx context.Context, op string, c *providers.Credential) error {
	role := s.role(c.Policy)
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, role, map[string]any{
			"token_policies": []string{c.Policy}, "token_no_default_policy": true, "token_ttl": loginTTL, "token_max_ttl": period, "bind_secret_id": true,
		})
	})
	if r.status == http.StatusNotFound {
		return fault.Newf(fault.NotFound, op, "run vault auth enable "+s.cfg.AppRoleMount+", or use --with-credentials token", "AppRole is not enabled at auth/%s", s.cfg.AppRoleMount)
	}
	if r.err != nil { // to write it again is fine
		return s.fail(ctx, op, r.err)
	}
	a, err := s.get(ctx, op, role+"/role-id", nil)
	if err != nil {
		return err
	}
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	if err := decode(a, &id); err != nil || id.Data.RoleID == "" {
		return s.fail(ctx, op, errNotVault)
	}
	meta, err := json.Marshal(map[string]string{metaMark: c.Mark})
	if err != nil {
		return fault.Wrap(err, fault.Internal, op, "")
	}
	r = s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, role+"/secret-id", map[string]any{"metadata": string(meta)})
	})
	text := func(field string) string {
		if r.secret == nil {
			return ""
		}
		t, _ := r.secret.Data[field].(string) // anything else is no answer of Vault's
		return t
	}
	if r.err == nil && (text("secret_id") == "" || text("secret_id_accessor") == "") {
		r.err = errNotVault
	}
	if r.err != nil {
		return s.unissued(ctx, op, r, c)
	}
	c.Accessor = text("secret_id_accessor")
	c.Values = map[string]secret.Value{roleVariable: secret.New(id.Data.RoleID), secretIDVariable: secret.New(text("secret_id"))}
	return nil
}

// unissued ends what may have been made by a request whose answer was lost.
func (s *Store) unissued(ctx context.Context, op string, r reply, c *providers.Credential) error {
	if !r.lost() && !errors.Is(r.err, errNotVault) {
		return s.fail(ctx, op, r.err)
	}
	ctx, cancel := after(ctx)
	defer cancel()
	all, err := s.Issued(ctx, c.Policy)
	for i := 0; err == nil && i < len(all); i++ {
		if all[i].Mark == c.Mark {
			err = s.Revoke(ctx, all[i])
		}
	}
	if err != nil {
		return fault.Newf(fault.Unknown, op, "run the command again", "the answer was lost, and whether a credential was made could not be found out (%v)", err)
	}
	return fault.New(fault.Unavailable, op, "the answer was lost; nothing of it is left", "run the command again")
}

// Issued looks at every token of the server: nothing else tells which have a
// policy.
func (s *Store) Issued(ctx context.Context, policy string) ([]providers.Credential, error) {
	op := "look for the credentials of " + policy
	if err := s.checkPolicy(op, policy); err != nil {
		return nil, err
	}
	out, err := s.secretIDs(ctx, op, policy)
	if err != nil {
		return nil, err
	}
	accessors, err := s.names(ctx, op, "auth/token/accessors")
	if err != nil {
		return nil, err
	}
	if len(accessors) > maxTokens {
		return nil, fault.Newf(fault.Refused, op, "revoke them in Vault by hand: vault token revoke -accessor", "the server has %d tokens, more than are looked at", len(accessors))
	}
	found := make([]*providers.Credential, len(accessors))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, accessor := range accessors {
		g.Go(func() error {
			c, err := s.lookup(ctx, op, accessor)
			if err == nil && c.Policy == policy {
				found[i] = &c
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, c := range found {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out, nil
}

// secretIDs returns a role and its secret ids, none where there is no role.
func (s *Store) secretIDs(ctx context.Context, op, policy string) ([]providers.Credential, error) {
	within, cancel := s.within(ctx)
	defer cancel()
	a, err := s.get(within, op, s.role(policy), nil)
	if fault.Is(err, fault.NotFound) || err == nil && !a.found() || err != nil && a.status == http.StatusNotFound { // no such role, or no AppRole at all
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := []providers.Credential{{Policy: policy, Kind: kindRole, Accessor: policy}}
	ids, err := s.names(ctx, op, s.role(policy)+"/secret-id")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		data, err := s.ask(ctx, op, s.role(policy)+"/secret-id-accessor/lookup", map[string]any{"secret_id_accessor": id})
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue // gone since the list was made
		}
		c := providers.Credential{Policy: policy, Kind: providers.CredentialAppRole, Accessor: id}
		if meta, ok := data["metadata"].(map[string]any); ok {
			c.Mark, _ = meta[metaMark].(string) // "" for others'
		}
		c.Created, c.Expires = moment(data["creation_time"]), moment(data["expiration_time"])
		out = append(out, c)
	}
	return out, nil
}

// lookup describes a token; of one that is gone, or has more than one policy, the
// policy is "".
func (s *Store) lookup(ctx context.Context, op, accessor string) (providers.Credential, error) {
	data, err := s.ask(ctx, op, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
	if err != nil || data == nil {
		return providers.Credential{}, err
	}
	c := providers.Credential{Kind: providers.CredentialToken, Accessor: accessor, Expires: moment(data["expire_time"])}
	list, _ := data["policies"].([]any) // anything else is none
	for _, p := range list {
		name, _ := p.(string)
		switch {
		case name == "default":
		case c.Policy == "":
			c.Policy = name
		default:
			return providers.Credential{}, nil
		}
	}
	if path, _ := data["path"].(string); strings.HasSuffix(path, "/login") {
		c.Kind = kindLogin
	}
	if meta, ok := data["meta"].(map[string]any); ok {
		c.Mark, _ = meta[metaMark].(string)
	}
	if n, ok := data["creation_time"].(json.Number); ok {
		if at, err := n.Int64(); err == nil {
			c.Created = time.Unix(at, 0).UTC()
		}
	}
	return c, nil
}

func moment(v any) time.Time {
	t, _ := v.(string)
	at, err := time.Parse(time.RFC3339Nano, t)
	if err != nil || at.Year() < 1970 {
		return time.Time{}
	}
	return at.UTC()
}

// names lists; nothing there is an empty list.
func (s *Store) names(ctx context.Context, op, where string) ([]string, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	a, err := s.get(ctx, op, where, map[string][]string{"list": {"true"}})
	if err != nil || !a.found() {
		return nil, err
	}
	var answer struct {
		Data struct{ Keys []string } `json:"data"`
	}
	if err := decode(a, &answer); err != nil {
		return nil, s.fail(ctx, op, err)
	}
	return answer.Data.Keys, nil
}

// ask posts a question that changes nothing; nil where what it is about is gone.
func (s *Store) ask(ctx context.Context, op, where string, body map[string]any) (map[string]any, error) {
	for try := 0; ; try++ {
		data, r, err := s.askOnce(ctx, op, where, body)
		if err == nil || try == 2 || !passing(ctx, r) || !pause(ctx, time.Duration(40<<try)*time.Millisecond) {
			return data, err
		}
	}
}

func (s *Store) askOnce(ctx context.Context, op, where string, body map[string]any) (map[string]any, reply, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		return l.WriteWithContext(ctx, where, body)
	})
	switch {
	case r.err == nil && r.secret == nil, r.status == http.StatusNotFound, ended(r.err):
		return nil, r, nil
	case r.err != nil:
		return nil, r, s.fail(ctx, op, r.err)
	}
	return r.secret.Data, r, nil
}

// Revoke takes one request. To end a thing twice is fine, so a lost answer is
// asked for again.
func (s *Store) Revoke(ctx context.Context, c providers.Credential) error {
	op := "revoke a credential of " + c.Policy
	if err := s.checkPolicy(op, c.Policy); err != nil {
		return err
	}
	where, body := "auth/token/revoke-accessor", map[string]any{"accessor": c.Accessor}
	switch c.Kind {
	case providers.CredentialAppRole:
		where, body = s.role(c.Policy)+"/secret-id-accessor/destroy", map[string]any{"secret_id_accessor": c.Accessor}
	case kindRole:
		where, body = s.role(c.Policy), nil
	}
	for try := 0; ; try++ {
		err := s.revokeOnce(ctx, op, where, body)
		if err == nil || try == 2 || !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return err
		}
	}
}

func (s *Store) revokeOnce(ctx context.Context, op, where string, body map[string]any) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	r := s.sendPart(ctx, op, func(ctx context.Context, l *api.Logical) (*api.Secret, error) {
		if body == nil {
			return l.DeleteWithContext(ctx, where)
		}
		return l.WriteWithContext(ctx, where, body)
	})
	if r.err == nil || r.status == http.StatusNotFound || ended(r.err) {
		return nil
	}
	return s.fail(ctx, op, r.err)
}

// Prove logs in as the service would, on a connection of its own. The policy lets
// it ask nothing about itself but its own lifetime, so what it may do is asked of
// the server by its accessor.
func (s *Store) Prove(ctx context.Context, c providers.Credential, can, cannot []naming.Path) error {
	op := "prove the credential of " + c.Policy
	if err := s.checkPolicy(op, c.Policy); err != nil {
		return err
	}
	cfg := s.cfg
	cfg.Policies, cfg.Resolve = false, nil
	cfg.Token, cfg.RoleID, cfg.SecretID = c.Values[tokenVariable], c.Values[roleVariable], c.Values[secretIDVariable]
	cfg.TokenSource, cfg.TokenHelper, cfg.TokenFile = "the credential", "", ""
	service, err := Open(cfg)
	if err != nil {
		return err
	}
	defer service.Close()
	who, err := service.Whoami(ctx)
	if err != nil {
		return fault.Wrap(err, fault.KindOf(err), op+": use it", fault.HintOf(err))
	}
	if c.Kind == providers.CredentialAppRole { // it ends with the proof
		defer func() {
			_ = s.Revoke(context.WithoutCancel(ctx), providers.Credential{Policy: c.Policy, Kind: kindLogin, Accessor: who.Accessor})
		}() // it lives for a day at most
	}
	wrong := func(format string, a ...any) error {
		return fault.Newf(fault.No, op, "look with vault policy read "+c.Policy, format, a...)
	}
	if !slices.Equal(who.Policies, []string{c.Policy}) {
		return wrong("it has the policies %s", strings.Join(who.Policies, ", "))
	}
	for _, p := range can {
		if _, err := service.Read(ctx, p, providers.Latest); err != nil && !fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
			return fault.Wrap(err, fault.KindOf(err), op+": read with it", fault.HintOf(err))
		}
	}
	for _, p := range cannot {
		if _, err := service.Read(ctx, p, providers.Latest); !fault.Is(err, fault.Denied) {
			return wrong("it is not refused at %s", p)
		}
	}
	want := map[string]string{
		"sys/policies/acl/" + c.Policy: "deny", "auth/token/create": "deny", "sys/mounts": "deny", "auth/token/lookup-self": "read",
	}
	for _, p := range can {
		want[s.cfg.Mount+"/data/"+p.String()] = "read"
		want[s.cfg.Mount+"/delete/"+p.String()] = "deny"
		want[s.cfg.Mount+"/destroy/"+p.String()] = "deny"
	}
	for _, p := range cannot {
		want[s.cfg.Mount+"/data/"+p.String()] = "deny"
		want[s.cfg.Mount+"/metadata/"+p.String()] = "deny"
	}
	may, err := s.ask(ctx, op, "sys/capabilities-accessor", map[string]any{"accessor": who.Accessor, "paths": slices.Sorted(maps.Keys(want))})
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got := capabilities(may[path]); got != want[path] {
			return wrong("at %s it may %s, and should %s", path, got, want[path])
		}
	}
	return nil
}

func capabilities(v any) string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		t, _ := e.(string)
		out = append(out, t)
	}
	return strings.Join(out, ", ")
}

// ended knows by its words an answer about what is gone: it comes as 400, 403 or 500.
func ended(err error) bool {
	var answer *api.ResponseError
	return errors.As(err, &answer) && !answer.RawError &&
		(says(answer, "invalid accessor") || says(answer, "failed to find accessor") || says(answer, "role \"") && says(answer, "does not exist"))
}
