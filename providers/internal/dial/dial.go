// Package dial reaches a database server at an address of the operator's: plain
// on loopback, elsewhere only by TLS that proves the server's name.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// Timeout is how long one conversation with a server may take.
const Timeout = 10 * time.Second

// Config says where a server is and who administers it.
type Config struct {
	URL      string // SCHEME://ADMIN@host:port; without ADMIN, a role acts for itself
	Password secret.Value
	CACert   string        // a PEM file, "" for the system's own
	Timeout  time.Duration // 0: Timeout
	// Resolve turns an op:// reference into its value.
	Resolve func(ctx context.Context, ref string) (secret.Value, error)
}

// Server is where a database server is, and its administrator.
type Server struct {
	Config
	URL     *url.URL
	Address string // host:port
	Admin   string // "" for none
}

// Parse reads an address of one of the schemes. The password stands beside it:
// an address is shown.
func Parse(op string, c Config, schemes []string, port string) (Server, error) {
	address, hint := c.URL, "write databases: {PROJECT/ENVIRONMENT/COMPONENT: {url: \""+schemes[0]+"://ADMIN@HOST:"+port+"\", password: \"op://…\"}} in your config.yaml"
	u, err := url.Parse(address)
	if err != nil { // its text would repeat what may hold a password
		return Server{}, fault.New(fault.Usage, op, "the server's address is not an address", hint)
	}
	known := false
	for _, s := range schemes {
		known = known || u.Scheme == s
	}
	if !known || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return Server{}, fault.Newf(fault.Usage, op, hint, "the server's address is not of the form %s://host:port", schemes[0])
	}
	if _, has := u.User.Password(); has {
		return Server{}, fault.New(fault.Refused, op, "the server's address holds a password", "take it out of the address: password: \"op://…\" stands beside url")
	}
	s := Server{Config: c, URL: u, Admin: u.User.Username(), Address: net.JoinHostPort(u.Hostname(), port)}
	if p := u.Port(); p != "" {
		s.Address = net.JoinHostPort(u.Hostname(), p)
	}
	return s, nil
}

// Loopback tells whether the server is on this machine.
func (s Server) Loopback() bool {
	host := s.URL.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Secret returns the administrator's password, resolved.
func (s Server) Secret(ctx context.Context, op string) (secret.Value, error) {
	ref := s.Password.Reveal()
	if !strings.HasPrefix(ref, "op://") {
		if ref == "" {
			return s.Password, fault.New(fault.Denied, op, "there is no password for the administrator "+s.Admin, "set ENVCTL_DATABASE_PASSWORD, or password: \"op://…\" beside url in your config.yaml")
		}
		return s.Password, nil
	}
	if s.Resolve == nil {
		return secret.Value{}, fault.New(fault.Usage, op, "the administrator's password is an op:// reference, which nothing here can resolve", "run envctl doctor")
	}
	got, err := s.Resolve(ctx, ref)
	return got, fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
}

// As logs in as someone who may change roles: as, or the administrator where that is
// nobody. hint is what to do where there is no administrator.
func As[C any](ctx context.Context, s Server, op string, as providers.Login, hint string, login func(context.Context, string, providers.Login) (C, error)) (C, error) {
	var none C
	if as.Role != "" {
		return login(ctx, op, as)
	}
	if s.Admin == "" {
		return none, fault.New(fault.Refused, op, "no administrator is configured", hint)
	}
	password, err := s.Secret(ctx, op)
	if err != nil {
		return none, err
	}
	c, err := login(ctx, op, providers.Login{Role: s.Admin, Password: password})
	if fault.Is(err, fault.Denied) {
		err = fault.New(fault.Denied, op, "the server refuses the administrator's password ("+s.Admin+")", "put the right one beside url in your config.yaml, or into ENVCTL_DATABASE_PASSWORD")
	}
	return c, err
}

// Within gives a conversation its time.
func (s Server) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.Timeout
	if limit <= 0 {
		limit = Timeout
	}
	return context.WithTimeout(ctx, limit)
}

// Open connects, in plain text; the connection ends with ctx.
func (s Server) Open(ctx context.Context, op string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return nil, s.Unreachable(ctx, op, err)
	}
	return conn, nil
}

// TLS proves the server's name on an open connection.
func (s Server) TLS(ctx context.Context, op string, conn net.Conn) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.URL.Hostname()}
	if s.CACert != "" {
		pem, err := os.ReadFile(s.CACert)
		if err != nil {
			return nil, fault.New(fault.Usage, op, "cannot read the certificates in "+s.CACert, "name a PEM file in ca_cert")
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Usage, op, s.CACert+" holds no certificate", "name a PEM file in ca_cert")
		}
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		var unknown x509.UnknownAuthorityError
		var name x509.HostnameError
		if errors.As(err, &unknown) || errors.As(err, &name) {
			return nil, fault.Wrap(err, fault.Refused, op+": "+s.Address+" does not prove that it is "+s.URL.Hostname(), "name its authority with ca_cert in your config.yaml")
		}
		return nil, s.Unreachable(ctx, op, err)
	}
	return secured, nil
}

// Until lets a connection end with ctx, also while it is read; the function
// returned gives it back.
func Until(ctx context.Context, conn net.Conn) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // a closed one needs none
}

// Unreachable says why there is no answer.
func (s Server) Unreachable(ctx context.Context, op string, err error) error {
	const hint = "check that the server runs and that its address in your config.yaml is right"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.Interrupted, op, "stopped while asking "+s.Address, "")
	case ctx.Err() != nil:
		return fault.New(fault.Unavailable, op, s.Address+" did not answer in time", hint)
	}
	var op1 *net.OpError
	if errors.As(err, &op1) {
		err = op1.Err // without the addresses, which are named
	}
	return fault.Wrap(err, fault.Unavailable, op+": reach "+s.Address, hint)
}
