// Package bench measures envctl against its peers, always in pairs and in one
// run, since single figures of a shared machine mean nothing.
//
//	go test -tags figures -count=1 ./tools/bench
//
// prints the table and fails when a figure is missed.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Command is a program to measure. Its output goes nowhere.
type Command struct {
	Name  string
	Args  []string // the program's path first
	Dir   string
	Env   []string
	Stdin func() string // asked before each run; nil is nothing
}

// Sample is what one run cost, descendants that were waited for included.
type Sample struct {
	Wall, CPU time.Duration
	RSS       int64 // peak, KiB
}

// Stat holds the medians of a command's samples and the least wall time.
type Stat struct {
	Sample
	Least time.Duration
}

// Run runs c once through the launcher at the path launch; a command that
// fails is an error that shows what it said.
func Run(ctx context.Context, launch string, c Command) (Sample, error) {
	report, write, err := os.Pipe()
	if err != nil {
		return Sample{}, err
	}
	defer report.Close()
	cmd := exec.CommandContext(ctx, launch, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	if c.Stdin != nil {
		cmd.Stdin = strings.NewReader(c.Stdin())
	}
	cmd.ExtraFiles = []*os.File{write}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	write.Close()
	if err != nil {
		return Sample{}, fmt.Errorf("%s: %w\n%s", c.Name, err, stderr.Bytes())
	}
	text, err := io.ReadAll(report)
	if err != nil {
		return Sample{}, err
	}
	var s Sample
	if _, err := fmt.Sscan(string(text), &s.Wall, &s.CPU, &s.RSS); err != nil {
		return Sample{}, fmt.Errorf("%s: read the launcher's report %q: %w", c.Name, text, err)
	}
	return s, nil
}

// Compare runs the commands in turns, each round in the other order, after one
// round that is not counted.
func Compare(ctx context.Context, launch string, rounds int, commands ...Command) ([]Stat, error) {
	samples := make([][]Sample, len(commands))
	order := make([]int, len(commands))
	for i := range order {
		order[i] = i
	}
	for round := range rounds + 1 {
		for _, i := range order {
			s, err := Run(ctx, launch, commands[i])
			if err != nil {
				return nil, err
			}
			if round > 0 {
				samples[i] = append(samples[i], s)
			}
		}
		slices.Reverse(order)
	}
	stats := make([]Stat, len(commands))
	for i, s := range samples {
		stats[i] = summarise(s)
	}
	return stats, nil
}

func summarise(samples []Sample) Stat {
	median := func(of func(Sample) int64) int64 {
		values := make([]int64, len(samples))
		for i, s := range samples {
			values[i] = of(s)
		}
		slices.Sort(values)
		return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	st := Stat{Least: samples[0].Wall}
	st.Wall = time.Duration(median(func(s Sample) int64 { return int64(s.Wall) }))
	st.CPU = time.Duration(median(func(s Sample) int64 { return int64(s.CPU) }))
	st.RSS = median(func(s Sample) int64 { return s.RSS })
	for _, s := range samples {
		st.Least = min(st.Least, s.Wall)
	}
	return st
}

// Figure is one line of the table: Got must be at most Goal, or exactly Goal.
type Figure struct {
	Work, Measure, Peer string
	Ours, Theirs        string // as measured, for people
	Got, Goal           float64
	Exact               bool
	Missing             string // why there is no figure; it then counts as missed
}

// Met tells whether the figure is reached.
func (f Figure) Met() bool {
	switch {
	case f.Missing != "" || math.IsNaN(f.Got):
		return false
	case f.Exact:
		return f.Got == f.Goal
	}
	return f.Got <= f.Goal
}

// Ratio is a figure of one measure of ours over one of theirs.
func Ratio(work, measure, peer string, ours, theirs time.Duration, goal float64) Figure {
	return Figure{
		Work: work, Measure: measure, Peer: peer, Ours: milliseconds(ours), Theirs: milliseconds(theirs),
		Got: float64(ours) / float64(theirs), Goal: goal,
	}
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

// Print writes the figures as a Markdown table.
func Print(w io.Writer, figures []Figure) error {
	out := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| work\t| measure\t| envctl\t| peer\t| measured\t| got\t| goal\t| met\t|")
	fmt.Fprintln(out, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, f := range figures {
		sign, met, got := "≤", "yes", fmt.Sprintf("%.3g", f.Got)
		if f.Exact {
			sign = "="
		}
		if !f.Met() {
			met = "**no**"
		}
		if f.Missing != "" {
			got = f.Missing
		}
		fmt.Fprintf(out, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %s %.3g\t| %s\t|\n", f.Work, f.Measure, f.Ours, f.Peer, f.Theirs, got, sign, f.Goal, met)
	}
	return out.Flush()
}
