package playbooks

import (
	"fmt"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/secret"
)

// verdict follows the chain: store → rendered → deployer → container-config →
// process, and names the first hop whose value differs. The running process is the truth.
func (tr *tracing) verdict(t *Trace) TraceVerdict {
	if err := tr.layers.TemplateErr; err != nil {
		return TraceVerdict{Status: "unknown", Because: "the template cannot be read: " + err.Error(), Fix: "correct " + tr.comp.Template}
	}
	if tr.storeErr != nil {
		return TraceVerdict{Status: "unknown", Because: "the store cannot be asked: " + tr.storeErr.Error(), Fix: "envctl doctor"}
	}
	want, has := tr.expected()
	if tr.linked() {
		if v, done := tr.localVerdict(t, want, has); done {
			return v
		}
	}
	if !has {
		return tr.missing(t)
	}
	if tr.layers.Template == nil || tr.template != nil {
		if v, done := tr.undeclared(t); done {
			return v
		}
	} else {
		return tr.notEmitted()
	}
	if v, done := tr.toldVerdict(t, want); done {
		return v
	}
	return tr.altered(tr.halfway(tr.runningVerdict(t, want)))
}

// altered tells of a value that arrives as the template makes it, and not as the
// store has it: the processes are up to date, and hold something else.
func (tr *tracing) altered(v TraceVerdict) TraceVerdict {
	if v.Status != "consistent" || tr.t.Environment.Deploy.Kind == config.DeployNone {
		return v
	}
	for _, p := range tr.rendered.Problems {
		if p.Variable == tr.variable && p.Changes {
			where := place(tr.comp.Template, p.Line)
			v.Status, v.Because, v.Fix = "drift", "what runs holds what "+where+" makes of the value, which is not the store's: "+p.Message, safeQuoting+" in "+where
		}
	}
	return v
}

// expected is what the running processes should hold.
func (tr *tracing) expected() (secret.Value, bool) {
	if tr.rendered == nil {
		return secret.Value{}, false
	}
	for _, p := range tr.rendered.Problems {
		if p.Variable == tr.variable && p.Rule == "template-missing-value" {
			return secret.Value{}, false
		}
	}
	v, ok := tr.rendered.Variables[tr.variable]
	if !ok && tr.layers.Template != nil && tr.template == nil {
		for _, b := range tr.rendered.Inputs { // a key that is only part of another variable, or unused
			if b.Path == tr.w.Path(tr.t) && b.Values[tr.variable].IsSet() {
				return b.Values[tr.variable], true
			}
		}
	}
	return v, ok && v.IsSet()
}

// localVerdict is for local and ci, where this machine's files are links of the
// chain and the process environment goes before them.
func (tr *tracing) localVerdict(t *Trace, want secret.Value, has bool) (TraceVerdict, bool) {
	var env, file *SourceRow
	for i := range t.Sources {
		r := &t.Sources[i]
		switch {
		case r.err != nil && r.Source == "dotenv":
			return TraceVerdict{Status: "unknown", Because: r.Location + " cannot be read: " + r.Detail, Evidence: "dotenv", Fix: "correct " + r.Location}, true
		case r.Source == "environment" && r.value.IsSet():
			env = r
		case r.Source == "dotenv" && r.value.IsSet():
			file = r // the last file wins
		}
	}
	switch {
	case env != nil && file != nil && !env.value.Equal(file.value):
		return TraceVerdict{Status: "shadowed", Because: "the shell's " + tr.variable + " goes before " + place(file.Location, file.Line), Evidence: "environment", Fix: "unset " + tr.variable}, true
	case env != nil && file == nil && has && !env.value.Equal(want):
		return TraceVerdict{Status: "shadowed", Because: "the shell's " + tr.variable + " goes before the store's", Evidence: "environment", Fix: "unset " + tr.variable}, true
	case file != nil && has && !file.value.Equal(want):
		why := "it differs from what the store gives"
		if file.MatchesVersion > 0 {
			return TraceVerdict{
				Status: "stale", Because: fmt.Sprintf("%s holds the value of version %d", place(file.Location, file.Line), file.MatchesVersion), Evidence: "dotenv",
				Fix: fmt.Sprintf("envctl get %s --env %s --raw, and put it into %s", tr.variable, tr.t.Environment.Name, file.Location),
			}, true
		}
		return TraceVerdict{
			Status: "drift", Because: place(file.Location, file.Line) + ": " + why, Evidence: "dotenv",
			Fix: fmt.Sprintf("envctl import %s --env %s --component %s, or correct the file", file.Location, tr.t.Environment.Name, tr.t.Component),
		}, true
	case !has && (file != nil || env != nil):
		if v, done := tr.undeclared(t); done {
			return v, true
		}
		evidence, where := "environment", "the shell's environment"
		if file != nil {
			evidence, where = "dotenv", place(file.Location, file.Line)
		}
		return TraceVerdict{Status: "consistent", Because: "set by " + where, Evidence: evidence}, true
	}
	return TraceVerdict{}, false
}

func (tr *tracing) missing(t *Trace) TraceVerdict {
	optional := tr.template != nil && dispensable(tr.template)
	if f, ok := codeFields(tr.layers)[tr.variable]; ok && !f.Required && tr.template == nil {
		optional = true
	}
	for _, r := range t.Sources {
		if slices.Contains([]string{"deployer", "container-config", "process"}, r.Source) && r.value.IsSet() {
			if r.MatchesVersion > 0 {
				fix := tr.deployFix()
				if !optional { // it was not meant to go
					fix = strings.Replace(tr.setFix(), "envctl set ", "envctl restore ", 1)
				}
				return TraceVerdict{Status: "stale", Because: fmt.Sprintf("%s still holds version %d, the store no longer has it", r.Location, r.MatchesVersion), Evidence: r.Source, Fix: fix}
			}
			return TraceVerdict{Status: "drift", Because: r.Location + " holds it, the store does not", Evidence: r.Source, Fix: tr.setFix()}
		}
	}
	if optional {
		return TraceVerdict{Status: "consistent", Because: "not set; it is optional, or has a default", Evidence: "store"}
	}
	if tr.layers.Template != nil && tr.template == nil {
		return TraceVerdict{Status: "missing", Because: tr.comp.Template + " does not emit it", Evidence: "template", Fix: "add " + tr.variable + " to " + tr.comp.Template}
	}
	because, fix := "declared, and no source has a value", tr.setFix()
	if !strings.HasPrefix(fix, "envctl set ") {
		because = "the newest version of the path that has it is deleted"
	}
	return TraceVerdict{Status: "missing", Because: because, Evidence: "store", Fix: fix}
}

// undeclared tells of a value that no configured layer knows.
func (tr *tracing) undeclared(t *Trace) (TraceVerdict, bool) {
	configured := false
	for _, l := range t.Layers {
		if l.State == "declared" {
			return TraceVerdict{}, false
		}
		configured = configured || l.State == "absent"
	}
	if !configured {
		return TraceVerdict{}, false
	}
	return TraceVerdict{
		Status: "undeclared", Because: "it has a value, and no layer declares it", Evidence: "layers",
		Fix: fmt.Sprintf("declare it, or run envctl unset %s --env %s --component %s", tr.variable, tr.t.Environment.Name, tr.t.Component),
	}, true
}

// notEmitted is about a store key that the template does not emit under its own
// name.
func (tr *tracing) notEmitted() TraceVerdict {
	for _, v := range tr.layers.Template.Variables {
		for _, in := range v.Inputs {
			if in.Key == tr.variable && patternComponent(in.Path) == tr.t.Component {
				return TraceVerdict{Status: "consistent", Because: "it reaches the processes as a part of " + v.Name, Evidence: "store", Fix: "envctl trace " + v.Name + " --env " + tr.t.Environment.Name}
			}
		}
	}
	return TraceVerdict{
		Status: "undeclared", Because: "the store holds it, and " + tr.comp.Template + " does not emit it", Evidence: "template",
		Fix: "add " + tr.variable + " to " + tr.comp.Template,
	}
}

// runningVerdict compares what runs with what should.
func (tr *tracing) runningVerdict(t *Trace, want secret.Value) TraceVerdict {
	held := map[string]bool{}    // containers with a deciding process that holds the wanted value
	blind := map[string]string{} // containers whose processes cannot be read
	configs := map[string]*SourceRow{}
	any := false
	for i := range t.Sources {
		r := &t.Sources[i]
		switch r.Source {
		case "container-config":
			configs[r.Location], any = r, true
		case "process":
			switch {
			case r.down:
				return TraceVerdict{
					Status: "unverified", Because: r.Location + ": " + r.Detail, Evidence: "container-config",
					Fix: "envctl logs " + tr.t.Component + " --env " + tr.t.Environment.Name,
				}
			case r.err != nil:
				blind[r.Location] = r.Detail
			case !r.decides || !r.value.IsSet():
			case r.value.Equal(want):
				held[r.Location] = true
			default:
				return tr.differs(r, fmt.Sprintf("process %d (%s) of %s", r.PID, r.Exe, r.Location))
			}
		}
	}
	if !any {
		return tr.withoutContainers(t)
	}
	evidence := "process"
	for name, conf := range configs {
		if held[name] {
			continue
		}
		why, isBlind := blind[name]
		switch {
		case isBlind && conf.value.Equal(want):
			evidence = "container-config"
		case isBlind && conf.value.IsSet():
			return tr.differs(conf, "the configuration of "+name)
		case isBlind:
			return TraceVerdict{Status: "unverified", Because: name + ": " + why, Evidence: "container-config", Fix: "envctl status --env " + tr.t.Environment.Name}
		default:
			return TraceVerdict{Status: "stale", Because: "no process of " + name + " has it: it was started before the variable was", Evidence: "process", Fix: tr.deployFix()}
		}
	}
	return TraceVerdict{Status: "consistent", Because: "every running process holds what the store gives", Evidence: evidence}
}

func (tr *tracing) differs(r *SourceRow, who string) TraceVerdict {
	if r.MatchesVersion > 0 {
		_, now := tr.variablePath()
		return TraceVerdict{Status: "stale", Because: fmt.Sprintf("%s still holds version %d, the store is at %d", who, r.MatchesVersion, now), Evidence: r.Source, Fix: tr.deployFix()}
	}
	because := who + " holds a value that no version of the store gives"
	if tr.partly {
		because = who + " holds another value than the store gives; of which version, if any, is not known"
	}
	return TraceVerdict{Status: "drift", Because: because, Evidence: r.Source, Fix: tr.deployFix()}
}

// withoutContainers is the verdict where nothing runs that counts.
func (tr *tracing) withoutContainers(t *Trace) TraceVerdict {
	if tr.t.Environment.Deploy.Kind == config.DeployNone || len(tr.comp.Services) == 0 {
		return TraceVerdict{Status: "consistent", Because: "the store has it; no deployer is configured, so nothing running was looked at", Evidence: "store"}
	}
	if v, done := tr.untoldVerdict(t); done {
		return v
	}
	for _, r := range t.Sources {
		if r.Source == "process" && r.err != nil {
			return TraceVerdict{Status: "unverified", Because: r.Detail, Evidence: "", Fix: "envctl doctor"}
		}
	}
	return TraceVerdict{Status: "unverified", Because: "no container is evidence for " + tr.t.Environment.Name, Fix: tr.deployFix()}
}
