package postgres

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"envctl/internal/fault"
	"envctl/providers"
	"envctl/providers/internal/dial"
)

// maxMessage bounds what a server may answer.
const maxMessage = 1 << 20

// session is one connection, logged in.
type session struct {
	conn net.Conn
	wire *pgproto3.Frontend
	fail func(op string, err error) error
	end  func()
}

// login connects and logs in as l by SCRAM, which shows the password to nobody and
// proves the server to us. The session must be closed.
func (s *Server) login(ctx context.Context, op string, l providers.Login) (_ *session, err error) {
	ctx, cancel := s.server.Within(ctx)
	conn, err := s.server.Open(ctx, op)
	if err != nil {
		cancel()
		return nil, err
	}
	release := dial.Until(ctx, conn)
	c := &session{
		conn: conn,
		fail: func(op string, err error) error { return s.server.Unreachable(ctx, op, err) },
		end: func() {
			release()
			_ = conn.Close() // all that matters was answered
			cancel()
		},
	}
	defer func() {
		if err != nil {
			c.end()
		}
	}()
	if s.tls {
		if c.conn, err = s.secure(ctx, op, conn); err != nil {
			return nil, err
		}
	}
	c.wire = pgproto3.NewFrontend(c.conn, c.conn)
	c.wire.SetMaxBodyLen(maxMessage)
	c.wire.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": l.Role, "database": s.database, "application_name": "envctl", "client_encoding": "UTF8",
	}})
	if err := c.wire.Flush(); err != nil {
		return nil, c.fail(op, err)
	}
	return c, c.authenticate(op, l)
}

// secure asks for TLS, and takes nothing less.
func (s *Server) secure(ctx context.Context, op string, conn net.Conn) (net.Conn, error) {
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err == nil {
		_, err = conn.Write(request)
	}
	answer := make([]byte, 1)
	if err == nil {
		_, err = conn.Read(answer)
	}
	switch {
	case err != nil:
		return nil, s.server.Unreachable(ctx, op, err)
	case answer[0] != 'S':
		return nil, fault.New(fault.Refused, op, s.server.Address+" speaks no TLS", "switch ssl on in the server's configuration: plain connections are for loopback addresses only")
	}
	return s.server.TLS(ctx, op, conn)
}

func (c *session) authenticate(op string, l providers.Login) error {
	var scram *exchange
	proven := false
	for {
		m, err := c.wire.Receive()
		if err != nil {
			return c.fail(op, err)
		}
		switch m := m.(type) {
		case *pgproto3.AuthenticationSASL:
			if !slices.Contains(m.AuthMechanisms, mechanism) {
				return fault.New(fault.Refused, op, "the server offers no "+mechanism, "")
			}
			var first string
			if scram, first, err = begin(l.Password, rand.Reader); err != nil {
				return fault.Wrap(err, fault.KindOf(err), op, "")
			}
			c.wire.Send(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)})
		case *pgproto3.AuthenticationSASLContinue:
			if scram == nil {
				return fault.New(fault.Refused, op, "the server's answers are out of order", "")
			}
			proof, err := scram.answer(string(m.Data))
			if err != nil {
				return fault.Wrap(err, fault.KindOf(err), op, "")
			}
			c.wire.Send(&pgproto3.SASLResponse{Data: []byte(proof)})
		case *pgproto3.AuthenticationSASLFinal:
			if proven = scram != nil && scram.trusts(string(m.Data)); !proven {
				return fault.New(fault.Refused, op, "the server does not prove that it knows the role", "this is not the server that it should be: check its address")
			}
			continue
		case *pgproto3.AuthenticationOk:
			if !proven {
				return fault.New(fault.Refused, op, "the server lets "+l.Role+" in without a password from here, so a login proves nothing", "ask for scram-sha-256 in the server's pg_hba.conf")
			}
			continue
		case *pgproto3.AuthenticationMD5Password:
			return fault.New(fault.Refused, op, "the server keeps the password of "+l.Role+" as md5, or asks for it so",
				"set password_encryption = 'scram-sha-256' there and give the role its password anew by hand, once")
		case *pgproto3.AuthenticationCleartextPassword:
			return fault.New(fault.Refused, op, "the server asks for the password in clear", "ask for scram-sha-256 in the server's pg_hba.conf")
		case *pgproto3.ReadyForQuery:
			return nil
		case *pgproto3.ErrorResponse:
			return refusal(op, l.Role, m)
		case *pgproto3.ParameterStatus, *pgproto3.BackendKeyData, *pgproto3.NoticeResponse, *pgproto3.NegotiateProtocolVersion:
			continue
		default:
			return fault.New(fault.Refused, op, "the server asks for a login that envctl does not know", "ask for scram-sha-256 in the server's pg_hba.conf")
		}
		if err := c.wire.Flush(); err != nil {
			return c.fail(op, err)
		}
	}
}

// query runs one statement and returns its rows as text.
func (c *session) query(op, statement string) ([][]string, error) {
	c.wire.SendQuery(&pgproto3.Query{String: statement})
	if err := c.wire.Flush(); err != nil {
		return nil, c.fail(op, err)
	}
	var rows [][]string
	var failed error
	for {
		m, err := c.wire.Receive()
		if err != nil {
			if failed != nil {
				return nil, failed
			}
			return nil, c.fail(op, err)
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			row := make([]string, len(m.Values))
			for i, v := range m.Values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		case *pgproto3.ErrorResponse:
			failed = refusal(op, "", m)
		case *pgproto3.ReadyForQuery:
			return rows, failed
		}
	}
}

// farewell is how long a server may take to end a session.
const farewell = 3 * time.Second

// close says good-bye, and waits until the server hung up: from then on it counts
// the session no longer, and whoever asks next whether a role is in use is not told
// of a login that only proved a password.
func (c *session) close() {
	c.wire.Send(&pgproto3.Terminate{})
	if c.wire.Flush() == nil { // else the server is gone
		late := time.AfterFunc(farewell, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
		_, _ = io.Copy(io.Discard, io.LimitReader(c.conn, maxMessage))
		late.Stop()
	}
	c.end()
}

// refusal turns an error of the server into a kind. Its words may repeat a part of
// a statement, so those about statements are left out.
func refusal(op, role string, e *pgproto3.ErrorResponse) error {
	said := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, e.Message)
	if len(said) > 200 || strings.Contains(said, mechanism) || strings.HasPrefix(e.Code, "42") && e.Code != "42501" && e.Code != "42704" {
		said = "an error"
	}
	said += " (" + e.Code + ")"
	switch e.Code {
	case "28P01":
		return fault.New(fault.Denied, op, "the server refuses the password of "+role, "")
	case "28000":
		return fault.New(fault.Refused, op, "the server's rules keep "+role+" out: "+said, "look at pg_hba.conf and at the role's LOGIN on the server")
	case "42501":
		return fault.New(fault.Denied, op, said, "give the administrator of your config.yaml the right to change roles (CREATEROLE)")
	case "42704":
		return fault.New(fault.NotFound, op, said, "")
	case "3D000":
		return fault.New(fault.NotFound, op, said, "name a database of the server in its url, in your config.yaml")
	}
	return fault.New(fault.Unavailable, op, "the server answers "+said, "look at the server's log, then run the command again")
}
