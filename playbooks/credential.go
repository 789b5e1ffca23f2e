package playbooks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// Credential is one service's way into the store, to be issued: what kind, and
// where its values go. They are in no receipt, no answer and no log: the store
// shows them once, and whoever is to hold them gets them from here.
type Credential struct {
	Target
	Kind string // providers.CredentialToken or CredentialAppRole
	Dir  string // a folder for a file of mode 0600; "" hands it to the deployer
}

// credentials opens an environment's store with the administrator's token.
func (w *World) credentials(e config.Environment) (providers.Credentials, error) {
	s, err := w.policies(e)
	if err != nil {
		return nil, err
	}
	c, ok := s.(providers.Credentials)
	if !ok {
		return nil, fault.New(fault.Refused, "issue credentials for "+e.Name, "the store has none", "leave out --with-credentials")
	}
	return c, nil
}

// file is where the values go, "" where the deployer holds them.
func (c Credential) file() string {
	if c.Dir == "" {
		return ""
	}
	return filepath.Join(c.Dir, c.Environment.Name+"-"+c.Component+".env")
}

// keeper returns the deployer that holds the values.
func (w *World) keeper(t Target) (providers.Keeper, error) {
	d, err := w.Deployer(t.Environment, t.Component)
	if err != nil {
		return nil, err
	}
	k, ok := d.(providers.Keeper)
	if !ok {
		return nil, fault.Newf(fault.Usage, "issue a credential for "+t.Component+" in "+t.Environment.Name, "add --credentials-dir DIR, a folder for files of mode 0600", "the environment's deployer cannot hold it")
	}
	return k, nil
}

// where says for people where the values go.
func (c Credential) where(w *World) (string, error) {
	if f := c.file(); f != "" {
		return f, nil
	}
	d, err := w.Deployer(c.Environment, c.Component)
	if err != nil {
		return "", err
	}
	if _, err := w.keeper(c.Target); err != nil {
		return "", err
	}
	return "the service's environment in " + d.Describe(), nil
}

// issuing returns the step that lets a target's services in, and what to say of
// it; none where they have a credential of envctl's already.
func (w *World) issuing(ctx context.Context, c Credential, creation Creation) ([]plan.Step, []plan.Fact, error) {
	where, err := c.where(w)
	if err != nil {
		return nil, nil, err
	}
	policy, err := w.PolicyName(c.Target)
	if err != nil {
		return nil, nil, err
	}
	needed := false
	if creation.rebuilt == nil {
		s, err := w.credentials(c.Environment)
		if err != nil {
			return nil, nil, err
		}
		all, err := s.Issued(ctx, policy)
		if err != nil {
			return nil, nil, err
		}
		needed = !slices.ContainsFunc(all, func(have providers.Credential) bool { return have.Kind == c.Kind && have.Mark != "" })
	}
	if !creation.wants("credential."+c.Component, needed) {
		return nil, nil, nil
	}
	what := map[string]string{
		providers.CredentialToken:   "a token that lives while it is renewed each week",
		providers.CredentialAppRole: "a role and a secret to log in with",
	}[c.Kind]
	return []plan.Step{w.credentialStep(c, policy)}, []plan.Fact{{Label: "issue", Text: fmt.Sprintf("%s, of %s alone, to %s", what, policy, where)}}, nil
}

// credentialStep issues a credential, hands its values over, and proves by using
// it what it can and what it cannot. The mark is journaled before: what an attempt
// issued that was cut off is revoked, as its value is known to nobody.
func (w *World) credentialStep(c Credential, policy string) plan.Step {
	return plan.Step{
		ID: "credential." + c.Component, Title: "issue a credential of " + policy, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := w.credentials(c.Environment)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if cut {
				if err := w.revokeMarked(ctx, s, policy, r[fieldMark]); err != nil {
					return nil, err
				}
			} else {
				mark := make([]byte, 8)
				if _, err := io.ReadFull(w.Rand, mark); err != nil {
					return nil, fault.Wrap(err, fault.Internal, "issue a credential", "")
				}
				r = plan.Receipt{fieldMark: hex.EncodeToString(mark), "policy": policy, "kind": c.Kind, "component": c.Component}
				if f := c.file(); f != "" {
					r["file"] = clip(f)
				}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			issued, err := s.Issue(ctx, policy, c.Kind, r[fieldMark])
			if err != nil {
				return nil, err
			}
			can, cannot, err := w.reach(c.Target)
			if err != nil {
				return nil, err
			}
			if err := s.Prove(ctx, issued, can, cannot); err != nil {
				return nil, err
			}
			if err := w.handOver(ctx, c, r[fieldMark], issued.Values); err != nil {
				return nil, err
			}
			r["accessor"], r["can"], r["cannot"] = issued.Accessor, clip(list(paths(can))), clip(list(paths(cannot)))
			return r, nil
		},
		Undo: func(ctx context.Context, r plan.Receipt) error {
			if r[fieldMark] == "" {
				return nil
			}
			s, err := w.credentials(c.Environment)
			if err != nil {
				return err
			}
			return errors.Join(w.takeBack(ctx, c, r[fieldMark]), w.revokeMarked(ctx, s, policy, r[fieldMark]))
		},
	}
}

func paths(all []naming.Path) []string {
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = p.String()
	}
	return out
}

// reach returns the paths that a target's services read, and those of the same
// components in every other environment, which they must not.
func (w *World) reach(t Target) (can, cannot []naming.Path, err error) {
	if can, err = w.policyPaths(t); err != nil {
		return nil, nil, err
	}
	var names []string
	for _, e := range w.Project.Environments {
		if !naming.IsPattern(e.Key) {
			names = append(names, e.Key)
		}
	}
	for _, name := range append(names, naming.Production) {
		for _, p := range can {
			p.Environment = name
			if !slices.Contains(can, p) && !slices.Contains(cannot, p) {
				cannot = append(cannot, p)
			}
		}
	}
	return can, cannot, nil
}

// revokeMarked ends what one run issued, and what logged in with it; the role
// stays while it has other secrets.
func (w *World) revokeMarked(ctx context.Context, s providers.Credentials, policy, mark string) error {
	all, err := s.Issued(ctx, policy)
	if err != nil {
		return err
	}
	others := false
	for _, c := range all {
		if c.Mark == mark {
			if err := s.Revoke(ctx, c); err != nil {
				return err
			}
		} else {
			others = others || c.Kind == providers.CredentialAppRole
		}
	}
	if others {
		return nil
	}
	for _, c := range all {
		if c.Mark == "" && c.Kind == "role" {
			return s.Revoke(ctx, c)
		}
	}
	return nil
}

// fileMark begins a credential's file; the mark of the run follows.
const fileMark = "# issued by envctl "

// handOver gives the values to who is to hold them, and reads them back.
func (w *World) handOver(ctx context.Context, c Credential, mark string, values map[string]secret.Value) error {
	file := c.file()
	if file == "" {
		k, err := w.keeper(c.Target)
		if err != nil {
			return err
		}
		return k.Keep(ctx, w.bare(c.Target), mark, values)
	}
	src := []byte(fileMark + mark + ", for " + w.Path(c.Target).String() + "\n")
	for _, name := range sortedKeys(values) {
		e, err := dotenv.Set(src, name, values[name], dotenv.Compose, dotenv.Sh)
		if err != nil {
			return err
		}
		src = e.Src
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fault.Newf(fault.Unavailable, "create "+c.Dir, "check the folder's permissions", "it cannot be made")
	}
	if err := atomicfile.Write(file, src, 0o600); err != nil {
		return err
	}
	back, err := os.ReadFile(file)
	if err == nil && string(back) != string(src) {
		err = fault.New(fault.No, "read back "+file, "it is not what was written", "look who else writes there")
	}
	return fault.Wrap(err, fault.Unavailable, "read back "+file, "check the folder's permissions")
}

// takeBack removes the values from where handOver put them, if they still are this
// run's.
func (w *World) takeBack(ctx context.Context, c Credential, mark string) error {
	file := c.file()
	if file == "" {
		k, err := w.keeper(c.Target)
		if err != nil {
			return err
		}
		return k.Keep(ctx, w.bare(c.Target), mark, nil)
	}
	have, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.HasPrefix(string(have), fileMark+mark+",") {
		return nil
	}
	if err == nil {
		err = os.Remove(file)
	}
	return fault.Wrap(err, fault.Unavailable, "remove "+file, "remove it by hand")
}

// revokeStep ends every credential of a target's policy, and what logged in with
// one: nobody can give them back.
func (w *World) revokeStep(t Target, policy string) plan.Step {
	return plan.Step{
		ID: "revoke." + t.Component, Title: "revoke the credentials of " + policy, Risk: plan.Writes,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			s, err := w.credentials(t.Environment)
			if err != nil {
				return nil, err
			}
			all, err := s.Issued(ctx, policy)
			if err != nil {
				return nil, err
			}
			r, cut := page.Prior()
			if !cut && len(all) == 0 {
				return nil, nil
			}
			if !cut {
				r = plan.Receipt{"policy": policy, "revoked": strconv.Itoa(len(all))}
			}
			if err := page.Intend(r); err != nil {
				return nil, err
			}
			for _, c := range all {
				if err := s.Revoke(ctx, c); err != nil {
					return nil, err
				}
			}
			return r, nil
		},
		Verify: func(ctx context.Context, r plan.Receipt) error {
			if r["policy"] == "" {
				return nil
			}
			s, err := w.credentials(t.Environment)
			if err != nil {
				return err
			}
			all, err := s.Issued(ctx, policy)
			if err == nil && len(all) > 0 {
				err = fault.Newf(fault.No, "revoke the credentials of "+policy, "run envctl env delete "+t.Environment.Name+" --with-policy again", "%d are still there", len(all))
			}
			return err
		},
	}
}

// planRevokes finds the policies that let somebody in.
func (w *World) planRevokes(ctx context.Context, e config.Environment, args map[string]string, fact func(string, string, ...any)) error {
	s, err := w.policies(e)
	if err != nil {
		return err
	}
	issuer, ok := s.(providers.Credentials)
	if !ok {
		return nil
	}
	for _, name := range w.Project.ComponentNames() {
		policy, err := w.PolicyName(Target{e, name})
		if err != nil {
			return err
		}
		all, err := issuer.Issued(ctx, policy)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			args[argRevoke+name] = "true"
			fact("revoke", "%d credentials of %s: cannot be undone", len(all), policy)
		}
	}
	return nil
}
