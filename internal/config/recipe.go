package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Recipe says how a secret is rotated.
type Recipe struct {
	Variable  string   `yaml:"variable" doc:"the variable that holds the current value"`
	Previous  string   `yaml:"previous" doc:"the variable that keeps the old value while both are accepted"`
	Overlap   Duration `yaml:"overlap" doc:"how long both are accepted, e.g. 24h"`
	Every     Duration `yaml:"every" doc:"how old the value may become, e.g. 90d"`
	Ring      bool     `yaml:"ring" doc:"the variable is a ring, newest first, separated by commas"`
	Keep      int      `yaml:"keep" doc:"how many keys of the ring stay"`
	Reencrypt string   `yaml:"reencrypt" doc:"the command that re-encrypts data with the newest key; runs only when trusted"`
	Probe     *Probe   `yaml:"probe" doc:"a request that proves a signing key: made only when trusted, with tokens of the old key, the new one and a random one"`
	// Database says that the variable is a password that a server holds too.
	Database *Database `yaml:"database" doc:"the variable is the password of a role of this database; used only when trusted"`
}

// Probe is a request that an application answers by whether it accepts a JSON
// Web Token.
type Probe struct {
	URL    string      `yaml:"url" doc:"where to ask: https, or http on loopback. {env} is the environment's name, {suffix} what its names end with; without either it is production's"`
	URLs   Map[string] `yaml:"urls" doc:"where to ask in an environment, by its name or a pattern such as pr-*; goes before url"`
	Header string      `yaml:"header" doc:"the header that carries the token; Authorization by default"`
	Scheme string      `yaml:"scheme" doc:"the word before the token: Bearer by default in Authorization; none for no word; NAME= for a cookie's name"`
	Claims Map[Claim]  `yaml:"claims" doc:"what the token says beside its times iat and exp, such as sub; never a secret"`
	Expect int         `yaml:"expect" doc:"the status that means accepted; 200 by default"`
	Refuse int         `yaml:"refuse" doc:"the status that means refused; by default any of 400, 401, 403 and 422"`
}

// The placeholders of a probe's URL.
const (
	PlaceEnvironment = "{env}"
	PlaceSuffix      = "{suffix}"
)

// Claim is one claim of a probe's tokens: text, a number, true or false, or a
// list of these.
type Claim struct{ Value any }

func (c *Claim) decode(n *yaml.Node, nested bool) error {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool"):
		return n.Decode(&c.Value)
	case n.Kind == yaml.SequenceNode && !nested:
		all := []any{}
		for _, item := range n.Content {
			var one Claim
			if err := one.decode(item, true); err != nil {
				return err
			}
			all = append(all, one.Value)
		}
		c.Value = all
		return nil
	}
	return errors.New("want text, a number, true or false, or a list of these")
}

// check returns what is wrong with a recipe, and the key at which.
func (r Recipe) check() (at string, err error) {
	switch {
	case r.Variable == "":
		return "", errors.New("names no variable")
	case r.Previous == r.Variable:
		return "previous", errors.New("keeps the old value where the current one is")
	case r.Keep < 0:
		return "keep", errors.New("keeps less than nothing")
	case r.Probe == nil:
		return "", nil
	case r.Ring:
		return "probe", errors.New("has a probe, which is for keys that sign tokens: a ring is proven by what it decrypts")
	}
	at, err = r.Probe.check()
	return "probe." + at, err
}

func (p Probe) check() (at string, err error) {
	if p.URL == "" && len(p.URLs) == 0 {
		return "url", errors.New("has a probe without url or urls")
	}
	if p.URL != "" {
		if err := CheckProbeURL(p.URL); err != nil {
			return "url", err
		}
	}
	for _, u := range p.URLs {
		if err := CheckProbeURL(u.Value); err != nil {
			return "urls." + u.Key, err
		}
	}
	for _, c := range p.Claims {
		if c.Key == "exp" || c.Key == "iat" || c.Key == "nbf" {
			return "claims." + c.Key, fmt.Errorf("gives the claim %s, which envctl makes itself", c.Key)
		}
	}
	switch {
	case !isHeader(p.Header):
		return "header", fmt.Errorf("cannot send its probe's token in a header %q", p.Header)
	case strings.ContainsFunc(p.Scheme, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "scheme", errors.New("has a probe whose scheme is not one word")
	case p.Expect != 0 && (p.Expect < 200 || p.Expect > 299):
		return "expect", fmt.Errorf("expects %d of its probe: accepted is a status of 200 to 299", p.Expect)
	case p.Refuse != 0 && (p.Refuse < 300 || p.Refuse > 499):
		return "refuse", fmt.Errorf("expects %d of its probe: refused is a status of 300 to 499", p.Refuse)
	}
	return "", nil
}

// CheckProbeURL refuses a URL that a token must not be sent to: one that is
// neither https nor on loopback, and one that holds credentials.
func CheckProbeURL(text string) error {
	u, err := url.Parse(strings.NewReplacer(PlaceEnvironment, "x", PlaceSuffix, "-x").Replace(text))
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }):
		return errors.New("has a probe whose URL is not of the form https://host/path")
	case u.User != nil:
		return errors.New("has a probe whose URL holds a user's name or password")
	case u.Fragment != "" || strings.ContainsAny(u.Host+u.Path+u.RawQuery, "{}"):
		return fmt.Errorf("has a probe whose URL holds more than a path and a query, or another placeholder than %s and %s", PlaceEnvironment, PlaceSuffix)
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return errors.New("has a probe whose URL is plain http, which is for loopback addresses only")
	}
	return nil
}

// IsLoopback tells whether host is this machine itself.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isHeader tells whether a request may carry a token in a header of that name;
// "" is the default one.
func isHeader(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade":
		return false
	}
	return strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
