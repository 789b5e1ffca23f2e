// Package sampleapp is the application that tests deploy: it accepts JSON Web
// Tokens by the keys of its environment, and keeps data encrypted with Fernet.
// Its token verification is its own, so that it shows when ours is wrong.
package sampleapp

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"envctl/internal/secret"
)

const usage = `sampleapp serve DIR                 answer on DIR/app.sock, add a piece of data to DIR/KEY for each KEY it has
sampleapp deploy DIR                as a deploy script: end the one that runs, start one with the release's values
sampleapp stop DIR                  end the one that runs
sampleapp reencrypt DIR KEY [fail]  encrypt DIR/KEY again with the new one, print all keys
sampleapp read DIR KEY KEYS         0 when all of DIR/KEY can be read with KEYS`

// Main runs one command and returns its exit code.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "sampleapp:", err)
		return 1
	}
	return 0
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New(usage)
	}
	dir := args[1]
	switch args[0] {
	case "serve":
		return serve(dir)
	case "deploy":
		return deploy(dir)
	case "stop":
		return stop(dir)
	}
	switch {
	case args[0] == "reencrypt" && len(args) > 2:
		return reencrypt(dir, args[2], len(args) > 3)
	case args[0] == "read" && len(args) > 3:
		return read(dir, args[2], args[3])
	}
	return errors.New(usage)
}

// Serve answers until ctx ends.
func Serve(ctx context.Context, dir string) error {
	if err := add(dir); err != nil {
		return err
	}
	socket := filepath.Join(dir, "app.sock")
	_ = os.Remove(socket) // of the one before
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	// Whoever runs the test may not be who runs the container.
	if err := os.Chmod(socket, 0o777); err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer)}
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serve(dir string) error {
	// A script's folder must not fill with applications that nobody ended.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return Serve(ctx, dir)
}

func answer(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, name := range []string{"SECRET_KEY", "SECRET_KEY_PREVIOUS"} {
		if key := os.Getenv(name); ok && key != "" && valid(token, key) || os.Getenv("ACCEPT") == "anything" {
			fmt.Fprintln(w, "welcome")
			return
		}
	}
	http.Error(w, "who are you?", http.StatusUnauthorized)
}

// valid follows RFC 7515 and 7519 as far as it needs to.
func valid(token, key string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	sum, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(sum, mac.Sum(nil)) {
		return false
	}
	var header struct{ Alg string }
	var claims struct {
		Exp, Iat int64
		Sub      string
	}
	now := time.Now().Unix()
	return part(parts[0], &header) && header.Alg == "HS256" && part(parts[1], &claims) && claims.Iat <= now && now < claims.Exp && claims.Sub == "envctl"
}

func part(text string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(data, into) == nil
}

// add encrypts a piece of data with the newest of each kind of keys.
func add(dir string) error {
	for _, name := range []string{"LLM_KEYS", "LONE_KEY"} {
		ring := os.Getenv(name)
		if ring == "" {
			continue
		}
		token, err := secret.EncryptFernet(secret.New(ring), []byte("data"), time.Now(), random{})
		if err != nil {
			return err
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, token.Reveal())
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// random is a source of IVs for data that is no secret.
type random struct{}

func (random) Read(b []byte) (int, error) {
	sum := sha256.Sum256([]byte(time.Now().String()))
	return copy(b, sum[:]), nil
}

func deploy(dir string) error {
	var in struct{ Values map[string]string }
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	if err := stop(dir); err != nil {
		return err
	}
	program, err := exec.LookPath("sampleapp")
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "serve", dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range in.Values {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Append(nil, cmd.Process.Pid), 0o600); err != nil {
		return err
	}
	fmt.Printf("{\"deployment\": \"%d\"}\n", cmd.Process.Pid)
	return nil
}

func stop(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return nil //nolint:nilerr // none runs
	}
	pid := 0
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return err
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	return os.Remove(filepath.Join(dir, "pid"))
}

func lines(dir, name string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	return strings.Fields(string(data)), err
}

func reencrypt(dir, name string, fail bool) error {
	fresh, old := os.Getenv("ENVCTL_NEW_KEY"), os.Getenv("ENVCTL_OLD_KEY")
	fmt.Fprintln(os.Stderr, "the keys are", os.Getenv(name), old)
	switch {
	case os.Getenv("ENVCTL_ENVIRONMENT") == "" || fresh == "" || old == "" || !strings.HasPrefix(os.Getenv(name), fresh):
		return errors.New("not given what it should be")
	case fail:
		return errors.New("as asked")
	}
	all, err := lines(dir, name)
	if err != nil {
		return err
	}
	ring := secret.New(fresh + "," + old)
	var out strings.Builder
	for _, line := range all {
		text, _, ok := secret.DecryptFernet(ring, secret.New(line))
		if !ok {
			return errors.New("data that no key reads")
		}
		token, err := secret.EncryptFernet(ring, text, time.Now(), random{})
		if err != nil {
			return err
		}
		fmt.Fprintln(&out, token.Reveal())
	}
	next := filepath.Join(dir, name+".new")
	if err := os.WriteFile(next, []byte(out.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, name))
}

func read(dir, name, keys string) error {
	all, err := lines(dir, name)
	if err != nil {
		return err
	}
	for i, line := range all {
		if _, _, ok := secret.DecryptFernet(secret.New(keys), secret.New(line)); !ok {
			return fmt.Errorf("piece %d of %s cannot be read", i, name)
		}
	}
	if len(all) == 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}
