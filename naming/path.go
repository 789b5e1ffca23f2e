// Package naming decides: store paths, container, database, network and
// bucket names, policies, suffixes and ports, from nothing but its arguments.
package naming

import (
	"fmt"
	"strings"
)

// Path is a component's place in a store: <project>/<environment>/<component>.
// As a prefix for List, trailing parts may be empty.
type Path struct{ Project, Environment, Component string }

// The last segments of the paths in which envctl notes who works on an environment,
// and what somebody had typed where a release is now. No component can be called so,
// and no listing shows them.
const (
	LockComponent   = "envctl-lock"
	BeforeComponent = "envctl-before"
)

// IsReserved tells that a component's name is envctl's own.
func IsReserved(component string) bool {
	return component == LockComponent || component == BeforeComponent
}

// String returns the path as people write it, without mount or "data/".
func (p Path) String() string {
	s := p.Project
	for _, part := range []string{p.Environment, p.Component} {
		if part == "" {
			return s
		}
		s += "/" + part
	}
	return s
}

// The letters of names. What is made of nothing else, strings.TrimLeft leaves
// empty: a regular expression would be compiled at each start of the program.
const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyz"
)

// CheckSegment returns an error that names what is wrong unless s can be a
// path segment: ^[a-z0-9][a-z0-9_-]{0,62}$.
func CheckSegment(what, s string) error {
	if s != "" && len(s) <= 63 && !strings.Contains("_-", s[:1]) && strings.TrimLeft(s, letters+digits+"_-") == "" {
		return nil
	}
	return fmt.Errorf("%s %q: use 1 to 63 of a-z 0-9 _ -, beginning with a letter or a digit", what, s)
}

// Check returns an error unless all three segments are legal.
func (p Path) Check() error {
	for _, s := range [...][2]string{{"project", p.Project}, {"environment", p.Environment}, {"component", p.Component}} {
		if err := CheckSegment(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// ParsePath reads a path as people type it: project/environment/component,
// with or without a leading mount, and in the API's form mount/data/…; the
// ghost form mount/data/data/… is an error.
func ParsePath(mount, s string) (Path, error) {
	rest := strings.TrimPrefix(s, mount+"/")
	if mounted := rest != s; mounted {
		rest = strings.TrimPrefix(rest, "data/")
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || parts[0] == "data" {
		return Path{}, fmt.Errorf("path %q: want %s/<project>/<environment>/<component>", s, mount)
	}
	p := Path{parts[0], parts[1], parts[2]}
	return p, p.Check()
}
