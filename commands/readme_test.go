package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"envctl/internal/ui"
)

// TestReadme runs the commands of README.md's console blocks, one after the
// other on the example project, and wants the answers that stand there.
// UPDATE_SCRIPTS=1 writes them. Fingerprints differ from run to run, but equal ones
// must stand for equal values all through the page.
func TestReadme(t *testing.T) {
	t.Parallel()
	consoleBlocks(t, filepath.Join("..", "README.md"), 12)
}

// TestPlaybooks is the same for the page of playbooks.
func TestPlaybooks(t *testing.T) {
	t.Parallel()
	consoleBlocks(t, filepath.Join("..", "docs", "playbooks.md"), 10)
}

// consoleBlocks runs a page's commands, at least so many.
func consoleBlocks(t *testing.T, file string, least int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := exampleProject(t)
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```")
	ran := 0
	shown, meant := map[string]string{}, map[string]string{} // fingerprints of the page and of this run
	updated := blocks.ReplaceAllStringFunc(string(text), func(block string) string {
		body := blocks.FindStringSubmatch(block)[1]
		var real strings.Builder
		for _, part := range regexp.MustCompile(`(?m)^\$ `).Split(body, -1)[1:] {
			line, want, _ := strings.Cut(part, "\n")
			got := d.answer(t, strings.TrimPrefix(line, "envctl "))
			if os.Getenv("UPDATE_SCRIPTS") != "" {
				want = got
			}
			if plainAnswer(got) != plainAnswer(want) {
				t.Errorf("$ %s\ngot\n%s\n%s has\n%s", line, got, file, want)
			} else if f := mixedUp(want, got, shown, meant); f != "" {
				t.Errorf("$ %s\n%s: the fingerprint %s stands for two values, or has two forms", line, file, f)
			}
			real.WriteString("$ " + line + "\n" + strings.TrimRight(want, "\n") + "\n")
			ran++
		}
		return "```console\n" + real.String() + "```"
	})
	if ran < least {
		t.Errorf("%s shows %d commands, want %d at least", file, ran, least)
	}
	if os.Getenv("UPDATE_SCRIPTS") != "" && updated != string(text) {
		if err := os.WriteFile(file, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// exampleProject is the demo's project, as --keep leaves it but with nothing run.
func exampleProject(t *testing.T) *demonstration {
	t.Helper()
	folder := t.TempDir()
	exe, err := os.Executable() // as envctl: see TestMain
	if err != nil {
		t.Fatal(err)
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { none.Close() })
	d := &demonstration{
		app: &app{
			Process: Process{Executable: exe, WorkDir: folder, Now: time.Now, Rand: rand.Reader, Version: "test", Getenv: func(name string) string {
				return map[string]string{"PATH": os.Getenv("PATH"), "USER": "you", "TMPDIR": os.Getenv("TMPDIR")}[name]
			}},
			ui: &ui.UI{In: none},
		},
		folder: folder, name: "ledger", columns: 300, // no line is folded, however long the folder's name
	}
	if err := d.prepare(nil); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *demonstration) answer(t *testing.T, line string) string {
	t.Helper()
	var out bytes.Buffer
	code, err := d.execute(context.Background(), demoStep{line: line, runs: strings.HasPrefix(line, "run ")}, &out)
	if err != nil || code != 0 {
		t.Fatalf("envctl %s: exit code %d, %v\n%s", line, code, err, out.Bytes())
	}
	text := strings.ReplaceAll(out.String(), d.folder, "…")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return regexp.MustCompile(`you@\S+`).ReplaceAllString(strings.Join(lines, "\n"), "you@laptop")
}

// mixedUp pairs the fingerprints of the page with those of this run and returns the
// first that was paired differently before.
func mixedUp(page, run string, shown, meant map[string]string) string {
	prints := regexp.MustCompile(`\b[0-9a-f]{8}([0-9a-f]{4})?\b`)
	ran := prints.FindAllString(run, -1)
	for i, p := range prints.FindAllString(page, -1) {
		p, r := p[:8], ran[i][:8]
		if old, ok := shown[p]; ok && old != r {
			return p
		}
		if old, ok := meant[r]; ok && old != p {
			return p
		}
		shown[p], meant[r] = r, p
	}
	return ""
}

// plainAnswer leaves out what differs from run to run.
func plainAnswer(s string) string {
	for _, r := range [][2]string{
		{`\b[0-9a-f]{8}([0-9a-f]{4})?\b`, "FINGERPRINT"},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\dZ`, "TIME"},
		{`[ \t]+`, " "},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return strings.TrimSpace(s)
}
