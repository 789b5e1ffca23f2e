package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The types of a journal's records.
const (
	recStart      = "start"       // the header
	recBegin      = "begin"       // a step's attempt begins
	recIntent     = "intent"      // its effect comes next
	recChild      = "child"       // a program was started: PID, since Text, on Host
	recReceipt    = "receipt"     // Do returned
	recFailed     = "failed"      // Do or Verify returned an error
	recResume     = "resume"      // a process goes on with the run
	recUndo       = "undo"        // from here on steps are taken back
	recUndone     = "undone"      // a step was
	recUndoFailed = "undo-failed" // a step was not
	recEnd        = "end"         // State says how
)

// record is one line of a journal.
type record struct {
	Type   string    `json:"type"`
	At     time.Time `json:"at"`
	Step   string    `json:"step,omitempty"`
	Data   Receipt   `json:"data,omitempty"`
	State  State     `json:"state,omitempty"`
	Kind   string    `json:"kind,omitempty"`
	Text   string    `json:"text,omitempty"`
	PID    int       `json:"pid,omitempty"`
	Host   string    `json:"host,omitempty"`
	Header *Header   `json:"header,omitempty"`
	Closed bool      `json:"closed,omitempty"` // of an end: the operator leaves it so
}

// A line is the record's JSON with the chained sum as its last field, so that
// a lost, moved or altered line is noticed and not only a torn one.
const (
	sumField = `,"#":"` // a name that no receipt can hold
	sumLen   = 16
	sumTail  = len(sumField) + sumLen + len(`"}`)
)

func chain(prev string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(prev))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:sumLen/2])
}

// encode returns the line of r, with its newline, and its sum.
func encode(r record, prev string) (line []byte, sum string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, "", err
	}
	sum = chain(prev, body)
	line = append(body[:len(body)-1], sumField...)
	line = append(line, sum...)
	return append(line, "\"}\n"...), sum, nil
}

var errDamaged = errors.New("damaged")

// decode returns the record of a line without its newline. The line is kept
// as it was: the sum is taken over a copy.
func decode(line []byte, prev string) (r record, sum string, err error) {
	cut := len(line) - sumTail
	if cut < 1 || !bytes.HasPrefix(line[cut:], []byte(sumField)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return r, "", errDamaged
	}
	sum = string(line[cut+len(sumField) : cut+len(sumField)+sumLen])
	body := append(append([]byte(nil), line[:cut]...), '}')
	if chain(prev, body) != sum {
		return r, "", errDamaged
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, "", fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, sum, nil
}

// replayed is what a journal's bytes say.
type replayed struct {
	st   *state
	sum  string // of the last record
	good int    // length of the whole records
	open bool   // the last whole record lacks only its newline
}

// replay folds a journal's bytes. A last line that breaks off is a write that
// nobody was told of, and counts for nothing; any other flaw is an error that
// names the line. Lines cut off the end as a whole cannot be noticed.
func replay(data []byte) (replayed, error) {
	p := replayed{st: &state{}}
	for n := 1; p.good < len(data); n++ {
		line, next := data[p.good:], len(data)
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line, next = line[:end], p.good+end+1
		} else if at := bytes.Index(line, []byte(sumField)); at < 0 || len(line) < at+sumTail {
			return p, nil
		} else {
			p.open = true
		}
		r, sum, err := decode(line, p.sum)
		if err == nil {
			err = p.st.apply(r)
		}
		if err != nil {
			return p, fmt.Errorf("line %d: %w", n, err)
		}
		p.sum, p.good = sum, next
	}
	return p, nil
}
