package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"envctl/internal/fault"
	"envctl/naming"
)

// consents are the flags that no environment variable can give.
var consents = []string{"accept", "confirm", "delete", "destroy", "raw", "reveal", "skip-verify", "yes"} //nolint:gochecknoglobals // a constant list

// given is one flag as typed.
type given struct {
	typed, name, value string
	hasValue           bool
	took               bool // the value is a word of its own
}

// arrange returns args in the order that the library reads them: the
// program's flags, the command, its flags, then "--" and the arguments. The
// library stops at the first argument and takes what follows for arguments
// too. Unknown commands and flags are Usage with the nearest known name, and
// nothing has run by then.
func arrange(tree *cli.App, args []string, getenv func(string) string) ([]string, error) {
	flags, words, rest, err := split(tree, versionCommand(args))
	if err != nil {
		return nil, err
	}
	if len(words) > 0 && words[0] == "help" { // envctl help X is envctl X --help
		words, flags = words[1:], append(flags, given{typed: "--help", name: "help"})
		if len(words) == 1 && words[0] == "help" {
			words = nil
		}
	}
	path, cmd, words, err := descend(tree, words)
	if err != nil {
		return nil, err
	}
	if cmd == nil {
		if err := eaten(tree, flags); err != nil {
			return nil, err
		}
	}
	full := strings.Join(append([]string{"envctl"}, path...), " ")
	global, local := index(tree.Flags), map[string]cli.Flag{}
	if cmd != nil {
		local = index(cmd.Flags)
	}
	var globals, locals []string
	seen := map[string]bool{}
	for _, g := range flags {
		into := &locals
		f, ok := local[g.name]
		if !ok {
			if f, ok = global[g.name]; ok {
				into = &globals
			}
		}
		switch {
		case g.typed == "--help" || g.typed == "-h":
			locals = append([]string{"--help"}, locals...)
			continue
		case !ok:
			return nil, unknownFlag(g.typed, full, global, local)
		}
		name := spellings(f)[0]
		if g.hasValue {
			if err := checkFlag(f, "--"+name, g.value); err != nil {
				return nil, err
			}
		}
		seen[name] = true
		*into = append(*into, "--"+name)
		if g.hasValue {
			(*into)[len(*into)-1] += "=" + g.value
		}
	}
	given, err := fromEnvironment(tree.Flags, seen, getenv)
	if err != nil {
		return nil, err
	}
	globals = append(given, globals...)
	if cmd != nil {
		if given, err = fromEnvironment(cmd.Flags, seen, getenv); err != nil {
			return nil, err
		}
		locals = append(given, locals...)
	}
	line := append([]string{"envctl"}, globals...)
	line = append(line, path...)
	line = append(line, locals...)
	if slices.Contains(locals, "--help") && cmd != nil && len(cmd.Subcommands) == 0 {
		return line, nil // for the library an argument would be a topic
	}
	if len(words)+len(rest) == 0 {
		return line, nil
	}
	return append(append(append(line, "--"), words...), rest...), nil
}

// eaten refuses a line without a command where a flag took one for its value.
func eaten(tree *cli.App, flags []given) error {
	for _, g := range flags {
		if g.took && find(tree.Commands, g.value) != nil {
			return fault.Newf(fault.Usage, "flag "+g.typed, "envctl "+g.value+" "+g.typed+" VALUE",
				"took %s for its value, and no command is left", strconv.Quote(g.value))
		}
	}
	return nil
}

// split parts args into flags, words, and what follows "--".
func split(tree *cli.App, args []string) (flags []given, words, rest []string, err error) {
	all := meant(tree, args)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return flags, words, args[i+1:], nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			words = append(words, arg)
			continue
		}
		for _, g := range spell(arg, all) {
			if takesValue(all[g.name]) && !g.hasValue {
				if i++; i >= len(args) {
					return nil, nil, nil, fault.Newf(fault.Usage, "flag "+g.typed, "run envctl --help", "wants a value")
				}
				g.value, g.hasValue, g.took = args[i], true, true
			}
			flags = append(flags, g)
		}
	}
	return flags, words, nil, nil
}

// meant returns the flags by which args are read: those of the command that args
// begin with, and where a flag stands first, of all. Some names take a value in one
// command and none in another, and a flag may stand before the command that says
// which: of the two readings the one that finds a command is right.
func meant(tree *cli.App, args []string) map[string]cli.Flag {
	all := map[string]cli.Flag{}
	first := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if first < 0 {
		first = len(args)
	}
	if _, cmd, _, err := descend(tree, args[:first]); err == nil && cmd != nil && !isGroup(cmd) {
		enter(cmd.Flags, all)
		enter(tree.Flags, all)
		return all
	}
	collect(tree.Commands, all)
	enter(tree.Flags, all)
	double := map[string]cli.Flag{} // the other kind of a name
	others(tree.Commands, all, double)
	if len(double) == 0 {
		return all
	}
	for range 2 {
		if _, cmd, _, err := descend(tree, plainWords(args, all)); err == nil && cmd != nil {
			enter(cmd.Flags, all)
			enter(tree.Flags, all)
			return all
		}
		for name, f := range double {
			all[name], double[name] = f, all[name]
		}
	}
	return all
}

// others enters the flags whose kind is not that of all's flag of their name.
func others(level []*cli.Command, all, into map[string]cli.Flag) {
	for _, c := range level {
		for _, f := range c.Flags {
			for _, n := range spellings(f) {
				if takesValue(f) != takesValue(all[n]) {
					into[n] = f
				}
			}
		}
		others(c.Subcommands, all, into)
	}
}

// plainWords returns the words of args that are no flag and no flag's value.
func plainWords(args []string, all map[string]cli.Flag) []string {
	var words []string
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		if args[i] == "-" || !strings.HasPrefix(args[i], "-") {
			words = append(words, args[i])
			continue
		}
		for _, g := range spell(args[i], all) {
			if takesValue(all[g.name]) && !g.hasValue {
				i++
			}
		}
	}
	return words
}

// spell reads one dash word: --name, --name=value, -n, -nvalue, or -abc for three
// switches.
func spell(arg string, all map[string]cli.Flag) []given {
	if body, long := strings.CutPrefix(arg, "--"); long {
		name, value, has := strings.Cut(body, "=")
		return []given{{typed: "--" + name, name: name, value: value, hasValue: has}}
	}
	body := arg[1:]
	if _, known := all[body]; known && len(body) == 1 {
		return []given{{typed: arg, name: body}}
	}
	var out []given
	for i, r := range body {
		name := string(r)
		f, known := all[name]
		if !known {
			return []given{{typed: arg, name: arg}} // no flag's name: unknown as a whole
		}
		after := body[i+len(name):]
		if takesValue(f) && after != "" {
			return append(out, given{typed: "-" + name, name: name, value: strings.TrimPrefix(after, "="), hasValue: true})
		}
		out = append(out, given{typed: "-" + name, name: name})
	}
	return out
}

// descend follows words down the command tree.
func descend(tree *cli.App, words []string) (path []string, cmd *cli.Command, rest []string, err error) {
	level := tree.Commands
	for len(words) > 0 && len(level) > 0 {
		next := find(level, words[0])
		if next == nil {
			if cmd != nil && cmd.Action != nil && !isGroup(cmd) {
				break
			}
			return nil, nil, nil, unknownCommand(words[0], path, level)
		}
		path, cmd, words, level = append(path, next.Name), next, words[1:], next.Subcommands
	}
	return path, cmd, words, nil
}

// isGroup tells whether a command only holds others.
func isGroup(c *cli.Command) bool { return len(c.Subcommands) > 0 && c.ArgsUsage == "" }

func find(level []*cli.Command, name string) *cli.Command {
	for _, c := range level {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func unknownCommand(word string, path []string, level []*cli.Command) error {
	names := make([]string, 0, len(level))
	for _, c := range level {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	full := strings.Join(append([]string{"envctl"}, path...), " ")
	hint := "run " + full + " --help"
	if near := naming.Nearest(word, names); near != "" {
		hint = fmt.Sprintf("did you mean %s %s?", full, near)
	}
	return fault.Newf(fault.Usage, withoutProgram(full), hint, "no command %s", strconv.Quote(word))
}

func unknownFlag(typed, full string, sets ...map[string]cli.Flag) error {
	var names []string
	for _, set := range sets {
		for n := range set {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	slices.Sort(names)
	hint := "run " + full + " --help"
	if near := naming.Nearest(typed, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if !strings.HasPrefix(typed, "--") && len(typed) > 2 {
		typed = typed[:2] + "…" // as in -pVALUE: what follows may be a secret
	}
	return fault.Newf(fault.Usage, withoutProgram(full), hint, "no flag %s", strconv.Quote(typed))
}

// withoutProgram is a command as errors name it: they begin with the program's name.
func withoutProgram(full string) string {
	return strings.TrimSpace(strings.TrimPrefix(full, "envctl"))
}

func index(flags []cli.Flag) map[string]cli.Flag {
	m := map[string]cli.Flag{}
	enter(flags, m)
	return m
}

func enter(flags []cli.Flag, into map[string]cli.Flag) {
	for _, f := range flags {
		for _, n := range spellings(f) {
			into[n] = f
		}
	}
}

// spellings is f.Names(), which passes each name through a regular expression: too
// dear for every flag of every command at every start.
func spellings(f cli.Flag) []string {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.DurationFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.IntFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.StringFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.StringSliceFlag:
		return append([]string{f.Name}, f.Aliases...)
	}
	return f.Names()
}

// named is a flag whose names are known. The library asks each flag for its names
// once for every other, and each time they pass through a regular expression: a
// twenty-fifth of a read from Vault.
type named struct {
	cli.Flag
	names []string
}

func (f *named) Names() []string { return f.names }

// narrow leaves of the tree what an arranged line needs: its commands, and of their
// flags those that it gives or that are not zero by themselves. The library prepares
// and visits all that it has.
func narrow(tree *cli.App, line []string) {
	given := map[string]bool{}
	for _, word := range line {
		if word == "--" {
			break
		}
		if flag, ok := strings.CutPrefix(word, "--"); ok {
			name, _, _ := strings.Cut(flag, "=")
			given[name] = true
		}
	}
	needed := func(flags []cli.Flag) []cli.Flag {
		var kept []cli.Flag
		for _, f := range flags {
			if names := spellings(f); given[names[0]] || !isZero(f) {
				kept = append(kept, &named{f, names})
			}
		}
		return kept
	}
	tree.Flags = needed(tree.Flags)
	level := &tree.Commands
	for _, word := range line[1:] {
		if word == "--" {
			return
		}
		if c := find(*level, word); c != nil {
			c.Flags = needed(c.Flags)
			*level = []*cli.Command{c}
			level = &c.Subcommands
		}
	}
}

// isZero tells whether a flag that is not given is as one that is not there.
func isZero(f cli.Flag) bool {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return !f.Value
	case *cli.DurationFlag:
		return f.Value == 0
	case *cli.IntFlag:
		return f.Value == 0
	case *cli.StringFlag:
		return f.Value == ""
	case *cli.StringSliceFlag:
		return f.Value == nil
	}
	return false
}

func collect(level []*cli.Command, all map[string]cli.Flag) {
	for _, c := range level {
		enter(c.Flags, all)
		collect(c.Subcommands, all)
	}
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// versionCommand reads --version, which is a flag of some commands, as the
// command where no other word stands.
func versionCommand(args []string) []string {
	i := slices.IndexFunc(args, func(arg string) bool { return arg == "--version" || arg == "-V" })
	if i < 0 || slices.ContainsFunc(args, func(arg string) bool { return arg == "--" || !strings.HasPrefix(arg, "-") }) {
		return args
	}
	return slices.Concat([]string{"version"}, args[:i], args[i+1:])
}

// checkFlag refuses a value that is not of its flag's kind; name is how it was given.
func checkFlag(f cli.Flag, name, value string) error {
	var err error
	want := ""
	switch f.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(value)
		want = "true or false"
	case *cli.DurationFlag:
		_, err = time.ParseDuration(value)
		want = "a duration such as 30s or 2m"
	case *cli.IntFlag:
		_, err = strconv.Atoi(value)
		want = "a whole number"
	}
	if err != nil {
		return fault.Newf(fault.Usage, name, "give "+want, "%s is not %s", strconv.Quote(value), want)
	}
	return nil
}

// fromEnvironment gives flags that were not typed their ENVCTL_… value. One that
// counts may be a number there.
func fromEnvironment(flags []cli.Flag, seen map[string]bool, getenv func(string) string) ([]string, error) {
	var out []string
	for _, f := range flags {
		name := spellings(f)[0]
		if seen[name] || slices.Contains(consents, name) {
			continue
		}
		variable := environmentName(name)
		v := getenv(variable)
		if v == "" {
			continue
		}
		if b, ok := f.(*cli.BoolFlag); ok && b.Count != nil {
			if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 10 {
				out = append(out, slices.Repeat([]string{"--" + name}, n)...)
				continue
			}
		}
		if err := checkFlag(f, variable, v); err != nil {
			return nil, err
		}
		out = append(out, "--"+name+"="+v)
	}
	return out, nil
}

// environmentName is the variable by which a flag can be given.
func environmentName(flag string) string {
	return "ENVCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// asksJSON tells whether a line that could not be read wanted JSON.
func asksJSON(args []string, getenv func(string) string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	on, err := strconv.ParseBool(getenv("ENVCTL_JSON"))
	return err == nil && on
}
