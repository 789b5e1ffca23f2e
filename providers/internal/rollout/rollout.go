// Package rollout is what deployers share: refusing a release that no
// environment can carry, covering its values in words, and waiting until its
// containers are up.
package rollout

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// maxEntry is the longest NAME=value that Linux passes to a program
// (MAX_ARG_STRLEN), less its final NUL.
const maxEntry = 32*4096 - 1

// Op names the deployment of r, for errors.
func Op(r providers.Release) string {
	return "deploy " + naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}.String()
}

// Check refuses what no environment can carry: Invalid with the name of the
// variable or the service.
func Check(r providers.Release) error {
	path := naming.Path{Project: r.Project, Environment: r.Environment, Component: r.Component}
	if err := path.Check(); err != nil {
		return fault.Wrap(err, fault.Invalid, Op(r), "run envctl check")
	}
	if len(r.Services) == 0 {
		return fault.New(fault.Invalid, Op(r), "no service is named", "list them in envctl.yaml: components: "+r.Component+": services")
	}
	for _, s := range r.Services {
		if !legalService(s.Name) {
			return fault.Newf(fault.Invalid, Op(r), "correct services in envctl.yaml", "%q is not a service's name", s.Name)
		}
	}
	if r.Marker == "" || strings.ContainsFunc(r.Marker, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fault.New(fault.Internal, Op(r), "the release has no marker", "")
	}
	for name, v := range r.Values {
		value := v.Reveal()
		problem := ""
		switch {
		case !legalVariable(name):
			problem = "is not a variable's name"
		case strings.ContainsRune(value, 0):
			problem = "holds a NUL, which no environment can"
		case !utf8.ValidString(value):
			problem = "is not UTF-8"
		case len(name)+1+len(value) > maxEntry:
			problem = fmt.Sprintf("has %d bytes; an environment variable takes %d with its name", len(value), maxEntry-1)
		default:
			continue
		}
		return fault.Newf(fault.Invalid, Op(r), "encode it (base64), or let the application read it from a file", "%q %s", name, problem)
	}
	return nil
}

func legalVariable(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
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

// LogsHint is what to type to see why a service is not up.
func LogsHint(r providers.Release, service string) string {
	return "run envctl logs " + service + " --env " + r.Environment
}
