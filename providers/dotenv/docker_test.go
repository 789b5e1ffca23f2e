package dotenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/realtest"
)

// The docker command takes every text that readDocker takes and refuses every one
// that it refuses, and the process in the container gets the values that it reads.
// What is taken stands in one file for one container: docker reads line by line.
func TestRealDocker(t *testing.T) {
	t.Parallel()
	engine := realtest.Dockerd(t)
	engine.Cleanup(t, "envctl.test=dotenv")
	dir := t.TempDir()
	host := map[string]string{"H": "host", "A": "from the host"}
	lookup := func(name string) (string, bool) { v, ok := host[name]; return v, ok }
	env := append(engine.Env(), "PATH="+os.Getenv("PATH"), "HOME="+dir, "H=host", "A=from the host")
	docker := func(file string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), realtest.Tool(t, "docker"), "run", "-d", "--network", "none", "--label", "envctl.test=dotenv", "--env-file", file, realtest.Image, "serve")
		cmd.Env = env
		return cmd.CombinedOutput()
	}

	var taken strings.Builder
	refused := 0
	for _, text := range texts(400) {
		if strings.ContainsRune(text, 0) {
			continue // no program's environment can hold one
		}
		if _, err := ReadAs(Docker, "f", []byte(text), lookup); err == nil {
			// A byte order mark is one at the beginning of a file only.
			taken.WriteString(strings.TrimPrefix(strings.TrimSuffix(text, "\n"), bom) + "\n")
			continue
		}
		if refused++; refused > 25 {
			continue // each takes a client's start
		}
		file := filepath.Join(dir, "refused.env")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := docker(file); err == nil {
			t.Errorf("docker takes %.80q: %s", text, out)
		}
	}
	if refused == 0 {
		t.Error("no text is refused: half of this test tests nothing")
	}

	// One name each, or the last of them would hide the others.
	lines := strings.Split(taken.String(), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "A="); ok {
			lines[i] = "A_" + strings.Repeat("I", i%7) + "_" + strings.Repeat("X", i/7) + "=" + rest
		}
	}
	merged := bom + strings.Join(lines, "\n")
	want, err := ReadAs(Docker, "f", []byte(merged), lookup)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "taken.env")
	if err := os.WriteFile(file, []byte(merged), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := docker(file)
	if err != nil {
		t.Fatalf("docker refuses what readDocker takes: %.2000s", out)
	}
	pid := engine.Run(t, "inspect", "--format", "{{.State.Pid}}", strings.TrimSpace(string(out)))
	environ, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, pair := range strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00") {
		k, v, _ := strings.Cut(pair, "=")
		got[k] = v
	}
	values := want.Values()
	if len(values) < 300 {
		t.Fatalf("only %d variables", len(values))
	}
	for k, v := range values {
		if w, ok := got[k]; !ok || w != v.Reveal() {
			t.Errorf("%q is %q for the process, %q for readDocker", k, w, v.Reveal())
		}
		delete(got, k)
	}
	for k := range got {
		if k != "PATH" && k != "HOSTNAME" && k != "HOME" {
			t.Errorf("the process has %q, which readDocker does not read", k)
		}
	}
}
