// Package dotenv measures the reading of .env files against go-envparse, in a
// module of its own so that envctl does not depend on it.
package dotenv

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	envparse "github.com/hashicorp/go-envparse"

	"envctl/providers/dotenv"
)

// lines returns ten thousand lines that both readers read alike: comments, plain
// values, URLs and both kinds of quotes.
func lines() []byte {
	var b strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&b, "# a comment\nSERVICE_%d_URL=https://service-%d.example.com:8443/path?x=%d\nKEY_%d='a quoted value %d'\nNAME_%d=\"esc \\\"%d\\\" yes\" # yes\n", i, i, i, i, i, i, i)
	}
	return []byte(b.String())
}

// TestFigures holds: at least twice the throughput, at most a hundredth of the
// allocations, the same values.
func TestFigures(t *testing.T) {
	src := lines()
	theirs, err := envparse.Parse(bytes.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := dotenv.Parse("lines", src)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours.Entries) != len(theirs) || len(theirs) != 7500 {
		t.Fatalf("%d and %d variables", len(ours.Entries), len(theirs))
	}
	for _, e := range ours.Entries {
		if v := e.Value.Reveal(); v != theirs[e.Key] {
			t.Fatalf("%s is %q and %q", e.Key, v, theirs[e.Key])
		}
	}
	read := func() { _, _ = dotenv.Parse("lines", src) }
	peer := func() { _, _ = envparse.Parse(bytes.NewReader(src)) }
	// In turns, and the least of each: what another program of the machine takes
	// makes a round longer, never shorter.
	var a, b []time.Duration
	for range 60 {
		a, b = append(a, took(read)), append(b, took(peer))
	}
	faster := float64(slices.Min(b)) / float64(slices.Min(a))
	allocations, theirAllocations := testing.AllocsPerRun(10, read), testing.AllocsPerRun(10, peer)
	mb := func(d time.Duration) float64 { return float64(len(src)) / 1e6 / d.Seconds() }
	fmt.Printf("| dotenv, 10,000 lines | throughput | %.0f MB/s | go-envparse | %.0f MB/s | %.2f | ≥ 2 |\n", mb(slices.Min(a)), mb(slices.Min(b)), faster)
	fmt.Printf("| dotenv, 10,000 lines | allocations | %.0f | go-envparse | %.0f | %.4f | ≤ 0.01 |\n", allocations, theirAllocations, allocations/theirAllocations)
	if faster < 2 {
		t.Errorf("missed: %.2f times its throughput", faster)
	}
	if allocations > theirAllocations/100 {
		t.Errorf("missed: %.0f of its %.0f allocations", allocations, theirAllocations)
	}
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
