package embedded_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

// A folder that the operator may read and not write. Root may write anywhere,
// so there this thread gives up root's rights on files.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "tester")
	set(t, created(t, c), providers.Absent, "K", "v")
	dir := filepath.Dir(c.File)
	before := slurp(t, c.File)
	if os.Geteuid() == 0 {
		const nobody = 65534
		for _, path := range []string{c.File, c.Identity} {
			must(t, os.Chown(path, nobody, nobody))
		}
		for _, path := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(c.Identity))} {
			must(t, os.Chmod(path, 0o711)) // t.TempDir's own is closed to others
		}
		must(t, os.RemoveAll(c.PinDir)) // root's own
		must(t, os.Mkdir(c.PinDir, 0o700))
		must(t, os.Chown(c.PinDir, nobody, nobody))
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		must(t, unix.Setfsuid(nobody))
		t.Cleanup(func() { must(t, unix.Setfsuid(0)) })
	} else {
		must(t, os.Chmod(dir, 0o500))
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	}
	s := embedded.Open(c)
	must(t, read(s))
	_, err := s.Write(t.Context(), app, providers.Any, providers.Patch{"K": secret.New("w")})
	fails(t, "write", err, fault.Denied)
	elsewhere := c
	elsewhere.File = filepath.Join(dir, "other.age")
	_, err = embedded.Create(t.Context(), elsewhere)
	fails(t, "create", err, fault.Denied)
	if !bytes.Equal(slurp(t, c.File), before) {
		t.Error("the file changed")
	}
	must(t, read(s))
}
