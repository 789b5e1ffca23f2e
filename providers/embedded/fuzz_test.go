package embedded

import (
	"bytes"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// FuzzDocument feeds the document's reader what a forger might: whatever it
// takes must be what it writes again, and it never panics.
func FuzzDocument(f *testing.F) {
	k := func(b byte) key { return key{secret.New(string(bytes.Repeat([]byte{b}, keySize)))} }
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	d := &document{
		Format: format, Store: "000102030405060708090a0b0c0d0e0f", Integrity: k(1), Former: []key{k(2)}, Fingerprint: k(3),
		Recipients: []Recipient{{Name: "alice", Key: "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj", Added: now}},
		Revision:   Revision{Number: 1, ID: "101112131415161718191a1b1c1d1e1f", Author: "alice", Time: now},
	}
	p := naming.Path{Project: "ledger", Environment: "staging", Component: "app"}
	for i := range 3 {
		patch := providers.Patch{"K": secret.New("\xff" + string(rune('a'+i))), "KEEP": secret.New("kept")}
		if i == 2 {
			patch["KEEP"] = secret.Value{}
		}
		if _, err := d.write("write", p, providers.Version(i), patch, "alice", now); err != nil {
			f.Fatal(err)
		}
		d.succeed("202122232425262728292a2b2c2d2e2f", "alice", now)
	}
	d.Paths[p.String()].Versions[0].Deleted = true
	d.Paths[p.String()].Custom = map[string]string{"owner": "ops"}
	good, err := d.encode()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := decode(good); err != nil {
		f.Fatalf("the seed is no document: %v", err)
	}
	_, body, _ := bytes.Cut(good, []byte("\n"))
	f.Add(body)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"format":1,"paths":{"a/b/c":{"versions":[null]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		// A forger chooses the key, so the tag always fits.
		plain := append([]byte(magic+tag(forgedKey(body), body)+"\n"), body...)
		d, err := decode(plain)
		if err != nil {
			return
		}
		again, err := d.encode()
		if err != nil {
			t.Fatalf("taken, and not written: %v", err)
		}
		d2, err := decode(again)
		if err != nil {
			t.Fatalf("written, and not taken: %v\n%s", err, again)
		}
		if len(d.Paths) != len(d2.Paths) {
			t.Fatal("paths were lost")
		}
		for name, e := range d.Paths {
			if !e.same(d2.Paths[name]) {
				t.Fatalf("path %q changed\n%s\n%s", name, body, again)
			}
		}
	})
}

// forgedKey finds the key that body claims, as decode will.
func forgedKey(body []byte) key {
	_, rest, _ := bytes.Cut(body, []byte(`"integrity":`))
	var k key
	if end := bytes.IndexByte(rest, ','); end > 0 && k.UnmarshalJSON(rest[:end]) == nil {
		return k
	}
	return key{secret.New("")}
}
