package formats

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Bounds of what a YAML file may unfold to: aliases make small files large.
const (
	maxDocuments = 100
	maxNodes     = 100_000
)

// rules are what differs between the readers of YAML.
type rules struct {
	// old: a reader of YAML 1.1 may read it, which takes yes, on and 12:30 for
	// something else than text.
	old bool
	// whole is the size from which plain numbers are not written back as they stand.
	whole float64
}

var (
	yamlRules    = rules{old: true, whole: 1e15} //nolint:gochecknoglobals // constant
	helmRules    = rules{old: true, whole: 1e6}  //nolint:gochecknoglobals // constant: Helm prints 1000000 as 1e+06
	composeRules = rules{whole: 1e6}             //nolint:gochecknoglobals // constant
)

// tree reads the nodes of one file under a budget.
type tree struct {
	file  string
	nodes int
}

// documents parses a YAML file; nothing is unfolded yet.
func (t *tree) documents(src []byte) (docs []*yaml.Node, err error) {
	defer func() {
		// The parser is another's: a text that breaks it is a bad file, not a crash.
		if r := recover(); r != nil {
			docs, err = nil, invalid(t.file, 0, "", "the YAML parser gives up on it")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	for len(docs) <= maxDocuments {
		n := &yaml.Node{}
		err := dec.Decode(n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, invalid(t.file, yamlLine(err), "", "not YAML: %s", yamlProblem(err))
		}
		if len(n.Content) > 0 {
			docs = append(docs, n.Content[0])
		}
	}
	return nil, invalid(t.file, 0, "", "more than %d documents", maxDocuments)
}

// yamlLine takes the line out of the parser's message: it is nowhere else. The
// first line it does not name.
func yamlLine(err error) int {
	if strings.Contains(err.Error(), "control characters") {
		return 0
	}
	line := 1
	if i := strings.Index(err.Error(), "line "); i >= 0 {
		_, _ = fmt.Sscanf(err.Error()[i:], "line %d", &line)
	}
	return line
}

// yamlProblem keeps those of the parser's words that quote nothing of the file.
func yamlProblem(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	if strings.ContainsAny(s, "`'\"") {
		return "it cannot be parsed"
	}
	return s
}

// member is one key of a map, with what stands there after aliases and merges.
type member struct {
	key   string
	line  int
	value *yaml.Node
}

// follow resolves an alias.
func (t *tree) follow(n *yaml.Node) (*yaml.Node, error) {
	for range MaxDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n, nil
		}
		n = n.Alias
	}
	return nil, invalid(t.file, 0, "", "an alias leads to itself")
}

// members returns a map's keys in order: its own, then those merged with <<.
func (t *tree) members(n *yaml.Node, depth int) ([]member, error) {
	if depth > MaxDepth {
		return nil, invalid(t.file, n.Line, "", "nested deeper than %d levels", MaxDepth)
	}
	var own []member
	var merged []*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if t.nodes++; t.nodes > maxNodes {
			return nil, invalid(t.file, n.Line, "", "it unfolds to more than %d parts", maxNodes)
		}
		k, err := t.follow(n.Content[i])
		if err != nil {
			return nil, err
		}
		if k.ShortTag() == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if k.Kind != yaml.ScalarNode {
			return nil, invalid(t.file, k.Line, "", "a key that is no text")
		}
		if seen[k.Value] {
			return nil, invalid(t.file, k.Line, "keep one of them", "a key stands twice in one map")
		}
		seen[k.Value] = true
		v, err := t.follow(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		own = append(own, member{k.Value, n.Content[i].Line, v})
	}
	for _, m := range merged {
		more, err := t.merged(m, depth)
		if err != nil {
			return nil, err
		}
		for _, x := range more {
			if !seen[x.key] {
				seen[x.key] = true
				own = append(own, x)
			}
		}
	}
	return own, nil
}

func (t *tree) merged(n *yaml.Node, depth int) ([]member, error) {
	n, err := t.follow(n)
	if err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.MappingNode:
		return t.members(n, depth+1)
	case yaml.SequenceNode:
		var all []member
		for _, c := range n.Content {
			c, err := t.follow(c)
			if err != nil {
				return nil, err
			}
			if c.Kind != yaml.MappingNode {
				return nil, invalid(t.file, n.Line, "", "<< merges maps only")
			}
			more, err := t.members(c, depth+1)
			if err != nil {
				return nil, err
			}
			for _, m := range more {
				if !slices.ContainsFunc(all, func(x member) bool { return x.key == m.key }) {
					all = append(all, m)
				}
			}
		}
		return all, nil
	default:
		return nil, invalid(t.file, n.Line, "", "<< merges maps only")
	}
}

// get returns the node at a key of a map, nil when it is not there.
func (t *tree) get(n *yaml.Node, key string) (*yaml.Node, error) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil //nolint:nilnil // not there is an answer
	}
	ms, err := t.members(n, 0)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.key == key {
			return m.value, nil
		}
	}
	return nil, nil //nolint:nilnil // not there is an answer
}

type yamlWords struct{ boolean, sexagesimal, whole *regexp.Regexp }

var yamlPatterns = sync.OnceValue(func() yamlWords { //nolint:gochecknoglobals // compiled on first use
	return yamlWords{
		boolean:     regexp.MustCompile(`^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|~|null|Null|NULL)$`),
		sexagesimal: regexp.MustCompile(`^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$|^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?$`),
		whole:       regexp.MustCompile(`^(?:0|-?[1-9][0-9]*)$`),
	}
})

// scalar returns the text that a value has for its reader, or why it has none
// that every reader agrees on. Plain numbers and booleans keep their text where
// it survives being read and printed; 010, 1.10, 1e3 and yes do not.
func (r rules) scalar(n *yaml.Node) (secret.Value, string) {
	const quoteIt = "; put it in quotes"
	if n.Kind != yaml.ScalarNode {
		return secret.Value{}, "a map or a list, not one value; --at reads inside a map"
	}
	plain := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch tag := n.ShortTag(); {
	case tag == "!!str" && !(plain && r.old && n.Style&yaml.TaggedStyle == 0):
		return secret.New(n.Value), ""
	case tag == "!!str" && yamlPatterns().boolean.MatchString(n.Value):
		return secret.Value{}, "a word that older YAML readers take for true or false" + quoteIt
	case tag == "!!str" && yamlPatterns().sexagesimal.MatchString(n.Value):
		return secret.Value{}, "digits that older YAML readers take for a number" + quoteIt
	case tag == "!!str":
		return secret.New(n.Value), ""
	case tag == "!!null":
		return secret.Value{}, "null: no value"
	case tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return secret.New(n.Value), ""
	case tag == "!!bool":
		return secret.Value{}, "a boolean that readers write back differently" + quoteIt
	case tag == "!!int" || tag == "!!float":
		if tag == "!!int" && !yamlPatterns().whole.MatchString(n.Value) {
			return secret.Value{}, "a number that readers write back differently" + quoteIt
		}
		if why := numberProblem(n.Value, r.whole); why != "" {
			return secret.Value{}, why
		}
		return secret.New(n.Value), ""
	case tag == "!!timestamp":
		return secret.Value{}, "a date that readers write back differently" + quoteIt
	}
	return secret.Value{}, "a value of another type than text" + quoteIt
}

// readYAML reads a map of values at a dotted path, or a list of {name, value}.
func readYAML(file string, src []byte, at string, r rules) ([]Item, error) {
	t := &tree{file: file}
	docs, err := t.documents(src)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, invalid(file, 0, "split it into files", "%d documents, not one", len(docs))
	}
	root, err := t.follow(docs[0])
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, invalid(file, root.Line, "write KEY: \"value\" lines", "not a map")
	}
	n := root
	if at != "" {
		for _, step := range strings.Split(at, ".") {
			if n, err = t.get(n, step); err != nil {
				return nil, err
			}
		}
	}
	if n == nil || n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		parts, err := t.parts(root, nil)
		if err != nil {
			return nil, err
		}
		return nil, missingPart(file, at, parts)
	}
	if n.Kind == yaml.SequenceNode {
		return t.named(n, r)
	}
	ms, err := t.members(n, 0)
	if err != nil {
		return nil, err
	}
	items := make([]Item, 0, len(ms))
	for _, m := range ms {
		v, why := r.scalar(m.value)
		items = append(items, Item{m.key, v, m.line, why})
	}
	return items, nil
}

// named reads a container's list of {name: KEY, value: text}.
func (t *tree) named(n *yaml.Node, r rules) ([]Item, error) {
	var items []Item
	for _, c := range n.Content {
		c, err := t.follow(c)
		if err != nil {
			return nil, err
		}
		name, err := t.get(c, "name")
		if err != nil {
			return nil, err
		}
		if name == nil || name.Kind != yaml.ScalarNode {
			return nil, invalid(t.file, c.Line, "write - {name: KEY, value: \"text\"}", "an entry of the list has no name")
		}
		value, err := t.get(c, "value")
		if err != nil {
			return nil, err
		}
		item := Item{Key: name.Value, Line: name.Line, Why: "no value: it comes from somewhere else (valueFrom)"}
		if value != nil {
			item.Value, item.Why = r.scalar(value)
		}
		items = append(items, item)
	}
	return items, nil
}

// parts returns the dotted paths of maps that hold a plain value.
func (t *tree) parts(n *yaml.Node, path []string) ([]string, error) {
	n, err := t.follow(n)
	if err == nil && n.Kind == yaml.SequenceNode && len(path) > 0 && len(n.Content) > 0 {
		if name, err := t.get(n.Content[0], "name"); err != nil || name != nil && name.Kind == yaml.ScalarNode && isName(name.Value) && name.Value == strings.ToUpper(name.Value) {
			return []string{strings.Join(path, ".")}, err
		}
	}
	if err != nil || n.Kind != yaml.MappingNode {
		return nil, err
	}
	ms, err := t.members(n, len(path))
	if err != nil {
		return nil, err
	}
	var out []string
	plain := false
	for _, m := range ms {
		plain = plain || m.value.Kind == yaml.ScalarNode && isName(m.key) && m.key == strings.ToUpper(m.key)
	}
	if plain && len(path) > 0 {
		out = append(out, strings.Join(path, "."))
	}
	for _, m := range ms {
		more, err := t.parts(m.value, append(path[:len(path):len(path)], m.key))
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// writeYAML writes a map whose values are all in double quotes.
func writeYAML(values map[string]secret.Value, indent int) string {
	if len(values) == 0 {
		return strings.Repeat(" ", indent) + "{}\n"
	}
	var b strings.Builder
	for _, k := range sorted(values) {
		b.WriteString(strings.Repeat(" ", indent) + yamlKey(k) + ": " + quote(values[k].Reveal()) + "\n")
	}
	return b.String()
}

// yamlKey quotes a key that a reader could take for something else than text.
func yamlKey(k string) string {
	if isName(k) && !yamlPatterns().boolean.MatchString(k) {
		return k
	}
	return quote(k)
}

// writeHelm writes a chart's values: the map at a dotted path.
func writeHelm(values map[string]secret.Value, at string) (string, error) {
	if at == "" {
		at = "env"
	}
	var b strings.Builder
	steps := strings.Split(at, ".")
	if len(steps) > MaxDepth/2 || slices.Contains(steps, "") {
		return "", fault.Newf(fault.Usage, "write helm", "name it as in values.yaml, e.g. --at app.env", "%q is no path into a file", at)
	}
	for i, s := range steps {
		b.WriteString(strings.Repeat("  ", i) + yamlKey(s) + ":\n")
	}
	return b.String() + writeYAML(values, 2*len(steps)), nil
}

// guessYAML tells what a YAML file is: a Secret, a compose file, a chart's
// values, or a plain map.
func guessYAML(base string, src []byte) Format {
	if strings.HasPrefix(base, "values") {
		return Helm
	}
	if len(src) > MaxSize {
		return YAML
	}
	t := &tree{file: base}
	docs, err := t.documents(src)
	if err != nil {
		return YAML // reading it says what is wrong
	}
	if t.isManifest(src) {
		return K8s
	}
	for _, d := range docs {
		if s, err := t.get(d, "services"); err == nil && s != nil && s.Kind == yaml.MappingNode {
			return Compose
		}
	}
	return YAML
}
