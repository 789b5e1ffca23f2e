package commands

import (
	"context"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/playbooks"
)

func (a *app) rotateCommand() *cli.Command {
	return &cli.Command{
		Name: "rotate", Usage: "Replace a secret: generate, write, deploy, and prove it", ArgsUsage: "[jwt|fernet|KEY]", Category: "playbooks",
		Description: "NAME is a recipe of the project file, or a variable that has a generator. The new value is written on the\nversion that was read, the old one is kept where the recipe says so, and \"verified\" is said only of values\nread back from the running processes.\n\n" +
			"A signing key's recipe may have a probe: {url, urls, header, scheme, claims, expect, refuse}. The application is shown\ntokens of the old key, of the new one and of a random one, before and after, and \"proven\" says which it took.\n\n" +
			"A Fernet key's may have a reencrypt command. It runs when the running processes have the new key, with the\nenvironment's variables, ENVCTL_OLD_KEY and ENVCTL_NEW_KEY; old keys are retired when it ends with 0. From it on the run\nis not undone, only finished: envctl resume runs it again. Both need envctl trust.\n\n" +
			"A recipe may say that the variable is the password of a database role: then the role and the store change together,\nand the new login is tried on the server before the old one ends.\n\n" +
			"--all rotates every recipe of the environment, --due those whose value is older than the recipe's every (or the\ncustom metadata rotate_every of its path). The age is that of the value, by the store's clock: since the oldest\nversion that holds it, or since rotated_at where the store has dropped that version. The recipes of a path that\nonly change values are one write, and what they reach is deployed once; those with a proof or a command of their\nown (Fernet keys, probes, databases) follow, each in a run of its own.\n\n" +
			"A recipe that fails is undone, one that cannot be rotated is named, and neither hinders the others. The exit code\ntells: 8 where a run is left part-way, else that of what failed (1 where causes differ), else 2 where a rule\nrefused some, 5 where the environment has none of the values. --due --dry-run lists what is due, and ends with 0.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "every recipe of the environment, or of --component"},
			&cli.BoolFlag{Name: "due", Usage: "every recipe whose value is older than it may be"},
			&cli.BoolFlag{Name: "finish", Usage: "retire the old value, when the overlap is over or all data is re-encrypted"},
			&cli.IntFlag{Name: "parallel", Usage: "with --all or --due: work on `N` paths at a time", Value: 8},
			a.reportFlag(),
		},
		Action: a.asking(0, 1, func(ctx context.Context, c *cli.Context) error {
			many := c.Bool("all") || c.Bool("due")
			switch {
			case many && (c.NArg() > 0 || c.Bool("finish")):
				return fault.New(fault.Usage, "rotate", "--all and --due take neither a name nor --finish", "run envctl rotate --due, or envctl rotate NAME")
			case !many && c.NArg() == 0:
				return fault.New(fault.Usage, "rotate", "wants jwt, fernet or KEY", "name what to rotate, or add --all or --due")
			case c.Int("parallel") < 1 || c.Int("parallel") > 64:
				return fault.New(fault.Usage, "rotate --parallel", "is not from 1 to 64", "leave it out: 8 at a time")
			}
			w, err := a.open()
			if err != nil {
				return err
			}
			e, err := a.writeEnv(w)
			if err != nil {
				return err
			}
			if many {
				return a.rotateAll(ctx, w, e, playbooks.Selection{Due: c.Bool("due"), Component: a.globals.component, Parallel: c.Int("parallel")})
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
