package postgres_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/postgres"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, words := range map[string]string{
		"postgres://admin@127.0.0.1:5432/app":                     "",
		"postgresql://localhost":                                  "",
		"postgres://[::1]:5433/app?sslmode=disable":               "",
		"postgres://admin@db.example.com/app":                     "",
		"postgres://admin@db.example.com/app?sslmode=verify-full": "",
		"postgres://admin:canary@127.0.0.1/app":                   "holds a password",
		"postgres://db.example.com/app?sslmode=disable":           "proves the server's name",
		"postgres://db.example.com/app?sslmode=require":           "proves the server's name",
		"postgres://db.example.com/app?sslrootcert=/x":            "not understood",
		"https://db.example.com":                                  "not of the form",
		"postgres:///app":                                         "not of the form",
		"postgres://canary\x7f":                                   "not an address",
		"":                                                        "not of the form",
	} {
		_, err := postgres.Open(postgres.Config{URL: address})
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: %v, want %q", address, err, words)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: its password stands in the error", address)
		}
	}
}

// TLS proves the server's name, and nothing less is taken.
func TestTLS(t *testing.T) {
	t.Parallel()
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS() // for its certificate of 127.0.0.1
	certificates.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificates.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer, ca, words string
		kind              fault.Kind
	}{
		"none":              {"N", file, "speaks no TLS", fault.Refused},
		"an unknown issuer": {"S", "", "does not prove", fault.Refused},
		"proven":            {"S", file, "rules keep app out", fault.Refused}, // the answer inside
		"garbage":           {"HTTP/1.1 400", file, "speaks no TLS", fault.Refused},
		"silence":           {"", file, "reach", fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, c.answer)
				if c.answer != "S" {
					return
				}
				inside := tls.Server(conn, certificates.TLS)
				if _, err := inside.Read(make([]byte, 1000)); err == nil {
					_, _ = io.WriteString(inside, "E\x00\x00\x00\x14SFATAL\x00C28000\x00\x00\x00")
				}
				_, _ = io.Copy(io.Discard, inside)
			}()
			s, err := postgres.Open(postgres.Config{URL: "postgres://" + l.Addr().String() + "/x?sslmode=verify-full", CACert: c.ca})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Login(context.Background(), providers.Login{Role: "app", Password: secret.New("canary")})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Fatal(err)
			}
		})
	}
}
