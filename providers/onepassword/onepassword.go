// Package onepassword turns op:// references into values: all of a run's at
// once, by the first of Connect, the op program and the SDK that is there.
package onepassword

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// HelperName is the program that holds the SDK. Linked into envctl itself the
// SDK would double the cost of every start, and a started one cannot be
// stopped; a process can.
const HelperName = "envctl-op"

// Config says how 1Password can be reached; nothing is read from elsewhere.
type Config struct {
	// Environ is the operator's environment as os.Environ returns it. The op
	// program gets what it needs of it: its session, its proxy, its folders.
	Environ []string

	ConnectHost         string // OP_CONNECT_HOST
	ConnectToken        secret.Value
	ServiceAccountToken secret.Value

	OpProgram string // "": op in the absolute folders of Environ's PATH
	Helper    string // path of envctl-op, "" where there is none (see HelperBeside)

	// Timeout bounds the whole work of a route; 0: 10 s for a request to Connect
	// and a minute for the op program, which may ask a person, and for the SDK.
	Timeout time.Duration
	// Transport carries the requests to Connect; nil: a plain one without a proxy.
	Transport http.RoundTripper
	// Progress is told, in words for a person, when something slow begins; it may
	// be nil, and is called from another goroutine.
	Progress func(message string)
	// Version of envctl, told to 1Password by the SDK.
	Version string
}

// FromEnviron returns a Config with what 1Password's own programs read from
// the environment: OP_CONNECT_HOST, OP_CONNECT_TOKEN, OP_SERVICE_ACCOUNT_TOKEN.
func FromEnviron(environ []string) Config {
	c := Config{Environ: environ, ConnectHost: lookup(environ, "OP_CONNECT_HOST")}
	if t := lookup(environ, "OP_CONNECT_TOKEN"); t != "" {
		c.ConnectToken = secret.New(t)
	}
	if t := lookup(environ, "OP_SERVICE_ACCOUNT_TOKEN"); t != "" {
		c.ServiceAccountToken = secret.New(t)
	}
	return c
}

// HelperBeside returns the path of envctl-op in the folder of executable,
// which should have its symbolic links resolved, or "".
func HelperBeside(executable string) string {
	name := HelperName
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if path := filepath.Join(filepath.Dir(executable), name); isProgram(path) {
		return path
	}
	return ""
}

// Resolver resolves references once per process. It is safe for concurrent use.
type Resolver struct {
	config Config
	turn   chan struct{} // held while resolving and while touching known
	known  map[Ref]secret.Value
}

// New returns a Resolver; nothing is opened or started.
func New(c Config) *Resolver {
	return &Resolver{config: c, turn: make(chan struct{}, 1), known: map[Ref]secret.Value{}}
}

type result struct {
	value secret.Value
	err   error // a *fault.Error without Op
}

// route resolves references; its error is a failure of them all.
type route interface {
	resolve(ctx context.Context, refs []Ref) (map[Ref]result, error)
}

// Route returns which route will be used (connect, op or sdk, "" for none) and
// why, without touching the network or starting anything.
func (r *Resolver) Route() (name, why string) {
	name, why, _ = r.choose()
	return name, why
}

func (r *Resolver) choose() (name, why string, by route) {
	c := r.config
	var not []string
	host, token := c.ConnectHost != "", isSet(c.ConnectToken)
	switch {
	case host && token:
		return "connect", "OP_CONNECT_HOST and OP_CONNECT_TOKEN are set", &connect{config: c}
	case host:
		not = append(not, "OP_CONNECT_HOST is set but OP_CONNECT_TOKEN is not")
	case token:
		not = append(not, "OP_CONNECT_TOKEN is set but OP_CONNECT_HOST is not")
	default:
		not = append(not, "OP_CONNECT_HOST is not set")
	}
	if path := c.opProgram(); path != "" {
		return "op", strings.Join(append(not, "the op program is "+path), "; "), &program{config: c, path: path}
	}
	not = append(not, "op is not on PATH")
	switch {
	case !isSet(c.ServiceAccountToken):
		not = append(not, "OP_SERVICE_ACCOUNT_TOKEN is not set")
	case c.Helper == "":
		not = append(not, "OP_SERVICE_ACCOUNT_TOKEN is set but the program "+HelperName+" is not beside envctl")
	default:
		why := strings.Join(append(not, "OP_SERVICE_ACCOUNT_TOKEN is set; the SDK takes 4 to 13 seconds to start"), "; ")
		return "sdk", why, &helper{config: c}
	}
	return "", strings.Join(not, "; "), nil
}

// Resolve returns the value of one reference; gather them and call ResolveAll
// where there are several.
func (r *Resolver) Resolve(ctx context.Context, ref string) (secret.Value, error) {
	values, err := r.ResolveAll(ctx, []string{ref})
	return values[ref], err
}

// ResolveAll returns the values of refs, keyed as they were given. A value once
// resolved is not asked for again, except one-time passwords. Where some could
// be resolved and others not, both the map and the error are set: the error
// names every reference that failed and has the kind of the first. Kinds: Invalid
// (malformed, or several things match), NotFound, Denied, Unavailable (also
// rate limited), Refused (Connect over plain http to another host).
func (r *Resolver) ResolveAll(ctx context.Context, refs []string) (map[string]secret.Value, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	parsed := make(map[string]Ref, len(refs))
	for _, s := range refs {
		ref, err := ParseRef(s)
		if err != nil {
			return nil, err
		}
		parsed[s] = ref
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), "resolve "+list(refs), "")
	}

	var want []Ref
	seen := map[Ref]bool{}
	for _, s := range refs {
		if ref := parsed[s]; !seen[ref] && !r.known[ref].IsSet() {
			seen[ref] = true
			want = append(want, ref)
		}
	}
	got := map[Ref]result{}
	if len(want) > 0 {
		_, why, by := r.choose()
		if by == nil {
			return nil, fault.New(fault.Unavailable, "resolve "+list(refs), "no way to reach 1Password: "+why,
				"set OP_CONNECT_HOST and OP_CONNECT_TOKEN, install the op program, or run envctl inside op run -- …")
		}
		var err error
		if got, err = by.resolve(ctx, want); err != nil {
			return nil, inOp(err, "resolve "+list(refs))
		}
	}

	values := make(map[string]secret.Value, len(refs))
	var failures []error
	for _, s := range refs {
		ref := parsed[s]
		v, known := r.known[ref]
		if !known {
			answer, answered := got[ref]
			switch {
			case !answered:
				failures = append(failures, fault.New(fault.Internal, "resolve "+ref.String(), "no answer", ""))
				continue
			case answer.err != nil:
				failures = append(failures, inOp(answer.err, "resolve "+ref.String()))
				continue
			}
			v = answer.value
			if ref.Attribute != otp {
				r.known[ref] = v
			}
		}
		values[s] = v
	}
	return values, oneOf(failures)
}

// oneOf makes one error of several: the first one's kind and hint, every one's words.
func oneOf(errs []error) error {
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	var words []string
	for _, err := range errs {
		words = append(words, err.Error())
	}
	return fault.New(fault.KindOf(errs[0]), "", strings.Join(words, "; "), fault.HintOf(errs[0]))
}

// inOp says what was being done when err happened.
func inOp(err error, op string) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Op == "" {
		named := *f
		named.Op = op
		return &named
	}
	return fault.Wrap(err, fault.KindOf(err), op, "")
}

// ended turns the end of a context into words and a kind; nil while it lives.
func ended(ctx context.Context, what string) error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "", what+" did not answer in time", "try again with a longer --timeout")
	case err != nil:
		return fault.Wrap(err, fault.KindOf(err), "", "")
	}
	return nil
}

func (c Config) bounded(ctx context.Context, otherwise time.Duration) (context.Context, context.CancelFunc) {
	if c.Timeout > 0 {
		otherwise = c.Timeout
	}
	return context.WithTimeout(ctx, otherwise)
}

func (c Config) progress(message string) {
	if c.Progress != nil {
		c.Progress(message)
	}
}

func (c Config) opProgram() string {
	if c.OpProgram != "" {
		return c.OpProgram
	}
	name := "op"
	if runtime.GOOS == "windows" {
		name = "op.exe"
	}
	// Absolute folders only: a PATH with "." would run a program of the repository.
	for _, dir := range filepath.SplitList(lookup(c.Environ, "PATH")) {
		if path := filepath.Join(dir, name); filepath.IsAbs(dir) && isProgram(path) {
			return path
		}
	}
	return ""
}

// pass returns the named variables of the environment that are set; a name
// that ends with * stands for all that begin so.
func (c Config) pass(names ...string) []string {
	out := []string{}
	for _, entry := range c.Environ {
		name, _, _ := strings.Cut(entry, "=")
		for _, want := range names {
			prefix, many := strings.CutSuffix(want, "*")
			if name == want || many && strings.HasPrefix(name, prefix) {
				out = append(out, entry)
				break
			}
		}
	}
	return out
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode().Perm()&0o111 != 0)
}

func isSet(v secret.Value) bool { return v.Len() > 0 }

func lookup(environ []string, name string) string {
	value := ""
	for _, entry := range environ {
		if n, v, ok := strings.Cut(entry, "="); ok && n == name {
			value = v
		}
	}
	return value
}

func list(refs []string) string {
	if len(refs) > 3 {
		return strings.Join(refs[:3], ", ") + ", …"
	}
	return strings.Join(refs, ", ")
}
