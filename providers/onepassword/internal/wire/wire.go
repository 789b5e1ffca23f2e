// Package wire is what envctl and its helper envctl-op say to each other: one
// JSON request on standard input, one JSON answer on standard output.
package wire

// Request carries the token and every reference of one run.
type Request struct {
	Token      string   `json:"token"`
	References []string `json:"references"`
	Version    string   `json:"version"` // of envctl, for 1Password's own statistics
}

// Answer holds one outcome per reference, or the failure of them all.
type Answer struct {
	Failure  *Failure           `json:"failure,omitempty"`
	Outcomes map[string]Outcome `json:"outcomes,omitempty"`
}

// Outcome is a value or why there is none.
type Outcome struct {
	Value   string   `json:"value,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// Failure says what went wrong in envctl's own words; the SDK's are never
// passed on. Kind is one of the constants below.
type Failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// The kinds of failure.
const (
	Denied      = "denied"
	Internal    = "internal"
	Invalid     = "invalid"
	NotFound    = "not-found"
	Unavailable = "unavailable"
)
