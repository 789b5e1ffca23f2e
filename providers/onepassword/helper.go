package onepassword

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/onepassword/internal/wire"
)

const (
	helperTime  = time.Minute
	helperGrace = time.Second
	tokenPrefix = "ops_"
)

// helper is the SDK in a process of its own, ended when the context ends.
type helper struct{ config Config }

func (h *helper) resolve(ctx context.Context, refs []Ref) (map[Ref]result, error) {
	token := strings.TrimSpace(h.config.ServiceAccountToken.Reveal())
	if !strings.HasPrefix(token, tokenPrefix) {
		// Seconds earlier than the SDK would say it.
		return nil, fault.New(fault.Denied, "", "OP_SERVICE_ACCOUNT_TOKEN is not a service account token, which begins with "+tokenPrefix,
			"set OP_SERVICE_ACCOUNT_TOKEN again")
	}
	request := wire.Request{Token: token, Version: h.config.Version}
	for _, r := range refs {
		request.References = append(request.References, r.String())
	}
	input, err := json.Marshal(request)
	if err != nil {
		return nil, fault.New(fault.Internal, "", "the request to "+HelperName+" cannot be written", "")
	}

	caller := ctx
	ctx, cancel := h.config.bounded(ctx, helperTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.config.Helper)
	cmd.Env = h.config.pass("HOME", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE", "SYSTEMROOT",
		"TMPDIR", "http_proxy", "https_proxy", "no_proxy")
	cmd.WaitDelay = helperGrace
	stdout := &bounded{limit: maxBody}
	cmd.Stdin, cmd.Stdout = bytes.NewReader(input), stdout

	stop := h.report(ctx)
	err = cmd.Run()
	stop()
	switch {
	case caller.Err() != nil:
		return nil, ended(caller, "the 1Password SDK")
	case ctx.Err() != nil:
		return nil, ended(ctx, "the 1Password SDK")
	case err != nil:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%s ended with %s", HelperName, exit.ProcessState)
		}
		return nil, fault.Wrap(err, fault.Unavailable, "", "install op, or use a Connect server; envctl doctor says which is used")
	case stdout.over:
		return nil, fault.Newf(fault.Unavailable, "", "", "the answer of %s is larger than %d bytes", HelperName, maxBody)
	}
	var answer wire.Answer
	if err := json.Unmarshal(stdout.text.Bytes(), &answer); err != nil {
		return nil, fault.New(fault.Unavailable, "", "the answer of "+HelperName+" cannot be read", "install envctl and "+HelperName+" of the same version")
	}
	if answer.Failure != nil {
		return nil, failure(answer.Failure)
	}
	out := make(map[Ref]result, len(refs))
	for _, r := range refs {
		o, ok := answer.Outcomes[r.String()]
		switch {
		case !ok:
			continue
		case o.Failure != nil:
			out[r] = result{err: failure(o.Failure)}
		default:
			out[r] = result{value: secret.New(o.Value)}
		}
	}
	return out, nil
}

// report tells every second how long the start has taken, until stopped.
func (h *helper) report(ctx context.Context) (stop func()) {
	h.config.progress("starting the 1Password SDK, which takes 4 to 13 seconds")
	if h.config.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for seconds := 1; ; seconds++ {
			select {
			case <-tick.C:
				h.config.progress(fmt.Sprintf("starting the 1Password SDK, %d s", seconds))
			case <-quit:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

func failure(f *wire.Failure) error {
	const seen = "compare the reference with what 1Password shows; the token may also lack access to the vault"
	switch f.Kind {
	case wire.Denied:
		return fault.New(fault.Denied, "", f.Message, "set OP_SERVICE_ACCOUNT_TOKEN again")
	case wire.Invalid:
		return fault.New(fault.Invalid, "", f.Message, "put ids in the place of names, and name the section too")
	case wire.NotFound:
		return fault.New(fault.NotFound, "", f.Message, seen)
	case wire.Unavailable:
		return fault.New(fault.Unavailable, "", f.Message, "wait and try again, or use op or a Connect server")
	}
	return fault.New(fault.Internal, "", f.Message, "")
}
