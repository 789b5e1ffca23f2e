package formats

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// readCompose reads the environment of a compose file's services, all of them
// or one. A variable that two services give different values is told so.
func readCompose(file string, src []byte, service string) ([]Item, error) {
	t := &tree{file: file}
	docs, err := t.documents(src)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, invalid(file, 0, "", "%d documents, not one", len(docs))
	}
	services, err := t.get(docs[0], "services")
	if err != nil {
		return nil, err
	}
	if services == nil || services.Kind != yaml.MappingNode {
		return nil, invalid(file, 0, "", "no compose file: it has no services")
	}
	all, err := t.members(services, 0)
	if err != nil {
		return nil, err
	}
	var items []Item
	var names []string
	found := false
	for _, s := range all {
		names = append(names, s.key)
		if service != "" && s.key != service {
			continue
		}
		found = true
		env, err := t.get(s.value, "environment")
		if err != nil {
			return nil, err
		}
		if env == nil {
			continue
		}
		mine, err := t.environment(env)
		if err != nil {
			return nil, err
		}
		items = joinServices(items, mine)
	}
	if !found {
		return nil, fault.Newf(fault.Usage, "read "+file, "its services: "+strings.Join(names, ", "), "it has no service %q", service)
	}
	return items, nil
}

// joinServices adds a service's variables to those of the ones before it.
func joinServices(items, mine []Item) []Item {
	for _, m := range mine {
		i := slices.IndexFunc(items, func(x Item) bool { return x.Key == m.Key })
		switch {
		case i < 0:
			items = append(items, m)
		case items[i].Why == "" && m.Why == "" && !items[i].Value.Equal(m.Value):
			items[i].Why = fmt.Sprintf("another service has another value (line %d); choose one with --at SERVICE", m.Line)
		case items[i].Why != "" && m.Why == "":
			items[i] = m
		}
	}
	return items
}

// environment reads a map or a list of KEY=value, as compose does.
func (t *tree) environment(n *yaml.Node) ([]Item, error) {
	var items []Item
	switch n.Kind {
	case yaml.MappingNode:
		ms, err := t.members(n, 0)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			v, why := composeRules.scalar(m.value)
			if m.value.ShortTag() == "!!null" {
				why = "no value: compose takes it from its own environment"
			}
			items = append(items, interpolated(Item{m.key, v, m.line, why}))
		}
	case yaml.SequenceNode:
		last := map[string]int{}
		for _, c := range n.Content {
			c, err := t.follow(c)
			if err != nil {
				return nil, err
			}
			if c.Kind != yaml.ScalarNode {
				return nil, invalid(t.file, c.Line, "write - KEY=value", "an entry of the list is no text")
			}
			key, value, has := strings.Cut(c.Value, "=")
			i := Item{Key: key, Value: secret.New(value), Line: c.Line}
			if !has {
				i.Value, i.Why = secret.Value{}, "no value: compose takes it from its own environment"
			}
			if at, again := last[key]; again {
				items[at] = interpolated(i)
				continue
			}
			last[key] = len(items)
			items = append(items, interpolated(i))
		}
	default:
		if n.ShortTag() != "!!null" {
			return nil, invalid(t.file, n.Line, "write environment: {KEY: value}", "an environment that is no map and no list")
		}
	}
	return items, nil
}

// interpolated turns $$ into $ and names what compose would replace.
func interpolated(i Item) Item {
	s := i.Value.Reveal()
	if i.Why != "" || !strings.Contains(s, "$") {
		return i
	}
	plain := strings.ReplaceAll(s, "$$", "")
	if strings.Contains(plain, "$") {
		i.Value, i.Why = secret.Value{}, "holds a $ that compose replaces from its own environment; write $$ for a $"
		return i
	}
	i.Value = secret.New(strings.ReplaceAll(s, "$$", "$"))
	return i
}

// writeCompose writes a file to lay over a compose file: docker compose -f
// compose.yaml -f FILE up.
func writeCompose(values map[string]secret.Value, services []string) (string, error) {
	if len(services) == 0 {
		return "", fault.New(fault.Usage, "write compose", "no service is named", "name one with --service, or list services in envctl.yaml")
	}
	escaped := map[string]secret.Value{}
	for k, v := range values {
		if k == "" || strings.ContainsAny(k, "=$\x00") {
			return "", refused(Compose, k, "not a variable's name for compose")
		}
		escaped[k] = secret.New(strings.ReplaceAll(v.Reveal(), "$", "$$"))
	}
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range services {
		b.WriteString("  " + yamlKey(s) + ":\n    environment:\n" + writeYAML(escaped, 6))
	}
	return b.String(), nil
}
