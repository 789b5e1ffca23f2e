package playbooks

import (
	"context"
	"io"
	"slices"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Output is what the containers of a target say.
type Output struct {
	Containers []providers.Container // those the engine shows, else those the deployer does
	// Secrets are the values that no line of it may show: those of the containers'
	// own configuration and of the store. StoreErr says why the latter are not known.
	Secrets  []secret.Value
	StoreErr error

	write func(ctx context.Context, c providers.Container, o providers.LogOptions, out io.Writer) error
}

// Write copies what a container said to out.
func (o *Output) Write(ctx context.Context, c providers.Container, l providers.LogOptions, out io.Writer) error {
	return o.write(ctx, c, l, out)
}

// Output finds the containers of a target that run service; "" is all of them.
func (w *World) Output(ctx context.Context, t Target, service string) (*Output, error) {
	comp, err := w.Project.Component(t.Component)
	if err != nil {
		return nil, err
	}
	found, watched, rt, err := w.seen(ctx, t)
	if err != nil {
		return nil, err
	}
	out := &Output{write: func(ctx context.Context, c providers.Container, o providers.LogOptions, to io.Writer) error {
		if len(watched) == 0 {
			return rt.Logs(ctx, c, o, to)
		}
		return w.outputOf(ctx, t, c, o, to)
	}}
	out.Containers = slices.DeleteFunc(append(found, watched...), func(c providers.Container) bool { return service != "" && c.Service != service })
	if len(out.Containers) == 0 {
		return nil, fault.Newf(fault.NotFound, "logs of "+t.Component+" in "+t.Environment.Name, "run envctl status --env "+t.Environment.Name, "no container of it is evidence for %s", t.Environment.Name)
	}
	for _, c := range out.Containers {
		out.Secrets = append(out.Secrets, w.secretsAmong(comp, c.Env)...)
	}
	store, err := w.Store(t.Environment)
	if err == nil {
		var r *Rendered
		if r, err = w.Render(ctx, store, t, nil); err == nil {
			out.Secrets = append(out.Secrets, w.secretsAmong(comp, r.Variables)...)
			for _, b := range r.Inputs {
				out.Secrets = append(out.Secrets, w.secretsAmong(comp, b.Values)...)
			}
		}
	}
	out.StoreErr = err
	return out, nil
}

// secretsAmong returns the values that are secrets: by their names, or as URLs
// with a password, which counts by itself too.
func (w *World) secretsAmong(c config.Component, values map[string]secret.Value) []secret.Value {
	var out []secret.Value
	for _, name := range sortedKeys(values) {
		v := values[name]
		password := v.Password()
		if password.IsSet() {
			out = append(out, password)
		}
		if password.IsSet() || w.secretKey(c, name) {
			out = append(out, v)
		}
	}
	return out
}

func (w *World) outputOf(ctx context.Context, t Target, c providers.Container, o providers.LogOptions, out io.Writer) error {
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return err
	}
	watcher, ok := d.(providers.Watcher)
	if !ok {
		return fault.New(fault.Internal, "logs of "+c.Name, "its deployer shows none", "")
	}
	return watcher.Output(ctx, w.bare(t), c, o, out)
}
