//go:build unix

package docker

import (
	"slices"
	"testing"

	"envctl/internal/realtest"
	"envctl/providers"
)

func TestEnvironments(t *testing.T) {
	t.Parallel()
	d := realtest.Dockerd(t)
	e, err := New(Config{Host: d.Host()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	const project = "tsurvey"
	d.Cleanup(t, providers.LabelProject+"="+project)
	d.Cleanup(t, providers.LabelProject+"="+project+"-x")
	for name, labels := range map[string][2]string{
		"a": {project, "pr-2"}, "b": {project, "pr-2"}, "c": {project, "pr-1"}, "d": {project + "-x", "pr-3"},
	} {
		d.Run(t, "create", "--name", project+name, "--label", providers.LabelProject+"="+labels[0], "--label", providers.LabelEnvironment+"="+labels[1], realtest.Image)
	}
	d.Run(t, "create", "--name", project+"none", "--label", providers.LabelProject+"="+project, realtest.Image)
	got, err := e.Environments(t.Context(), project)
	if err != nil || !slices.Equal(got, []string{"pr-1", "pr-2"}) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := e.Environments(t.Context(), "nothing"); err != nil || got == nil || len(got) != 0 {
		t.Errorf("of a project without containers: %#v, %v", got, err)
	}
}
