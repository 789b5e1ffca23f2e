package redis

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, words := range map[string]string{
		"redis://admin@127.0.0.1:6379":     "",
		"redis://localhost/0":              "",
		"rediss://cache.example.com":       "",
		"redis://cache.example.com":        "rediss",
		"redis://:canary@127.0.0.1":        "holds a password",
		"redis://127.0.0.1/0?timeout=3":    "more than host and port",
		"redis://127.0.0.1/some/where":     "more than host and port",
		"http://127.0.0.1":                 "not of the form",
		"unix:///var/run/redis/redis.sock": "not of the form",
	} {
		_, err := Open(Config{URL: address})
		said := ""
		if err != nil {
			said = err.Error() + fault.HintOf(err)
		}
		if (words == "") != (err == nil) || !strings.Contains(said, words) || strings.Contains(said, "canary") {
			t.Errorf("%s: %v, want %q", address, err, words)
		}
	}
}

// serve answers one connection with these lines, whatever it is asked.
func serve(t *testing.T, answers ...string) *Server {
	t.Helper()
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
		buf := make([]byte, 4096)
		for _, a := range answers {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			_, _ = io.WriteString(conn, a)
		}
	}()
	s, err := Open(Config{URL: "redis://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOddServers(t *testing.T) {
	t.Parallel()
	const no = "-WRONGPASS invalid username-password pair\r\n"
	for name, c := range map[string]struct {
		answers []string
		kind    fault.Kind
		words   string
	}{
		"before version 6":                    {[]string{"-ERR wrong number of arguments for 'auth' command\r\n"}, fault.Refused, "came with Redis 6"},
		"takes anything":                      {[]string{"+OK\r\n"}, fault.Refused, "any password"},
		"garbage":                             {[]string{"HTTP/1.1 400 Bad Request\r\n"}, fault.Unavailable, "no Redis"},
		"silence":                             {nil, fault.Unavailable, ""},
		"a huge answer":                       {[]string{"$99999999999\r\n"}, fault.Unavailable, "no Redis"},
		"loading":                             {[]string{"-LOADING Redis is loading\r\n"}, fault.Unavailable, "LOADING"},
		"wrong":                               {[]string{no, no}, fault.Denied, "refuses the password"},
		"an error that repeats what was sent": {[]string{no, "-ERR bad canary here\r\n"}, fault.Refused, "ERR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := serve(t, c.answers...).Login(context.Background(), providers.Login{Role: "app", Password: secret.New("canary")})
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "canary") {
				t.Fatal(err)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "-ERR x\r\n", ":12\r\n", "$3\r\nabc\r\n", "*2\r\n$1\r\na\r\n*0\r\n", "$-1\r\n", "*-1\r\n", strings.Repeat("*1\r\n", 20)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &conn{in: bufio.NewReader(strings.NewReader(string(data)))}
		if v, err := c.read(0); err == nil {
			switch v.(type) {
			case nil, string, int64, refusal, []any:
			default:
				t.Errorf("%T", v)
			}
		}
	})
}
