package commands

import (
	"strings"
	"sync"
	"testing"

	"envctl/internal/secret"
)

// A secret is covered wherever the stream is cut.
func TestSecretsInALog(t *testing.T) {
	t.Parallel()
	hide := cover([]secret.Value{secret.New("hunter2"), secret.New("hunter2-and-more"), secret.New("-----BEGIN-----\nTUlJRXZR\n-----END-----\n"), secret.New("x"), secret.New(`a"bcd`)})
	text := "one hunter2 two\nhunter2-and-more\r\nTUlJRXZR\n{\"k\":\"a\\\"bcd\"} a\"bcd x\nthe end is hunter2"
	want := "one [secret] two\n[secret]\r\n[secret]\n{\"k\":\"[secret]\"} [secret] x\nthe end is [secret]\n"
	for size := 1; size <= len(text); size++ {
		var b strings.Builder
		l := &lineWriter{w: &b, out: &sync.Mutex{}, hide: hide}
		for at := 0; at < len(text); at += size {
			part := text[at:min(at+size, len(text))]
			if n, err := l.Write([]byte(part)); err != nil || n != len(part) {
				t.Fatal(n, err)
			}
		}
		if err := l.flush(); err != nil || b.String() != want {
			t.Fatalf("cut at %d: %v\n%q, want\n%q", size, err, b.String(), want)
		}
	}
	var b strings.Builder
	l := &lineWriter{w: &b, out: &sync.Mutex{}, prefix: "web | "}
	for _, part := range []string{"a\nb", "c\n", "d"} {
		if _, err := l.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.flush(); err != nil || b.String() != "web | a\nweb | bc\nweb | d\n" {
		t.Errorf("%v %q", err, b.String())
	}
}
