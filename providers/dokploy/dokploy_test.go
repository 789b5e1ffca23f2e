package dokploy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
	"envctl/providers/deploytest"
	"envctl/providers/dokploy"
	"envctl/providers/dokploy/dokploytest"
)

// world is a stand-in with one service that is up in 20 ms, and its deployer.
func world(t *testing.T, change func(*dokploy.Config)) (*dokploytest.Server, *dokploy.Deployer, string) {
	t.Helper()
	s := dokploytest.New(t)
	s.Engine().Behave("web", deploytest.Healthy)
	id := s.Compose(project, "staging", "ledger-app-staging", file("-staging", "web"))
	return s, deployer(t, s, change), id
}

// roll deploys and waits, for at most limit.
func roll(t *testing.T, d *dokploy.Deployer, r providers.Release, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	dep, err := d.Deploy(ctx, r)
	if err == nil {
		err = d.Wait(ctx, r, dep)
	}
	if took := time.Since(began); took > limit+time.Second {
		t.Errorf("took %s of %s", took, limit)
	}
	shows(t, err)
	return err
}

// shows fails where an error shows what it must not.
func shows(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, text := range []string{err.Error(), fault.HintOf(err)} {
		if strings.Contains(text, canary) || strings.Contains(text, "foreign-secret") || strings.Contains(text, dokploytest.Key) {
			t.Errorf("a value is shown: %q", text)
		}
	}
	if fault.HintOf(err) == "" {
		t.Errorf("no hint: %v", err)
	}
}

func says(t *testing.T, err error, k fault.Kind, words ...string) {
	t.Helper()
	shows(t, err)
	if !fault.Is(err, k) {
		t.Errorf("%s, want %s: %v", fault.KindOf(err), k, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error()+" "+fault.HintOf(err), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func count(s *dokploytest.Server, request string) int {
	n := 0
	for _, r := range s.Requests() {
		if r == request {
			n++
		}
	}
	return n
}

func TestNamesAreResolved(t *testing.T) {
	t.Parallel()
	s, d, id := world(t, nil)
	r := release("staging")
	for _, c := range []struct {
		name   string
		change func(*providers.Release)
		words  []string
	}{
		{"project", func(r *providers.Release) { r.Project = "legder" }, []string{"no project legder", "sees ledger"}},
		{"environment", func(r *providers.Release) { r.Environment = "stagnig" }, []string{"no environment stagnig", "production, staging"}},
		{"component", func(r *providers.Release) { r.Component = "api" }, []string{"ledger-api-staging or ledger-api", "ledger-app-staging"}},
		{"service", func(r *providers.Release) {
			r.Services = append(r.Services, providers.Service{Name: "worker", Container: "w"})
		}, []string{"no service worker", "it has web"}},
	} {
		bad := r
		bad.Services = slices.Clone(r.Services)
		c.change(&bad)
		says(t, roll(t, d, bad, 5*time.Second), fault.NotFound, c.words...)
	}
	if got := s.Text(id); got != "" {
		t.Errorf("a refused deploy wrote %q", got)
	}
	s.Change(id, "raw", false)
	says(t, roll(t, d, r, 5*time.Second), fault.Refused, "environment file is switched off")
	s.Change(id, "github", true) // a repository that was never fetched has no list of services
	says(t, roll(t, d, r, 5*time.Second), fault.No, "Github Provider not found")
	s.Change(id, "raw", true)
	// Dokploy lets two environments have one name.
	s.Duplicate(project, "staging", "other", file("-staging", "web"))
	if err := roll(t, d, r, 5*time.Second); err != nil {
		t.Error("another environment of the name, without the service:", err)
	}
	s.Duplicate(project, "staging", "ledger-app-staging", file("-staging", "web"))
	says(t, roll(t, d, r, 5*time.Second), fault.Refused, "2 compose services called ledger-app-staging")

	names, err := d.Projects(t.Context())
	if err != nil || !slices.Equal(names, []string{project}) {
		t.Errorf("%v %v", names, err)
	}
}

func TestValuesThatDokployChangesAreRefused(t *testing.T) {
	t.Parallel()
	s, d, _ := world(t, nil)
	for name, value := range map[string]string{
		"NEWLINE": canary + "\nx", "REFERENCE": canary + "${{project.X}}", "QUOTES": canary + "#'\"`", "COMPOSE_FILE": canary, "DOCKER_HOST": canary,
		dokploy.ManagedVariable: canary, providers.MarkerVariable: canary,
	} {
		r := release("staging")
		r.Values[name] = secret.New(value)
		says(t, roll(t, d, r, 5*time.Second), fault.Refused, name)
	}
	if got := s.Requests(); len(got) > 0 {
		t.Errorf("asked before it refused: %q", got)
	}
}

func TestOtherBytesStay(t *testing.T) {
	t.Parallel()
	const foreign = "# head\r\n\r\nOTHER = spaced  \r\nKEY=old # keep?\r\nexport EXP='a b'\r\nREF=${{environment.X}}\r\nnot a line\r\nlast=foreign-secret"
	for name, c := range map[string]struct{ before, after string }{
		"empty":  {"", "ENV=staging\nENVCTL_RELEASE=00ff\nENVCTL_VARIABLES=KEY,URL\nKEY=" + canary + "\nURL=postgres://u:p%40@h/d\n"},
		"no end": {"A=1", "A=1\nENV=staging\nENVCTL_RELEASE=00ff\nENVCTL_VARIABLES=KEY,URL\nKEY=" + canary + "\nURL=postgres://u:p%40@h/d"},
		"foreign": {foreign, strings.Replace(foreign, "KEY=old", "KEY="+canary, 1) +
			"\r\nENV=staging\r\nENVCTL_RELEASE=00ff\r\nENVCTL_VARIABLES=KEY,URL\r\nURL=postgres://u:p%40@h/d"},
		"byte order mark": {"\ufeffA=1\n", "\ufeffA=1\nENV=staging\nENVCTL_RELEASE=00ff\nENVCTL_VARIABLES=KEY,URL\nKEY=" + canary + "\nURL=postgres://u:p%40@h/d\n"},
		"retired": {
			"A=1\nB=2\nGONE=y # z\nENVCTL_VARIABLES=GONE,KEY\nC=3\n",
			"A=1\nB=2\nENVCTL_VARIABLES=KEY,URL\nC=3\nENV=staging\nENVCTL_RELEASE=00ff\nKEY=" + canary + "\nURL=postgres://u:p%40@h/d\n",
		},
		"not ours to retire": {
			"A=1\nENVCTL_VARIABLES=ENVCTL_VARIABLES,,ENV,ENVCTL_RELEASE,NONE\n",
			"A=1\nENVCTL_VARIABLES=KEY,URL\nENV=staging\nENVCTL_RELEASE=00ff\nKEY=" + canary + "\nURL=postgres://u:p%40@h/d\n",
		},
		"duplicates": {"KEY=1\nKEY='2'\nURL=\n", "KEY=1\nKEY='" + canary + "'\nURL=postgres://u:p%40@h/d\nENV=staging\nENVCTL_RELEASE=00ff\nENVCTL_VARIABLES=KEY,URL\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, d, id := world(t, nil)
			s.SetText(id, c.before)
			if err := d.Stage(t.Context(), release("staging")); err != nil {
				t.Fatal(err)
			}
			if got := s.Text(id); got != c.after {
				t.Errorf("\n got %q\nwant %q", got, c.after)
			}
			writes := count(s, "POST compose.update")
			if err := d.Stage(t.Context(), release("staging")); err != nil || count(s, "POST compose.update") != writes || writes != 1 {
				t.Errorf("a second time: %v, %d writes", err, count(s, "POST compose.update"))
			}
			env, err := d.Env(t.Context(), release("staging"))
			if err != nil || !env["KEY"].Equal(secret.New(canary)) {
				t.Errorf("%v %v", env, err)
			}
		})
	}
}

// C23: someone else writes at every moment of a deploy. Their line stays, or the
// deploy says Conflict; but for the one moment that the server's interface
// leaves: after the last reading, before the write is taken.
func TestForeignWrites(t *testing.T) {
	t.Parallel()
	const before = "# theirs\nA=1 # one\n"
	calls := func(f func(n int, procedure string)) func(string) {
		var n atomic.Int32
		return func(p string) { f(int(n.Add(1)), p) }
	}
	var procedures []string
	s, d, id := world(t, nil)
	s.SetText(id, before)
	s.After(calls(func(_ int, p string) { procedures = append(procedures, p) }))
	if err := roll(t, d, release("staging"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	overwritten, refused := []int{}, 0
	for at := range procedures {
		s, d, id := world(t, nil)
		s.SetText(id, before)
		s.After(calls(func(n int, _ string) {
			if n == at+1 {
				s.SetText(id, s.Text(id)+"B=foreign-secret\n")
			}
		}))
		err := roll(t, d, release("staging"), 10*time.Second)
		got := s.Text(id)
		kept := strings.Contains(got, "B=foreign-secret\n") && strings.HasPrefix(got, before)
		switch {
		case err != nil:
			says(t, err, fault.Conflict)
			refused++
		case !kept:
			overwritten = append(overwritten, at)
		}
		if !strings.HasPrefix(got, before) {
			t.Errorf("after %s: other lines changed: %q", procedures[at], got)
		}
	}
	update := slices.Index(procedures, "compose.update")
	if !slices.Equal(overwritten, []int{update - 1}) || refused == 0 {
		t.Errorf("overwritten after calls %v of %q, conflicts %d", overwritten, procedures, refused)
	}

	// Ours overwritten is noticed, before and after the job has read the text.
	for _, when := range []string{"compose.update", "compose.deploy", "deployment.allByCompose"} {
		s, d, id := world(t, nil)
		var once atomic.Bool
		s.After(func(p string) {
			if p == when && !once.Swap(true) {
				s.SetText(id, "A=2\n")
			}
		})
		says(t, roll(t, d, release("staging"), 10*time.Second), fault.Conflict, "someone else")
		if got := s.Text(id); got != "A=2\n" {
			t.Errorf("%s: theirs is lost: %q", when, got)
		}
	}

	// Someone who never stops.
	s, d, id = world(t, nil)
	s.After(func(p string) {
		if p == "compose.one" {
			s.SetText(id, s.Text(id)+"X=1\n")
		}
	})
	says(t, roll(t, d, release("staging"), 10*time.Second), fault.Conflict, "nothing was written")
	if n := count(s, "POST compose.update"); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestWritersOfOneMachineTakeTurns(t *testing.T) {
	t.Parallel()
	s := dokploytest.New(t)
	id := s.Compose(project, "staging", "ledger-app-staging", file("-staging", "web"))
	dir := t.TempDir()
	errs := make(chan error)
	for i := range 8 {
		d := deployer(t, s, func(c *dokploy.Config) { c.StateDir = dir })
		go func() {
			r := release("staging")
			for name := range 8 { // each releases one more of the same component's variables
				r.Values[fmt.Sprintf("K%d", name)] = secret.New(fmt.Sprint(i))
			}
			errs <- d.Stage(context.Background(), r)
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	env, err := deployer(t, s, nil).Env(t.Context(), release("staging"))
	for name := range 8 {
		if err != nil || !env[fmt.Sprintf("K%d", name)].Equal(env["K0"]) {
			t.Errorf("two writers' values are mixed: %v", err)
		}
	}
	if n := count(s, "POST compose.update"); n != 8 || s.Text(id) == "" {
		t.Errorf("%d writes", n)
	}
}

func TestTheKey(t *testing.T) {
	t.Parallel()
	s, _, _ := world(t, nil)
	for name, key := range map[string]string{"wrong": canary, "missing": "", "with a newline": canary + "\nx"} {
		d := deployer(t, s, func(c *dokploy.Config) { c.Key = secret.New(key) })
		says(t, roll(t, d, release("staging"), 5*time.Second), fault.Denied, "key", "DOKPLOY_API_KEY")
		if _, err := d.Projects(t.Context()); !fault.Is(err, fault.Denied) {
			t.Error(name, err)
		}
	}
	resolved := 0
	d := deployer(t, s, func(c *dokploy.Config) {
		c.Key = secret.New("op://vault/dokploy/key")
		c.Resolve = func(_ context.Context, ref string) (secret.Value, error) {
			resolved++
			if ref != "op://vault/dokploy/key" {
				t.Error(ref)
			}
			return secret.New(dokploytest.Key + "\n"), nil
		}
	})
	if err := roll(t, d, release("staging"), 5*time.Second); err != nil || resolved != 1 {
		t.Error(err, resolved)
	}
	d = deployer(t, s, func(c *dokploy.Config) { c.Key = secret.New("op://vault/dokploy/key") })
	says(t, roll(t, d, release("staging"), 5*time.Second), fault.Usage, "op://")

	// A key over its limit answers as a wrong one does, at whatever call it happens.
	for n := range 11 { // the fewest that a whole deploy takes
		s, d, _ := world(t, nil)
		s.Allow(n)
		err := roll(t, d, release("staging"), 10*time.Second)
		if err == nil || !strings.Contains(err.Error(), "rate limit") || !fault.Is(err, fault.Denied, fault.Unknown, fault.No) {
			t.Errorf("after %d calls: %v", n, err)
		}
		if n := count(s, "POST compose.deploy"); n > 1 {
			t.Errorf("%d deploys", n)
		}
	}
	s, d, _ = world(t, nil)
	s.Break("compose.one", dokploytest.Forbidden)
	says(t, roll(t, d, release("staging"), 5*time.Second), fault.Denied, "may not", "not authorized")
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]fault.Kind{
		"": fault.Usage, "dokploy.example.com": fault.Usage, "http://dokploy.example.com/api": fault.Refused, "https://u:p@h/api": fault.Usage,
		"https://h/api?x=1": fault.Usage, "https://h/app": fault.Usage, "ftp://h/api": fault.Usage, "http://127.0.0.1.example.com/api": fault.Refused,
	} {
		if _, err := dokploy.New(dokploy.Config{URL: url, StateDir: "/x", Now: time.Now}); !fault.Is(err, want) || fault.HintOf(err) == "" {
			t.Errorf("%q: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"https://dokploy.example.com": "https://dokploy.example.com", "https://dokploy.example.com/api/": "https://dokploy.example.com",
		"http://localhost:3000/api": "http://localhost:3000", "http://[::1]:3000": "http://[::1]:3000",
	} {
		d, err := dokploy.New(dokploy.Config{URL: url, StateDir: "/x", Now: time.Now, Key: secret.New(canary)})
		if err != nil || d.Describe() != "dokploy "+want {
			t.Errorf("%q: %v %v", url, d, err)
		}
	}
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for f, want := range map[dokploytest.Fault]struct {
		kind fault.Kind
		word string
	}{
		dokploytest.Redirect: {fault.Usage, "no redirect is followed"}, dokploytest.Garbage: {fault.Unavailable, "not the JSON"},
		dokploytest.Endless: {fault.Unavailable, "longer than"}, dokploytest.Silent: {fault.Unavailable, "did not answer within 300ms"},
		dokploytest.Bad: {fault.Unavailable, "answered 502"}, dokploytest.Lost: {fault.Unavailable, "reach 127.0.0.1"},
	} {
		t.Run(want.word, func(t *testing.T) {
			t.Parallel()
			s, d, id := world(t, func(c *dokploy.Config) {
				if f == dokploytest.Silent {
					c.Timeout = 300 * time.Millisecond
				}
			})
			s.Break("project.all", f, f, f)
			says(t, roll(t, d, release("staging"), 20*time.Second), want.kind, want.word)
			if s.Text(id) != "" {
				t.Error("something was written")
			}
			if n := count(s, "GET project.all"); n > 3 {
				t.Errorf("asked %d times", n)
			}
		})
	}
	// The key goes to no other host, and an error's words come from no page.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed a redirect") }))
	t.Cleanup(elsewhere.Close)
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/project.all" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"message":"\u001b[31m%s","code":"BAD_REQUEST"}`, r.Header.Get("X-Api-Key"))
			return
		}
		http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
	}))
	t.Cleanup(here.Close)
	d, err := dokploy.New(dokploy.Config{URL: here.URL, Key: secret.New(canary), StateDir: t.TempDir(), Now: time.Now, Rules: naming.Rules{Project: project}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Projects(t.Context())
	says(t, err, fault.Invalid, "answered 400")
	if strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
}
