package secret

import (
	"net/url"
	"slices"
	"strings"
)

// sensitiveWords are the words of a variable's name that mean its value is a secret.
var sensitiveWords = []string{ //nolint:gochecknoglobals // a constant list
	"AUTH", "CREDENTIAL", "CREDENTIALS", "DSN", "FERNET", "HMAC", "JWT", "KEY", "KEYS", "PASS", "PASSPHRASE", "PASSWD",
	"PASSWORD", "PEPPER", "PRIVATE", "PWD", "SALT", "SECRET", "SECRETS", "SIGNATURE", "SIGNING", "TOKEN", "TOKENS", "WEBHOOK",
}

// Sensitive tells whether a variable's name says that its value is a secret. It
// errs on the side of yes: what it calls sensitive is never copied from one
// environment to another.
func Sensitive(name string) bool {
	if strings.HasPrefix(name, "NEXT_PUBLIC_") {
		return false
	}
	for word := range strings.SplitSeq(strings.ToUpper(name), "_") {
		if slices.Contains(sensitiveWords, word) {
			return true
		}
	}
	return false
}

// CarriesPassword tells whether the value is a URL with a password in it.
func (v Value) CarriesPassword() bool { return v.Password().IsSet() }

// Password returns the password of a URL, not set where the value is none.
func (v Value) Password() Value {
	u, err := url.Parse(v.Reveal())
	if err != nil || u.User == nil {
		return Value{}
	}
	if password, has := u.User.Password(); has {
		return New(password)
	}
	return Value{}
}
