package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// maxEntry is the longest NAME=value that Linux passes to a program
// (MAX_ARG_STRLEN), less its final NUL.
const maxEntry = 32*4096 - 1

func checkValues(r providers.Release) error {
	for name, v := range r.Values {
		value := v.Reveal()
		problem := ""
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00$") || !utf8.ValidString(name):
			problem = "is not a variable's name"
		case strings.ContainsRune(value, 0):
			problem = "holds a NUL, which no environment can"
		case !utf8.ValidString(value):
			problem = "is not UTF-8, and compose reads nothing else"
		case len(name)+1+len(value) > maxEntry:
			problem = fmt.Sprintf("has %d bytes; an environment variable takes %d with its name", len(value), maxEntry-1)
		default:
			continue
		}
		return fault.Newf(fault.Invalid, op(r), "encode it (base64), or let the application read it from a file", "%q %s", name, problem)
	}
	return nil
}

// legalService tells whether compose itself accepts the name: it also takes
// capitals and dots.
func legalService(name string) bool {
	for i, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= 63
}

// variables are what containers get, beside the file's own.
func variables(r providers.Release) map[string]string {
	all := map[string]string{"ENV": r.Environment}
	for name, v := range r.Values {
		all[name] = v.Reveal()
	}
	all[providers.MarkerVariable] = r.Marker
	return all
}

// override is the document merged over the file. It is written here and not by
// an encoder, because it must reach YAML readers byte for byte: they refuse raw
// control characters and join JSON's surrogate pairs wrongly.
func override(r providers.Release, file composeFile) []byte {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range r.Services {
		fmt.Fprintf(&b, "  %s:\n", quote(s.Name))
		switch m := file.manner(s); {
		case m.several():
		case m.rolls():
			b.WriteString("    container_name: !reset null\n") // two of them run side by side
		case s.Container != "":
			fmt.Fprintf(&b, "    container_name: %s\n", quote(s.Container))
		}
		pairs(&b, "labels", map[string]string{
			providers.LabelProject: r.Project, providers.LabelEnvironment: r.Environment, providers.LabelComponent: r.Component,
			providers.LabelService: s.Name, providers.LabelRelease: r.Marker,
		})
		pairs(&b, "environment", variables(r))
	}
	return []byte(b.String())
}

func pairs(b *strings.Builder, key string, m map[string]string) {
	fmt.Fprintf(b, "    %s:\n", key)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(b, "      %s: %s\n", quote(name), quote(strings.ReplaceAll(m[name], "$", "$$")))
	}
}

// quote writes a YAML double-quoted scalar in ASCII.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c >= ' ' && c < 0x7f:
			b.WriteRune(c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			fmt.Fprintf(&b, `\U%08X`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// childNames is what docker, compose and ssh need of the operator's environment:
// none of envctl's own credentials is among it.
var childNames = [...]string{ //nolint:gochecknoglobals // a constant table
	"ALL_PROXY", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG",
	"LC_ALL", "LOGNAME", "NO_PROXY", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "USER", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
}

// environment is the child's: what it needs itself, and what the file's
// ${VARIABLES} may see.
func (d *Deployer) environment(r providers.Release) []string {
	env := []string{"DOCKER_HOST=" + d.c.Host}
	for _, name := range childNames {
		if v := d.c.Env(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	if d.c.CertDir != "" {
		env = append(env, "DOCKER_CERT_PATH="+d.c.CertDir, "DOCKER_TLS_VERIFY=1")
	}
	suffix := ""
	if !naming.IsProduction(r.Environment) && !naming.IsLocal(r.Environment) {
		suffix = "-" + r.Environment
	}
	values := variables(r)
	values["ENVCTL_ENVIRONMENT"], values["ENV_SUFFIX"] = r.Environment, suffix
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !obeyed(name) {
			env = append(env, name+"="+values[name])
		}
	}
	return env
}

// obeyed tells whether the child itself acts on a variable, so that a value from
// a store must not set it: DOCKER_HOST would deploy elsewhere, LD_PRELOAD run code.
func obeyed(name string) bool {
	upper := strings.ToUpper(name)
	for _, prefix := range [...]string{
		"BUILDKIT_", "BUILDX_", "COMPOSE_", "DOCKER_", "DYLD_", "GIT_", "GODEBUG", "GOGC", "GOMAXPROCS",
		"GOMEMLIMIT", "GOTRACEBACK", "GPG_", "LC_", "LD_", "OTEL_", "SSH_", "SSL_CERT_", "XDG_",
	} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return slices.Contains(childNames[:], upper) || upper == "TERM" || upper == "SHELL"
}
