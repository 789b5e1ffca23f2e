package dokploy

import (
	"net/http"
	"testing"
	"time"

	"envctl/internal/secret"
	"envctl/providers"
)

// Dokploy closes a quiet connection after five seconds; a POST must not meet that.
func TestQuietConnectionsAreGivenUpFirst(t *testing.T) {
	t.Parallel()
	c, err := newClient(Config{URL: "https://h/api", Key: secret.New("k")})
	if err != nil {
		t.Fatal(err)
	}
	transport, ok := c.http.Transport.(*http.Transport)
	if !ok || transport.IdleConnTimeout <= 0 || transport.IdleConnTimeout >= 5*time.Second {
		t.Errorf("%v", transport.IdleConnTimeout)
	}
	req, err := http.NewRequest(http.MethodPost, "https://h/api/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := transport.Proxy(req); p != nil || err != nil {
		t.Error("the process's own proxy settings are used")
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]struct {
		health string
		exit   int
	}{
		"Up 9 seconds": {"", 0}, "Up 2 minutes (healthy)": {"healthy", 0}, "Up 3 seconds (unhealthy)": {"unhealthy", 0},
		"Up Less than a second (health: starting)": {"starting", 0}, "Exited (137) 3 seconds ago": {"", 137}, "Restarting (3) 1 second ago": {"", 3},
	} {
		if c := (listing{Status: status}).container(providers.Service{Name: "web"}); c.Health != want.health || c.ExitCode != want.exit {
			t.Errorf("%q: %+v", status, c)
		}
	}
	for name, want := range map[string]bool{"app-web-1": true, "app-web-12": true, "app-web-": false, "app-web-x-1": false, "app-webs-1": false} {
		if numbered(name, "app-web-") != want {
			t.Error(name)
		}
	}
}
