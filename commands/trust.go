package commands

import (
	"context"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/ui"
)

func (a *app) trustCommand() *cli.Command {
	return &cli.Command{
		Name: "trust", Usage: "Allow the commands, URLs and roles of the project file", Category: "project",
		Description: "Commands, URLs and database roles of envctl.yaml are used only after its digest is pinned in your own configuration. A file that\nchanged must be trusted again. --show exits 1 when the file is not trusted.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "show", Usage: "show what would be allowed, and whether it is"},
		},
		Action: a.action(0, 0, func(ctx context.Context, c *cli.Context) error { return a.trust(ctx, c.Bool("show")) }),
	}
}

type trustDocument struct {
	Schema string  `json:"schema"`
	File   string  `json:"file"`
	Digest string  `json:"digest"`
	State  string  `json:"state"` // trusted, changed, untrusted, or empty: it names nothing to run
	Allows []grant `json:"allows"`
	DryRun bool    `json:"dry_run,omitempty"`
	// PinnedAt is when the pinned digest was pinned, also one that the file no longer has.
	PinnedAt *time.Time `json:"pinned_at,omitempty"`
}

// grant is one thing that a trusted file may make envctl do.
type grant struct {
	Where string `json:"where"` // the key in the project file
	Kind  string `json:"kind"`  // command, url or role
	Text  string `json:"text"`
}

// grants lists the commands and URLs that a project file names.
func grants(p *config.Project) []grant {
	all := []grant{}
	deploy := func(where string, d *config.DeployConfig) {
		if d != nil && d.Command != "" {
			all = append(all, grant{where + ".command", "command", d.Command})
		}
	}
	deploy("deploy", p.Deploy)
	for _, e := range p.Environments {
		deploy("environments."+e.Key+".deploy", e.Value.Deploy)
	}
	for _, c := range p.Components {
		for _, r := range c.Value.Rotate {
			where := "components." + c.Key + ".rotate." + r.Key
			if r.Value.Reencrypt != "" {
				all = append(all, grant{where + ".reencrypt", "command", r.Value.Reencrypt})
			}
			if p := r.Value.Probe; p != nil {
				if p.URL != "" {
					all = append(all, grant{where + ".probe", "url", p.URL})
				}
				for _, u := range p.URLs {
					all = append(all, grant{where + ".probe.urls." + u.Key, "url", u.Value})
				}
			}
			if d := r.Value.Database; d != nil {
				all = append(all, grant{where + ".database", "role", strings.TrimSuffix(d.Kind+" "+d.Role+", "+d.Alternate, ", ")})
			}
		}
	}
	return all
}

func (a *app) trust(ctx context.Context, show bool) error {
	file, err := a.projectFile()
	if err != nil {
		return err
	}
	p, err := config.Load(file)
	if err != nil {
		return err
	}
	pins, err := config.LoadTrust(a.dirs())
	if err != nil {
		return err
	}
	doc := trustDocument{Schema: "envctl.trust/v1", File: p.File, Digest: p.Digest(), Allows: grants(p), State: "untrusted", DryRun: a.globals.dryRun && !show}
	if pin, ok := pins.Files[p.File]; ok {
		doc.State, doc.PinnedAt = "changed", &pin.At
	}
	switch {
	case len(doc.Allows) == 0:
		doc.State, doc.PinnedAt = "empty", nil
	case pins.Trusted(p):
		doc.State = "trusted"
	}
	asks := !show && doc.State != "trusted" && doc.State != "empty"
	if !a.ui.JSON {
		if err := a.showTrust(doc); err != nil {
			return err
		}
	}
	if asks && !a.globals.dryRun {
		if err := a.agree(ctx, "trust "+config.FileName, "allow this?"); err != nil {
			return err
		}
		now := a.Now().UTC()
		if err := pins.Pin(ctx, p, now); err != nil {
			return err
		}
		doc.State, doc.PinnedAt = "trusted", &now
		if !a.ui.JSON {
			a.ui.Lead(ui.Good, "trusted", " %s as it is now (%s)", p.File, doc.Digest[:12])
		}
	}
	if a.ui.JSON {
		if err := a.ui.Document(doc); err != nil {
			return err
		}
	}
	if show && (doc.State == "changed" || doc.State == "untrusted") {
		return silentError{1}
	}
	return nil
}

func (a *app) showTrust(doc trustDocument) error {
	rows := make([][]ui.Cell, len(doc.Allows))
	for i, g := range doc.Allows {
		rows[i] = []ui.Cell{ui.C("%s", g.Where), ui.C("%s", g.Kind), ui.Toned(ui.Strong, g.Text)}
	}
	if len(rows) > 0 {
		if err := a.ui.Table([]string{"WHERE", "KIND", "MAY RUN"}, rows); err != nil {
			return err
		}
	}
	switch doc.State {
	case "empty":
		a.ui.Note("%s names no command and no URL: nothing to trust", doc.File)
	case "trusted":
		a.ui.Note("trusted since %s", doc.PinnedAt.Format(time.RFC3339))
	case "changed":
		a.ui.Note("%s has changed since it was trusted at %s", doc.File, doc.PinnedAt.Format(time.RFC3339))
	default:
		a.ui.Note("%s is not trusted", doc.File)
	}
	if doc.DryRun {
		a.ui.Note("dry run: nothing was written")
	}
	return nil
}

// agree asks for a yes that --yes gives too: Interrupted without one, Usage
// where nobody can answer.
func (a *app) agree(ctx context.Context, op, question string) error {
	if a.globals.yes {
		return nil
	}
	if !a.ui.CanAsk() {
		return fault.New(fault.Usage, op, "there is no terminal to say yes on", "look first, then add --yes")
	}
	ok, err := a.ui.Ask().Confirm(ctx, question)
	if err == nil && !ok {
		err = fault.New(fault.Interrupted, op, "not confirmed, nothing was written", "")
	}
	return err
}
