// Package config reads the project file and the operator's own file, strictly:
// a key that is not known is an error with its line and the nearest known name.
package config

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/naming"
)

// FileName is the project file's name, looked for upward from the working directory.
const FileName = "envctl.yaml"

// SchemaLine is the project file's first line: editors find the JSON Schema by it.
const SchemaLine = "# yaml-language-server: $schema=https://raw.githubusercontent.com/envctl/envctl/main/docs/envctl.schema.json"

// Store kinds and deployer kinds.
const (
	StoreLocal = "local"
	StoreVault = "vault"

	DeployCompose = "compose"
	DeployDokploy = "dokploy"
	DeployCommand = "command"
	DeployNone    = "none"
)

// Project is envctl.yaml.
type Project struct {
	Version            int                    `yaml:"version" doc:"the version of this file's schema" enum:"1"`
	Name               string                 `yaml:"project" doc:"the first segment of every store path"`
	Store              string                 `yaml:"store" doc:"where values live; an environment may override it" enum:"local,vault"`
	Vault              VaultMount             `yaml:"vault" doc:"the KV v2 engine; never an address"`
	DefaultEnvironment string                 `yaml:"default_environment" doc:"the environment of reads that name none"`
	Environments       Map[EnvironmentConfig] `yaml:"environments" doc:"environments by name, or by pattern such as pr-*"`
	Components         Map[Component]         `yaml:"components" doc:"the units that own secrets"`
	Naming             NamingConfig           `yaml:"naming" doc:"how names are made"`
	Ports              PortsConfig            `yaml:"ports" doc:"how ports are chosen"`
	Check              CheckConfig            `yaml:"check" doc:"what check reports"`
	Deploy             *DeployConfig          `yaml:"deploy" doc:"how values reach the running processes; an environment may override it"`

	File string `yaml:"-"` // absolute
	Root string `yaml:"-"` // the folder of File, symlinks resolved
	Data []byte `yaml:"-"` // the file's bytes, for trust and for edits that keep every other byte
}

// VaultMount names the KV v2 engine's mount.
type VaultMount struct {
	Mount string `yaml:"mount" doc:"the mount of the KV v2 engine; secret by default"`
}

// EnvironmentConfig is one environment, or one pattern of environments.
type EnvironmentConfig struct {
	Store     string        `yaml:"store" doc:"overrides the project's store" enum:"local,vault"`
	Protected bool          `yaml:"protected" doc:"writes ask for the environment's name; production always does"`
	Ephemeral bool          `yaml:"ephemeral" doc:"made to be deleted"`
	Base      string        `yaml:"base" doc:"the environment whose values stand in where this one has none"`
	TTL       Duration      `yaml:"ttl" doc:"how long an ephemeral environment lives, e.g. 72h"`
	Deploy    *DeployConfig `yaml:"deploy" doc:"overrides the project's deployer"`
}

// DeployConfig chooses a deployer.
type DeployConfig struct {
	Kind    string `yaml:"kind" doc:"the deployer" enum:"compose,dokploy,command,none"`
	Command string `yaml:"command" doc:"the project's own script, for kind command; runs only when trusted"`
}

// Component is a unit that owns secrets: the third path segment.
type Component struct {
	Template string            `yaml:"template" doc:"the Vault Agent template that declares and renders its variables"`
	Policy   string            `yaml:"policy" doc:"the Vault policy of the component's services"`
	Code     string            `yaml:"code" doc:"the Pydantic settings file that reads its variables"`
	Example  string            `yaml:"example" doc:"the .env.example that documents its variables"`
	Dotenv   []string          `yaml:"dotenv" doc:".env files that give its variables values on this machine"`
	Compose  string            `yaml:"compose" doc:"the compose file that runs its services"`
	Services []string          `yaml:"services" doc:"its containers"`
	Rolling  []string          `yaml:"rolling" doc:"those of its services that compose replaces without an interruption although they have one replica"`
	Generate map[string]string `yaml:"generate" doc:"variables that envctl makes, with their generator"`
	Rotate   Map[Recipe]       `yaml:"rotate" doc:"rotation recipes by name"`
}

// Runs tells whether a component has processes of its own, as far as the file says.
func (c Component) Runs() bool { return len(c.Services) > 0 || c.Compose != "" || c.Code != "" }

// NamingConfig is the file's naming section.
type NamingConfig struct {
	Underscore string `yaml:"underscore" doc:"what a _ of the project's name becomes in container names" enum:"keep,dash"`
}

// PortsConfig is the file's ports section.
type PortsConfig struct {
	Range string `yaml:"range" doc:"first-last; 5400-5999 by default"`
	Base  string `yaml:"base" doc:"the service that gets the workspace's first choice"`
}

// CheckConfig is the file's check section.
type CheckConfig struct {
	Severity map[string]string `yaml:"severity" doc:"rule: error, warning, info or off"`
}

// Environment is an environment as it is meant: the file's entry (or the
// pattern's) with the project's defaults filled in.
type Environment struct {
	Name      string
	Pattern   string // the entry's key; differs from Name where a pattern matched
	Store     string
	Protected bool
	Ephemeral bool
	Base      string
	TTL       time.Duration
	Deploy    DeployConfig
}

// Find returns the path of the project file at or above dir, or NotFound.
func Find(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		f := filepath.Join(d, FileName)
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			return f, nil
		}
		if d == filepath.Dir(d) {
			return "", fault.Newf(fault.Invalid, "find "+FileName, "run envctl init in the project's folder",
				"none in %s or any folder above it", dir)
		}
	}
}

// Load reads and checks the project file. Errors are Invalid and name the
// line.
func Load(file string) (*Project, error) {
	data, err := readBounded(file)
	if err != nil {
		return nil, err
	}
	p, err := Parse(file, data)
	if err != nil {
		return nil, err
	}
	if p.File, err = filepath.Abs(file); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "read "+file, "")
	}
	if p.Root, err = filepath.EvalSymlinks(filepath.Dir(p.File)); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "read "+file, "")
	}
	return p, nil
}

// Parse reads data as a project file; file is for messages.
func Parse(file string, data []byte) (*Project, error) {
	p := &Project{Data: data}
	lines, err := decode(file, data, p)
	if err != nil {
		return nil, err
	}
	if err := p.check(file, lines); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Project) check(file string, lines lines) error {
	bad := func(where, format string, args ...any) error {
		return invalid(file, lines.of(where), format, args...)
	}
	if p.Version != 1 {
		return bad("version", "version %d: this envctl reads version 1", p.Version)
	}
	if p.Name == "" {
		return bad("", "project is missing")
	}
	if err := naming.CheckSegment("project", p.Name); err != nil {
		return bad("project", "%v", err)
	}
	if p.Vault.Mount == "" {
		p.Vault.Mount = "secret"
	}
	if err := naming.CheckSegment("mount", p.Vault.Mount); err != nil {
		return bad("vault.mount", "%v", err)
	}
	if p.Store == "" {
		p.Store = StoreLocal
	}
	if err := p.checkDeploy(p.Deploy); err != nil {
		return bad("deploy", "%v", err)
	}
	for _, e := range p.Environments {
		where := "environments." + e.Key
		if err := naming.CheckSegment("environment", strings.Replace(e.Key, "*", "x", 1)); err != nil {
			return bad(where, "environment %q: use a-z 0-9 _ - and at most one *", e.Key)
		}
		if err := p.checkDeploy(e.Value.Deploy); err != nil {
			return bad(where+".deploy", "%v", err)
		}
		if b := e.Value.Base; b != "" {
			if _, err := p.Environment(b); err != nil {
				return bad(where+".base", "base %q is not an environment of this file", b)
			}
			if b == e.Key {
				return bad(where+".base", "an environment cannot be its own base")
			}
			if IsProduction(b) {
				return bad(where+".base", "production's values stand in for no other environment")
			}
		}
	}
	if d := p.DefaultEnvironment; d != "" {
		if _, err := p.Environment(d); err != nil {
			return bad("default_environment", "%q is not an environment of this file", d)
		}
	}
	for _, c := range p.Components {
		where := "components." + c.Key
		if err := naming.CheckSegment("component", c.Key); err != nil {
			return bad(where, "%v", err)
		}
		if naming.IsReserved(c.Key) {
			return bad(where, "the name is envctl's own: it keeps its notes there")
		}
		for _, f := range append([]string{c.Value.Template, c.Value.Policy, c.Value.Code, c.Value.Example, c.Value.Compose}, c.Value.Dotenv...) {
			if f != "" && (path.IsAbs(f) || !filepath.IsLocal(f)) {
				return bad(where, "path %q leaves the project's folder", f)
			}
		}
		for _, s := range c.Value.Services {
			if err := naming.CheckSegment("service", s); err != nil {
				return bad(where+".services", "%v", err)
			}
		}
		for _, s := range c.Value.Rolling {
			if !slices.Contains(c.Value.Services, s) {
				return bad(where+".rolling", "%s is none of its services", s)
			}
		}
		for _, r := range c.Value.Rotate {
			if at, err := r.Value.check(); err != nil {
				return bad(strings.TrimSuffix(where+".rotate."+r.Key+"."+at, "."), "recipe %s %v", r.Key, err)
			}
			if err := r.Value.checkDatabase(); err != nil {
				return bad(where+".rotate."+r.Key+".database", "recipe %s: %v", r.Key, err)
			}
		}
	}
	return nil
}

func (p *Project) checkDeploy(d *DeployConfig) error {
	switch {
	case d == nil:
		return nil
	case d.Kind == "":
		return fmt.Errorf("kind is missing: compose, dokploy, command or none")
	case d.Kind == DeployCommand && d.Command == "":
		return fmt.Errorf("kind command needs a command")
	case d.Kind != DeployCommand && d.Command != "":
		return fmt.Errorf("command belongs to kind command")
	}
	return nil
}

// IsProduction tells whether name is the environment that is always protected.
func IsProduction(name string) bool { return name == "production" }

// Environment returns the environment called name: an entry of the file, or
// one that a pattern matches. Usage with the nearest name otherwise.
func (p *Project) Environment(name string) (Environment, error) {
	if err := naming.CheckSegment("environment", name); err != nil {
		return Environment{}, fault.Wrap(err, fault.Usage, "", "the file's environments: "+strings.Join(p.EnvironmentNames(), ", "))
	}
	var found *Entry[EnvironmentConfig]
	for i, e := range p.Environments {
		if e.Key == name {
			found = &p.Environments[i]
			break
		}
		if ok, _ := path.Match(e.Key, name); ok && strings.Contains(e.Key, "*") && found == nil {
			found = &p.Environments[i]
		}
	}
	if found == nil {
		hint := "the file's environments: " + strings.Join(p.EnvironmentNames(), ", ")
		if near := naming.Nearest(name, p.EnvironmentNames()); near != "" {
			hint = fmt.Sprintf("did you mean %s? %s", near, hint)
		}
		return Environment{}, fault.Newf(fault.Usage, "environment "+name, hint, "not in %s", FileName)
	}
	c := found.Value
	e := Environment{
		Name: name, Pattern: found.Key, Store: p.Store, Base: c.Base, Ephemeral: c.Ephemeral, TTL: c.TTL.Duration,
		Protected: c.Protected || IsProduction(name), Deploy: DeployConfig{Kind: DeployNone},
	}
	if c.Store != "" {
		e.Store = c.Store
	}
	if p.Deploy != nil {
		e.Deploy = *p.Deploy
	}
	if c.Deploy != nil {
		e.Deploy = *c.Deploy
	}
	return e, nil
}

// EnvironmentNames returns the named environments, without patterns, in the
// file's order.
func (p *Project) EnvironmentNames() []string {
	var names []string
	for _, e := range p.Environments {
		if !strings.Contains(e.Key, "*") {
			names = append(names, e.Key)
		}
	}
	return names
}

// ComponentNames returns the components in the file's order.
func (p *Project) ComponentNames() []string {
	names := make([]string, 0, len(p.Components))
	for _, c := range p.Components {
		names = append(names, c.Key)
	}
	return names
}

// Component returns a component by name; Usage with the nearest name otherwise.
func (p *Project) Component(name string) (Component, error) {
	if c, ok := p.Components.Get(name); ok {
		return c, nil
	}
	hint := "the file's components: " + strings.Join(p.ComponentNames(), ", ")
	if near := naming.Nearest(name, p.ComponentNames()); near != "" {
		hint = fmt.Sprintf("did you mean %s? %s", near, hint)
	}
	return Component{}, fault.Newf(fault.Usage, "component "+name, hint, "not in %s", FileName)
}

// ComponentOfService returns the component that lists service.
func (p *Project) ComponentOfService(service string) (string, bool) {
	for _, c := range p.Components {
		for _, s := range c.Value.Services {
			if s == service {
				return c.Key, true
			}
		}
	}
	return "", false
}

// Services returns every service of the project, sorted.
func (p *Project) Services() []string {
	var all []string
	for _, c := range p.Components {
		all = append(all, c.Value.Services...)
	}
	sort.Strings(all)
	return all
}

// Path returns the absolute path of a file named by the project file. After
// symlinks it must still lie under the root: Invalid otherwise. A file that
// does not exist is returned as it would be.
func (p *Project) Path(rel string) (string, error) {
	abs := filepath.Join(p.Root, rel)
	real, err := filepath.EvalSymlinks(abs)
	if os.IsNotExist(err) {
		return abs, nil
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "read "+rel, "")
	}
	if in, err := filepath.Rel(p.Root, real); err != nil || !filepath.IsLocal(in) {
		return "", fault.Newf(fault.Invalid, "read "+rel, "keep the files that envctl.yaml names inside the project",
			"leads out of the project's folder")
	}
	return abs, nil
}
