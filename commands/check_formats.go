package commands

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"

	"envctl/internal/ui"
	"envctl/playbooks/check"
)

// SARIF 2.1.0, as far as code scanners read it.
type sarif struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID              string            `json:"ruleId"`
	Level               string            `json:"level"`
	Message             sarifText         `json:"message"`
	Locations           []sarifLocation   `json:"locations"`
	PartialFingerprints map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	PhysicalLocation struct {
		ArtifactLocation struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	} `json:"physicalLocation"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn,omitempty"`
}

func sarifOf(r *check.Report, version, prefix string) sarif {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "envctl", Version: version, Rules: []sarifRule{}}
	for _, rule := range check.Rules() {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{rule.Name, sarifText{rule.Doc}})
	}
	for _, f := range r.Findings {
		level := string(f.Severity)
		if f.Severity == check.Info {
			level = "note"
		}
		var at sarifLocation
		at.PhysicalLocation.ArtifactLocation.URI = uri(prefix + f.File)
		if f.Line > 0 {
			at.PhysicalLocation.Region = &sarifRegion{f.Line, f.Column}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Rule, Level: level, Message: sarifText{headline(f) + "\nfix: " + f.Fix}, Locations: []sarifLocation{at},
			PartialFingerprints: map[string]string{"envctl/v1": strings.Join([]string{f.Rule, f.Component, f.Environment, f.Variable, f.File}, "|")},
		})
	}
	return sarif{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}

// uri escapes what a relative URI may not hold.
func uri(path string) string {
	return (&url.URL{Path: path}).String()
}

func headline(f check.Finding) string {
	s := inEnvironment(f)
	if f.Variable != "" {
		s = f.Variable + ": " + s
	}
	return s
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes a test case per rule: one with errors fails, one with
// warnings says so and passes.
func (a *app) writeJUnit(r *check.Report) error {
	s := junitSuite{Name: "envctl check"}
	for _, rule := range check.Rules() {
		c := junitCase{Class: "envctl.check", Name: rule.Name}
		var failed, said []string
		for _, f := range r.Findings {
			line := fmt.Sprintf("%s: %s\n  fix: %s", f.Place(), headline(f), f.Fix)
			switch {
			case f.Rule != rule.Name:
			case f.Severity == check.Error:
				failed = append(failed, line)
			default:
				said = append(said, string(f.Severity)+": "+line)
			}
		}
		if len(failed) > 0 {
			s.Failures++
			c.Failure = &junitFailure{ui.Clean(numbered(len(failed), "finding") + ": " + rule.Doc), ui.Clean(strings.Join(failed, "\n"))}
		}
		c.Output = ui.Clean(strings.Join(said, "\n"))
		s.Cases = append(s.Cases, c)
	}
	s.Tests = len(s.Cases)
	out, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(a.ui.Out, xml.Header+string(out))
	return nil
}

// writeGitHub writes a workflow command per finding.
func (a *app) writeGitHub(r *check.Report, prefix string) {
	data, property := workflowData, workflowProperty
	for _, f := range r.Findings {
		level := string(f.Severity)
		if f.Severity == check.Info {
			level = "notice"
		}
		at := "file=" + property.Replace(prefix+f.File)
		if f.Line > 0 {
			at += fmt.Sprintf(",line=%d", f.Line)
			if f.Column > 0 {
				at += fmt.Sprintf(",col=%d", f.Column)
			}
		}
		a.ui.Print("::%s %s,title=%s::%s", level, at, property.Replace(f.Rule), data.Replace(headline(f)+"\nfix: "+f.Fix))
	}
}
