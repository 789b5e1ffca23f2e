package docker

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"

	"envctl/internal/fault"
	"envctl/providers"
)

var _ providers.Surveyor = (*Engine)(nil)

// Environments takes one request.
func (e *Engine) Environments(ctx context.Context, project string) ([]string, error) {
	if project == "" {
		return nil, fault.New(fault.Internal, e.op("list containers"), "the query names no project", "")
	}
	filters, err := json.Marshal(map[string][]string{"label": {providers.LabelProject + "=" + project}})
	if err != nil {
		return nil, err
	}
	var found []struct{ Labels map[string]string }
	if err := e.get(ctx, "list containers", "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}}, &found); err != nil {
		return nil, err
	}
	names := []string{}
	for _, c := range found {
		if env := c.Labels[providers.LabelEnvironment]; env != "" && c.Labels[providers.LabelProject] == project {
			names = append(names, env)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
