package check

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"envctl/internal/secret"
)

// developmentWords are passwords that are none.
func developmentWords() []string {
	return []string{
		"12345", "123456", "12345678", "123456789", "admin", "changeit", "changeme", "default", "demo", "dev", "development", "dummy", "example",
		"guest", "insecure", "letmein", "local", "minio", "minio123", "minioadmin", "mysql", "pass", "passw0rd", "passwd", "password", "postgres",
		"qwerty", "redis", "replaceme", "root", "sample", "secret", "secretkey", "supersecret", "test", "testing", "toor", "user",
	}
}

// developmentMarks are words that a made-up secret carries.
func developmentMarks() []string {
	return []string{"changeme", "dev", "development", "dummy", "example", "insecure", "local", "placeholder", "replaceme", "sample", "test", "testing", "unsafe"}
}

// developmentValue says what makes a text a default for development, "" for
// nothing. The words never hold the text.
func developmentValue(name, text string) string {
	if debugName(name) && truth(text) == 1 {
		return "debugging switched on"
	}
	if strings.Contains(text, "@") {
		if u, err := url.Parse(text); err == nil && u.User != nil {
			if p, ok := u.User.Password(); ok && isDevelopmentWord(p) {
				return "a URL with a password for development"
			}
			return ""
		}
	}
	if secretName(name) && isDevelopmentWord(text) {
		return "a secret for development"
	}
	return ""
}

func debugName(name string) bool {
	return slices.Contains([]string{"APP_DEBUG", "DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG"}, name)
}

// secretName tells whether a variable's value is a secret by the word that its
// name ends with: SECRET_KEY and SECRET_KEY_PREVIOUS are, TOKEN_TYPE and CACHE_KEY
// are not.
func secretName(name string) bool {
	before, last, more := cutLast(strings.ToUpper(name))
	for more && slices.Contains([]string{"B64", "BASE", "BASE64", "CURRENT", "NEW", "NEXT", "OLD", "PREVIOUS", "PRIMARY", "SECONDARY"}, last) {
		before, last, more = cutLast(before)
	}
	switch last {
	case "AUTH", "JWT", "SIGNATURE", "SIGNING", "WEBHOOK":
		return false
	case "KEY", "KEYS":
		_, owner, _ := cutLast(before)
		if more && slices.Contains([]string{"CACHE", "FOREIGN", "GROUP", "INDEX", "PARTITION", "PRIMARY", "PUBLIC", "ROUTING", "SITE", "SORT"}, owner) {
			return false
		}
	}
	return secret.Sensitive(last) && !isPublic(name)
}

// cutLast takes the last of the words between underscores off a name; more tells
// whether there are others before it.
func cutLast(name string) (before, last string, more bool) {
	i := strings.LastIndexByte(name, '_')
	return name[:max(0, i)], name[i+1:], i >= 0
}

func isDevelopmentWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	lower := strings.ToLower(s)
	words := strings.FieldsFunc(lower, func(r rune) bool { return strings.ContainsRune("-_. !@#", r) })
	if slices.Contains(developmentWords(), strings.Join(words, "")) {
		return true
	}
	for i, w := range words {
		if slices.Contains(developmentMarks(), w) || w == "change" && i+1 < len(words) && (words[i+1] == "me" || words[i+1] == "this" || words[i+1] == "in") {
			return true
		}
	}
	return false
}

// checkDefaults reports secrets of the code that protect an environment which
// is not local, because its template renders no other.
func (c *component) checkDefaults() {
	if c.code == nil || c.template == nil || len(c.template.Spreads) > 0 {
		return
	}
	for i := range c.code.Fields {
		f := &c.code.Fields[i]
		if f.Default == nil || *f.Default == "" || f.Canonical == "" || c.rendered(f.Accepted) || c.compose.sets(f.Accepted) {
			continue
		}
		base := Finding{
			Variable: f.Canonical, File: c.code.File, Line: f.Line, Column: f.Column,
			Fix: "remove the default, and add to " + c.template.File + ": " + c.templateLine(f.Canonical),
		}
		if where, ok := secret.Published(secret.New(*f.Default)); ok {
			base.Rule, base.Message = publishedDefault, fmt.Sprintf("the default is published by %s, and %s renders no other value", where, c.template.File)
		} else if why := developmentValue(f.Canonical, *f.Default); why != "" {
			base.Rule, base.Message = developmentDefault, fmt.Sprintf("the default is %s, and %s renders no other value", why, c.template.File)
		} else {
			continue
		}
		c.add(base, c.template.File)
	}
}
