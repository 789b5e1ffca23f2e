package formats

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// readKubernetes reads the Secrets (and ConfigMaps) of a manifest: data,
// which is base64 in a Secret, with stringData over it.
func readKubernetes(file string, src []byte, name string) ([]Item, error) {
	t := &tree{file: file}
	docs, err := t.objects(src)
	if err != nil {
		return nil, err
	}
	var items []Item
	var names []string
	found := false
	for _, d := range docs {
		kind, err := t.get(d, "kind")
		if err != nil {
			return nil, err
		}
		if kind == nil || kind.Value != "Secret" && kind.Value != "ConfigMap" {
			continue
		}
		meta, err := t.get(d, "metadata")
		if err != nil {
			return nil, err
		}
		called, err := t.get(meta, "name")
		if err != nil {
			return nil, err
		}
		if called != nil {
			names = append(names, called.Value)
		}
		if name != "" && (called == nil || called.Value != name) {
			continue
		}
		if found {
			return nil, fault.New(fault.Usage, "read "+file, "it holds several Secrets", "choose one with --at: "+strings.Join(names, ", "))
		}
		found = true
		if items, err = t.manifest(d, kind.Value == "Secret"); err != nil {
			return nil, err
		}
	}
	if !found && len(names) > 0 {
		return nil, fault.Newf(fault.Usage, "read "+file, "its Secrets: "+strings.Join(names, ", "), "it holds no Secret %q", name)
	}
	if !found {
		return nil, invalid(file, 0, "name the right --format", "no Secret in it")
	}
	return items, nil
}

// objects returns the objects of a manifest, those of a List (kubectl get) one by one.
func (t *tree) objects(src []byte) ([]*yaml.Node, error) {
	docs, err := t.documents(src)
	if err != nil {
		return nil, err
	}
	var out []*yaml.Node
	for _, d := range docs {
		kind, err := t.get(d, "kind")
		if err != nil {
			return nil, err
		}
		if kind == nil || !strings.HasSuffix(kind.Value, "List") {
			out = append(out, d)
			continue
		}
		items, err := t.get(d, "items")
		if err != nil {
			return nil, err
		}
		if items != nil && items.Kind == yaml.SequenceNode {
			out = append(out, items.Content...)
		}
	}
	return out, nil
}

// isManifest tells whether a text holds a Secret or a ConfigMap.
func (t *tree) isManifest(src []byte) bool {
	docs, err := t.objects(src)
	return err == nil && slices.ContainsFunc(docs, func(d *yaml.Node) bool {
		kind, err := t.get(d, "kind")
		return err == nil && kind != nil && (kind.Value == "Secret" || kind.Value == "ConfigMap")
	})
}

func (t *tree) manifest(d *yaml.Node, encoded bool) ([]Item, error) {
	var items []Item
	for _, part := range []string{"stringData", "data", "binaryData"} {
		n, err := t.get(d, part)
		if err != nil {
			return nil, err
		}
		if n == nil || n.Kind != yaml.MappingNode {
			continue
		}
		ms, err := t.members(n, 0)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, i := range items {
			seen[i.Key] = true
		}
		for _, m := range ms {
			if seen[m.key] {
				continue // stringData wins
			}
			i := Item{Key: m.key, Line: m.line}
			// The API takes text only, so that other types are an error there.
			i.Value, i.Why = rules{old: true}.scalar(m.value)
			if i.Why == "" && m.value.ShortTag() != "!!str" {
				i.Value, i.Why = secret.Value{}, "not text; Kubernetes refuses it: put it in quotes"
			}
			if i.Why == "" && (part == "binaryData" || part == "data" && encoded) {
				i.Value, i.Why = decoded(i.Value)
			}
			items = append(items, i)
		}
	}
	return items, nil
}

func decoded(v secret.Value) (secret.Value, string) {
	b, err := base64.StdEncoding.DecodeString(v.Reveal())
	switch {
	case err != nil:
		return secret.Value{}, "not base64"
	case !utf8.Valid(b):
		return secret.Value{}, "not text once it is decoded"
	}
	return secret.New(string(b)), ""
}

// writeKubernetes writes a Secret with data in base64, which carries any text.
func writeKubernetes(values map[string]secret.Value, name string) (string, error) {
	if !regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`).MatchString(name) {
		return "", fault.Newf(fault.Usage, "write k8s", "name it with --name: a-z 0-9 . and -", "%q cannot be a Secret's name", name)
	}
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Secret\nmetadata:\n  name: " + yamlKeyOrQuoted(name) + "\ntype: Opaque\ndata:\n")
	key := regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)
	encoded := map[string]secret.Value{}
	for k, v := range values {
		if !key.MatchString(k) || k == "." || k == ".." {
			return "", refused(K8s, k, "not a key that Kubernetes allows")
		}
		encoded[k] = secret.New(base64.StdEncoding.EncodeToString([]byte(v.Reveal())))
	}
	return b.String() + writeYAML(encoded, 2), nil
}

// yamlKeyOrQuoted writes a name plain only where no reader takes it for a number.
func yamlKeyOrQuoted(s string) string {
	if s[0] >= 'a' && s[0] <= 'z' && !yamlPatterns().boolean.MatchString(s) {
		return s
	}
	return quote(s)
}
