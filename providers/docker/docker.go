// Package docker looks at running containers through the engine's own API: it
// only reads, and says of each answer where it was read.
package docker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/providers"
)

// DefaultHost is where an engine listens when nobody says otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

const defaultTimeout = 10 * time.Second

// Config says which engine. It comes from the operator's environment or user
// config, never from a repository file.
type Config struct {
	// Host is unix:///path, tcp://loopback:port, https://host:port (or tcp://host:port
	// with CertDir), or ssh://[user@]host[:port]. "": DefaultHost.
	Host string
	// CertDir holds ca.pem, cert.pem and key.pem for TLS (DOCKER_CERT_PATH).
	CertDir string
	// Timeout bounds each request, within the context's own; 0: 10 s. A followed
	// log is bounded by the context alone.
	Timeout time.Duration
	// Env looks up the operator's environment. The ssh program gets only what it
	// needs of it: PATH, HOME, USER, LOGNAME, SSH_AUTH_SOCK and LANG.
	Env func(string) string
}

// Engine is a docker engine. It implements providers.Runtime and is safe for
// concurrent use. Its errors are Unavailable (not running, no answer in time),
// Denied (not allowed to use the socket), NotFound, Invalid (not an engine's
// answer).
type Engine struct {
	host    string
	base    string // of URLs
	local   bool   // the engine may share this machine's /proc
	timeout time.Duration
	client  *http.Client
	proc    string

	mu      sync.Mutex
	version string // of the API, as the engine announced it
}

var _ providers.Runtime = (*Engine)(nil)

// New checks c and opens nothing: the engine is first asked when it is first used.
func New(c Config) (*Engine, error) {
	if c.Host == "" {
		c.Host = DefaultHost
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Env == nil {
		c.Env = func(string) string { return "" }
	}
	e := &Engine{host: c.Host, timeout: c.Timeout, proc: "/proc"}
	transport, err := e.transport(c)
	if err != nil {
		return nil, err
	}
	e.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // an engine never redirects
	}}
	return e, nil
}

// Describe names the engine, e.g. "docker unix:///var/run/docker.sock". It opens nothing.
func (e *Engine) Describe() string { return "docker " + e.host }

// Close ends idle connections and the ssh program behind them. The engine can
// still be used afterwards.
func (e *Engine) Close() { e.client.CloseIdleConnections() }

// Clock returns the engine's own time, to compare with the times it reports.
func (e *Engine) Clock(ctx context.Context) (time.Time, error) {
	var info struct{ SystemTime time.Time }
	if err := e.get(ctx, "ask for the time", "/info", nil, &info); err != nil {
		return time.Time{}, err
	}
	if info.SystemTime.IsZero() {
		return time.Time{}, fault.New(fault.Invalid, e.op("ask for the time"), "the engine does not say", "run envctl doctor")
	}
	return info.SystemTime, nil
}

// Containers returns, sorted by name, the containers that are evidence for q:
// those whose labels name its project and environment, running or not, and with
// Bound also those of q.Names. A name is no evidence where the container's own
// labels name another project, environment or component.
func (e *Engine) Containers(ctx context.Context, q providers.ContainerQuery) ([]providers.Container, error) {
	if q.Project == "" || q.Environment == "" {
		return nil, fault.New(fault.Internal, e.op("list containers"), "the query names no project or no environment", "")
	}
	want := []string{providers.LabelProject + "=" + q.Project, providers.LabelEnvironment + "=" + q.Environment}
	if q.Component != "" && !q.Bound {
		want = append(want, providers.LabelComponent+"="+q.Component)
	}
	ids, err := e.list(ctx, map[string][]string{"label": want})
	if err != nil {
		return nil, err
	}
	if q.Bound && len(q.Names) > 0 {
		named, err := e.list(ctx, map[string][]string{"name": q.Names})
		if err != nil {
			return nil, err
		}
		ids = append(ids, named...)
	}
	slices.Sort(ids)
	var found []providers.Container
	for _, id := range slices.Compact(ids) {
		c, err := e.inspect(ctx, id)
		if fault.Is(err, fault.NotFound) {
			continue // gone since the list was made
		}
		if err != nil {
			return nil, err
		}
		if evidence(c.Container, q) {
			found = append(found, c.Container)
		}
	}
	slices.SortFunc(found, func(a, b providers.Container) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// evidence applies the rule itself: the engine's filters are only an
// optimisation, and its name filter matches substrings.
func evidence(c providers.Container, q providers.ContainerQuery) bool {
	labelled := true
	for _, l := range [...][2]string{
		{providers.LabelProject, q.Project}, {providers.LabelEnvironment, q.Environment}, {providers.LabelComponent, q.Component},
	} {
		got, ok := c.Labels[l[0]]
		if l[1] == "" {
			continue
		}
		if ok && got != l[1] {
			return false
		}
		labelled = labelled && ok
	}
	return labelled || q.Bound && slices.Contains(q.Names, c.Name)
}

func (e *Engine) list(ctx context.Context, filters map[string][]string) ([]string, error) {
	text, err := json.Marshal(filters)
	if err != nil {
		return nil, err
	}
	var found []struct{ ID string }
	err = e.get(ctx, "list containers", "/containers/json", url.Values{"all": {"1"}, "filters": {string(text)}}, &found)
	ids := make([]string, 0, len(found))
	for _, f := range found {
		ids = append(ids, f.ID)
	}
	return ids, err
}

type inspected struct {
	providers.Container
	TTY bool
}

func (e *Engine) inspect(ctx context.Context, id string) (inspected, error) {
	var raw struct {
		ID           string
		Name         string
		Created      time.Time
		RestartCount int
		State        struct {
			Status    string
			Pid       int
			ExitCode  int
			StartedAt time.Time
			Health    *struct{ Status string }
		}
		Config struct {
			Image  string
			Env    []string
			Labels map[string]string
			Tty    bool
		}
	}
	if err := e.get(ctx, "inspect container", "/containers/"+url.PathEscape(id)+"/json", nil, &raw); err != nil {
		return inspected{}, err
	}
	c := providers.Container{
		ID: raw.ID, Name: strings.TrimPrefix(raw.Name, "/"), Image: raw.Config.Image, Labels: raw.Config.Labels,
		Service: raw.Config.Labels[providers.LabelService], Component: raw.Config.Labels[providers.LabelComponent],
		State: raw.State.Status, ExitCode: raw.State.ExitCode, Restarts: raw.RestartCount,
		Created: raw.Created, Started: raw.State.StartedAt, PID: raw.State.Pid,
		Env: environment(raw.Config.Env),
	}
	if c.Service == "" {
		c.Service = raw.Config.Labels["com.docker.compose.service"]
	}
	if h := raw.State.Health; h != nil && h.Status != "none" {
		c.Health = h.Status
	}
	return inspected{c, raw.Config.Tty}, nil
}

// environment reads NAME=value entries. Of a name that stands twice the first
// counts, as it does for getenv.
func environment(entries []string) map[string]secret.Value {
	env := make(map[string]secret.Value, len(entries))
	for _, entry := range entries {
		name, value, ok := strings.Cut(entry, "=")
		if _, dup := env[name]; ok && name != "" && !dup {
			env[name] = secret.New(value)
		}
	}
	return env
}
