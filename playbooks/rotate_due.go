package playbooks

import (
	"context"
	"time"

	"envctl/internal/config"
	"envctl/providers"
)

// The keys of a path's custom metadata that rotations know: when its values were
// rotated last (RFC 3339), and how old the values of recipes without an every may
// become (90d).
const (
	metaRotatedAt   = "rotated_at"
	metaRotateEvery = "rotate_every"
)

// Age says since when a value stands.
type Age struct {
	Since time.Time
	// AtLeast says that it may stand longer: the store dropped the versions that
	// would tell.
	AtLeast bool
}

// past reads the versions of one path, each of them once.
type past struct {
	r         providers.Reader
	cur       providers.Bundle
	revisions []providers.Revision
	read      map[providers.Version]providers.Bundle
}

// age is since, and rotated_at where the versions that would tell were dropped.
func (p *past) age(ctx context.Context, key string) (Age, error) {
	a, err := p.since(ctx, key)
	if at, perr := time.Parse(time.RFC3339, p.cur.Custom[metaRotatedAt]); err == nil && a.AtLeast && perr == nil && at.Before(a.Since) {
		a = Age{Since: at.UTC()}
	}
	return a, err
}

// since returns since when key holds the value it has now: the time of the oldest
// version of the newest run of versions that hold it.
func (p *past) since(ctx context.Context, key string) (Age, error) {
	if p.revisions == nil {
		var err error
		if p.revisions, err = p.r.History(ctx, p.cur.Path); err != nil {
			return Age{}, err
		}
		p.read = map[providers.Version]providers.Bundle{p.cur.Version: p.cur}
	}
	a := Age{Since: p.cur.Created, AtLeast: true}
	first := p.cur.Version
	for i := len(p.revisions) - 1; i >= 0; i-- {
		rev := p.revisions[i]
		if rev.Version >= p.cur.Version || rev.Deleted || rev.Destroyed {
			continue
		}
		b, ok := p.read[rev.Version]
		if !ok {
			var err error
			if b, err = p.r.Read(ctx, p.cur.Path, rev.Version); err != nil {
				return Age{}, err
			}
			p.read[rev.Version] = b
		}
		if !b.Values[key].Equal(p.cur.Values[key]) {
			a.AtLeast = false
			break
		}
		a.Since, first = b.Created, b.Version
	}
	if first == 1 {
		a.AtLeast = false
	}
	return a, nil
}

// every returns how old a recipe's value may become; zero: nothing says.
func every(r config.Recipe, custom map[string]string) (time.Duration, error) {
	if r.Every.Duration > 0 || custom[metaRotateEvery] == "" {
		return r.Every.Duration, nil
	}
	return config.ParseDuration(custom[metaRotateEvery])
}
