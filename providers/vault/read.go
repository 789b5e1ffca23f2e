package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"envctl/internal/fault"
	"envctl/internal/secret"
	"envctl/naming"
	"envctl/providers"
)

// listers is how many requests List has on the way at once.
const listers = 16

// versionInfo is how every answer describes a version.
type versionInfo struct {
	Version   providers.Version `json:"version"`
	Created   string            `json:"created_time"`
	Deletion  string            `json:"deletion_time"`
	Destroyed bool              `json:"destroyed"`
	Custom    map[string]string `json:"custom_metadata"` // the path's, in the answer to a read
	CreatedBy *struct {
		Actor string `json:"actor"`
	} `json:"created_by"`
}

// Read takes one request; a 404 may cost a second one, which tells an absent
// path from an engine of version 1.
func (s *Store) Read(ctx context.Context, p naming.Path, v providers.Version) (providers.Bundle, error) {
	op := "read " + p.String()
	if err := check(op, p); err != nil {
		return providers.Bundle{}, err
	}
	if v < 0 {
		return providers.Bundle{}, fault.Newf(fault.Usage, op, "run envctl history KEY to see the versions", "there is no version %d", v)
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.read(ctx, op, p, v)
}

func (s *Store) read(ctx context.Context, op string, p naming.Path, v providers.Version) (providers.Bundle, error) {
	var params url.Values
	if v != providers.Latest {
		params = url.Values{"version": {strconv.Itoa(int(v))}}
	}
	return s.readAt(ctx, op, s.data(p), p, v, params)
}

// Ghost reads the path that "vault kv put secret/data/…" writes instead of p.
func (s *Store) Ghost(ctx context.Context, p naming.Path) (providers.Bundle, error) {
	op := "read data/" + p.String()
	if err := check(op, p); err != nil {
		return providers.Bundle{}, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.readAt(ctx, op, s.ghost(p), p, providers.Latest, nil)
}

// readAt reads p, or its ghost, at an address of the API.
func (s *Store) readAt(ctx context.Context, op, where string, p naming.Path, v providers.Version, params url.Values) (providers.Bundle, error) {
	newest := v == providers.Latest && where == s.data(p)
	a, err := s.get(ctx, op, where, params)
	if err != nil {
		return providers.Bundle{}, err
	}
	var answer struct {
		Data *struct {
			Data     map[string]json.RawMessage `json:"data"`
			Metadata *versionInfo               `json:"metadata"`
		} `json:"data"`
	}
	if err := decode(a, &answer); err != nil {
		// A version 1 engine's "data" and "metadata" may be anything.
		return providers.Bundle{}, s.notVersioned(ctx, op, err)
	}
	if answer.Data == nil {
		if a.found() {
			return providers.Bundle{}, s.fail(ctx, op, errNotVault)
		}
		if newest {
			s.see(p, 0)
		}
		return providers.Bundle{}, s.absent(ctx, op, p, v)
	}
	info := answer.Data.Metadata
	if info == nil || info.Version < 1 || v != providers.Latest && info.Version != v {
		return providers.Bundle{}, s.notVersioned(ctx, op, errNotVault)
	}
	s.proven.Store(true)
	if newest {
		s.see(p, info.Version)
	}
	if !a.found() {
		return providers.Bundle{Path: p, Version: info.Version}, providers.Gone(op, p, info.Version, info.Destroyed)
	}
	b, err := bundle(op, p, *info, answer.Data.Data)
	b.AsOf = a.date
	return b, err
}

func bundle(op string, p naming.Path, info versionInfo, data map[string]json.RawMessage) (providers.Bundle, error) {
	b := providers.Bundle{Path: p, Version: info.Version, Values: make(map[string]secret.Value, len(data)), Custom: info.Custom}
	var err error
	if b.Created, err = parseTime(info.Created); err != nil {
		return b, fault.Wrap(errNotVault, fault.Unavailable, op, "run envctl doctor")
	}
	for k, raw := range data {
		var text *string
		if json.Unmarshal(raw, &text) != nil || text == nil { // a number, an object, null …
			b.Values[k] = secret.New(string(raw))
			b.NonString = append(b.NonString, k)
			continue
		}
		b.Values[k] = secret.New(*text)
	}
	slices.Sort(b.NonString)
	return b, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UTC(), err
}

// absent is the error for a path that the server does not know, once it is
// clear that the engine is one that would know.
func (s *Store) absent(ctx context.Context, op string, p naming.Path, v providers.Version) error {
	if err := s.prove(ctx, op); err != nil && !fault.Is(err, fault.Denied) {
		return err
	}
	where := "--env " + p.Environment + " --component " + p.Component
	if v != providers.Latest {
		return fault.Newf(fault.NotFound, op, "run envctl history KEY "+where, "there is no version %d", v)
	}
	return fault.New(fault.NotFound, op, "nothing was ever written there", "run envctl set KEY "+where+" to begin it")
}

// notVersioned is the error for an answer that no version 2 engine gives.
func (s *Store) notVersioned(ctx context.Context, op string, err error) error {
	if proof := s.prove(ctx, op); proof != nil && !fault.Is(proof, fault.Denied) {
		return proof
	}
	return s.fail(ctx, op, err)
}

// prove asks, once per process, whether the mount is KV version 2.
func (s *Store) prove(ctx context.Context, op string) error {
	if s.proven.Load() {
		return nil
	}
	a, err := s.get(ctx, op, "sys/internal/ui/mounts/"+s.cfg.Mount, nil)
	if err != nil {
		return err
	}
	var answer struct {
		Data *struct {
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if err := decode(a, &answer); err != nil {
		return s.fail(ctx, op, err)
	}
	switch {
	case !a.found():
		return s.noMount(op)
	case answer.Data == nil:
		return s.fail(ctx, op, errNotVault)
	case answer.Data.Type != "kv" && answer.Data.Type != "generic":
		return fault.Newf(fault.Invalid, op, "set vault.mount in envctl.yaml to a KV engine", "the engine at %s/ is %.40q, not KV", s.cfg.Mount, answer.Data.Type)
	case answer.Data.Options["version"] != "2":
		return s.oldMount(op)
	}
	s.proven.Store(true)
	return nil
}

// document is a path's metadata.
type document struct {
	Current  providers.Version                 `json:"current_version"`
	Created  string                            `json:"created_time"`
	Max      int                               `json:"max_versions"`
	Custom   map[string]string                 `json:"custom_metadata"`
	Versions map[providers.Version]versionInfo `json:"versions"`
	asOf     time.Time                         // by the server's clock
}

func (s *Store) document(ctx context.Context, op string, p naming.Path) (document, error) {
	a, err := s.get(ctx, op, s.metadata(p), nil)
	if err != nil {
		return document{}, err
	}
	var answer struct {
		Data *document `json:"data"`
	}
	if err := decode(a, &answer); err != nil {
		return document{}, s.notVersioned(ctx, op, err)
	}
	switch {
	case !a.found():
		return document{}, s.absent(ctx, op, p, providers.Latest)
	case answer.Data == nil || answer.Data.Versions == nil:
		return document{}, s.notVersioned(ctx, op, errNotVault)
	}
	s.proven.Store(true)
	for v, info := range answer.Data.Versions {
		info.Version = v
		answer.Data.Versions[v] = info
	}
	answer.Data.asOf = a.date
	return *answer.Data, nil
}

// deleted tells whether a version's deletion is past: with delete_version_after
// it is set long before.
func (d document) deleted(info versionInfo) bool {
	if info.Deletion == "" || info.Destroyed {
		return false
	}
	t, err := parseTime(info.Deletion)
	// The Date header has whole seconds: what is due within this one counts.
	return err != nil || d.asOf.IsZero() || t.Before(d.asOf.Add(time.Second))
}

// History takes one request. The author is the display name of the token that
// wrote, which servers before 1.21 do not keep.
func (s *Store) History(ctx context.Context, p naming.Path) ([]providers.Revision, error) {
	op := "read the history of " + p.String()
	if err := check(op, p); err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	d, err := s.document(ctx, op, p)
	if err != nil {
		return nil, err
	}
	if len(d.Versions) == 0 {
		return nil, s.absent(ctx, op, p, providers.Latest) // metadata alone
	}
	revisions := make([]providers.Revision, 0, len(d.Versions))
	for v, info := range d.Versions {
		created, err := parseTime(info.Created)
		if err != nil {
			return nil, s.fail(ctx, op, errNotVault)
		}
		r := providers.Revision{Version: v, Created: created, Deleted: d.deleted(info), Destroyed: info.Destroyed}
		if info.CreatedBy != nil {
			r.Author = info.CreatedBy.Actor
		}
		revisions = append(revisions, r)
	}
	slices.SortFunc(revisions, func(a, b providers.Revision) int { return cmp.Compare(a.Version, b.Version) })
	return revisions, nil
}

// List takes one request for each folder, several at a time. Names that cannot
// be a project, an environment or a component are not envctl's and are left out.
func (s *Store) List(ctx context.Context, prefix naming.Path) ([]naming.Path, error) {
	op := "list " + cmp.Or(prefix.String(), s.cfg.Mount)
	if err := checkPrefix(op, prefix); err != nil {
		return nil, err
	}
	l := lister{s: s, op: op}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listers)
	only := prefix.Component
	prefix.Component = ""
	started := l.descend(ctx, group, prefix)
	if err := cmp.Or(group.Wait(), started); err != nil {
		return nil, err
	}
	if only != "" {
		l.paths = slices.DeleteFunc(l.paths, func(p naming.Path) bool { return p.Component != only })
	}
	slices.SortFunc(l.paths, func(a, b naming.Path) int { return strings.Compare(a.String(), b.String()) })
	return l.paths, nil
}

func checkPrefix(op string, p naming.Path) error {
	ended := false
	for _, part := range [...][2]string{{"project", p.Project}, {"environment", p.Environment}, {"component", p.Component}} {
		if part[1] == "" {
			ended = true
			continue
		}
		if ended {
			return fault.Newf(fault.Usage, op, "run envctl list --help", "a %s without what stands above it", part[0])
		}
		if err := naming.CheckSegment(part[0], part[1]); err != nil {
			return fault.Wrap(err, fault.Usage, op, "run envctl env list to see the names there are")
		}
	}
	return notGhost(op, p)
}

type lister struct {
	s     *Store
	op    string
	mu    sync.Mutex
	paths []naming.Path
}

// descend lists the folder p and the folders in it, on a worker of its own
// where one is free. Waiting for one could wait for ever: all may be here.
func (l *lister) descend(ctx context.Context, group *errgroup.Group, p naming.Path) error {
	work := func() error { return l.folder(ctx, group, p) }
	if group.TryGo(work) {
		return nil
	}
	return work()
}

func (l *lister) folder(ctx context.Context, group *errgroup.Group, p naming.Path) error {
	keys, err := l.s.keys(ctx, l.op, p)
	if err != nil {
		return err
	}
	for _, k := range keys {
		name, isFolder := strings.CutSuffix(k, "/")
		below := naming.Path{Project: p.Project, Environment: p.Environment}
		switch {
		case naming.CheckSegment("name", name) != nil:
			continue
		case p.Environment != "" && !isFolder && naming.IsReserved(name):
			continue
		case p.Environment != "" && !isFolder:
			below.Component = name
			l.mu.Lock()
			l.paths = append(l.paths, below)
			l.mu.Unlock()
			continue
		case p.Project != "" && p.Environment == "" && isFolder:
			below.Environment = name
		case p.Project == "" && isFolder && name != "data":
			below.Project = name
		default:
			continue
		}
		if err := l.descend(ctx, group, below); err != nil {
			return err
		}
	}
	return nil
}

// keys lists one folder; folders in it end in "/".
func (s *Store) keys(ctx context.Context, op string, p naming.Path) ([]string, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	where := strings.TrimSuffix(s.metadata(p), "/")
	a, err := s.get(ctx, op, where, url.Values{"list": {"true"}})
	if err != nil {
		return nil, err
	}
	if !a.found() {
		if err := s.prove(ctx, op); err != nil && !fault.Is(err, fault.Denied) {
			return nil, err
		}
		return nil, nil
	}
	var answer struct {
		Data *struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err := decode(a, &answer); err != nil || answer.Data == nil || answer.Data.Keys == nil {
		return nil, s.fail(ctx, op, errNotVault)
	}
	return answer.Data.Keys, nil
}
