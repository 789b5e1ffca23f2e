package embedded

import (
	"maps"
	"slices"
	"strconv"

	"envctl/internal/secret"
	"envctl/providers"
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

// Bomb checks a document whose few bytes would unpack into 10^10 values.
func Bomb() error {
	set := values{}
	for i := range 100_000 {
		set[strconv.Itoa(i)] = secret.New("")
	}
	e := &entry{Versions: []*version{{Version: 1, Set: set}}}
	for i := range 100_000 {
		e.Versions = append(e.Versions, &version{Version: providers.Version(i + 2), Set: values{"x": secret.New("")}})
	}
	e.Current = e.find(providers.Latest).Version
	d := &document{
		Format: format, Store: "000102030405060708090a0b0c0d0e0f", Integrity: key{secret.New("k")}, Fingerprint: key{secret.New("k")},
		Recipients: []Recipient{{Name: "alice", Key: "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"}},
		Revision:   Revision{Number: 1, ID: "000102030405060708090a0b0c0d0e0f"},
		Paths:      map[string]*entry{"a/b/c": e},
	}
	return d.check()
}
