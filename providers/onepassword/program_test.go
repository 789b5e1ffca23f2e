package onepassword

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers/onepassword/internal/wire"
)

// script is what a stand-in program does: this test binary under another name.
type script struct {
	Stdout, Stderr string
	Exit           int
	Sleep          time.Duration
}

// call is what a stand-in saw.
type call struct {
	Args, Env []string
	Stdin     string
}

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "op", HelperName:
		os.Exit(standInFor(filepath.Dir(os.Args[0])))
	}
	os.Exit(m.Run())
}

func standInFor(dir string) int {
	seen := call{Args: os.Args[1:], Env: os.Environ()}
	if filepath.Base(os.Args[0]) == HelperName {
		in, _ := io.ReadAll(os.Stdin)
		seen.Stdin = string(in)
	}
	line, _ := json.Marshal(seen)
	name := filepath.Join(dir, fmt.Sprintf("call-%d", os.Getpid()))
	if err := os.WriteFile(name, line, 0o600); err != nil {
		return 99
	}
	var scripts map[string]script
	text, err := os.ReadFile(filepath.Join(dir, "script.json"))
	if err != nil || json.Unmarshal(text, &scripts) != nil {
		return 98
	}
	s, ok := scripts[strings.Join(os.Args[1:], "|")]
	if !ok {
		s = scripts["*"]
	}
	time.Sleep(s.Sleep)
	fmt.Print(s.Stdout)
	fmt.Fprint(os.Stderr, s.Stderr)
	return s.Exit
}

// install puts a stand-in called name into a new folder.
func install(t *testing.T, name string, scripts map[string]script) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(scripts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "script.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func calls(t *testing.T, dir string) []call {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "call-*"))
	if err != nil {
		t.Fatal(err)
	}
	var out []call
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var c call
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func TestOpReads(t *testing.T) {
	t.Parallel()
	dir, path := install(t, "op", map[string]script{
		"read|--no-newline|op://prod/app/a":               {Stdout: canary + "\n"},
		"read|--no-newline|op://prod/app/s/b c":           {Stdout: "", Stderr: "a warning\n"},
		"read|--no-newline|op://prod/app/d?attribute=otp": {Stdout: "123456"},
		"*": {Exit: 1, Stderr: "unexpected"},
	})
	environ := []string{
		"PATH=relative:" + dir, "HOME=/h", "OP_SESSION_my=s1", "OP_ACCOUNT=my", "OP_CONNECT_HOST=x", "OP_FORMAT=json",
		"OP_DEBUG=1", "VAULT_TOKEN=t", "ENVCTL_ENV=production", "OP_SERVICE_ACCOUNT_TOKEN=ops_x",
	}
	r := New(Config{Environ: environ})
	got, err := r.ResolveAll(t.Context(), []string{"op://prod/app/a", "op://prod/app/s/b c", "op://prod/app/d?attr=otp", "op://prod/app/a"})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"op://prod/app/a": canary + "\n", "op://prod/app/s/b c": "", "op://prod/app/d?attr=otp": "123456"} {
		if !got[ref].IsSet() || got[ref].Reveal() != want {
			t.Errorf("%s = %q", ref, got[ref].Reveal())
		}
	}
	if name, why := r.Route(); name != "op" || !strings.Contains(why, path) {
		t.Errorf("route %s: %s", name, why)
	}
	all := calls(t, dir)
	if len(all) != 3 {
		t.Errorf("%d calls", len(all))
	}
	want := []string{"HOME=/h", "OP_ACCOUNT=my", "OP_SERVICE_ACCOUNT_TOKEN=ops_x", "OP_SESSION_my=s1", "PATH=relative:" + dir}
	for _, c := range all {
		slices.Sort(c.Env)
		if !slices.Equal(c.Env, want) {
			t.Errorf("environment %q, want %q", c.Env, want)
		}
		if len(c.Args) != 3 || c.Args[0] != "read" || c.Args[1] != "--no-newline" || !IsRef(c.Args[2]) {
			t.Errorf("arguments %q", c.Args)
		}
	}
	if _, err := r.Resolve(t.Context(), "op://prod/app/a"); err != nil || len(calls(t, dir)) != 3 {
		t.Errorf("a known value was read again: %v", err)
	}
}

func TestOpRefusals(t *testing.T) {
	t.Parallel()
	const at = "[ERROR] 2026/11/21 11:55:32 could not read secret 'op://prod/app/pw': "
	for said, want := range map[string]struct {
		kind fault.Kind
		word string
	}{
		at + `could not get item prod/app: "prod" isn't a vault in this account. Specify the vault with its ID or name.`:                                                                                             {fault.NotFound, "no vault"},
		at + `could not get item prod/app: "app" isn't an item in the "prod" vault. Specify the item with its UUID, name, or domain.`:                                                                                {fault.NotFound, "no item"},
		at + `item 'prod/app' does not have a field 'pw'`:                                                                                                                                                            {fault.NotFound, "no field"},
		at + "could not get item prod/app: More than one item matches \"app\". Try again and specify the item by its ID:\n\t* for the item \"app\" in vault prod: abc":                                               {fault.Invalid, "several match item"},
		"[ERROR] 2023/06/26 11:55:32 (429) Too Many Requests: You've reached the maximum number of this type of requests this service account is allowed to make. Please retry in 58 minutes or try other requests.": {fault.Unavailable, "rate limited"},
		"[ERROR] 2026/11/21 11:55:32 You are not currently signed in. Please run `op signin --help` for instructions":                                                                                                {fault.Denied, "not signed in"},
		"[ERROR] 2026/11/21 11:55:32 failed to DecodeSACredentials, unable to decode service account token":                                                                                                          {fault.Denied, "not signed in"},
		"[ERROR] 2026/11/21 11:55:32 (401) Unauthorized: You aren't authorized to perform this action.":                                                                                                              {fault.Denied, "not signed in"},
		"[ERROR] 2026/11/21 11:55:32 Get \"https://my.1password.com/api\": dial tcp: lookup my.1password.com: no such host":                                                                                          {fault.Unavailable, "cannot reach"},
		"something new with " + canary: {fault.Unavailable, "not classify"},
		"":                             {fault.Unavailable, "not classify"},
	} {
		_, path := install(t, "op", map[string]script{"*": {Exit: 1, Stderr: said}})
		_, err := New(Config{OpProgram: path}).Resolve(t.Context(), "op://prod/app/pw")
		if !fault.Is(err, want.kind) || !strings.Contains(err.Error(), want.word) || !strings.Contains(err.Error(), "op://prod/app/pw") {
			t.Errorf("%q\nbecame %v (%v), want %v %q", said, err, fault.KindOf(err), want.kind, want.word)
		}
		clean(t, err)
	}
	// Names that look like op's words must not decide.
	err := opRefusal(`could not read secret 'op://rate limit/unauthorized/forbidden': could not get item rate limit/unauthorized: "unauthorized" isn't an item in the "rate limit" vault.`,
		Ref{Vault: "rate limit", Item: "unauthorized", Field: "forbidden"})
	if !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestOpStopsAtTheFirstRefusalOfAll(t *testing.T) {
	t.Parallel()
	dir, path := install(t, "op", map[string]script{"*": {Exit: 1, Stderr: "(429) Too Many Requests"}})
	_, err := New(Config{OpProgram: path}).ResolveAll(t.Context(), []string{"op://v/i/a", "op://v/i/b", "op://v/i/c"})
	if !fault.Is(err, fault.Unavailable) || len(calls(t, dir)) != 1 {
		t.Errorf("%v after %d calls", err, len(calls(t, dir)))
	}
	dir, path = install(t, "op", map[string]script{
		"*":                            {Stdout: "x"},
		"read|--no-newline|op://v/i/b": {Exit: 1, Stderr: "item 'v/i' does not have a field 'b'"},
	})
	got, err := New(Config{OpProgram: path}).ResolveAll(t.Context(), []string{"op://v/i/a", "op://v/i/b", "op://v/i/c"})
	if !fault.Is(err, fault.NotFound) || len(got) != 2 || len(calls(t, dir)) != 3 {
		t.Errorf("%v, %v after %d calls", got, err, len(calls(t, dir)))
	}
}

func TestOpEndsWithTheContext(t *testing.T) {
	t.Parallel()
	_, path := install(t, "op", map[string]script{"*": {Sleep: time.Minute}})
	_, err := New(Config{OpProgram: path, Timeout: 100 * time.Millisecond}).Resolve(t.Context(), "op://v/i/f")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	if _, err := New(Config{OpProgram: path}).Resolve(ctx, "op://v/i/f"); !fault.Is(err, fault.Interrupted) || time.Since(start) > 10*time.Second {
		t.Error(err, time.Since(start))
	}
	if _, err := New(Config{OpProgram: "/nonexistent/op"}).Resolve(t.Context(), "op://v/i/f"); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	_, path = install(t, "op", map[string]script{"*": {Stdout: strings.Repeat("x", maxValue+1)}})
	if _, err := New(Config{OpProgram: path}).Resolve(t.Context(), "op://v/i/f"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func answer(t *testing.T, a wire.Answer) string {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHelper(t *testing.T) {
	t.Parallel()
	dir, path := install(t, HelperName, map[string]script{"*": {Sleep: 1200 * time.Millisecond, Stdout: answer(t, wire.Answer{Outcomes: map[string]wire.Outcome{
		"op://v/i/a": {Value: canary}, "op://v/i/b": {Failure: &wire.Failure{Kind: wire.NotFound, Message: "no such field"}},
	}})}})
	var lock sync.Mutex
	var said []string
	r := New(Config{
		Environ:             []string{"HOME=/h", "VAULT_TOKEN=t", "OP_SERVICE_ACCOUNT_TOKEN=ops_" + canary, "HTTPS_PROXY=p"},
		ServiceAccountToken: secret.New("ops_" + canary + "\n"), Helper: path, Version: "v1",
		Progress: func(m string) { lock.Lock(); defer lock.Unlock(); said = append(said, m) },
	})
	if name, why := r.Route(); name != "sdk" || len(calls(t, dir)) != 0 || strings.Contains(why, canary) {
		t.Errorf("route %s: %s", name, why)
	}
	got, err := r.ResolveAll(t.Context(), []string{"op://v/i/a", "op://v/i/b", "op://v/i/c"})
	if got["op://v/i/a"].Reveal() != canary || len(got) != 1 {
		t.Errorf("%v", got)
	}
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "op://v/i/b: no such field") || !strings.Contains(err.Error(), "op://v/i/c: no answer") {
		t.Error(err)
	}
	clean(t, err)
	all := calls(t, dir)
	if len(all) != 1 {
		t.Fatalf("%d calls", len(all))
	}
	slices.Sort(all[0].Env)
	if len(all[0].Args) != 0 || !slices.Equal(all[0].Env, []string{"HOME=/h", "HTTPS_PROXY=p"}) {
		t.Errorf("arguments %q, environment %q", all[0].Args, all[0].Env)
	}
	var request wire.Request
	if err := json.Unmarshal([]byte(all[0].Stdin), &request); err != nil || request.Token != "ops_"+canary || request.Version != "v1" ||
		!slices.Equal(request.References, []string{"op://v/i/a", "op://v/i/b", "op://v/i/c"}) {
		t.Errorf("%+v, %v", request, err)
	}
	lock.Lock()
	defer lock.Unlock()
	if len(said) < 2 || !strings.Contains(said[0], "starting the 1Password SDK") {
		t.Errorf("progress %q", said)
	}
}

func TestHelperFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script script
		kind   fault.Kind
	}{
		"denied":      {script{Stdout: answer(t, wire.Answer{Failure: &wire.Failure{Kind: wire.Denied, Message: "no"}})}, fault.Denied},
		"limited":     {script{Stdout: answer(t, wire.Answer{Failure: &wire.Failure{Kind: wire.Unavailable, Message: "rate limited"}})}, fault.Unavailable},
		"crashed":     {script{Exit: 2, Stderr: "panic: " + canary}, fault.Unavailable},
		"garbage":     {script{Stdout: canary}, fault.Unavailable},
		"other words": {script{Stdout: `{"failure":{"kind":"new"}}`}, fault.Internal},
	} {
		_, path := install(t, HelperName, map[string]script{"*": c.script})
		_, err := New(Config{ServiceAccountToken: secret.New("ops_x"), Helper: path}).Resolve(t.Context(), "op://v/i/f")
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), "op://v/i/f") {
			t.Errorf("%s: %v (%v), want %v", name, err, fault.KindOf(err), c.kind)
		}
		clean(t, err)
	}
	dir, path := install(t, HelperName, nil)
	_, err := New(Config{ServiceAccountToken: secret.New(canary), Helper: path}).Resolve(t.Context(), "op://v/i/f")
	if !fault.Is(err, fault.Denied) || len(calls(t, dir)) != 0 {
		t.Errorf("%v after %d calls", err, len(calls(t, dir)))
	}
	clean(t, err)
}

func TestHelperEndsWithTheContext(t *testing.T) {
	t.Parallel()
	dir, path := install(t, HelperName, map[string]script{"*": {Sleep: time.Minute}})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := New(Config{ServiceAccountToken: secret.New("ops_x"), Helper: path}).Resolve(ctx, "op://v/i/f")
	if !fault.Is(err, fault.Unavailable) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	// Ended, not left behind.
	if names, _ := filepath.Glob(filepath.Join(dir, "call-*")); len(names) == 1 {
		pid := strings.TrimPrefix(filepath.Base(names[0]), "call-")
		if text, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && bytes.Contains(text, []byte(dir)) {
			t.Errorf("process %s still runs", pid)
		}
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	dir, op := install(t, "op", nil)
	_, helper := install(t, HelperName, nil)
	set := secret.New("ops_x")
	for _, c := range []struct {
		name, route, why string
		config           Config
	}{
		{"nothing", "", "OP_CONNECT_HOST is not set; op is not on PATH; OP_SERVICE_ACCOUNT_TOKEN is not set", Config{}},
		{"host alone", "", "OP_CONNECT_HOST is set but OP_CONNECT_TOKEN is not", Config{ConnectHost: "https://c"}},
		{"token alone", "", "OP_CONNECT_TOKEN is set but OP_CONNECT_HOST is not", Config{ConnectToken: set}},
		{"connect first", "connect", "OP_CONNECT_HOST and OP_CONNECT_TOKEN are set", Config{
			ConnectHost: "https://c", ConnectToken: set,
			OpProgram: op, ServiceAccountToken: set, Helper: helper,
		}},
		{"op second", "op", op, Config{Environ: []string{"PATH=" + dir}, ServiceAccountToken: set, Helper: helper}},
		{"sdk third", "sdk", "4 to 13 seconds", Config{ServiceAccountToken: set, Helper: helper}},
		{"no helper", "", "the program envctl-op is not beside envctl", Config{ServiceAccountToken: set}},
		{"empty token", "", "OP_SERVICE_ACCOUNT_TOKEN is not set", Config{ServiceAccountToken: secret.New(""), Helper: helper}},
	} {
		r := New(c.config)
		if route, why := r.Route(); route != c.route || !strings.Contains(why, c.why) {
			t.Errorf("%s: %q, %q", c.name, route, why)
		}
		if c.route == "" {
			if _, err := r.Resolve(t.Context(), "op://v/i/f"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	if HelperBeside(helper) != helper || HelperBeside(op) != "" {
		t.Error("HelperBeside")
	}
	c := FromEnviron([]string{"OP_CONNECT_HOST=h", "OP_CONNECT_TOKEN=t", "OP_SERVICE_ACCOUNT_TOKEN="})
	if c.ConnectHost != "h" || c.ConnectToken.Reveal() != "t" || c.ServiceAccountToken.IsSet() {
		t.Error("FromEnviron")
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	r := New(Config{OpProgram: "/nonexistent/op"})
	if got, err := r.ResolveAll(t.Context(), nil); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
	if _, err := r.ResolveAll(t.Context(), []string{"op://v/i/f", "not a reference"}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Resolve(ctx, "op://v/i/f"); !fault.Is(err, fault.Interrupted, fault.Unavailable) {
		t.Error(err)
	}
}

// The SDK in envctl's own process would double what each start costs.
func TestSDKIsNotLinked(t *testing.T) {
	t.Parallel()
	for pkg, want := range map[string]bool{"envctl/providers/onepassword": false, "envctl/providers/onepassword/envctl-op": true} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(out, []byte("github.com/1password/onepassword-sdk-go")); got != want {
			t.Errorf("%s links the SDK: %v", pkg, got)
		}
	}
}
