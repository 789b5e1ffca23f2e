package embedded

import (
	"maps"
	"slices"

	"envctl/internal/secret"
)

// Opener returns what opens a store's bytes with the identity in a file.
func Opener(identity string) (func(sealed []byte) error, error) {
	ids, err := readIdentities(identity, nil)
	return func(sealed []byte) error {
		_, err := unseal("open", sealed, ids)
		return err
	}, err
}

// Forge does what someone can who knows a store's id, names, recipients and
// revisions, but not its keys: the best forgery without them.
func Forge(sealed []byte, identity string, author, victim Recipient) ([]byte, error) {
	ids, err := readIdentities(identity, nil)
	if err != nil {
		return nil, err
	}
	d, err := unseal("forge", sealed, ids)
	if err != nil {
		return nil, err
	}
	d = d.clone()
	d.Integrity = key{secret.New("0123456789abcdef0123456789abcdef")}
	d.Former, d.Recipients = nil, []Recipient{author, victim}
	for _, e := range d.Paths {
		v := *e.find(0)
		v.Values = maps.Clone(v.Values)
		for _, k := range slices.Collect(maps.Keys(v.Values)) {
			v.Values[k] = secret.New("forged")
		}
		e.Versions[len(e.Versions)-1] = &v
	}
	d.succeed("0123456789abcdef0123456789abcdef", author.Name, d.Revision.Time)
	return d.seal("forge")
}
