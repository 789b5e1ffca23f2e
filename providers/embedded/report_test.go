package embedded_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"envctl/internal/fault"
	"envctl/internal/realtest"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/embedded"
)

func TestReport(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	recovery, _, err := embedded.NewRecovery()
	must(t, err)
	s := created(t, c, recovery)
	set(t, s, providers.Absent, "A", "1")
	set(t, s, providers.Any, "B", "2")
	r, err := s.Verify(t.Context())
	must(t, err)
	if r.File != c.File || r.Revision.Number != 3 || r.Revision.Author != "alice" || r.Revision.Time.IsZero() || len(r.Revision.Parents) != 1 ||
		len(r.Recipients) != 2 || r.Paths != 1 || r.Versions != 2 || r.Values != 3 || r.FirstUse || r.Seen != 3 || r.Store == "" || r.Key == "" {
		t.Errorf("the report is %+v", r)
	}
	h, err := s.History(t.Context(), app)
	must(t, err)
	if h[1].Author != "alice" {
		t.Errorf("version 2 is by %q", h[1].Author)
	}
	elsewhere := c
	elsewhere.PinDir = t.TempDir()
	if r, err := embedded.Open(elsewhere).Verify(t.Context()); err != nil || !r.FirstUse || r.Seen != 0 {
		t.Errorf("elsewhere: %+v, %v", r, err)
	}
}

// C19, and what is too much is refused in words with the old file untouched.
func TestSizes(t *testing.T) {
	t.Parallel()
	c := desk(t, newFile(t), "alice")
	s := created(t, c)
	many := providers.Patch{}
	for i := range 10_000 {
		many[fmt.Sprintf("KEY_%05d", i)] = secret.New(fmt.Sprint("value ", i))
	}
	_, err := s.Write(t.Context(), app, providers.Absent, many)
	must(t, err)
	set(t, s, providers.Any, "KEY_05000", "changed")
	b, err := embedded.Open(c).Read(t.Context(), app, providers.Latest)
	must(t, err)
	if len(b.Values) != 10_000 || b.Values["KEY_05000"].Reveal() != "changed" || b.Values["KEY_09999"].Reveal() != "value 9999" {
		t.Errorf("%d keys are there", len(b.Values))
	}
	before := slurp(t, c.File)
	_, err = s.Write(t.Context(), app, providers.Any, providers.Patch{"BIG": secret.New(strings.Repeat("x", embedded.MaxValue+1))})
	if !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "BIG") {
		t.Errorf("a value beyond the limit: %v", err)
	}
	huge := providers.Patch{}
	for i := range embedded.MaxFile / embedded.MaxValue {
		huge[fmt.Sprint("BIG", i)] = secret.New(strings.Repeat("x", embedded.MaxValue))
	}
	_, err = s.Write(t.Context(), app, 2, huge)
	fails(t, "a file beyond the limit", err, fault.Refused)
	for _, key := range []string{"", "\xff"} {
		_, err = s.Write(t.Context(), app, 2, providers.Patch{key: secret.New("v")})
		if !fault.Is(err, fault.Refused) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if !bytes.Equal(slurp(t, c.File), before) {
		t.Error("a refused write changed the file")
	}
}

// A small file must not unpack into more than memory holds.
func TestUnpackingIsBounded(t *testing.T) {
	t.Parallel()
	if err := embedded.Bomb(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a bomb is taken for a document: %v", err)
	}
}

// Without envctl, age and a JSON reader are enough to get at the values, and
// an identity that age made is as good as ours.
func TestReadableByAge(t *testing.T) {
	t.Parallel()
	ageTool, keygen := realtest.Tool(t, "age"), realtest.Tool(t, "age-keygen")
	c := desk(t, newFile(t), "alice")
	must(t, os.Remove(c.Identity))
	if out, err := exec.CommandContext(t.Context(), keygen, "-o", c.Identity).CombinedOutput(); err != nil {
		t.Fatalf("age-keygen: %v: %s", err, out)
	}
	set(t, created(t, c), providers.Absent, "K", "bytes \xff\x00")
	plain, err := exec.CommandContext(t.Context(), ageTool, "-d", "-i", c.Identity, c.File).Output()
	must(t, err)
	_, body, _ := bytes.Cut(plain, []byte("\n"))
	var d struct {
		Paths map[string]struct {
			Versions []struct{ Set map[string][]byte }
		}
	}
	must(t, json.Unmarshal(body, &d))
	if got := d.Paths[app.String()].Versions[0].Set["K"]; string(got) != "bytes \xff\x00" {
		t.Errorf("age and JSON read %q", got)
	}
}
