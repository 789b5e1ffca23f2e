package dokploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/dotenv"
	"envctl/providers/internal/rollout"
)

// ManagedVariable lists, in the environment text itself, the names that envctl
// wrote there.
const ManagedVariable = "ENVCTL_VARIABLES"

var _ providers.Stager = (*Deployer)(nil)

// Stage brings r's values into the component's environment text and changes no
// other byte, without deploying it. Errors are Deploy's.
func (d *Deployer) Stage(ctx context.Context, r providers.Release) error {
	if err := check(r); err != nil {
		return err
	}
	id, err := d.find(ctx, r)
	if err != nil {
		return err
	}
	return d.write(ctx, r, id)
}

// lock keeps this machine's other runs away from a service's text.
func (d *Deployer) lock(ctx context.Context, id string) (func() error, error) {
	dir := filepath.Join(d.c.StateDir, "dokploy")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Newf(fault.Unavailable, "create "+dir, "check the folder's permissions", "the folder cannot be made")
	}
	sum := sha256.Sum256([]byte(d.http.base.String() + " " + id))
	return atomicfile.Lock(ctx, filepath.Join(dir, hex.EncodeToString(sum[:8])+".lock"))
}

// rounds bounds how often a write begins anew because someone else wrote first.
const rounds = 3

// write is the one place that changes a text: locked, read twice before, since
// the second reading is what the write stands on, and once after.
func (d *Deployer) write(ctx context.Context, r providers.Release, id string) error {
	return d.change(ctx, rollout.Op(r), again(r), id, func(text secret.Value) (secret.Value, error) { return edit(text, r) })
}

func (d *Deployer) change(ctx context.Context, op, again, id string, edit func(text secret.Value) (secret.Value, error)) (err error) {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	before, err := d.one(ctx, op, id)
	if err != nil {
		return err
	}
	for round := 1; ; round++ {
		want, err := edit(before.text)
		if err != nil {
			return err
		}
		if want.Equal(before.text) {
			return nil
		}
		now, err := d.one(ctx, op, id)
		if err != nil {
			return err
		}
		why := fault.New(fault.Conflict, op, "someone else keeps writing the environment text; nothing was written", "find out who writes it in Dokploy, then "+again)
		if now.text.Equal(before.text) {
			var done bool
			if done, why = d.put(ctx, op, id, before.text, want); done {
				return why
			}
		}
		if round == rounds || ctx.Err() != nil {
			return why
		}
		before = now // theirs is the text to change now: nothing of it is lost
	}
}

// put writes want over before once, and reads it back. Not done means that the
// text is still as before, and why.
func (d *Deployer) put(ctx context.Context, op, id string, before, want secret.Value) (done bool, err error) {
	a, unsure, writeErr := d.http.post(ctx, op, "compose.update", map[string]string{"composeId": id, "env": want.Reveal()})
	switch {
	case writeErr == nil && len(a.body) == 0: // that is how it answers for an unknown id
		return true, fault.New(fault.NotFound, op, "the service is gone from Dokploy; nothing was written", "look for it in Dokploy: it may have been deleted or renamed")
	case writeErr != nil && !unsure && !fault.Is(writeErr, fault.Unavailable):
		return true, writeErr
	}
	// What was begun is settled, even where ctx has just ended.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*d.http.timeout)
	defer cancel()
	now, err := d.one(after, op, id)
	switch {
	case err != nil && writeErr != nil && !unsure:
		return true, writeErr
	case err != nil:
		return true, fault.Newf(fault.Unknown, op, "run envctl doctor, then the command again", "the environment text was written but cannot be read back (%v)", err)
	case now.text.Equal(want):
		return true, nil
	case !now.text.Equal(before):
		return true, fault.New(fault.Conflict, op, "someone else wrote the environment text at the same moment; theirs is left as it is, and nothing was deployed",
			"look at the text in Dokploy, then run the command again")
	case writeErr == nil:
		writeErr = fault.New(fault.Conflict, op, "the environment text is as before the write: someone put it back, or Dokploy did not keep it", "look at the text in Dokploy, then run the command again")
	}
	return false, writeErr
}

// variables are what the text has to say for r, beside the notes.
func variables(r providers.Release) map[string]secret.Value {
	all := map[string]secret.Value{"ENV": secret.New(r.Environment)}
	maps.Copy(all, r.Values)
	all[providers.MarkerVariable] = secret.New(r.Marker)
	return all
}

// differing returns the variables of r that text does not say as they are released.
func (d *Deployer) differing(text secret.Value, r providers.Release) []string {
	have, err := readText("", text)
	if err != nil {
		return []string{"the text as a whole"}
	}
	var out []string
	for name, v := range variables(r) {
		if !have[name].Equal(v) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func readText(op string, text secret.Value) (map[string]secret.Value, error) {
	reading, err := dotenv.ReadAs(dotenv.Dokploy, "the environment text", []byte(text.Reveal()), nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, "repair the text in Dokploy")
	}
	return reading.Values(), nil
}

// edit returns text with r in it: its variables set, those that an earlier
// release wrote and this one has not taken away, every other byte as it was.
func edit(text secret.Value, r providers.Release) (secret.Value, error) {
	op := rollout.Op(r)
	have, err := readText(op, text)
	if err != nil {
		return secret.Value{}, err
	}
	if err := known(text, r); err != nil {
		return secret.Value{}, err
	}
	want := variables(r)
	want[ManagedVariable] = names(r.Values)
	return apply(op, []byte(text.Reveal()), have, managed(have), want)
}

// names is ManagedVariable's value for what a release brings.
func names(values map[string]secret.Value) secret.Value {
	return secret.New(strings.Join(slices.Sorted(maps.Keys(values)), ","))
}

// apply sets what is wanted in src, in which have is read, and takes away what is
// managed and not wanted.
func apply(op string, src []byte, have map[string]secret.Value, managed []string, want map[string]secret.Value) (secret.Value, error) {
	for _, name := range managed {
		if _, still := want[name]; still || !have[name].IsSet() {
			continue
		}
		e, err := dotenv.Unset(src, name, dotenv.Dokploy)
		if err != nil {
			return secret.Value{}, fault.Wrap(err, fault.KindOf(err), op+": take away "+name, "take the variable out of the text in Dokploy by hand")
		}
		if len(e.Lines) > 1 {
			return secret.Value{}, fault.Newf(fault.Refused, op+": take away "+name, "take the others out of the text in Dokploy, then run the command again",
				"the text has %d lines of it, of which a release wrote one", len(e.Lines))
		}
		src = e.Src
	}
	names := slices.Sorted(maps.Keys(want))
	slices.SortStableFunc(names, func(a, b string) int { // each change reads the whole text back: the long ones last
		return want[a].Len()>>12 - want[b].Len()>>12
	})
	for _, name := range names {
		if have[name].IsSet() && have[name].Equal(want[name]) {
			continue
		}
		e, err := dotenv.Set(src, name, want[name], dotenv.Dokploy)
		if err != nil {
			return secret.Value{}, fault.Wrap(err, fault.KindOf(err), op, fault.HintOf(err))
		}
		src = e.Src
	}
	return secret.New(string(src)), nil
}
