package commands

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"golang.org/x/net/http/httpproxy"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/playbooks"
	"envctl/providers"
	"envctl/providers/command"
	"envctl/providers/compose"
	"envctl/providers/docker"
	"envctl/providers/dokploy"
)

// openDeployer returns what makes a component's releases real in e, nil when
// nothing does: the environment has no deployer, or the component runs nothing.
func (a *app) openDeployer(w *playbooks.World, e config.Environment, component string) (providers.Deployer, error) {
	op := "deploy " + component + " in " + e.Name
	if e.Deploy.Kind == config.DeployNone {
		return nil, nil //nolint:nilnil // no deployer is an answer
	}
	c, err := w.Project.Component(component)
	if err != nil {
		return nil, err
	}
	if len(c.Services) == 0 && (c.Compose == "" || e.Deploy.Kind != config.DeployCompose) {
		return nil, nil //nolint:nilnil // it runs nothing
	}
	switch e.Deploy.Kind {
	case config.DeployCommand:
		return a.openCommand(w, e)
	case config.DeployCompose:
		return a.openCompose(w, e, op, c)
	case config.DeployDokploy:
		return a.openDokploy(w, &e, c.Compose)
	default:
		return nil, fault.Newf(fault.Invalid, op, "use deploy: {kind: compose}, dokploy, command or none", "there is no deployer %s", e.Deploy.Kind)
	}
}

func (a *app) openCompose(w *playbooks.World, e config.Environment, op string, c config.Component) (providers.Deployer, error) {
	if c.Compose == "" {
		return nil, fault.Newf(fault.Invalid, op, "add compose: path/to/compose.yaml to the component in "+config.FileName, "the component names no compose file")
	}
	file, err := w.Project.Path(c.Compose)
	if err != nil {
		return nil, err
	}
	rt, err := w.Runtime(e)
	if err != nil {
		return nil, err
	}
	engine, ok := rt.(*docker.Engine)
	if !ok {
		return nil, fault.New(fault.Internal, op, "compose deploys to a docker engine only", "")
	}
	return compose.New(compose.Config{File: file, Host: a.dockerHost(w, e), CertDir: a.Getenv("DOCKER_CERT_PATH"), Engine: engine, Env: a.Getenv})
}

// seenBy returns the engine that shows an environment's containers, and whether
// the operator bound it; without a binding there need not be one.
func (a *app) seenBy(w *playbooks.World, e config.Environment) (rt providers.Runtime, bound bool, err error) {
	_, bound = w.User.Runtimes.Get(w.Project.Name + "/" + e.Name)
	if rt, err = w.Runtime(e); err != nil && !bound {
		return nil, false, nil
	}
	return rt, bound, err
}

func (a *app) openCommand(w *playbooks.World, e config.Environment) (providers.Deployer, error) {
	rt, bound, err := a.seenBy(w, e)
	if err != nil {
		return nil, err
	}
	c := command.Config{
		Command: e.Deploy.Command, Dir: w.Project.Root, Trusted: w.Trusted, Environ: a.childEnvironment(nil, false), Bound: bound, Now: a.Now,
	}
	if rt != nil {
		c.Engine = rt
	}
	return command.New(c)
}

// openDokploy returns the deployer of the operator's Dokploy server, for a
// component with that compose file; e may be nil, for questions about the server
// itself.
func (a *app) openDokploy(w *playbooks.World, e *config.Environment, file string) (*dokploy.Deployer, error) {
	rules, err := w.Rules()
	if err != nil {
		return nil, err
	}
	server := w.User.Dokploy
	c := dokploy.Config{
		URL: cmp.Or(a.Getenv("DOKPLOY_URL"), server.URL), Key: secret.New(cmp.Or(a.Getenv("DOKPLOY_API_KEY"), server.APIKey)),
		Resolve:  func(ctx context.Context, ref string) (secret.Value, error) { return resolveOne(ctx, w, ref) },
		StateDir: w.Dirs.State, Rules: rules, Now: a.Now, Rand: a.Rand, Timeout: a.globals.timeout,
	}
	if file != "" {
		if c.File, err = w.Project.Path(file); err != nil {
			return nil, err
		}
	}
	c.Proxy = a.proxy()
	if e != nil {
		rt, bound, err := a.seenBy(w, *e)
		if err != nil {
			return nil, err
		}
		if c.Bound = bound; rt != nil {
			c.Engine = rt
		}
	}
	return dokploy.New(c)
}

// proxy returns what finds the operator's proxy for an https URL; nil for none.
func (a *app) proxy() func(*url.URL) (*url.URL, error) {
	proxy := httpproxy.Config{
		HTTPSProxy: cmp.Or(a.Getenv("HTTPS_PROXY"), a.Getenv("https_proxy")), NoProxy: cmp.Or(a.Getenv("NO_PROXY"), a.Getenv("no_proxy")),
	}
	if proxy.HTTPSProxy == "" {
		return nil
	}
	return proxy.ProxyFunc()
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func resolveOne(ctx context.Context, w *playbooks.World, ref string) (secret.Value, error) {
	got, err := w.Resolve(ctx, []string{ref})
	return got[ref], err
}

// examineDokploy asks the Dokploy server where the project deploys to it, or
// the operator named one.
func (a *app) examineDokploy(ctx context.Context, w *playbooks.World) []finding {
	used := cmp.Or(a.Getenv("DOKPLOY_URL"), w.User.Dokploy.URL) != ""
	for _, e := range w.Project.Environments {
		used = used || e.Value.Deploy != nil && e.Value.Deploy.Kind == config.DeployDokploy
	}
	if !used && (w.Project.Deploy == nil || w.Project.Deploy.Kind != config.DeployDokploy) {
		return nil
	}
	f := finding{Area: "deployer", Subject: "dokploy", State: "ok"}
	d, err := a.openDokploy(w, nil, "")
	var projects []string
	if err == nil {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		projects, err = d.Projects(short)
		cancel()
	}
	switch {
	case err != nil:
		f.State, f.Detail, f.Fix = "problem", err.Error(), fault.HintOf(err)
	case !slices.Contains(projects, w.Project.Name):
		f.State, f.Detail, f.Fix = "warning", fmt.Sprintf("%s: the key is good, and sees no project %s", d.Describe(), w.Project.Name), "make the project in Dokploy, or give the key's user access to it"
	default:
		f.Detail = fmt.Sprintf("%s: the key is good, and sees the project", d.Describe())
	}
	return []finding{f}
}
