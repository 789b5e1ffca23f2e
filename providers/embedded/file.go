package embedded

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"

	"envctl/internal/fault"
)

const (
	format  = 1
	keySize = 32
	idSize  = 16
	// MaxFile bounds the file, in bytes, so that a hostile one cannot fill memory.
	MaxFile = 32 << 20
	magic   = "envctl-store/1 "
)

var (
	errTag   = errors.New("its authentication tag does not match")
	errShape = errors.New("it does not begin as a store does")
)

// id names a key without telling it.
func (k key) id() string {
	sum := sha256.Sum256([]byte("envctl store integrity key\n" + k.Reveal()))
	return hex.EncodeToString(sum[:16])
}

// encode returns the plaintext of d: a line with the authentication tag, then
// the JSON document. The tag is an HMAC-SHA256 under the integrity key, which
// stands in the document and nowhere else.
func (d *document) encode() ([]byte, error) {
	body, err := json.Marshal(d.pack())
	if err != nil {
		return nil, err
	}
	return append([]byte(magic+tag(d.Integrity, body)+"\n"), body...), nil
}

func tag(k key, body []byte) string {
	m := hmac.New(sha256.New, []byte(k.Reveal()))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// decode reads what encode wrote. It proves that the plaintext is whole, not
// who wrote it: that is for the pin to say.
func decode(plain []byte) (*document, error) {
	head, body, ok := bytes.Cut(plain, []byte("\n"))
	claimed, isStore := strings.CutPrefix(string(head), magic)
	if !ok || !isStore {
		return nil, errShape
	}
	var d document
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields() // what this envctl does not know it would lose on the next write
	if err := dec.Decode(&d); err != nil {
		// The cause's text may quote the plaintext.
		return nil, errors.New("its document is malformed")
	}
	if rest, err := io.ReadAll(dec.Buffered()); err != nil || len(rest) > 0 || dec.More() {
		return nil, errors.New("its document has a tail")
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(claimed), []byte(tag(d.Integrity, body))) {
		return nil, errTag
	}
	return &d, nil
}

// seal encrypts d to its recipients. The result is binary, not armored: a
// third smaller, and no tool is tempted to merge it line by line.
func (d *document) seal(op string) ([]byte, error) {
	if d.values() > maxValues { // or it could not be read again
		return nil, fault.Newf(fault.Refused, op, "purge paths that are no longer needed, or keep fewer versions",
			"the store would hold more than %d values", maxValues/2)
	}
	sealed, err := d.encrypt()
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, op, "")
	}
	if len(sealed) > MaxFile {
		return nil, fault.Newf(fault.Refused, op, "keep large values elsewhere, or fewer versions of them",
			"the store would have %d bytes, more than the %d it may have", len(sealed), MaxFile)
	}
	return sealed, nil
}

func (d *document) encrypt() ([]byte, error) {
	plain, err := d.encode()
	if err != nil {
		return nil, err
	}
	to, err := ageRecipients(d.Recipients)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(len(plain) + len(plain)/1024 + 1024)
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func ageRecipients(list []Recipient) ([]age.Recipient, error) {
	to := make([]age.Recipient, 0, len(list))
	for _, r := range list {
		parsed, err := age.ParseX25519Recipient(r.Key)
		if err != nil {
			return nil, fmt.Errorf("the key of recipient %q is malformed", r.Name)
		}
		to = append(to, parsed)
	}
	return to, nil
}

// unseal decrypts a sealed document. Errors: WrongIdentity, Invalid.
func unseal(op string, sealed []byte, identities []age.Identity) (*document, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		hint := "ask one who can read it to add your key: envctl store recipients add"
		if own := publicKey(identities); own != "" {
			hint += " NAME " + own
		}
		return nil, fault.New(fault.WrongIdentity, op, "it is not encrypted to this identity, or its header is damaged", hint)
	}
	invalid := func(err error) error {
		return fault.Wrap(err, fault.Invalid, op, "restore the file from git or a copy, then run envctl store verify")
	}
	if err != nil {
		return nil, invalid(errors.New("it is damaged, or no store at all"))
	}
	plain, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil || len(plain) > MaxFile {
		return nil, invalid(errors.New("it is damaged or cut short"))
	}
	d, err := decode(plain)
	if err != nil {
		return nil, invalid(err)
	}
	return d, nil
}

// classify gives an error of the file system its kind; faults stay what they are.
func classify(err error, op, hint string) error {
	var known *fault.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, op, hint)
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(err, fault.Denied, op, "check who owns the file and its mode")
	}
	return fault.Wrap(err, fault.Unavailable, op, "check the disk, then run the command again")
}
