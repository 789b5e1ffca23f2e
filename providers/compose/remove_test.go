//go:build unix

package compose_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/providers"
)

const removable = `services:
  backend:
    image: ` + realtest.Image + `
    pull_policy: never
    command: [serve]
    networks: [net]
    volumes: ["data:/data"]
  helper:
    image: ` + realtest.Image + `
    pull_policy: never
    command: [serve]
    networks: [net]
networks: {net: {}}
volumes: {data: {}}
`

func (w *testWorld) remove(t *testing.T, volumes bool) providers.Removal {
	t.Helper()
	remover, ok := w.Deployer.(providers.Remover)
	if !ok {
		t.Fatal("the deployer cannot remove")
	}
	got, err := remover.Remove(t.Context(), w.Release, volumes)
	if err != nil {
		t.Fatal(err, "hint:", fault.HintOf(err))
	}
	return got
}

func (w *testWorld) lines(t *testing.T, args ...string) []string {
	t.Helper()
	return strings.Fields(w.docker.Run(t, args...))
}

// Only what carries the labels of the release goes; its network goes with the
// last that uses it, its volumes only where they are asked for.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := world(t, realtest.Dockerd(t), removable)
	project := w.Release.Project + "-app-staging"
	mine := "label=com.docker.compose.project=" + project
	t.Cleanup(func() {
		for _, kind := range []string{"container", "network", "volume"} {
			list := []string{kind, "ls", "-q", "--filter", mine}
			if kind == "container" {
				list = append(list, "-a")
			}
			for _, id := range w.lines(t, list...) {
				force := []string{kind, "rm", id}
				if kind == "container" {
					force = []string{kind, "rm", "-f", id}
				}
				w.docker.Run(t, force...)
			}
		}
	})
	if got := w.remove(t, true); len(got.Containers)+len(got.Networks)+len(got.Volumes)+len(got.Left) != 0 {
		t.Errorf("removed %v where nothing was", got)
	}
	w.up(t)

	// The same project in production, another component here: neighbours.
	for _, labels := range [][]string{{"production", "app"}, {"staging", "other"}} {
		w.docker.Run(t, "run", "-d", "--network", "none", "--name", w.Release.Project+"-neighbour-"+labels[1]+labels[0], "--label", providers.LabelProject+"="+w.Release.Project,
			"--label", providers.LabelEnvironment+"="+labels[0], "--label", providers.LabelComponent+"="+labels[1], realtest.Image, "serve")
	}
	// A container that compose knows for its own and envctl does not.
	foreign := w.Release.Project + "-foreign"
	w.docker.Run(t, "run", "-d", "--network", project+"_net", "--name", foreign, "--label", "com.docker.compose.project="+project, realtest.Image, "serve")

	got := w.remove(t, false)
	want := []string{w.Release.Project + "-backend-staging", w.Release.Project + "-helper-staging"}
	if !slices.Equal(got.Containers, want) || len(got.Networks) != 0 || len(got.Volumes) != 0 || !slices.Equal(got.Left, []string{foreign, project + "_net"}) {
		t.Errorf("removed %+v", got)
	}
	if left := w.lines(t, "ps", "-a", "--format", "{{.Names}}", "--filter", "label="+providers.LabelProject+"="+w.Release.Project); len(left) != 2 {
		t.Errorf("left are %v, want the two neighbours", left)
	}
	w.docker.Run(t, "rm", "-f", foreign)
	if got := w.remove(t, false); !slices.Equal(got.Networks, []string{project + "_net"}) || len(got.Left) != 0 || len(got.Volumes) != 0 {
		t.Errorf("removed %+v after the last user was gone", got)
	}

	// What was removed comes up again, and the volume with it.
	w.up(t)
	if got := w.remove(t, true); len(got.Containers) != 2 || len(got.Networks) != 1 || !slices.Equal(got.Volumes, []string{project + "_data"}) {
		t.Errorf("removed %+v with its volumes", got)
	}
	if left := w.lines(t, "volume", "ls", "-q", "--filter", mine); len(left) != 0 {
		t.Errorf("volumes are left: %v", left)
	}
}

func TestRemoveRefused(t *testing.T) {
	t.Parallel()
	w := world(t, realtest.Dockerd(t), removable)
	remover := w.Deployer.(providers.Remover)
	r := w.Release
	r.Environment = "../production"
	if _, err := remover.Remove(t.Context(), r, false); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name that is none: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := remover.Remove(ended, w.Release, false); !fault.Is(err, fault.Interrupted) {
		t.Errorf("an interrupt: %v", err)
	}
}
