package playbooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Fernet keys that nobody published.
const (
	someKey  = "MzIgYnl0ZXMgdGhhdCBvbmx5IHRoZSB0ZXN0cyB1c2U="
	otherKey = "YW5vdGhlciAzMiBieXRlcyBvbmx5IGZvciB0ZXN0cyE="
	thirdKey = "YSB0aGlyZCBrZXkgdGhhdCBvbmx5IHRlc3RzIHVzZSE="
)

// app is the application that a lab's containers run: it verifies tokens with the
// keys that its process holds, and encrypts a piece of data whenever it starts.
type app struct {
	lab  *lab
	data map[string][]secret.Value // by variable
	// Faults.
	answer   func(q providers.Question) (status int, err error) // 0: as ever
	jobErr   error                                              // the re-encryption fails half-way
	checkErr error
	jobs     int
	asked    []string
	given    map[string]string // what the last job found
}

func (a *app) ask(_ context.Context, q providers.Question) (int, error) {
	a.asked = append(a.asked, q.URL)
	if a.answer != nil {
		if status, err := a.answer(q); status != 0 || err != nil {
			return status, err
		}
	}
	env := "production"
	if host := strings.TrimPrefix(q.URL, "https://ledger-"); host != q.URL {
		env, _, _ = strings.Cut(host, ".")
	}
	b := a.lab.box(env)
	if b == nil {
		return 0, fault.New(fault.Unavailable, "ask the probe", "nothing listens there", "")
	}
	token := strings.TrimPrefix(q.Value.Reveal(), "Bearer ")
	for _, name := range []string{"SECRET_KEY", "SECRET_KEY_PREVIOUS"} {
		if key, ok := b.env[name]; ok && a.verifies(token, key) {
			return 200, nil
		}
	}
	return 401, nil
}

// verifies is a JWT library of its own.
func (a *app) verifies(token string, key secret.Value) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub      string
		Exp, Iat int64
	}
	now := a.lab.clock.now().Unix()
	return err == nil && json.Unmarshal(body, &claims) == nil && claims.Sub == "envctl" && claims.Iat <= now && now < claims.Exp &&
		base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) == parts[2]
}

// write is what a new process does: it encrypts with the newest key it has.
func (a *app) write(b *box) {
	for _, name := range []string{"RING", "SINGLE"} {
		token, err := secret.EncryptFernet(b.env[name], []byte(name), time.Unix(1, 0), &counter{seed: byte(len(a.data[name]))})
		if err != nil {
			continue // it has no key
		}
		if a.data == nil {
			a.data = map[string][]secret.Value{}
		}
		a.data[name] = append(a.data[name], token)
	}
}

func (a *app) Check(providers.Job) error { return a.checkErr }

// Run re-encrypts one piece of data after the other with the newest key; again
// changes nothing.
func (a *app) Run(_ context.Context, j providers.Job) error {
	a.jobs++
	a.given = clear(j.Values)
	name := map[string]string{"./reencrypt-ring": "RING", "./reencrypt-key": "SINGLE"}[j.Command]
	keys := a.given["ENVCTL_NEW_KEY"] + "," + a.given["ENVCTL_OLD_KEY"]
	if name == "RING" {
		keys = a.given["RING"]
	}
	a.lab.fleet.point("before the re-encryption")
	for i, token := range a.data[name] {
		text, _, ok := secret.DecryptFernet(secret.New(keys), token)
		if !ok {
			return fault.New(fault.No, j.Op, "data that no key reads", "")
		}
		if i > 0 && a.jobErr != nil {
			return a.jobErr
		}
		var err error
		if a.data[name][i], err = secret.EncryptFernet(secret.New(keys), text, time.Unix(1, 0), &counter{seed: byte(i)}); err != nil {
			return err
		}
		a.lab.fleet.point("within the re-encryption")
	}
	return nil
}

// readable tells whether keys read everything that was encrypted for a variable.
func (a *app) readable(name, keys string) error {
	for i, token := range a.data[name] {
		if _, _, ok := secret.DecryptFernet(secret.New(keys), token); !ok {
			return fmt.Errorf("piece %d of %s can be read no more", i, name)
		}
	}
	return nil
}

// ringUndone is how the undo of a ring's rotation leaves the world: the old ring,
// with the new key last where a process had it, all of it readable and running.
func ringUndone(l *lab) error {
	const env = "staging"
	v, ran := l.values(env), l.running(env)
	ring := strings.Split(v["RING"], ",")
	if err := check(ring[0] == someKey && len(ring) <= 3, "the ring is %v", ring); err != nil {
		return err
	}
	if err := check(ran["RING"] == v["RING"], "%v run, not %v", ran["RING"], v["RING"]); err != nil {
		return err
	}
	delete(v, "RING")
	delete(v, "SINGLE")
	if err := check(maps.Equal(v, map[string]string{"SECRET_KEY": "old", "TOKEN": "t0", "PLAIN": "sibling"}), "%v", v); err != nil {
		return err
	}
	return l.app.readable("RING", ran["RING"])
}
