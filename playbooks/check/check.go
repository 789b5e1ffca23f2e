// Package check asks whether the layers that declare variables agree: it reads
// files (and, asked for it, the store), and answers with findings, never values.
package check

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"envctl/internal/config"
	"envctl/internal/fault"
	"envctl/providers"
)

// Severity is how much a finding matters.
type Severity string

// The severities, from the one that fails a check to the one that hides it.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
	Off     Severity = "off"
)

// Finding is one thing that is wrong at a place. No field ever holds a value of
// the store or of a .env file.
type Finding struct {
	Rule        string   `json:"rule"`
	Severity    Severity `json:"severity"`
	Component   string   `json:"component,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Variable    string   `json:"variable"` // "" when it concerns none
	File        string   `json:"file"`     // relative to the project's folder, with slashes
	Line        int      `json:"line"`     // from 1, as is the column: the first where it is about the file as a whole
	Column      int      `json:"column"`
	Message     string   `json:"message"`
	Fix         string   `json:"fix"`

	related []string // other files whose change can bring the finding
	blind   bool     // for want of what is found here, a layer was not read
}

// Place returns file:line:column, as far as they are known.
func (f Finding) Place() string {
	s := f.File
	if f.Line > 0 {
		s += fmt.Sprintf(":%d", f.Line)
		if f.Column > 0 {
			s += fmt.Sprintf(":%d", f.Column)
		}
	}
	return s
}

// Counts sums over the components what the layers declare: variables of
// templates, fields of code, names that code accepts, names that examples set.
type Counts struct {
	Template int `json:"template"`
	Code     int `json:"code"`
	Accepted int `json:"accepted"`
	Example  int `json:"example"`
}

// Summary counts the findings that are shown.
type Summary struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
}

// Report is the answer: envctl.check/v1.
type Report struct {
	Schema      string    `json:"schema"`
	Environment string    `json:"environment,omitempty"` // of a live check of one environment
	Findings    []Finding `json:"findings"`
	Counts      Counts    `json:"counts"`
	Summary     Summary   `json:"summary"`
	Known       int       `json:"known,omitempty"` // left out because the baseline has them
	Stale       int       `json:"stale,omitempty"` // of the baseline, and no longer found
	DryRun      bool      `json:"dry_run,omitempty"`
	Fixed       []Fixed   `json:"fixed,omitempty"` // the lines added; under DryRun those that would be

	// Notes say what could not be asked. They are no findings.
	Notes []string `json:"-"`
}

// Schema names the document.
const Schema = "envctl.check/v1"

// Unreadable tells whether a layer could not be read: the answer is then
// incomplete, whatever else it says.
func (r *Report) Unreadable() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Rule == unreadable })
}

// Input is what is checked, and what of the answer is wanted.
type Input struct {
	Project    *config.Project
	Components []string // none: all
	Rules      []string // none: all; layer-unreadable is always among them
	// Changed limits the findings to those that a changed file can have brought;
	// nil: no limit.
	Changed  *Changes
	Baseline *Baseline // findings that are known already; nil: none
	Live     []Live    // none: files only
	// Bundle is a folder that a build wrote, to look in for the public variables: their
	// values in the environment of Live, and placeholders; "": none.
	Bundle string
}

// Live is the store of an environment.
type Live struct {
	Environment config.Environment
	Store       func(config.Environment) (providers.Store, error)
}

// Run checks. Its error is for what keeps the question from being asked at all:
// a severity that does not exist (Invalid), an unknown rule (Usage), a store
// that does not answer (its own kind). A layer that cannot be read is a finding.
func Run(ctx context.Context, in Input) (*Report, error) {
	severity, err := Severities(in.Project)
	if err != nil {
		return nil, err
	}
	for _, r := range in.Rules {
		if err := knownRule(r); err != nil {
			return nil, err
		}
	}
	if err := bundleOf(in); err != nil {
		return nil, err
	}
	p := newProject(in)
	p.parallel(p.components, func(c *component) { c.check(ctx) })
	p.checkProject(ctx)
	var lastShelf *shelf
	for _, live := range in.Live {
		if lastShelf, err = p.checkLive(ctx, live); err != nil {
			return nil, err
		}
	}
	if in.Bundle != "" {
		if err := p.checkBundle(in.Bundle, lastShelf); err != nil {
			return nil, err
		}
	}
	r := &Report{Schema: Schema, Findings: p.findings(), Notes: p.notes}
	if len(in.Live) == 1 {
		r.Environment = in.Live[0].Environment.Name
	}
	for _, c := range p.components {
		c.count(&r.Counts)
	}
	r.choose(in, severity)
	if in.Changed != nil {
		for _, rel := range p.files() {
			if in.Changed.halfStaged(rel) {
				r.Notes = append(r.Notes, rel+" was changed after it was staged: the file was checked, not what a commit takes (git add "+rel+", or git stash --keep-index)")
			}
		}
	}
	return r, nil
}

// choose keeps the findings that are wanted, and sums them up.
func (r *Report) choose(in Input, severity map[string]Severity) {
	kept := []Finding{}
	changed := in.Changed
	if rel, err := filepath.Rel(in.Project.Root, in.Project.File); err == nil && changed != nil && changed.Has(filepath.ToSlash(rel)) {
		changed = nil // it names the layers: another one may bring any finding
	}
	known := in.Baseline.counts()
	for _, f := range r.Findings {
		f.Severity = severity[f.Rule]
		drop := false
		switch {
		case f.Rule == unreadable:
		case f.Severity == Off,
			len(in.Rules) > 0 && !slices.Contains(in.Rules, f.Rule),
			changed != nil && !f.touches(changed):
			drop = true
		case known[keyOf(f)] > 0:
			known[keyOf(f)]--
			r.Known++
			drop = true
		}
		if drop && f.blind { // what is not wanted by its own name must not become a pass
			f.Rule, f.Severity, drop = unreadable, Error, false
		}
		if drop {
			continue
		}
		switch f.Severity {
		case Error:
			r.Summary.Errors++
		case Warning:
			r.Summary.Warnings++
		default:
		}
		kept = append(kept, f)
	}
	r.Findings = kept
	if whole := in.Changed == nil && len(in.Rules) == 0 && len(in.Components) == 0 && !r.Unreadable(); whole {
		r.Stale = in.stale(known)
	}
}

// stale counts what the baseline knows, this check looked for, and no longer
// occurs: left in the file it would hide the day it comes back.
func (in Input) stale(left map[Known]int) int {
	live := map[string]bool{}
	for _, r := range Rules() {
		live[r.Name] = r.Live
	}
	n := 0
	for k, count := range left {
		asked := !live[k.Rule] && k.Environment == "" && (k.Rule != publicNotBaked || in.Bundle != "") ||
			slices.ContainsFunc(in.Live, func(l Live) bool { return l.Environment.Name == k.Environment })
		if asked {
			n += count
		}
	}
	return n
}

func (f Finding) touches(changed *Changes) bool {
	return changed.Has(f.File) || slices.ContainsFunc(f.related, changed.Has)
}

// findings returns everything that was found, by place, each thing once: two
// components may share a file.
func (p *project) findings() []Finding {
	all := p.found
	for _, c := range p.components {
		all = append(all, c.found...)
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, knownFirst(a.Column)-knownFirst(b.Column), strings.Compare(a.Rule, b.Rule),
			strings.Compare(a.Variable, b.Variable), strings.Compare(a.Environment, b.Environment), strings.Compare(a.Message, b.Message))
	})
	all = slices.CompactFunc(all, func(a, b Finding) bool {
		return a.Environment == b.Environment && a.File == b.File && a.Line == b.Line && (a.Column == b.Column || a.Column == 0 || b.Column == 0) && a.Rule == b.Rule && a.Variable == b.Variable && a.Message == b.Message
	})
	for i := range all {
		if all[i].Line > 0 { // what is about a line as a whole stands at its beginning
			all[i].Column = max(all[i].Column, 1)
		}
	}
	return all
}

// knownFirst orders columns, an unknown one last.
func knownFirst(column int) int {
	if column == 0 {
		return math.MaxInt32
	}
	return column
}

// Severities returns each rule's severity as the project file sets it, else its
// default. A rule or severity that does not exist is Invalid, with its line and
// the nearest name; layer-unreadable always is an error.
func Severities(p *config.Project) (map[string]Severity, error) {
	out := map[string]Severity{}
	for _, r := range Rules() {
		out[r.Name] = r.Severity
	}
	if p == nil {
		return out, nil
	}
	for _, name := range sortedKeys(p.Check.Severity) {
		line, _ := p.Places().At("check", "severity", name)
		where := fmt.Sprintf("%s:%d", config.FileName, line)
		if err := knownRule(name); err != nil {
			return nil, fault.Newf(fault.Invalid, where, fault.HintOf(err), "check.severity: there is no rule %q", name)
		}
		s := Severity(p.Check.Severity[name])
		switch {
		case !slices.Contains([]Severity{Error, Warning, Info, Off}, s):
			return nil, fault.Newf(fault.Invalid, where, "write error, warning, info or off", "check.severity: %s: %q is no severity", name, string(s))
		case name == unreadable && s != Error:
			return nil, fault.Newf(fault.Invalid, where, "correct or remove the layer's path in envctl.yaml instead", "check.severity: %s is always an error: a layer that is not read is no pass", name)
		}
		out[name] = s
	}
	return out, nil
}
