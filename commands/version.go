package commands

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "Show the version of envctl and what it was built with", Category: "this program",
		Action: a.action(0, 0, func(context.Context, *cli.Context) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if a.ui.JSON {
				return a.ui.Document(struct {
					Schema   string `json:"schema"`
					Version  string `json:"version"`
					Revision string `json:"revision,omitempty"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{"envctl.version/v1", a.Version, revision, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
			}
			a.ui.Print("envctl %s", a.Version)
			return nil
		}),
	}
}
