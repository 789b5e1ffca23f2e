package check

import (
	"context"
	"fmt"
	"strings"

	"envctl/internal/fault"
	"envctl/naming"
	"envctl/providers"
)

// ghosts reports what vault kv put secret/data/… has left beside the paths of an
// environment: values that nothing reads, under a name that looks right.
func (p *project) ghosts(ctx context.Context, s *shelf, own func(*component) naming.Path) error {
	store, err := s.live.Store(s.live.Environment)
	if err != nil {
		return err
	}
	haunted, ok := store.(providers.Ghosts)
	if !ok {
		return nil
	}
	denied := ""
	for _, c := range p.components {
		ghost, err := haunted.Ghost(ctx, own(c))
		switch {
		case err == nil:
			c.add(p.ghostFinding(s, own(c), ghost))
		case fault.Is(err, fault.NotFound, fault.Deleted, fault.Destroyed):
		case fault.Is(err, fault.Denied): // as policies should have it
			denied = own(c).String()
		default:
			return err
		}
	}
	if denied != "" {
		p.notes = append(p.notes, fmt.Sprintf("%s was not asked for %s: the token may not read data/%s, which is as it should be for a service's", storeGhost, s.live.Environment.Name, denied))
	}
	return nil
}

func (p *project) ghostFinding(s *shelf, path naming.Path, ghost providers.Bundle) Finding {
	mount, env := p.Vault.Mount, s.live.Environment
	there := s.have[path]
	var lost, differ []string
	for _, k := range sortedKeys(ghost.Values) {
		switch v := there.Values[k]; {
		case !v.IsSet():
			lost = append(lost, k)
		case !v.Equal(ghost.Values[k]):
			differ = append(differ, k)
		}
	}
	const day = "2006-01-02 15:04:05Z"
	at := p.inFile("components", path.Component)
	f := Finding{
		Rule: storeGhost, Environment: env.Name, File: at.File, Line: at.Line, Column: at.Column,
		Message: fmt.Sprintf("%s/data/%s holds %s, written %s by the API's form of the path (vault kv put %s/data/…): nothing reads them there",
			mount, path, plural(len(ghost.Values), "key"), ghost.Created.Format(day), mount),
	}
	if keys := append(lost, differ...); len(keys) == 1 {
		f.Variable = keys[0]
	}
	if len(lost) > 0 {
		f.Message += fmt.Sprintf("; %s lacks %s", path, strings.Join(lost, ", "))
	}
	if len(differ) > 0 {
		f.Message += fmt.Sprintf("; %s holds another %s", path, strings.Join(differ, ", "))
		if there.Created.After(ghost.Created) {
			f.Message += fmt.Sprintf(", of later (%s)", there.Created.Format(day))
		}
	}
	remove := fmt.Sprintf("vault kv metadata delete -mount=%s data/%s", mount, path)
	f.Fix = "run " + remove
	if len(lost)+len(differ) > 0 {
		consent := "--yes"
		if env.Protected || naming.IsProduction(env.Name) {
			consent = "--confirm " + env.Name
		}
		f.Fix = fmt.Sprintf("to take its values over, run vault kv get -mount=%s -format=json -field=data data/%s | envctl import - --format json --env %s --component %s %s; then %s",
			mount, path, env.Name, path.Component, consent, f.Fix)
	}
	return f
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
