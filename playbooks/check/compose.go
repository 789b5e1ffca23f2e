package check

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
)

// composeFile is what the rules need of a compose file.
type composeFile struct {
	rel      string
	services []service
	names    map[string]bool // variables it sets, passes on or replaces
	// sources tells that a shell reads an environment file in a command or an
	// entry point; sourcedAt says where.
	sources   bool
	sourcedAt string
}

// service is one service of a compose file.
type service struct {
	name       string
	dockerfile string // relative to the project, "" without a build
	context    string
	args       []string
	envFiles   []string // relative to the project
	set        map[string]bool
}

// sets tells whether a service sets one of the names by itself.
func (f *composeFile) sets(names []string) bool {
	if f == nil {
		return false
	}
	return slices.ContainsFunc(f.services, func(s service) bool {
		return slices.ContainsFunc(names, func(n string) bool { return s.set[n] })
	})
}

const maxNodes = 100_000

// sourcing finds a shell that reads a file of variables: . /secrets/app.env,
// source .env, set -a; . x.
var sourcing = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled on first use
	return regexp.MustCompile(`(?:^|[\s;&|"'\[(])(?:\.|source)\s+["']?[\w./${}-]*(?:env|secrets?|vault)[\w./${}-]*`)
})

var replaced = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled on first use
	return regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)
})

// parseCompose reads the parts of a compose file that declare variables: not
// a loader, which costs more than everything else that check does. Invalid for
// what is no YAML.
func parseCompose(rel string, src []byte) (*composeFile, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(src)))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		message := strings.TrimPrefix(err.Error(), "yaml: ")
		line := 0
		if _, serr := fmt.Sscanf(message, "line %d:", &line); serr != nil {
			line = 0
		}
		return nil, fault.New(fault.Invalid, fmt.Sprintf("read compose file %s:%d", rel, line), "not YAML: "+message, "correct the file")
	}
	f := &composeFile{rel: rel, names: map[string]bool{}}
	if len(doc.Content) == 0 {
		return f, nil
	}
	count := 0
	walkYAML(doc.Content[0], &count, 0, func(n *yaml.Node) {
		for _, m := range replaced().FindAllStringSubmatch(n.Value, -1) {
			f.names[m[1]] = true
		}
	})
	dir := path.Dir(rel)
	for _, s := range pairs(child(doc.Content[0], "services")) {
		f.services = append(f.services, f.service(s, dir))
	}
	return f, nil
}

func (f *composeFile) service(s pair, dir string) service {
	out := service{name: s.key, set: map[string]bool{}}
	if b := child(s.value, "build"); b != nil {
		file := "Dockerfile"
		out.context = path.Join(dir, b.Value)
		if b.Kind == yaml.MappingNode {
			out.context = dir
			if c := child(b, "context"); c != nil {
				out.context = path.Join(dir, c.Value)
			}
			if d := child(b, "dockerfile"); d != nil {
				file = d.Value
			}
			out.args = namesOf(child(b, "args"))
		}
		out.dockerfile = path.Join(out.context, file)
	}
	for _, n := range namesOf(child(s.value, "environment")) {
		f.names[n], out.set[n] = true, true
	}
	for _, n := range out.args {
		f.names[n] = true
	}
	switch e := child(s.value, "env_file"); {
	case e == nil:
	case e.Kind == yaml.ScalarNode:
		out.envFiles = []string{path.Join(dir, e.Value)}
	case e.Kind == yaml.SequenceNode:
		for _, item := range e.Content {
			item = plain(item)
			if p := child(item, "path"); p != nil {
				item = p
			}
			if item.Kind == yaml.ScalarNode {
				out.envFiles = append(out.envFiles, path.Join(dir, item.Value))
			}
		}
	}
	for _, key := range []string{"command", "entrypoint"} {
		n := child(s.value, key)
		if n == nil {
			continue
		}
		texts := []string{n.Value}
		for _, item := range n.Content {
			texts = append(texts, item.Value)
		}
		if !f.sources && slices.ContainsFunc(texts, sourcing().MatchString) {
			f.sources, f.sourcedAt = true, fmt.Sprintf("%s of the service %s (%s:%d)", key, s.key, f.rel, n.Line)
		}
	}
	return out
}

type pair struct {
	key   string
	value *yaml.Node
}

// plain follows an alias.
func plain(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode && i < 20; i++ {
		n = n.Alias
	}
	return n
}

// pairs returns a mapping's entries, those of merged mappings last.
func pairs(n *yaml.Node) []pair { return pairsWithin(n, 0) }

func pairsWithin(n *yaml.Node, depth int) []pair {
	n = plain(n)
	if n == nil || n.Kind != yaml.MappingNode || depth > 20 {
		return nil
	}
	var out, merged []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], plain(n.Content[i+1])
		if k.Value != "<<" {
			out = append(out, pair{k.Value, v})
			continue
		}
		merged = append(merged, pairsWithin(v, depth+1)...)
		if v != nil && v.Kind == yaml.SequenceNode {
			for _, m := range v.Content {
				merged = append(merged, pairsWithin(m, depth+1)...)
			}
		}
	}
	return append(out, merged...)
}

func child(n *yaml.Node, key string) *yaml.Node {
	for _, p := range pairs(n) {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// namesOf returns the names of KEY: value and - KEY=value.
func namesOf(n *yaml.Node) []string {
	var out []string
	for _, p := range pairs(n) {
		out = append(out, p.key)
	}
	if n != nil && n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			name, _, _ := strings.Cut(item.Value, "=")
			out = append(out, name)
		}
	}
	return out
}

// walkYAML visits every text once, aliases not followed, up to maxNodes.
func walkYAML(n *yaml.Node, count *int, depth int, visit func(*yaml.Node)) {
	if *count++; *count > maxNodes || depth > 100 {
		return
	}
	if n.Kind == yaml.ScalarNode && strings.IndexByte(n.Value, '$') >= 0 {
		visit(n)
	}
	for _, c := range n.Content {
		walkYAML(c, count, depth+1, visit)
	}
}
