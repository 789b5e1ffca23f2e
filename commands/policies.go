package commands

import (
	"context"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers"
	"envctl/providers/onepassword"
	"envctl/providers/vault"
)

// openPolicies opens an environment's Vault for policies alone, with the
// administrator's token and no other: VAULT_ROOT_TOKEN.
func (a *app) openPolicies(w *playbooks.World, e config.Environment, resolver func() *onepassword.Resolver) (providers.Policies, error) {
	if e.Store != config.StoreVault {
		return nil, fault.Newf(fault.Refused, "open the policies of "+e.Name, "leave out --with-policy", "the store %s has no policies", e.Store)
	}
	server := w.User.VaultFor(w.Project.Name, e.Name)
	c, err := vault.ConfigFromEnv(vault.Environment{
		Lookup: a.Getenv, Home: a.Getenv("HOME"), Address: server.Address, Admin: true,
		Resolve: func(ctx context.Context, ref string) (secret.Value, error) {
			got, err := resolver().ResolveAll(ctx, []string{ref})
			if v, ok := got[ref]; ok {
				return v, nil
			}
			return secret.Value{}, err
		},
	})
	if err != nil {
		return nil, err
	}
	applyServer(&c, server)
	c.Mount, c.Timeout, c.Policies = w.Project.Vault.Mount, a.globals.timeout, true
	return vault.Open(c)
}

// policiesOnce opens each environment's policies once.
func (a *app) policiesOnce(w *playbooks.World, resolver func() *onepassword.Resolver) func(config.Environment) (providers.Policies, error) {
	opened := &memo[string, providers.Policies]{}
	return func(e config.Environment) (providers.Policies, error) {
		return opened.get(e.Name, func() (providers.Policies, error) { return a.openPolicies(w, e, resolver) })
	}
}
