package dokploy

import (
	"bytes"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/providers"
)

// maxFile bounds what is read of a compose file.
const maxFile = 512 << 10

// composeFile returns the component's compose file with what makes variables
// arrive and containers evidence. All else in it stays as it is.
func (d *Deployer) composeFile(op string, r providers.Release) (string, error) {
	if d.c.File == "" {
		return "", fault.New(fault.Invalid, op, "the component names no compose file", "add compose: path/to/compose.yaml to the component in envctl.yaml, or make the service in Dokploy (provider Raw)")
	}
	src, err := os.ReadFile(d.c.File)
	if err != nil || len(src) > maxFile {
		return "", fault.Newf(fault.Invalid, op, "check compose: in envctl.yaml", "the compose file %s cannot be read, or is over 512 KiB", d.c.File)
	}
	return prepared(op, src, r)
}

func prepared(op string, src []byte, r providers.Release) (string, error) {
	refuse := func(hint, format string, a ...any) (string, error) {
		return "", fault.Newf(fault.Refused, op, hint, format, a...)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(src, &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return "", fault.New(fault.Invalid, op, "the compose file is not readable", "run docker compose config on it")
	}
	services := field(doc.Content[0], "services")
	for _, s := range r.Services {
		n := field(services, s.Name)
		if n == nil || n.Kind != yaml.MappingNode {
			return "", fault.Newf(fault.NotFound, op, "correct services in envctl.yaml, or the compose file", "the compose file has no service %s", s.Name)
		}
		if field(n, "build") != nil {
			return refuse("name an image that is built elsewhere, or make the service in Dokploy from its repository", "the service %s is built from a folder, which Dokploy does not have", s.Name)
		}
		if v := relative(field(n, "volumes")); v != "" {
			return refuse("use a named volume, or make the service in Dokploy from its repository", "the service %s mounts %s, a folder that Dokploy does not have", s.Name, v)
		}
		if scaled(n) {
			unset(n, "container_name")
		} else {
			set(n, "container_name", scalar(s.Container))
		}
		if other := environmentFile(n); other != "" {
			return refuse("leave it out: Dokploy writes the variables to .env", "the service %s reads %s, which Dokploy does not have", s.Name, other)
		}
		labels(n, [][2]string{
			{providers.LabelProject, r.Project},
			{providers.LabelEnvironment, r.Environment},
			{providers.LabelComponent, r.Component},
			{providers.LabelService, s.Name},
			{providers.LabelRelease, "${" + providers.MarkerVariable + "}"},
		})
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return "", fault.New(fault.Invalid, op, "the compose file cannot be written again", "make the service in Dokploy (provider Raw)")
	}
	return b.String(), nil
}

// field returns a mapping's value, nil without one.
func field(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

func set(n *yaml.Node, name string, v *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content[i+1] = v
			return
		}
	}
	n.Content = append(n.Content, scalar(name), v)
}

func unset(n *yaml.Node, name string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// scaled tells whether a service has more than one container: they cannot share a name.
func scaled(n *yaml.Node) bool {
	for _, count := range []*yaml.Node{field(n, "scale"), field(field(n, "deploy"), "replicas")} {
		if count != nil && count.Value != "1" {
			return true
		}
	}
	return false
}

// relative returns a folder of the repository that a service mounts, "" for none.
func relative(volumes *yaml.Node) string {
	for i := 0; volumes != nil && i < len(volumes.Content); i++ {
		v := volumes.Content[i]
		source := v.Value
		if v.Kind == yaml.MappingNode {
			if from := field(v, "source"); from != nil {
				source = from.Value
			}
		}
		if strings.HasPrefix(source, ".") || strings.HasPrefix(source, "~") {
			return strings.SplitN(source, ":", 2)[0]
		}
	}
	return ""
}

// environmentFile makes a service read .env, and returns another file that it
// reads, which will not be there.
func environmentFile(n *yaml.Node) string {
	have := field(n, "env_file")
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle, Content: []*yaml.Node{scalar(".env")}}
	if have == nil {
		set(n, "env_file", list)
		return ""
	}
	entries := []*yaml.Node{have}
	if have.Kind == yaml.SequenceNode {
		entries = have.Content
	}
	found := false
	for _, e := range entries {
		name, optional := e.Value, false
		if e.Kind == yaml.MappingNode {
			if at := field(e, "path"); at != nil {
				name = at.Value
			}
			required := field(e, "required")
			optional = required != nil && required.Value == "false"
		}
		switch name = strings.TrimPrefix(name, "./"); {
		case name == ".env":
			found = true
		case !optional:
			return name
		}
	}
	if !found {
		set(n, "env_file", list)
	}
	return ""
}

// labels sets them, whether the service has a mapping or a list of them.
func labels(n *yaml.Node, all [][2]string) {
	have := field(n, "labels")
	if have == nil || have.Kind != yaml.SequenceNode && have.Kind != yaml.MappingNode {
		have = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		set(n, "labels", have)
	}
	for _, l := range all {
		if have.Kind == yaml.MappingNode {
			set(have, l[0], scalar(l[1]))
			continue
		}
		have.Content = slices.DeleteFunc(have.Content, func(e *yaml.Node) bool {
			name, _, _ := strings.Cut(e.Value, "=")
			return name == l[0]
		})
		have.Content = append(have.Content, scalar(l[0]+"="+l[1]))
	}
}
