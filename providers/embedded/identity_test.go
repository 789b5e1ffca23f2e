package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

func TestIdentityFile(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	set(t, created(t, c), providers.Absent, "K", "v")
	id := slurp(t, c.Identity)
	_, err := embedded.GenerateIdentity(t.Context(), c.Identity, secret.Value{})
	fails(t, "generate over it", err, fault.Conflict)
	if !bytes.Equal(slurp(t, c.Identity), id) {
		t.Error("the identity was replaced")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o666} {
		must(t, os.Chmod(c.Identity, mode))
		err := read(embedded.Open(c))
		fails(t, "an open identity", err, fault.Denied)
		if want := "chmod 600 " + c.Identity; fault.HintOf(err) != want {
			t.Errorf("the hint is %q, want %q", fault.HintOf(err), want)
		}
	}
	must(t, os.Chmod(c.Identity, 0o400))
	must(t, read(embedded.Open(c)))
	must(t, os.Chmod(c.Identity, 0o600))
	for _, bad := range []string{"", "# only a comment\n", "AGE-SECRET-KEY-1BROKEN\n", string(id) + "canary-line\n"} {
		must(t, os.WriteFile(c.Identity, []byte(bad), 0o600))
		err := read(embedded.Open(c))
		fails(t, "a broken identity", err, fault.Invalid)
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "BROKEN") {
			t.Errorf("the error quotes the file: %v", err)
		}
	}
	must(t, os.Remove(c.Identity))
	fails(t, "no identity", read(embedded.Open(c)), fault.WrongIdentity)
	must(t, os.Symlink(filepath.Join(t.TempDir(), "x"), c.Identity))
	fails(t, "a dangling link", read(embedded.Open(c)), fault.WrongIdentity)
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	must(t, os.Remove(c.Identity))
	if _, err := embedded.GenerateIdentity(t.Context(), c.Identity, secret.New("correct horse")); err != nil {
		t.Fatal(err)
	}
	if b := slurp(t, c.Identity); bytes.Contains(b, []byte("SECRET-KEY")) {
		t.Error("the identity stands in clear")
	}
	asked, answer := 0, "correct horse"
	c.Passphrase = func(string) (secret.Value, error) { asked++; return secret.New(answer), nil }
	s := created(t, c)
	set(t, s, providers.Absent, "K", "v")
	if got := get(t, s, "K"); got != "v" || asked != 1 {
		t.Errorf("read %q after asking %d times", got, asked)
	}
	answer = "wrong"
	fails(t, "wrong passphrase", read(embedded.Open(c)), fault.Denied)
	answer = ""
	fails(t, "empty passphrase", read(embedded.Open(c)), fault.Denied)
	stop := errors.New("interrupted at the prompt")
	c.Passphrase = func(string) (secret.Value, error) { return secret.Value{}, stop }
	if err := read(embedded.Open(c)); !errors.Is(err, stop) {
		t.Errorf("no answer: %v", err)
	}
	c.Passphrase = nil
	fails(t, "no one to ask", read(embedded.Open(c)), fault.Denied)
}
