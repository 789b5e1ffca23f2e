package commands_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"envctl/commands"
	"envctl/internal/realtest/sampleapp"
)

// canary stands in every value that a script plants. The harness fails when it
// shows up where it was not asked for: see checkCanary.
const canary = "canary0Xq7secretZ"

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){
		"envctl":    func() { os.Exit(commands.Main(context.Background(), process(os.Args[1:]))) },
		"sampleapp": func() { os.Exit(sampleapp.Main(os.Args[1:])) },
	})
}

// process is this test process as envctl's own.
func process(args []string) commands.Process {
	wd, err := os.Getwd()
	if err != nil {
		wd = "."
	}
	return commands.Process{
		Args: args, Executable: os.Args[0], WorkDir: wd, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Environ: os.Environ, Now: time.Now, Rand: rand.Reader, Version: "test",
	}
}

// TestScripts runs the end-to-end scripts: one or more per command, named after
// it. Those that need a real part of their own are in a folder named after it.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/script", nil)
}

func runScripts(t *testing.T, dir string, setup func(*testscript.Env) error) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
			e.Setenv("USER", "op")
			e.Setenv("CANARY", canary)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("WORKSPACE_ID", "abc12345")
			e.Setenv("DOCKER_HOST", "unix://"+filepath.Join(e.WorkDir, "no-docker.sock"))
			if setup != nil {
				if err := setup(e); err != nil {
					return err
				}
			}
			e.Defer(func() { checkCanaryFiles(e, e.WorkDir) })
			return os.MkdirAll(home, 0o700)
		},
		Cmds: scriptCommands(),
	})
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){
		"app":         startApp,
		"expand":      expand,
		"opens":       opens,
		"opens-cache": opensCache,
		"jsonenv":     jsonEnv,
		"status":      status,
		"nocanary":    noCanary,
		"plain":       plain,
		"jsonfield":   jsonField,
		"mode":        mode,
		"pysecret":    pysecret,
		"readable":    readable,
	}
	maps.Copy(all, vaultCommands())
	maps.Copy(all, dokployCommands())
	return all
}

// status N CMD… runs a command and wants exit code N, and no canary in its output.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N CMD [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case err == nil:
	case asExit(err, &exit):
		got = exit.ExitCode()
	default:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if !asksForValues(args) {
		noCanary(ts, false, nil)
	}
	wholeFindings(ts, args)
}

// asksForValues tells whether a command line is one that prints values on purpose.
func asksForValues(args []string) bool {
	for _, a := range args {
		switch a {
		case "--reveal", "--raw", "run", "generate":
			return true
		}
	}
	return false
}

// noCanary fails when the last command's output holds the canary in any form.
func noCanary(ts *testscript.TestScript, _ bool, _ []string) {
	for _, stream := range []string{"stdout", "stderr"} {
		if form := findCanary([]byte(ts.ReadFile(stream))); form != "" {
			ts.Fatalf("the canary shows up in %s (%s)", stream, form)
		}
	}
}

// findCanary returns the form in which data holds the canary, "" for none.
func findCanary(data []byte) string {
	for form, text := range map[string]string{
		"raw":    canary,
		"base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(canary)), "=")[:20],
		"hex":    hex.EncodeToString([]byte(canary)),
		"url":    url.QueryEscape(canary),
	} {
		if bytes.Contains(data, []byte(text)) {
			return form
		}
	}
	return ""
}

// checkCanaryFiles fails a script whose folder holds the canary in a file that
// envctl wrote: journals, configuration, the store, temporaries. Files that the
// script itself brought, and those named *.plain, may.
func checkCanaryFiles(e *testscript.Env, root string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if !strings.HasPrefix(rel, ".home") && !strings.Contains(rel, ".envctl") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // a socket or a file that is gone
		}
		if form := findCanary(data); form != "" {
			return fmt.Errorf("the canary lies in %s (%s)", rel, form)
		}
		return nil
	})
	if err != nil {
		e.T().Fatal(err)
	}
}

// plain fails when a stream of the last command holds a terminal's escapes.
func plain(ts *testscript.TestScript, _ bool, args []string) {
	for _, s := range args {
		if strings.ContainsRune(ts.ReadFile(s), 0x1b) {
			ts.Fatalf("%s holds an escape sequence", s)
		}
	}
}

// mode OCTAL FILE fails unless FILE has those permission bits.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	st, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", st.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}
