package commands_test

import (
	"encoding/json"
	"encoding/xml"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/playbooks/check"
	"envctl/playbooks/check/checktest"
)

// wholeFindings looks at what a script's check has printed, in any of its
// formats: each finding says where it is and what to do. Every script that
// checks is a test of this.
func wholeFindings(ts *testscript.TestScript, args []string) {
	if len(args) < 3 || args[1] != "envctl" || !slices.Contains(args, "check") || slices.Contains(args, "--list") || slices.Contains(args, "--help") || slices.Contains(args, "--fix") || slices.Contains(args, "--write-baseline") {
		return
	}
	if lack := lacking(ts.ReadFile("stdout")); len(lack) > 0 {
		ts.Fatalf("findings that are not whole:\n%s", strings.Join(lack, "\n"))
	}
}

// lacking returns what the findings of an answer lack.
func lacking(out string) []string {
	switch {
	case strings.Contains(out, `"$schema"`):
		return lackingSARIF(out)
	case strings.HasPrefix(out, "{"):
		var r check.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			return []string{err.Error()}
		}
		var all []string
		for _, f := range r.Findings {
			for _, l := range checktest.Lacks(f) {
				all = append(all, l+": "+f.Rule+" "+f.Place()+" "+f.Message)
			}
		}
		return all
	case strings.HasPrefix(out, "<"):
		return lackingJUnit(out)
	}
	text := regexp.MustCompile(`^(error|warning|info)\t[a-z-]+\t[^\t]*\t[^\t]+:[1-9]\d*:[1-9]\d*\t[^\t]+\t[^\t]+$`)
	github := regexp.MustCompile(`^::(error|warning|notice) file=[^,]+,line=[1-9]\d*,col=[1-9]\d*,title=[a-z-]+::.+%0Afix: .+$`)
	var all []string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "::") && !github.MatchString(line) || !strings.HasPrefix(line, "::") && strings.Contains(line, "\t") && !text.MatchString(line) {
			all = append(all, line)
		}
	}
	return all
}

// lackingSARIF asks what GitHub's code scanning asks of SARIF 2.1.0.
func lackingSARIF(out string) []string {
	var s struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level       string
				Message             struct{ Text string }
				PartialFingerprints map[string]string
				Locations           []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return []string{err.Error()}
	}
	var all []string
	if s.Version != "2.1.0" || len(s.Runs) != 1 || s.Runs[0].Tool.Driver.Name == "" {
		all = append(all, "a version, a run and its tool")
	}
	for _, run := range s.Runs {
		var ids []string
		for _, r := range run.Tool.Driver.Rules {
			ids = append(ids, r.ID)
		}
		for _, r := range run.Results {
			say := func(what string) { all = append(all, what+": "+r.RuleID+" "+r.Message.Text) }
			if !slices.Contains(ids, r.RuleID) {
				say("a ruleId that the driver declares")
			}
			if !slices.Contains([]string{"none", "note", "warning", "error"}, r.Level) {
				say("a level")
			}
			if r.Message.Text == "" || len(r.PartialFingerprints) == 0 {
				say("a text and a fingerprint")
			}
			if len(r.Locations) != 1 {
				say("one location")
				continue
			}
			at := r.Locations[0].PhysicalLocation
			if u, err := url.Parse(at.ArtifactLocation.URI); err != nil || u.IsAbs() || u.Host != "" || u.Path == "" || strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "..") {
				say("a relative uri")
			}
			if at.Region.StartLine < 1 || at.Region.StartColumn < 1 {
				say("a region that begins at line and column 1 or later")
			}
		}
	}
	return all
}

func lackingJUnit(out string) []string {
	var s struct {
		Cases []struct {
			Name    string `xml:"name,attr"`
			Failure string `xml:"failure"`
			Output  string `xml:"system-out"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(out), &s); err != nil {
		return []string{err.Error()}
	}
	place := regexp.MustCompile(`(?m)^(warning: |info: )?[^\s:]+:[1-9]\d*:[1-9]\d*: .+\n  fix: .+`)
	var all []string
	for _, c := range s.Cases {
		for _, t := range []string{c.Failure, c.Output} {
			if n := strings.Count(t, "  fix: "); n != len(place.FindAllString(t, -1)) {
				all = append(all, c.Name+": "+t)
			}
		}
	}
	return all
}

func TestLackingFindsWhatLacks(t *testing.T) {
	t.Parallel()
	whole := check.Finding{Rule: "store-key-unused", Severity: check.Warning, Variable: "A", File: "envctl.yaml", Line: 5, Column: 3, Message: "m", Fix: "f"}
	if l := checktest.Lacks(whole); len(l) > 0 {
		t.Errorf("a whole finding lacks %v", l)
	}
	for what, spoil := range map[string]func(*check.Finding){
		"rule":     func(f *check.Finding) { f.Rule = "no-rule" },
		"severity": func(f *check.Finding) { f.Severity = "" },
		"file":     func(f *check.Finding) { f.File = "/tmp/envctl.yaml" },
		"line":     func(f *check.Finding) { f.Line = 0 },
		"column":   func(f *check.Finding) { f.Column = 0 },
		"variable": func(f *check.Finding) { f.Variable = "" },
		"message":  func(f *check.Finding) { f.Message = "" },
		"fix":      func(f *check.Finding) { f.Fix = "" },
	} {
		f := whole
		spoil(&f)
		if l := checktest.Lacks(f); len(l) != 1 || !strings.Contains(l[0], what) {
			t.Errorf("without %s it lacks %v", what, l)
		}
	}
	for _, bad := range []string{
		"warning\tstore-key-unused\tA\tenvctl.yaml\tm\tf\n",
		"warning\tstore-key-unused\tA\tenvctl.yaml:0:1\tm\tf\n",
		"warning\tstore-key-unused\tA\tenvctl.yaml:5:3\tm\t\n",
		"::warning file=envctl.yaml,title=store-key-unused::m%0Afix: f\n",
		`{"$schema":"x","version":"2.1.0","runs":[{"tool":{"driver":{"name":"envctl","rules":[{"id":"a"}]}},"results":[{"ruleId":"a","level":"error","message":{"text":"m"},"partialFingerprints":{"a":"b"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"/x"},"region":{"startLine":1,"startColumn":1}}}]}]}]}`,
		`{"$schema":"x","version":"2.1.0","runs":[{"tool":{"driver":{"name":"envctl","rules":[{"id":"a"}]}},"results":[{"ruleId":"a","level":"error","message":{"text":"m"},"partialFingerprints":{"a":"b"},"locations":[{"physicalLocation":{"artifactLocation":{"uri":"x"}}}]}]}]}`,
		"<testsuite><testcase name=\"a\"><system-out>warning: envctl.yaml: m\n  fix: f</system-out></testcase></testsuite>",
	} {
		if len(lacking(bad)) == 0 {
			t.Errorf("passes for whole: %s", bad)
		}
	}
}
