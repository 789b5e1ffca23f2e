package bench

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What every start of the program does before main: memory and allocations,
// since time says nothing on a machine that works on other things too. Raise
// the sums for a library that is worth it; what a package of ours needs, it can
// make when it is first used.
const (
	ourBytes, ourAllocs = 16 << 10, 64    // of each package of this module
	allBytes, allAllocs = 320 << 10, 2000 // of everything linked
)

const releaseTag = "urfave_cli_no_docs"

// released returns the flag that makes a build the released one, with its tag.
func released(t testing.TB) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "run", "./tools/release", t.TempDir())
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("prepare the released build: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// overspent returns what breaks the bounds in a trace of GODEBUG=inittrace=1,
// and how many packages the trace names.
func overspent(trace string) (faults []string, packages int) {
	line := regexp.MustCompile(`(?m)^init (\S+) @.* clock, (\d+) bytes, (\d+) allocs$`)
	var bytes, allocs int
	for _, m := range line.FindAllStringSubmatch(trace, -1) {
		b, errB := strconv.Atoi(m[2])
		a, errA := strconv.Atoi(m[3])
		if errA != nil || errB != nil {
			return []string{m[0]}, 0
		}
		packages, bytes, allocs = packages+1, bytes+b, allocs+a
		if strings.HasPrefix(m[1], "envctl/") && (b > ourBytes || a > ourAllocs) {
			faults = append(faults, fmt.Sprintf("%s: %d bytes, %d allocations before main; at most %d and %d", m[1], b, a, ourBytes, ourAllocs))
		}
	}
	if bytes > allBytes || allocs > allAllocs {
		faults = append(faults, fmt.Sprintf("all packages: %d bytes, %d allocations before main; at most %d and %d", bytes, allocs, allBytes, allAllocs))
	}
	return faults, packages
}

func TestOverspent(t *testing.T) {
	t.Parallel()
	const fine = "init os @1.9 ms, 0.028 ms clock, 432 bytes, 9 allocs\ninit envctl/internal/layer @5.7 ms, 0 ms clock, 72 bytes, 2 allocs\n"
	if faults, n := overspent(fine); len(faults) != 0 || n != 2 {
		t.Errorf("%d packages, %q", n, faults)
	}
	for line, want := range map[string]string{
		"init envctl/internal/plan @6.7 ms, 2.5 ms clock, 212360 bytes, 1943 allocs\n": "envctl/internal/plan: ",
		"init envctl/naming @6.7 ms, 2.5 ms clock, 12 bytes, 65 allocs\n":              "envctl/naming: ",
		"init example.com/cache @10 ms, 0.58 ms clock, 963424 bytes, 93 allocs\n":      "all packages: ",
		"init example.com/table @10 ms, 0.58 ms clock, 12 bytes, 6500 allocs\n":        "all packages: ",
	} {
		if faults, _ := overspent(fine + line); len(faults) != 1 || !strings.HasPrefix(faults[0], want) {
			t.Errorf("%s: %q", line, faults)
		}
	}
}

// A regular expression, a table or a cache made at package level is paid at
// every start, for every --version and every completion.
func TestStartAllocations(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), build(t, released(t), "-tags", releaseTag, "../.."), "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	trace, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, trace)
	}
	faults, packages := overspent(string(trace))
	if packages < 20 {
		t.Fatalf("the trace cannot be read:\n%s", trace)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// unwelcome returns which of the packages must not be linked into envctl: they
// cost more at every start than all the rest, or belong to a program of their own.
func unwelcome(packages []string) []string {
	modules := []string{
		"github.com/1password/", // providers/onepassword/envctl-op links it
		"github.com/compose-spec/",
		"github.com/containerd/",
		"github.com/cpuguy83/", // the library's documentation, without its tag
		"github.com/distribution/",
		"github.com/docker/",
		"github.com/dop251/",
		"github.com/extism/",
		"github.com/hashicorp/consul",
		"github.com/minio/",
		"github.com/moby/",
		"github.com/russross/blackfriday",
		"github.com/tetratelabs/",
		"go.opentelemetry.io/",
		"google.golang.org/",
		"testing/",
	}
	var out []string
	for _, p := range packages {
		for _, m := range modules {
			if strings.HasPrefix(p+"/", m) {
				out = append(out, p)
			}
		}
	}
	return out
}

func TestImports(t *testing.T) {
	t.Parallel()
	planted := []string{
		"github.com/1password/onepassword-sdk-go", "github.com/dop251/goja", "github.com/hashicorp/consul-template/template",
		"github.com/moby/moby/client", "github.com/russross/blackfriday/v2", "testing", "testing/iotest",
	}
	if got := unwelcome(append([]string{"fmt", "github.com/hashicorp/vault/api", "envctl/internal/testing"}, planted...)); strings.Join(got, " ") != strings.Join(planted, " ") {
		t.Fatalf("of the planted ones it finds %q", got)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", releaseTag, "../..").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("only %d packages", len(packages))
	}
	for _, p := range unwelcome(packages) {
		t.Errorf("envctl links %s", p)
	}
}
