package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
)

// RemoveEnvironment returns the project file without the entry called name, the
// text that was taken out, and where it stood; every other byte stays, comments
// of their own line too. The last entry takes the line "environments:" with it.
// Kinds: Usage (no such entry), Refused (something else in the file needs it),
// Invalid (a form that is not edited).
func RemoveEnvironment(data []byte, name string) (edited []byte, text string, at int, err error) {
	op := "remove " + name + " from " + FileName
	before, err := Parse(FileName, data)
	if err != nil {
		return nil, "", 0, err
	}
	if _, ok := before.Environments.Get(name); !ok {
		return nil, "", 0, fault.New(fault.Usage, op, "it has no entry of its own", "")
	}
	notEdited := fault.New(fault.Invalid, op, "environments is written in a form that envctl does not edit", "remove the entry by hand, then run the command again")
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		return nil, "", 0, notEdited
	}
	lines := strings.SplitAfter(string(data), "\n")
	first, last := entryLines(doc.Content[0], name, lines)
	if first == 0 {
		return nil, "", 0, notEdited
	}
	at = len(strings.Join(lines[:first-1], ""))
	text = strings.Join(lines[first-1:last], "")
	edited = slices.Concat(data[:at], data[at+len(text):])
	after, err := Parse(FileName, edited)
	if err != nil {
		return nil, "", 0, fault.Wrap(err, fault.Refused, op, "correct what needs it in "+FileName+" first")
	}
	if !sameBut(before, after, name) {
		return nil, "", 0, notEdited
	}
	return edited, text, at, nil
}

// entryLines returns the first and the last line of an environment's entry; 0
// where the section is not one entry a line.
func entryLines(root *yaml.Node, name string, lines []string) (first, last int) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Value != "environments" || v.Kind != yaml.MappingNode || v.Style&yaml.FlowStyle != 0 {
			continue
		}
		end := len(lines) + 1
		if i+2 < len(root.Content) {
			end = root.Content[i+2].Line
		}
		for j := 0; j+1 < len(v.Content); j += 2 {
			if v.Content[j].Value != name {
				continue
			}
			if j+2 < len(v.Content) {
				end = v.Content[j+2].Line
			}
			if first = v.Content[j].Line; len(v.Content) == 2 {
				first = k.Line
			}
		}
		// What stands after the entry on lines of its own belongs to what follows.
		for last = end - 1; last > first; last-- {
			if t := strings.TrimSpace(lines[last-1]); t != "" && !strings.HasPrefix(t, "#") {
				break
			}
		}
	}
	return first, last
}

// RestoreEnvironment puts back what RemoveEnvironment took out: where it stood,
// or after the last entry where the file has changed since. The file as it is
// where it has the entry already. Kind Conflict: it fits nowhere any more.
func RestoreEnvironment(data []byte, name, text string, at int) ([]byte, error) {
	before, err := Parse(FileName, data)
	if err != nil {
		return nil, err
	}
	if _, ok := before.Environments.Get(name); ok {
		return data, nil
	}
	places := []int{at}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) == nil && len(doc.Content) > 0 && len(before.Environments) > 0 {
		lines := strings.SplitAfter(string(data), "\n")
		_, last := entryLines(doc.Content[0], before.Environments[len(before.Environments)-1].Key, lines)
		places = append(places, len(strings.Join(lines[:last], "")))
	}
	for _, at := range append(places, len(data)) {
		if at > len(data) || at > 0 && data[at-1] != '\n' {
			continue
		}
		for _, t := range []string{text, text + "\n"} {
			edited := slices.Concat(data[:at], []byte(t), data[at:])
			if after, err := Parse(FileName, edited); err == nil && sameBut(after, before, name) {
				return edited, nil
			}
		}
	}
	return nil, fault.New(fault.Conflict, "put "+name+" back into "+FileName, "the file was changed, and the entry fits nowhere any more", "write the entry by hand: "+strings.Join(strings.Fields(text), " "))
}

// sameBut tells whether two project files mean the same, less the environment
// called name, which only the first has.
func sameBut(with, without *Project, name string) bool {
	if _, ok := without.Environments.Get(name); ok {
		return false
	}
	a, b := *with, *without
	a.Environments = slices.DeleteFunc(slices.Clone(a.Environments), func(e Entry[EnvironmentConfig]) bool { return e.Key == name })
	if len(a.Environments) == 0 && len(b.Environments) == 0 {
		a.Environments, b.Environments = nil, nil
	}
	a.Data, a.File, a.Root, b.Data, b.File, b.Root = nil, "", "", nil, "", ""
	return reflect.DeepEqual(a, b)
}
