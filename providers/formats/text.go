package formats

import (
	"fmt"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/dotenv"
)

// readDotenv reads a file as docker compose does, but expands nothing. A line
// that a reader refuses, drops or changes makes the whole file Invalid.
func readDotenv(file string, src []byte) ([]Item, error) {
	f, err := dotenv.Parse(file, src)
	if err != nil {
		return nil, err
	}
	if err := unread(file, unmeant(f.Problems), "correct the line", "correct the lines"); err != nil {
		return nil, err
	}
	items := make([]Item, 0, len(f.Entries))
	for _, e := range f.Entries {
		i := Item{Key: e.Key, Value: e.Value, Line: e.Line}
		switch {
		case !e.Value.IsSet():
			i.Why = "no value: the reader would take its own environment's"
		case e.Expands:
			i.Why = "holds a $ that readers expand; put it in single quotes if it is meant as it is"
			if e.Quote == '\'' {
				i.Why = "python-dotenv replaces ${…} also in single quotes; --format shell takes the file as a shell reads it"
			}
		}
		items = append(items, i)
	}
	return items, nil
}

// unmeant are the problems of lines that are no assignment as it stands there.
func unmeant(all []dotenv.Problem) []dotenv.Problem {
	return slices.DeleteFunc(slices.Clone(all), func(p dotenv.Problem) bool { return p.Kind == dotenv.Expands || p.Kind == dotenv.Inherits })
}

// readShell reads a file as a shell that sources it, running nothing.
func readShell(file string, src []byte) ([]Item, error) {
	r, err := dotenv.ReadAs(dotenv.Sh, file, src, nil)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, a := range r.Assignments {
		i := Item{Key: a.Key, Value: a.Value, Line: a.Line}
		for _, p := range r.Problems {
			if p.Key == a.Key && p.Line == a.Line {
				i.Why = p.Message
			}
		}
		items = append(items, i)
	}
	others := slices.DeleteFunc(slices.Clone(r.Problems), func(p dotenv.Problem) bool {
		return slices.ContainsFunc(items, func(i Item) bool { return i.Key == p.Key && i.Line == p.Line })
	})
	const alone = "keep assignments alone in the file, or import what a shell makes of it"
	if err := unread(file, others, alone, alone); err != nil {
		return nil, err
	}
	return items, nil
}

// writeDotenv writes each value in the plainest way that every reader takes,
// then reads the whole file as each of them.
func writeDotenv(values map[string]secret.Value, readers []dotenv.Dialect) (secret.Value, error) {
	if len(readers) == 0 {
		readers = []dotenv.Dialect{dotenv.Compose, dotenv.Docker, dotenv.Python, dotenv.Sh}
	}
	return assignments(values, "", readers)
}

// writeShell quotes all but the plainest values: the words after export are
// expanded more than a bare assignment is (bash takes export A={a,b} for two).
func writeShell(values map[string]secret.Value) (secret.Value, error) {
	return assignments(values, "export ", []dotenv.Dialect{dotenv.Sh})
}

const shellPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+./:@%,"

func shellQuote(s string) string {
	if s != "" && strings.Trim(s, shellPlain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func assignments(values map[string]secret.Value, before string, readers []dotenv.Dialect) (secret.Value, error) {
	var b strings.Builder
	var hard []string // the names whose values no text suits
	var first error
	for _, k := range sorted(values) {
		if err := checkName(k, readers); err != nil {
			return secret.Value{}, err
		}
		text, err := dotenv.Quote(values[k], readers...)
		if err != nil {
			if hard = append(hard, k); first == nil {
				first = err
			}
			continue
		}
		if before != "" {
			text = secret.New(shellQuote(values[k].Reveal()))
		}
		fmt.Fprintf(&b, "%s%s=%s\n", before, k, text.Reveal())
	}
	if first != nil {
		what := strings.Join(hard[:min(len(hard), 5)], ", ")
		if more := len(hard) - 5; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
		return secret.Value{}, fault.Wrap(first, fault.KindOf(first), "export "+what, instead(values, hard, readers))
	}
	for _, d := range readers {
		r, err := dotenv.ReadAs(d, "the text", []byte(b.String()), nil)
		if err != nil {
			return secret.Value{}, fault.Wrap(err, fault.Refused, "write for "+string(d), "choose another --format")
		}
		got := r.Values()
		for _, p := range r.Problems {
			got[p.Key] = secret.Value{} // whatever it is, it is not what was meant
		}
		if err := equal(Format("dotenv for "+string(d)), values, got); err != nil {
			return secret.Value{}, err
		}
	}
	return secret.New(b.String()), nil
}

// instead names a reader, or a format, that takes these values.
func instead(values map[string]secret.Value, names []string, readers []dotenv.Dialect) string {
	if len(readers) > 1 {
		var fits []string
		for _, d := range readers {
			if !slices.ContainsFunc(names, func(k string) bool { _, err := dotenv.Quote(values[k], d); return err != nil }) {
				fits = append(fits, "--for "+string(d))
			}
		}
		if len(fits) > 0 {
			return "name the one program that reads the file: " + strings.Join(fits, ", ")
		}
	}
	return "use --format json or compose, which take it, or store the value base64-encoded"
}

// shellOwn are the names that dash or bash keeps for itself: assigning to them
// fails, or reading them gives something else.
func shellOwn() []string {
	return []string{
		"_", "BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_COMMAND", "BASH_LINENO", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_VERSINFO",
		"COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PIPESTATUS",
		"PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SRANDOM", "UID",
	}
}

func checkName(k string, readers []dotenv.Dialect) error {
	op := "export " + k
	if !isName(k) {
		return fault.New(fault.Refused, op, "not a variable's name for every reader of such a file", "use --format json, or store it under an UPPER_SNAKE name")
	}
	if slices.Contains(readers, dotenv.Sh) && slices.Contains(shellOwn(), k) {
		return fault.New(fault.Refused, op, "a shell keeps this name for itself: sh would not take the value", "name the program that reads the file, e.g. --for compose, or rename the variable")
	}
	return nil
}
