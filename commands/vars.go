package commands

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/internal/ui"
	"envctl/playbooks"
)

func (a *app) varsCommand() *cli.Command {
	return &cli.Command{
		Name: "vars", Usage: "List every variable: what declares it, where its value is from", ArgsUsage: "[KEY…]", Category: "questions",
		Description: "Read from the declared layers alone; --live asks the stores which of the keys they hold. --format md is the\n" +
			"reference page of the project; --check FILE exits with 1 when the page is stale, or when a name is no variable's.\n" +
			"With KEY only those are listed; a * stands for any part of a name, as in 'SMTP_*'.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "check", Usage: "compare with the page in `FILE` instead of printing one"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT`: table, md or json", Value: "table"},
			&cli.BoolFlag{Name: "live", Usage: "ask the stores: a column per environment"},
		},
		Action: a.asking(0, -1, func(ctx context.Context, c *cli.Context) error {
			return a.vars(ctx, c.Args().Slice(), c.String("format"), c.String("check"), c.Bool("live"))
		}),
	}
}

func (a *app) vars(ctx context.Context, names []string, format, page string, live bool) error {
	switch {
	case len(names) > 0 && (page != "" || format == "md"):
		return fault.New(fault.Usage, "vars", "a page has every variable", "leave the names out")
	case format != "table" && format != "md" && format != "json":
		return fault.Newf(fault.Usage, "vars", "use --format table, md or json", "no format %q", format)
	case live && (page != "" || format == "md"):
		return fault.New(fault.Usage, "vars", "what a store holds today does not belong on a page", "leave --live out")
	}
	w, err := a.open()
	if err != nil {
		return err
	}
	components := w.Project.ComponentNames()
	if c := a.globals.component; c != "" {
		if _, err := w.Project.Component(c); err != nil {
			return err
		}
		components = []string{c}
	}
	t, err := w.Vars(ctx, components, live)
	if err != nil {
		return err
	}
	if page != "" {
		return a.checkPage(page, t)
	}
	if err := t.Only(names); err != nil {
		return err
	}
	switch {
	case format == "json" || a.ui.JSON:
		a.ui.JSON = true
		err = a.ui.Document(t)
	case format == "md":
		fmt.Fprint(a.ui.Out, varsPage(t))
	default:
		err = a.varsTable(t, live)
	}
	if err != nil {
		return err
	}
	for _, f := range t.Findings {
		a.ui.Note("%s", findingText(f))
	}
	if t.Unreadable {
		return silentError{3}
	}
	return nil
}

func findingText(f playbooks.VarFinding) string {
	if f.Line == 0 {
		return f.File + ": " + f.Message
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Message)
}

type varsCheckDocument struct {
	Schema   string                 `json:"schema"`
	File     string                 `json:"file"`
	Stale    bool                   `json:"stale"`
	Line     int                    `json:"line,omitempty"` // the first that differs
	Findings []playbooks.VarFinding `json:"findings"`
}

// checkPage compares a page with what it should be.
func (a *app) checkPage(page string, t *playbooks.VarTable) error {
	if _, err := os.Stat(a.abs(page)); page != "-" && os.IsNotExist(err) {
		return fault.New(fault.NotFound, "read "+page, "no such file", "write it: envctl vars --format md > "+page)
	}
	have, err := a.readInput(page)
	if err != nil {
		return err
	}
	doc := varsCheckDocument{Schema: "envctl.vars-check/v1", File: page, Findings: t.Findings}
	is := strings.Split(strings.ReplaceAll(string(have), "\r\n", "\n"), "\n")
	should := strings.Split(varsPage(t), "\n")
	for i := 0; i < max(len(is), len(should)) && doc.Line == 0; i++ {
		if i >= len(is) || i >= len(should) || is[i] != should[i] {
			doc.Stale, doc.Line = true, i+1
		}
	}
	if a.ui.JSON {
		if err := a.ui.Document(doc); err != nil {
			return err
		}
	}
	for _, f := range t.Findings {
		a.ui.Note("%s", findingText(f))
	}
	switch {
	case t.Unreadable:
		return silentError{3}
	case doc.Stale && a.ui.JSON, len(t.Findings) > 0 && a.ui.JSON:
		return silentError{1}
	case doc.Stale:
		return fault.Newf(fault.No, fmt.Sprintf("check %s:%d", page, doc.Line), "run envctl vars --format md > "+page, "the page is stale: the first line that differs is %d", doc.Line)
	case len(t.Findings) > 0:
		return fault.New(fault.No, "check "+page, "the page is up to date, and the names in it are not all variables", "write them as UPPER_SNAKE in every layer: envctl var rename OLD NEW")
	}
	if !a.ui.JSON {
		a.ui.Print("%s  up to date", page)
	}
	return nil
}

// varsTable prints one row a variable; with live one column an environment too.
func (a *app) varsTable(t *playbooks.VarTable, live bool) error {
	header := []string{"VARIABLE", "COMPONENT", "NEED", "TYPE", "DEFAULT", "DECLARED", "FROM"}
	envs := slices.DeleteFunc(slices.Clone(t.Environments), playbooks.VarEnv.Pattern)
	if live {
		for _, e := range envs {
			header = append(header, strings.ToUpper(e.Name))
		}
	}
	header = append(header, "DESCRIPTION")
	var rows [][]ui.Cell
	for _, v := range t.Variables {
		row := []ui.Cell{ui.C("%s", v.Name), ui.C("%s", v.Component), ui.Toned(needTone(v.Need), v.Need), ui.C("%s", dash(v.Type)), ui.C("%s", dash(shownDefault(v))), ui.C("%s", places(v, ", ")), ui.C("%s", v.From)}
		if live {
			for _, e := range envs {
				row = append(row, liveCell(v, e.Name))
			}
		}
		rows = append(rows, append(row, ui.C("%s", oneLine(v.Description))))
	}
	if a.ui.Fits(header, rows) {
		if err := a.ui.Table(header, rows); err != nil {
			return err
		}
	} else {
		a.varsList(t, envs, live)
	}
	a.ui.Note("%s of %s", howMany(len(t.Variables), "variable", "variables"), t.Project)
	return nil
}

// varsList prints a paragraph a variable, for a terminal that is too narrow for the
// table.
func (a *app) varsList(t *playbooks.VarTable, envs []playbooks.VarEnv, live bool) {
	for _, v := range t.Variables {
		about := []string{v.Need}
		if v.Type != "" {
			about = append(about, v.Type)
		}
		if d := shownDefault(v); d != "" {
			about = append(about, "default "+d)
		}
		fmt.Fprintln(a.ui.Out, a.ui.Paint(ui.Strong, ui.Clean(v.Name))+"  "+a.ui.Paint(ui.Faint, ui.Clean(v.Component))+"  "+ui.Clean(oneLine(strings.Join(about, ", "))))
		if d := oneLine(v.Description); d != "" {
			a.ui.Print("  %s", d)
		}
		a.ui.Print("  from: %s", v.From)
		if live {
			var states []string
			for _, e := range envs {
				cell := liveCell(v, e.Name)
				states = append(states, ui.Clean(e.Name)+" "+a.ui.Paint(cell.Tone, ui.Clean(cell.Text)))
			}
			fmt.Fprintln(a.ui.Out, "  stores: "+strings.Join(states, ", "))
		}
		fmt.Fprintln(a.ui.Out, a.ui.Paint(ui.Faint, "  in: "+ui.Clean(places(v, ", "))))
	}
}

func needTone(need string) ui.Tone {
	if need == "required" {
		return ui.Strong
	}
	return ui.Plain
}

func liveCell(v playbooks.Variable, env string) ui.Cell {
	i := slices.IndexFunc(v.Sources, func(s playbooks.VarSource) bool { return s.Environment == env })
	if i < 0 || v.Sources[i].State == "" {
		return ui.C("%s", "-")
	}
	tone := map[string]ui.Tone{"set": ui.Good, "default": ui.Plain, "empty": ui.Caution}
	state := v.Sources[i].State
	if t, ok := tone[state]; ok {
		return ui.Toned(t, state)
	}
	return ui.Toned(ui.Bad, state)
}

func shownDefault(v playbooks.Variable) string {
	switch {
	case v.Default == nil:
		return ""
	case *v.Default == "":
		return `""`
	}
	return *v.Default
}

func places(v playbooks.Variable, sep string) string {
	var out []string
	for _, p := range v.Declared {
		if p.Line > 0 {
			out = append(out, fmt.Sprintf("%s:%d", p.File, p.Line))
		} else {
			out = append(out, p.File)
		}
	}
	return strings.Join(out, sep)
}

// varsPage is the reference page: nothing in it changes but with the layers and
// the project file.
func varsPage(t *playbooks.VarTable) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Made by envctl vars --format md; run it again instead of editing. -->\n\n# Variables of %s\n\n", markdown(t.Project))
	b.WriteString("| environment | store | values that are missing there |\n| --- | --- | --- |\n")
	for _, e := range t.Environments {
		base := "are missing"
		if e.Base != "" {
			base = "come from " + e.Base
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", markdown(e.Name), markdown(e.Store), markdown(base))
	}
	component := ""
	for _, v := range t.Variables {
		if v.Component != component {
			component = v.Component
			fmt.Fprintf(&b, "\n## %s\n\n", markdown(component))
			for _, f := range layerFiles(t, component) {
				fmt.Fprintf(&b, "* %s: %s\n", f.Layer, code(f.File))
			}
			b.WriteString("\n| variable | need | type | default | value from | declared in | description |\n| --- | --- | --- | --- | --- | --- | --- |\n")
		}
		name := code(v.Name)
		for _, alias := range v.Aliases {
			name += ", " + code(alias)
		}
		// Layers, not lines: a page that is stale whenever a file is reformatted is not kept.
		var layers []string
		for _, p := range v.Declared {
			if !slices.Contains(layers, p.Layer) {
				layers = append(layers, p.Layer)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", name, v.Need, code(v.Type), code(shownDefault(v)), markdown(v.From), strings.Join(layers, ", "), markdown(v.Description))
	}
	return b.String()
}

// layerFiles returns the files that declare a component's variables, each once.
func layerFiles(t *playbooks.VarTable, component string) []playbooks.VarPlace {
	var out []playbooks.VarPlace
	for _, layer := range []string{"template", "code", "example", "project"} {
		for _, v := range t.Variables {
			for _, p := range v.Declared {
				p.Line = 0
				if v.Component == component && p.Layer == layer && !slices.Contains(out, p) {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// code is a code span in a table's cell, where its text allows one.
func code(s string) string {
	if s = ui.Clean(oneLine(s)); s == "" || strings.Contains(s, "`") {
		return markdown(s)
	}
	return "`" + strings.ReplaceAll(s, "|", `\|`) + "`"
}

// markdown escapes text for a table's cell: it shows as it is, on one line, and
// runs nothing.
func markdown(s string) string {
	s = ui.Clean(oneLine(s))
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case strings.ContainsRune("\\`*_[]|~$", r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
