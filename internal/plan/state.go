package plan

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"envctl/internal/fault"
)

// State is where a run stands.
type State string

// The states of a run.
const (
	Running State = "running" // a process is working on it now
	Done    State = "done"    // every step is done and verified
	Undone  State = "undone"  // nothing it did is left
	Failed  State = "failed"  // it was taken back, but not all of it could be
	Partial State = "partial" // it stopped part-way
)

// StepState is where a step stands.
type StepState string

// The states of a step.
const (
	StepPending    StepState = "pending"     // never begun
	StepBegun      StepState = "begun"       // begun; what it did is not known to be complete
	StepDone       StepState = "done"        // its receipt is on disk
	StepFailed     StepState = "failed"      // Do or Verify failed
	StepUndone     StepState = "undone"      // taken back
	StepUndoFailed StepState = "undo-failed" // could not be taken back
)

// Header is what a journal says of its run, and what rebuilds its plan.
type Header struct {
	Format      int               `json:"format"`
	ID          string            `json:"id"`
	Playbook    string            `json:"playbook"`
	Project     string            `json:"project,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Component   string            `json:"component,omitempty"`
	Args        map[string]string `json:"args,omitempty"`
	Root        string            `json:"root,omitempty"`    // the project's folder
	File        string            `json:"file,omitempty"`    // of the project in it, where it has another name than usual
	Version     string            `json:"version,omitempty"` // of envctl
	StartedAt   time.Time         `json:"started_at"`
	Steps       []StepName        `json:"steps"`
}

// StepName names a step.
type StepName struct {
	ID    string `json:"id"`
	Title string `json:"title,omitempty"`
}

// Record is a run as `runs --json` shows it. Times are UTC.
type Record struct {
	ID          string       `json:"id"`
	Playbook    string       `json:"playbook"`
	Project     string       `json:"project,omitempty"`
	Environment string       `json:"environment"`
	Component   string       `json:"component"`
	State       State        `json:"state"`
	StartedAt   time.Time    `json:"started_at"`
	EndedAt     time.Time    `json:"ended_at,omitzero"`
	Steps       []StepRecord `json:"steps"`

	Header  Header `json:"-"`
	PID     int    `json:"-"` // the process that worked on it last, and its host
	Host    string `json:"-"`
	Undoing bool   `json:"-"` // it is on its way back: undo, not resume

	// Closed tells that the operator left it as it stands: it waits for nothing.
	Closed bool `json:"closed,omitempty"`

	children []child // of the step in hand
}

// StepRecord is a step of a Record. Kind and Error say why it failed, or why
// it could not be undone: the operation, never a foreign text.
type StepRecord struct {
	ID      string    `json:"id"`
	Title   string    `json:"title,omitempty"`
	State   StepState `json:"state"`
	Receipt Receipt   `json:"receipt,omitempty"`
	Kind    string    `json:"kind,omitempty"`
	Error   string    `json:"error,omitempty"`
}

// Next returns the commands that go on from here, "" when there is nothing to do.
func (r Record) Next() string {
	switch {
	case r.Closed:
		return ""
	case r.State == Failed && r.stuck():
		return "envctl undo " + r.ID + orClose(r.ID)
	case r.State == Failed, r.State == Partial && r.Undoing:
		return "envctl undo " + r.ID
	case r.State == Partial:
		return "envctl resume " + r.ID + "  or  envctl undo " + r.ID
	}
	return ""
}

// stuck tells that a step could not be taken back for a reason that another try
// does not change.
func (r Record) stuck() bool {
	return slices.ContainsFunc(r.Steps, func(s StepRecord) bool {
		return s.State == StepUndoFailed && slices.ContainsFunc(lasting(), func(k fault.Kind) bool { return k.String() == s.Kind })
	})
}

// lasting are the kinds of errors that stay: what a run stood on is not there any more.
func lasting() []fault.Kind {
	return []fault.Kind{fault.Conflict, fault.Refused, fault.Deleted, fault.Destroyed}
}

// orClose is the way out where neither resume nor undo can end a run.
func orClose(id string) string { return "  or  envctl runs --close " + id }

// state is what a journal says, record by record; the engine knows nothing else.
type state struct {
	header  Header
	steps   []stepState
	undoing bool
	end     State // "" while no end is written
	closed  bool
	endedAt time.Time
	pid     int
	host    string
	// children are the programs of the step in hand, or of the one whose process died.
	children []child
}

type stepState struct {
	StepName
	state      StepState
	hasIntent  bool
	intent     Receipt
	receipt    Receipt // of a Do that returned; nil before
	kind, text string
}

// touched tells that the step may have changed something that still stands.
// Only a step that changes nothing has a receipt and no intent.
func (s *stepState) touched() bool {
	return s.hasIntent && s.state != StepUndone
}

// undoable tells that the step has something to tell an Undo: one that only
// reads may take its turn too, to bring back what it had found.
func (s *stepState) undoable() bool {
	return (s.hasIntent || s.receipt != nil) && s.state != StepUndone
}

// known is everything the journal knows of what the step did.
func (s *stepState) known() Receipt {
	all := Receipt{}
	maps.Copy(all, s.intent)
	maps.Copy(all, s.receipt)
	return all
}

func (st *state) step(id string) *stepState {
	for i := range st.steps {
		if st.steps[i].ID == id {
			return &st.steps[i]
		}
	}
	return nil
}

// touched tells whether anything the run did may still stand.
func (st *state) touched() bool {
	for i := range st.steps {
		if st.steps[i].touched() {
			return true
		}
	}
	return false
}

// apply takes in one record; one that cannot stand here is an error.
func (st *state) apply(r record) error {
	if (r.Type == recStart) != (st.header.ID == "") {
		return fmt.Errorf("%w: %q out of place", errDamaged, r.Type)
	}
	s := st.step(r.Step)
	if s == nil && r.Step != "" {
		return fmt.Errorf("%w: step %q is not one of this run's", errDamaged, r.Step)
	}
	switch r.Type {
	case recBegin, recIntent, recReceipt, recFailed, recUndone, recUndoFailed, recChild:
		if s == nil {
			return fmt.Errorf("%w: %q without a step", errDamaged, r.Type)
		}
		s.apply(r)
		switch r.Type {
		case recChild:
			st.children = append(st.children, child{r.PID, r.Text, r.Host})
		case recReceipt, recFailed, recUndone, recUndoFailed:
			st.children = nil // a step returns when its programs have ended
		}
	case recStart:
		if r.Header == nil || r.Header.ID == "" {
			return fmt.Errorf("%w: no header", errDamaged)
		}
		if r.Header.Format != format {
			return fmt.Errorf("written by another envctl (%s, format %d)", r.Header.Version, r.Header.Format)
		}
		st.header = *r.Header
		for _, n := range r.Header.Steps {
			st.steps = append(st.steps, stepState{StepName: n, state: StepPending})
		}
		st.pid, st.host = r.PID, r.Host
	case recResume, recUndo:
		st.undoing = r.Type == recUndo
		st.end, st.endedAt, st.closed = "", time.Time{}, false
		st.pid, st.host = r.PID, r.Host
	case recEnd:
		st.end, st.endedAt, st.closed = r.State, r.At, r.Closed
	default:
		return fmt.Errorf("written by another envctl: %q is unknown", r.Type)
	}
	return nil
}

func (s *stepState) apply(r record) {
	switch r.Type {
	case recBegin:
		// What an earlier attempt knew stays, as its intent, until this one intends.
		if s.receipt != nil {
			s.intent, s.receipt = s.known(), nil
		}
		s.state, s.kind, s.text = StepBegun, "", ""
	case recIntent:
		s.hasIntent, s.intent = true, r.Data
	case recReceipt:
		s.state, s.receipt = StepDone, r.Data
		if s.receipt == nil {
			s.receipt = Receipt{}
		}
	case recFailed:
		s.state, s.kind, s.text = StepFailed, r.Kind, r.Text
	case recUndone:
		s.state = StepUndone
	case recUndoFailed:
		s.state, s.kind, s.text = StepUndoFailed, r.Kind, r.Text
	}
}

// record shows the state; a run without an end is partial, unless its lock is held.
func (st *state) record() Record {
	h := st.header
	out := Record{
		ID: h.ID, Playbook: h.Playbook, Project: h.Project, Environment: h.Environment, Component: h.Component,
		State: st.end, StartedAt: h.StartedAt, EndedAt: st.endedAt, Steps: []StepRecord{},
		Header: h, PID: st.pid, Host: st.host, Undoing: st.undoing, Closed: st.closed, children: st.children,
	}
	if out.State == "" {
		out.State = Partial
	}
	for i := range st.steps {
		s := &st.steps[i]
		out.Steps = append(out.Steps, StepRecord{
			ID: s.ID, Title: s.Title, State: s.state, Receipt: maps.Clone(s.receipt), Kind: s.kind, Error: s.text,
		})
	}
	return out
}
