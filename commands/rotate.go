package commands

import (
	"context"

	"github.com/urfave/cli/v2"

	"envctl/internal/plan"
	"envctl/playbooks"
)

func (a *app) rotateCommand() *cli.Command {
	return &cli.Command{
		Name: "rotate", Usage: "Replace a secret: generate, write, deploy, and prove it", ArgsUsage: "jwt|fernet|KEY", Category: "playbooks",
		Description: "NAME is a recipe of the project file, or a variable that has a generator. The new value is written on the\nversion that was read, the old one is kept where the recipe says so, and \"verified\" is said only of values\nread back from the running processes; \"proven\" says what the application itself showed: which tokens it accepts, or that\nwhat the old key encrypted can still be read. A recipe's probe and reencrypt command need envctl trust. A recipe may say that\nthe variable is the password of a database role: then the role and the store change together, and the new login is\ntried on the server before the old one ends.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "finish", Usage: "retire the old value, when the overlap is over or all data is re-encrypted"},
		},
		Action: a.action(1, 1, func(ctx context.Context, c *cli.Context) error {
			w, err := a.open()
			if err != nil {
				return err
			}
			e, err := a.writeEnv(w)
			if err != nil {
				return err
			}
			component, r, err := w.FindRotation(c.Args().First(), a.globals.component)
			if err != nil {
				return err
			}
			t := playbooks.Target{Environment: e, Component: component}
			var p *plan.Plan
			if c.Bool("finish") {
				p, err = w.Finish(ctx, t, r)
			} else {
				p, err = w.Rotate(ctx, t, r)
			}
			if err != nil {
				return err
			}
			return a.perform(ctx, w, e, p)
		}),
	}
}
