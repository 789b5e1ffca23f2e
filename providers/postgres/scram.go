package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/text/unicode/norm"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	mechanism = "SCRAM-SHA-256"
	// rounds is what PostgreSQL's own clients make a verifier with, and the fewest
	// that a server may ask for: fewer are an invitation to guess.
	rounds    = 4096
	maxRounds = 1 << 20
)

// scramKeys are the keys of a password, by RFC 5802.
type scramKeys struct{ client, stored, server []byte }

func keysOf(password string, salt []byte, rounds int) (scramKeys, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return scramKeys{}, err
	}
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client)
	return scramKeys{client, stored[:], mac(salted, "Server Key")}, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// verifier is what the server keeps of a password: sent in the password's place,
// it lets the server check a login and nobody read the password.
func verifier(password secret.Value, rand io.Reader) (string, error) {
	prepared, err := prepare(password)
	if err != nil {
		return "", err
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fault.Wrap(err, fault.Internal, "read random bytes", "")
	}
	return verifierWith(prepared, salt)
}

func verifierWith(prepared string, salt []byte) (string, error) {
	k, err := keysOf(prepared, salt, rounds)
	if err != nil {
		return "", err
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", mechanism, rounds, b64(salt), b64(k.stored), b64(k.server)), nil
}

// prepare returns the bytes that every client of PostgreSQL makes of a password.
// They put it through SASLprep (RFC 4013), and where that refuses it take it as it
// is; a text that its mapping leaves alone comes out unchanged either way, so its
// tables of what is forbidden are not needed. What the mapping would change is
// refused.
func prepare(password secret.Value) (string, error) {
	p := password.Reveal()
	const op = "prepare the password"
	if p == "" {
		return "", fault.New(fault.Refused, op, "it is empty, which PostgreSQL takes as none", "")
	}
	ascii := true
	for _, r := range p {
		if r == 0 {
			return "", fault.New(fault.Refused, op, "it holds a NUL byte, which no client can send", "")
		}
		ascii = ascii && r < 0x80
	}
	if !ascii && (strings.ContainsFunc(p, mapped) || !norm.NFKC.IsNormalString(p)) {
		return "", fault.New(fault.Refused, op, "it has characters that clients rewrite, not all in the same way (SASLprep)", "give the role a password of plain characters by hand, and the store the same")
	}
	return p, nil
}

// mapped tells whether SASLprep replaces a character by a space or by nothing:
// RFC 3454, tables C.1.2 and B.1.
func mapped(r rune) bool {
	switch r {
	case 0x00AD, 0x034F, 0x1806, 0x180B, 0x180C, 0x180D, 0x2060, 0xFEFF, 0x00A0, 0x1680, 0x202F, 0x205F, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200D || r >= 0xFE00 && r <= 0xFE0F
}

// exchange is one login by SCRAM, the client's side of it.
type exchange struct {
	password        string // prepared
	nonce, bare     string
	serverSignature []byte
}

// begin returns the first message.
func begin(password secret.Value, rand io.Reader) (*exchange, string, error) {
	prepared, err := prepare(password)
	if err != nil {
		return nil, "", err
	}
	raw := make([]byte, 18)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return nil, "", fault.Wrap(err, fault.Internal, "read random bytes", "")
	}
	e := &exchange{password: prepared, nonce: base64.RawStdEncoding.EncodeToString(raw)}
	e.bare = "n=,r=" + e.nonce // the server takes the role from the connection
	return e, "n,," + e.bare, nil
}

// answer returns the proof that the server's challenge asks for.
func (e *exchange) answer(challenge string) (string, error) {
	bad := func(why string) error {
		return fault.New(fault.Refused, "log in", "the server's challenge is not one: "+why, "")
	}
	fields := attributes(challenge)
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	n, nerr := strconv.Atoi(fields["i"])
	switch {
	case !strings.HasPrefix(fields["r"], e.nonce) || len(fields["r"]) == len(e.nonce):
		return "", bad("it is for someone else")
	case err != nil || len(salt) == 0:
		return "", bad("it has no salt")
	case nerr != nil || n < rounds || n > maxRounds:
		return "", bad(fmt.Sprintf("it asks for fewer than %d or more than %d rounds", rounds, maxRounds))
	}
	k, err := keysOf(e.password, salt, n)
	if err != nil {
		return "", err
	}
	final := "c=biws,r=" + fields["r"] // biws: base64 of "n,,"
	signed := e.bare + "," + challenge + "," + final
	proof := mac(k.stored, signed)
	for i := range proof {
		proof[i] ^= k.client[i]
	}
	e.serverSignature = mac(k.server, signed)
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// trusts tells whether the server has shown that it knows the role's verifier.
func (e *exchange) trusts(final string) bool {
	got, err := base64.StdEncoding.DecodeString(attributes(final)["v"])
	return err == nil && e.serverSignature != nil && hmac.Equal(got, e.serverSignature)
}

// attributes reads a=…,b=…
func attributes(message string) map[string]string {
	fields := map[string]string{}
	for _, f := range strings.Split(message, ",") {
		if k, v, ok := strings.Cut(f, "="); ok {
			fields[k] = v
		}
	}
	return fields
}
