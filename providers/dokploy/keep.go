package dokploy

import (
	"context"
	"maps"
	"slices"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/dotenv"
)

// KeptVariable notes, in the environment text itself, the variables that Keep put
// there and for whom: NOTE:NAME,NAME.
const KeptVariable = "ENVCTL_KEPT"

var _ providers.Keeper = (*Deployer)(nil)

// keptIn reads the note.
func keptIn(have map[string]secret.Value) (note string, names []string) {
	note, list, ok := strings.Cut(have[KeptVariable].Reveal(), ":")
	if !ok {
		return "", nil
	}
	return note, strings.Split(list, ",")
}

// Keep changes the lines of the variables and of its note, under the same rules as
// a deployment, and deploys nothing. A service that is gone keeps nothing.
func (d *Deployer) Keep(ctx context.Context, r providers.Release, note string, values map[string]secret.Value) error {
	op := "keep variables of " + r.Project + "/" + r.Environment + "/" + r.Component + " in dokploy"
	id, err := d.find(ctx, r)
	if fault.Is(err, fault.NotFound) && len(values) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return d.change(ctx, op, "run the command again", id, func(text secret.Value) (secret.Value, error) {
		have, err := readText(op, text)
		if err != nil {
			return secret.Value{}, err
		}
		was, names := keptIn(have)
		if len(values) == 0 && was != note {
			return text, nil // somebody else's by now
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if have[name].IsSet() && !slices.Contains(names, name) && !have[name].Equal(values[name]) {
				return secret.Value{}, fault.Newf(fault.Refused, op, "take it out of the text in Dokploy, then run the command again", "the text has a line of %s already that envctl did not put there for a credential; nothing was written", name)
			}
		}
		src := []byte(text.Reveal())
		if len(values) == 0 {
			names = append(names, KeptVariable)
		}
		for _, name := range names {
			if !have[name].IsSet() || values[name].IsSet() {
				continue
			}
			e, err := dotenv.Unset(src, name, dotenv.Dokploy)
			if err != nil {
				return secret.Value{}, fault.Wrap(err, fault.KindOf(err), op+": take away "+name, "take the variable out of the text in Dokploy by hand")
			}
			src = e.Src
		}
		if len(values) == 0 {
			return secret.New(string(src)), nil
		}
		all := maps.Clone(values)
		all[KeptVariable] = secret.New(note + ":" + strings.Join(slices.Sorted(maps.Keys(values)), ","))
		for _, name := range slices.Sorted(maps.Keys(all)) {
			e, err := dotenv.Set(src, name, all[name], dotenv.Dokploy)
			if err != nil {
				return secret.Value{}, fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
			}
			src = e.Src
		}
		return secret.New(string(src)), nil
	})
}
