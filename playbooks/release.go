package playbooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// Rendered is what a component's services should see now: every variable with
// its value, and the store versions it was made from.
type Rendered struct {
	Variables map[string]secret.Value
	Inputs    []providers.Bundle // one per path read, sorted by path
	Template  *layer.Template    // nil: the variables are the path's own keys
	Problems  []layer.Problem
	Marker    string
	// Gone is what must not be there any more, with the value it had.
	Gone map[string]secret.Value
	// Text is what Vault Agent would write, Masked the same without what comes
	// from the store; both empty where there is no template.
	Text   secret.Value
	Masked string
}

// Version returns the version of the component's own path among the inputs.
func (r *Rendered) Version(p naming.Path) providers.Version {
	for _, b := range r.Inputs {
		if b.Path == p {
			return b.Version
		}
	}
	return providers.Absent
}

// Template reads a component's template; nil when it has none.
func (w *World) Template(component string) (*layer.Template, error) {
	c, err := w.Project.Component(component)
	if err != nil || c.Template == "" {
		return nil, err
	}
	src, err := w.readLayer(c.Template)
	if err != nil {
		return nil, err
	}
	return layer.ParseTemplate(c.Template, src)
}

// readLayer reads a file that the project file names.
func (w *World) readLayer(rel string) ([]byte, error) {
	abs, err := w.Project.Path(rel)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(abs)
	switch {
	case os.IsNotExist(err):
		return nil, fault.Newf(fault.Invalid, "read "+rel, "correct its path in envctl.yaml", "no such file")
	case err == nil && !st.Mode().IsRegular():
		return nil, fault.Newf(fault.Invalid, "read "+rel, "correct its path in envctl.yaml", "not a file")
	case err == nil && st.Size() > layerLimit:
		return nil, fault.Newf(fault.Invalid, "read "+rel, "", "larger than 1 MiB")
	}
	src, err := os.ReadFile(abs)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "read layer", "")
	}
	return src, nil
}

const layerLimit = 1 << 20

// Render returns a target's variables as its services should see them: the
// template's output, or the path's own keys where there is no template. The
// newest versions are read, unless pinned names others.
func (w *World) Render(ctx context.Context, r providers.Reader, t Target, pinned map[naming.Path]providers.Version) (*Rendered, error) {
	return w.RenderFor(ctx, r, t, pinned, dotenv.Sh)
}

// RenderFor is Render with the variables as another reader than a shell reads
// them from the template's output.
func (w *World) RenderFor(ctx context.Context, r providers.Reader, t Target, pinned map[naming.Path]providers.Version, reader dotenv.Dialect) (*Rendered, error) {
	tmpl, err := w.Template(t.Component)
	if err != nil {
		return nil, err
	}
	paths := []naming.Path{w.Path(t)}
	if tmpl != nil {
		if paths, err = w.templatePaths(tmpl, t); err != nil {
			return nil, err
		}
	}
	out := &Rendered{Template: tmpl, Variables: map[string]secret.Value{}}
	if out.Inputs, err = w.readAll(ctx, r, t, paths, pinned); err != nil {
		return nil, err
	}
	out.Marker = marker(out.Inputs, tmpl)
	if tmpl == nil {
		for k, v := range out.Inputs[0].Values {
			out.Variables[k] = v
		}
		return out, nil
	}
	byPath := map[naming.Path]layer.SecretData{}
	for _, b := range out.Inputs {
		byPath[b.Path] = layer.SecretData{Values: b.Values, NonString: b.NonString, Version: int(b.Version), Created: b.Created}
	}
	text, err := layer.Render(ctx, tmpl, layer.RenderInput{
		Env: w.templateEnv(t), Reader: reader,
		Secret: func(_ context.Context, p string) (layer.SecretData, error) {
			np, err := naming.ParsePath(w.Project.Vault.Mount, p)
			if err != nil {
				return layer.SecretData{}, fault.Wrap(err, fault.Invalid, tmpl.File, "")
			}
			values, ok := byPath[np]
			if !ok {
				return values, fault.Newf(fault.Invalid, tmpl.File, "write the path as a literal or with printf and env", "path %s is not known before rendering", p)
			}
			return values, nil
		},
	})
	if err != nil {
		return nil, err
	}
	for _, v := range text.Variables {
		out.Variables[v.Name] = v.Value
	}
	out.Problems, out.Text, out.Masked = text.Problems, text.Text, text.Masked
	return out, nil
}

// templateEnv is what the template function env answers: the environment's
// name and suffix, never this process's own variables.
func (w *World) templateEnv(t Target) map[string]string {
	return map[string]string{
		"ENV": t.Environment.Name, "ENVIRONMENT": t.Environment.Name,
		"ENV_SUFFIX": w.suffix(t.Environment.Name), "PROJECT": w.Project.Name,
	}
}

// suffix is what names of an environment end with: "" for local, ci and
// production, "-staging", "-pr-47".
func (w *World) suffix(env string) string {
	if naming.IsLocal(env) {
		return ""
	}
	return naming.Rules{}.Suffix(env, "", "")
}

// templatePaths resolves the paths a template reads and refuses those outside
// the project's own environment, unless the operator's file allows them.
func (w *World) templatePaths(tmpl *layer.Template, t Target) ([]naming.Path, error) {
	var out []naming.Path
	for _, sym := range tmpl.Paths {
		p, err := w.resolvePath(tmpl, sym.Pattern, t)
		if err != nil {
			return nil, err
		}
		if !w.mayRead(p, t) {
			return nil, fault.Newf(fault.Refused, fmt.Sprintf("%s:%d", tmpl.File, sym.Line),
				"allow it in "+w.User.File+": templates: {allow: ["+p.String()+"]}",
				"reads %s, outside %s/%s", p, w.Project.Name, t.Environment.Name)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out, nil
}

func (w *World) mayRead(p naming.Path, t Target) bool {
	if p.Project == w.Project.Name && p.Environment == t.Environment.Name {
		return true
	}
	for _, pattern := range w.User.Templates.Allow {
		if ok, _ := path.Match(pattern, p.String()); ok {
			return true
		}
	}
	return false
}

// readAll reads all paths at once. A path that does not exist is empty here:
// the template's defaults apply, as they would in the agent.
func (w *World) readAll(ctx context.Context, r providers.Reader, t Target, paths []naming.Path, pinned map[naming.Path]providers.Version) ([]providers.Bundle, error) {
	out := make([]providers.Bundle, len(paths))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, p := range paths {
		g.Go(func() error {
			b, err := w.readWithBase(ctx, r, t, p, pinned[p])
			if fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed) {
				b, err = providers.Bundle{Path: p}, nil
			}
			out[i] = b
			return err
		})
	}
	return out, g.Wait()
}

// readWithBase reads a path; where the environment has a base, the base's values
// stand in for keys that the path lacks, except those that name the environment.
func (w *World) readWithBase(ctx context.Context, r providers.Reader, t Target, p naming.Path, v providers.Version) (providers.Bundle, error) {
	own, err := r.Read(ctx, p, v)
	base := t.Environment.Base
	if base == "" || p.Environment != t.Environment.Name || (err != nil && !fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed)) {
		return own, err
	}
	under, berr := r.Read(ctx, naming.Path{Project: p.Project, Environment: base, Component: p.Component}, providers.Latest)
	if fault.Is(berr, fault.NotFound, fault.Deleted, fault.Destroyed) {
		return own, err
	}
	if berr != nil {
		return own, berr
	}
	own.Path = p
	merged := map[string]secret.Value{}
	for k, val := range under.Values {
		if !slices.Contains(environmentKeys, k) {
			merged[k] = val
		}
	}
	for k, val := range own.Values {
		merged[k] = val
	}
	own.Values = merged
	return own, nil
}

// environmentKeys name the environment itself and are never borrowed or copied.
var environmentKeys = []string{"APP_ENV", "DEPLOY_ENV", "ENV", "ENVIRONMENT"} //nolint:gochecknoglobals // a constant list

// marker digests what the variables were made from: store versions and the
// template, never values.
func marker(inputs []providers.Bundle, tmpl *layer.Template) string {
	var b strings.Builder
	for _, in := range inputs {
		fmt.Fprintf(&b, "%s@%d@%s\n", in.Path, in.Version, in.Created.UTC().Format("20060102T150405.000000000Z"))
	}
	if tmpl != nil {
		b.WriteString(tmpl.Digest())
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])[:16]
}

// services returns a component's services with the container names they must have.
func (w *World) services(t Target) ([]providers.Service, error) {
	c, err := w.Project.Component(t.Component)
	if err != nil {
		return nil, err
	}
	rules, err := w.Rules()
	if err != nil {
		return nil, err
	}
	out := make([]providers.Service, 0, len(c.Services))
	for _, s := range c.Services {
		out = append(out, providers.Service{Name: s, Container: rules.Container(t.Environment.Name, s), Rolling: slices.Contains(c.Rolling, s)})
	}
	return out, nil
}
