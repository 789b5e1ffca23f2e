package commands

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"envctl/internal/config"
	"envctl/internal/secret"
	"envctl/internal/ui"
	"envctl/playbooks"
)

// completeWord is the hidden command that the shells' completion scripts call:
// __complete -- WORD… CURRENT.
const completeWord = "__complete"

// filesPlease asks the shell for file names.
const filesPlease = ":files"

// candidate is one completion with its explanation.
type candidate struct{ value, about string }

// complete prints candidates for the last word, one "value<TAB>about" a line. It
// is offline, evaluates nothing, and says nothing when it knows nothing.
func (a *app) complete(_ context.Context, args []string) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return
	}
	words, current := args[:len(args)-1], args[len(args)-1]
	out := bufio.NewWriter(a.ui.Out)
	defer func() { _ = out.Flush() }() // a shell that no longer listens needs no error
	for _, c := range a.candidates(words, current) {
		if c.value == filesPlease {
			fmt.Fprintln(out, c.value)
		} else if strings.HasPrefix(c.value, current) {
			fmt.Fprintf(out, "%s\t%s\n", ui.Clean(c.value), ui.Clean(c.about))
		}
	}
}

func (a *app) candidates(words []string, current string) []candidate {
	tree := a.tree()
	if i := slices.Index(words, "--"); i >= 0 {
		return []candidate{{filesPlease, ""}}
	}
	flags, plain, pending := a.typed(tree, words)
	a.look(flags)
	path, cmd, rest, err := descend(tree, plain)
	if err != nil {
		return nil
	}
	if pending != "" {
		return a.flagValues(pending)
	}
	if name, prefix, ok := strings.Cut(current, "="); ok && strings.HasPrefix(current, "--") {
		var out []candidate
		for _, c := range a.flagValues(strings.TrimLeft(name, "-")) {
			if strings.HasPrefix(c.value, prefix) {
				out = append(out, candidate{name + "=" + c.value, c.about})
			}
		}
		return out
	}
	if strings.HasPrefix(current, "-") {
		return flagCandidates(tree, cmd)
	}
	if cmd == nil || isGroup(cmd) {
		level := tree.Commands
		if cmd != nil {
			level = cmd.Subcommands
		}
		return commandCandidates(level)
	}
	return a.arguments(strings.Join(path, " "), rest, flags)
}

// typed parts the words before the cursor; pending is the flag that waits for
// the word being completed.
func (a *app) typed(tree *cli.App, words []string) (flags map[string]string, plain []string, pending string) {
	all := meant(tree, words)
	flags = map[string]string{}
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !strings.HasPrefix(w, "-") || w == "-" {
			plain = append(plain, w)
			continue
		}
		for _, g := range spell(w, all) {
			f, known := all[g.name]
			switch {
			case !known || !takesValue(f):
			case g.hasValue:
				flags[f.Names()[0]] = g.value
			case i+1 < len(words):
				i++
				flags[f.Names()[0]] = words[i]
			default:
				pending = f.Names()[0]
			}
		}
	}
	return flags, plain, pending
}

// look makes the typed --chdir and --config count for the names that complete.
func (a *app) look(flags map[string]string) {
	given := func(name string) string {
		if v := flags[name]; v != "" {
			return v
		}
		return a.Getenv(environmentName(name))
	}
	if d := given("chdir"); d != "" {
		a.WorkDir = a.abs(d)
	}
	a.globals.config = given("config")
}

func flagCandidates(tree *cli.App, cmd *cli.Command) []candidate {
	all := slices.Clone(tree.Flags)
	if cmd != nil {
		all = append(all, cmd.Flags...)
	}
	var out []candidate
	for _, f := range all {
		about := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			about = d.GetUsage()
		}
		out = append(out, candidate{"--" + spellings(f)[0], about})
	}
	slices.SortFunc(out, func(x, y candidate) int { return strings.Compare(x.value, y.value) })
	return out
}

func commandCandidates(level []*cli.Command) []candidate {
	var out []candidate
	for _, c := range level {
		if !c.Hidden {
			out = append(out, candidate{c.Name, c.Usage})
		}
	}
	return out
}

// flagValues completes the value of a flag.
func (a *app) flagValues(flag string) []candidate {
	switch flag {
	case "env", "e", "from", "confirm":
		return a.environments()
	case "component", "c":
		return a.components()
	case "generate":
		return generators()
	case "close":
		return a.runs()
	case "chdir", "C", "config", "from-file", "values", "recovery-file":
		return []candidate{{filesPlease, ""}}
	}
	return nil
}

// arguments completes the arguments of a command.
func (a *app) arguments(command string, have []string, flags map[string]string) []candidate {
	switch command {
	case "set", "vars":
		return without(a.variables(flags), have)
	case "get", "history", "restore", "trace", "unset":
		if len(have) == 0 {
			return a.variables(flags)
		}
	case "rotate":
		if len(have) == 0 {
			return a.rotations(flags)
		}
	case "deploy", "status":
		if len(have) == 0 {
			return a.components()
		}
	case "logs":
		if len(have) == 0 {
			return append(a.services(), a.components()...)
		}
	case "name", "port":
		if len(have) == 0 {
			return a.services()
		}
	case "diff", "env diff", "env promote":
		if len(have) < 2 {
			return a.environments()
		}
	case "env create", "env delete", "env show":
		if len(have) == 0 {
			return a.environments()
		}
	case "generate":
		if len(have) == 0 {
			return generators()
		}
	case "completion":
		if len(have) == 0 {
			return []candidate{{"bash", ""}, {"fish", ""}, {"powershell", ""}, {"zsh", ""}}
		}
	case "resume", "undo":
		if len(have) == 0 {
			return a.runs()
		}
	case "import", "run":
		return []candidate{{filesPlease, ""}}
	}
	return nil
}

func without(all []candidate, have []string) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool { return slices.Contains(have, c.value) })
}

// project reads the project file for its names; nil when there is none that can
// be read.
func (a *app) project() *config.Project {
	file, err := a.projectFile()
	if err != nil {
		return nil
	}
	p, err := config.Load(file)
	if err != nil {
		return nil
	}
	return p
}

func (a *app) environments() []candidate {
	p := a.project()
	if p == nil {
		return nil
	}
	var out []candidate
	for _, n := range p.EnvironmentNames() {
		about := ""
		if e, err := p.Environment(n); err == nil {
			about = "store " + e.Store
			if e.Protected {
				about += ", protected"
			}
		}
		out = append(out, candidate{n, about})
	}
	return out
}

func (a *app) components() []candidate {
	p := a.project()
	if p == nil {
		return nil
	}
	var out []candidate
	for _, c := range p.Components {
		out = append(out, candidate{c.Key, strings.Join(c.Value.Services, ", ")})
	}
	return out
}

func (a *app) services() []candidate {
	p := a.project()
	if p == nil {
		return nil
	}
	var out []candidate
	for _, s := range p.Services() {
		c, _ := p.ComponentOfService(s)
		out = append(out, candidate{s, "service of " + c})
	}
	return out
}

// variables are those that the layers declare: what the store holds is not
// known without asking it.
func (a *app) variables(flags map[string]string) []candidate {
	p := a.project()
	if p == nil {
		return nil
	}
	w := &playbooks.World{Project: p, User: &config.User{}}
	seen := map[string]bool{}
	var out []candidate
	for _, c := range p.Components {
		if want := flags["component"]; want != "" && want != c.Key {
			continue
		}
		for _, v := range w.Declared(c.Key, w.Layers(c.Value)) {
			if !seen[v] && playbooks.IsVariable(v) {
				seen[v] = true
				out = append(out, candidate{v, c.Key})
			}
		}
	}
	slices.SortFunc(out, func(x, y candidate) int { return strings.Compare(x.value, y.value) })
	return out
}

func (a *app) rotations(flags map[string]string) []candidate {
	p := a.project()
	if p == nil {
		return nil
	}
	var out []candidate
	for _, c := range p.Components {
		if want := flags["component"]; want != "" && want != c.Key {
			continue
		}
		for _, n := range playbooks.RotationNames(c.Value) {
			out = append(out, candidate{n, c.Key})
		}
	}
	return out
}

func (a *app) runs() []candidate {
	records, err := a.journal().List()
	if err != nil && len(records) == 0 {
		return nil
	}
	var out []candidate
	for _, r := range records {
		out = append(out, candidate{r.ID, fmt.Sprintf("%s %s (%s)", r.Playbook, r.Environment, r.State)})
	}
	return out
}

func generators() []candidate {
	var out []candidate
	for _, g := range secret.Generators() {
		out = append(out, candidate{g.Name, g.Doc})
	}
	return out
}
