package onepassword

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

const (
	maxBody     = 16 << 20
	maxValue    = 1 << 20
	parallel    = 4
	connectTime = 10 * time.Second
)

// connect is the REST interface of a 1Password Connect server.
type connect struct {
	config Config
	base   *url.URL
	client *http.Client
}

type connectVault struct{ ID, Name string }

type connectItem struct {
	ID, Title string
	Sections  []connectSection
	Fields    []connectField
	Files     []connectFile
}

type connectSection struct{ ID, Label string }

type connectField struct {
	ID, Label, Type string
	Section         *connectSection
	Value           string
	TOTP            string
}

type connectFile struct {
	ID, Name string
	Section  *connectSection
}

// resolve looks up each vault and each item once, however many references
// name them.
func (c *connect) resolve(ctx context.Context, refs []Ref) (map[Ref]result, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	type place struct{ vault, item string }
	var vaults []string
	items := map[string][]place{}
	within := map[place][]Ref{}
	for _, r := range refs {
		p := place{strings.ToLower(r.Vault), strings.ToLower(r.Item)}
		if within[p] == nil {
			if items[p.vault] == nil {
				vaults = append(vaults, p.vault)
			}
			items[p.vault] = append(items[p.vault], p)
		}
		within[p] = append(within[p], r)
	}

	type answer struct {
		ref Ref
		result
	}
	answers := make(chan answer, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, vault := range vaults {
		// One vault after the other, the items of each at the same time.
		name := within[items[vault][0]][0].Vault
		id, err := c.vault(ctx, name)
		if whole(err) {
			// An item of an earlier vault that failed first has cancelled this one.
			if earlier := group.Wait(); earlier != nil {
				err = earlier
			}
			return nil, err
		}
		for _, p := range items[vault] {
			group.Go(func() error {
				refs := within[p]
				item, itemErr := connectItem{}, err
				if itemErr == nil {
					item, itemErr = c.item(ctx, id, refs[0])
				}
				if whole(itemErr) {
					return itemErr
				}
				for _, r := range refs {
					a := answer{ref: r, result: result{err: itemErr}}
					if itemErr == nil {
						a.value, a.err = c.value(ctx, id, item, r)
						if whole(a.err) {
							return a.err
						}
					}
					answers <- a
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	close(answers)
	out := make(map[Ref]result, len(refs))
	for a := range answers {
		out[a.ref] = a.result
	}
	return out, nil
}

// whole tells whether err concerns the route, not one reference: the next
// request would end the same way and only use up the limit.
func whole(err error) bool {
	return err != nil && !fault.Is(err, fault.NotFound, fault.Invalid)
}

// open checks the address; the token goes nowhere else.
func (c *connect) open() error {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(c.config.ConnectHost), "/"))
	const hint = "set OP_CONNECT_HOST to an address like https://connect.example.com"
	switch {
	case err != nil || u.Host == "":
		return fault.New(fault.Invalid, "", "OP_CONNECT_HOST is not an address", hint)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fault.New(fault.Invalid, "", "OP_CONNECT_HOST holds more than an address", hint)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fault.New(fault.Refused, "", "OP_CONNECT_HOST is neither https nor on this machine", hint)
	}
	transport := c.config.Transport
	if transport == nil {
		transport = &http.Transport{
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: connectTime,
			MaxIdleConnsPerHost: parallel,
			IdleConnTimeout:     time.Minute,
		}
	}
	c.base = u
	c.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// vault returns the id of the vault called name, which may be an id already.
func (c *connect) vault(ctx context.Context, name string) (string, error) {
	if isID(name) {
		var v connectVault
		err := c.get(ctx, &v, nil, "v1", "vaults", name)
		if err == nil {
			return name, nil
		}
		if !fault.Is(err, fault.NotFound) {
			return "", err
		}
	}
	var found []connectVault
	if err := c.get(ctx, &found, filter("name", name), "v1", "vaults"); err != nil {
		return "", err
	}
	var ids []string
	for _, v := range found {
		if strings.EqualFold(v.Name, name) {
			ids = append(ids, v.ID)
		}
	}
	return only(ids, "vault", name)
}

// item returns an item with its fields.
func (c *connect) item(ctx context.Context, vault string, r Ref) (connectItem, error) {
	var item connectItem
	if isID(r.Item) {
		err := c.get(ctx, &item, nil, "v1", "vaults", vault, "items", r.Item)
		if err == nil || !fault.Is(err, fault.NotFound) {
			return item, err
		}
	}
	var found []connectItem
	if err := c.get(ctx, &found, filter("title", r.Item), "v1", "vaults", vault, "items"); err != nil {
		return item, err
	}
	var ids []string
	for _, i := range found {
		// A server that ignores the filter must not lead to another item.
		if strings.EqualFold(i.Title, r.Item) {
			ids = append(ids, i.ID)
		}
	}
	id, err := only(ids, "item", r.Item)
	if err != nil {
		return item, err
	}
	return item, c.get(ctx, &item, nil, "v1", "vaults", vault, "items", id)
}

// value picks the field, or the file, that r names.
func (c *connect) value(ctx context.Context, vault string, item connectItem, r Ref) (secret.Value, error) {
	labels := map[string]string{}
	for _, s := range item.Sections {
		labels[s.ID] = s.Label
	}
	in := func(s *connectSection) (fits, outside bool) {
		// "add more" is the app's own section for fields that are in none.
		if s == nil || s.ID == "" || s.ID == "add more" {
			return r.Section == "", true
		}
		label := s.Label
		if label == "" {
			label = labels[s.ID]
		}
		return r.Section == "" || strings.EqualFold(r.Section, label) || strings.EqualFold(r.Section, s.ID), false
	}

	var all, outside []connectField
	for _, f := range item.Fields {
		if !strings.EqualFold(f.Label, r.Field) && !strings.EqualFold(f.ID, r.Field) {
			continue
		}
		if fits, out := in(f.Section); fits {
			all = append(all, f)
			if out {
				outside = append(outside, f)
			}
		}
	}
	if len(all) > 1 && len(outside) == 1 {
		all = outside
	}
	switch {
	case len(all) > 1:
		return secret.Value{}, several("field", r.Field, len(all))
	case len(all) == 1 && r.Attribute == otp:
		if all[0].TOTP == "" {
			return secret.Value{}, fault.Newf(fault.Invalid, "", "name a field that holds a one-time password, or leave ?attribute=otp away",
				"field %q gives no one-time password", r.Field)
		}
		return secret.New(all[0].TOTP), nil
	case len(all) == 1:
		return secret.New(all[0].Value), nil
	}
	for _, f := range item.Files {
		if !strings.EqualFold(f.Name, r.Field) && f.ID != r.Field {
			continue
		}
		if fits, _ := in(f.Section); fits && r.Attribute == "" {
			if !plain(f.ID) {
				return secret.Value{}, fault.New(fault.Unavailable, "", "the Connect server answered with an unusable id", "")
			}
			body, err := c.fetch(ctx, maxValue, nil, "v1", "vaults", vault, "items", item.ID, "files", f.ID, "content")
			if err != nil {
				return secret.Value{}, err
			}
			return secret.New(string(body)), nil
		}
	}
	if r.Section != "" {
		return secret.Value{}, missing("field", r.Section+"/"+r.Field)
	}
	return secret.Value{}, missing("field", r.Field)
}

func only(ids []string, what, name string) (string, error) {
	switch {
	case len(ids) == 0:
		return "", missing(what, name)
	case len(ids) > 1:
		return "", several(what, name, len(ids))
	case !plain(ids[0]):
		return "", fault.New(fault.Unavailable, "", "the Connect server answered with an unusable id", "check OP_CONNECT_HOST")
	}
	return ids[0], nil
}

// plain tells whether id can stand in an address as it is.
func plain(id string) bool {
	return id != "" && len(id) <= 64 &&
		strings.IndexFunc(id, func(c rune) bool { return unsupported(c) || c == '.' || c == ' ' }) < 0
}

func missing(what, name string) error {
	hint := "compare the reference with what 1Password shows; the token may also lack access to the vault"
	return fault.Newf(fault.NotFound, "", hint, "no %s %q", what, name)
}

func several(what, name string, n int) error {
	hint := "put the id of the " + what + " in the place of its name"
	if what == "field" {
		hint = "name the section too, or put the id of the field in the place of its name"
	}
	if n == 0 {
		return fault.Newf(fault.Invalid, "", hint, "several match %s %q", what, name)
	}
	return fault.Newf(fault.Invalid, "", hint, "%d match %s %q", n, what, name)
}

// filter compares one attribute with a name. ParseRef lets no quote and no
// backslash through; doubling both with JSON keeps this safe on its own.
func filter(attribute, name string) url.Values {
	literal, _ := json.Marshal(name) // a string always marshals
	return url.Values{"filter": {attribute + " eq " + string(literal)}}
}

func (c *connect) get(ctx context.Context, into any, query url.Values, path ...string) error {
	body, err := c.fetch(ctx, maxBody, query, path...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		// The decoder's words quote the body.
		return fault.New(fault.Unavailable, "", "the Connect server's answer is not what Connect sends", "check OP_CONNECT_HOST")
	}
	return nil
}

func (c *connect) fetch(ctx context.Context, limit int64, query url.Values, path ...string) ([]byte, error) {
	caller := ctx
	ctx, cancel := c.config.bounded(ctx, connectTime)
	defer cancel()
	u := c.base.JoinPath(path...)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fault.New(fault.Invalid, "", "OP_CONNECT_HOST is not an address", "set OP_CONNECT_HOST again")
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(c.config.ConnectToken.Reveal()))
	req.Header.Set("Accept", "application/json")
	if path[len(path)-1] == "content" {
		req.Header.Set("Accept", "*/*")
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, c.unreachable(caller, ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := refusal(res.StatusCode); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, c.unreachable(caller, ctx, err)
	case int64(len(body)) > limit:
		return nil, fault.Newf(fault.Unavailable, "", "check OP_CONNECT_HOST", "the Connect server's answer is larger than %d bytes", limit)
	}
	return body, nil
}

func (c *connect) unreachable(caller, ctx context.Context, err error) error {
	if caller.Err() != nil {
		return ended(caller, "the Connect server")
	}
	if ctx.Err() != nil {
		return ended(ctx, "the Connect server")
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which the message names in short
	}
	return fault.Wrap(fmt.Errorf("the Connect server %s is unreachable: %w", c.base.Host, err),
		fault.Unavailable, "", "check OP_CONNECT_HOST and that the server runs")
}

// refusal turns a status into a kind; bodies are not repeated.
func refusal(status int) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized:
		return fault.New(fault.Denied, "", "the Connect server does not accept OP_CONNECT_TOKEN", "set OP_CONNECT_TOKEN to a valid token")
	case status == http.StatusForbidden:
		return fault.New(fault.Denied, "", "OP_CONNECT_TOKEN has no access to this vault", "give the token access to the vault in 1Password")
	case status == http.StatusNotFound:
		return fault.New(fault.NotFound, "", "the Connect server knows no such vault or item", "compare the reference with what 1Password shows")
	case status == http.StatusTooManyRequests:
		return rateLimited()
	case status >= 300 && status < 400:
		return fault.Newf(fault.Refused, "", "set OP_CONNECT_HOST to the server's own address", "the Connect server redirects (%d), and the token is sent nowhere else", status)
	}
	return fault.Newf(fault.Unavailable, "", "look at the Connect server's log", "the Connect server answered %d", status)
}

func rateLimited() error {
	return fault.New(fault.Unavailable, "", "rate limited: 1Password allows a number of reads an hour and a day",
		"wait, or use a Connect server, which has no such limit")
}
