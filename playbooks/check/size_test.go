package check

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"envctl/internal/config"
)

// generate writes a project of n components with vars variables each, in three
// files, all in order, and returns it.
func generate(t testing.TB, n, vars int) *config.Project {
	t.Helper()
	dir := t.TempDir()
	var y strings.Builder
	y.WriteString("version: 1\nproject: ledger\nenvironments: {local: {}, staging: {}, production: {}}\ncomponents:\n")
	for i := range n {
		fmt.Fprintf(&y, "  c%d: {template: c%d/secrets.ctmpl, code: c%d/config.py, example: c%d/.env.example}\n", i, i, i, i)
		var tmpl, code, example strings.Builder
		fmt.Fprintf(&tmpl, "{{ with secret (printf \"secret/data/ledger/%%s/c%d\" (env \"ENV\")) }}\n", i)
		code.WriteString("from pydantic import AliasChoices, Field\nfrom pydantic_settings import BaseSettings\n\n\nclass Settings(BaseSettings):\n")
		for j := range vars {
			fmt.Fprintf(&tmpl, "VAR_%d_%d={{ with .Data.data.VAR_%d_%d }}{{ printf \"%%q\" . }}{{ else }}\"value %d\"{{ end }}\n", i, j, i, j, j)
			fmt.Fprintf(&code, "    var_%d_%d: str = Field(\n        default=\"value %d\",\n        validation_alias=AliasChoices(\n            \"VAR_%d_%d\",\n            \"OLD_%d_%d\",\n        ),\n        description=\"what it is for\",\n    )\n", i, j, j, i, j, i, j)
			fmt.Fprintf(&example, "# what it is for\nVAR_%d_%d=\"value %d\"\n", i, j, j)
		}
		tmpl.WriteString("{{ end }}\n")
		for name, text := range map[string]string{"secrets.ctmpl": tmpl.String(), "config.py": code.String(), ".env.example": example.String()} {
			put(t, filepath.Join(dir, fmt.Sprintf("c%d", i), name), text)
		}
	}
	put(t, filepath.Join(dir, "envctl.yaml"), y.String())
	p, err := config.Load(filepath.Join(dir, "envctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSize holds the figures: 10,000 variables in 300 files under a second and
// 150 MiB, 60 in three in a few milliseconds, on a machine that does nothing else. The
// bounds here are those that a quadratic walk breaks even on an idle one.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		components, vars int
		within           time.Duration
		memory           uint64
	}{{1, 60, 500 * time.Millisecond, 16 << 20}, {100, 100, 15 * time.Second, 150 << 20}} {
		p := generate(t, c.components, c.vars)
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stop, peak := make(chan struct{}), make(chan uint64)
		go func() {
			most := uint64(0)
			for {
				select {
				case <-stop:
					peak <- most
					return
				case <-time.After(5 * time.Millisecond):
					var now runtime.MemStats
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapInuse+now.StackInuse)
				}
			}
		}()
		start := time.Now()
		r, err := Run(t.Context(), Input{Project: p})
		took := time.Since(start)
		close(stop)
		most := <-peak
		runtime.ReadMemStats(&after)
		if err != nil || len(r.Findings) > 0 || r.Counts.Template != c.components*c.vars || r.Counts.Accepted != 2*c.components*c.vars {
			t.Fatalf("%v, %d findings, %+v", err, len(r.Findings), r.Counts)
		}
		t.Logf("%d variables: %v, %d MiB at most, %d MiB allocated", c.components*c.vars, took, most>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
		if took > c.within || most > c.memory {
			t.Errorf("%d variables take %v and %d MiB, want at most %v and %d MiB", c.components*c.vars, took, most>>20, c.within, c.memory>>20)
		}
	}
}
