package dokploy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
	"envctl/providers/deploytest"
	"envctl/providers/dokploy"
	"envctl/providers/dokploy/dokploytest"
)

func begin(t *testing.T, d *dokploy.Deployer, r providers.Release) providers.Deployment {
	t.Helper()
	dep, err := d.Deploy(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return dep
}

func wait(t *testing.T, d *dokploy.Deployer, r providers.Release, dep providers.Deployment, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return d.Wait(ctx, r, dep)
}

// A job without a row is waited for; the record of another deployment of the
// same service is not taken for ours.
func TestQueued(t *testing.T) {
	t.Parallel()
	s, d, id := world(t, nil)
	r := release("staging")
	if err := roll(t, d, r, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Hold(true)
	r.Marker = "2"
	r.Values["KEY"] = secret.New("new")
	dep := begin(t, d, r)
	says(t, wait(t, d, r, dep, time.Second), fault.Unavailable, "queued", "web")
	if got := s.Statuses(id); len(got) != 1 || s.Waiting() != 1 {
		t.Errorf("%q", got)
	}
	time.AfterFunc(300*time.Millisecond, func() { s.Hold(false) })
	if err := wait(t, d, r, dep, 10*time.Second); err != nil {
		t.Error(err)
	}
	if got := s.Statuses(id); len(got) != 2 || got[0] == got[1] || !strings.HasPrefix(got[0], "envctl release 2 ") {
		t.Errorf("%q", got)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	t.Run("of a running job", func(t *testing.T) {
		t.Parallel()
		s, d, _ := world(t, nil)
		s.Build(5 * time.Second)
		dep := begin(t, d, release("staging"))
		time.AfterFunc(400*time.Millisecond, func() {
			s.Stop()
			time.Sleep(700 * time.Millisecond)
			s.Start(t)
		})
		says(t, wait(t, d, release("staging"), dep, 20*time.Second), fault.No, "was cancelled", "envctl deploy app --env staging")
	})
	t.Run("of a waiting job", func(t *testing.T) {
		t.Parallel()
		s, d, id := world(t, nil)
		s.Hold(true)
		dep := begin(t, d, release("staging"))
		s.Stop()
		s.Start(t)
		says(t, wait(t, d, release("staging"), dep, 20*time.Second), fault.No, "lost the deployment", "envctl deploy app --env staging")
		if got := s.Statuses(id); len(got) != 0 {
			t.Errorf("%q", got)
		}
		s.Hold(false)
		if err := roll(t, d, release("staging"), 10*time.Second); err != nil {
			t.Error("the next one:", err)
		}
	})
	t.Run("that never comes back", func(t *testing.T) {
		t.Parallel()
		s, d, _ := world(t, func(c *dokploy.Config) { c.Outage = time.Second })
		s.Hold(true)
		dep := begin(t, d, release("staging"))
		s.Stop()
		began := time.Now()
		says(t, wait(t, d, release("staging"), dep, time.Minute), fault.Unavailable, "has not answered for", "queued")
		if took := time.Since(began); took < time.Second || took > 10*time.Second {
			t.Error(took)
		}
		says(t, roll(t, d, release("staging"), 10*time.Second), fault.Unavailable, "reach 127.0.0.1")
	})
	t.Run("that ends the deploy's own call", func(t *testing.T) {
		t.Parallel()
		s, d, _ := world(t, nil)
		s.Before(func(p string) {
			if p == "compose.deploy" {
				go s.Stop()
				time.Sleep(100 * time.Millisecond)
			}
		})
		err := roll(t, d, release("staging"), 20*time.Second)
		says(t, err, fault.Unknown, "not known")
	})
}

// A deployment is asked for once, whatever becomes of the answer.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		procedure string
		fault     dokploytest.Fault
		kind      fault.Kind // Internal: none
		jobs      int
	}{
		{"deploy done, answer cut", "compose.deploy", dokploytest.DoneLost, fault.Internal, 1},
		{"deploy done, 502", "compose.deploy", dokploytest.DoneBad, fault.Internal, 1},
		{"deploy done, answered by a page", "compose.deploy", dokploytest.Garbage, fault.Internal, 1},
		{"deploy not done, cut", "compose.deploy", dokploytest.Lost, fault.Unknown, 0},
		{"deploy not done, 502", "compose.deploy", dokploytest.Bad, fault.Unknown, 0},
		{"deploy redirected", "compose.deploy", dokploytest.Redirect, fault.Usage, 0},
		{"update done, answer cut", "compose.update", dokploytest.DoneLost, fault.Internal, 1},
		{"update done, 502", "compose.update", dokploytest.DoneBad, fault.Internal, 1},
		{"update not done, cut", "compose.update", dokploytest.Lost, fault.Internal, 1},
		{"update not done, 502", "compose.update", dokploytest.Bad, fault.Internal, 1},
		{"reading cut", "deployment.allByCompose", dokploytest.Lost, fault.Internal, 1},
		{"reading 502", "deployment.queueList", dokploytest.Bad, fault.Internal, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, d, id := world(t, nil)
			s.Break(c.procedure, c.fault)
			err := roll(t, d, release("staging"), 20*time.Second)
			if c.kind != fault.Internal {
				says(t, err, c.kind)
			} else if err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
			if got := s.Statuses(id); count(s, "POST compose.deploy") != 1 || len(got) != c.jobs {
				t.Errorf("%d asked, %q", count(s, "POST compose.deploy"), got)
			}
		})
	}
	s, d, id := world(t, nil)
	s.Break("compose.update", dokploytest.Bad, dokploytest.Bad, dokploytest.Bad, dokploytest.Bad)
	says(t, roll(t, d, release("staging"), 20*time.Second), fault.Unavailable, "answered 502")
	if s.Text(id) != "" || count(s, "POST compose.deploy") != 0 {
		t.Error("deployed without having written")
	}
	s, d, id = world(t, nil)
	s.Before(func(p string) {
		if p == "compose.update" {
			s.Delete(id)
		}
	})
	says(t, roll(t, d, release("staging"), 20*time.Second), fault.NotFound, "is gone from Dokploy")
}

// A job's error is in its log, and the log shows values.
func TestFailedDeployment(t *testing.T) {
	t.Parallel()
	s, d, id := world(t, nil)
	s.SetText(id, "OTHER=foreign-secret\n")
	s.Fail("web", "services.web.ports: invalid port ${KEY} of ${OTHER}")
	says(t, roll(t, d, release("staging"), 10*time.Second), fault.No, "invalid port [secret] of [secret]", "Docker command failed", "envctl deploy app --env staging")
	s.Break("deployment.readLogs", dokploytest.Forbidden)
	says(t, roll(t, d, release("staging"), 10*time.Second), fault.No, "its log cannot be read")
	s.Fail("web", "")
	if err := roll(t, d, release("staging"), 10*time.Second); err != nil {
		t.Error(err)
	}
	s.SetText(id, s.Text(id)+"REF=${{project.NOPE}}\n")
	r := release("staging")
	r.Marker = "3"
	says(t, roll(t, d, r, 10*time.Second), fault.No, "Invalid project environment variable")
}

// Done is not healthy, and an older container is not the release.
func TestDoneIsNotHealthy(t *testing.T) {
	t.Parallel()
	s, d, id := world(t, nil)
	s.Engine().Behave("web", deploytest.Unhealthy)
	says(t, roll(t, d, release("staging"), 10*time.Second), fault.No, "web is unhealthy", "envctl logs web --env staging")
	if got := s.Statuses(id); len(got) != 1 || !strings.HasSuffix(got[0], " done") {
		t.Errorf("%q", got)
	}
	// A compose file that names the marker literally keeps the container that ran.
	_, d, _ = world(t, nil)
	if err := roll(t, d, release("staging"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	r := release("staging")
	dep := begin(t, d, r)
	r.Marker = "other"
	says(t, wait(t, d, r, dep, 5*time.Second), fault.No, "lost") // another release's deployment is not this one's
	for _, bad := range []string{"", "x", "/", "x/", "../y/z"} {
		if err := wait(t, d, r, providers.Deployment{ID: bad}, time.Second); !fault.Is(err, fault.Internal, fault.No, fault.Unavailable) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
