package vault

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Environment is where ConfigFromEnv looks.
type Environment struct {
	Lookup func(string) string // the process's variables
	Home   string              // the operator's home folder; "" for none
	// Address is the one from the operator's own configuration, used where no
	// variable names one.
	Address string
	// Admin asks for VAULT_ROOT_TOKEN, and for nothing else: the administrative
	// commands set it, no other ever sees that token.
	Admin   bool
	Resolve Resolver
}

// ConfigFromEnv reads the variables of Vault and OpenBao: ADDR, TOKEN,
// NAMESPACE, CACERT, CAPATH, CLIENT_CERT, CLIENT_KEY, TLS_SERVER_NAME,
// PROXY_ADDR, ROLE_ID and SECRET_ID, each as VAULT_… and as BAO_…; those of the
// family that names the address go first. Then the token helper of ~/.vault and
// ~/.vault-token. VAULT_SKIP_VERIFY is not honoured. Mount, Timeout and
// SkipVerify are left to the caller. Kinds: Invalid (~/.vault), Denied (Admin
// without VAULT_ROOT_TOKEN).
func ConfigFromEnv(e Environment) (Config, error) {
	families := []string{"VAULT_", "BAO_"}
	if e.Lookup("VAULT_ADDR") == "" && e.Lookup("BAO_ADDR") != "" {
		families = []string{"BAO_", "VAULT_"}
	}
	find := func(name string) (value, variable string) {
		for _, f := range families {
			if v := e.Lookup(f + name); v != "" {
				return v, f + name
			}
		}
		return "", ""
	}
	get := func(name string) string { v, _ := find(name); return v }
	c := Config{
		Address:   cmp.Or(get("ADDR"), e.Address),
		Namespace: get("NAMESPACE"),
		CACert:    get("CACERT"), CAPath: get("CAPATH"),
		ClientCert: get("CLIENT_CERT"), ClientKey: get("CLIENT_KEY"),
		TLSServerName: get("TLS_SERVER_NAME"),
		Resolve:       e.Resolve,
	}
	proxy := httpproxy.Config{
		HTTPSProxy: cmp.Or(get("PROXY_ADDR"), get("HTTP_PROXY"), e.Lookup("HTTPS_PROXY"), e.Lookup("https_proxy")),
		NoProxy:    cmp.Or(e.Lookup("NO_PROXY"), e.Lookup("no_proxy")),
	}
	if proxy.HTTPSProxy != "" {
		c.Proxy = proxy.ProxyFunc()
	}
	if e.Admin {
		token := e.Lookup("VAULT_ROOT_TOKEN")
		if token == "" {
			return c, fault.New(fault.Denied, "find the admin token", "VAULT_ROOT_TOKEN is not set",
				"set VAULT_ROOT_TOKEN, for example to an op:// reference, for this command only")
		}
		c.Token, c.TokenSource = secret.New(strings.TrimSpace(token)), "VAULT_ROOT_TOKEN"
		return c, nil
	}
	if token, variable := find("TOKEN"); token != "" {
		c.Token, c.TokenSource = secret.New(strings.TrimSpace(token)), variable
		return c, nil
	}
	if role, _ := find("ROLE_ID"); role != "" {
		c.RoleID, c.SecretID = secret.New(role), secret.New(get("SECRET_ID"))
		return c, nil
	}
	if e.Home == "" {
		return c, nil
	}
	c.TokenFile = filepath.Join(e.Home, ".vault-token")
	var err error
	c.TokenHelper, err = tokenHelper(filepath.Join(e.Home, ".vault"))
	return c, err
}

// tokenHelper reads the one setting that ~/.vault has.
func tokenHelper(file string) (string, error) {
	const op, hint = "read ~/.vault", `write token_helper = "/path/to/helper" in it, or set VAULT_TOKEN`
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fault.Wrap(err, fault.Invalid, op, hint)
	case !info.Mode().IsRegular() || info.Size() > 64<<10:
		return "", fault.New(fault.Invalid, op, "not a regular file of at most 64 KiB", hint)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, op, hint)
	}
	text := string(b)
	line := regexp.MustCompile(`(?m)^[ \t]*"?token_helper"?[ \t]*[=:][ \t]*"((?:[^"\\\n]|\\.)*)"`)
	m := line.FindStringSubmatch(text)
	if m == nil {
		if strings.Contains(text, "token_helper") && !regexp.MustCompile(`(?m)^[ \t]*(#|//).*token_helper`).MatchString(text) {
			return "", fault.New(fault.Invalid, op, "token_helper is not a quoted path", hint)
		}
		return "", nil
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[1]), nil
}
