package commands

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
	"envctl/playbooks/check"
)

// checkOptions are check's flags.
type checkOptions struct {
	rules                             []string
	format, baseline, bundle          string
	list, fix, writeBaseline, changed bool
	live, allEnvs                     bool
}

func (a *app) checkCommand() *cli.Command {
	var o checkOptions
	return &cli.Command{
		Name: "check", Usage: "Compare what templates, code, examples and policies declare", Category: "questions",
		Description: "Findings have a rule, a place and a fix. Severities are set in envctl.yaml: check: {severity: {RULE: error|warning|info|off}}.\n" +
			"Exit 0: no errors; 1: errors; 3: a layer could not be read, so that the answer is incomplete.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all-envs", Usage: "with --live: every environment of the file", Destination: &o.allEnvs},
			&cli.StringFlag{Name: "baseline", Usage: "leave out the findings that `FILE` knows", Destination: &o.baseline},
			&cli.StringFlag{Name: "bundle", Usage: "look in the folder `DIR` of a built bundle for placeholders of NEXT_PUBLIC_ variables, and with --live for their values", Destination: &o.bundle},
			&cli.BoolFlag{Name: "changed", Usage: "only what files that differ from git's HEAD can have brought, for pre-commit", Destination: &o.changed},
			&cli.BoolFlag{Name: "fix", Usage: "add the lines that are missing in examples and templates, after showing them", Destination: &o.fix},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT`: text, json, sarif, junit or github", DefaultText: `"text"`, Destination: &o.format},
			&cli.BoolFlag{Name: "list", Usage: "list the rules and their severity", Destination: &o.list},
			&cli.BoolFlag{Name: "live", Usage: "also compare the store of the environment (--env)", Destination: &o.live},
			&cli.StringSliceFlag{Name: "rule", Usage: "only the `RULE`; repeatable"},
			&cli.BoolFlag{Name: "write-baseline", Usage: "write the findings of now to --baseline (default: " + baselineFile + " beside envctl.yaml)", Destination: &o.writeBaseline},
		},
		Action: func(c *cli.Context) error {
			action := a.reading
			if o.fix || o.writeBaseline {
				action = a.action
			}
			return action(0, 0, func(ctx context.Context, c *cli.Context) error {
				o.rules = c.StringSlice("rule")
				if !c.IsSet("format") { // a default that the library has to set costs every check
					o.format = "text"
				}
				if err := a.checkFormat(&o); err != nil {
					return err
				}
				if o.list {
					return a.listRules()
				}
				return a.check(ctx, o)
			})(c)
		},
	}
}

const baselineFile = "envctl-baseline.json"

// checkFormat settles --format and --json, which is --format json.
func (a *app) checkFormat(o *checkOptions) error {
	formats := []string{"text", "json", "sarif", "junit", "github"}
	switch {
	case !slices.Contains(formats, o.format):
		return fault.Newf(fault.Usage, "check --format "+o.format, "use text, json, sarif, junit or github", "no such format")
	case a.ui.JSON && o.format == "text":
		o.format = "json"
	case a.ui.JSON && o.format != "json":
		return fault.New(fault.Usage, "check", "--json and --format "+o.format+" ask for two documents", "give one of them")
	}
	if o.format == "json" {
		a.ui.JSON = true
	}
	if o.allEnvs && !o.live {
		return fault.New(fault.Usage, "check --all-envs", "files are the same in every environment", "add --live")
	}
	if o.writeBaseline && (o.changed || len(o.rules) > 0) {
		return fault.New(fault.Usage, "check --write-baseline", "a baseline of a part would forget the rest", "leave out --changed and --rule")
	}
	return nil
}

func (a *app) listRules() error {
	var p *config.Project
	if file, err := a.projectFile(); err == nil {
		if p, err = config.Load(file); err != nil {
			return err
		}
	}
	severity, err := check.Severities(p)
	if err != nil {
		return err
	}
	rules := check.Rules()
	for i := range rules {
		rules[i].Severity = severity[rules[i].Name]
	}
	if a.ui.JSON {
		return a.ui.Document(struct {
			Schema string       `json:"schema"`
			Rules  []check.Rule `json:"rules"`
		}{"envctl.rules/v1", rules})
	}
	rows := make([][]ui.Cell, len(rules))
	for i, r := range rules {
		doc := r.Doc
		if r.Live {
			doc += " (--live)"
		}
		rows[i] = []ui.Cell{ui.C("%s", r.Name), ui.Toned(severityTone(r.Severity), string(r.Severity)), ui.C("%s", doc)}
	}
	return a.ui.Table([]string{"RULE", "SEVERITY", "FINDS"}, rows)
}

func severityTone(s check.Severity) ui.Tone {
	return map[check.Severity]ui.Tone{check.Error: ui.Bad, check.Warning: ui.Caution, check.Info: ui.Plain, check.Off: ui.Faint}[s]
}

func (a *app) check(ctx context.Context, o checkOptions) error {
	w, err := a.open()
	if err != nil {
		return err
	}
	in, err := a.checkInput(ctx, w, o)
	if err != nil {
		return err
	}
	defer roomy(len(w.Project.Components))()
	r, err := check.Run(ctx, in)
	if err != nil {
		return err
	}
	if o.fix {
		done, err := a.fixCheck(ctx, in, r)
		if err != nil {
			return err
		}
		if len(done) > 0 && !a.globals.dryRun {
			if r, err = check.Run(ctx, in); err != nil {
				return err
			}
		}
		r.Fixed, r.DryRun = done, a.globals.dryRun
	}
	for _, n := range r.Notes {
		a.ui.Warn("%s", n)
	}
	if o.writeBaseline {
		return a.writeCheckBaseline(w, o, r)
	}
	if err := a.showCheck(w, o, r); err != nil {
		return err
	}
	return a.checkExit(o, r)
}

func (a *app) checkExit(o checkOptions, r *check.Report) error {
	switch {
	case r.Unreadable():
		return silentError{exitCode(fault.New(fault.Invalid, "", "", ""))}
	case r.Summary.Errors > 0 && !(o.fix && a.globals.dryRun):
		return silentError{exitCode(fault.New(fault.No, "", "", ""))}
	}
	return nil
}

func (a *app) checkInput(ctx context.Context, w *playbooks.World, o checkOptions) (check.Input, error) {
	in := check.Input{Project: w.Project, Rules: o.rules}
	if o.bundle != "" {
		in.Bundle = a.abs(o.bundle)
	}
	if c := a.globals.component; c != "" {
		if _, err := w.Project.Component(c); err != nil {
			return in, err
		}
		in.Components = []string{c}
	}
	var err error
	if o.baseline != "" && !o.writeBaseline {
		if in.Baseline, err = check.ReadBaseline(a.abs(o.baseline)); err != nil {
			return in, err
		}
	}
	if o.changed {
		if in.Changed, err = check.ReadChanges(ctx, w.Project.Root, a.Environ()); err != nil {
			return in, err
		}
	}
	switch {
	case o.allEnvs:
		for _, n := range w.Project.EnvironmentNames() {
			e, err := w.Project.Environment(n)
			if err != nil {
				return in, err
			}
			in.Live = append(in.Live, check.Live{Environment: e, Store: w.Store})
		}
	case o.live:
		e, err := a.readEnv(w)
		if err != nil {
			return in, err
		}
		in.Live = []check.Live{{Environment: e, Store: w.Store}}
	}
	return in, nil
}

// fix shows the lines that can be added safely, asks, and adds them.
func (a *app) fixCheck(ctx context.Context, in check.Input, r *check.Report) ([]check.Fixed, error) {
	fixes, notes := check.Fixes(in, r)
	for _, n := range notes {
		a.ui.Note("%s", n)
	}
	if len(fixes) == 0 {
		a.ui.Note("nothing here can be fixed by adding a line")
		return nil, nil
	}
	var lines []check.Fixed
	for _, f := range fixes {
		lines = append(lines, f.Lines...)
		if !a.ui.JSON {
			fmt.Fprint(a.ui.Err, ui.Clean(f.Diff()))
		}
	}
	if a.globals.dryRun {
		a.ui.Note("dry run: nothing was written")
		return lines, nil
	}
	if !a.globals.yes {
		if !a.ui.CanAsk() {
			return nil, fault.New(fault.Usage, "check --fix", "there is no terminal to ask on, nothing was written", "add --yes, or look first with --dry-run")
		}
		ok, err := a.ui.Ask().Confirm(ctx, "add "+numbered(len(lines), "line")+"?")
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fault.New(fault.Interrupted, "check --fix", "not confirmed, nothing was written", "")
		}
	}
	if err := check.Apply(in.Project, fixes); err != nil {
		return nil, err
	}
	for _, l := range lines {
		a.ui.Note("added %s to %s:%d", l.Variable, l.File, l.Line)
	}
	return lines, nil
}

func (a *app) writeCheckBaseline(w *playbooks.World, o checkOptions, r *check.Report) error {
	file := filepath.Join(w.Project.Root, baselineFile)
	if o.baseline != "" {
		file = a.abs(o.baseline)
	}
	b := check.NewBaseline(r)
	if a.globals.dryRun {
		a.ui.Note("dry run: %s would go to %s", numbered(len(r.Findings), "finding"), file)
	} else {
		if err := b.Write(file); err != nil {
			return err
		}
		a.ui.Note("wrote %s to %s; run envctl check --baseline %s", numbered(len(r.Findings), "finding"), file, a.rel(file))
	}
	if a.ui.JSON {
		if err := a.ui.Document(r); err != nil {
			return err
		}
	}
	if r.Unreadable() {
		a.ui.Warn("a layer could not be read; that is never part of a baseline")
		return a.checkExit(o, r)
	}
	return nil
}

func (a *app) showCheck(w *playbooks.World, o checkOptions, r *check.Report) error {
	prefix := ""
	if top := check.Top(w.Project.Root); top != "" {
		if rel, err := filepath.Rel(top, w.Project.Root); err == nil && rel != "." {
			prefix = filepath.ToSlash(rel) + "/"
		}
	}
	switch o.format {
	case "json":
		return a.ui.Document(r)
	case "sarif":
		return a.ui.Document(sarifOf(r, a.Version, prefix))
	case "junit":
		return a.writeJUnit(r)
	case "github":
		a.writeGitHub(r, prefix)
	default:
		a.showFindingsText(r)
	}
	a.sayCheck(o, r)
	return nil
}

// showFindingsText prints a line per finding where nobody looks, and three on a
// terminal.
func (a *app) showFindingsText(r *check.Report) {
	if !a.ui.OutTTY {
		rows := make([][]ui.Cell, len(r.Findings))
		for i, f := range r.Findings {
			rows[i] = []ui.Cell{
				ui.C("%s", string(f.Severity)), ui.C("%s", f.Rule), ui.C("%s", dash(f.Variable)), ui.C("%s", f.Place()), ui.C("%s", inEnvironment(f)), ui.C("%s", f.Fix),
			}
		}
		_ = a.ui.Table(nil, rows) // without a terminal it only prints
		return
	}
	for _, f := range r.Findings {
		head := a.ui.Paint(severityTone(f.Severity), string(f.Severity)) + "  " + ui.Clean(f.Rule)
		if f.Variable != "" {
			head += "  " + a.ui.Paint(ui.Strong, ui.Clean(f.Variable))
		}
		fmt.Fprintln(a.ui.Out, head+"  "+a.ui.Paint(ui.Faint, ui.Clean(f.Place())))
		a.ui.Print("  %s", oneLine(inEnvironment(f)))
		a.ui.Print("  fix: %s", oneLine(f.Fix))
	}
}

func inEnvironment(f check.Finding) string {
	if f.Environment != "" {
		return f.Environment + ": " + f.Message
	}
	return f.Message
}

func (a *app) sayCheck(o checkOptions, r *check.Report) {
	infos := len(r.Findings) - r.Summary.Errors - r.Summary.Warnings
	known := ""
	if r.Known > 0 {
		known = "; " + howMany(r.Known, "known one", "known ones") + " left out"
	}
	a.ui.Note("%s, %s, %d for information; template %d, code %d (%d names), example %d%s", numbered(r.Summary.Errors, "error"), numbered(r.Summary.Warnings, "warning"),
		infos, r.Counts.Template, r.Counts.Code, r.Counts.Accepted, r.Counts.Example, known)
	if r.Stale > 0 {
		a.ui.Note("%s of the baseline %s no longer found: write it anew, or it hides the day they come back: envctl check --write-baseline --baseline %s",
			howMany(r.Stale, "finding", "findings"), map[bool]string{true: "is", false: "are"}[r.Stale == 1], o.baseline)
	}
	if r.Unreadable() {
		a.ui.Note("a layer could not be read: this answer is incomplete")
	}
}

func numbered(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
