// Package realtest starts the real parts that tests talk to: Vault, the docker
// engine, shells, Python. A part that a machine lacks skips a test there and
// fails it in CI.
package realtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tools returns the folder of the tools that .ci/run builds: $ENVCTL_TOOLS, else
// envctl-tools/bin in the user's cache folder.
func Tools(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("ENVCTL_TOOLS"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "envctl-tools", "bin")
}

// Tool returns the path of a built tool or of a program on PATH. Without it
// the test is skipped, and fails where CI is set.
func Tool(t testing.TB, name string) string {
	t.Helper()
	built := filepath.Join(Tools(t), name)
	if _, err := os.Stat(built); err == nil {
		return built
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name+" is not on this machine: .ci/run installs it")
	}
	return path
}

// Missing ends a test that cannot run on this machine: skipped, but failed
// where CI is set, since a part that CI lacks would test nothing unnoticed.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
