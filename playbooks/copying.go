package playbooks

import (
	"net/url"
	"slices"
	"strings"

	"envctl/internal/secret"
)

// shortSecret is the length below which a secret is not looked for inside other
// values: "0" or "dev" would be found everywhere.
const shortSecret = 6

// mayCopy tells whether a value that is no secret by its name may go to another
// environment: it carries no credential of its own and none of the source's
// secrets, in clear or as a URL writes them.
func mayCopy(v secret.Value, secrets []secret.Value) bool {
	s := v.Reveal() //nolint:forbidigo // looked at, not shown
	if v.CarriesPassword() || strings.Contains(s, "-----BEGIN") {
		return false
	}
	u, err := url.Parse(s)
	if _, rest, isURL := strings.Cut(s, "://"); isURL {
		userinfo, _, has := strings.Cut(rest, "@")
		if err != nil || has && strings.Contains(userinfo, ":") { // what net/url does not read, other readers may
			return false
		}
	}
	if err == nil && strings.ContainsFunc(u.RawQuery, func(r rune) bool { return r == '=' }) {
		for _, name := range sortedKeys(u.Query()) {
			if secret.Sensitive(strings.ReplaceAll(name, "-", "_")) || slices.Contains([]string{"sig", "signature", "X-Amz-Signature"}, name) {
				return false
			}
		}
	}
	for _, one := range secrets {
		clear := one.Reveal() //nolint:forbidigo // compared, not shown
		if len(clear) >= shortSecret && (strings.Contains(s, clear) || strings.Contains(s, url.QueryEscape(clear)) || strings.Contains(s, url.PathEscape(clear))) {
			return false
		}
	}
	return true
}

// secretsOf returns the values of a path that are secrets by their names.
func secretsOf(values map[string]secret.Value, isSecret func(key string) bool) []secret.Value {
	var out []secret.Value
	for _, k := range sortedKeys(values) {
		if isSecret(k) {
			out = append(out, values[k])
		}
	}
	return out
}
