package ui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/AlecAivazis/survey/v2"
	"github.com/AlecAivazis/survey/v2/core"
	"github.com/AlecAivazis/survey/v2/terminal"
	"golang.org/x/term"

	"envctl/internal/fault"
	"envctl/internal/secret"
)

// Prompter asks a person. Every method returns Interrupted on Ctrl-C and never
// waits where nobody can answer.
type Prompter interface {
	Input(ctx context.Context, question string) (string, error)
	Hidden(ctx context.Context, question string) (secret.Value, error)
	Confirm(ctx context.Context, question string) (bool, error)
	Select(ctx context.Context, question string, options []string) (string, error)
}

// Ask returns the prompter that fits: the scripted one of a test, a real one
// where standard input and error are terminals, one that refuses elsewhere.
func (u *UI) Ask() Prompter {
	u.settle()
	errFile, ok := u.Err.(*os.File)
	switch {
	case u.Prompter != nil:
		return u.Prompter
	case u.NoInput, !u.InTTY, !u.ErrTTY, !ok:
		return Refusing{}
	}
	return terminalPrompter{in: u.In, err: errFile, color: u.Color}
}

// CanAsk tells whether Ask would reach a person.
func (u *UI) CanAsk() bool {
	_, refusing := u.Ask().(Refusing)
	return !refusing
}

// Refusing answers every question with Usage.
type Refusing struct{}

func refuse(question string) error {
	return fault.New(fault.Usage, "ask "+question, "there is no terminal to answer on", "give the answer by a flag or on standard input; see --help")
}

// Input refuses.
func (Refusing) Input(_ context.Context, q string) (string, error) { return "", refuse(q) }

// Hidden refuses.
func (Refusing) Hidden(_ context.Context, q string) (secret.Value, error) {
	return secret.Value{}, refuse(q)
}

// Confirm refuses.
func (Refusing) Confirm(_ context.Context, q string) (bool, error) { return false, refuse(q) }

// Select refuses.
func (Refusing) Select(_ context.Context, q string, _ []string) (string, error) {
	return "", refuse(q)
}

// Scripted answers from a list, for tests; it refuses when the list is empty.
type Scripted struct{ Answers []string }

func (s *Scripted) next(q string) (string, error) {
	if len(s.Answers) == 0 {
		return "", refuse(q)
	}
	a := s.Answers[0]
	s.Answers = s.Answers[1:]
	return a, nil
}

// Input returns the next answer.
func (s *Scripted) Input(_ context.Context, q string) (string, error) { return s.next(q) }

// Hidden returns the next answer.
func (s *Scripted) Hidden(_ context.Context, q string) (secret.Value, error) {
	a, err := s.next(q)
	return secret.New(a), err
}

// Confirm returns whether the next answer is yes.
func (s *Scripted) Confirm(_ context.Context, q string) (bool, error) {
	a, err := s.next(q)
	return a == "yes", err
}

// Select returns the next answer.
func (s *Scripted) Select(_ context.Context, q string, _ []string) (string, error) { return s.next(q) }

// terminalPrompter asks on the terminal, on standard error so that standard
// output can be redirected.
type terminalPrompter struct {
	in, err *os.File
	color   bool
}

// ended is what a question comes to whose context ended before its answer.
func ended(ctx context.Context, question string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.Unavailable, strings.TrimSpace("ask "+question), "no answer in time, nothing was written", "give it longer with --timeout")
	}
	return fault.New(fault.Interrupted, "", "interrupted, nothing was written", "")
}

func (p terminalPrompter) ask(ctx context.Context, prompt survey.Prompt, answer any) error {
	if ctx.Err() != nil {
		return ended(ctx, "")
	}
	state, stateErr := term.GetState(int(p.in.Fd()))
	core.DisableColor = !p.color // survey has no other place for it
	done := make(chan error, 1)
	go func() { done <- survey.AskOne(prompt, answer, survey.WithStdio(p.in, p.err, p.err)) }()
	var err error
	select {
	case err = <-done:
		if errors.Is(err, terminal.InterruptErr) {
			err = fault.New(fault.Interrupted, "", "interrupted, nothing was written", "")
		}
	case <-ctx.Done(): // a signal from elsewhere: survey does not look, and has hidden the cursor
		fmt.Fprint(p.err, "\x1b[?25h\r\n")
		err = ended(ctx, "")
	}
	if stateErr == nil {
		// survey leaves the terminal raw when it fails half-way.
		err = errors.Join(err, term.Restore(int(p.in.Fd()), state))
	}
	return err
}

func (p terminalPrompter) Input(ctx context.Context, q string) (string, error) {
	var a string
	err := p.ask(ctx, &survey.Input{Message: Clean(q)}, &a)
	return a, err
}

func (p terminalPrompter) Confirm(ctx context.Context, q string) (bool, error) {
	var a bool
	err := p.ask(ctx, &survey.Confirm{Message: Clean(q)}, &a)
	return a, err
}

func (p terminalPrompter) Select(ctx context.Context, q string, options []string) (string, error) {
	var a string
	err := p.ask(ctx, &survey.Select{Message: Clean(q), Options: options}, &a)
	return a, err
}

// Hidden reads one line without echo. survey hangs when a value is pasted
// before the terminal has answered its question for the cursor, so this one is
// read with x/term. What follows the line at once was pasted with it: it is taken
// off the terminal, or the shell would run it and keep it in its history, and the
// answer is Refused, since it is not the whole value.
func (p terminalPrompter) Hidden(ctx context.Context, q string) (secret.Value, error) {
	fd := int(p.in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return secret.Value{}, err
	}
	fmt.Fprint(p.err, Clean(q)+": ")
	type answer struct {
		line []byte
		err  error
	}
	// ReadPassword gives the terminal back as it finds it: mute until all is read.
	if _, err := term.MakeRaw(fd); err != nil {
		return secret.Value{}, err
	}
	done := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		if rest := drain(fd); err == nil && strings.TrimSpace(rest) != "" {
			err = fault.New(fault.Refused, "read "+q, "several lines were pasted, and one is asked for", "paste one line; a value of several goes by --from-file or --stdin")
		}
		done <- answer{line, err}
	}()
	select {
	case a := <-done:
		err := errors.Join(term.Restore(fd, state), a.err)
		fmt.Fprintln(p.err)
		if fault.Is(a.err, fault.Refused) {
			return secret.Value{}, a.err
		}
		if err != nil {
			return secret.Value{}, fault.Wrap(err, fault.Interrupted, "read "+q, "")
		}
		return secret.New(string(a.line)), nil
	case <-ctx.Done():
		// The reader stays until the process ends; the terminal must not stay mute.
		fmt.Fprintln(p.err)
		return secret.Value{}, errors.Join(ended(ctx, q), term.Restore(fd, state))
	}
}
