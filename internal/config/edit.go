package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
)

// AddEnvironment returns the project file with one more line under
// environments, and that line; every other byte stays. settings is a flow
// mapping such as {store: vault}.
func AddEnvironment(data []byte, name, settings string) (edited []byte, line string, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil || len(doc.Content) == 0 {
		return nil, "", fault.Newf(fault.Invalid, FileName, "", "not a project file")
	}
	text := string(data)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	lines := strings.SplitAfter(text, "\n")
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Value != "environments" {
			continue
		}
		if v.Kind != yaml.MappingNode || v.Style&yaml.FlowStyle != 0 || len(v.Content) == 0 {
			return nil, "", fault.Newf(fault.Invalid, fmt.Sprintf("%s:%d", FileName, k.Line),
				"write environments: on a line of its own with one environment a line below", "environments is written in a form that envctl does not edit")
		}
		// After the last entry's last line, with the entries' indentation.
		last := v.Content[len(v.Content)-1]
		at := lastLine(last)
		line = strings.Repeat(" ", v.Content[0].Column-1) + name + ": " + settings + "\n"
		return []byte(strings.Join(lines[:at], "") + line + strings.Join(lines[at:], "")), line, nil
	}
	line = "  " + name + ": " + settings + "\n"
	return []byte(text + "environments:\n" + line), line, nil
}

// lastLine returns the number of the last line that a node covers.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}
