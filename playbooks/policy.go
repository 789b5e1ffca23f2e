package playbooks

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/naming"
	"envctl/providers"
)

// policyMark begins the policies that envctl makes: others are not replaced.
const policyMark = "# made by envctl"

// PolicyName returns the name of the policy that reads what a target's services need.
func (w *World) PolicyName(t Target) (string, error) {
	r, err := w.Rules()
	return r.Policy(t.Environment.Name, t.Component), err
}

// PolicyText returns the policy that a target's services need: to read the paths
// its template reads, each by its own name, to read and list their metadata, and
// to look their token up. It names one environment and grants no write.
func (w *World) PolicyText(t Target) (string, error) {
	paths, err := w.policyPaths(t)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s for %s\n", policyMark, w.Path(t))
	grant := func(path string, capabilities string) {
		fmt.Fprintf(&b, "path %q {\n  capabilities = [%s]\n}\n", path, capabilities)
	}
	for _, p := range paths {
		grant(w.Project.Vault.Mount+"/data/"+p.String(), `"read"`)
		grant(w.Project.Vault.Mount+"/metadata/"+p.String(), `"read", "list"`)
	}
	grant("auth/token/lookup-self", `"read"`)
	grant("auth/token/renew-self", `"update"`) // without it a periodic token ends
	return b.String(), nil
}

// policyPaths returns the paths that a target's services read.
func (w *World) policyPaths(t Target) ([]naming.Path, error) {
	tmpl, err := w.Template(t.Component)
	if err != nil {
		return nil, err
	}
	if tmpl != nil {
		if read, err := w.templatePaths(tmpl, t); err != nil || len(read) > 0 {
			return read, err
		}
	}
	return []naming.Path{w.Path(t)}, nil
}

// policies opens the store of an environment for policies.
func (w *World) policies(e config.Environment) (providers.Policies, error) {
	if w.Policies == nil {
		return nil, fault.New(fault.Refused, "open the policies of "+e.Name, "the store has none", "leave out --with-policy")
	}
	return w.Policies(e)
}

// readPolicy returns a policy's text, "" where there is none, and refuses one
// that envctl did not make.
func readPolicy(ctx context.Context, s providers.Policies, name string) (string, error) {
	text, err := s.ReadPolicy(ctx, name)
	switch {
	case fault.Is(err, fault.NotFound):
		return "", nil
	case err == nil && !strings.HasPrefix(text, policyMark):
		return "", fault.New(fault.Refused, "replace the policy "+name, "somebody else made it", "look with vault policy read "+name+"; to have envctl's own, remove it first")
	}
	return text, err
}

// policyStep makes a target's policy be want; "" removes it. id is "policy" or
// "unpolicy". The previous text, which is no secret, is kept in the journal.
func (w *World) policyStep(t Target, id, name, want string) plan.Step {
	title := "write the policy " + name
	if want == "" {
		title = "remove the policy " + name
	}
	return plan.Step{
		ID: id + "." + t.Component, Title: title, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := w.policies(t.Environment)
			if err != nil {
				return nil, err
			}
			now, err := readPolicy(ctx, s, name)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if !cut {
				r = plan.Receipt{"policy": name, fieldAfter: digest([]byte(want))}
				enclose(r, "was", now)
			}
			if now == want {
				if !cut {
					r = nil // nothing to do
				}
				return r, nil
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			return r, s.WritePolicy(ctx, name, want)
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r["policy"] == "" {
				return nil
			}
			was, err := disclose(r, "was")
			if err != nil {
				return err
			}
			s, err := w.policies(t.Environment)
			if err != nil {
				return err
			}
			now, err := readPolicy(ctx, s, name)
			switch {
			case err != nil:
				return err
			case now == was:
				return nil
			case digest([]byte(now)) != r[fieldAfter]:
				return fault.New(fault.Conflict, "undo the policy "+name, "somebody changed it since, and it stays as it is", "look with vault policy read "+name)
			}
			return s.WritePolicy(ctx, name, was)
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			if r["policy"] == "" {
				return nil
			}
			s, err := w.policies(t.Environment)
			if err != nil {
				return err
			}
			now, err := readPolicy(ctx, s, name)
			if err == nil && digest([]byte(now)) != r[fieldAfter] {
				err = fault.New(fault.No, "read back the policy "+name, "it is not what this run wrote", "look with vault policy read "+name)
			}
			return err
		},
	}
}

// piece is how many bytes of a text one field of a receipt holds: quoted, each
// becomes four at most.
const piece = 100

// enclose puts a text of several lines, which must be no secret, into a receipt.
func enclose(r map[string]string, name, text string) {
	for i := 0; text != ""; i++ {
		n := min(piece, len(text))
		r[fmt.Sprintf("%s.%04d", name, i)] = strconv.QuoteToASCII(text[:n])
		text = text[n:]
	}
}

// disclose is the text that enclose put there; "" where it put none.
func disclose(r map[string]string, name string) (string, error) {
	var b strings.Builder
	parts := cutKeys(r, name+".")
	for _, k := range sortedKeys(parts) {
		text, err := strconv.Unquote(parts[k])
		if err != nil {
			return "", fault.New(fault.Invalid, "read the journal", "the text of "+name+" is not readable", "envctl runs")
		}
		b.WriteString(text)
	}
	return b.String(), nil
}
