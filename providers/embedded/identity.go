package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	maxIdentity  = 1 << 20
	ageHeader    = "age-encryption.org/v1\n"
	maxWork      = 20 // scrypt's 2^20: a second or so, 1 GiB
	identityHint = "envctl init makes one; ENVCTL_IDENTITY_FILE names another"
)

// Ask asks the operator for a passphrase.
type Ask func(prompt string) (secret.Value, error)

// GenerateIdentity writes a new age X25519 identity to path, 0600, under the
// passphrase where that is set and not empty, and returns its public key.
// An existing file is never replaced: Conflict.
func GenerateIdentity(ctx context.Context, path string, passphrase secret.Value) (public string, err error) {
	op := "create identity " + path
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, op, "")
	}
	public = id.Recipient().String()
	plain := "# public key: " + public + "\n" + id.String() + "\n"
	data := []byte(plain)
	if passphrase.Len() > 0 {
		if data, err = protect(plain, passphrase); err != nil {
			return "", fault.Wrap(err, fault.Internal, op, "")
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", classify(err, op, "")
	}
	unlock, err := atomicfile.Lock(ctx, lockFile(path))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	switch _, err := os.Lstat(path); {
	case err == nil:
		return "", fault.New(fault.Conflict, op, "it exists already", "move it away first: without it the stores it opens stay closed")
	case !errors.Is(err, fs.ErrNotExist):
		return "", classify(err, op, "")
	}
	return public, atomicfile.Write(path, data, 0o600)
}

// protect returns an identity file encrypted under a passphrase, as age -p writes it.
func protect(plain string, passphrase secret.Value) ([]byte, error) {
	to, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, to)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, plain); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// NewRecovery makes a recipient named "recovery" and the identity that reads
// for it, which is kept nowhere: the caller shows it once or saves it where told.
func NewRecovery() (Recipient, secret.Value, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return Recipient{}, secret.Value{}, fault.Wrap(err, fault.Internal, "create recovery identity", "")
	}
	return Recipient{Name: "recovery", Key: id.Recipient().String()}, secret.New(id.String()), nil
}

// readIdentities reads an identity file, asking for its passphrase where it
// has one. Errors: NotFound, Denied (mode, passphrase), Invalid.
func readIdentities(path string, ask Ask) ([]age.Identity, error) {
	op := "read identity " + path
	// Unlike the store it may be a link: it is only read, and people keep such
	// files in places of their own.
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, classify(err, op, identityHint)
	}
	info, err := os.Stat(target)
	if err != nil {
		return nil, classify(err, op, identityHint)
	}
	if problem, hint := modeProblem(target, info); info.Mode().IsRegular() && problem != "" {
		return nil, fault.New(fault.Denied, op, problem, hint)
	}
	data, err := atomicfile.Read(target, maxIdentity)
	if err != nil {
		return nil, err
	}
	text := data
	if bytes.HasPrefix(data, []byte(ageHeader)) || bytes.HasPrefix(data, []byte(armor.Header)) {
		if text, err = unprotect(op, path, data, ask); err != nil {
			return nil, err
		}
	}
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// The cause might quote the file.
		return nil, fault.New(fault.Invalid, op, "it holds no age identity", identityHint)
	}
	return ids, nil
}

func unprotect(op, path string, data []byte, ask Ask) ([]byte, error) {
	if ask == nil {
		return nil, fault.New(fault.Denied, op, "it needs a passphrase, and there is no one to ask", "run on a terminal, or name an identity without one in ENVCTL_IDENTITY_FILE")
	}
	passphrase, err := ask("Passphrase of " + path)
	if err != nil {
		return nil, err
	}
	wrong := fault.New(fault.Denied, op, "the passphrase does not open it", "run the command again")
	id, err := age.NewScryptIdentity(passphrase.Reveal())
	if err != nil {
		return nil, wrong // empty
	}
	id.SetMaxWorkFactor(maxWork)
	var in io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	r, err := age.Decrypt(in, id)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, wrong
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, op, "it is damaged", identityHint)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxIdentity))
	if err != nil {
		return nil, fault.New(fault.Invalid, op, "it is damaged", identityHint)
	}
	return plain, nil
}

// publicKey returns the public key of the first X25519 identity, or "".
func publicKey(ids []age.Identity) string {
	for _, id := range ids {
		if x, ok := id.(*age.X25519Identity); ok {
			return x.Recipient().String()
		}
	}
	return ""
}

// lockFile stands beside the file, hidden, under the pattern of IgnorePattern.
func lockFile(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
}

// IgnorePattern returns the line for a .gitignore beside the store file that
// covers its lock and its temporaries.
func IgnorePattern(file string) string { return "." + filepath.Base(file) + ".*" }

func validName(name string) bool {
	return name != "" && len(name) <= 100 && text(name) == name && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
