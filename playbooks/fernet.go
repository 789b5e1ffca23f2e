package playbooks

import (
	"context"
	"fmt"
	"slices"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

// fernetFacts says what the rotation of a ring or of a single key will do, or
// refuses what would lose data.
func (w *World) fernetFacts(t Target, r Rotation, cur providers.Bundle) ([]plan.Fact, error) {
	v := r.Recipe.Variable
	op := "rotate " + v
	if r.Recipe.Probe != nil {
		return nil, fault.New(fault.Invalid, op, "its recipe has a probe, which is for keys that sign tokens", "remove the probe: a Fernet key is proven by what it decrypts")
	}
	ring, err := secret.ParseRing(cur.Values[v])
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, op, fmt.Sprintf("look at it with envctl get %s%s --reveal", v, t.on()))
	}
	published := publishedFact(v, ring)
	keepsNew := plan.Fact{Label: "undo", Text: "keeps the new key as the last of the ring, once a process had it: data may be encrypted with it"}
	const aRing = "make it a ring (ring: true, keep: 2)"
	switch again := r.Recipe.Reencrypt != ""; {
	case r.Recipe.Ring && again:
		return append([]plan.Fact{{Label: "ring", Text: fmt.Sprintf("the new key first, %d old kept", len(ring))}, keepsNew}, published...), nil
	case r.Recipe.Ring:
		stay := min(len(ring), r.keep()-1)
		facts := []plan.Fact{{Label: "ring", Text: fmt.Sprintf("the new key first, %d old kept, %d retired", stay, len(ring)-stay)}, keepsNew}
		if len(ring) > stay {
			facts = append(facts, plan.Fact{Label: "lost", Text: "data still encrypted with a retired key can never be read again"})
		}
		if stay == 0 {
			return nil, fault.New(fault.Refused, op, "keeps no old key, so everything encrypted so far would be lost", "set keep: 2 in the recipe, or give it a reencrypt command")
		}
		return append(facts, publishedFact(v, ring[:stay])...), nil
	case !again:
		return nil, fault.New(fault.Refused, op, "a single Fernet key cannot be replaced without re-encryption: everything encrypted so far would be lost",
			aRing+", or give the recipe a reencrypt command")
	case len(ring) > 1:
		return nil, fault.Newf(fault.Refused, op, aRing, "it holds %d keys, and its recipe says that it is one", len(ring))
	case cur.Values[r.hold()].IsSet():
		return nil, fault.Newf(fault.Refused, op, "run envctl rotate "+r.Name+" --finish"+t.on()+" first", "%s holds a key that may still be needed: not all data is known to be re-encrypted", r.hold())
	}
	return append([]plan.Fact{
		{Label: "key", Text: fmt.Sprintf("the old one is kept in %s until all data is re-encrypted", r.hold())},
		{Label: "undo", Text: fmt.Sprintf("keeps the new key in %s, once a process had it: data may be encrypted with it", r.hold())},
		{Label: "outage", Text: "from the deploy to the end of the re-encryption the application cannot read what it encrypted before"},
	}, published...), nil
}

// publishedFact warns that one of the keys that stay protects nothing: what it
// encrypted is still to be read, so it is kept all the same.
func publishedFact(variable string, kept []secret.Value) []plan.Fact {
	for _, key := range kept {
		if where, ok := secret.Published(key); ok {
			return []plan.Fact{{Label: WarningFact, Text: "a key of " + variable + " that is kept is published in " + where + ": anybody can read what it encrypted, and make more"}}
		}
	}
	return nil
}

// extendFernet proves by a canary that the old key's data can be read, and, with a
// reencrypt command, has it re-encrypted and retires what is not needed any more.
func (ro rotating) extendFernet(p *plan.Plan, d rollouts) error {
	where := "in the store"
	if len(d.after) > 0 {
		where = "in the running processes"
	}
	p.Facts = append(p.Facts, plan.Fact{Label: "prove", Text: "what the old key encrypts can be read by the keys " + where})
	can := &canary{ro: ro, wrote: d.wrote}
	if ro.r.Recipe.Reencrypt != "" {
		can.readable = d.targets
	}
	ro.insert(p, d, can.step(), can.proveStep())
	command := ro.r.Recipe.Reencrypt
	switch {
	case command == "" && !ro.wants(stepReencrypt, false):
		return nil
	case ro.rebuilt == nil && len(d.after) == 0 && !ro.r.Recipe.Ring:
		return fault.New(fault.Refused, "rotate "+ro.r.Recipe.Variable, "a single Fernet key is replaced while its application is deployed, and nothing is deployed here", "make it a ring (ring: true, keep: 2)")
	case !ro.wants(stepReencrypt, len(d.after) > 0):
		p.Facts = append(p.Facts, plan.Fact{Label: "not run", Text: command + ": nothing is deployed here. Every old key stays; run envctl rotate " + ro.r.Name + " --finish" + ro.t.on() + " when the application has the new one"})
		return nil
	}
	return ro.reencryption(p, d)
}

// canary is what was encrypted with the keys in use before they are rotated.
type canary struct {
	ro     rotating
	wrote  *written
	tokens []secret.Value
	proven bool
	// readable are the targets whose processes have to be seen: what cannot be
	// verified is not re-encrypted later.
	readable []Target
}

// step encrypts the canary: with the store's newest key, and with that of every
// running process. A process whose key the store lacks has data that would be lost.
func (c *canary) step() plan.Step {
	ro, v := c.ro, c.ro.r.Recipe.Variable
	return plan.Step{
		ID: "canary", Title: "encrypt a canary with the key in use", Risk: plan.Reads,
		Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) {
			stored, err := secret.ParseRing(ro.cur.Values[v])
			if err != nil {
				return nil, fault.Wrap(err, fault.Invalid, "rotate "+v, "")
			}
			if err := c.encrypt(ro.cur.Values[v]); err != nil {
				return nil, err
			}
			for _, t := range c.readable {
				if p, err := ro.w.Evidence(ctx, t); err == nil && p.Kind == "" {
					return nil, fault.Newf(fault.Refused, "rotate "+v, "run envctl doctor; or leave reencrypt out of the recipe and run the command by hand",
						"no process of %s can be read, so nothing would show that it has the new key before its data is re-encrypted: %s", t.Component, p.Why)
				}
			}
			held := ro.w.holdings(ctx, ro.t, v)
			for _, h := range held.values {
				ring, err := secret.ParseRing(h)
				if err != nil {
					continue // not what the store's key becomes
				}
				if !slices.ContainsFunc(stored, ring[0].Equal) {
					return nil, fault.Newf(fault.Refused, "rotate "+v, "look with envctl trace "+v+ro.t.on()+"; add the process's key to the ring first, and nothing is lost",
						"a running process of %s encrypts with a key that the store does not hold: a rotation would lose what it encrypted", list(held.services))
				}
				if err := c.encrypt(h); err != nil {
					return nil, err
				}
			}
			return plan.Receipt{"by": held.by()}, nil
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}

const canaryText = "a canary of envctl"

func (c *canary) encrypt(ring secret.Value) error {
	token, err := secret.EncryptFernet(ring, []byte(canaryText), c.ro.w.Now(), c.ro.w.Rand)
	c.tokens = append(c.tokens, token)
	return err
}

// proveStep decrypts the canary with what the running processes hold, or, where
// nothing can be read of them, with what is read back from the store.
func (c *canary) proveStep() plan.Step {
	prove := func(ctx context.Context) (plan.Receipt, error) {
		ro, v := c.ro, c.ro.r.Recipe.Variable
		no := func(format string, args ...any) error {
			return fault.Newf(fault.No, "prove the rotation of "+v, "look with envctl trace "+v+ro.t.on(), format, args...)
		}
		before, after, err := ro.written(ctx, c.wrote)
		if err != nil {
			return nil, err
		}
		if before.Values[v].IsSet() { // whatever the journal says, and whoever made the canary
			if err := c.encrypt(before.Values[v]); err != nil {
				return nil, err
			}
		}
		if len(c.tokens) == 0 {
			return plan.Receipt{"by": "nothing", "why": clip(fmt.Sprintf("version %d is gone, so there is no old key to try", after.Version-1))}, nil
		}
		if !ro.r.Recipe.Ring {
			both := secret.New(after.Values[v].Reveal() + "," + after.Values[ro.r.hold()].Reveal()) //nolint:forbidigo // a ring of both
			if !c.read(both) {
				return nil, no("what the old key encrypted cannot be read with what %s holds", ro.r.hold())
			}
			c.proven = true
			return plan.Receipt{"by": "store", fieldProven: "what the old key encrypted can be read with " + ro.r.hold() + ", as read back from the store"}, nil
		}
		held := ro.w.holdings(ctx, ro.t, v)
		rings := slices.DeleteFunc(held.values, func(h secret.Value) bool { _, err := secret.ParseRing(h); return err != nil })
		by, whose := held.by(), "the running processes of "+list(held.services)
		if len(rings) == 0 {
			now, err := ro.w.current(ctx, ro.store, ro.t)
			if err != nil {
				return nil, err
			}
			rings, by, whose = []secret.Value{now.Values[v]}, "store", "the store, as read back"
		}
		for _, ring := range rings {
			if !c.read(ring) {
				return nil, no("what the old key encrypted cannot be decrypted by the ring of %s", whose)
			}
		}
		c.proven = true
		if by == "container-config" {
			whose = "the containers of " + list(held.services) + ", by their configuration"
		}
		return plan.Receipt{"by": by, fieldProven: clip("what the old key encrypted is decrypted by the ring of " + whose)}, nil
	}
	return plan.Step{
		ID: "prove", Title: "decrypt the canary", Risk: plan.Reads,
		Do: func(ctx context.Context, _ *plan.Page) (plan.Receipt, error) { return prove(ctx) },
		Verify: func(ctx context.Context, _ plan.Receipt) error {
			if c.proven {
				return nil
			}
			_, err := prove(ctx)
			return err
		},
		Undo: func(context.Context, plan.Receipt) error { return nil },
	}
}

// read tells whether a ring decrypts every canary.
func (c *canary) read(ring secret.Value) bool {
	for _, token := range c.tokens {
		if text, _, ok := secret.DecryptFernet(ring, token); !ok || string(text) != canaryText {
			return false
		}
	}
	return true
}

// putBack keeps the new key where an undo takes it back, unless no process has
// held it: what was encrypted with it in the meantime must stay readable.
func (ro rotating) putBack(ctx context.Context, before, now providers.Bundle, patch providers.Patch) error {
	v := ro.r.Recipe.Variable
	if _, changes := patch[v]; !changes {
		return nil
	}
	ring, err := secret.ParseRing(now.Values[v])
	if err != nil || !ro.used(ctx, ring[0]) {
		return nil //nolint:nilerr // it is no ring that this run wrote
	}
	if hold := ro.r.hold(); hold != "" {
		patch[hold] = ring[0]
		return nil
	}
	kept, err := secret.AppendKey(before.Values[v], ring[0])
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "undo the rotation of "+v, "")
	}
	patch[v] = kept
	return nil
}

// putBackDone recognises what putBack has left.
func (ro rotating) putBackDone(before, now providers.Bundle) bool {
	v := ro.r.Recipe.Variable
	if hold := ro.r.hold(); hold != "" {
		return before.Values[v].Equal(now.Values[v]) && now.Values[hold].IsSet()
	}
	old, err := secret.ParseRing(before.Values[v])
	if err != nil {
		return false
	}
	ring, err := secret.ParseRing(now.Values[v])
	return err == nil && len(ring) == len(old)+1 && slices.EqualFunc(old, ring[:len(old)], secret.Value.Equal)
}

// used tells whether a process may have encrypted with a key: one holds it, or
// not all of them can be seen.
func (ro rotating) used(ctx context.Context, key secret.Value) bool {
	held := ro.w.holdings(ctx, ro.t, ro.r.Recipe.Variable)
	if !held.whole {
		return true
	}
	return slices.ContainsFunc(held.values, func(h secret.Value) bool {
		ring, err := secret.ParseRing(h)
		return err == nil && slices.ContainsFunc(ring, key.Equal)
	})
}

// retiring is what a variable becomes when its old keys are not needed any more.
func (r Rotation) retiring(now providers.Bundle) (providers.Patch, error) {
	if hold := r.hold(); hold != "" {
		return providers.Patch{hold: secret.Value{}}, nil
	}
	ring, _, err := secret.RetireKeys(now.Values[r.Recipe.Variable], r.keep())
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "retire old keys of "+r.Recipe.Variable, "")
	}
	return providers.Patch{r.Recipe.Variable: ring}, nil
}

// retires says, for people, what retiring will do to a ring of so many keys, ""
// when nothing.
func (r Rotation) retires(keys int) string {
	if hold := r.hold(); hold != "" {
		return "the old key in " + hold
	}
	switch n := keys - r.keep(); {
	case n == 1:
		return "the oldest key"
	case n > 1:
		return fmt.Sprintf("the %d oldest keys", n)
	}
	return ""
}
