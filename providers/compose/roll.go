package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"envctl/internal/fault"
	"envctl/providers"
)

// What compose writes on a service's containers.
const (
	labelService = "com.docker.compose.service"
	labelNumber  = "com.docker.compose.container-number"
	labelHash    = "com.docker.compose.config-hash"
	labelImage   = "com.docker.compose.image"
)

// rolling is one service whose replicas are replaced a few at a time. Its
// containers are known by the ids of those that have to go: a number or a name
// says nothing of what runs in one.
type rolling struct {
	providers.Service
	manner
	old map[string]bool // by id
}

// rolls returns the services that are to be rolled: those that may be, and of
// which something older runs. Where nothing older runs there is nothing to keep up.
func (d *Deployer) rolls(ctx context.Context, r providers.Release, file composeFile, doc []byte) ([]rolling, error) {
	var out []rolling
	for _, s := range r.Services {
		if m := file.manner(s); m.rolls() {
			out = append(out, rolling{Service: s, manner: m, old: map[string]bool{}})
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	found, err := d.c.Engine.Containers(ctx, query(r))
	if err != nil {
		return nil, err
	}
	hashes, err := d.hashes(ctx, r, doc)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(s rolling) bool {
		image, older := d.image(ctx, r, file[s.Name].Image), false
		for _, c := range found {
			if c.Service != s.Name {
				continue
			}
			had := c.Labels[labelImage]
			if hashes[s.Name] != c.Labels[labelHash] || c.Labels[providers.LabelRelease] != r.Marker || image != "" && had != "" && had != image {
				s.old[c.ID] = true
				older = older || c.State == "running"
			}
		}
		return !older
	}), nil
}

// hashes asks compose for the digest that a container of each service has when
// it need not be recreated.
func (d *Deployer) hashes(ctx context.Context, r providers.Release, doc []byte) (map[string]string, error) {
	out, err := d.run(ctx, r, []string{"-f", d.c.File, "-f", "-", "--profile", "*"}, []string{"config", "--hash", "*"}, doc)
	if err != nil {
		return nil, d.refused(ctx, r, err)
	}
	hashes := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, hash, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			hashes[name] = hash
		}
	}
	return hashes, nil
}

// image returns the id of the image that a name has now, "" when it is not there.
func (d *Deployer) image(ctx context.Context, r providers.Release, name string) string {
	if name == "" {
		return ""
	}
	out, err := d.docker(ctx, r, []string{"image", "inspect", "--format", "{{.Id}}", name}, nil)
	if err != nil {
		return "" // compose fetches it, or says why it cannot
	}
	return strings.TrimSpace(string(out))
}

// roll deploys a release of which some services are rolled. What is not rolled
// comes first, with what the services need; then each service's replicas are
// replaced: a new container comes, with everything that compose gives it, and when
// it is healthy an old one is stopped and removed (in place: the old one before).
// The first one that does not come up ends it: it is stopped, so that no client
// is sent to it and its log can still be read, and the old ones that are left go
// on. All of it is found out anew from what runs, so that a roll that was cut off
// is gone on with, or taken back by a roll of the release before.
func (d *Deployer) roll(ctx context.Context, r providers.Release, file composeFile, doc []byte, rolls []rolling, began time.Time) error {
	rolled := map[string]bool{}
	for _, s := range rolls {
		rolled[s.Name] = true
	}
	if rest := file.needed(names(r.Services), rolled); len(rest) > 0 {
		if err := d.up(ctx, r, doc, rest, "--no-deps"); err != nil {
			return err
		}
	}
	for _, s := range rolls {
		for _, dep := range slices.Sorted(maps.Keys(file[s.Name].DependsOn)) {
			if err := d.await(ctx, r, s.Name, dep, file[s.Name].DependsOn[dep].Condition); err != nil {
				return err
			}
		}
		if err := d.replace(ctx, r, doc, s, began); err != nil {
			return err
		}
	}
	return nil
}

// needed returns the services, and those that they depend on, which are not rolled.
func (file composeFile) needed(services []string, rolled map[string]bool) []string {
	var out []string
	seen := map[string]bool{}
	for len(services) > 0 {
		name := services[0]
		services = services[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		if !rolled[name] {
			out = append(out, name)
		}
		services = append(services, slices.Sorted(maps.Keys(file[name].DependsOn))...)
	}
	return out
}

// await waits until what a rolled service depends on is as its depends_on asks,
// which compose does only where it starts both.
func (d *Deployer) await(ctx context.Context, r providers.Release, s, dep, condition string) error {
	for {
		out, err := d.docker(ctx, r, []string{
			"container", "ls", "--all", "--filter", "label=" + composeLabel + "=" + projectName(r),
			"--filter", "label=" + labelService + "=" + dep, "--format", "{{.State}} {{.Status}}",
		}, nil)
		if err != nil {
			return d.refused(ctx, r, err)
		}
		ready := true
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			bad := ""
			switch ended := strings.HasPrefix(line, "exited"); {
			case condition == "service_completed_successfully" && ended && !strings.Contains(line, "Exited (0)"):
				bad = "did not end well"
			case condition == "service_completed_successfully":
				ready = ready && ended
			case condition == "service_healthy" && (ended || strings.Contains(line, "(unhealthy)")):
				bad = "is not healthy"
			case condition == "service_healthy":
				ready = ready && strings.Contains(line, "(healthy)")
			}
			if bad != "" {
				return fault.Newf(fault.No, op(r), "correct "+dep+", then run envctl deploy "+r.Component+" --env "+r.Environment,
					"%s was not rolled: %s, which it depends on, %s (%s)", s, dep, bad, line)
			}
		}
		if ready {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fault.Newf(fault.Unavailable, op(r), "run envctl status --env "+r.Environment, "%s was not rolled: %s, which it depends on, is not ready", s, dep)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
		return nil
	}
}

// replicas are the containers of a service as they are now.
type replicas struct {
	fresh, old []providers.Container
	state                            // of the fresh ones: the worst
	bad        []providers.Container // fresh, and why they are not up
	words      string
}

// look sorts out what runs of a service.
func (d *Deployer) look(ctx context.Context, r providers.Release, s rolling, began time.Time, runs map[string]run) (replicas, error) {
	found, err := d.c.Engine.Containers(ctx, query(r))
	if err != nil {
		return replicas{}, err
	}
	var now replicas
	for _, c := range found {
		switch {
		case c.Service != s.Name:
		case s.old[c.ID]:
			now.old = append(now.old, c)
		default:
			now.fresh = append(now.fresh, c)
			one(c, providers.Deployment{Started: began}, runs, func(st state, format string, args ...any) {
				if st > now.state {
					now.state, now.words, now.bad = st, fmt.Sprintf(format, args...), nil
				}
				if st == now.state {
					now.bad = append(now.bad, c)
				}
			})
		}
	}
	// Those that serve least go first, then the oldest.
	slices.SortStableFunc(now.old, func(a, b providers.Container) int {
		if x, y := serves(a), serves(b); x != y {
			return x - y
		}
		return number(a) - number(b)
	})
	slices.SortStableFunc(now.fresh, func(a, b providers.Container) int { return number(a) - number(b) })
	return now, nil
}

func serves(c providers.Container) int {
	switch {
	case c.State != "running":
		return 0
	case c.Health == "unhealthy":
		return 1
	case c.Health == "starting":
		return 2
	}
	return 3
}

func number(c providers.Container) int {
	n, _ := strconv.Atoi(c.Labels[labelNumber]) // 0: made by hand
	return n
}

// replace rolls one service.
func (d *Deployer) replace(ctx context.Context, r providers.Release, doc []byte, s rolling, began time.Time) error {
	runs := map[string]run{}
	now, err := d.look(ctx, r, s, began, runs)
	if err != nil {
		return err
	}
	// What has ended serves nobody, and compose would start it again; a new one that
	// an earlier attempt left behind is tried anew.
	var dead []providers.Container
	for _, c := range now.old {
		if c.State == "exited" || c.State == "dead" || c.State == "created" {
			dead = append(dead, c)
		}
	}
	for _, c := range now.fresh {
		if c.Created.Before(began) && serves(c) < 2 {
			dead = append(dead, c)
		}
	}
	if err := d.discard(ctx, r, dead); err != nil {
		return err
	}
	for had := -1; ; {
		seen, err := d.look(ctx, r, s, began, runs)
		if err != nil {
			return d.halted(ctx, r, s, now, err)
		}
		now = seen
		surplus := len(now.fresh) + len(now.old) - s.replicas
		if s.inPlace && len(now.old) > 0 {
			surplus++
		}
		switch {
		case now.state == failed:
			return d.halfway(ctx, r, s, now)
		case now.state == waiting:
			if pause(ctx) != nil {
				return d.halfway(ctx, r, s, now)
			}
		case surplus > 0:
			r.Tell(fmt.Sprintf("%s: %d of %d replicas run the new release", s.Name, min(len(now.fresh), s.replicas), s.replicas))
			// Of the new ones only where there are to be fewer than there were.
			slices.Reverse(now.fresh)
			if err := d.discard(ctx, r, slices.Concat(now.old, now.fresh)[:surplus]); err != nil {
				return d.halted(ctx, r, s, now, err)
			}
		case len(now.fresh) >= s.replicas:
			return nil
		case len(now.fresh) == had:
			return d.halted(ctx, r, s, now, fault.New(fault.No, op(r), "compose started no new container of "+s.Name, "run envctl status --env "+r.Environment))
		default:
			had = len(now.fresh)
			if err := d.more(ctx, r, doc, s, min(s.batch, s.replicas-had)); err != nil {
				return d.halted(ctx, r, s, now, err)
			}
		}
	}
}

// more lets compose start more containers of a service beside those that it has.
// Scale counts all of them, also those that carry none of envctl's labels.
func (d *Deployer) more(ctx context.Context, r providers.Release, doc []byte, s rolling, n int) error {
	all, err := d.listed(ctx, r, "container", "ls", "--all", "--filter", "label="+composeLabel+"="+projectName(r),
		"--filter", "label="+labelService+"="+s.Name, "--filter", "label=com.docker.compose.oneoff=False", "--format", "{{.ID}}")
	if err != nil {
		return err
	}
	return d.up(ctx, r, doc, []string{s.Name}, "--no-deps", "--no-recreate", "--scale", fmt.Sprintf("%s=%d", s.Name, len(all)+n))
}

// discard stops containers, each for as long as its file gives it, and removes them.
func (d *Deployer) discard(ctx context.Context, r providers.Release, gone []providers.Container) error {
	if len(gone) == 0 {
		return nil
	}
	if err := d.stop(ctx, r, gone); err != nil {
		return err
	}
	_, err := d.remove(ctx, r, "container", append([]string{"rm"}, ids(gone)...)...)
	return err
}

func (d *Deployer) stop(ctx context.Context, r providers.Release, cs []providers.Container) error {
	_, err := d.remove(ctx, r, "container", append([]string{"stop"}, ids(cs)...)...)
	return err
}

func ids(cs []providers.Container) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.ID
	}
	return out
}

// halfway ends a roll at new containers that are not up: they are stopped, all
// others stay as they are. Where ctx was cancelled, all of them do.
func (d *Deployer) halfway(ctx context.Context, r providers.Release, s rolling, now replicas) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return d.halted(ctx, r, s, now, fault.New(fault.Interrupted, "", "stopped waiting", "run envctl status --env "+r.Environment))
	}
	words := s.Name + " " + now.words
	if ctx.Err() != nil {
		words += ", and was not in time"
	}
	if len(now.bad) > 0 {
		words += d.lastWords(ctx, r, now.bad[0])
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopping)
	defer cancel()
	if err := d.stop(after, r, now.bad); err != nil {
		words += "; it could not be stopped: " + err.Error()
	}
	return d.halted(ctx, r, s, now, fault.New(fault.No, "", words, logsHint(r, service{name: s.Name})))
}

// stopping is how long a container that did not come up may take to end.
const stopping = 30 * time.Second

// halted says how far a roll came before err ended it.
func (d *Deployer) halted(ctx context.Context, r providers.Release, s rolling, now replicas, err error) error {
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	when := "when last seen "
	if seen, lookErr := d.look(after, r, s, time.Time{}, map[string]run{}); lookErr == nil {
		now, when = seen, ""
	}
	up := 0
	for _, c := range now.fresh {
		if serves(c) == 3 {
			up++
		}
	}
	goes := slices.DeleteFunc(now.old, func(c providers.Container) bool { return c.State != "running" })
	return &fault.Error{
		Kind: fault.KindOf(err), Op: op(r), Err: err, Hint: fault.HintOf(err),
		Message: fmt.Sprintf("stopped half-rolled-out, %swith %d of %d replicas of %s on the new release and %d on the one before", when, up, s.replicas, s.Name, len(goes)),
	}
}
