package check

import (
	"fmt"
	"strings"

	"envctl/internal/layer"
	"envctl/naming"
)

// hosts reports container names of one environment in what is rendered for
// another, where they stand as a host.
func (c *component) hosts(x trial) {
	if x.fullErr != nil || naming.IsLocal(x.env) || naming.IsProduction(x.env) {
		return
	}
	rules := naming.Rules{Project: c.Name, Underscore: naming.Underscore(c.Naming.Underscore)}
	foreign := map[string]string{} // container → the environment it belongs to
	var names []string
	for _, s := range c.Services() {
		own := rules.Container(x.env, s)
		for _, e := range c.envs {
			if n := rules.Container(e, s); n != own && !naming.IsLocal(e) {
				foreign[n] = e
				names = append(names, n)
			}
		}
	}
	for _, s := range c.Services() { // a name that is this environment's own is nobody else's
		delete(foreign, rules.Container(x.env, s))
	}
	for _, v := range x.full.Variables {
		text := v.Value.Reveal() //nolint:forbidigo // text of the template: the store held placeholders
		for _, n := range names {
			if foreign[n] == "" || !asHost(v.Name, text, n) {
				continue
			}
			own := n
			for _, s := range c.Services() {
				if rules.Container(foreign[n], s) == n {
					own = rules.Container(x.env, s)
				}
			}
			c.add(Finding{
				Rule: hostSuffix, Variable: v.Name, File: c.template.File, Line: v.Line, Column: c.columnOf(layer.Problem{Variable: v.Name, Line: v.Line}),
				Message: fmt.Sprintf("in %s it leads to %s, which is %s's container; %s's own is %s", x.env, n, foreign[n], x.env, own),
				Fix:     fmt.Sprintf(`write %s{{ env "ENV_SUFFIX" }} instead of %s`, n, n),
			})
			break
		}
	}
}

// asHost tells whether name stands in text as a host: behind :// or @, before a
// port, or alone in a variable that is called a host.
func asHost(variable, text, name string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(name)
		from = end
		if i > 0 && isHostByte(text[i-1]) || end < len(text) && isHostByte(text[end]) {
			continue
		}
		before, after := text[:i], text[end:]
		url := strings.HasSuffix(before, "://") || strings.HasSuffix(before, "@")
		port := len(after) > 1 && after[0] == ':' && after[1] >= '0' && after[1] <= '9' && (before == "" || strings.HasSuffix(before, ","))
		named := text == name && (strings.HasSuffix(variable, "HOST") || strings.HasSuffix(variable, "HOSTNAME") || strings.HasSuffix(variable, "_SERVER") || strings.HasSuffix(variable, "_ENDPOINT"))
		if url || port || named {
			return true
		}
	}
}

func isHostByte(c byte) bool {
	return c == '-' || c == '_' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
