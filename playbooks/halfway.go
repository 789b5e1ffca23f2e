package playbooks

import (
	"fmt"

	"envctl/internal/fault"
	"envctl/providers"
)

// HalfRolledOut is the verdict on a service whose containers are not all of one
// release, and on each of those that is not of the newest.
const HalfRolledOut = "half-rolled-out"

// halfway says how far a service has come whose containers are not all of one
// release; "" where they are, or do not say.
func halfway(containers []providers.Container, newest string) string {
	releases := map[string]bool{}
	fresh, up := 0, 0
	for _, c := range containers {
		mark := c.Labels[providers.LabelRelease]
		if mark == "" {
			continue
		}
		releases[mark] = true
		if c.State != "running" {
			continue
		}
		up++
		if mark == newest {
			fresh++
		}
	}
	if len(releases) < 2 {
		return ""
	}
	return fmt.Sprintf("%d of %d running replicas %s of the newest release", fresh, up, map[bool]string{true: "is", false: "are"}[fresh == 1])
}

// halfRolled is a verification that failed, for a service that is half-way between
// two releases.
func halfRolled(t Target, how string, err error) error {
	if how == "" || !fault.Is(err, fault.No) {
		return err
	}
	return &fault.Error{Kind: fault.No, Op: HalfRolledOut + ", " + how, Err: err, Hint: redeploy(t)}
}

// halfway turns a verdict on what runs into one that says so where a service is
// half-way between two releases.
func (tr *tracing) halfway(v TraceVerdict) TraceVerdict {
	services, err := tr.w.services(tr.t)
	if err != nil || tr.rendered == nil || v.Status == "consistent" {
		return v
	}
	for _, s := range services {
		if how := halfway(ofService(tr.found, s), tr.rendered.Marker); how != "" {
			v.Status, v.Because, v.Fix = HalfRolledOut, s.Name+": "+how+"; "+v.Because, tr.deployFix()
			return v
		}
	}
	return v
}
