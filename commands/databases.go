package commands

import (
	"cmp"
	"context"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers"
	"envctl/providers/onepassword"
	"envctl/providers/postgres"
	"envctl/providers/redis"
)

// openRoles opens the server of a component's database: ENVCTL_DATABASE_URL and
// ENVCTL_DATABASE_PASSWORD, else the operator's file. It connects to nothing.
func (a *app) openRoles(w *playbooks.World, e config.Environment, component string, d config.Database, resolver func() *onepassword.Resolver) (providers.Roles, error) {
	server, known := w.User.DatabaseFor(w.Project.Name, e.Name, component)
	if address := a.Getenv("ENVCTL_DATABASE_URL"); address != "" {
		server.URL, known = address, true
	}
	place := w.Project.Name + "/" + e.Name + "/" + component
	if !known {
		return nil, fault.Newf(fault.Usage, "find the "+d.Kind+" server of "+place,
			"add it to "+w.User.File+": databases: {"+place+": {url: \""+d.Kind+"://ADMIN@HOST:PORT\", password: \"op://…\"}}, or set ENVCTL_DATABASE_URL and ENVCTL_DATABASE_PASSWORD", "nothing says where it is")
	}
	password := secret.New(cmp.Or(a.Getenv("ENVCTL_DATABASE_PASSWORD"), server.Password))
	resolve := func(ctx context.Context, ref string) (secret.Value, error) {
		got, err := resolver().ResolveAll(ctx, []string{ref})
		if v, ok := got[ref]; ok {
			return v, nil
		}
		return secret.Value{}, err
	}
	if d.Kind == config.DatabaseRedis {
		return redis.Open(redis.Config{URL: server.URL, Password: password, CACert: server.CACert, Timeout: a.globals.timeout, Resolve: resolve})
	}
	return postgres.Open(postgres.Config{URL: server.URL, Password: password, CACert: server.CACert, Timeout: a.globals.timeout, Resolve: resolve})
}
