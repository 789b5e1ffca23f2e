package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"envctl/internal/atomicfile"
	"envctl/internal/fault"
)

// Baseline is the list of findings that an old project lives with for now. Lines
// are not part of it: what moves stays known.
type Baseline struct {
	Schema   string  `json:"schema"`
	Findings []Known `json:"findings"`
}

// Known is one or more findings of one rule about one variable in one file.
type Known struct {
	Rule        string `json:"rule"`
	Component   string `json:"component,omitempty"`
	Environment string `json:"environment,omitempty"`
	Variable    string `json:"variable"`
	File        string `json:"file"`
	Count       int    `json:"count"`
}

// BaselineSchema names the file.
const BaselineSchema = "envctl.baseline/v1"

const maxBaseline = 16 << 20

func keyOf(f Finding) Known {
	return Known{Rule: f.Rule, Component: f.Component, Environment: f.Environment, Variable: f.Variable, File: f.File}
}

func (b *Baseline) counts() map[Known]int {
	out := map[Known]int{}
	if b != nil {
		for _, k := range b.Findings {
			n := k.Count
			k.Count = 0
			out[k] += n
		}
	}
	return out
}

// NewBaseline returns the baseline that knows a report's findings; those of
// layer-unreadable are never known.
func NewBaseline(r *Report) *Baseline {
	counts := map[Known]int{}
	for _, f := range r.Findings {
		if f.Rule != unreadable {
			counts[keyOf(f)]++
		}
	}
	b := &Baseline{Schema: BaselineSchema, Findings: []Known{}}
	for k, n := range counts {
		k.Count = n
		b.Findings = append(b.Findings, k)
	}
	slices.SortFunc(b.Findings, func(x, y Known) int {
		return strings.Compare(strings.Join([]string{x.File, x.Rule, x.Variable, x.Component, x.Environment}, "\x00"),
			strings.Join([]string{y.File, y.Rule, y.Variable, y.Component, y.Environment}, "\x00"))
	})
	return b
}

// ReadBaseline reads a baseline. NotFound, or Invalid for what is none.
func ReadBaseline(file string) (*Baseline, error) {
	data, err := atomicfile.Read(file, maxBaseline)
	if err != nil {
		if fault.Is(err, fault.NotFound) || errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "read baseline "+file, "no such file", "write one: envctl check --write-baseline --baseline "+file)
		}
		return nil, err
	}
	b := &Baseline{}
	if err := json.Unmarshal(data, b); err != nil || b.Schema != BaselineSchema {
		return nil, fault.New(fault.Invalid, "read baseline "+file, "it is no baseline", "write it anew: envctl check --write-baseline --baseline "+file)
	}
	return b, nil
}

// Write writes the baseline.
func (b *Baseline) Write(file string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, fmt.Sprintf("write baseline %s", file), "")
	}
	return atomicfile.Write(file, append(data, '\n'), 0o644)
}
