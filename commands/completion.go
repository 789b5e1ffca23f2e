package commands

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"envctl/completions"
	"envctl/internal/fault"
)

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "Print the completion script of a shell", ArgsUsage: "bash|zsh|fish|powershell", Category: "this program",
		Description: "bash:  source <(envctl completion bash)\nzsh:   envctl completion zsh > \"${fpath[1]}/_envctl\"\nfish:  envctl completion fish > ~/.config/fish/completions/envctl.fish\npowershell:  envctl completion powershell | Out-String | Invoke-Expression",
		Action: a.action(1, 1, func(_ context.Context, c *cli.Context) error {
			script, ok := completions.Script(c.Args().First())
			if !ok {
				return fault.New(fault.Usage, "completion "+c.Args().First(), "no such shell", "bash, fish, powershell or zsh")
			}
			fmt.Fprint(a.ui.Out, script)
			return nil
		}),
	}
}
