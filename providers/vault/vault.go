// Package vault keeps values in HashiCorp Vault or OpenBao: KV version 2 over
// its HTTP API, one request at a time and never a write sent twice unread.
package vault

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// DefaultTimeout bounds an operation where Config.Timeout is zero.
const DefaultTimeout = 10 * time.Second

// Resolver turns a reference such as op://vault/item/field into its value.
type Resolver func(ctx context.Context, ref string) (secret.Value, error)

// Config says where a server is and who asks. Nothing else is consulted: no
// environment variable, no file that is not named here. At most one credential
// is used, the first that is given in the order Token, RoleID with SecretID,
// TokenHelper, TokenFile.
type Config struct {
	Address   string // https://host:port, or http:// to a loopback address
	Namespace string
	Mount     string // of the KV v2 engine; "" is "secret"

	Token        secret.Value // a token, or a reference for Resolve
	TokenSource  string       // where Token came from, for Describe
	RoleID       secret.Value // AppRole: logged in when first needed
	SecretID     secret.Value
	AppRoleMount string // "" is "approle"
	TokenHelper  string // absolute path of a program that prints a token when asked to "get"
	TokenFile    string // a file that holds a token; it may be missing

	CACert, CAPath, ClientCert, ClientKey, TLSServerName string
	SkipVerify                                           bool // of the server's certificate; the caller warns
	Proxy                                                func(*url.URL) (*url.URL, error)

	// Policies lets the store read and write policies, for administrative commands
	// alone: without it no such request can leave.
	Policies bool

	// Timeout bounds each operation as a whole, with its retries and look-ups
	// afterwards (each request, where an operation lists); 0 is DefaultTimeout.
	Timeout time.Duration
	// Resolve is asked for credentials that begin with "op://", when they are
	// first needed.
	Resolve Resolver
}

// References returns the references among the credentials, so that a caller
// can resolve all of a run's together.
func (c Config) References() []string {
	var refs []string
	for _, v := range []secret.Value{c.Token, c.RoleID, c.SecretID} {
		if isReference(v) {
			refs = append(refs, v.Reveal())
		}
	}
	return refs
}

func isReference(v secret.Value) bool { return strings.HasPrefix(v.Reveal(), "op://") }

// Store is a KV v2 engine. It connects, and looks for a credential, when first
// used. Methods are safe for concurrent use.
type Store struct {
	cfg     Config
	base    *url.URL
	gate    *gate
	connect func() (*api.Client, error)
	login   chan struct{} // held by whoever is obtaining a token
	proven  atomic.Bool   // an answer in this process showed that the mount is KV v2
	seen    sync.Map      // naming.Path → providers.Version: the newest that was read or written here
}

var (
	_ providers.Store     = (*Store)(nil)
	_ providers.Lifecycle = (*Store)(nil)
	_ providers.Metadata  = (*Store)(nil)
	_ providers.Shared    = (*Store)(nil)
)

// Open checks cfg and returns its store; nothing is read or sent. Kinds: Usage
// (no address, a malformed one, a mount that cannot be), Refused (plain http to
// another machine).
func Open(cfg Config) (*Store, error) {
	const op = "open vault"
	base, err := parseAddress(op, cfg.Address)
	if err != nil {
		return nil, err
	}
	if cfg.Mount == "" {
		cfg.Mount = "secret"
	}
	cfg.Mount = strings.Trim(cfg.Mount, "/")
	if cfg.AppRoleMount == "" {
		cfg.AppRoleMount = "approle"
	}
	for _, m := range []string{cfg.Mount, cfg.AppRoleMount} {
		parts := strings.Split(m, "/")
		if slices.Contains([]string{"auth", "cubbyhole", "identity", "sys"}, parts[0]) ||
			slices.ContainsFunc(parts, func(s string) bool {
				return s == "" || strings.Contains(".-", s[:1]) || strings.TrimLeft(s, unescaped) != ""
			}) {
			return nil, fault.Newf(fault.Usage, op, "correct vault.mount in envctl.yaml", "%q cannot be a mount", m)
		}
	}
	if strings.ContainsFunc(cfg.Namespace, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fault.Newf(fault.Usage, op, "correct VAULT_NAMESPACE", "%q cannot be a namespace", cfg.Namespace)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	s := &Store{cfg: cfg, base: base, login: make(chan struct{}, 1)}
	s.gate = &gate{base: base, allowed: s.allowed, readable: s.readable, next: newTransport(cfg)}
	s.connect = sync.OnceValues(s.newClient)
	return s, nil
}

func parseAddress(op, address string) (*url.URL, error) {
	if address == "" {
		return nil, fault.New(fault.Usage, op, "the server's address is not set",
			"set VAULT_ADDR, for example: export VAULT_ADDR=https://vault.example.com:8200")
	}
	const hint = "set VAULT_ADDR to https://host:port"
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		// The address is not repeated: it may hold a password.
		return nil, fault.New(fault.Usage, op, "the address is not of the form https://host:port", hint)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if u.Path != "" && path.Clean(u.Path) != u.Path {
		return nil, fault.Newf(fault.Usage, op, hint, "the address's path %q is not clean", u.Path)
	}
	if !secure(u) {
		return nil, fault.Newf(fault.Refused, op, hint, "%s: plain http is for loopback addresses only", u.Redacted())
	}
	return u, nil
}

// Close lets the connection go; the store may be used again.
func (s *Store) Close() { s.gate.next.CloseIdleConnections() }

// Shared says that others use the server too.
func (s *Store) Shared() {}

// Describe names the server and the credential that is used.
func (s *Store) Describe() string {
	d := "vault " + s.base.String()
	if s.cfg.Namespace != "" {
		d += " namespace " + s.cfg.Namespace
	}
	return d + " (" + s.credential() + ")"
}

// credential names the credential in words.
func (s *Store) credential() string {
	switch c := s.cfg; {
	case c.Token.IsSet() && c.TokenSource != "":
		return "token from " + c.TokenSource
	case c.Token.IsSet():
		return "a token"
	case c.RoleID.IsSet():
		return "AppRole at " + c.AppRoleMount
	case c.TokenHelper != "":
		return "token from the helper " + c.TokenHelper
	case c.TokenFile != "":
		return "token from " + c.TokenFile
	}
	return "no token"
}

// data, metadata: API paths of p, without the leading /v1/.
func (s *Store) data(p naming.Path) string     { return s.cfg.Mount + "/data/" + p.String() }
func (s *Store) metadata(p naming.Path) string { return s.cfg.Mount + "/metadata/" + p.String() }

// ghost is the API path of p's ghost: it is only ever read.
func (s *Store) ghost(p naming.Path) string { return s.cfg.Mount + ghosts + p.String() }

const ghosts = "/data/data/"

// check refuses what cannot be a path, before anything is sent. A project
// called data is the ghost that "kv put secret/data/…" leaves behind.
func check(op string, p naming.Path) error {
	if err := p.Check(); err != nil {
		return fault.Wrap(err, fault.Usage, op, "run envctl env list to see the names there are")
	}
	return notGhost(op, p)
}

func notGhost(op string, p naming.Path) error {
	if p.Project == "data" {
		return fault.New(fault.Refused, op, "a project cannot be called data: data/ belongs to the API's own paths",
			"name the path as project/environment/component")
	}
	return nil
}

// within bounds one operation by the configured timeout.
func (s *Store) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// share bounds one step by half of the time left, so that what may have to
// follow it (finding out what became of a write) has time too.
func share(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// see remembers the newest version of p as this process knows it.
func (s *Store) see(p naming.Path, v providers.Version) {
	if v <= 0 {
		s.seen.Delete(p)
		return
	}
	s.seen.Store(p, v)
}

func (s *Store) lastSeen(p naming.Path) (providers.Version, bool) {
	v, ok := s.seen.Load(p)
	if !ok {
		return 0, false
	}
	n, ok := v.(providers.Version)
	return n, ok
}
