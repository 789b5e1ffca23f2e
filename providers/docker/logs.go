package docker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"envctl/internal/fault"
	"envctl/providers"
)

// Logs copies c's output, both streams as they come, byte for byte: whoever
// shows it escapes it. It returns when the log ends; with Follow when the
// container does, or ctx, which is Interrupted or Unavailable as ever. An error
// of w is returned as it is.
func (e *Engine) Logs(ctx context.Context, c providers.Container, o providers.LogOptions, w io.Writer) error {
	const what = "read logs"
	now, err := e.inspect(ctx, c.ID) // the stream's form depends on the terminal
	if err != nil {
		return err
	}
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {"all"}}
	if o.Tail > 0 {
		query.Set("tail", strconv.Itoa(o.Tail))
	}
	if o.Follow {
		query.Set("follow", "1")
	}
	if !o.Since.IsZero() {
		query.Set("since", fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond()))
	}
	bounded, cancel := context.WithCancel(ctx)
	if !o.Follow {
		bounded, cancel = context.WithTimeout(ctx, 6*e.timeout)
	}
	defer cancel()
	resp, err := e.open(bounded, what, "GET", "/containers/"+url.PathEscape(c.ID)+"/logs", query, nil)
	if err != nil {
		return e.ended(ctx, what, err)
	}
	defer resp.Body.Close()
	out := &sink{w: w}
	if now.TTY {
		_, err = io.Copy(out, resp.Body)
	} else {
		err = demultiplex(resp.Body, out, out)
	}
	switch {
	case err == nil:
		return nil
	case out.err != nil:
		return out.err
	case bounded.Err() != nil:
		return e.ended(ctx, what, bounded.Err())
	case errors.Is(err, errFrame):
		return fault.Wrap(err, fault.Invalid, e.op(what), "run envctl doctor")
	}
	return fault.Wrap(err, fault.Unavailable, e.op(what), hintStart)
}

// sink remembers that it was the writer that failed, not the engine.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

var errFrame = errors.New("the stream is not framed as the engine's API promises")

// demultiplex splits the engine's stream of frames: a byte that names the
// stream, three zeros, the length, that many bytes.
func demultiplex(r io.Reader, stdout, stderr io.Writer) error {
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		to := stdout
		switch {
		case head[1]|head[2]|head[3] != 0 || head[0] > 2:
			return errFrame
		case head[0] == 2:
			to = stderr
		}
		if _, err := io.CopyN(to, r, int64(binary.BigEndian.Uint32(head[4:]))); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

func decode(out any) func(io.Reader) error {
	return func(r io.Reader) error { return json.NewDecoder(r).Decode(out) }
}
