package postgres

import (
	"encoding/base64"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// The example of RFC 7677, section 3, with the user's name in the first message.
func TestScramVector(t *testing.T) {
	t.Parallel()
	e := &exchange{password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO", bare: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	got, err := e.answer("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; err != nil || got != want {
		t.Fatal(got, err)
	}
	if !e.trusts("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") || e.trusts("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95A4=") || e.trusts("e=other-error") {
		t.Fatal("the server's signature")
	}
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifierWith("pencil", salt)
	// As PostgreSQL keeps it: StoredKey and ServerKey of the same example.
	if want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="; err != nil || v != want {
		t.Fatal(v, err)
	}
}

// A server may not talk a client into a proof that is easy to guess from, or that
// is for another login.
func TestScramChallengesRefused(t *testing.T) {
	t.Parallel()
	for name, challenge := range map[string]string{
		"few rounds":    "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
		"endless":       "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2147483647",
		"no rounds":     "r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==",
		"another nonce": "r=otherX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"our own nonce": "r=nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"no salt":       "r=nonceX,s=,i=4096",
		"bad salt":      "r=nonceX,s=???,i=4096",
		"nothing":       "",
	} {
		e := &exchange{password: "p", nonce: "nonce"}
		if _, err := e.answer(challenge); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", name, err)
		}
		if e.trusts("v=") {
			t.Errorf("%s: trusted", name)
		}
	}
}

// What SASLprep would change is refused, what it leaves alone is taken: see prepare.
func TestPrepare(t *testing.T) {
	t.Parallel()
	for p, ok := range map[string]bool{
		"plain": true, "\x01\x7f": true, "ünïcode": true, "密码": true, "🔑": true, "\u0221": true, "\xff\xfe": true,
		"": false, "nul\x00": false, "soft\u00adhyphen": false, "no-break\u00a0space": false, "ligature \ufb01": false,
		"u\u0308": false, "roman \u2168": false, "wide \uff21": false, "joined\u200dby": false,
	} {
		got, err := prepare(secret.New(p))
		if ok && (err != nil || got != p) || !ok && !fault.Is(err, fault.Refused) {
			t.Errorf("%q: %q %v", p, got, err)
		}
		if err != nil && p != "" && strings.Contains(err.Error(), p) {
			t.Errorf("%q stands in its error", p)
		}
	}
}

func FuzzScramAnswer(f *testing.F) {
	f.Add("r=nonceX,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	f.Add("r=nonce,,=,s==,i=-1")
	f.Fuzz(func(t *testing.T, challenge string) {
		e := &exchange{password: "p", nonce: "nonce"}
		if got, err := e.answer(challenge); err == nil && !strings.HasPrefix(got, "c=biws,r=nonce") {
			t.Errorf("%q: %q", challenge, got)
		}
	})
}
