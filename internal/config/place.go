package config

import "go.yaml.in/yaml/v3"

// Places knows where the project file says what it says.
type Places struct{ root *yaml.Node }

// Places reads the file's positions, which most commands do without.
func (p *Project) Places() Places {
	var doc yaml.Node
	if yaml.Unmarshal(p.Data, &doc) != nil || len(doc.Content) == 0 {
		return Places{}
	}
	return Places{doc.Content[0]}
}

// At returns line and column, from 1, of the text that stands under the keys,
// or of the last key itself where a mapping or a list does. A key may also be
// an entry of a list. Of keys that are not there the nearest parent counts, at
// last the file's first line.
func (p Places) At(keys ...string) (line, column int) {
	line, column = 1, 1
	in := p.root
	for _, key := range keys {
		k, v := child(in, key)
		if k == nil {
			break
		}
		in, line, column = v, k.Line, k.Column
		if v.Kind == yaml.ScalarNode && v.Value != "" {
			line, column = v.Line, v.Column
		}
	}
	return line, column
}

// child returns a mapping's key and its value, or a list's entry as both.
func child(n *yaml.Node, key string) (k, v *yaml.Node) {
	step := 1
	switch {
	case n == nil:
		return nil, nil
	case n.Kind == yaml.MappingNode:
		step = 2
	case n.Kind != yaml.SequenceNode:
		return nil, nil
	}
	for i := 0; i+step <= len(n.Content); i += step {
		if e := n.Content[i]; e.Kind == yaml.ScalarNode && e.Value == key {
			return e, n.Content[i+step-1]
		}
	}
	return nil, nil
}
