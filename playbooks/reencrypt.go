package playbooks

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"envctl/internal/fault"
	"envctl/internal/plan"
	"envctl/internal/secret"
	"envctl/providers"
)

const (
	stepReencrypt = "reencrypt"
	stepRetire    = "retire"
	secondRound   = ":" + stepRetire // ends the ids of a second deploy and verify

	// What a reencrypt command finds in its environment beside the component's own
	// variables.
	oldKeyVariable, newKeyVariable = "ENVCTL_OLD_KEY", "ENVCTL_NEW_KEY"

	fieldKeys = "keys" // the fingerprint of the keys that data was re-encrypted under
)

// reencryption adds the steps that make old keys unneeded, and retire them: the
// command, the write of what stays, and what brings that to the processes. From
// the command on the run only goes forward: some data may need the new key then,
// and some still the old one, so both stay until it has succeeded.
func (ro rotating) reencryption(p *plan.Plan, d rollouts) error {
	r := ro.r
	job := ro.job(nil)
	if ro.rebuilt == nil {
		if err := ro.w.Jobs.Check(job); err != nil {
			return err
		}
	}
	p.Facts = append(p.Facts,
		plan.Fact{Label: "reencrypt", Text: job.Command + ", with the environment's values, once the application has the new key"},
		plan.Fact{Label: "forward", Text: "from then on the run is not undone, only finished: every key stays until the command has succeeded"})
	var verified []string
	for _, s := range d.after {
		if strings.HasPrefix(s.ID, "verify") {
			verified = append(verified, s.ID)
		}
	}
	p.Steps = append(p.Steps, ro.reencryptStep(job, verified))
	ring, _ := secret.ParseRing(ro.cur.Values[r.Recipe.Variable])
	gone := r.retires(len(ring) + 1)
	if !ro.wants(stepRetire, gone != "") {
		return nil
	}
	p.Facts = append(p.Facts, plan.Fact{Label: stepRetire, Text: gone + ", and deploys again"})
	for i := range p.Steps { // what these read back is there until then
		if p.Steps[i].Verify != nil {
			p.Steps[i].Until = stepRetire
		}
	}
	var wrote *written // what goes is no variable of a process where it is a single key
	if r.Recipe.Ring {
		wrote = &written{}
	}
	second, err := ro.w.rollouts(ro.t, wrote, secondRound)
	if err != nil {
		return err
	}
	change := ro.retirement()
	change.ID = stepRetire
	if wrote == nil {
		wrote = &written{}
	}
	retire := ro.w.writeStep(change, ro.store, change.Read, wrote)
	retire.Title = "retire " + gone
	if gone == "" {
		retire.Title = stepRetire // made again: its journal has the words
	}
	p.Steps = append(append(p.Steps, retire), second.after...)
	return nil
}

// job is the reencrypt command with what it gets.
func (ro rotating) job(values map[string]secret.Value) providers.Job {
	return providers.Job{
		Op:      "re-encrypt with " + ro.r.Recipe.Variable,
		Command: ro.r.Recipe.Reencrypt, Project: ro.w.Project.Name, Environment: ro.t.Environment.Name, Component: ro.t.Component, Values: values,
	}
}

// reencryptStep runs the command, once the processes are known to have the new
// key: what they encrypted with another one later would be lost.
func (ro rotating) reencryptStep(job providers.Job, verified []string) plan.Step {
	v := ro.r.Recipe.Variable
	return plan.Step{
		ID: stepReencrypt, Title: "re-encrypt: " + clip(job.Command), Risk: plan.Irreversible,
		Do: func(ctx context.Context, page *plan.Page) (plan.Receipt, error) {
			for _, id := range verified {
				if r, _ := page.Receipt(id); r["evidence"] == "" {
					return nil, fault.Newf(fault.No, job.Op, "let the processes be read: envctl doctor", "no running process shows that the application has the new key, so nothing is re-encrypted: %s", r["why"])
				}
			}
			if err := ro.w.Jobs.Check(job); err != nil {
				return nil, err
			}
			now, err := ro.w.current(ctx, ro.store, ro.t)
			if err != nil {
				return nil, err
			}
			values, err := ro.jobValues(ctx, now)
			if err != nil {
				return nil, err
			}
			key, err := ro.w.Fingerprints(ctx, ro.store)
			if err != nil {
				return nil, err
			}
			receipt := plan.Receipt{"command": clip(job.Command), fieldKeys: key.Fingerprint(now.Values[v])}
			if err := page.Intend(receipt); err != nil {
				return nil, err
			}
			work := ro.job(values)
			work.Started = func(pid int) error { return plan.Started(ctx, pid) }
			if err := ro.w.Jobs.Run(ctx, work); err != nil {
				return nil, err
			}
			receipt[fieldProven] = clip("re-encrypted: " + job.Command + " exited with 0")
			return receipt, nil
		},
	}
}

// jobValues is the environment of a reencrypt command: the component's variables,
// and the two keys.
func (ro rotating) jobValues(ctx context.Context, now providers.Bundle) (map[string]secret.Value, error) {
	rendered, err := ro.w.Render(ctx, ro.store, ro.t, nil)
	if err != nil {
		return nil, err
	}
	v := ro.r.Recipe.Variable
	ring, err := secret.ParseRing(now.Values[v])
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "re-encrypt with "+v, "")
	}
	old := now.Values[ro.r.hold()]
	if ro.r.Recipe.Ring && len(ring) > 1 {
		old = ring[1]
	}
	if !old.IsSet() {
		return nil, fault.New(fault.No, "re-encrypt with "+v, "the old key is gone", "look with envctl history "+v+ro.t.on())
	}
	values := maps.Clone(rendered.Variables)
	values[oldKeyVariable], values[newKeyVariable] = old, ring[0]
	return values, nil
}

// retirement is the write that leaves only the keys that are needed still. Where
// the keys are others than those of the re-encryption it leaves them as they are:
// there is data that nobody re-encrypted.
func (ro rotating) retirement() Change {
	r, t := ro.r, ro.t
	v := r.Recipe.Variable
	same := false
	c := Change{
		Target: t, Playbook: "rotate " + r.Name, Deploy: true, Keys: []string{v}, ReadBack: true, Anew: true,
		Again: "envctl rotate " + r.Name + t.on() + " --finish",
		Read: func(ctx context.Context, page *plan.Page) (providers.Bundle, error) {
			now, err := ro.w.current(ctx, ro.store, t)
			if err != nil {
				return now, err
			}
			key, err := ro.w.Fingerprints(ctx, ro.store)
			if err != nil {
				return now, err
			}
			done, _ := page.Receipt(stepReencrypt)
			same = done[fieldKeys] == key.Fingerprint(now.Values[v])
			return now, nil
		},
		Make: func(now providers.Bundle) (providers.Patch, error) {
			if !same {
				return providers.Patch{}, nil
			}
			return r.retiring(now)
		},
	}
	if hold := r.hold(); hold != "" {
		c.Keys = []string{hold}
	}
	return c
}

// finishFernet plans what a rotation has left: re-encrypting with the newest key,
// and retiring the old ones.
func (w *World) finishFernet(ctx context.Context, ro rotating) (*plan.Plan, error) {
	r, t := ro.r, ro.t
	v := r.Recipe.Variable
	op := "finish the rotation of " + v
	if r.Recipe.Reencrypt == "" && ro.rebuilt == nil {
		return nil, fault.New(fault.Usage, op, "its recipe has no reencrypt command: old keys are retired by the next rotation, as keep says", "envctl rotate "+r.Name+t.on())
	}
	if err := w.needsTrust(op, r.Recipe); err != nil && ro.rebuilt == nil {
		return nil, err
	}
	ring, err := secret.ParseRing(ro.cur.Values[v])
	if err != nil && ro.rebuilt == nil {
		return nil, fault.Wrap(err, fault.Invalid, op, fmt.Sprintf("look at it with envctl get %s%s --reveal", v, t.on()))
	}
	gone := r.retires(len(ring))
	if ro.rebuilt == nil && (gone == "" || r.hold() != "" && !ro.cur.Values[r.hold()].IsSet()) {
		return nil, fault.Newf(fault.NotFound, op, "look with envctl history "+v+t.on(), "%s has no old key to retire", ro.cur.Path)
	}
	job := ro.job(nil)
	if ro.rebuilt == nil {
		if err := w.Jobs.Check(job); err != nil {
			return nil, err
		}
	}
	c := ro.retirement()
	c.Args = map[string]string{"name": r.Name, "finish": "true"}
	c.Facts = []plan.Fact{
		{Label: "reencrypt", Text: job.Command + ", with the environment's values"},
		{Label: "forward", Text: "from then on the run is not undone, only finished: every key stays until the command has succeeded"},
		{Label: stepRetire, Text: gone},
	}
	c.Extend = func(p *plan.Plan, d rollouts) error {
		first := []plan.Step{}
		var verified []string
		for _, at := range d.targets {
			step := w.verifyStep(at, "verify."+at.Component+":now", nil)
			step.Title, step.Until = "see that the application has the new key", "write"
			first, verified = append(first, step), append(verified, step.ID)
		}
		first = append(first, ro.reencryptStep(job, verified))
		p.Steps = append(append(p.Steps[:len(d.before):len(d.before)], first...), p.Steps[len(d.before):]...)
		return nil
	}
	return ro.stubbed(c).planOn(ctx, w, ro.store, ro.cur)
}
