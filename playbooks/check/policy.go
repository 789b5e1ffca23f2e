package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"

	"envctl/internal/fault"
	"envctl/internal/layer"
	"envctl/naming"
)

// policy is a Vault policy as it stands in the file.
type policy struct{ grants []grant }

// grant is one path "…" block.
type grant struct {
	path         string
	capabilities []string
	line, column int
}

func (g grant) can(c string) bool { return slices.Contains(g.capabilities, c) }

// parsePolicy reads a policy in HCL or JSON. Invalid, with its line, for what
// Vault would refuse.
func parsePolicy(rel string, src []byte) (*policy, error) {
	op := "read policy " + rel
	if tooDeep(src) {
		return nil, fault.Newf(fault.Invalid, op, "", "nested deeper than %d levels", layer.MaxDepth)
	}
	f, err := parser.Parse(src)
	if err != nil {
		line, message := 0, err.Error()
		if pe, ok := err.(*parser.PosError); ok { //nolint:errorlint // the parser returns it bare
			line, message = pe.Pos.Line, pe.Err.Error()
		}
		return nil, fault.New(fault.Invalid, fmt.Sprintf("%s:%d", op, line), "not a policy: "+message, `write path "secret/data/…" { capabilities = ["read"] }`)
	}
	root, ok := f.Node.(*ast.ObjectList)
	if !ok {
		return nil, fault.New(fault.Invalid, op, "not a policy", "")
	}
	p := &policy{}
	for _, item := range root.Items {
		if len(item.Keys) == 0 || text(item.Keys[0].Token) != "path" {
			continue
		}
		if len(item.Keys) == 1 { // path = { "…" = {…} }, as JSON has it
			if o, ok := item.Val.(*ast.ObjectType); ok {
				for _, inner := range o.List.Items {
					p.grant(inner, 0)
				}
			}
			continue
		}
		p.grant(item, 1)
	}
	return p, nil
}

func (p *policy) grant(item *ast.ObjectItem, at int) {
	o, ok := item.Val.(*ast.ObjectType)
	if !ok || len(item.Keys) <= at {
		return
	}
	g := grant{path: strings.TrimPrefix(text(item.Keys[at].Token), "/"), line: item.Pos().Line, column: item.Pos().Column}
	for _, x := range o.List.Items {
		if len(x.Keys) != 1 {
			continue
		}
		switch v := x.Val.(type) {
		case *ast.ListType:
			if text(x.Keys[0].Token) == "capabilities" {
				for _, n := range v.List {
					if l, ok := n.(*ast.LiteralType); ok {
						g.capabilities = append(g.capabilities, text(l.Token))
					}
				}
			}
		case *ast.LiteralType:
			if text(x.Keys[0].Token) == "policy" { // the form before capabilities
				g.capabilities = append(g.capabilities, map[string][]string{
					"deny": {"deny"}, "read": {"read", "list"}, "write": {"create", "read", "update", "delete", "list"}, "sudo": {"create", "read", "update", "delete", "list", "sudo"},
				}[text(v.Token)]...)
			}
		}
	}
	p.grants = append(p.grants, g)
}

// text returns what a token says.
func text(t token.Token) string {
	if t.Type == token.STRING {
		if s, err := hclstrconv.Unquote(t.Text); err == nil {
			return s
		}
	}
	return strings.Trim(t.Text, `"`)
}

// tooDeep tells whether brackets nest deeper than any policy's do: the parser
// recurses into them.
func tooDeep(src []byte) bool {
	depth := 0
	for _, c := range src {
		switch c {
		case '{', '[':
			if depth++; depth > layer.MaxDepth {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// standing matches what stands for an environment in a policy that is filled in
// before it is written: {{env}}, ${environment}, <env>, $ENV, %s, __ENV__, @ENV@.
var standing = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled on first use
	return regexp.MustCompile(`^(?:\{\{.*\}\}|\$\{.*\}|<[^>]+>|\$[A-Za-z_]+|%s|__[A-Z_]+__|@[A-Z_]+@|[A-Z][A-Z_]*|\{[A-Za-z_]+\})$`)
})

// checkPolicy compares the policy with what the template reads.
func (c *component) checkPolicy() {
	if c.policy == nil {
		return
	}
	file := c.config.Policy
	c.policyPaths(file)
	mount, named := c.Vault.Mount, ""
	lookup := false
	for _, g := range c.policy.grants {
		lookup = lookup || g.can("read") && covers(g.path, "auth/token/lookup-self")
		at := Finding{File: file, Line: g.line, Column: g.column}
		if g.can("deny") {
			continue
		}
		inMount := g.path == mount || strings.HasPrefix(g.path, mount+"/") || strings.HasPrefix(g.path, "+/") || g.path == "*" || g.path == "+"
		if writes := capabilitiesThatWrite(g); len(writes) > 0 && (inMount || strings.HasPrefix(g.path, "sys/") && !harmlessSys(g.path) || g.can("sudo")) {
			f := at
			f.Rule, f.Message = policyWrite, fmt.Sprintf("%s may be changed (%s): a service only reads", g.path, strings.Join(writes, ", "))
			f.Fix = fmt.Sprintf("path %q { capabilities = [\"read\"] }", g.path)
			c.add(f)
		}
		if !inMount {
			continue
		}
		env, wide := c.environmentOf(g.path)
		f := at
		f.Rule = policyCross
		f.Fix = fmt.Sprintf("name the environment: %s/data/%s/%s/%s", mount, c.Name, "ENVIRONMENT", c.name)
		switch {
		case wide:
			f.Message = g.path + " takes in every environment"
			c.add(f)
		case !c.isEnvironment(env):
		case named == "":
			named = env
		case env != named && !c.related(env, named):
			f.Message = fmt.Sprintf("%s is %s's, and the policy is %s's: one policy, one environment", g.path, env, named)
			c.add(f)
		}
	}
	if !lookup {
		c.add(Finding{
			Rule: policyLookup, File: file, Line: 1, Message: "the token cannot look itself up: health checks fail",
			Fix: `path "auth/token/lookup-self" { capabilities = ["read"] }`,
		})
	}
}

// isEnvironment tells whether a name is an environment of the project file, by
// itself or under a pattern.
func (p *project) isEnvironment(name string) bool {
	_, err := p.Environment(name)
	return err == nil
}

// related tells whether one environment lends its values to the other.
func (p *project) related(a, b string) bool {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		if e, err := p.Environment(pair[0]); err == nil && e.Base == pair[1] {
			return true
		}
	}
	return false
}

func capabilitiesThatWrite(g grant) []string {
	var out []string
	for _, w := range []string{"create", "delete", "patch", "root", "sudo", "update"} {
		if g.can(w) {
			out = append(out, w)
		}
	}
	return out
}

// harmlessSys are paths that the default policy lets every token write.
func harmlessSys(path string) bool {
	for _, p := range []string{"sys/capabilities-self", "sys/control-group/request", "sys/leases/lookup", "sys/leases/renew", "sys/renew", "sys/tools/", "sys/wrapping/"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// environmentOf returns the environment's segment of a path in the mount, and
// whether the path takes in more than one environment. "" is a path of another
// project's, or of none.
func (c *component) environmentOf(path string) (env string, wide bool) {
	segments := strings.Split(path, "/")
	if len(segments) > 1 && slices.Contains([]string{"data", "delete", "destroy", "metadata", "subkeys", "undelete"}, segments[1]) {
		segments = segments[1:]
	}
	// Now: mount or data, project, environment, component.
	glob := strings.HasSuffix(path, "*")
	switch n := len(segments); {
	case n == 1:
		return "", glob || segments[0] == "+"
	case n == 2:
		return "", glob && strings.HasPrefix(c.Name, strings.TrimSuffix(segments[1], "*"))
	case segments[1] != c.Name && segments[1] != "+":
		return "", false
	case n == 3 && glob: // ledger/* and ledger/stag*: the latter may be one environment
		begin := strings.TrimSuffix(segments[2], "*")
		count := 0
		for _, e := range c.envs {
			if strings.HasPrefix(e, begin) {
				count++
			}
		}
		return "", begin == "" || count > 1
	}
	return segments[2], segments[2] == "+"
}

// policyPaths reports paths of the template that the policy does not grant.
func (c *component) policyPaths(file string) {
	if c.template == nil {
		return
	}
	// The environments that the policy names; none: it is written for any.
	var envs []string
	for _, g := range c.policy.grants {
		if env, _ := c.environmentOf(g.path); c.isEnvironment(env) && !slices.Contains(envs, env) {
			envs = append(envs, env)
		}
	}
	if len(envs) == 0 {
		envs = []string{""}
	}
	for _, p := range c.template.Paths {
		if p.Opaque || slices.ContainsFunc(p.Envs, func(e string) bool { return !ownEnv(e) }) {
			continue
		}
		for _, env := range envs {
			path, _ := p.Resolve(c.templateEnv(env))
			path, _, _ = strings.Cut(strings.Trim(strings.TrimSpace(path), "/"), "?")
			if env == "" {
				path, _ = p.Resolve(c.templateEnv(standIn))
				path, _, _ = strings.Cut(strings.Trim(strings.TrimSpace(path), "/"), "?")
			}
			if c.policy.reads(path) || c.policy.reads(c.withData(path)) {
				continue
			}
			of := ""
			if env != "" {
				of = " in " + env
			}
			shown := p.Pattern
			if env != "" {
				shown = path
			}
			shown = c.withData(shown)
			c.add(Finding{
				Rule: policyMissing, File: file, Line: 1,
				Message: fmt.Sprintf("%s is not granted, and %s:%d reads it%s", shown, c.template.File, p.Line, of),
				Fix:     fmt.Sprintf("path %q { capabilities = [\"read\"] }", shown),
			}, c.template.File)
		}
	}
}

// withData returns the path that the API is asked for: the agent adds data/ to
// the path of a KV v2 engine where it is missing.
func (c *component) withData(path string) string {
	rest, ok := strings.CutPrefix(path, c.Vault.Mount+"/")
	if !ok || strings.HasPrefix(rest, "data/") {
		return path
	}
	return c.Vault.Mount + "/data/" + rest
}

// standIn is an environment that no policy names.
const standIn = "zz-any-environment"

// reads tells whether the policy lets a path be read: the block that matches
// it most closely decides, as in Vault.
func (p *policy) reads(path string) bool {
	best, score := grant{}, -1
	for _, g := range p.grants {
		if !covers(g.path, path) {
			continue
		}
		s := len(strings.TrimRight(g.path, "*")) // longer is closer; without a wildcard closest
		if !strings.ContainsAny(g.path, "*+") {
			s += 1 << 16
		}
		if s > score {
			best, score = g, s
		}
	}
	return score >= 0 && best.can("read") && !best.can("deny")
}

// covers tells whether a policy's path takes in path; what stands for an
// environment takes in any.
func covers(pattern, path string) bool {
	glob := strings.HasSuffix(pattern, "*")
	want, have := strings.Split(strings.TrimSuffix(pattern, "*"), "/"), strings.Split(path, "/")
	if len(want) > len(have) || len(want) < len(have) && !glob {
		return false
	}
	for i, w := range want {
		switch {
		case glob && i == len(want)-1:
			if !strings.HasPrefix(have[i], w) {
				return false
			}
		case w == "+", w == have[i]:
		case standing().MatchString(w) && (have[i] == standIn || naming.CheckSegment("", have[i]) == nil):
		default:
			return false
		}
	}
	return true
}
