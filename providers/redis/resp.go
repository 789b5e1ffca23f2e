package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"envctl/providers/internal/dial"
)

const (
	maxText  = 1 << 20
	maxItems = 1 << 16
	maxDepth = 8
)

// refusal is an error that the server answered with: its first word is a code.
type refusal string

// Error returns the code alone: the rest may repeat what was sent.
func (r refusal) Error() string { return "the server answers " + r.code() }

func (r refusal) code() string {
	code, _, _ := strings.Cut(string(r), " ")
	if len(code) > 20 || strings.ContainsFunc(code, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return "an error"
	}
	return code
}

func (r refusal) says(words string) bool {
	return strings.Contains(strings.ToLower(string(r)), words)
}

// conn speaks RESP2, the protocol that every Redis speaks before it is asked for
// another: a list of texts goes out, one answer comes back.
type conn struct {
	net.Conn
	in  *bufio.Reader
	end func()
}

func (s *Server) open(ctx context.Context, op string) (*conn, error) {
	ctx, cancel := s.server.Within(ctx)
	c, err := s.server.Open(ctx, op)
	if err != nil {
		cancel()
		return nil, err
	}
	release := dial.Until(ctx, c)
	end := func() {
		release()
		_ = c.Close() // all that matters was answered
		cancel()
	}
	if s.tls {
		secured, err := s.server.TLS(ctx, op, c)
		if err != nil {
			end()
			return nil, err
		}
		c = secured
	}
	return &conn{Conn: c, in: bufio.NewReader(c), end: end}, nil
}

// ask sends a command. Its answer is a string, an int64, nil, or a []any of
// these; one that the server refuses is a refusal.
func (c *conn) ask(words ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c.Conn, b.String()); err != nil {
		return nil, err
	}
	answer, err := c.read(0)
	if err != nil {
		return nil, err
	}
	if no, ok := answer.(refusal); ok {
		return nil, no
	}
	return answer, nil
}

var errGarbage = errors.New("it answers what no Redis answers")

func (c *conn) read(depth int) (any, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" || depth > maxDepth {
		return nil, errGarbage
	}
	kind, text := text[0], text[1:]
	switch kind {
	case '+':
		return text, nil
	case '-':
		return refusal(text), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return nil, errGarbage
	case kind == ':':
		return n, nil
	case kind != '$' && kind != '*', kind == '$' && n > maxText, kind == '*' && n > maxItems:
		return nil, errGarbage
	case n < 0:
		return nil, nil //nolint:nilnil // the protocol's nothing
	case kind == '$':
		data := make([]byte, n+2)
		if _, err := io.ReadFull(c.in, data); err != nil {
			return nil, err
		}
		return string(data[:n]), nil
	}
	items := []any{}
	for range n {
		item, err := c.read(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}
