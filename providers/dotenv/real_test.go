package dotenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"envctl/internal/realtest"
	"envctl/internal/secret"
)

// The real readers get the vectors and random lines, and must agree with
// ReadAs on every one. docker run needs an engine: its rules are raw text.

// texts returns the vectors' lines and n random ones.
func texts(n int) []string {
	var out []string
	for _, v := range vectors {
		out = append(out, v.line+"\n")
	}
	out = append(out, "A=1\nA\n", "A=1\nA\nA=${A}\n")
	for _, v := range hardValues(40) {
		for _, d := range Dialects() {
			if q, err := Quote(secret.New(v), d); err == nil {
				out = append(out, "A="+q.Reveal()+"\n")
			}
		}
	}
	random := rand.New(rand.NewSource(7))
	pieces := []string{"a", "b", "0", " ", "'", `"`, `\`, "$", "#", "=", "~", ":", "H", "{", "}", "\n", "\t", "-", "n", "/", "é", "!", "*", "A=", "export "}
	for range n {
		var b strings.Builder
		b.WriteString("A=")
		for range random.Intn(9) {
			b.WriteString(pieces[random.Intn(len(pieces))])
		}
		b.WriteString("\n")
		out = append(out, b.String())
	}
	return out
}

// files writes the texts and returns their folder.
func files(t *testing.T, texts []string) string {
	t.Helper()
	dir := t.TempDir()
	for i, s := range texts {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".env")), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRealShells(t *testing.T) {
	all := texts(600)
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			program := realtest.Tool(t, shell)
			// Only what we say is harmless runs; a wrong claim meets an empty PATH.
			var safe []string
			for _, s := range all {
				r, err := ReadAs(Sh, "f", []byte(s), lookupEnv)
				if err != nil || !has(r, Executes, Changes) {
					safe = append(safe, s)
				}
			}
			script := `i=0; while [ $i -lt ` + fmt.Sprint(len(safe)) + ` ]; do (A=; unset A; . ./$i.env && printf '%s\n%s%s\000' $i "${A+set}" "$A"); i=$((i+1)); done; printf end`
			cmd := exec.Command(program, "-c", script)
			cmd.Dir = files(t, safe)
			cmd.Env = []string{"PATH=/nonexistent", "H=env", "HOME=/home/o", "LC_ALL=C.UTF-8"}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || !bytes.HasSuffix(out, []byte("end")) {
				t.Fatal(err, stderr.String())
			}
			got := map[string]string{}
			for _, record := range strings.Split(string(out), "\x00") {
				i, v, _ := strings.Cut(record, "\n")
				got[i] = v
			}
			agreed := 0
			for i, s := range safe {
				want := outcome(t, Sh, s)
				real, read := got[fmt.Sprint(i)]
				switch {
				case !read:
					real = refused
				case real == "":
					real = unset
				default:
					real = strings.TrimPrefix(real, "set")
				}
				if real != want {
					t.Errorf("%s reads %.80q as %.60q, ReadAs(sh) as %.60q", shell, s, real, want)
				}
				agreed++
			}
			if agreed < 200 {
				t.Errorf("only %d texts were compared", agreed)
			}
		})
	}
}

func has(r Reading, kinds ...ProblemKind) bool {
	for _, p := range r.Problems {
		for _, k := range kinds {
			if p.Kind == k {
				return true
			}
		}
	}
	return false
}

func TestRealPythonDotenv(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import dotenv").Run(); err != nil {
		realtest.Missing(t, "python3-dotenv is not on this machine: .ci/run installs it")
	}
	all := texts(1500)
	cmd := exec.Command(python, "-c", `
import dotenv, json, logging, os, sys
logging.disable(logging.CRITICAL)
os.environ.clear(); os.environ.update({"H": "env", "HOME": "/home/o"})
def read(i):
    try:
        return dotenv.dotenv_values("%d.env" % i, encoding="utf-8")
    except UnicodeDecodeError:
        return None
json.dump([read(i) for i in range(int(sys.argv[1]))], sys.stdout)`, fmt.Sprint(len(all)))
	cmd.Dir = files(t, all)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]*string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		r, err := ReadAs(Python, "f", []byte(s), lookupEnv)
		if (err != nil) != (got[i] == nil) {
			t.Errorf("%q: %v", s, err)
		}
		want := map[string]string{}
		for k, v := range r.Values() {
			want[k] = v.Reveal()
		}
		real := map[string]string{}
		for k, v := range got[i] {
			if v != nil {
				real[k] = *v
			}
		}
		if fmt.Sprint(real) != fmt.Sprint(want) {
			t.Errorf("python-dotenv reads %.80q as %.80q, ReadAs as %.80q", s, fmt.Sprint(real), fmt.Sprint(want))
		}
	}
}

func TestRealCompose(t *testing.T) {
	t.Parallel()
	compose := realtest.Tool(t, "docker-compose")
	var accepted, rejected []string
	for _, s := range texts(700) {
		if _, err := ReadAs(Compose, "f", []byte(s), lookupEnv); err == nil {
			accepted = append(accepted, s)
		} else if len(rejected) < 25 {
			rejected = append(rejected, s)
		}
	}
	run := func(texts []string) ([]map[string]*string, error) {
		dir := files(t, texts)
		var y strings.Builder
		y.WriteString("services:\n")
		for i := range texts {
			fmt.Fprintf(&y, "  s%d: {image: x, env_file: [%d.env]}\n", i, i)
		}
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(y.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(context.Background(), compose, "config", "--format", "json")
		cmd.Dir = dir
		cmd.Env = []string{"H=env", "HOME=/home/o", "PATH=" + os.Getenv("PATH")}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, stderr.String())
		}
		var doc struct {
			Services map[string]struct{ Environment map[string]*string }
		}
		if err := json.Unmarshal(out, &doc); err != nil {
			t.Fatal(err)
		}
		all := make([]map[string]*string, len(texts))
		for i := range texts {
			all[i] = doc.Services[fmt.Sprint("s", i)].Environment
		}
		return all, nil
	}
	got, err := run(accepted)
	if err != nil {
		t.Fatalf("compose refuses one of the accepted texts: %v", err)
	}
	for i, s := range accepted {
		r, _ := ReadAs(Compose, "f", []byte(s), lookupEnv)
		want, real := map[string]string{}, map[string]string{}
		for k, v := range r.Values() {
			want[k] = strings.ToValidUTF8(v.Reveal(), "\ufffd") // JSON cannot hold it
		}
		for k, v := range got[i] {
			if v != nil {
				real[k] = strings.ReplaceAll(*v, "$$", "$") // config escapes its output
			}
		}
		if fmt.Sprint(real) != fmt.Sprint(want) {
			t.Errorf("compose reads %.80q as %.80q, ReadAs as %.80q", s, fmt.Sprint(real), fmt.Sprint(want))
		}
	}
	for _, s := range rejected {
		if got, err := run([]string{s}); err == nil {
			t.Errorf("compose reads %.80q as %v, ReadAs refuses", s, got)
		}
	}
}
