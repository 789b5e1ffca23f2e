package onepassword

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	opTime  = time.Minute     // a person may have to touch a sensor
	opGrace = 2 * time.Second // for pipes that a grandchild keeps open
)

// program is the op command-line program.
type program struct {
	config Config
	path   string
}

// resolve reads the first reference alone, so that a person is asked to unlock
// 1Password once, and the others a few at a time.
func (p *program) resolve(ctx context.Context, refs []Ref) (map[Ref]result, error) {
	out := make(map[Ref]result, len(refs))
	v, err := p.read(ctx, refs[0])
	if whole(err) {
		return nil, err
	}
	out[refs[0]] = result{v, err}

	var lock sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, r := range refs[1:] {
		group.Go(func() error {
			v, err := p.read(ctx, r)
			if whole(err) {
				return err
			}
			lock.Lock()
			defer lock.Unlock()
			out[r] = result{v, err}
			return nil
		})
	}
	return out, group.Wait()
}

func (p *program) read(ctx context.Context, r Ref) (secret.Value, error) {
	caller := ctx
	ctx, cancel := p.config.bounded(ctx, opTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, "read", "--no-newline", r.String())
	// Not OP_CONNECT_*, which would change the route; not OP_FORMAT or OP_DEBUG,
	// which change what is printed.
	cmd.Env = p.config.pass("APPDATA", "DBUS_SESSION_BUS_ADDRESS", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG",
		"LOCALAPPDATA", "NO_PROXY", "OP_ACCOUNT", "OP_BIOMETRIC_UNLOCK_ENABLED", "OP_CACHE", "OP_CONFIG_DIR", "OP_DEVICE",
		"OP_SERVICE_ACCOUNT_TOKEN", "OP_SESSION_*", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "SYSTEMROOT", "TEMP", "TMP",
		"TMPDIR", "USER", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy")
	cmd.WaitDelay = opGrace
	stdout, stderr := &bounded{limit: maxValue}, &bounded{limit: 64 << 10}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	switch {
	case caller.Err() != nil:
		return secret.Value{}, ended(caller, "the op program")
	case ctx.Err() != nil:
		return secret.Value{}, ended(ctx, "the op program")
	case err == nil && stdout.over:
		return secret.Value{}, fault.Newf(fault.Invalid, "", "", "the value is larger than %d bytes", maxValue)
	case err == nil:
		return secret.New(stdout.text.String()), nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return secret.Value{}, fault.Wrap(err, fault.Unavailable, "", "check that op can be run: op --version")
	}
	return secret.Value{}, opRefusal(stderr.text.String(), r)
}

// opRefusal classifies what op says, which is all it gives: its exit status is
// always 1. Its words are not repeated, they come from outside.
func opRefusal(said string, r Ref) error {
	said = strings.ToLower(said)
	// Names must not be taken for words.
	for _, name := range []string{r.String(), r.Vault + "/" + r.Item, r.Vault, r.Item, r.Section, r.Field} {
		if name = strings.ToLower(name); name != "" {
			said = strings.ReplaceAll(said, "'"+name+"'", "''")
			said = strings.ReplaceAll(said, `"`+name+`"`, `""`)
		}
	}
	said = strings.ReplaceAll(said, strings.ToLower(r.Vault+"/"+r.Item)+":", ":")
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(said, w) {
				return true
			}
		}
		return false
	}
	const look = "run op read with this reference by hand to see its own words"
	switch {
	case has("(429)", "rate limit", "too many requests"):
		return rateLimited()
	case has("more than one vault"):
		return several("vault", r.Vault, 0)
	case has("more than one item"):
		return several("item", r.Item, 0)
	case has("more than one field", "multiple fields"):
		return several("field", r.Field, 0)
	case has("isn't a vault", "no vault matched"):
		return missing("vault", r.Vault)
	case has("isn't an item", "no item matched", "item not found"):
		return missing("item", r.Item)
	case has("does not have a section", "doesn't have a section", "isn't a section"):
		return missing("section", r.Section)
	case has("does not have a field", "doesn't have a field", "isn't a field", "field not found"):
		return missing("field", r.Field)
	case has("(401)", "(403)", "unauthorized", "forbidden", "not currently signed in", "not signed in", "no accounts configured",
		"no account found", "authentication required", "session expired", "authorization prompt", "authorization timeout",
		"service account token", "sacredentials", "signin credentials"):
		return fault.New(fault.Denied, "", "op is not signed in, or its token is not accepted", "run op signin, or set OP_SERVICE_ACCOUNT_TOKEN again")
	case has("no such host", "connection refused", "connection reset", "timed out", "i/o timeout", "network is unreachable", "dial tcp"):
		return fault.New(fault.Unavailable, "", "op cannot reach 1Password", "check the network, then try again")
	}
	return fault.New(fault.Unavailable, "", "op ended with an error it does not classify", look)
}

// bounded keeps the first bytes of what is written to it and counts on.
type bounded struct {
	text  bytes.Buffer
	limit int
	over  bool
}

var _ io.Writer = (*bounded)(nil)

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.text.Len(); len(p) > room {
		b.over = true
		b.text.Write(p[:room])
		return len(p), nil
	}
	return b.text.Write(p)
}
