package naming

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func ledger() Rules { return Rules{Project: "ledger", PortBase: "postgres"} }

func TestContainer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ env, service, want string }{
		{"ci", "backend", "ledger-backend"},
		{"local", "backend", "ledger-backend"},
		{"pr-47", "backend", "ledger-backend-pr-47"},
		{"production", "backend", "ledger-backend"},
		{"qa", "backend", "ledger-backend-qa"},
		{"staging", "backend", "ledger-backend-staging"},
		// Nothing but production has production's names.
		{"", "backend", "ledger-backend-unnamed"},
		{"-", "backend", "ledger-backend-unnamed"},
		{"PRODUCTION", "backend", "ledger-backend-production"},
		{"prod", "backend", "ledger-backend-prod"},
		{"production-", "backend", "ledger-backend-production"},
	} {
		if got := ledger().Container(c.env, c.service); got != c.want {
			t.Errorf("%s in %q: %q, want %q", c.service, c.env, got, c.want)
		}
	}
}

func TestUnderscore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		u                 Underscore
		container, bucket string
	}{
		{"", "finance_report-rate_feed-qa", "finance-report-bucket-qa"},
		{Dash, "finance-report-rate-feed-qa", "finance-report-bucket-qa"},
		{Keep, "finance_report-rate_feed-qa", "finance-report-bucket-qa"},
	} {
		r := Rules{Project: "finance_report", Underscore: c.u}
		if got := r.Container("qa", "rate_feed"); got != c.container {
			t.Errorf("%q: container %q, want %q", c.u, got, c.container)
		}
		if got := r.Bucket("qa", "", ""); got != c.bucket {
			t.Errorf("%q: bucket %q, want %q", c.u, got, c.bucket)
		}
	}
}

func TestSharedNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ env, branch, workspace, database, network, bucket string }{
		{"ci", "main", "7", "ledger-db-main-7", "ledger-net-main-7", "ledger-bucket-main-7"},
		{"local", "fix/auth", "abc12345", "ledger-db-fix-auth-abc12345", "ledger-net-fix-auth-abc12345", "ledger-bucket-fix-auth-abc12345"},
		{"local", "v1.2_x", "1", "ledger-db-v1-2_x-1", "ledger-net-v1-2_x-1", "ledger-bucket-v1-2-x-1"},
		{"pr-47", "x", "y", "ledger-db-pr-47", "ledger-net-pr-47", "ledger-bucket-pr-47"},
		{"production", "x", "y", "ledger-db", "ledger-net", "ledger-bucket"},
		{"qa", "x", "y", "ledger-db-qa", "ledger-net-qa", "ledger-bucket-qa"},
		{"staging", "x", "y", "ledger-db-staging", "ledger-net-staging", "ledger-bucket-staging"},
	} {
		r := ledger()
		got := []string{r.Database(c.env, c.branch, c.workspace), r.Network(c.env, c.branch, c.workspace), r.Bucket(c.env, c.branch, c.workspace)}
		if want := []string{c.database, c.network, c.bucket}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s %s %s: %q, want %q", c.env, c.branch, c.workspace, got, want)
		}
	}
}

// The vectors of the systems that envctl has to agree with.
func TestSuffixAndPort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env, branch, workspace, service, suffix string
		port                                    int
	}{
		{"local", "feature-auth", "bob", "postgres", "-feature-auth-bob", 5726},
		{"local", "fix/auth", "abc12345", "postgres", "-fix-auth-abc12345", 5975},
		{"ci", "FIX/Auth", "abc12345", "postgres", "-fix-auth-abc12345", 5975},
		{"local", "fix/auth", "abc12345", "redis", "-fix-auth-abc12345", 5400 + int(Cksum([]byte("-fix-auth-abc12345/redis"))%600)},
		{"production", "fix/auth", "abc12345", "postgres", "", 5400 + 4294967295%600},
		{"staging", "fix/auth", "abc12345", "postgres", "-staging", 5400 + int(Cksum([]byte("-staging"))%600)},
	} {
		r := ledger()
		if got := r.Suffix(c.env, c.branch, c.workspace); got != c.suffix {
			t.Errorf("suffix %s %s: %q, want %q", c.env, c.branch, got, c.suffix)
		}
		if got := r.Port(c.env, c.branch, c.workspace, c.service); got != c.port {
			t.Errorf("port %s %s %s: %d, want %d", c.env, c.branch, c.service, got, c.port)
		}
	}
}

func TestBranch(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                   "unnamed",
		"---":                "unnamed",
		"/":                  "unnamed",
		"a\x00b":             "a-b",
		"a\xffb":             "a-b",
		"Feature/ÄB":         "feature--b",
		"fix/auth":           "fix-auth",
		"release/v1.2_final": "release-v1.2_final",
		"-x-":                "x",
	} {
		if got := Branch(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What the cksum of coreutils prints.
func TestCksum(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]uint32{
		"":                       4294967295,
		"-feature-auth-bob":      617617526,
		"-fix-auth-abc12345":     556941575,
		"/srv/work/ledger":       3422400583,
		"123456789":              930766865,
		strings.Repeat("a", 300): 1664553091,
	} {
		if got := Cksum([]byte(in)); got != want {
			t.Errorf("%.20q: %d, want %d", in, got, want)
		}
	}
	if got := Workspace("/srv/work/ledger"); got != "22400583" {
		t.Errorf("workspace %s", got)
	}
}

func TestLongNamesStayTwo(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("service-", 10)
	a, b := ledger().Container("staging", long+"a"), ledger().Container("staging", long+"b")
	if a == b || len(a) != 63 && len(a) != 62 || a[:50] != b[:50] {
		t.Errorf("%q, %q", a, b)
	}
	exact := ledger().Container("production", strings.Repeat("s", 63-len("ledger-")))
	if len(exact) != 63 || !strings.HasSuffix(exact, "ssssssssss") {
		t.Errorf("63 characters were shortened: %q", exact)
	}
}

func TestPolicyAndPath(t *testing.T) {
	t.Parallel()
	r := Rules{Project: "finance_report", Underscore: Dash}
	if got := r.Policy("production", "app"); got != "finance_report-production-app" {
		t.Error(got)
	}
	if got := r.Path("production", "app").String(); got != "finance_report/production/app" {
		t.Error(got)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	name, steps := ledger().Explain(Subject{Kind: KindPort, Environment: "local", Service: "postgres", Branch: "fix/auth", Workspace: "abc12345"})
	want := []Step{
		{`branch "fix/auth" in small letters, all but a-z 0-9 . _ - replaced by -`, "fix-auth"},
		{"workspace", "abc12345"},
		{"environment local: -<branch>-<workspace>", "-fix-auth-abc12345"},
		{"service postgres is the base: digest the suffix", "-fix-auth-abc12345"},
		{"cksum", "556941575"},
		{"5400 + cksum mod 600", "5975"},
	}
	if name != "5975" || !reflect.DeepEqual(steps, want) {
		t.Errorf("%s: %q", name, steps)
	}
	for _, kind := range []Kind{KindBucket, KindContainer, KindDatabase, KindNetwork, KindPolicy, KindPort, KindSuffix} {
		name, steps := ledger().Explain(Subject{kind, "staging", strings.Repeat("long_", 20), "app", "", ""})
		if len(steps) == 0 || steps[len(steps)-1].Result != name {
			t.Errorf("%s: the steps %q do not lead to %q", kind, steps, name)
		}
	}
}

func TestPortRange(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]PortRange{
		"": {}, "5400": {}, "5999-5400": {}, "0-10": {}, "1-65536": {}, "-5": {}, "5400-5999-1": {}, "+1-2": {},
		"1-65535": {1, 65535}, "5400-5999": {5400, 5999}, "7000-7000": {7000, 7000},
	} {
		got, err := ParsePortRange(in)
		if got != want || (err == nil) != (want != PortRange{}) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if err == nil && got.String() != in {
			t.Errorf("%q prints as %s", in, got)
		}
	}
	p := PortRange{10, 12}
	if got := fmt.Sprint(p.At(11, 0), p.At(11, 1), p.At(11, 2), p.At(11, 3)); got != "11 12 10 11" {
		t.Errorf("probes %s", got)
	}
	if got := (Rules{Ports: PortRange{7000, 7000}}).Port("qa", "", "", "x"); got != 7000 {
		t.Errorf("a range of one: %d", got)
	}
}

func TestCollisions(t *testing.T) {
	t.Parallel()
	in := func(s ...string) (out []Input) {
		for i := 0; i < len(s); i += 2 {
			out = append(out, Input{s[i], s[i+1]})
		}
		return out
	}
	for name, c := range map[string]struct {
		rules          Rules
		envs, services []string
		want           []Collision
	}{
		"none": {ledger(), []string{"ci", "local", "pr-*", "production", "qa", "staging"}, []string{"backend", "postgres"}, nil},
		"a service named like another's staging": {
			ledger(),
			[]string{"production", "staging"},
			[]string{"b", "b-staging"},
			[]Collision{{KindContainer, "ledger-b-staging", in("production", "b-staging", "staging", "b")}},
		},
		"underscore under dash": {
			Rules{Project: "p", Underscore: Dash},
			[]string{"production"},
			[]string{"a_b", "a-b"},
			[]Collision{{KindContainer, "p-a-b", in("production", "a-b", "production", "a_b")}},
		},
		"underscore kept": {Rules{Project: "p"}, []string{"production"}, []string{"a_b", "a-b"}, nil},
		"a preview pattern": {
			ledger(),
			[]string{"local", "pr-*"},
			[]string{"b", "b-pr-3"},
			[]Collision{{KindContainer, "ledger-b-pr-3", in("local", "b-pr-3", "pr-*", "b")}},
		},
		"an environment of its own beside its pattern": {ledger(), []string{"pr-*", "pr-1"}, []string{"b"}, nil},
		"environments under a bucket's rule": {
			ledger(),
			[]string{"qa-1", "qa_1"},
			nil,
			[]Collision{{KindBucket, "ledger-bucket-qa-1", in("qa-1", "", "qa_1", "")}},
		},
	} {
		if got := Collisions(c.rules, c.envs, c.services); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	got := PolicyCollisions(ledger(), []string{"qa", "qa-b"}, []string{"b-app", "app"})
	want := []Collision{{KindPolicy, "ledger-qa-b-app", in("qa", "b-app", "qa-b", "app")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("policies: %v, want %v", got, want)
	}
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                       string
		production, local, preview bool
	}{
		{"", false, false, false},
		{"ci", false, true, false},
		{"local", false, true, false},
		{"pr-", false, false, false},
		{"pr-47", false, false, true},
		{"pr-47x", false, false, false},
		{"prod", false, false, false},
		{"production", true, false, false},
		{"staging", false, false, false},
	} {
		if IsProduction(c.name) != c.production || IsLocal(c.name) != c.local || IsPreview(c.name) != c.preview {
			t.Errorf("%q is classed wrongly", c.name)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true},
		{"*", "", false},
		{"*", "x", true},
		{"*-b", "a-b", true},
		{"a*a", "aa", false},
		{"a*a", "aba", true},
		{"a*b*c", "abbcbc", true},
		{"pr-*", "pr-", false},
		{"pr-*", "pr-47", true},
		{"pr-*", "xpr-47", false},
		{"pr-*-x", "pr-47-x", true},
		{"pr-*-x", "pr-47-xy", false},
		{"qa", "qa", true},
		{"qa", "qa2", false},
		{strings.Repeat("a*", 30), strings.Repeat("a", 63) + "b", true},
		{strings.Repeat("a*", 30) + "c", strings.Repeat("a", 63) + "b", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("%q against %q: %v", c.pattern, c.name, got)
		}
	}
	for name, want := range map[string]string{"pr-1": "pr-1", "pr-12": "pr-1*", "pr-2": "pr-*", "qa": "*", "": ""} {
		if got, ok := BestMatch([]string{"*", "pr-*", "pr-1", "pr-1*"}, name); got != want || ok != (want != "") {
			t.Errorf("%q falls under %q", name, got)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"staging", "production", "local", "qa", "SECRET_KEY", "rotate"}
	for in, want := range map[string]string{
		"":                         "",
		"stagign":                  "staging",
		"Staging":                  "staging",
		"prodution":                "production",
		"prod":                     "production",
		"pr":                       "",
		"q":                        "",
		"qb":                       "qa",
		"secret_kye":               "SECRET_KEY",
		"rotat":                    "rotate",
		"nothinglike":              "",
		strings.Repeat("x", 1<<20): "",
	} {
		if got := Nearest(in, known); got != want {
			t.Errorf("%.20q: %q, want %q", in, got, want)
		}
	}
	if got := Nearest("b1", []string{"b3", "b2"}); got != "b2" {
		t.Errorf("two as near: %q, want the first of the alphabet", got)
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ledger/staging/app":                  "ledger/staging/app",
		"secret/data/ledger/staging/app":      "ledger/staging/app",
		"secret/ledger/staging/app":           "ledger/staging/app",
		"":                                    "",
		"data/ledger/app":                     "",
		"ledger/../app":                       "",
		"ledger/staging":                      "",
		"ledger/staging/%2e":                  "",
		"ledger/staging/App":                  "",
		"secret/data/data/ledger/staging/app": "",
		"secret/data/data/x/y":                "",
		"ledger/staging/a\x00":                "",
	} {
		p, err := ParsePath("secret", in)
		if err == nil && p.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", in, p, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("ledger", "staging", "back_end", "fix/auth", "abc", false)
	f.Add("", "", "", "", "", true)
	f.Add("p", "production", strings.Repeat("é", 90), "\xff", "../..", true)
	legal := regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, project, env, service, branch, workspace string, dash bool) {
		r := Rules{Project: project, PortBase: "postgres"}
		if dash {
			r.Underscore = Dash
		}
		for _, name := range []string{
			r.Container(env, service), r.Database(env, branch, workspace),
			r.Network(env, branch, workspace), r.Bucket(env, branch, workspace),
		} {
			if len(name) > 63 || !legal.MatchString(name) || dash && strings.Contains(name, "_") {
				t.Errorf("%q", name)
			}
		}
		if p := r.Port(env, branch, workspace, service); p < 5400 || p > 5999 {
			t.Errorf("port %d", p)
		}
		if CheckSegment("environment", env) == nil && CheckSegment("project", project) == nil && !IsProduction(env) {
			if r.Database(env, branch, workspace) == r.Database(Production, "", "") {
				t.Errorf("%q has production's database", env)
			}
			if !IsLocal(env) && CheckSegment("service", service) == nil && r.Container(env, service) == r.Container(Production, service) {
				t.Errorf("%q has production's container", env)
			}
		}
		Nearest(service, []string{project, env, branch})
		if Match(branch, service) && IsPattern(branch) && service == "" {
			t.Errorf("%q takes the empty name", branch)
		}
		if p, err := ParsePath(workspace, branch); err == nil && p.Check() != nil {
			t.Errorf("%q gives the illegal path %v", branch, p)
		}
	})
}
