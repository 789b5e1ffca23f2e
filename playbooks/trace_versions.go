package playbooks

import (
	"context"
	"slices"

	"envctl/internal/layer"
	"envctl/naming"
	"envctl/providers"
)

// maxVersions bounds how far back a value is looked for.
const maxVersions = 20

// matchVersions says of every running value which store version it equals: the
// newest, or one that is looked for among the older ones.
func (tr *tracing) matchVersions(ctx context.Context, rows []SourceRow) {
	if tr.rendered == nil {
		return
	}
	now, ok := tr.rendered.Variables[tr.variable]
	path, version := tr.variablePath()
	var strangers []*SourceRow
	for i := range rows {
		r := &rows[i]
		if !slices.Contains([]string{"dotenv", "deployer", "container-config", "process"}, r.Source) || !r.value.IsSet() {
			continue
		}
		if ok && r.value.Equal(now) {
			r.MatchesVersion = int(version)
		} else {
			strangers = append(strangers, r)
		}
	}
	if len(strangers) == 0 {
		return
	}
	tr.partly = version > maxVersions || tr.inputsBeside(path)
	if version == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sourceLimit)
	defer cancel()
	for v := version - 1; v > 0 && v > version-maxVersions && len(strangers) > 0; v-- {
		old, err := tr.w.Render(ctx, tr.reader, tr.t, map[naming.Path]providers.Version{path: v})
		if err == nil {
			_, err = tr.unread()
		}
		if err != nil {
			tr.partly = true
			return // the rows simply do not say which version they match
		}
		then, ok := old.Variables[tr.variable]
		if !ok {
			continue
		}
		var rest []*SourceRow
		for _, r := range strangers {
			if r.value.Equal(then) {
				r.MatchesVersion = int(v)
			} else {
				rest = append(rest, r)
			}
		}
		strangers = rest
	}
}

// inputsBeside tells whether the variable is made of other paths than p too, or of
// an environment's base: their versions are not gone through.
func (tr *tracing) inputsBeside(p naming.Path) bool {
	if tr.t.Environment.Base != "" {
		return true
	}
	if tr.template == nil {
		return false
	}
	return slices.ContainsFunc(tr.template.Inputs, func(in layer.Input) bool {
		q, err := tr.w.resolvePath(tr.layers.Template, in.Path, tr.t)
		return err != nil || q != p
	})
}

// variablePath is the path whose versions tell a variable's values apart: its
// only input's, the first of several, or the component's own.
func (tr *tracing) variablePath() (naming.Path, providers.Version) {
	p := tr.w.Path(tr.t)
	if tr.template != nil {
		for _, in := range tr.template.Inputs {
			if q, err := tr.w.resolvePath(tr.layers.Template, in.Path, tr.t); err == nil {
				p = q
				break
			}
		}
	}
	return p, tr.rendered.Version(p)
}
